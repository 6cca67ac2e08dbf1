//! Images as files: archives that Docker, skopeo and podman exchange, OCI layouts, and bare file systems.
//!
//! Promise: an archive is never extracted to the disk and no name in it is ever used as a path; nothing of it becomes
//! visible before all that was asked of it is whole and checked.
//! Not here: files that the user names are opened by the program, which knows how to speak of them.

pub mod import;
pub mod load;
pub(crate) mod members;
pub mod save;
mod spool;
mod tar_index;

pub use members::MembersError;
pub use tar_index::TarIndexError;
