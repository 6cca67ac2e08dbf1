//! Between sockets and blocking code: what it writes goes out piece by piece, and what comes in is read by it.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// Size of the pieces in which an archive goes out.
pub(crate) const PIECE_BYTES: usize = 128 << 10;
/// Pieces that wait for a client, or for the disk.
pub(crate) const PIECES_MAX: usize = 4;

/// How much of a body is still read after it was refused.
const UNWANTED_BYTES_MAX: usize = 1 << 30;

/// Hands what is written to an answer, piece by piece.
pub(crate) struct Pieces(pub(crate) mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        self.0.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of a request, to be read by blocking code.
pub(crate) struct Received {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Received {
    pub(crate) fn of(mut body: Incoming) -> Received {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            let mut unwanted_bytes = 0;
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => frame.into_data().map_err(drop).ok().map(Ok),
                    Err(error) => Some(Err(io::Error::other(error))),
                };
                let Some(piece) = piece else { continue };
                let (is_end, length) = (piece.is_err(), piece.as_ref().map_or(0, Bytes::len));
                // Nobody reads any more. The client still writes, and would not see the answer if that failed.
                if sender.send(piece).await.is_err() {
                    unwanted_bytes += length;
                }
                if is_end || unwanted_bytes > UNWANTED_BYTES_MAX {
                    return;
                }
            }
        });
        Received { pieces, piece: Bytes::new() }
    }
}

impl Read for Received {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = bytes.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut bytes[..length]);
        Ok(length)
    }
}
