//! The documents of the Docker Engine API, shaped by the version in the request, and its words for sizes and times.
//!
//! Promise: key for key, order and `null` against missing included, what dockerd sends for that version.
//! Not here: behaviour; a document is made from plain values that the engine returns.

mod image;
pub mod units;
mod version;

pub use image::{GraphDriver, HistoryItem, ImageInspect, ImageSummary};
pub use version::{ApiVersion, ApiVersionError};
