//! The registry itself: what every request, the collection and the command line share.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shale_oci::{Algorithm, Digest};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};

use crate::auth::Access;
use crate::blob_store::{BlobError, BlobStore, BlobWriter, Paused, PublishError};
use crate::blobs::locks::DigestLocks;
use crate::blobs::promises::Promises;
use crate::blobs::small::SmallBlobs;
use crate::config::{Config, Endpoint, Gc, Limits};
use crate::maintenance::collect::CollectError;
use crate::metadata::{Metadata, MetadataError, OpenUpload, UnixMillis};
use crate::metrics::Metrics;
use crate::name::{RepositoryName, UploadId};

/// Bytes of manifest bodies that may be in memory at once, beyond small ones; more pushes wait for their turn.
const MANIFEST_BUDGET_BYTES: usize = 24 << 20;

/// What a running registry is made of.
pub struct Registry {
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) access: Access,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) locks: DigestLocks,
    pub(crate) promises: Promises,
    pub(crate) small: SmallBlobs,
    pub(crate) manifest_budget: Semaphore,
    /// How many uploads receive bytes right now.
    pub(crate) receiving: AtomicUsize,
    pub(crate) metrics: Metrics,
    pub(crate) metrics_public: bool,
    pub(crate) access_log: bool,
    pub(crate) ui: bool,
    /// What the forms of our pages are signed with, for as long as this process lives.
    pub(crate) form_key: [u8; 16],
    pub(crate) external_url: Option<String>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) events: Notify,
    pub(crate) gc: Gc,
    pub(crate) collecting: AsyncMutex<()>,
    pub(crate) started: Instant,
    /// Whether requests are answered, or maintenance alone has the root.
    pub(crate) serving: bool,
    sessions: Mutex<HashMap<UploadId, Arc<AsyncMutex<Session>>>>,
}

/// What the operator lets clients do.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether anything may be deleted.
    pub delete: bool,
    /// Whether anything may be changed.
    pub read_only: bool,
    /// Whether a manifest may name what the repository does not have.
    pub missing: MissingTargets,
    /// How long an unused blob is safe after it arrived or was promised.
    pub grace: Duration,
}

/// What happens to a manifest that names blobs or manifests which the repository does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingTargets {
    /// It is stored: sparse images and indexes work.
    Accept,
    /// It is refused with MANIFEST_BLOB_UNKNOWN, as the Docker registry does.
    Refuse,
}

/// An upload between and during requests.
pub(crate) struct Session {
    pub(crate) repository: RepositoryName,
    pub(crate) algorithm: Algorithm,
    pub(crate) paused: Option<Paused>,
    pub(crate) closed: bool,
}

/// Why a blob was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("the bytes have the digest {actual}")]
    WrongDigest { actual: Digest, paused: Paused },
    #[error(transparent)]
    Store(BlobError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl Registry {
    /// Puts a registry together; `serving` tells whether clients speak to it, or maintenance alone has the root.
    pub fn new(
        blobs: Arc<dyn BlobStore>,
        metadata: Arc<dyn Metadata>,
        access: Access,
        config: &Config,
        serving: bool,
    ) -> Registry {
        Registry {
            blobs,
            metadata,
            access,
            policy: Policy {
                delete: config.delete,
                read_only: config.read_only,
                missing: config.missing,
                grace: config.gc.grace,
            },
            limits: config.limits.clone(),
            locks: DigestLocks::default(),
            promises: Promises::default(),
            small: SmallBlobs::default(),
            manifest_budget: Semaphore::new(MANIFEST_BUDGET_BYTES),
            receiving: AtomicUsize::new(0),
            metrics: Metrics::default(),
            metrics_public: config.metrics,
            access_log: config.access_log,
            ui: config.ui,
            form_key: UploadId::random().bytes(),
            external_url: config.external_url.clone(),
            endpoints: config.notifications.clone(),
            events: Notify::new(),
            gc: config.gc.clone(),
            collecting: AsyncMutex::default(),
            started: Instant::now(),
            serving,
            sessions: Mutex::default(),
        }
    }

    /// Returns whether the metadata answers.
    pub(crate) async fn is_ready(&self) -> bool {
        self.metadata.repositories(crate::metadata::Page { after: None, limit: 1 }).await.is_ok()
    }

    /// Opens an upload.
    pub(crate) async fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId, MetadataError> {
        let id = UploadId::random();
        let upload = OpenUpload { id, repository: repository.clone(), algorithm, touched_at: now() };
        self.metadata.create_upload(upload).await?;
        let session = Session { repository: repository.clone(), algorithm, paused: None, closed: false };
        self.sessions().insert(id, Arc::new(AsyncMutex::new(session)));
        Ok(id)
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.sessions().len()
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<AsyncMutex<Session>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session of an upload of this repository, also of one that was open before a restart.
    pub(crate) async fn session(
        &self,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<Option<Arc<AsyncMutex<Session>>>, MetadataError> {
        let found = self.sessions().get(&id).cloned();
        let session = match found {
            Some(session) => session,
            None => {
                let Some(upload) = self.metadata.find_upload(id).await? else { return Ok(None) };
                let OpenUpload { repository, algorithm, .. } = upload;
                let session = Session { repository, algorithm, paused: None, closed: false };
                let fresh = Arc::new(AsyncMutex::new(session));
                Arc::clone(self.sessions().entry(id).or_insert(fresh))
            }
        };
        let matches = session.lock().await.repository == *repository;
        Ok(matches.then_some(session))
    }

    /// Notes that bytes arrived, so that the upload is not purged as abandoned.
    pub(crate) async fn touch_upload(&self, id: UploadId, session: &Session) -> Result<(), MetadataError> {
        let (repository, algorithm) = (session.repository.clone(), session.algorithm);
        self.metadata.create_upload(OpenUpload { id, repository, algorithm, touched_at: now() }).await
    }

    /// Forgets an upload, with its bytes.
    pub(crate) async fn close_upload(&self, id: UploadId) -> Result<(), CommitError> {
        self.sessions().remove(&id);
        self.metadata.remove_upload(id).await?;
        self.blobs.remove_upload(id).await.map_err(CommitError::Store)
    }

    /// Closes an upload that was left; returns whether it was, and was not in use after all.
    pub(crate) async fn abandon_upload(&self, id: UploadId) -> Result<bool, CollectError> {
        let session = self.sessions().get(&id).cloned();
        if let Some(session) = session {
            let Ok(mut session) = session.try_lock() else { return Ok(false) };
            session.closed = true;
        }
        self.sessions().remove(&id);
        self.blobs.remove_upload(id).await?;
        Ok(self.metadata.remove_upload(id).await?)
    }

    /// Makes the bytes of `writer` a blob of `repository`: published, then noted, both durably.
    pub(crate) async fn commit_blob(
        &self,
        repository: &RepositoryName,
        writer: BlobWriter,
        digest: Digest,
    ) -> Result<u64, CommitError> {
        let _lock = self.locks.lock(digest).await;
        let size_bytes = self.blobs.publish(writer, digest).await.map_err(|error| match error {
            PublishError { reason: BlobError::WrongDigest { actual }, paused: Some(paused) } => {
                CommitError::WrongDigest { actual, paused }
            }
            PublishError { reason, .. } => CommitError::Store(reason),
        })?;
        self.metadata.link_blob(repository, digest, size_bytes, now()).await?;
        Ok(size_bytes)
    }
}

/// Returns the time now.
pub(crate) fn now() -> UnixMillis {
    jiff::Timestamp::now().as_millisecond()
}
