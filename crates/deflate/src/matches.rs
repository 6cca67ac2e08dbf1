//! Repetitions: where the bytes that come now were before.
//!
//! A table knows, for each hash of five bytes, the last place where they began. One place is compared and not a chain of
//! them: one candidate with a look at the next byte ("lazy") gave shorter streams than two without, in less time.

use crate::block::Counts;
use crate::symbols::{LENGTH_MAX, LENGTH_MIN, WINDOW, distance_symbol};

/// 2^12 places of two bytes leave the first cache to the window; twice as many make the stream 1 % shorter and are slower.
const HASH_BITS: u32 = 12;
/// Shorter ones are not worth their bits.
const REPETITION_MIN: usize = 4;
/// Longer ones are taken without a comparison with what begins at the next byte, which makes the stream 2.5 % shorter.
const LAZY_BELOW: usize = 7;
/// Bytes that one look at a place compares; this many may be more.
const LOOK_BYTES: usize = 7;
/// What is left at the end is literal, so that each place that is looked at has two looks of eight bytes behind it, and the
/// few that are put off for the next byte.
const TAIL_BYTES: usize = 24;
/// After each of this many literals without a repetition one more byte is skipped at each step, up to [`SKIP_MAX`].
const SKIP_AFTER: usize = 32;
const SKIP_MAX: usize = 4;

/// Literals, and a repetition behind them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequence {
    pub(crate) literals: u32,
    /// 0 where there is no repetition: the end of a piece.
    pub(crate) distance: u16,
    /// The symbol of `distance`.
    pub(crate) distance_symbol: u8,
    /// How much longer the repetition is than the shortest one that has a symbol.
    pub(crate) length_above_min: u8,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    /// The low bits of places. One that is too old to tell from a newer one is compared like any other.
    last: Box<[u16; 1 << HASH_BITS]>,
    at: usize,
}

/// What the table knows of a place.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// The bits that differ; eight bytes.
    difference: u64,
    distance: usize,
}

impl Look {
    #[inline(always)]
    fn is_repetition(self) -> bool {
        self.difference as u32 == 0 && self.is_near()
    }

    #[inline(always)]
    fn is_near(self) -> bool {
        self.distance.wrapping_sub(1) < WINDOW
    }

    /// How many bytes are the same, up to [`LOOK_BYTES`].
    #[inline(always)]
    fn length(self) -> usize {
        same_bytes(self.difference)
    }
}

impl Default for Matcher {
    fn default() -> Matcher {
        Matcher { last: Box::new([0; 1 << HASH_BITS]), at: 0 }
    }
}

impl Matcher {
    /// Forgets all places.
    pub(crate) fn restart(&mut self) {
        self.last.fill(0);
        self.at = 0;
    }

    /// The first byte that is not in a sequence.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Appends the sequences of what follows, up to about byte `end`, and counts their symbols.
    #[inline(always)]
    pub(crate) fn parse(
        &mut self,
        bytes: &[u8],
        end: usize,
        sequences: &mut Vec<Sequence>,
        counts: &mut Counts,
    ) {
        let last = &mut *self.last;
        let searched = bytes.len().saturating_sub(TAIL_BYTES);
        let end = end.min(searched);
        let mut at = self.at;
        let mut literals_start = at;
        while at < end {
            let mut found = look(last, bytes, at);
            if !found.is_repetition() {
                counts.literal(bytes[at]);
                at += 1;
                if at - literals_start >= SKIP_AFTER {
                    let skipped = ((at - literals_start) / SKIP_AFTER).min(SKIP_MAX).min(end - at);
                    for byte in &bytes[at..at + skipped] {
                        counts.literal(*byte);
                    }
                    at += skipped;
                }
                continue;
            }
            let mut length = found.length();
            loop {
                // It is in the table then, whatever comes of it.
                let next = look(last, bytes, at + 1);
                // One jump for all reasons: each of them alone cannot be foretold.
                let next_length = next.length();
                if !((next_length > length) & (length < LAZY_BELOW) & next.is_near()) {
                    break;
                }
                counts.literal(bytes[at]);
                at += 1;
                (found, length) = (next, next_length);
            }
            let length = extended(length, found.distance, bytes, at);
            let sequence = Sequence {
                literals: (at - literals_start) as u32,
                distance: found.distance as u16,
                distance_symbol: distance_symbol(found.distance) as u8,
                length_above_min: (length - LENGTH_MIN) as u8,
            };
            counts.repetition(&sequence);
            sequences.push(sequence);
            let after = at + length;
            enter::<2>(last, bytes, at + 2);
            if after <= searched {
                if length > 8 {
                    enter::<2>(last, bytes, after - 6);
                }
                enter::<4>(last, bytes, after - 4);
            }
            at = after;
            literals_start = after;
        }
        if at >= searched {
            for byte in &bytes[at..] {
                counts.literal(*byte);
            }
            at = bytes.len();
        }
        let literals = (at - literals_start) as u32;
        if literals > 0 {
            sequences.push(Sequence { literals, distance: 0, distance_symbol: 0, length_above_min: 0 });
        }
        self.at = at;
    }
}

/// Compares the place that the table names with `at`, and puts `at` in its stead.
#[inline(always)]
fn look(last: &mut [u16; 1 << HASH_BITS], bytes: &[u8], at: usize) -> Look {
    let current = word(bytes, at);
    let place = &mut last[hash(current)];
    let distance = usize::from((at as u16).wrapping_sub(*place));
    *place = at as u16;
    // An empty place is byte 0, so no distance reaches before the begin.
    Look { difference: word(bytes, at - distance) ^ current, distance }
}

/// Returns how long a repetition really is of which one look saw `length` bytes.
#[inline(always)]
fn extended(mut length: usize, distance: usize, bytes: &[u8], at: usize) -> usize {
    let before = at - distance;
    debug_assert!(length >= REPETITION_MIN);
    // Most end within the second look, so it is made without a jump.
    let more = same_bytes(word(bytes, before + LOOK_BYTES) ^ word(bytes, at + LOOK_BYTES));
    length += if length < LOOK_BYTES { 0 } else { more };
    if length < 2 * LOOK_BYTES {
        return length;
    }
    while length < LENGTH_MAX && at + length + 8 <= bytes.len() {
        let difference = word(bytes, before + length) ^ word(bytes, at + length);
        if difference != 0 {
            length += difference.trailing_zeros() as usize / 8;
            break;
        }
        length += 8;
    }
    length.min(LENGTH_MAX)
}

/// How many bytes of two words are the same, up to seven.
#[inline(always)]
fn same_bytes(difference: u64) -> usize {
    // The highest bit is set so that there is one.
    (difference | 1 << 63).trailing_zeros() as usize / 8
}

/// Puts `COUNT` places from `first` on into the table, up to four: so many times five bytes lie in one word.
///
/// A repetition enters its begin and its end, at most nine places. All of them would make the stream as short and take
/// 4 % more time; the first three alone make it 1.5 % longer.
#[inline(always)]
fn enter<const COUNT: usize>(last: &mut [u16; 1 << HASH_BITS], bytes: &[u8], first: usize) {
    let word = word(bytes, first);
    for place in 0..COUNT {
        last[hash(word >> (8 * place))] = (first + place) as u16;
    }
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes[at..][..8].try_into().expect("eight bytes");
    u64::from_le_bytes(eight)
}

/// Of the first five bytes.
#[inline(always)]
fn hash(word: u64) -> usize {
    ((word << 24).wrapping_mul(0xcf_1bbc_dcbb) >> (64 - HASH_BITS)) as usize
}
