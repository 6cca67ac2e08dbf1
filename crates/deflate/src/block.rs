//! Blocks: what one code serves (RFC 1951, sections 3.2.3 to 3.2.7).

use crate::bits::BitWriter;
use crate::huffman::Code;
use crate::matches::Sequence;
use crate::symbols::{
    DISTANCE_RANGES, DISTANCES, END_OF_BLOCK, FIRST_LENGTH, LENGTH_MIN, LENGTHS, LITERALS, length_symbol,
};

/// Four literals and what was left of a byte fit into one word.
const LITERAL_BITS_MAX: usize = 14;
const DISTANCE_BITS_MAX: usize = 15;
/// Code lengths are coded themselves: lengths 0 to 15, and three kinds of repetition.
const LENGTH_CODES: usize = 19;
const LENGTH_CODE_BITS_MAX: usize = 7;
/// The order in which the lengths of those codes are written.
const LENGTH_CODE_ORDER: [usize; LENGTH_CODES] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Bytes in a stored block.
const STORED_BYTES_MAX: usize = 0xffff;

/// About what a code takes at the begin of a block, and each symbol in it: four bits, and four more for the time that it
/// takes to make the code. The stream is 0.2 % longer for that, and made in 4 % less time.
const HEADER_BITS: f32 = 60.0;
const HEADER_SYMBOL_BITS: f32 = 8.0;

/// How often each symbol occurs.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { literals: [0; LITERALS], distances: [0; DISTANCES] }
    }
}

impl Counts {
    #[inline(always)]
    pub(crate) fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
    }

    #[inline(always)]
    pub(crate) fn repetition(&mut self, sequence: &Sequence) {
        self.literals[FIRST_LENGTH + length_symbol(sequence.length_above_min)] += 1;
        self.distances[usize::from(sequence.distance_symbol)] += 1;
    }

    fn joined(&self, other: &Counts) -> Counts {
        let mut joined = self.clone();
        joined.literals.iter_mut().zip(other.literals).for_each(|(count, more)| *count += more);
        joined.distances.iter_mut().zip(other.distances).for_each(|(count, more)| *count += more);
        joined
    }

    /// About how many bits these symbols take with a code of their own.
    fn cost(&self) -> f32 {
        HEADER_BITS + cost(&self.literals) + cost(&self.distances)
    }
}

/// What follows a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Block,
    Nothing,
}

impl After {
    /// The bit that a block begins with.
    fn bit(self) -> u64 {
        u64::from(self == After::Nothing)
    }
}

/// A part of the input that will have one code.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) start: usize,
    counts: Counts,
    cost: f32,
}

impl Block {
    pub(crate) fn new(start: usize, counts: Counts) -> Block {
        Block { start, cost: counts.cost(), counts }
    }

    /// One block of this one and `next`, which follows it, where that is shorter than two.
    pub(crate) fn joined(&self, next: &Block) -> Option<Block> {
        let joined = Block::new(self.start, self.counts.joined(&next.counts));
        (joined.cost <= self.cost + next.cost).then_some(joined)
    }

    /// Writes the block, which ends where `input` ends, and whose sequences are `sequences`.
    pub(crate) fn write(mut self, bits: &mut BitWriter, input: &[u8], sequences: &[Sequence], after: After) {
        let bytes = &input[self.start..];
        self.counts.literals[END_OF_BLOCK] = 1;
        let literals = Code::new(&self.counts.literals, LITERAL_BITS_MAX);
        let distances = Code::new(&self.counts.distances, DISTANCE_BITS_MAX);
        let header = Header::new(&literals, &distances);
        let size_bits = header.size_bits()
            + literals.size_bits(&self.counts.literals)
            + distances.size_bits(&self.counts.distances)
            + extra_bits(&self.counts.literals[FIRST_LENGTH..], &LENGTHS)
            + extra_bits(&self.counts.distances, &DISTANCE_RANGES);
        if size_bits >= stored_bits(bytes.len(), bits.pending()) {
            return store(bits, bytes, after);
        }
        header.write(bits, after);
        write_sequences(bits, bytes, sequences, &literals, &distances);
        bits.add(literals.bits[END_OF_BLOCK].into(), literals.lengths[END_OF_BLOCK].into());
        bits.flush();
    }
}

fn extra_bits(counts: &[u32], ranges: &[(u16, u8)]) -> u64 {
    counts.iter().zip(ranges).map(|(count, (_, extra))| u64::from(*count) * u64::from(*extra)).sum()
}

/// What [`store`] writes when `pending` bits of a byte are taken.
fn stored_bits(length: usize, pending: u32) -> u64 {
    let blocks = length.div_ceil(STORED_BYTES_MAX).max(1) as u64;
    let first = u64::from((pending + 3).next_multiple_of(8) - pending);
    first + (blocks - 1) * 8 + blocks * 32 + 8 * length as u64
}

