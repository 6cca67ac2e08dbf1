//! `RUN --mount`: what a command sees that no layer keeps.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;
use shale_dockerfile::{MountKind, Origin, Run, Script, Sharing, Step};
use shale_runtime::ContainerSpec;
use shale_runtime::spec::{Mount, TmpfsMount};

use crate::build::Builder;
use crate::container::{bind, disk};
use crate::copy::place::Destination;
use crate::error::BuildError;
use crate::stage::StageState;
use crate::step::{clean, join_path};
use crate::tree::{Tree, follow};

/// Directories of one private cache, at most.
const CACHES_MAX: usize = 100;

/// The places that mounts need and the image does not have, deepest last.
pub(crate) struct AddedPlaces {
    paths: Vec<Vec<u8>>,
    /// Caches that nobody else may use meanwhile.
    _locks: Vec<OwnedFd>,
}

impl AddedPlaces {
    /// Takes the places away again, unless the command left something in them.
    pub fn remove(self, root: &Path) {
        let Ok(root) = Destination::open(root) else { return };
        for path in self.paths.iter().rev() {
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
        let mut locks = Vec::new();
        for (number, (mount, origin)) in run.mounts.iter().zip(&step.mount_origins).enumerate() {
            let made = match mount.kind {
                MountKind::Bind => Some(self.bind_mount(stage, mount, origin.as_ref(), number, scratch)?),
                MountKind::Cache => {
                    let (made, lock) = self.cache_mount(stage, mount, origin.as_ref())?;
                    locks.extend(lock);
                    Some(made)
                }
                MountKind::Tmpfs => {
                    let mut options = vec!["mode=1777".to_owned()];
                    options
                        .extend(mount.size_bytes.filter(|size| *size > 0).map(|size| format!("size={size}")));
                    Some(Mount::Tmpfs(TmpfsMount { target: target(stage, mount)?, options }))
                }
                MountKind::Secret => self.secret_mount(spec, stage, mount, number, scratch)?,
                MountKind::Ssh => self.ssh_mount(spec, stage, mount, number)?,
            };
            spec.mounts.extend(made);
        }
        if let Script::File { name, content } = script {
            let source = scratch.join("script");
            write_file(&source, content.as_bytes(), 0o755)?;
            spec.mounts.push(bind(source, Path::new("/dev/pipes").join(name), true));
        }
        let paths = missing_places(root, &spec.mounts[volumes..])?;
        Ok(AddedPlaces { paths, _locks: locks })
    }

    /// Lets a command speak to the agent that `--ssh` names.
    fn ssh_mount(
        &self,
        spec: &mut ContainerSpec,
        stage: &StageState,
        mount: &shale_dockerfile::Mount,
        number: usize,
    ) -> Result<Option<Mount>, BuildError> {
        let id = mount.id.as_deref().unwrap_or("default");
        let Some(socket) = self.options.agents.get(id) else {
            if mount.is_required {
                return Err(BuildError::Mount(format!(
                    "RUN --mount=type=ssh: no agent {id:?} was given; use --ssh {id}"
                )));
            }
            return Ok(None);
        };
        let path = match &mount.target {
            Some(_) => target(stage, mount)?,
            None => PathBuf::from(format!("/run/buildkit/ssh_agent.{number}")),
        };
        spec.env.push(format!("SSH_AUTH_SOCK={}", path.display()));
        Ok(Some(bind(socket.clone(), path, false)))
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
        let place = scratch.join(format!("bind-{number}"));
        if let Some(Origin::NamedContext(_)) = origin {
            let from = self.source_of(origin.expect("just matched"))?;
            return self.bind_copy(from.tree().ok_or_else(not_found)?, source, target, &place, mount);
        }
        let root;
        let (tree, base): (&Tree, PathBuf) = match origin {
            None | Some(Origin::Context) => {
                let tree = self.context.tree.as_ref().ok_or_else(not_found)?;
                if tree.has_ignore_rules() || !mount.is_read_only {
                    // What is ignored must stay unseen, so the rest is copied; what is written is thrown away.
                    return self.bind_copy(tree, source, target, &place, mount);
                }
                (tree, descriptor_path(tree))
            }
            Some(origin) => {
                root = self.root_of(origin)?;
                if !mount.is_read_only {
                    return self.bind_copy(&root.tree, source, target, &place, mount);
                }
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

    /// Mounts a copy of a part of a tree.
    fn bind_copy(
        &self,
        tree: &Tree,
        source: &str,
        target: PathBuf,
        place: &Path,
        mount: &shale_dockerfile::Mount,
    ) -> Result<Mount, BuildError> {
        let path = self.copy_out(tree, source, place)?;
        Ok(bind(path, target, mount.is_read_only))
    }

    /// Copies a part of a tree to `place`, which is made, and returns where it is: there or in there.
    fn copy_out(&self, tree: &Tree, source: &str, place: &Path) -> Result<PathBuf, BuildError> {
        use crate::copy::place::Placer;
        let failed = |error| disk("find", Path::new(source), error);
        let not_found = || BuildError::Mount(format!("RUN --mount=type=bind: {source} not found"));
        let found = tree.find(source).map_err(failed)?.ok_or_else(not_found)?;
        std::fs::create_dir(place).map_err(|error| disk("make", place, error))?;
        let destination = Destination::open(place).map_err(failed)?;
        let owner = tree.is_context.then(Default::default);
        let placer = Placer { dialect: self.dialect, owner, mode: None };
        let copied = if found.is_directory() {
            let entries = tree.list(&found.path).map_err(failed)?;
            placer.copy_directory(tree, &found, &entries, &destination, b"")
        } else {
            placer.copy_file(tree, &found, &destination, b"file")
        };
        copied.map_err(|fault| BuildError::Copy { keyword: "RUN --mount", fault })?;
        Ok(if found.is_directory() { place.to_owned() } else { place.join("file") })
    }

    /// Mounts a cache; with the lock that keeps others away from it where it is not shared.
    fn cache_mount(
        &mut self,
        stage: &StageState,
        mount: &shale_dockerfile::Mount,
        origin: Option<&Origin>,
    ) -> Result<(Mount, Option<OwnedFd>), BuildError> {
        let target = target(stage, mount)?;
        let id = mount.id.clone().unwrap_or_else(|| target.display().to_string());
        // The name of the directory is a digest, so no id leads anywhere else.
        let name = shale_oci::Digest::sha256(id.as_bytes()).hex();
        let above = self.store.root().join("shale/build-cache");
        std::fs::create_dir_all(&above).map_err(|error| disk("make", &above, error))?;
        set_mode(&above, 0o700)?;
        let (name, lock) = match mount.sharing {
            None | Some(Sharing::Shared) => (name, None),
            Some(Sharing::Locked) => {
                let lock = lock_of(&above, &name, FlockOperation::LockExclusive)?;
                (name, lock)
            }
            Some(Sharing::Private) => free_cache(&above, &name)?,
        };
        let path = above.join(name);
        if !is_directory(&path) {
            self.make_cache(&path, mount, origin)?;
        }
        Ok((bind(path, target, mount.is_read_only), lock))
    }

    /// Makes a cache with what `from` and `source` put in it; it appears when it is whole.
    fn make_cache(
        &mut self,
        path: &Path,
        mount: &shale_dockerfile::Mount,
        origin: Option<&Origin>,
    ) -> Result<(), BuildError> {
        let place = self.store.begin_layer()?;
        let new = place.scratch_path()?.join("cache");
        let source = mount.source.as_deref().unwrap_or("/");
        match origin {
            Some(origin) => {
                let from = self.source_of(origin)?;
                let tree = from.tree();
                let tree = tree.ok_or_else(|| BuildError::Mount(format!("{source} not found")))?;
                if self.copy_out(tree, source, &new)? != new {
                    return Err(BuildError::Mount(format!("{source} is no directory to fill a cache with")));
                }
            }
            None => std::fs::create_dir(&new).map_err(|error| disk("make", &new, error))?,
        }
        set_mode(&new, mount.mode.unwrap_or(0o755))?;
        std::os::unix::fs::chown(&new, Some(mount.uid.unwrap_or(0)), Some(mount.gid.unwrap_or(0)))
            .map_err(|error| disk("change", &new, error))?;
        // Something else in its place, such as a link, is nobody's cache: what it names would be mounted.
        if !is_directory(path)
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
            && !is_directory(path)
        {
            return Err(disk("replace", path, error));
        }
        match std::fs::rename(&new, path) {
            // Another build was faster; its cache is as good.
            Err(_) if is_directory(path) => Ok(()),
            renamed => renamed.map_err(|error| disk("make", path, error)),
        }
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

/// Whether `path` itself is a directory: a link to one is none.
fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_dir())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), BuildError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| disk("change", path, error))
}

/// Locks a cache; `None` when somebody has it and `operation` does not wait.
fn lock_of(above: &Path, name: &str, operation: FlockOperation) -> Result<Option<OwnedFd>, BuildError> {
    let path = above.join(format!("{name}.lock"));
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno: Errno| disk("lock", &path, errno.into());
    let file = openat(CWD, &path, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Finds the first directory of a cache that nobody uses.
fn free_cache(above: &Path, name: &str) -> Result<(String, Option<OwnedFd>), BuildError> {
    for number in 0..CACHES_MAX {
        let name = if number == 0 { name.to_owned() } else { format!("{name}-{number}") };
        if let Some(lock) = lock_of(above, &name, FlockOperation::NonBlockingLockExclusive)? {
            return Ok((name, Some(lock)));
        }
    }
    Err(BuildError::Mount(format!("{CACHES_MAX} builds use this private cache already")))
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
fn missing_places(root: &Path, mounts: &[Mount]) -> Result<Vec<Vec<u8>>, BuildError> {
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
    Ok(missing)
}
