//! What `shale build` builds: the Dockerfile and the files beside it, wherever they come from.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use shale_build::{Context as BuildContext, GitSource, UnpackedContext};
use shale_dockerfile::Dialect;
use shale_engine::Engine;

use crate::cli::Build;
use crate::commands::Failure;
use crate::context::Context;

/// What is built, and from which files.
pub struct Input {
    /// The text.
    pub dockerfile: Vec<u8>,
    /// Its name in messages.
    pub file_name: String,
    /// The files.
    pub context: BuildContext,
    // Behind the context that reads from it.
    _unpacked: Option<UnpackedContext>,
}

impl Input {
    /// Reads what the command line names: a directory, a tar, a git repository, a URL, or standard input.
    pub fn read(
        context: &Context,
        engine: &Engine,
        build: &Build,
        dialect: Dialect,
    ) -> Result<Input, Failure> {
        let file = build.file.as_deref();
        if let Some(source) = GitSource::parse(&build.context).filter(|_| !Path::new(&build.context).exists())
        {
            let place = UnpackedContext::empty(engine.store())?;
            let directory = source.check_out(&place.path(), false)?;
            return Input::from_fetched(&directory, file, dialect, place);
        }
        if build.context.starts_with("http://") || build.context.starts_with("https://") {
            return Input::from_url(context, engine, &build.context, file, dialect);
        }
        if build.context == "-" {
            if file == Some("-") {
                return Err(anyhow!(
                    "invalid argument: can't use stdin for both build context and dockerfile"
                )
                .into());
            }
            return Input::from_stdin(engine, file, dialect);
        }
        let directory = PathBuf::from(&build.context);
        if file == Some("-") {
            let mut dockerfile = Vec::new();
            limited(io::stdin()).read_to_end(&mut dockerfile)?;
            let context = BuildContext::open(&directory, None, dialect)?;
            return Ok(Input { dockerfile, file_name: "Dockerfile".to_owned(), context, _unpacked: None });
        }
        Input::from_directory(&directory, file.map(Path::new), dialect, None)
    }

    fn from_directory(
        directory: &Path,
        file: Option<&Path>,
        dialect: Dialect,
        unpacked: Option<UnpackedContext>,
    ) -> Result<Input, Failure> {
        let (path, dockerfile) = BuildContext::read_dockerfile(directory, file)?;
        let open = if unpacked.is_some() { BuildContext::open_unpacked } else { BuildContext::open };
        let context = open(directory, Some(&path), dialect)?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Input { dockerfile, file_name, context, _unpacked: unpacked })
    }

    /// Standard input is an archive, or a Dockerfile alone.
    fn from_stdin(engine: &Engine, file: Option<&str>, dialect: Dialect) -> Result<Input, Failure> {
        // Not through `io::stdin()`, which reads ahead: what it keeps would be missing from the archive.
        let mut stdin = File::from(rustix::io::dup(io::stdin())?);
        let mut start = Vec::new();
        (&mut stdin).take(512).read_to_end(&mut start)?;
        if !looks_like_archive(&start) {
            limited(stdin).read_to_end(&mut start)?;
            let file_name = "Dockerfile".to_owned();
            return Ok(Input {
                dockerfile: start,
                file_name,
                context: BuildContext::empty(),
                _unpacked: None,
            });
        }
        let archive = Box::new(io::Cursor::new(start).chain(stdin));
        let unpacked = UnpackedContext::unpack(engine.store(), archive)?;
        let directory = unpacked.path();
        Input::from_fetched(&directory, file, dialect, unpacked)
    }

    /// A URL leads to an archive, or to a Dockerfile alone.
    fn from_url(
        context: &Context,
        engine: &Engine,
        url: &str,
        file: Option<&str>,
        dialect: Dialect,
    ) -> Result<Input, Failure> {
        let mut spool = tempfile_of(engine)?;
        context.download(url, &mut spool)?;
        spool.seek(io::SeekFrom::Start(0))?;
        let mut start = Vec::new();
        (&mut spool).take(512).read_to_end(&mut start)?;
        spool.seek(io::SeekFrom::Start(0))?;
        if !looks_like_archive(&start) {
            let mut dockerfile = Vec::new();
            limited(spool).read_to_end(&mut dockerfile)?;
            let (file_name, context) = ("Dockerfile".to_owned(), BuildContext::empty());
            return Ok(Input { dockerfile, file_name, context, _unpacked: None });
        }
        let unpacked = UnpackedContext::unpack(engine.store(), Box::new(spool))?;
        let directory = unpacked.path();
        Input::from_fetched(&directory, file, dialect, unpacked)
    }

    /// The Dockerfile of a context that was fetched is in it.
    fn from_fetched(
        directory: &Path,
        file: Option<&str>,
        dialect: Dialect,
        unpacked: UnpackedContext,
    ) -> Result<Input, Failure> {
        let Some(file) = file else { return Input::from_directory(directory, None, dialect, Some(unpacked)) };
        let (path, dockerfile) = BuildContext::read_dockerfile_inside(directory, file)?;
        let context = BuildContext::open_unpacked(directory, Some(&path), dialect)?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Input { dockerfile, file_name, context, _unpacked: Some(unpacked) })
    }
}

/// A file without a name, on the disk of the store.
fn tempfile_of(engine: &Engine) -> Result<File, Failure> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(openat(CWD, engine.store().root(), flags, Mode::from_raw_mode(0o600))?))
}

/// A Dockerfile may come without an end.
fn limited(input: impl Read) -> impl Read {
    input.take(shale_dockerfile::DOCKERFILE_SIZE_MAX as u64 + 1)
}

fn looks_like_archive(start: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] =
        [&[0x1f, 0x8b, 0x08], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    let is_compressed = MAGIC.iter().any(|magic| start.starts_with(magic));
    // A Dockerfile has no NUL in its first block; a tar header cannot be without.
    is_compressed || (start.len() == 512 && start.get(257..262) == Some(&b"ustar"[..])) || start.contains(&0)
}
