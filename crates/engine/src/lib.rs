//! The use cases on images: pull, push, tag, remove, save, load, import, inspect, history, explain; and on containers.
//!
//! Promise: each use case reads like its story from top to bottom, and the name that makes a result visible is set last.
//! Plain values in, plain values out.
//! Not here: printing, argument parsing, HTTP servers, paths of the store.

pub mod archive;
pub mod check;
pub mod compare;
pub mod containers;
pub mod copy;
mod engine;
pub mod explain;
pub mod images;
mod layer_tar;
pub mod machine;
pub mod networks;
mod pipe;
pub mod progress;
pub mod pull;
pub mod push;
pub mod remote;
pub mod volumes;

pub use engine::{Engine, Privileges};
pub use shale_store::{Access, ContainerState, DiskError, OpenError};
