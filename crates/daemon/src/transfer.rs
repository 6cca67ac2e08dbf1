//! Between sockets and blocking code: what it writes goes out piece by piece, and what comes in is read by it.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::body::RequestBody;

/// Size of the pieces in which an archive goes out.
pub(crate) const PIECE_BYTES: usize = 128 << 10;
/// Pieces that wait for a client, or for the disk.
pub(crate) const PIECES_MAX: usize = 4;

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
    pub(crate) fn of(mut body: RequestBody) -> Received {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => frame.into_data().map_err(drop).ok().map(Ok),
                    Err(error) => Some(Err(io::Error::other(error))),
                };
                let Some(piece) = piece else { continue };
                let is_end = piece.is_err();
                // Nobody reads any more, or there is no more.
                if sender.send(piece).await.is_err() || is_end {
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
