//! Blobs: reading them with resume, asking for them, uploading and mounting them.

mod body;
mod delete;
mod read;
mod source;
mod upload;

pub(crate) use body::Progress;
pub use read::{BlobError, BlobStream, HashedBlob};
pub use source::{BlobSource, ByteStream, FileSource, MadeBlob};
pub use upload::{Mount, Upload, UploadError};
