//! The documents of the Docker Engine API, shaped by the version in the request.
//!
//! Promise: key for key, order and `null` against missing included, what dockerd sends for that version.
//! Not here: behaviour; a document is made from plain values that the engine returns.

mod image;
mod version;

pub use image::{GraphDriver, HistoryItem, ImageInspect, ImageSummary};
pub use version::{ApiVersion, ApiVersionError};