fn store(bits: &mut BitWriter, bytes: &[u8], after: After) {
    let mut rest = bytes;
    loop {
        let stored;
        (stored, rest) = rest.split_at(rest.len().min(STORED_BYTES_MAX));
        let after = if rest.is_empty() { after } else { After::Block };
        bits.add(after.bit(), 3);
        let length = stored.len() as u16;
        bits.align_and_copy(&[length.to_le_bytes(), (!length).to_le_bytes()].concat());
        bits.align_and_copy(stored);
        if rest.is_empty() {
            return;
        }
    }
}

/// The code lengths of a block, run by run, with the code that they have themselves.
struct Header {
    literals: usize,
    distances: usize,
    /// A code length or a kind of run, and how long the run is beyond its least.
    runs: Vec<(u8, u8)>,
    code: Code<LENGTH_CODES>,
    counts: [u32; LENGTH_CODES],
}

/// Repeats the length before 3 to 6 times, 0 for 3 to 10 times, 0 for 11 to 138 times.
const REPEAT: u8 = 16;
const ZEROS: u8 = 17;
const MANY_ZEROS: u8 = 18;

impl Header {
    fn new(literals: &Code<LITERALS>, distances: &Code<DISTANCES>) -> Header {
        let used = |lengths: &[u8]| lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1);
        let (literal_count, distance_count) = (used(&literals.lengths), used(&distances.lengths));
        let lengths = [&literals.lengths[..literal_count], &distances.lengths[..distance_count]].concat();
        let mut runs = Vec::with_capacity(lengths.len());
        for run in lengths.chunk_by(|one, next| one == next) {
            add_runs(&mut runs, run[0], run.len());
        }
        let mut counts = [0; LENGTH_CODES];
        for (kind, _) in &runs {
            counts[usize::from(*kind)] += 1;
        }
        let code = Code::new(&counts, LENGTH_CODE_BITS_MAX);
        Header { literals: literal_count, distances: distance_count, runs, code, counts }
    }

    /// How many lengths of the code for lengths are written.
    fn code_lengths(&self) -> usize {
        let used = LENGTH_CODE_ORDER.iter().rposition(|kind| self.code.lengths[*kind] > 0);
        used.map_or(0, |last| last + 1).max(4)
    }

    fn size_bits(&self) -> u64 {
        let extra: u64 = self.runs.iter().map(|(kind, _)| u64::from(run_bits(*kind))).sum();
        3 + 5 + 5 + 4 + 3 * self.code_lengths() as u64 + self.code.size_bits(&self.counts) + extra
    }

    fn write(&self, bits: &mut BitWriter, after: After) {
        bits.add(after.bit(), 1);
        bits.add(0b10, 2);
        bits.add((self.literals - FIRST_LENGTH) as u64, 5);
        bits.add((self.distances - 1) as u64, 5);
        let code_lengths = self.code_lengths();
        bits.add((code_lengths - 4) as u64, 4);
        bits.flush();
        for kind in &LENGTH_CODE_ORDER[..code_lengths] {
            bits.add(self.code.lengths[*kind].into(), 3);
            bits.flush();
        }
        for (kind, extra) in &self.runs {
            let place = usize::from(*kind);
            bits.add(self.code.bits[place].into(), self.code.lengths[place].into());
            bits.add((*extra).into(), run_bits(*kind));
            bits.flush();
        }
    }
}

fn run_bits(kind: u8) -> u32 {
    match kind {
        REPEAT => 2,
        ZEROS => 3,
        MANY_ZEROS => 7,
        _ => 0,
    }
}

fn add_runs(runs: &mut Vec<(u8, u8)>, length: u8, count: usize) {
    let mut rest = count;
    if length == 0 {
        while rest >= 11 {
            let many = rest.min(138);
            runs.push((MANY_ZEROS, (many - 11) as u8));
            rest -= many;
        }
        if rest >= 3 {
            runs.push((ZEROS, (rest - 3) as u8));
            rest = 0;
        }
    } else {
        runs.push((length, 0));
        rest -= 1;
        while rest >= 3 {
            let many = rest.min(6);
            runs.push((REPEAT, (many - 3) as u8));
            rest -= many;
        }
    }
    runs.extend(std::iter::repeat_n((length, 0), rest));
}

/// Bits and how many they are: a code and what follows it, ready to be written.
#[derive(Debug, Clone, Copy)]
struct Ready {
    bits: u32,
    count: u32,
}

