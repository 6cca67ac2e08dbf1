//! Bits into bytes, the lowest first (RFC 1951, section 3.1.1).

/// Bytes that one write may take beyond what it keeps.
pub(crate) const SLACK_BYTES: usize = 8;

/// Writes bits to the begin of a slice.
#[derive(Debug, Default)]
pub(crate) struct BitWriter<'a> {
    stream: &'a mut [u8],
    at: usize,
    /// Bits that are not written yet; fewer than eight after each [`BitWriter::flush`].
    buffer: u64,
    count: u32,
}

impl BitWriter<'_> {
    /// `stream` must be [`SLACK_BYTES`] longer than what is written.
    pub(crate) fn new(stream: &mut [u8]) -> BitWriter<'_> {
        BitWriter { stream, at: 0, buffer: 0, count: 0 }
    }

    /// Adds the `count` lowest bits of `bits`, whose others are zero. At most 56 bits fit between two flushes.
    #[inline(always)]
    pub(crate) fn add(&mut self, bits: u64, count: u32) {
        debug_assert!(bits >> count == 0 && self.count + count < 64);
        self.buffer |= bits << (self.count & 63);
        self.count += count;
    }

    /// Writes all whole bytes.
    #[inline(always)]
    pub(crate) fn flush(&mut self) {
        self.stream[self.at..][..8].copy_from_slice(&self.buffer.to_le_bytes());
        let whole = self.count & !7;
        self.at += (whole / 8) as usize;
        self.buffer >>= whole & 63;
        self.count &= 7;
    }

    /// Adds zeros up to the next byte, and then `bytes`.
    pub(crate) fn align_and_copy(&mut self, bytes: &[u8]) {
        self.count = self.count.next_multiple_of(8);
        self.flush();
        self.stream[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// How many bits of the next byte are taken.
    pub(crate) fn pending(&self) -> u32 {
        self.count
    }

    /// Adds zeros up to the next byte; returns how many bytes were written.
    pub(crate) fn finish(mut self) -> usize {
        self.align_and_copy(&[]);
        self.at
    }
}
