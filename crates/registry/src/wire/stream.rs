//! A plain connection: TCP or a Unix socket, with sendfile for mapped parts of files and a limit on standing still.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use super::mapping::Mappings;

/// What one sendfile call may send, so that a fast reader does not keep a worker thread for itself.
const SENDFILE_BYTES_MAX: usize = 4 << 20;

/// An accepted socket.
pub(crate) enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// A socket that hyper reads from and writes to.
pub(crate) struct Stream {
    socket: Socket,
    mappings: Arc<Mappings>,
    activity: Arc<Activity>,
    // What was read before and is to be read again.
    before: Bytes,
    send_timeout: Duration,
    // Armed while a write waits for the peer; one allocation per connection that ever waits.
    stalled: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Stream {
    /// Wraps `socket`; a write that makes no progress for `send_timeout` fails.
    pub fn new(socket: Socket, send_timeout: Duration) -> Stream {
        Stream {
            socket,
            mappings: Arc::default(),
            activity: Arc::default(),
            before: Bytes::new(),
            send_timeout,
            stalled: None,
            waiting: false,
        }
    }

    /// Returns the mappings that this connection recognises.
    pub fn mappings(&self) -> Arc<Mappings> {
        Arc::clone(&self.mappings)
    }

    /// Returns what this connection tells of its work.
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Has `bytes` read again before what comes from the socket.
    pub fn give_back(&mut self, bytes: Bytes) {
        self.before = bytes;
    }

    /// Waits until there is something to read, or the peer is gone.
    pub async fn readable(&self) -> io::Result<()> {
        if self.before.is_empty() { self.socket.readable().await } else { Ok(()) }
    }

    /// Passes `progress` on, or fails when the peer took nothing for too long.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if progress.is_ready() {
            self.waiting = false;
            return progress;
        }
        let deadline = Instant::now() + self.send_timeout;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(deadline);
        }
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(first) = buffers.iter().position(|buffer| !buffer.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        let buffers = &buffers[first..];
        if let Some((file, offset)) = self.mappings.find(buffers[0].as_ptr()) {
            return self.socket.poll_send_file(context, &file, offset, buffers[0].len());
        }
        let plain = buffers.iter().position(|buffer| self.mappings.find(buffer.as_ptr()).is_some());
        match plain {
            // More follows at once: the kernel puts the head and the first bytes of the file into one segment.
            Some(plain) => self.socket.poll_send_more(context, &buffers[..plain]),
            None => self.socket.poll_send_all(context, buffers),
        }
    }
}

impl Socket {
    /// Waits until the peer sent something, or is gone.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.readable().await,
            Socket::Unix(socket) => socket.readable().await,
        }
    }

    fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_attempt(context, |socket| {
            let mut offset = offset;
            match rustix::fs::sendfile(socket, file, Some(&mut offset), length.min(SENDFILE_BYTES_MAX))? {
                // The file is shorter than it was when it was opened: somebody cut a published blob.
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                sent => Ok(sent),
            }
        })
    }

    fn poll_send_more(
        &mut self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_attempt(context, |socket| {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            Ok(sendmsg(socket, buffers, &mut SendAncillaryBuffer::default(), flags)?)
        })
    }

    fn poll_send_all(
        &mut self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, buffers),
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(context, buffers),
        }
    }

    fn poll_attempt(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let attempted = match self {
                Socket::Tcp(socket) => {
                    ready!(socket.poll_write_ready(context))?;
                    socket.try_io(Interest::WRITABLE, || attempt(socket.as_fd()))
                }
                Socket::Unix(socket) => {
                    ready!(socket.poll_write_ready(context))?;
                    socket.try_io(Interest::WRITABLE, || attempt(socket.as_fd()))
                }
            };
            match attempted {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if !stream.before.is_empty() {
            let length = stream.before.len().min(cursor.remaining());
            let part = stream.before.split_to(length);
            cursor.put_slice(&part);
            return Poll::Ready(Ok(()));
        }
        // SAFETY: the bytes go to tokio's ReadBuf as uninitialised, which only initialises; nothing is made uninitialised.
        #[allow(unsafe_code)]
        let filled = unsafe {
            let mut buffer = ReadBuf::uninit(cursor.as_mut());
            let read = match &mut stream.socket {
                Socket::Tcp(socket) => Pin::new(socket).poll_read(context, &mut buffer),
                Socket::Unix(socket) => Pin::new(socket).poll_read(context, &mut buffer),
            };
            ready!(read)?;
            buffer.filled().len()
        };
        // Here and not above: looking without finding anything is no activity, and the clock that parks an idle connection
        // makes hyper look.
        stream.activity.touch();
        // SAFETY: `filled` bytes of the cursor were written just above.
        #[allow(unsafe_code)]
        unsafe {
            cursor.advance(filled);
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.activity.set_unflushed(true);
        let progress = stream.poll_send(context, buffers);
        stream.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has every byte that a write took, and hyper has none left when it flushes.
        self.activity.set_unflushed(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