fn write_sequences(
    bits: &mut BitWriter,
    bytes: &[u8],
    sequences: &[Sequence],
    literals: &Code<LITERALS>,
    distances: &Code<DISTANCES>,
) {
    let literal: [Ready; 256] = std::array::from_fn(|byte| Ready {
        bits: literals.bits[byte].into(),
        count: literals.lengths[byte].into(),
    });
    let length: [Ready; 256] = std::array::from_fn(|above_min| {
        let symbol = length_symbol(above_min as u8);
        let (first, extra) = LENGTHS[symbol];
        let count = u32::from(literals.lengths[FIRST_LENGTH + symbol]);
        let code = u32::from(literals.bits[FIRST_LENGTH + symbol]);
        let rest = (above_min + LENGTH_MIN) as u32 - u32::from(first);
        Ready { bits: code | rest << count, count: count + u32::from(extra) }
    });
    // A copy, so that it stays in registers.
    let mut writer = std::mem::take(bits);
    let mut rest = bytes;
    for sequence in sequences {
        let (run, after) = rest.split_at(sequence.literals as usize);
        write_literals(&mut writer, run, &literal);
        rest = after;
        if sequence.distance == 0 {
            continue;
        }
        let above_min = usize::from(sequence.length_above_min);
        rest = &rest[LENGTH_MIN + above_min..];
        let Ready { bits: code, count } = length[above_min];
        writer.add(code.into(), count);
        let symbol = usize::from(sequence.distance_symbol);
        let (first, extra) = DISTANCE_RANGES[symbol];
        writer.add(distances.bits[symbol].into(), distances.lengths[symbol].into());
        writer.add((sequence.distance - first).into(), extra.into());
        writer.flush();
    }
    *bits = writer;
}

#[inline(always)]
fn write_literals(bits: &mut BitWriter, run: &[u8], literal: &[Ready; 256]) {
    let add = |bits: &mut BitWriter, byte: u8| {
        let Ready { bits: code, count } = literal[usize::from(byte)];
        bits.add(code.into(), count);
    };
    let (fours, few) = run.as_chunks::<4>();
    for four in fours {
        four.iter().for_each(|byte| add(bits, *byte));
        bits.flush();
    }
    few.iter().for_each(|byte| add(bits, *byte));
    bits.flush();
}

/// Counts that [`cost`] takes together, so that the compiler may use the vectors of any processor.
const LANES: usize = 8;

/// About how many bits the symbols take that occur `counts` times, with a code of their own and what the code takes.
///
/// Additions and multiplications in an order that is fixed, so all machines agree.
fn cost(counts: &[u32]) -> f32 {
    let total: u32 = counts.iter().sum();
    let total_log = log(total);
    let (lanes, few) = counts.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for counts in lanes {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += symbol_cost(*count, total_log);
        }
    }
    let few = few.iter().map(|count| symbol_cost(*count, total_log));
    sums.into_iter().chain(few).sum()
}

#[inline(always)]
fn symbol_cost(count: u32, total_log: f32) -> f32 {
    // A code has at least one bit. What does not occur costs nothing, since its logarithm is a number all the same.
    let bits = (total_log - log(count)).max(1.0);
    let header = if count == 0 { 0.0 } else { HEADER_SYMBOL_BITS };
    count as i32 as f32 * bits + header
}

/// The binary logarithm of `number`, which is below 2^31, to two thousandths; of 0 a number.
#[inline(always)]
fn log(number: u32) -> f32 {
    // IEEE 754: eight bits of exponent above 23 of mantissa.
    let bits = (number as i32 as f32).to_bits();
    let exponent = ((bits >> 23) as i32 - 127) as f32;
    let rest = f32::from_bits(bits & 0x7f_ffff | 0x3f80_0000) - 1.0;
    // Right at 1, 4/3, 5/3 and 2.
    exponent + rest + rest * (1.0 - rest) * (0.418_993 - 0.153_971 * rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_two_thousandths() {
        for number in [1, 2, 3, 7, 100, 255, 256, 257, 4095, 65_537, 1_000_000, (1 << 31) - 1] {
            let error = f64::from(log(number)) - f64::from(number).log2();
            assert!(error.abs() < 0.002, "{number}: {error}");
        }
    }

    #[test]
    fn costs_are_those_of_the_entropy() {
        // 3 of 4 symbols: 1 bit each (0.415 rounded up); 1 of 4: 2 bits; two codes in the header.
        assert_eq!(cost(&[3, 0, 1]), 3.0 + 2.0 + 2.0 * HEADER_SYMBOL_BITS);
        assert_eq!(cost(&[5; 16]), 80.0 * 4.0 + 16.0 * HEADER_SYMBOL_BITS);
        assert_eq!(cost(&[0; 30]), 0.0);
    }
}
