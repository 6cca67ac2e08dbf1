//! Work on the store that no request waits for: collecting garbage, checking bytes.

pub mod check;
pub mod collect;
