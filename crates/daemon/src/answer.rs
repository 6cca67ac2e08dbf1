//! What goes back to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Frame, SizeHint};
use serde_json::Value;
use tokio::sync::mpsc;

/// An answer.
pub(crate) type Answer = Response<Body>;

/// The type of nearly every body.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The content of an answer. Each piece of a stream is one chunk on the wire and is flushed at once.
pub(crate) enum Body {
    /// All of it, known before.
    Whole(Option<Bytes>),
    /// Pieces as they come; an error breaks the connection off, so that nobody takes the part for the whole.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
    /// Messages as they come, the first of which was waited for.
    Messages(crate::progress::Messages),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
            Body::Messages(messages) => {
                messages.poll_next(context).map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}

/// Returns a document with status 200.
pub(crate) fn document(document: &Value) -> Answer {
    with_status(StatusCode::OK, document)
}

/// Returns a document; it ends with a line break, as Go's encoder ends it.
pub(crate) fn with_status(status: StatusCode, document: &Value) -> Answer {
    let mut text = document.to_string();
    text.push('\n');
    let mut answer = whole(Bytes::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::Whole(None));
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    answer
}

/// Returns bytes with status 200 and no type.
pub(crate) fn whole(bytes: Bytes) -> Answer {
    Response::new(Body::Whole(Some(bytes)))
}

/// Returns a stream with status 200.
pub(crate) fn stream(body: Body, content_type: &'static str) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
