//! The context of a build, and the files in it that steer the build.
//!
//! Promise: the Dockerfile and the ignore file are regular files of bounded size; a pipe or a device is never read.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use shale_dockerfile::{DOCKERFILE_SIZE_MAX, Dialect, IgnoreError, IgnoreFile};
use shale_store::{LayerWriter, Store};

use crate::tree::{Tree, read_regular, read_small_file};

/// Largest ignore file that is read.
const IGNORE_SIZE_MAX: u64 = 16 << 20;
/// So many names are looked at for the one that was meant.
const ENTRIES_MAX: usize = 10_000;

/// Why there is no context to build from. The texts are those of docker's command line.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is nothing at the path.
    #[error("unable to prepare context: path {0:?} not found")]
    Missing(String),
    /// The context is no directory.
    #[error("unable to prepare context: context must be a directory: {}", .0.display())]
    NotDirectory(PathBuf),
    /// There is no Dockerfile.
    #[error("unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory{}", .0.display(), .1)]
    NoDockerfile(PathBuf, String),
    /// A file cannot be read, or is none.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel or the limit said.
        source: io::Error,
    },
    /// The archive that was to be the context cannot be unpacked.
    #[error("could not unpack the context: {0}")]
    Archive(Box<dyn std::error::Error + Send + Sync>),
    /// The ignore file is malformed.
    #[error("error checking context: {error} of {file}")]
    Ignore {
        /// The file.
        file: String,
        /// What is wrong.
        error: IgnoreError,
    },
}

/// A context: a directory whose files are read where they lie, or none at all.
#[derive(Debug)]
pub struct Context {
    pub(crate) tree: Option<Tree>,
    ignore: IgnoreFile,
}

/// A context that came as an archive, unpacked where it is found again should this process be killed.
pub struct UnpackedContext {
    place: LayerWriter,
}

impl UnpackedContext {
    /// Unpacks `archive`, a tar that may be compressed.
    ///
    /// # Errors
    /// [`ContextError::Archive`].
    pub fn unpack(
        store: &Store,
        archive: Box<dyn io::Read + Send + '_>,
    ) -> Result<UnpackedContext, ContextError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| ContextError::Archive(error);
        let place = store.begin_layer().map_err(|error| failed(error.into()))?;
        let root = shale_rootfs::Rootfs::open(&place.diff_path()).map_err(|error| failed(error.into()))?;
        let mut archive = shale_rootfs::decompress(archive).map_err(|error| failed(error.into()))?;
        let options = shale_rootfs::Unpack {
            whiteouts: shale_rootfs::Whiteouts::Literal,
            devices: shale_rootfs::Devices::Skip,
            ..shale_rootfs::Unpack::default()
        };
        shale_rootfs::unpack(&root, &mut archive, &mut io::sink(), &options)
            .map_err(|error| failed(error.into()))?;
        Ok(UnpackedContext { place })
    }

    /// Makes an empty place for a context that somebody else fills.
    ///
    /// # Errors
    /// [`ContextError::Archive`] when the store cannot make it.
    pub fn empty(store: &Store) -> Result<UnpackedContext, ContextError> {
        let place = store.begin_layer().map_err(|error| ContextError::Archive(error.into()))?;
        Ok(UnpackedContext { place })
    }

    /// Returns where the context is.
    pub fn path(&self) -> PathBuf {
        self.place.diff_path()
    }
}

impl Context {
    /// Returns a context without files: a Dockerfile came alone.
    pub fn empty() -> Context {
        Context { tree: None, ignore: IgnoreFile::default() }
    }

