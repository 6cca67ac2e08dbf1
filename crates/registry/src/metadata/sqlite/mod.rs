//! Metadata in one SQLite file, in write-ahead mode: many readers, one thread that writes.

mod collect;
mod lists;
mod manifests;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use shale_oci::Digest;

use super::cache::Cache;
use super::{
    Cut, MayCut, Metadata, MetadataError, Missing, NewManifest, OpenUpload, Page, Pending, Referrer,
    RepositorySummary, StoredManifest, TagSummary, Target, UnixMillis,
};
use crate::api::route::Reference;
use crate::maintenance::check::Finding;
use crate::name::{RepositoryName, Tag, UploadId};
use crate::takeover::ImportedRepository;
pub use schema::MigrateError;
use writer::{Durability, Touches, Writer};

/// How many idle connections for reading are kept.
const READERS_MAX: usize = 8;

/// A [`Metadata`] in one file.
pub struct SqliteMetadata {
    path: PathBuf,
    cache: Arc<Cache>,
    writer: Writer,
    readers: Arc<Mutex<Vec<Connection>>>,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite refused the file.
    #[error("could not open the metadata {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file can be read and not be written.
    #[error("the metadata {path} cannot be written: look at its owner, its rights and its file system")]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The tables are not ours, or could not be made.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// No thread could be started.
    #[error("could not start the metadata thread")]
    Thread(#[source] std::io::Error),
}

impl SqliteMetadata {
    /// Opens the database at `path`, making it when it is missing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<SqliteMetadata, OpenError> {
        let opened = |source| OpenError::Open { path: path.to_owned(), source };
        let mut connection = connect(path, OpenFlags::default()).map_err(opened)?;
        if connection.is_readonly(rusqlite::MAIN_DB).map_err(opened)? {
            return Err(OpenError::ReadOnly { path: path.to_owned() });
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(opened)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(opened)?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000).map_err(opened)?;
        // SQLite opens the file, or its log, for reading where it may not write, without a word, and stays so: every
        // push would be refused until the next start. A transaction that changes nothing finds out.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT").map_err(|error| {
            match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::ReadOnly) => OpenError::ReadOnly { path: path.to_owned() },
                _ => opened(error),
            }
        })?;
        schema::migrate(&mut connection)?;
        let cache = Arc::new(Cache::new());
        let writer = Writer::start(path, connection, Arc::clone(&cache)).map_err(OpenError::Thread)?;
        Ok(SqliteMetadata { path: path.to_owned(), cache, writer, readers: Arc::default() })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, MetadataError> {
        let (readers, path) = (Arc::clone(&self.readers), self.path.clone());
        let work = move || {
            let idle = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?,
            };
            let value = query(&connection)?;
            let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < READERS_MAX {
                readers.push(connection);
            }
            Ok(value)
        };
        let read = tokio::task::spawn_blocking(work).await.map_err(|_| MetadataError::Closed)?;
        read.map_err(|error| writer::metadata_error(&error))
    }

    async fn change<T: Send + 'static>(
        &self,
        touches: Touches,
        act: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, MetadataError> {
        self.writer.change(Durability::Power, touches, act).await
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(30))?;
    connection.pragma_update(None, "cache_size", -2000)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn touches(repository: &RepositoryName) -> Touches {
    Touches::Repository(repository.as_str().into())
}

/// Returns the key of a repository, making it when it is new.
fn repository_key(connection: &Connection, name: &str, now: UnixMillis) -> Result<i64, rusqlite::Error> {
    if let Some(key) = find_repository(connection, name)? {
        return Ok(key);
    }
    let sql = "INSERT INTO repositories (name, created_at, pushed_at) VALUES ($1, $2, $2) RETURNING id";
    connection.prepare_cached(sql)?.query_row(params![name, now], |row| row.get(0))
}

