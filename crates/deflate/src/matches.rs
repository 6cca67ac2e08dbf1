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
/// Longer ones are taken without a look at the next byte; that look makes the stream 2.5 % shorter, and one at longer ones
/// 0.2 %.
const LAZY_BELOW: usize = 6;
/// Bytes that the first look at a place compares; this many may be more.
const FIRST_LOOK: usize = 7;
/// What is left at the end is literal, so that each place has eight bytes behind it.
const TAIL_BYTES: usize = 16;
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

/// The bytes at two places are the same: how many, and how far apart.
#[derive(Debug, Clone, Copy)]
struct Match {
    length: usize,
    distance: usize,
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
            let Some(mut found) = look(last, bytes, at) else {
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
            };
            extend(&mut found, bytes, at);
            while found.length < LAZY_BELOW && at + 1 < end {
                let Some(mut next) = look(last, bytes, at + 1) else { break };
                extend(&mut next, bytes, at + 1);
                if next.length <= found.length {
                    break;
                }
                counts.literal(bytes[at]);
                at += 1;
                found = next;
            }
            let sequence = Sequence {
                literals: (at - literals_start) as u32,
                distance: found.distance as u16,
                distance_symbol: distance_symbol(found.distance) as u8,
                length_above_min: (found.length - LENGTH_MIN) as u8,
            };
            counts.repetition(&sequence);
            sequences.push(sequence);
            let after = at + found.length;
            for place in at + 1..after.min(searched) {
                last[hash(word(bytes, place))] = place as u16;
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
fn look(last: &mut [u16; 1 << HASH_BITS], bytes: &[u8], at: usize) -> Option<Match> {
    let current = word(bytes, at);
    let place = &mut last[hash(current)];
    let distance = usize::from((at as u16).wrapping_sub(*place));
    *place = at as u16;
    // An empty place is byte 0, so no distance reaches before the begin.
    let difference = word(bytes, at - distance) ^ current;
    if difference as u32 != 0 || distance.wrapping_sub(1) >= WINDOW {
        return None;
    }
    // The highest bit is set so that there is one: seven bytes may be more.
    let length = (difference | 1 << 63).trailing_zeros() as usize / 8;
    debug_assert!(length >= REPETITION_MIN);
    Some(Match { length, distance })
}

/// Finds how long a repetition really is that the first look took for its longest.
#[inline(always)]
fn extend(found: &mut Match, bytes: &[u8], at: usize) {
    if found.length < FIRST_LOOK {
        return;
    }
    let before = at - found.distance;
    let mut length = found.length;
    while length < LENGTH_MAX && at + length + 8 <= bytes.len() {
        let difference = word(bytes, before + length) ^ word(bytes, at + length);
        if difference != 0 {
            length += difference.trailing_zeros() as usize / 8;
            break;
        }
        length += 8;
    }
    found.length = length.min(LENGTH_MAX);
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
