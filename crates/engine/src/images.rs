//! Looking at images and naming them.

pub mod filter;
pub mod find;
pub mod history;
pub(crate) mod hold;
pub mod inspect;
pub mod list;
pub mod platform;
pub mod prune;
pub mod remove;
pub mod tag;
pub mod usage;
