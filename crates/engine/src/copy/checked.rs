//! A blob on its way from the source, hashed as it passes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use shale_oci::{Descriptor, Digest, Digester, VerifyError};
use shale_registry_client::{BlobSource, ByteStream};

use crate::progress::{Progress, Status};

/// Passes on what another source gives, and refuses the last byte of a blob that is not the right one.
///
/// It may be opened again at an earlier byte, as a broken upload does; each byte is hashed once.
pub(super) struct CheckedBlob {
    pub descriptor: Descriptor,
    source: Box<dyn BlobSource>,
    state: Arc<Mutex<State>>,
    progress: Arc<dyn Progress>,
}

struct State {
    /// Bytes from the begin of the blob that were hashed.
    hashed_bytes: u64,
    digester: Option<Digester>,
}

impl CheckedBlob {
    pub fn new(
        descriptor: &Descriptor,
        source: Box<dyn BlobSource>,
        progress: &Arc<dyn Progress>,
    ) -> CheckedBlob {
        let digester = Some(Digester::new(descriptor.digest.algorithm()));
        let state = Arc::new(Mutex::new(State { hashed_bytes: 0, digester }));
        CheckedBlob { descriptor: descriptor.clone(), source, state, progress: Arc::clone(progress) }
    }

    /// Takes bytes from the begin of the blob that the target has from an earlier attempt.
    pub fn take_over(&self, digester: Digester, bytes: u64) {
        *lock(&self.state) = State { hashed_bytes: bytes, digester: Some(digester) };
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Hashes what is new of `chunk`, which starts at `position`; checks the digest at the last byte.
    fn pass(&mut self, descriptor: &Descriptor, position: u64, chunk: &[u8]) -> io::Result<()> {
        let end = position + chunk.len() as u64;
        if end > descriptor.size_bytes {
            let (expected, actual) = (descriptor.size_bytes, end);
            return Err(io::Error::other(VerifyError::Size { expected, actual }));
        }
        if end > self.hashed_bytes
            && let Some(digester) = &mut self.digester
        {
            let known = usize::try_from(self.hashed_bytes.saturating_sub(position)).unwrap_or(usize::MAX);
            digester.update(&chunk[known.min(chunk.len())..]);
            self.hashed_bytes = end;
        }
        if end == descriptor.size_bytes { self.settle(descriptor.digest) } else { Ok(()) }
    }

    fn settle(&mut self, expected: Digest) -> io::Result<()> {
        match self.digester.take().map(Digester::finish) {
            Some(actual) if actual != expected => {
                Err(io::Error::other(VerifyError::Digest { expected, actual }))
            }
            _ => Ok(()),
        }
    }
}

impl BlobSource for CheckedBlob {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        Box::pin(async move {
            let total = self.descriptor.size_bytes;
            let chunks = self.source.open(offset).await?;
            let (state, descriptor) = (Arc::clone(&self.state), self.descriptor.clone());
            let (progress, id) = (Arc::clone(&self.progress), self.descriptor.digest.short());
            let mut position = offset;
            let end_state = Arc::clone(&state);
            let end_descriptor = descriptor.clone();
            let passed = chunks.and_then(move |chunk: Bytes| {
                let checked = lock(&state).pass(&descriptor, position, &chunk);
                position += chunk.len() as u64;
                progress.layer(&id, &Status::Pushing { bytes: position, total });
                std::future::ready(checked.map(|()| (position, chunk)))
            });
            // The end of the source is looked at too: a blob of no bytes has no last one, and a short one ends early.
            let end = futures_util::stream::once(std::future::ready(None));
            let mut arrived = offset;
            let stream = passed.map(Some).chain(end).filter_map(move |item| {
                std::future::ready(match item {
                    Some(Ok((position, chunk))) => {
                        arrived = position;
                        Some(Ok(chunk))
                    }
                    Some(Err(error)) => {
                        // The error itself is news enough.
                        arrived = u64::MAX;
                        Some(Err(error))
                    }
                    None if arrived < total => {
                        let size = VerifyError::Size { expected: total, actual: arrived };
                        Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, size)))
                    }
                    None if arrived == u64::MAX => None,
                    None => lock(&end_state).settle(end_descriptor.digest).err().map(Err),
                })
            });
            let stream: ByteStream = Box::pin(stream);
            Ok(stream)
        })
    }
}
