//! Makes DEFLATE (RFC 1951) of whole buffers, quickly: what deflates is nearly all of a push.
//!
//! Promise: what comes out inflates to what went in, whatever it is; the same bytes give the same stream everywhere.
//! Not here: reading DEFLATE, gzip, threads, files.
//!
//! One pass: `matches` finds repetitions, lazily, with one candidate a place; `block` joins pieces of the input to
//! blocks while one code for both is shorter than two; `huffman` makes the codes; `bits` writes.
#![forbid(unsafe_code)]

mod bits;
mod block;
mod huffman;
mod matches;
mod symbols;

use bits::{BitWriter, SLACK_BYTES};
use block::{After, Block, Counts};
use matches::{Matcher, Sequence};

/// Bytes of input after which a block may end.
const PIECE_BYTES: usize = 4 << 10;
/// Bytes of input after which a block ends in any case.
const BLOCK_BYTES_MAX: usize = 128 << 10;

/// Makes DEFLATE streams, one after the other, in memory that it keeps: 8 KiB of places and up to 0.1 MiB of a
/// block's repetitions.
#[derive(Debug, Default)]
pub struct Deflater {
    matcher: Matcher,
    /// Those of the open block.
    sequences: Vec<Sequence>,
}

impl Deflater {
    /// Writes one DEFLATE stream that inflates to `bytes` to the begin of `stream`; returns its length.
    ///
    /// `stream` has at least [`room`] for it, and what it holds behind the DEFLATE stream means nothing.
    ///
    /// Source: RFC 1951.
    ///
    /// # Panics
    /// When `stream` has less room.
    pub fn deflate(&mut self, bytes: &[u8], stream: &mut [u8]) -> usize {
        let mut bits = BitWriter::new(&mut stream[..room(bytes.len())]);
        self.matcher.restart();
        self.sequences.clear();
        let mut open: Option<Block> = None;
        loop {
            let start = self.matcher.at();
            let mut counts = Counts::default();
            let known = self.sequences.len();
            self.matcher.parse(bytes, start + PIECE_BYTES, &mut self.sequences, &mut counts);
            let end = self.matcher.at();
            let piece = Block::new(start, counts);
            let joined = match open.take() {
                None => piece,
                Some(before) => match before.joined(&piece) {
                    Some(joined) if start - before.start < BLOCK_BYTES_MAX => joined,
                    _ => {
                        before.write(&mut bits, &bytes[..start], &self.sequences[..known], After::Block);
                        self.sequences.drain(..known);
                        piece
                    }
                },
            };
            if end == bytes.len() {
                joined.write(&mut bits, bytes, &self.sequences, After::Nothing);
                return bits.finish();
            }
            open = Some(joined);
        }
    }
}

/// What [`Deflater::deflate`] needs for `length` bytes: no block is longer than its stored form, which takes five bytes for
/// each 65,535, and a block has at least 4 KiB.
pub const fn room(length: usize) -> usize {
    length + 5 * (length / PIECE_BYTES + 1) + 8 + SLACK_BYTES
}
