//! Parsers of the header fields that a registry steers a client with: pure functions over bounded text.
//!
//! Promise: no input makes one of them panic, loop, or allocate more than a small multiple of its length.

pub mod challenge;
pub mod content_range;
pub mod link;
pub mod retry_after;
