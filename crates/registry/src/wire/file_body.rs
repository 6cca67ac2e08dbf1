//! The body of an answer that is a part of a file.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::mapping::Mappings;

/// One mapping at most: address space is not endless, and a length must fit hyper's counters.
const MAPPING_BYTES_MAX: u64 = 1 << 30;
/// What is read at once where the bytes must pass through us (TLS).
const READ_BYTES: u64 = 256 * 1024;

/// A part of a file, given out front to back.
pub struct FileBody {
    file: Arc<File>,
    offset: u64,
    end: u64,
    way: Way,
}

enum Way {
    /// The connection can call sendfile.
    Mapped(Arc<Mappings>),
    /// The connection needs the bytes; one read runs ahead.
    Read(Option<JoinHandle<io::Result<Bytes>>>),
}

impl FileBody {
    /// Returns the bytes from `offset` to before `end`; through sendfile where the connection has `mappings`.
    pub fn new(file: Arc<File>, offset: u64, end: u64, mappings: Option<Arc<Mappings>>) -> FileBody {
        let way = mappings.map_or(Way::Read(None), Way::Mapped);
        FileBody { file, offset, end, way }
    }

    /// Returns the number of bytes that were not given out yet.
    pub fn remaining(&self) -> u64 {
        self.end - self.offset
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.remaining() == 0 {
            return Poll::Ready(None);
        }
        let bytes = match &mut self.way {
            Way::Mapped(mappings) => {
                let length = (self.end - self.offset).min(MAPPING_BYTES_MAX);
                mappings.map(&self.file, self.offset, usize::try_from(length).expect("at most 1 GiB"))
            }
            Way::Read(job) => {
                let running = job.get_or_insert_with(|| read_ahead(&self.file, self.offset, self.end));
                let read = ready!(Pin::new(running).poll(context));
                *job = None;
                read.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            }
        };
        if let Ok(bytes) = &bytes {
            self.offset += bytes.len() as u64;
            if let Way::Read(job) = &mut self.way
                && self.offset < self.end
            {
                *job = Some(read_ahead(&self.file, self.offset, self.end));
            }
        }
        Poll::Ready(Some(bytes))
    }
}

fn read_ahead(file: &Arc<File>, offset: u64, end: u64) -> JoinHandle<io::Result<Bytes>> {
    let file = Arc::clone(file);
    let length = usize::try_from((end - offset).min(READ_BYTES)).expect("at most 256 KiB");
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, offset)?;
        Ok(Bytes::from(buffer))
    })
}
