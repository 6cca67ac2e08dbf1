//! `--cache-from` and `--cache-to`: builds of other machines as the cache of this one.
//!
//! An image of Shale's, as of Docker's classic builder, says in its history which step made which layer. So a cache is
//! images and nothing else: in a registry, in a directory with an OCI layout, or the image itself (`inline`).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use jiff::Zoned;
use shale_build::Images;
use shale_engine::Engine;
use shale_engine::archive::load::Input;
use shale_oci::{ImageId, Platform, Reference};

use super::flags::refused;
use crate::commands::{Failure, push};
use crate::context::{Context, ShownProgress};

/// Where a cache comes from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// An image of the store, or else of its registry.
    Image(String),
    /// A directory that [`Target::Directory`] wrote.
    Directory(PathBuf),
}

/// Where a cache goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Into the image itself, where its history is.
    Inline,
    /// Under a name of a registry.
    Image(Reference),
    /// Into a directory; with the images of all stages, or with the last one only.
    Directory { path: PathBuf, is_whole: bool },
}

/// Reads `--cache-from`: `name,name` or `type=registry,ref=name` or `type=local,src=directory`.
pub fn sources(texts: &[String]) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for text in texts {
        let bad = |reason: &str| refused("--cache-from", text, reason);
        if !text.contains('=') {
            sources.extend(
                text.split(',').filter(|name| !name.is_empty()).map(|name| Source::Image(name.to_owned())),
            );
            continue;
        }
        let (kind, fields) = fields(text).map_err(|reason| bad(&reason))?;
        let [mut name, mut path] = [None, None];
        for (key, value) in fields {
            match key {
                "ref" => name = Some(value),
                "src" => path = Some(value),
                _ => return Err(bad(&format!("{key:?} is not supported; use type=, ref= and src="))),
            }
        }
        sources.push(match (kind, name, path) {
            ("registry", Some(name), None) => Source::Image(name.to_owned()),
            ("registry", ..) => return Err(bad("type=registry takes ref=NAME and nothing else")),
            ("local", None, Some(path)) => Source::Directory(path.into()),
            ("local", ..) => return Err(bad("type=local takes src=DIRECTORY and nothing else")),
            (other, ..) => return Err(bad(&format!("unknown type {other:?}; use registry or local"))),
        });
    }
    Ok(sources)
}

/// Reads `--cache-to`: `type=inline`, `type=registry,ref=name`, `type=local,dest=directory[,mode=max]`.
pub fn targets(texts: &[String]) -> Result<Vec<Target>, Failure> {
    texts.iter().map(|text| target(text)).collect()
}

fn target(text: &str) -> Result<Target, Failure> {
    let bad = |reason: &str| refused("--cache-to", text, reason);
    let reference = |name: &str| Reference::parse(name).map_err(|error| bad(&error.to_string()));
    if !text.contains('=') {
        return Ok(Target::Image(reference(text)?.or_latest()));
    }
    let (kind, fields) = fields(text).map_err(|reason| bad(&reason))?;
    let [mut name, mut path] = [None, None];
    let mut is_whole = false;
    for (key, value) in fields {
        match (key, value) {
            ("ref", value) => name = Some(value),
            ("dest", value) => path = Some(value),
            ("mode", "min") => is_whole = false,
            ("mode", "max") => is_whole = true,
            ("mode", _) => return Err(bad("mode is min or max")),
            _ => return Err(bad(&format!("{key:?} is not supported; use type=, ref=, dest= and mode="))),
        }
    }
    match (kind, name, path) {
        ("inline", None, None) if !is_whole => Ok(Target::Inline),
        ("inline", ..) => Err(bad("type=inline takes nothing else: the image's own history is the cache")),
        ("registry", Some(_), None) if is_whole => {
            Err(bad("mode=max is not supported for type=registry; use type=local,dest=DIRECTORY,mode=max"))
        }
        ("registry", Some(name), None) => Ok(Target::Image(reference(name)?.or_latest())),
        ("registry", ..) => Err(bad("type=registry takes ref=NAME and mode=min")),
        ("local", None, Some(path)) => Ok(Target::Directory { path: path.into(), is_whole }),
        ("local", ..) => Err(bad("type=local takes dest=DIRECTORY and mode=")),
        (other, ..) => Err(bad(&format!("unknown type {other:?}; use inline, registry or local"))),
    }
}

/// Keys and values, in their order.
type Fields<'a> = Vec<(&'a str, &'a str)>;

/// Returns the type of `type=registry,ref=x`, and the other fields.
fn fields(text: &str) -> Result<(&str, Fields<'_>), String> {
    let mut kind = None;
    let mut fields = Vec::new();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(field) => fields.push(field),
            None => return Err(format!("{part:?} is no key=value")),
        }
    }
    Ok((kind.ok_or("type is required")?, fields))
}

