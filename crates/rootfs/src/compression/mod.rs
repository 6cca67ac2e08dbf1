//! The four compressed forms a layer may have, undone in this process, and gzip made on all cores.

mod gzip;

use std::io::{self, BufReader, Cursor, Read};

pub use gzip::{GzipPool, GzipWriter};

use crate::tar::starts_with_header;

/// Input and output pieces of the decoders.
const BUFFER_BYTES: usize = 256 << 10;
/// The largest window is 128 MiB, what `zstd --long` makes; a frame may claim 2 GiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Enough to see whether this is a tar header after all.
const PREFIX_BYTES: usize = 512;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// The xz container of LZMA2.
    Xz,
}

impl Compression {
    /// Tells the compression of what begins with `prefix`.
    ///
    /// With 512 bytes or more, a tar whose first name happens to look like a compressed stream is known as a tar.
    pub fn detect(prefix: &[u8]) -> Compression {
        if starts_with_header(prefix) {
            return Compression::None;
        }
        match prefix {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }

    /// Returns a reader of what `compressed` holds in this form.
    ///
    /// Several members or frames one after the other are one stream; anything else after them is an error, as in Go.
    /// Memory is bounded whatever the stream claims; reading to the end checks the checksums at the end.
    ///
    /// # Errors
    /// Those of setting up a decoder.
    pub fn decoder<'a>(self, compressed: Box<dyn Read + Send + 'a>) -> io::Result<Box<dyn Read + Send + 'a>> {
        let buffered = |reader| BufReader::with_capacity(BUFFER_BYTES, reader);
        Ok(match self {
            Compression::None => compressed,
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(compressed))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(compressed))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(compressed))),
            Compression::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, flags)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(buffered(compressed), stream))
            }
        })
    }
}

/// Returns a reader of the uncompressed form of `reader`, whose compression its first bytes tell.
///
/// # Errors
/// Those of reading the first bytes, and of setting up a decoder.
pub fn decompress<'a>(mut reader: Box<dyn Read + Send + 'a>) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    (&mut reader).take(PREFIX_BYTES as u64).read_to_end(&mut prefix)?;
    let compression = Compression::detect(&prefix);
    compression.decoder(Box::new(Cursor::new(prefix).chain(reader)))
}
