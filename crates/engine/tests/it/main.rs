//! The engine on a data root of its own, without a network.

mod archive;
mod import;
