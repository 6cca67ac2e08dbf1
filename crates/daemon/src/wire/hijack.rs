//! A connection taken over: after the head of the answer it carries a container's streams, in both directions.

use std::future::Future;
use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::answer::{Answer, Body};
use crate::daemon::Daemon;
use crate::request::Call;
use crate::wire::detach_keys::DetachKeys;

/// The client's end of a connection that was taken over.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Bytes that are on their way from a container to a client, at most.
const BUFFER_BYTES: usize = 64 << 10;

/// How a container's stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Bare bytes: a terminal's.
    Raw,
    /// Eight bytes before each piece, which say whose it is.
    Multiplexed,
}

impl Framing {
    /// Returns the media type; before 1.42 both had the same.
    pub(crate) fn media_type(self, call: &Call) -> &'static str {
        match self {
            Framing::Multiplexed if call.version >= shale_engine_api::ApiVersion::one(42) => {
                "application/vnd.docker.multiplexed-stream"
            }
            _ => "application/vnd.docker.raw-stream",
        }
    }

    /// Returns `bytes` of a stream as they are written.
    pub(crate) fn frame(self, stream: u8, bytes: &[u8]) -> Vec<u8> {
        match self {
            Framing::Raw => bytes.to_vec(),
            Framing::Multiplexed => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
                [&[stream, 0, 0, 0], &length[..], bytes].concat()
            }
        }
    }
}

/// Hands the connection of `call` over to `work`, and answers that this was done.
///
/// A client that asked for no other protocol gets the output as the body of a plain answer, and has no input.
pub(crate) fn hand_over<W, F>(daemon: &Daemon, call: &Call, framing: Framing, work: W) -> Answer
where
    W: FnOnce(Box<dyn Duplex>) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let content_type = HeaderValue::from_static(framing.media_type(call));
    let (slot, stopping) = (daemon.slot.clone(), daemon.stopping.clone());
    let Some(upgrade) = call.upgrade.clone() else {
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
        let (mut output, mut input) = tokio::io::split(theirs);
        let (pieces, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let _ = input.shutdown().await;
            let mut buffer = vec![0; BUFFER_BYTES];
            while let Ok(count @ 1..) = output.read(&mut buffer).await {
                if pieces.send(Ok(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            tokio::select! {
                () = work(Box::new(ours)) => {}
                () = stopping.wait() => {}
            }
            drop(slot);
        });
        let mut answer = Response::new(Body::Pieces(receiver));
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
        return answer;
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => tokio::select! {
                () = work(Box::new(TokioIo::new(connection))) => {}
                () = stopping.wait() => {}
            },
            Err(error) => tracing::debug!("a connection was not handed over: {error}"),
        }
        drop(slot);
    });
    let mut answer = Response::new(Body::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.extensions_mut().insert(hyper::ext::ReasonPhrase::from_static(b"UPGRADED"));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    answer
}

/// How two joined streams came apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinEnd {
    /// The container's stream ended, or one side went away.
    Ended,
    /// The user typed the keys that mean "leave it alone".
    Detached,
}

/// Carries bytes between a client and a container until the container's side ends; the client's half-close is passed
/// on and ends nothing. `output` says how the container's bytes are written; most come with their frames.
pub(crate) async fn join(
    client: Box<dyn Duplex>,
    container: std::os::unix::net::UnixStream,
    has_input: bool,
    keys: Option<DetachKeys>,
    output: Framing,
) -> JoinEnd {
    let adopt = || {
        container.set_nonblocking(true)?;
        UnixStream::from_std(container)
    };
    let container: UnixStream = match adopt() {
        Ok(container) => container,
        Err(error) => {
            tracing::warn!("a container's stream was lost: {error}");
            return JoinEnd::Ended;
        }
    };
    let (mut from_container, to_container) = container.into_split();
    let (from_client, mut to_client) = tokio::io::split(client);
    let input = async move {
        if !has_input {
            return std::future::pending().await;
        }
        match copy_input(from_client, to_container, keys).await {
            Ok(JoinEnd::Detached) => JoinEnd::Detached,
            // Only the output says when it is over.
            _ => std::future::pending().await,
        }
    };
    let output = async {
        let _ = match output {
            Framing::Raw => tokio::io::copy(&mut from_container, &mut to_client).await.map(drop),
            Framing::Multiplexed => copy_in_frames(&mut from_container, &mut to_client).await,
        };
        JoinEnd::Ended
    };
    let end = tokio::select! {
        end = output => end,
        end = input => end,
    };
    let _ = to_client.shutdown().await;
    end
}

/// Writes what a terminal wrote as pieces of standard output.
async fn copy_in_frames(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&Framing::Multiplexed.frame(1, &buffer[..count])).await?;
    }
}

async fn copy_input(
    mut from: impl AsyncRead + Unpin,
    mut to: tokio::net::unix::OwnedWriteHalf,
    mut keys: Option<DetachKeys>,
) -> io::Result<JoinEnd> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(JoinEnd::Ended);
        }
        match &mut keys {
            None => to.write_all(&buffer[..count]).await?,
            Some(keys) => match keys.pass(&buffer[..count]) {
                None => return Ok(JoinEnd::Detached),
                Some(bytes) => to.write_all(&bytes).await?,
            },
        }
    }
}
