//! What a person sees: sizes, ages, tables, templates, progress, prompts, escaping.
//!
//! Promise: the same value gives the same text as docker's command line prints for it.
//! Not here: the store, the network, what a command does; plain data in, text out.

pub mod age;
pub mod json;
pub mod listing;
pub mod output;
pub mod progress;
pub mod prompt;
pub mod screen;
pub mod table;
pub mod template;

pub use shale_engine_api::units;
