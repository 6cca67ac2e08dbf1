//! The body of an upload, and watching that it goes out.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::Response;

use crate::blob::ByteStream;
use crate::error::RequestError;
use crate::options::ClientOptions;

/// How far a body has got. A clone sees the same body.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<State>);

#[derive(Default)]
struct State {
    sent_bytes: AtomicU64,
    /// The source has no chunk ready: it is the one that is waited for.
    is_starved: AtomicBool,
    has_ended: AtomicBool,
    source_error: Mutex<Option<io::Error>>,
}

impl Progress {
    /// Returns the bytes that went to the connection.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.0.sent_bytes.load(Ordering::Relaxed)
    }

    /// Returns why the source failed, if it did.
    pub(crate) fn take_source_error(&self) -> Option<io::Error> {
        self.0.source_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Makes a body of `stream` that reports here.
    pub(crate) fn body(&self, stream: ByteStream) -> reqwest::Body {
        reqwest::Body::wrap_stream(Watched { stream, progress: self.clone() })
    }

    /// Waits for the answer; gives up when the connection takes no byte for the stall timeout, or when the answer does
    /// not come after the last byte.
    pub(crate) async fn watch(
        &self,
        options: &ClientOptions,
        host: &str,
        answer: impl Future<Output = Result<Response, RequestError>>,
    ) -> Result<Response, RequestError> {
        let timeouts = &options.timeouts;
        let tick = (timeouts.stall / 4).max(Duration::from_millis(1));
        let mut answer = std::pin::pin!(answer);
        let mut idle = Duration::ZERO;
        let mut seen = self.sent_bytes();
        loop {
            if let Ok(answer) = tokio::time::timeout(tick, answer.as_mut()).await {
                return answer;
            }
            let sent = self.sent_bytes();
            let has_ended = self.0.has_ended.load(Ordering::Relaxed);
            if sent != seen || (self.0.is_starved.load(Ordering::Relaxed) && !has_ended) {
                seen = sent;
                idle = Duration::ZERO;
                continue;
            }
            idle += tick;
            let waited = if has_ended { timeouts.upload_response } else { timeouts.stall };
            if idle >= waited {
                return Err(RequestError::Timeout { host: host.to_owned(), waited });
            }
        }
    }
}

struct Watched {
    stream: ByteStream,
    progress: Progress,
}

impl Stream for Watched {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let polled = self.stream.as_mut().poll_next(context);
        let state = &self.progress.0;
        state.is_starved.store(polled.is_pending(), Ordering::Relaxed);
        match polled {
            Poll::Ready(Some(Ok(chunk))) => {
                state.sent_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => {
                let told = io::Error::new(error.kind(), "the source of the upload failed");
                *state.source_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Poll::Ready(Some(Err(told)))
            }
            Poll::Ready(None) => {
                state.has_ended.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