    /// Opens the directory `path` with the ignore file that goes with `dockerfile`.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn open(path: &Path, dockerfile: Option<&Path>, dialect: Dialect) -> Result<Context, ContextError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ContextError::Missing(path.display().to_string()),
            io::ErrorKind::NotADirectory => ContextError::NotDirectory(path.to_owned()),
            _ => ContextError::Read { path: path.to_owned(), source },
        };
        let bare = Tree::context(path, IgnoreFile::default()).map_err(failed)?;
        let own = dockerfile.filter(|_| dialect.has_own_ignore_file()).and_then(own_ignore_file);
        let (file, content) = match own {
            Some((path, content)) => (path.display().to_string(), Some(content?)),
            None => {
                let name = ".dockerignore";
                let content = read_small_file(bare.descriptor(), name, IGNORE_SIZE_MAX);
                let path = path.join(name);
                (name.to_owned(), content.map_err(|source| ContextError::Read { path, source })?)
            }
        };
        let ignore = match content {
            Some(content) => {
                IgnoreFile::parse(&content).map_err(|error| ContextError::Ignore { file, error })?
            }
            None => IgnoreFile::default(),
        };
        let mut tree = Tree::context(path, ignore.clone()).map_err(failed)?;
        tree.hashes_link_targets = dialect == Dialect::Classic;
        tree.walks_as_docker = dialect.prunes_by_text_of_exceptions();
        Ok(Context { tree: Some(tree), ignore })
    }

    /// As [`Context::open`], of files that came in an archive.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn open_unpacked(
        path: &Path,
        dockerfile: Option<&Path>,
        dialect: Dialect,
    ) -> Result<Context, ContextError> {
        let mut context = Context::open(path, dockerfile, dialect)?;
        if let Some(tree) = &mut context.tree {
            tree.hashes_owners = dialect.counts_owners_in_archives();
        }
        Ok(context)
    }

    /// Returns the rules that hide files.
    pub fn ignore_file(&self) -> &IgnoreFile {
        &self.ignore
    }

    /// Reads the Dockerfile `named` of a context that came from elsewhere: no link and no `..` leads out of it.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn read_dockerfile_inside(context: &Path, named: &str) -> Result<(PathBuf, Vec<u8>), ContextError> {
        let path = context.join(named.trim_start_matches('/'));
        let failed = |source: io::Error| ContextError::Read { path: path.clone(), source };
        let tree = Tree::context(context, IgnoreFile::default()).map_err(failed)?;
        let read = read_small_file(tree.descriptor(), named, DOCKERFILE_SIZE_MAX as u64).map_err(failed)?;
        Ok((path.clone(), read.ok_or_else(|| no_dockerfile(&path))?))
    }

    /// Finds and reads the Dockerfile: `named`, or `Dockerfile`, or `dockerfile` in `context`; returns its path too.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn read_dockerfile(context: &Path, named: Option<&Path>) -> Result<(PathBuf, Vec<u8>), ContextError> {
        let path = match named {
            Some(named) => named.to_owned(),
            None => {
                let usual = context.join("Dockerfile");
                let small = context.join("dockerfile");
                if !usual.exists() && small.exists() { small } else { usual }
            }
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => no_dockerfile(&path),
            _ => ContextError::Read { path: path.clone(), source },
        };
        let content = if named.is_none() {
            // The one in the context: a link may not lead out of it.
            let tree =
                Tree::context(context, IgnoreFile::default()).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => ContextError::Missing(context.display().to_string()),
                    _ => ContextError::NotDirectory(context.to_owned()),
                })?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("Dockerfile");
            let read =
                read_small_file(tree.descriptor(), name, DOCKERFILE_SIZE_MAX as u64).map_err(failed)?;
            read.ok_or_else(|| no_dockerfile(&path))?
        } else {
            let file = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
            read_regular(file, DOCKERFILE_SIZE_MAX as u64).map_err(failed)?
        };
        Ok((path, content))
    }
}

/// Says where the Dockerfile was looked for, and which file there was probably meant.
fn no_dockerfile(path: &Path) -> ContextError {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let entries = path.parent().and_then(|directory| std::fs::read_dir(directory).ok());
    let names = entries.into_iter().flatten().flatten().take(ENTRIES_MAX).map(|entry| entry.file_name());
    let is_meant = |name: &String| {
        let name = name.to_ascii_lowercase();
        (name.contains("dockerfile") || name.contains("containerfile")) && !name.ends_with(".dockerignore")
    };
    let nearest = names.map(|name| name.to_string_lossy().into_owned()).filter(is_meant).min();
    let hint = nearest.map_or_else(String::new, |name| {
        format!(" (did you mean -f {}?)", path.with_file_name(name).display())
    });
    ContextError::NoDockerfile(path, hint)
}

/// Reads `<Dockerfile>.dockerignore` where there is one.
fn own_ignore_file(dockerfile: &Path) -> Option<(PathBuf, Result<Vec<u8>, ContextError>)> {
    let mut path = dockerfile.as_os_str().to_owned();
    path.push(".dockerignore");
    let path = PathBuf::from(path);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, &path, flags, Mode::empty()).ok()?;
    let content = read_regular(file, IGNORE_SIZE_MAX);
    let content = content.map_err(|source| ContextError::Read { path: path.clone(), source });
    Some((path, content))
}
