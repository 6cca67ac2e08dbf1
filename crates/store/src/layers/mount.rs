//! Mounting an unpublished layer over the layers that it is to stand on, so that what is changed there is the layer.
//!
//! Promise: the options are Docker's, so the upper directory that a step leaves is one that Docker would have left; the
//! mount goes when the value is dropped.
//! Not here: mounts that outlive the process, and `layerdb/mounts`.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use shale_oci::ChainId;

use super::{Index, LayerError, LayerWriter, check};
use crate::Store;
use crate::durable::{self, DiskError};

/// The kernel takes one page of mount options.
const OPTIONS_SIZE_MAX: usize = 4095;

/// Why a layer was not mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The layer below is gone or damaged.
    #[error("layer {0} is not in the store")]
    BaseMissing(ChainId),
    /// The layer below cannot be loaded.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// More layers than one mount can have.
    #[error("too many layers for one mount")]
    TooManyLayers,
    /// The disk or the kernel failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A mounted layer.
#[derive(Debug)]
#[must_use = "a dropped mount is unmounted"]
pub struct MountedLayer {
    path: PathBuf,
    mounted: bool,
}

impl Store {
    /// Mounts `layer` for writing on top of `init`, which is another unpublished layer, and of the layers of `base`.
    ///
    /// Without anything below, nothing is mounted: the layer's own directory is the tree. Nothing that is written is made
    /// durable, whoever asks for it: [`Store::publish_layers`] does that for all of it.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted.
    pub fn mount_layer(
        &self,
        layer: &LayerWriter,
        init: Option<&LayerWriter>,
        base: Option<ChainId>,
    ) -> Result<MountedLayer, MountError> {
        let mut lower =
            init.map(|init| format!("l/{}", init.unpublished.link)).into_iter().collect::<Vec<_>>();
        lower.extend(self.lower_of(base)?);
        if lower.is_empty() {
            return Ok(MountedLayer { path: layer.diff_path(), mounted: false });
        }
        let directory = layer.unpublished.directory();
        durable::ensure_dir(&directory.join("work"), 0o700)?;
        let cache_id = layer.cache_id();
        let options =
            format!("lowerdir={},upperdir={cache_id}/diff,workdir={cache_id}/work", lower.join(":"));
        let target = directory.join("merged");
        // Otherwise the end of the mount, and every fsync of a package manager, writes the whole file system to the disk,
        // other people's files too. Kernels before 5.10 do not know the option.
        match self.mount_overlay(&target, &format!("volatile,{options}")) {
            Err(MountError::Disk(error)) if error.kind() == std::io::ErrorKind::InvalidInput => {
                self.mount_overlay(&target, &options)
            }
            mounted => mounted,
        }
    }

    /// Mounts the layers of `top` for reading, at the place of `layer`, an unpublished layer that stays empty.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted.
    pub fn mount_chain(&self, layer: &LayerWriter, top: ChainId) -> Result<MountedLayer, MountError> {
        let lower = self.lower_of(Some(top))?.ok_or(MountError::BaseMissing(top))?;
        if !lower.contains(':') {
            // The kernel wants two directories for a mount without an upper one.
            let only = Index::new(&self.layout).load(top)?.ok_or(MountError::BaseMissing(top))?;
            return Ok(MountedLayer { path: self.layer_diff_path(&only), mounted: false });
        }
        self.mount_overlay(&layer.unpublished.directory().join("merged"), &format!("lowerdir={lower}"))
    }

    fn lower_of(&self, base: Option<ChainId>) -> Result<Option<String>, MountError> {
        let Some(base) = base else { return Ok(None) };
        let layer = Index::new(&self.layout).load(base)?.ok_or(MountError::BaseMissing(base))?;
        check::expected_lower(&self.layout, &layer)?.ok_or(MountError::BaseMissing(base)).map(Some)
    }

    fn mount_overlay(&self, target: &Path, options: &str) -> Result<MountedLayer, MountError> {
        let options = format!("{}{options}", common_options());
        if options.len() > OPTIONS_SIZE_MAX {
            return Err(MountError::TooManyLayers);
        }
        let options = CString::new(options).expect("names of the layout hold no NUL");
        durable::ensure_dir(target, 0o700)?;
        let failed = |errno: Errno| DiskError::new("mount", target, errno);
        // Relative names keep 125 layers below a page of options, so the mount is made from inside `overlay2`, in a
        // thread whose working directory is its own.
        std::thread::scope(|scope| {
            let mounting = scope.spawn(|| {
                // SAFETY: only the working directory stops being shared, and this thread ends below.
                #[allow(unsafe_code)]
                unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }?;
                rustix::process::chdir(self.layout.overlay())?;
                rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())
            });
            mounting.join().expect("mounting does not panic").map_err(failed)
        })?;
        Ok(MountedLayer { path: target.to_owned(), mounted: true })
    }
}

/// What every mount of Docker has, as far as this kernel knows it, and no feature that hides content elsewhere.
fn common_options() -> &'static str {
    static OPTIONS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    OPTIONS.get_or_init(|| {
        let knows = |name: &str| Path::new("/sys/module/overlay/parameters").join(name).exists();
        let in_user_namespace = std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]));
        // "off" still follows redirects where the module says so, which the kernel refuses next to userxattr.
        let redirect_dir = if in_user_namespace { "redirect_dir=nofollow," } else { "redirect_dir=off," };
        let mut options = String::new();
        for (name, option) in
            [("index", "index=off,"), ("metacopy", "metacopy=off,"), ("redirect_dir", redirect_dir)]
        {
            if knows(name) {
                options.push_str(option);
            }
        }
        if in_user_namespace {
            options.push_str("userxattr,");
        }
        options
    })
}

impl MountedLayer {
    /// Returns where the tree is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts; what was changed is in the layer's directory then.
    ///
    /// # Errors
    /// [`DiskError`] when the kernel refuses; the mount is then taken away as soon as nobody uses it.
    pub fn unmount(mut self) -> Result<(), DiskError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), DiskError> {
        if !std::mem::take(&mut self.mounted) {
            return Ok(());
        }
        let ended = match rustix::mount::unmount(&self.path, UnmountFlags::empty()) {
            Err(Errno::BUSY) => rustix::mount::unmount(&self.path, UnmountFlags::DETACH),
            ended => ended,
        };
        let _ = std::fs::remove_dir(&self.path);
        if let Some(directory) = self.path.parent() {
            // The kernel's mark of a volatile mount, which Docker's layers do not have.
            let _ = std::fs::remove_dir_all(directory.join("work/work/incompat"));
        }
        ended.map_err(|errno| DiskError::new("unmount", &self.path, errno))
    }
}

impl Drop for MountedLayer {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl LayerWriter {
    /// Returns a directory beside the layer's files that goes with the layer and is never part of it; for the small files
    /// that a container is given while the layer is made.
    ///
    /// # Errors
    /// [`DiskError`] when it cannot be made.
    pub fn scratch_path(&self) -> Result<PathBuf, DiskError> {
        let path = self.unpublished.directory().join("scratch");
        durable::ensure_dir(&path, 0o700)?;
        Ok(path)
    }
}
