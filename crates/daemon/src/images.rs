//! The image half of the API: one file for each verb.

pub(crate) mod archive;
pub(crate) mod distribution;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod search;
pub(crate) mod tag;
