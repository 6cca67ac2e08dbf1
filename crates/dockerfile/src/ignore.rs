//! `.dockerignore`: which paths of a context are left out.

mod file;
mod pattern;

pub use file::{IgnoreError, IgnoreFault, IgnoreFile, IgnoreRule, Verdict};