fn find_repository(connection: &Connection, name: &str) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id FROM repositories WHERE name = $1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Reads a column of digests; the database holds only what we wrote.
fn digest_column(row: &rusqlite::Row<'_>, column: usize) -> Result<Digest, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Metadata for SqliteMetadata {
    fn find_blob<'a>(&'a self, repository: &'a RepositoryName, digest: Digest) -> Pending<'a, Option<u64>> {
        let ticket = match self.cache.blob(repository.as_str(), digest) {
            Ok(size_bytes) => return Box::pin(std::future::ready(Ok(Some(size_bytes)))),
            Err(ticket) => ticket,
        };
        Box::pin(async move {
            let name = repository.clone();
            let found = self.read(move |connection| find_blob(connection, name.as_str(), digest)).await?;
            if let Some(size_bytes) = found {
                self.cache.enter_blob(ticket, repository.as_str(), digest, size_bytes);
            }
            Ok(found)
        })
    }

    fn link_blob(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        size_bytes: u64,
        now: UnixMillis,
    ) -> Pending<'_, ()> {
        let name = repository.clone();
        Box::pin(self.change(touches(repository), move |connection| {
            let sql = "INSERT INTO blobs (digest, size_bytes, stored_at) VALUES ($1, $2, $3)
                ON CONFLICT (digest) DO UPDATE SET size_bytes = excluded.size_bytes";
            connection.prepare_cached(sql)?.execute(params![digest.to_string(), signed(size_bytes), now])?;
            link(connection, name.as_str(), digest, now)
        }))
    }

    fn mount_blob(
        &self,
        repository: &RepositoryName,
        sources: Vec<RepositoryName>,
        digest: Digest,
        now: UnixMillis,
    ) -> Pending<'_, Option<u64>> {
        let name = repository.clone();
        Box::pin(self.change(touches(repository), move |connection| {
            let mut found = None;
            for source in &sources {
                found = find_blob(connection, source.as_str(), digest)?;
                if found.is_some() {
                    break;
                }
            }
            if found.is_some() {
                link(connection, name.as_str(), digest, now)?;
            }
            Ok(found)
        }))
    }

    fn holders(&self, digest: Digest, most: usize) -> Pending<'_, Vec<RepositoryName>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT r.name FROM repository_blobs b JOIN repositories r ON r.id = b.repository_id
                WHERE b.digest = $1 LIMIT $2";
            let mut statement = connection.prepare_cached(sql)?;
            let names = statement
                .query_map(params![digest.to_string(), limit(most)], |row| row.get::<_, String>(0))?;
            let names: Vec<String> = names.collect::<Result<_, _>>()?;
            Ok(names.iter().filter_map(|name| RepositoryName::parse(name).ok()).collect())
        }))
    }

    fn unlink_blob(&self, repository: &RepositoryName, digest: Digest) -> Pending<'_, bool> {
        let name = repository.clone();
        Box::pin(self.change(touches(repository), move |connection| {
            let sql = "DELETE FROM repository_blobs
                WHERE digest = $1 AND repository_id = (SELECT id FROM repositories WHERE name = $2)";
            Ok(connection.prepare_cached(sql)?.execute(params![digest.to_string(), name.as_str()])? > 0)
        }))
    }

    fn find_manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Pending<'a, Option<Arc<StoredManifest>>> {
        let ticket = match self.cache.manifest(repository.as_str(), reference) {
            Ok(manifest) => return Box::pin(std::future::ready(Ok(Some(manifest)))),
            Err(ticket) => ticket,
        };
        Box::pin(async move {
            let (name, asked) = (repository.clone(), reference.clone());
            let found =
                self.read(move |connection| manifests::find(connection, &name, &asked)).await?.map(Arc::new);
            if let Some(manifest) = &found {
                self.cache.enter_manifest(ticket, repository.as_str(), reference.clone(), manifest);
            }
            Ok(found)
        })
    }

    fn missing(&self, repository: &RepositoryName, targets: Vec<Target>) -> Pending<'_, Missing> {
        let name = repository.clone();
        Box::pin(self.read(move |connection| manifests::missing(connection, &name, &targets)))
    }

    fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: NewManifest,
        now: UnixMillis,
    ) -> Pending<'_, ()> {
        let name = repository.clone();
        Box::pin(
            self.change(touches(repository), move |connection| {
                manifests::put(connection, &name, &manifest, now)
            }),
        )
    }

    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Pending<'_, Option<Vec<String>>> {
        let name = repository.clone();
        Box::pin(
            self.change(touches(repository), move |connection| manifests::delete(connection, &name, digest)),
        )
    }

    fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Pending<'_, Option<Digest>> {
        let (name, tag) = (repository.clone(), tag.clone());
        Box::pin(self.change(touches(repository), move |connection| {
            let sql = "DELETE FROM tags WHERE name = $1
                AND repository_id = (SELECT id FROM repositories WHERE name = $2) RETURNING manifest";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([tag.as_str(), name.as_str()], |row| digest_column(row, 0)).optional()
        }))
    }

    fn delete_repository(&self, repository: &RepositoryName) -> Pending<'_, bool> {
        let name = repository.clone();
        Box::pin(
            self.change(touches(repository), move |connection| {
                manifests::delete_repository(connection, &name)
            }),
        )
    }

    fn tags(&self, repository: &RepositoryName, page: Page) -> Pending<'_, Option<Vec<String>>> {
        let name = repository.clone();
        Box::pin(self.read(move |connection| lists::tags(connection, &name, &page)))
    }

    fn repositories(&self, page: Page) -> Pending<'_, Vec<String>> {
        Box::pin(self.read(move |connection| lists::repositories(connection, &page)))
    }

    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: Digest,
        artifact_type: Option<String>,
        page: Page,
    ) -> Pending<'_, Vec<Referrer>> {
        let name = repository.clone();
        Box::pin(self.read(move |connection| {
            lists::referrers(connection, &name, subject, artifact_type.as_deref(), &page)
        }))
    }

    fn summaries(&self, search: String, page: Page) -> Pending<'_, Vec<RepositorySummary>> {
        Box::pin(self.read(move |connection| lists::summaries(connection, &search, &page)))
    }

    fn tag_summaries(
        &self,
        repository: &RepositoryName,
        offset: usize,
        most: usize,
    ) -> Pending<'_, Vec<TagSummary>> {
        let name = repository.clone();
        Box::pin(self.read(move |connection| lists::tag_summaries(connection, &name, offset, most)))
    }

    fn tags_of(&self, repository: &RepositoryName, digest: Digest) -> Pending<'_, Vec<String>> {
        let name = repository.clone();
        Box::pin(self.read(move |connection| lists::tags_of(connection, &name, digest)))
    }

    fn create_upload(&self, upload: OpenUpload) -> Pending<'_, ()> {
        Box::pin(self.writer.change(Durability::Process, Touches::Nothing, move |connection| {
            let sql = "INSERT INTO uploads (id, repository, algorithm, touched_at) VALUES ($1, $2, $3, $4)
                ON CONFLICT (id) DO UPDATE SET touched_at = excluded.touched_at";
            let OpenUpload { id, repository, algorithm, touched_at } = upload;
            connection.prepare_cached(sql)?.execute(params![
                id.to_string(),
                repository.as_str(),
                algorithm.name(),
                touched_at
            ])?;
            Ok(())
        }))
    }

    fn find_upload(&self, id: UploadId) -> Pending<'_, Option<OpenUpload>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT id, repository, algorithm, touched_at FROM uploads WHERE id = $1";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row([id.to_string()], lists::upload).optional()?;
            Ok(found.flatten())
        }))
    }

    fn remove_upload(&self, id: UploadId) -> Pending<'_, bool> {
        Box::pin(self.writer.change(Durability::Process, Touches::Nothing, move |connection| {
            Ok(connection.prepare_cached("DELETE FROM uploads WHERE id = $1")?.execute([id.to_string()])? > 0)
        }))
    }

    fn uploads_before(&self, before: UnixMillis, most: usize) -> Pending<'_, Vec<OpenUpload>> {
        Box::pin(self.read(move |connection| {
            let sql =
                "SELECT id, repository, algorithm, touched_at FROM uploads WHERE touched_at < $1 LIMIT $2";
            let mut statement = connection.prepare_cached(sql)?;
            let uploads = statement.query_map(params![before, limit(most)], lists::upload)?;
            Ok(uploads.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }))
    }

    fn cut_untagged(&self, before: UnixMillis, may_cut: MayCut) -> Pending<'_, Cut> {
        Box::pin(
            self.change(Touches::Everything, move |connection| {
                collect::untagged(connection, before, may_cut)
            }),
        )
    }

    fn cut_links(&self, before: UnixMillis, most: usize, may_cut: MayCut) -> Pending<'_, Cut> {
        Box::pin(async move {
            // Looking first keeps the cache when there is nothing to do, which is nearly always.
            if !self.read(move |connection| collect::has_loose_links(connection, before)).await? {
                return Ok(Cut::default());
            }
            self.change(Touches::Everything, move |connection| {
                collect::links(connection, before, most, may_cut)
            })
            .await
        })
    }

    fn cut_repositories(&self, before: UnixMillis) -> Pending<'_, Cut> {
        Box::pin(async move {
            if !self.read(move |connection| collect::has_empty_repositories(connection, before)).await? {
                return Ok(Cut::default());
            }
            self.change(Touches::Everything, move |connection| collect::repositories(connection, before))
                .await
        })
    }

    fn unheld_blobs(&self, after: Option<Digest>, most: usize) -> Pending<'_, Vec<Digest>> {
        Box::pin(self.read(move |connection| collect::unheld(connection, after, most)))
    }

    fn forget_blobs(&self, digests: Vec<Digest>) -> Pending<'_, Vec<Digest>> {
        Box::pin(self.change(Touches::Nothing, move |connection| collect::forget(connection, &digests)))
    }

    fn import_repository(&self, repository: ImportedRepository) -> Pending<'_, ()> {
        let touches = touches(&repository.name);
        Box::pin(self.writer.change(Durability::Process, touches, move |connection| {
            manifests::import(connection, &repository)
        }))
    }

    fn setting(&self, name: &'static str) -> Pending<'_, Option<String>> {
        Box::pin(self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT value FROM settings WHERE name = $1")?;
            statement.query_row([name], |row| row.get(0)).optional()
        }))
    }

    fn set_setting(&self, name: &'static str, value: &'static str) -> Pending<'_, ()> {
        Box::pin(self.change(Touches::Nothing, move |connection| {
            let sql = "INSERT INTO settings (name, value) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            connection.prepare_cached(sql)?.execute([name, value]).map(drop)
        }))
    }

    fn queue_event(&self, endpoint: String, body: String, at: UnixMillis) -> Pending<'_, ()> {
        Box::pin(self.writer.change(Durability::Process, Touches::Nothing, move |connection| {
            let sql = "INSERT INTO events (endpoint, body, queued_at) VALUES ($1, $2, $3)";
            connection.prepare_cached(sql)?.execute(params![endpoint, body, at]).map(drop)
        }))
    }

    fn next_event(&self, endpoint: String) -> Pending<'_, Option<(i64, String)>> {
        Box::pin(self.read(move |connection| {
            let sql = "SELECT number, body FROM events WHERE endpoint = $1 ORDER BY number LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([endpoint], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        }))
    }

    fn remove_event(&self, number: i64) -> Pending<'_, ()> {
        Box::pin(self.writer.change(Durability::Process, Touches::Nothing, move |connection| {
            connection.prepare_cached("DELETE FROM events WHERE number = $1")?.execute([number]).map(drop)
        }))
    }

    fn drop_blob(&self, digest: Digest) -> Pending<'_, ()> {
        Box::pin(self.change(Touches::Everything, move |connection| {
            for table in ["repository_blobs", "blobs"] {
                connection
                    .execute(&format!("DELETE FROM {table} WHERE digest = $1"), [digest.to_string()])?;
            }
            Ok(())
        }))
    }

    fn check_manifests(&self) -> Pending<'_, (u64, Vec<Finding>)> {
        Box::pin(self.read(collect::check_manifests))
    }

    fn known_blobs(&self, digests: Vec<Digest>) -> Pending<'_, Vec<Digest>> {
        Box::pin(self.read(move |connection| {
            let mut statement = connection.prepare_cached("SELECT 1 FROM blobs WHERE digest = $1")?;
            let mut known = Vec::new();
            for digest in digests {
                if statement.exists([digest.to_string()])? {
                    known.push(digest);
                }
            }
            Ok(known)
        }))
    }

    fn blobs(&self, after: Option<Digest>, most: usize) -> Pending<'_, Vec<(Digest, u64)>> {
        Box::pin(self.read(move |connection| lists::blobs(connection, after, most)))
    }
}

fn find_blob(
    connection: &Connection,
    repository: &str,
    digest: Digest,
) -> Result<Option<u64>, rusqlite::Error> {
    let sql = "SELECT s.size_bytes FROM repositories r
        JOIN repository_blobs b ON b.repository_id = r.id AND b.digest = $1
        JOIN blobs s ON s.digest = b.digest
        WHERE r.name = $2";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(params![digest.to_string(), repository], |row| row.get(0).map(unsigned)).optional()
}

fn link(
    connection: &Connection,
    repository: &str,
    digest: Digest,
    now: UnixMillis,
) -> Result<(), rusqlite::Error> {
    let key = repository_key(connection, repository, now)?;
    let sql = "INSERT INTO repository_blobs (repository_id, digest, linked_at) VALUES ($1, $2, $3)
        ON CONFLICT (repository_id, digest) DO UPDATE SET linked_at = excluded.linked_at";
    connection.prepare_cached(sql)?.execute(params![key, digest.to_string(), now])?;
    Ok(())
}
