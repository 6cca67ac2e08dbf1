//! The tree of an image outside the store: as a directory, or as a tar.

use std::io::{self, Write};
use std::path::Path;

use shale_dockerfile::Dialect;
use shale_oci::{ChainId, ImageConfig, ImageId};
use shale_rootfs::{Pack, Rootfs, Whiteouts, pack};
use shale_store::{LayerWriter, MountedLayer, Store};

use crate::container::disk;
use crate::copy::place::{Destination, Placer};
use crate::error::BuildError;
use crate::owner::Owner;
use crate::tree::Tree;

/// Copies the files of `image` into the directory `target`, which may hold others; they belong to this process's user.
///
/// # Errors
/// [`BuildError`]; some files may have been copied.
pub fn export_directory(store: &Store, image: ImageId, target: &Path) -> Result<(), BuildError> {
    let root = Root::mount(store, image)?;
    std::fs::create_dir_all(target).map_err(|source| disk("make", target, source))?;
    let tree = Tree::root(root.mounted.path()).map_err(|source| disk("open", root.mounted.path(), source))?;
    let read = |source| disk("read", root.mounted.path(), source);
    let found = tree.find("").map_err(read)?.expect("the root of a tree is there");
    let entries = tree.list(b"").map_err(read)?;
    let destination = Destination::open(target).map_err(|source| disk("open", target, source))?;
    let owner = Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
    let placer = Placer { dialect: Dialect::BuildKit, owner: Some(owner), mode: None };
    placer
        .copy_directory(&tree, &found, &entries, &destination, b"")
        .map_err(|fault| BuildError::Copy { keyword: "output", fault })
}

/// Writes the files of `image` as one tar.
///
/// # Errors
/// [`BuildError`]; a part may have been written.
pub fn export_tar(store: &Store, image: ImageId, out: &mut dyn Write) -> Result<(), BuildError> {
    let root = Root::mount(store, image)?;
    let path = root.mounted.path();
    let tree = Rootfs::open(path).map_err(|source| disk("open", path, source))?;
    pack(&tree, out, &Pack { whiteouts: Whiteouts::Literal, ..Pack::default() })?;
    Ok(())
}

/// The mounted root of an image.
struct Root {
    mounted: MountedLayer,
    // Behind the mount, so that its directory is removed after the mount is gone.
    _place: LayerWriter,
}

impl Root {
    fn mount(store: &Store, image: ImageId) -> Result<Root, BuildError> {
        let stored = store.image(image)?.ok_or(BuildError::ImageGone(image))?;
        let config = ImageConfig::parse(&stored.config)?;
        let place = store.begin_layer()?;
        let mounted = match ChainId::stack(&config.rootfs.diff_ids).pop() {
            Some(top) => store.mount_chain(&place, top)?,
            None => store.mount_layer(&place, None, None)?,
        };
        Ok(Root { mounted, _place: place })
    }
}

/// Unpacks the tar `archive` into the directory `path`, which exists.
///
/// # Errors
/// [`BuildError`]; part of it may be there then.
pub fn unpack_directory(archive: &mut dyn io::Read, path: &Path) -> Result<(), BuildError> {
    let root = shale_rootfs::Rootfs::open(path).map_err(|source| disk("open", path, source))?;
    let options = shale_rootfs::Unpack {
        whiteouts: shale_rootfs::Whiteouts::Literal,
        devices: shale_rootfs::Devices::Skip,
        ..shale_rootfs::Unpack::default()
    };
    shale_rootfs::unpack(&root, archive, &mut io::sink(), &options).map(drop).map_err(BuildError::Unpack)
}
