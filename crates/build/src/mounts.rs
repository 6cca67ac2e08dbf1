//! `RUN --mount`: what a command sees that no layer keeps.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, unlinkat};
use shale_dockerfile::{MountKind, Origin, Run, Script, Step};
use shale_runtime::ContainerSpec;
use shale_runtime::spec::{Mount, TmpfsMount};

use crate::build::Builder;
use crate::container::{bind, disk};
use crate::copy::place::Destination;
use crate::error::BuildError;
use crate::stage::StageState;
use crate::step::{clean, join_path};
use crate::tree::{Tree, follow};

/// The places that mounts need and the image does not have, deepest last.
pub(crate) struct AddedPlaces(Vec<Vec<u8>>);

impl AddedPlaces {
    /// Takes the places away again, unless the command left something in them.
    pub fn remove(self, root: &Path) {
        let Ok(root) = Destination::open(root) else { return };
        for path in self.0.iter().rev() {
            let Ok((parent, name)) = root.parent_of(path) else { continue };
            // A directory goes only if it is empty, a file only if nothing was written to it.
            if unlinkat(&parent, name, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
            if stat.is_ok_and(|stat| stat.st_size == 0 && stat.st_mode & 0o170_000 == 0o100_000) {
                let _ = unlinkat(&parent, name, AtFlags::empty());
            }
        }
    }
}

impl Builder<'_> {
    /// Adds the mounts of a `RUN` to its container, and notes which places were missing.
    #[allow(clippy::too_many_arguments)] // One call.
    pub(crate) fn add_mounts(
        &mut self,
        spec: &mut ContainerSpec,
        stage: &StageState,
        step: &Step,
        run: &Run,
        script: &Script,
        root: &Path,
        scratch: &Path,
    ) -> Result<AddedPlaces, BuildError> {
        self.add_volumes(spec, stage, root, scratch)?;
        let volumes = spec.mounts.len();
        for (number, (mount, origin)) in run.mounts.iter().zip(&step.mount_origins).enumerate() {
            let made = match mount.kind {
                MountKind::Bind => Some(self.bind_mount(stage, mount, origin.as_ref(), number, scratch)?),
                MountKind::Cache => Some(self.cache_mount(stage, mount)?),
                MountKind::Tmpfs => {
                    let mut options = vec!["mode=1777".to_owned()];
                    options
                        .extend(mount.size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}")));
                    Some(Mount::Tmpfs(TmpfsMount { target: target(stage, mount)?, options }))
                }
                MountKind::Secret => self.secret_mount(spec, stage, mount, number, scratch)?,
                MountKind::Ssh if mount.is_required => {
                    return Err(BuildError::Mount("RUN --mount=type=ssh: no ssh agent was given".to_owned()));
                }
                MountKind::Ssh => None,
            };
            spec.mounts.extend(made);
        }
        if let Script::File { name, content } = script {
            let source = scratch.join("script");
            write_file(&source, content.as_bytes(), 0o755)?;
            spec.mounts.push(bind(source, Path::new("/dev/pipes").join(name), true));
        }
        missing_places(root, &spec.mounts[volumes..])
    }

    fn bind_mount(
        &mut self,
        stage: &StageState,
        mount: &shale_dockerfile::Mount,
        origin: Option<&Origin>,
        number: usize,
        scratch: &Path,
    ) -> Result<Mount, BuildError> {
        let target = target(stage, mount)?;
        let source = mount.source.as_deref().unwrap_or("/");
        let not_found = || BuildError::Mount(format!("RUN --mount=type=bind: {source} not found"));
        if !mount.is_read_only {
            return Err(BuildError::Unsupported(
                "RUN --mount=type=bind,rw is not supported; copy the files first".to_owned(),
            ));
        }
        let root;
        let (tree, base): (&Tree, PathBuf) = match origin {
            None | Some(Origin::Context) => {
                let tree = self.context.tree.as_ref().ok_or_else(not_found)?;
                if tree.has_ignore_rules() {
                    // What is ignored must stay unseen, so the rest is copied.
                    return self.bind_copy(tree, source, target, &scratch.join(format!("bind-{number}")));
                }
                (tree, descriptor_path(tree))
            }
            Some(origin) => {
                root = self.root_of(origin)?;
                (&root.tree, root.path().to_owned())
            }
        };
        let found = tree
            .find(source)
            .map_err(|error| disk("find", Path::new(source), error))?
            .ok_or_else(not_found)?;
        use std::os::unix::ffi::OsStrExt;
        let path = base.join(std::ffi::OsStr::from_bytes(&found.path));
        let path = std::fs::canonicalize(&path).map_err(|error| disk("find", &path, error))?;
        Ok(bind(path, target, true))
    }

