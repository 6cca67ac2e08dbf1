//! Trees below one directory: layers unpacked into it, changes packed into layers, tar-split, compression.
//!
//! Promise: no call touches a path outside the directory of its [`Rootfs`], whatever an archive says, and no call lets
//! an archive choose how much memory it takes.
//! Not here: networks, digests of compressed bytes, the layout of the store, async.

mod compression;
mod directory;
mod early_sync;
mod hashing;
mod name;
mod pack;
mod tar;
pub mod tar_split;
mod unpack;

pub use compression::{Compression, GzipPool, GzipWriter, decompress};
pub use directory::Rootfs;
pub use early_sync::EarlySync;
pub use name::EntryName;
pub use pack::{Pack, PackError, Packed, pack, pack_entry, pack_with_tar_split};
pub use shale_tree::remove_tree;
pub use tar::{ArchiveError, TarEntry, TarWriter, Timestamp};
pub use unpack::{
    Devices, LimitReached, Limits, Owners, Replace, RootEntry, Unpack, UnpackError, Unpacked, Whiteouts,
    unpack,
};
