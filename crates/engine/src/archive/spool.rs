//! An archive made into a file that can be read at any place: the user's own, or a nameless copy of a stream.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use shale_rootfs::Compression;

use super::tar_index::{Blocks, TarIndex, TarIndexError, read_index};

/// A stream longer than this is refused; nobody waits for its end.
const SPOOL_BYTES_MAX: u64 = 4 << 40;
const BUFFER_BYTES: usize = 512 << 10;
/// So much is read of what follows the end of the archive: padding to a record, of which the longest have some MiB.
const REST_BYTES_MAX: u64 = 64 << 20;

/// Indexes the archive in `file` where it stands.
pub(super) fn index_file(file: &File) -> Result<TarIndex, TarIndexError> {
    let length = file.metadata().map_err(TarIndexError::Read)?.len();
    read_index(&mut InPlace { file, position: 0, length })
}

/// Copies the archive that `stream` carries, uncompressed, into a file without a name below `directory`, and indexes it
/// on the way, so that what is no archive is refused with its first block. The file is gone when it is closed.
pub(super) fn spool(
    stream: Box<dyn Read + Send + '_>,
    directory: &Path,
) -> Result<(File, TarIndex), TarIndexError> {
    let mut stream = shale_rootfs::decompress(stream).map_err(TarIndexError::Read)?;
    let file = nameless_file(directory).map_err(TarIndexError::Read)?;
    let mut copying = Copying { stream: &mut *stream, file, position: 0, buffer: vec![0; BUFFER_BYTES] };
    let index = read_index(&mut copying)?;
    let Copying { file, .. } = copying;
    // Who writes into a pipe wants it read to the end; a decoder checks its checksums there. A longer rest is no business
    // of the archive's, as where it is a file: it may be the rest of a disk, or have no end.
    io::copy(&mut stream.take(REST_BYTES_MAX), &mut io::sink()).map_err(TarIndexError::Read)?;
    Ok((file, index))
}

/// Tells whether the archive in `file` can be read where it stands.
pub(super) fn is_plain(file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut prefix = [0; 512];
    let mut filled = 0;
    while filled < prefix.len() {
        match file.read_at(&mut prefix[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(Compression::detect(&prefix[..filled]) == Compression::None)
}

fn nameless_file(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // Not every file system can; then the name is taken away at once.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let path = directory.join(format!(".load-{}", std::process::id()));
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}

struct InPlace<'f> {
    file: &'f File,
    position: u64,
    length: u64,
}

impl Blocks for InPlace<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], self.position)? {
                0 => break,
                count => {
                    filled += count;
                    self.position += count as u64;
                }
            }
        }
        Ok(filled)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        self.position = self.position.saturating_add(bytes);
        Ok(self.position <= self.length)
    }

    fn position(&self) -> u64 {
        self.position
    }
}

struct Copying<'s> {
    stream: &'s mut dyn Read,
    file: File,
    position: u64,
    buffer: Vec<u8>,
}

impl Copying<'_> {
    fn keep(&mut self, length: usize) -> io::Result<()> {
        self.position += length as u64;
        if self.position > SPOOL_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the stream does not end"));
        }
        self.file.write_all(&self.buffer[..length])
    }
}

impl Blocks for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let wanted = (buffer.len() - filled).min(BUFFER_BYTES);
            let count = match self.stream.read(&mut self.buffer[..wanted]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            buffer[filled..filled + count].copy_from_slice(&self.buffer[..count]);
            self.keep(count)?;
            filled += count;
        }
        Ok(filled)
    }

    fn skip(&mut self, mut bytes: u64) -> io::Result<bool> {
        while bytes > 0 {
            let wanted = usize::try_from(bytes).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let count = match self.stream.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.keep(count)?;
            bytes -= count as u64;
        }
        Ok(true)
    }

    fn position(&self) -> u64 {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar_index::Member;
    use super::*;
    use shale_testkit::image::LayerBuilder;

    #[test]
    fn a_stream_and_a_file_have_the_same_index() {
        let directory = tempfile::tempdir().unwrap();
        let archive = LayerBuilder::new()
            .file("a", 0o644, &[1; 1_200_001])
            .directory("d", 0o755)
            .file("d/b", 0o644, b"content")
            .tar();
        let path = directory.path().join("archive.tar");
        std::fs::write(&path, &archive).unwrap();
        let in_place = File::open(&path).unwrap();
        assert!(is_plain(&in_place).unwrap());
        let expected = index_file(&in_place).unwrap();
        let compressed = zstd::stream::encode_all(archive.as_slice(), 1).unwrap();
        std::fs::write(&path, &compressed).unwrap();
        assert!(!is_plain(&File::open(&path).unwrap()).unwrap());
        for stream in [archive, compressed] {
            let (file, index) = spool(Box::new(stream.as_slice()), directory.path()).unwrap();
            assert_eq!(index, expected);
            let Member::File { position, bytes } = index[&b"d/b"[..]] else { panic!("no file") };
            let mut content = vec![0; bytes as usize];
            file.read_exact_at(&mut content, position).unwrap();
            assert_eq!(content, b"content");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was left");
    }

    #[test]
    fn an_endless_stream_that_is_no_archive_ends_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let endless = Box::new(io::repeat(b'y'));
        assert!(matches!(spool(endless, directory.path()), Err(TarIndexError::Header)));
    }

    #[test]
    fn what_follows_the_end_of_an_archive_may_have_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let archive = LayerBuilder::new().file("a", 0o644, b"content").tar();
        let endless = Box::new(io::Cursor::new(archive).chain(io::repeat(0)));
        let (_file, index) = spool(endless, directory.path()).unwrap();
        assert_eq!(index.keys().collect::<Vec<_>>(), [b"a"]);
        let (_file, index) = spool(Box::new(io::repeat(0)), directory.path()).unwrap();
        assert!(index.is_empty());
    }
}