    /// Mounts a copy of a part of the context.
    fn bind_copy(
        &self,
        tree: &Tree,
        source: &str,
        target: PathBuf,
        place: &Path,
    ) -> Result<Mount, BuildError> {
        use crate::copy::place::Placer;
        let failed = |error| disk("find", Path::new(source), error);
        let not_found = || BuildError::Mount(format!("RUN --mount=type=bind: {source} not found"));
        let found = tree.find(source).map_err(failed)?.ok_or_else(not_found)?;
        std::fs::create_dir(place).map_err(|error| disk("make", place, error))?;
        let destination = Destination::open(place).map_err(failed)?;
        let placer = Placer { dialect: self.dialect, owner: Some(Default::default()), mode: None };
        let copied = if found.is_directory() {
            let entries = tree.list(&found.path).map_err(failed)?;
            placer.copy_directory(tree, &found, &entries, &destination, b"")
        } else {
            placer.copy_file(tree, &found, &destination, b"file")
        };
        copied.map_err(|fault| BuildError::Copy { keyword: "RUN --mount", fault })?;
        let path = if found.is_directory() { place.to_owned() } else { place.join("file") };
        Ok(bind(path, target, true))
    }

    fn cache_mount(&self, stage: &StageState, mount: &shale_dockerfile::Mount) -> Result<Mount, BuildError> {
        let target = target(stage, mount)?;
        let id = mount.id.clone().unwrap_or_else(|| target.display().to_string());
        // The name of the directory is a digest, so no id leads anywhere else.
        let name = shale_oci::Digest::sha256(id.as_bytes()).hex();
        let above = self.store.root().join("shale/build-cache");
        let path = above.join(name);
        let is_new = !path.exists();
        std::fs::create_dir_all(&path).map_err(|error| disk("make", &path, error))?;
        use std::os::unix::fs::PermissionsExt;
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .map_err(|error| disk("change", path, error))
        };
        set_mode(&above, 0o700)?;
        if is_new {
            set_mode(&path, mount.mode.unwrap_or(0o755))?;
            std::os::unix::fs::chown(&path, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))
                .map_err(|error| disk("change", &path, error))?;
        }
        Ok(bind(path, target, mount.is_read_only))
    }

    fn secret_mount(
        &self,
        spec: &mut ContainerSpec,
        stage: &StageState,
        mount: &shale_dockerfile::Mount,
        number: usize,
        scratch: &Path,
    ) -> Result<Option<Mount>, BuildError> {
        let named = mount.target.as_deref().and_then(|target| target.rsplit('/').next());
        let id = mount.id.as_deref().or(mount.source.as_deref()).or(named).unwrap_or_default();
        let Some(file) = self.options.secrets.get(id) else {
            if mount.is_required {
                return Err(BuildError::Mount(format!("secret {id}: not found")));
            }
            return Ok(None);
        };
        let content = std::fs::read(file).map_err(|error| disk("read", file, error))?;
        if let Some(variable) = &mount.variable {
            spec.env.push(format!("{variable}={}", String::from_utf8_lossy(&content)));
            if mount.target.is_none() {
                return Ok(None);
            }
        }
        let source = scratch.join(format!("secret-{number}"));
        write_file(&source, &content, mount.mode.unwrap_or(0o400))?;
        std::os::unix::fs::chown(&source, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))
            .map_err(|error| disk("change", &source, error))?;
        let target = match &mount.target {
            Some(_) => target(stage, mount)?,
            None => Path::new("/run/secrets").join(id.rsplit('/').next().unwrap_or(id)),
        };
        Ok(Some(bind(source, target, true)))
    }
}

fn descriptor_path(tree: &Tree) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", tree.descriptor().as_raw_fd()))
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), BuildError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, content)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .map_err(|error| disk("write", path, error))
}

fn target(stage: &StageState, mount: &shale_dockerfile::Mount) -> Result<PathBuf, BuildError> {
    let written = mount.target.as_deref().unwrap_or_default();
    let path = clean(&join_path(&stage.run.working_dir, written));
    if path == "/" {
        return Err(BuildError::Mount("invalid mount target \"/\"".to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// Finds the places that do not exist yet, so that the runtime's own stubs do not end in the layer.
fn missing_places(root: &Path, mounts: &[Mount]) -> Result<AddedPlaces, BuildError> {
    let destination = Destination::open(root).map_err(|error| disk("open", root, error))?;
    let mut missing = Vec::new();
    for mount in mounts {
        use std::os::unix::ffi::OsStrExt;
        let path = mount.target().as_os_str().as_bytes();
        let path =
            follow(destination.descriptor(), path).map_err(|error| disk("follow", mount.target(), error))?;
        let ends =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let prefix = path[..end].to_vec();
            let exists = destination.parent_of(&prefix).is_ok_and(|(parent, name)| {
                rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            });
            if !exists && !missing.contains(&prefix) {
                missing.push(prefix);
            }
        }
    }
    Ok(AddedPlaces(missing))
}
