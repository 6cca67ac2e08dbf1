//! What tests of every crate need: images made on the spot, a registry that misbehaves by script, a real registry.
//!
//! Promise: nothing here uses a crate of the product, so that a fault there cannot hide here.
//! Not here: assertions.

pub mod bad_registry;
pub mod docker_registry;
pub mod image;
