//! The body of a request, read to its end even where nobody wants it.
//!
//! A client that still writes when the connection is closed does not see the answer that was there already: it tells of a
//! broken pipe, and not of why it was refused.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

/// How much of a body is read that nobody wants.
const UNWANTED_BYTES_MAX: usize = 1 << 30;

/// A body; what is left of it when it is dropped is read and thrown away.
pub(crate) struct RequestBody(Option<Incoming>);

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> RequestBody {
        RequestBody(Some(body))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut unwanted_bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                unwanted_bytes += frame.data_ref().map_or(0, Bytes::len);
                if unwanted_bytes > UNWANTED_BYTES_MAX {
                    return;
                }
            }
        });
    }
}
