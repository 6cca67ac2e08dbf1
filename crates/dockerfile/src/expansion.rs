//! Variables, quotes and escapes: from a word as written to the text that it means.

mod lexer;
mod pattern;

pub use lexer::{
    EXPANSION_DEPTH_MAX, EXPANSION_SIZE_MAX, ExpandError, ExpandFault, Expanded, Expander, Lookup, Quoting,
};
