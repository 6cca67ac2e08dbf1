//! Lengths and distances as symbols and extra bits (RFC 1951, section 3.2.5).

/// Bytes of the shortest repetition that has a symbol.
pub(crate) const LENGTH_MIN: usize = 3;
/// Bytes of the longest repetition.
pub(crate) const LENGTH_MAX: usize = 258;
/// How far a repetition may lie back.
pub(crate) const WINDOW: usize = 32 << 10;

/// Literals, the end of a block, lengths.
pub(crate) const LITERALS: usize = 286;
/// Distances.
pub(crate) const DISTANCES: usize = 30;
/// The symbol that ends a block.
pub(crate) const END_OF_BLOCK: usize = 256;
/// The symbol of the first length.
pub(crate) const FIRST_LENGTH: usize = 257;

/// For each length symbol: the shortest length, and how many bits tell which.
pub(crate) const LENGTHS: [(u16, u8); LITERALS - FIRST_LENGTH] = length_symbols();
/// For each distance symbol: the shortest distance, and how many bits tell which.
pub(crate) const DISTANCE_RANGES: [(u16, u8); DISTANCES] = distance_symbols();

static LENGTH_SYMBOL: [u8; 256] = symbol_of_length();
/// Distances up to 256 one by one, then in steps of 128.
static DISTANCE_SYMBOL: [u8; 512] = symbol_of_distance();

/// The symbol, among the length symbols, of the length that is so much longer than the shortest.
#[inline(always)]
pub(crate) fn length_symbol(above_min: u8) -> usize {
    LENGTH_SYMBOL[usize::from(above_min)].into()
}

/// The symbol of `distance`.
#[inline(always)]
pub(crate) fn distance_symbol(distance: usize) -> usize {
    let place = distance - 1;
    let place = if place < 256 { place } else { 256 + (place >> 7) };
    usize::from(DISTANCE_SYMBOL[place & 511])
}

const fn length_symbols() -> [(u16, u8); LITERALS - FIRST_LENGTH] {
    let mut symbols = [(0, 0); LITERALS - FIRST_LENGTH];
    let mut symbol = 0;
    let mut first = LENGTH_MIN as u16;
    while symbol < symbols.len() - 1 {
        let extra = if symbol < 8 { 0 } else { symbol as u8 / 4 - 1 };
        symbols[symbol] = (first, extra);
        first += 1 << extra;
        symbol += 1;
    }
    // The longest has a symbol of its own, although the one before it reaches there.
    symbols[symbol] = (LENGTH_MAX as u16, 0);
    symbols
}

const fn distance_symbols() -> [(u16, u8); DISTANCES] {
    let mut symbols = [(0, 0); DISTANCES];
    let mut symbol = 0;
    let mut first = 1;
    while symbol < DISTANCES {
        let extra = if symbol < 4 { 0 } else { symbol as u8 / 2 - 1 };
        symbols[symbol] = (first, extra);
        first += 1 << extra;
        symbol += 1;
    }
    symbols
}

const fn symbol_of_length() -> [u8; 256] {
    let mut table = [0; 256];
    let mut symbol = 0;
    let mut length = LENGTH_MIN;
    while length <= LENGTH_MAX {
        while symbol + 1 < LENGTHS.len() && LENGTHS[symbol + 1].0 as usize <= length {
            symbol += 1;
        }
        table[length - LENGTH_MIN] = symbol as u8;
        length += 1;
    }
    table
}

const fn symbol_of_distance() -> [u8; 512] {
    let mut table = [0; 512];
    let mut symbol = 0;
    let mut place = 0;
    while place < 512 {
        let distance = if place < 256 { place + 1 } else { ((place - 256) << 7) + 1 };
        if place == 256 {
            symbol = 0;
        }
        while symbol + 1 < DISTANCES && DISTANCE_RANGES[symbol + 1].0 as usize <= distance {
            symbol += 1;
        }
        table[place] = symbol as u8;
        place += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_those_of_the_tables_of_the_rfc() {
        // RFC 1951, section 3.2.5: (length, symbol, extra bits) and (distance, symbol, extra bits).
        for (length, symbol, extra) in [
            (3, 257, 0),
            (10, 264, 0),
            (11, 265, 1),
            (12, 265, 1),
            (13, 266, 1),
            (34, 272, 2),
            (35, 273, 3),
            (227, 284, 5),
            (257, 284, 5),
            (258, 285, 0),
        ] {
            assert_eq!(FIRST_LENGTH + length_symbol((length - 3) as u8), symbol, "{length}");
            assert_eq!(LENGTHS[symbol - FIRST_LENGTH].1, extra, "{length}");
        }
        for (distance, symbol, extra) in [
            (1, 0, 0),
            (4, 3, 0),
            (5, 4, 1),
            (6, 4, 1),
            (7, 5, 1),
            (192, 14, 6),
            (193, 15, 6),
            (256, 15, 6),
            (257, 16, 7),
            (1024, 19, 8),
            (24576, 28, 13),
            (24577, 29, 13),
            (32768, 29, 13),
        ] {
            assert_eq!(distance_symbol(distance), symbol, "{distance}");
            assert_eq!(DISTANCE_RANGES[symbol].1, extra, "{distance}");
        }
    }
}
