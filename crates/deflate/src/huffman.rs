//! Prefix codes of limited length (RFC 1951, section 3.2.2).

use std::array;

/// No tree of 286 leaves has more nodes.
const NODES_MAX: usize = 2 * 288;
/// No code of the format is longer.
const CODE_BITS_MAX: usize = 15;

/// The bits of each symbol of one alphabet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code<const N: usize> {
    /// 0 for symbols that have none.
    pub(crate) lengths: [u8; N],
    /// In the order in which they are written, the lowest first.
    pub(crate) bits: [u16; N],
}

impl<const N: usize> Code<N> {
    /// Returns the shortest code for symbols that occur `counts` times, no symbol with more than `bits_max` bits.
    ///
    /// The code is complete: where fewer than two symbols occur, two have one bit each, since some readers refuse less.
    pub(crate) fn new(counts: &[u32; N], bits_max: usize) -> Code<N> {
        let lengths = lengths(counts, bits_max);
        Code { bits: bits(&lengths), lengths }
    }

    /// How many bits the symbols take that occur `counts` times.
    pub(crate) fn size_bits(&self, counts: &[u32; N]) -> u64 {
        counts.iter().zip(&self.lengths).map(|(count, length)| u64::from(*count) * u64::from(*length)).sum()
    }
}

fn lengths<const N: usize>(counts: &[u32; N], bits_max: usize) -> [u8; N] {
    let mut lengths = [0; N];
    // The rarest first; equal ones in the order of symbols, so that the code depends on the counts alone.
    let mut ranked = [0_u64; N];
    let mut used = 0;
    for (symbol, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        ranked[used] = u64::from(*count) << 16 | symbol as u64;
        used += 1;
    }
    let symbol = |ranked: u64| (ranked & 0xffff) as usize;
    if used < 2 {
        let only = symbol(ranked[0]);
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return lengths;
    }
    let ranked = &mut ranked[..used];
    ranked.sort_unstable();
    let mut of_length = shape(ranked.iter().map(|ranked| ranked >> 16), used);
    limit(&mut of_length, bits_max);
    let mut rest = ranked.iter();
    for (length, count) in of_length.iter().enumerate().rev() {
        for ranked in rest.by_ref().take(*count as usize) {
            lengths[symbol(*ranked)] = length as u8;
        }
    }
    lengths
}

/// How many codes of each length an optimal tree has over `used` leaves with ascending `counts`; those of 63 bits and
/// more are one.
fn shape(counts: impl Iterator<Item = u64>, used: usize) -> [u32; 64] {
    // Two queues: the leaves, and the nodes above them, which come out in ascending order by themselves.
    let mut weights = [0_u64; NODES_MAX];
    let mut parents = [0_u16; NODES_MAX];
    for (weight, count) in weights.iter_mut().zip(counts) {
        *weight = count;
    }
    let (mut leaf, mut node) = (0, used);
    for new in used..2 * used - 1 {
        for _ in 0..2 {
            let is_leaf = leaf < used && (node == new || weights[leaf] <= weights[node]);
            let lightest = if is_leaf { &mut leaf } else { &mut node };
            weights[new] += weights[*lightest];
            parents[*lightest] = new as u16;
            *lightest += 1;
        }
    }
    let mut depths = [0_u16; NODES_MAX];
    let mut of_length = [0; 64];
    for place in (0..2 * used - 2).rev() {
        depths[place] = depths[usize::from(parents[place])] + 1;
        if place < used {
            of_length[usize::from(depths[place]).min(63)] += 1;
        }
    }
    of_length
}

/// Shortens codes of more than `bits_max` bits, and lengthens as few others as will make them fit.
fn limit(of_length: &mut [u32; 64], bits_max: usize) {
    let (fitting, longer) = of_length.split_at_mut(bits_max + 1);
    fitting[bits_max] += longer.iter().sum::<u32>();
    longer.fill(0);
    let taken = |(length, count): (usize, &u32)| u64::from(*count) << (bits_max - length);
    let mut taken: u64 = fitting.iter().enumerate().map(taken).sum();
    // A code turns into two that are a bit longer, and one of the longest moves into the second of them.
    while taken > 1 << bits_max {
        let longest =
            fitting[..bits_max].iter().rposition(|count| *count > 0).expect("not all fit into the longest");
        fitting[longest] -= 1;
        fitting[longest + 1] += 2;
        fitting[bits_max] -= 1;
        taken -= 1;
    }
}

fn bits<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut of_length = [0_u16; CODE_BITS_MAX + 1];
    for length in lengths {
        of_length[usize::from(*length)] += 1;
    }
    let mut next = [0_u16; CODE_BITS_MAX + 1];
    for length in 1..CODE_BITS_MAX {
        next[length + 1] = (next[length] + of_length[length]) << 1;
    }
    array::from_fn(|symbol| match lengths[symbol] {
        0 => 0,
        length => {
            let code = &mut next[usize::from(length)];
            *code += 1;
            (*code - 1).reverse_bits() >> (16 - length)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_example_of_the_rfc() {
        // RFC 1951, section 3.2.2: A to H with lengths 3, 3, 3, 3, 3, 2, 4, 4.
        let codes = bits(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let expected = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111];
        let lengths = [3, 3, 3, 3, 3, 2, 4, 4];
        for ((code, expected), length) in codes.iter().zip(expected).zip(lengths) {
            assert_eq!(code.reverse_bits() >> (16 - length), expected);
        }
    }

    #[test]
    fn lengths_are_limited_and_the_code_stays_complete() {
        // Fibonacci's numbers make the deepest tree: 20 symbols, of which the rarest would have 19 bits.
        let mut counts = [0; 20];
        let (mut one, mut next) = (1, 1);
        for count in &mut counts {
            *count = one;
            (one, next) = (next, one + next);
        }
        for bits_max in [5, 7, 14, 15, 19] {
            let lengths = lengths(&counts, bits_max);
            assert!(
                lengths.iter().all(|length| (1..=bits_max).contains(&usize::from(*length))),
                "{bits_max}"
            );
            let taken: f64 = lengths.iter().map(|length| 0.5_f64.powi(i32::from(*length))).sum();
            assert_eq!(taken, 1.0, "{bits_max}");
        }
        assert_eq!(lengths(&counts, 19)[..3], [19, 19, 18]);
    }

    #[test]
    fn a_single_symbol_has_a_complete_code() {
        assert_eq!(Code::new(&[0, 0, 5, 0], 15).lengths, [1, 0, 1, 0]);
        assert_eq!(Code::new(&[5, 0, 0, 0], 15).lengths, [1, 1, 0, 0]);
        assert_eq!(Code::new(&[0, 0, 0, 0], 15).lengths, [1, 1, 0, 0]);
    }
}
