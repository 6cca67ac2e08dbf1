//! `shale save`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;
use shale_engine::archive::save::Archive;
use shale_oci::Platform;

use super::Failure;
use crate::cli::Save;
use crate::context::Context;
use crate::terminal::{output, screen};

/// Small writes, the headers, are joined; contents are larger and pass by.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes images into one archive: to a file, which appears when it is whole, or to standard output.
pub fn run(context: &Context, command: &Save) -> Result<(), Failure> {
    let platform = command.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    if command.output.is_none() && screen::is_terminal(io::stdout()) {
        return Err(anyhow!("cowardly refusing to save to a terminal. Use the -o flag or redirect").into());
    }
    if let Some(path) = &command.output {
        check_output(path)?;
    }
    let engine = context.engine_to_read()?;
    let archive = engine.save(&command.images, platform.as_ref())?;
    match &command.output {
        Some(path) if is_stream(path) => write_to(&archive, File::options().write(true).open(path)?)?,
        Some(path) => write_file(&archive, path)?,
        None => write_to(&archive, output::unbuffered_stdout()?)?,
    }
    Ok(())
}

/// Refuses what docker refuses, before any work is done.
fn check_output(path: &Path) -> Result<(), anyhow::Error> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(anyhow!(
            "failed to save image: invalid output path: directory {directory:?} does not exist"
        ));
    }
    if path.is_dir() {
        return Err(anyhow!("failed to save image: invalid output path: {path:?} is a directory"));
    }
    Ok(())
}

/// A pipe or a device: there is nothing to rename over.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_block_device()
    })
}

/// Writes a file without a name and gives it one when it is whole, so that nothing half-made is ever there.
fn write_file(archive: &Archive<'_>, path: &Path) -> Result<(), anyhow::Error> {
    // A link stays a link, and what it leads to is replaced.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().with_context(|| format!("{path:?} names no file"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = &path.with_file_name(temporary);
    let written = write_and_name(archive, temporary).and_then(|()| Ok(std::fs::rename(temporary, path)?));
    if written.is_err() {
        let _ = std::fs::remove_file(temporary);
    }
    written.with_context(|| format!("could not write {}", path.display()))
}

fn write_and_name(archive: &Archive<'_>, path: &Path) -> Result<(), anyhow::Error> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(CWD, directory, flags | OFlags::TMPFILE, mode) {
        Ok(file) => {
            write_to(archive, File::from(file.try_clone()?))?;
            // Without a name until here, it is gone however this process ends.
            let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        }
        // Not every file system has files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let file = openat(CWD, path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            write_to(archive, File::from(file))
        }
        Err(error) => Err(error.into()),
    }
}

fn write_to(archive: &Archive<'_>, output: impl Write) -> Result<(), anyhow::Error> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, output);
    archive.write(&mut out)?;
    Ok(out.flush()?)
}
