//! A blob that is read while it arrives: first what an earlier pull kept, then what the socket sends.
//!
//! Whoever inflates it is the slowest of a large layer's threads, so the digest is taken, and what the socket sends is
//! kept, by a thread of their own. Chunks are shared between the two, not copied.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use shale_oci::{Descriptor, Digest, Digester};
use shale_store::{BlobClaim, DiskError};
use tokio::sync::mpsc;

use super::layer::LayerError;

/// Pieces that were read and wait to be kept.
const PIECES_MAX: usize = 32;

/// A blob, before anything of it is read.
pub struct ArrivingBlob<'a> {
    size_bytes: u64,
    claim: &'a mut BlobClaim,
    kept: Box<dyn Read + Send>,
    chunks: mpsc::Receiver<Bytes>,
    on_read: &'a (dyn Fn(u64) + Sync),
}

impl<'a> ArrivingBlob<'a> {
    /// Returns the blob whose first bytes are kept with `claim`; the rest comes through `chunks`. `on_read` is called
    /// with the bytes read so far.
    ///
    /// # Errors
    /// [`DiskError`] when what is kept cannot be opened.
    pub fn new(
        blob: &Descriptor,
        claim: &'a mut BlobClaim,
        chunks: mpsc::Receiver<Bytes>,
        on_read: &'a (dyn Fn(u64) + Sync),
    ) -> Result<ArrivingBlob<'a>, DiskError> {
        let kept = Box::new(claim.reader()?);
        Ok(ArrivingBlob { size_bytes: blob.size_bytes, claim, kept, chunks, on_read })
    }

    /// The digest that the manifest gives it.
    pub fn digest(&self) -> Digest {
        self.claim.digest()
    }

    /// Returns its two halves, one for each thread. [`Keeper::keep`] ends when the [`Arrival`] is dropped.
    pub fn split(self) -> (Arrival<'a>, Keeper<'a>) {
        let (sender, pieces) = sync_channel(PIECES_MAX);
        let keeper = Keeper {
            size_bytes: self.size_bytes,
            digester: Digester::new(self.claim.digest().algorithm()),
            claim: self.claim,
            pieces,
        };
        let arrival = Arrival {
            kept: self.kept,
            chunks: self.chunks,
            chunk: Bytes::new(),
            position: 0,
            pieces: sender,
            on_read: self.on_read,
        };
        (arrival, keeper)
    }
}

/// Bytes of the blob, in its order.
enum Piece {
    /// An earlier pull kept them.
    Known(Bytes),
    /// The socket sent them.
    New(Bytes),
}

/// The bytes of the blob, for whoever inflates them.
pub struct Arrival<'a> {
    kept: Box<dyn Read + Send>,
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    position: u64,
    pieces: SyncSender<Piece>,
    on_read: &'a (dyn Fn(u64) + Sync),
}

impl Arrival<'_> {
    /// Reads what nobody asked for, so that all of the blob is kept and hashed.
    pub fn drain(mut self) {
        let mut rest = [0; 16 << 10];
        while matches!(self.read(&mut rest), Ok(count) if count > 0) {}
    }

    /// The keeper ends early only when the disk failed, and says so itself.
    fn hand_on(&self, piece: Piece) -> io::Result<()> {
        self.pieces.send(piece).map_err(|_| io::Error::other("the blob cannot be kept"))
    }
}

impl Read for Arrival<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut count = self.kept.read(into)?;
        if count > 0 {
            self.hand_on(Piece::Known(Bytes::copy_from_slice(&into[..count])))?;
        } else {
            if self.chunk.is_empty() {
                let Some(chunk) = self.chunks.blocking_recv() else { return Ok(0) };
                self.hand_on(Piece::New(chunk.clone()))?;
                self.chunk = chunk;
            }
            count = into.len().min(self.chunk.len());
            into[..count].copy_from_slice(&self.chunk.split_to(count));
        }
        self.position += count as u64;
        (self.on_read)(self.position);
        Ok(count)
    }
}

/// Takes the digest of the blob and keeps what is new of it with the claim.
pub struct Keeper<'a> {
    size_bytes: u64,
    claim: &'a mut BlobClaim,
    digester: Digester,
    pieces: Receiver<Piece>,
}

impl Keeper<'_> {
    /// Works until the [`Arrival`] is dropped, then checks length and digest of the whole.
    ///
    /// # Errors
    /// [`LayerError::Keep`] at once when the disk fails, [`LayerError::Size`] and [`LayerError::Digest`] when the bytes are
    /// not those of the manifest.
    pub fn keep(mut self) -> Result<(), LayerError> {
        let digest = self.claim.digest();
        let mut length = 0;
        for piece in self.pieces {
            let bytes = match piece {
                Piece::Known(bytes) => bytes,
                Piece::New(bytes) => {
                    self.claim.append(&bytes)?;
                    bytes
                }
            };
            self.digester.update(&bytes);
            length += bytes.len() as u64;
        }
        if length != self.size_bytes {
            return Err(LayerError::Size { digest, expected: self.size_bytes, actual: length });
        }
        match self.digester.finish() {
            actual if actual == digest => Ok(()),
            actual => Err(LayerError::Digest { expected: digest, actual }),
        }
    }
}
