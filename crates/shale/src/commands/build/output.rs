//! `--output`: where the result goes beside the store.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use shale_engine::Engine;
use shale_oci::{ImageId, Reference};

use super::flags::{refused, tags};
use crate::commands::{Failure, push};
use crate::context::Context;
use crate::terminal::output;

/// Small writes, the headers, are joined.
const BUFFER_BYTES: usize = 64 << 10;

/// One `--output`.
#[derive(Debug)]
pub enum Destination {
    /// The files of the image, in a directory.
    Directory(PathBuf),
    /// The files of the image, as one tar.
    Tar(Target),
    /// The image itself, as an archive that is an OCI layout and that `docker load` reads.
    Archive(Target),
    /// Names in the store, pushed if that is asked for.
    Image { names: Vec<Reference>, pushes: bool },
}

/// A file, or standard output.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

/// Reads the values of `--output` as buildx does: `DEST`, `-`, or `type=…,dest=…`.
pub fn destinations(texts: &[String]) -> Result<Vec<Destination>, Failure> {
    let found = texts.iter().map(|text| destination(text)).collect::<Result<Vec<_>, Failure>>()?;
    let to_stdout = found.iter().filter(|destination| destination.is_stdout()).count();
    if to_stdout > 1 {
        return Err(anyhow!("only one output can go to standard output").into());
    }
    if to_stdout > 0 && io::stdout().is_terminal() {
        return Err(anyhow!("the output would go to the terminal; give it a file: dest=FILE").into());
    }
    Ok(found)
}

fn destination(text: &str) -> Result<Destination, Failure> {
    if !text.contains('=') {
        return Ok(match text {
            "" => return Err(refused("-o, --output", text, "it is empty")),
            "-" => Destination::Tar(Target::Stdout),
            path => Destination::Directory(path.into()),
        });
    }
    let (mut kind, mut place, mut names, mut pushes) = (None, None, Vec::new(), false);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("type", value)) => kind = Some(value.to_owned()),
            Some(("dest" | "destination", value)) => place = Some(value.to_owned()),
            Some(("name", value)) => names.push(value.to_owned()),
            Some(("push", value)) => {
                pushes = value.parse().map_err(|_| refused("-o, --output", text, "push is true or false"))?;
            }
            _ => {
                let reason = format!("{part:?} is not supported; use type=, dest=, name= and push=");
                return Err(refused("-o, --output", text, &reason));
            }
        }
    }
    let kind = kind.ok_or_else(|| refused("-o, --output", text, "type is required"))?;
    let target = || match place.as_deref() {
        None | Some("-") => Target::Stdout,
        Some(path) => Target::File(path.into()),
    };
    if !matches!(kind.as_str(), "image" | "registry") && (pushes || !names.is_empty()) {
        return Err(refused("-o, --output", text, &format!("name= and push= are not for type={kind}")));
    }
    match kind.as_str() {
        "local" => match place {
            Some(path) if path != "-" => Ok(Destination::Directory(path.into())),
            _ => Err(refused("-o, --output", text, "dest=DIRECTORY is required for type=local")),
        },
        "tar" => Ok(Destination::Tar(target())),
        "oci" | "docker" => Ok(Destination::Archive(target())),
        "image" | "registry" => {
            if place.is_some() {
                return Err(refused("-o, --output", text, &format!("dest= is not for type={kind}")));
            }
            Ok(Destination::Image { names: tags(&names)?, pushes: pushes || kind == "registry" })
        }
        other => {
            let reason = format!("unknown type {other:?}; use local, tar, oci, docker, image or registry");
            Err(refused("-o, --output", text, &reason))
        }
    }
}

impl Destination {
    /// Whether the bytes go where the builder's text would go.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Destination::Tar(Target::Stdout) | Destination::Archive(Target::Stdout))
    }

    /// Returns the names that the image gets in the store.
    pub fn names(&self) -> &[Reference] {
        match self {
            Destination::Image { names, .. } => names,
            _ => &[],
        }
    }

    /// Brings `image`, which has the names `tags`, to the destination.
    pub fn deliver(
        &self,
        context: &Context,
        engine: &Engine,
        image: ImageId,
        tags: &[Reference],
    ) -> Result<(), Failure> {
        let store = engine.store();
        match self {
            Destination::Directory(path) => Ok(shale_build::export_directory(store, image, path)?),
            Destination::Tar(target) => write(target, |out| Ok(shale_build::export_tar(store, image, out)?)),
            Destination::Archive(target) => {
                let names: Vec<String> = if tags.is_empty() {
                    vec![image.to_string()]
                } else {
                    tags.iter().map(|tag| tag.familiar().to_string()).collect()
                };
                let archive = engine.save(&names, None)?;
                write(target, |out| Ok(archive.write(out)?))
            }
            Destination::Image { pushes: false, .. } => Ok(()),
            Destination::Image { names, pushes: true } => {
                let pushed = if names.is_empty() { tags } else { names };
                if pushed.is_empty() {
                    return Err(anyhow!("there is no name to push to; give one with -t or name=").into());
                }
                for name in pushed {
                    push::run(context, &name.familiar().to_string(), false, None, true)?;
                }
                Ok(())
            }
        }
    }
}

/// Writes a file that appears when it is whole, or standard output.
fn write(
    target: &Target,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), anyhow::Error>,
) -> Result<(), Failure> {
    match target {
        Target::Stdout => {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, output::unbuffered_stdout()?);
            fill(&mut out)?;
            out.flush()?;
        }
        Target::File(path) => {
            let unfinished = unfinished(path)?;
            let written = File::create_new(&unfinished)
                .with_context(|| format!("could not write {}", unfinished.display()))
                .and_then(|file| {
                    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
                    fill(&mut out)?;
                    out.flush()?;
                    Ok(std::fs::rename(&unfinished, path)?)
                });
            if written.is_err() {
                let _ = std::fs::remove_file(&unfinished);
            }
            written?;
        }
    }
    Ok(())
}

fn unfinished(path: &Path) -> Result<PathBuf, anyhow::Error> {
    let name = path.file_name().ok_or_else(|| anyhow!("{} is no file name", path.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The forms are those of `docker buildx build --output`.
    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let read = |text: &str| destination(text).ok();
        assert!(matches!(read("out"), Some(Destination::Directory(path)) if path == Path::new("out")));
        assert!(matches!(read("-"), Some(Destination::Tar(Target::Stdout))));
        assert!(matches!(read("type=local,dest=d"), Some(Destination::Directory(_))));
        assert!(matches!(read("type=tar"), Some(Destination::Tar(Target::Stdout))));
        assert!(matches!(read("type=oci,dest=x.tar"), Some(Destination::Archive(Target::File(_)))));
        assert!(
            matches!(read("type=image,name=a:1,push=true"), Some(Destination::Image { names, pushes: true }) if names.len() == 1)
        );
        assert!(matches!(read("type=registry"), Some(Destination::Image { pushes: true, .. })));
        for text in ["", "type=local", "type=x", "dest=y", "type=tar,compression=zstd", "type=tar,push=true"]
        {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