/// Returns the images of the sources, fetched if need be. A cache that is not there makes a build slow and not wrong, so it
/// is told and left out, as docker does.
pub fn fetch(
    sources: &[Source],
    engine: &Engine,
    images: &dyn Images,
    platform: Option<&Platform>,
) -> Vec<ImageId> {
    let mut found = Vec::new();
    for source in sources {
        let fetched = match source {
            Source::Image(name) => images.resolve(name, platform, false).map(|image| vec![image]),
            Source::Directory(path) => {
                let progress = ShownProgress::shown(true);
                let loaded = engine.load(Input::Directory(path.clone()), platform, &*progress);
                loaded.map(|loaded| loaded.iter().map(|one| one.image).collect()).map_err(Into::into)
            }
        };
        match fetched {
            Ok(images) => found.extend(images),
            Err(error) => {
                let name = match source {
                    Source::Image(name) => name.clone(),
                    Source::Directory(path) => path.display().to_string(),
                };
                eprintln!("Warning: no cache from {name}: {error}");
            }
        }
    }
    found
}

impl Target {
    /// Brings the cache of a build to its place.
    pub fn deliver(
        &self,
        context: &Context,
        engine: &Engine,
        image: ImageId,
        stages: &[ImageId],
    ) -> Result<(), Failure> {
        match self {
            Target::Inline => Ok(()),
            Target::Image(name) => {
                engine.tag_image(image, name, &Zoned::now())?;
                push::run(context, &name.familiar().to_string(), false, None, true)
            }
            Target::Directory { path, is_whole } => {
                let mut names = vec![image.to_string()];
                if *is_whole {
                    names.extend(stages.iter().filter(|stage| **stage != image).map(ToString::to_string));
                }
                Ok(write_layout(engine, &names, path)?)
            }
        }
    }
}

/// Writes images as an OCI layout, which takes the place of what another build wrote there.
fn write_layout(engine: &Engine, names: &[String], path: &Path) -> Result<(), anyhow::Error> {
    let name = path.file_name().ok_or_else(|| anyhow!("{} is no name of a directory", path.display()))?;
    if path.exists() && !path.join("oci-layout").exists() && std::fs::read_dir(path)?.next().is_some() {
        return Err(anyhow!("{} holds something else than a cache", path.display()));
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let (new, old) = (path.with_file_name(&hidden), path.with_file_name(format!("{}.old", hidden.display())));
    let written = (|| {
        std::fs::create_dir_all(&new)?;
        let archive = engine.save(names, None)?;
        let (mut reader, writer) = std::io::pipe()?;
        std::thread::scope(|scope| {
            let saving = scope.spawn(|| {
                let mut writer = std::io::BufWriter::new(writer);
                archive.write(&mut writer)?;
                Ok::<(), anyhow::Error>(std::io::Write::flush(&mut writer)?)
            });
            let unpacked = shale_build::unpack_directory(&mut reader, &new);
            drop(reader);
            saving.join().expect("saving does not panic").and(unpacked.map_err(Into::into))
        })?;
        if path.exists() {
            std::fs::rename(path, &old)?;
        }
        std::fs::rename(&new, path)?;
        Ok::<(), anyhow::Error>(())
    })();
    let _ = std::fs::remove_dir_all(&new);
    let _ = std::fs::remove_dir_all(&old);
    written.with_context(|| format!("could not write the cache to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The forms are those of `docker buildx build --cache-from` and `--cache-to`, and of docker 20.10.
    #[test]
    fn caches_are_read_as_docker_reads_them() {
        let from = |text: &str| sources(&[text.to_owned()]).ok();
        let image = |name: &str| Source::Image(name.to_owned());
        assert_eq!(from("a/b:1"), Some(vec![image("a/b:1")]));
        assert_eq!(from("a,b"), Some(vec![image("a"), image("b")]));
        assert_eq!(from("type=registry,ref=r.io/a"), Some(vec![image("r.io/a")]));
        assert_eq!(from("type=local,src=/c"), Some(vec![Source::Directory("/c".into())]));
        for text in ["type=local", "type=local,dest=/c", "type=gha", "ref=a", "type=registry,ref=a,x=y"] {
            assert_eq!(from(text), None, "{text}");
        }
        let to = |text: &str| target(text).ok();
        assert_eq!(to("type=inline"), Some(Target::Inline));
        let directory = |is_whole| Some(Target::Directory { path: "/c".into(), is_whole });
        assert_eq!(to("type=local,dest=/c"), directory(false));
        assert_eq!(to("type=local,dest=/c,mode=max"), directory(true));
        assert!(matches!(to("type=registry,ref=r.io/a"), Some(Target::Image(_))));
        assert!(matches!(to("r.io/a:cache"), Some(Target::Image(_))));
        for text in
            ["type=inline,mode=max", "type=registry,ref=r.io/a,mode=max", "type=s3,bucket=b", "type=local"]
        {
            assert_eq!(to(text), None, "{text}");
        }
    }
}
