//! Whether the host's mounts allow the propagation that a bind mount asks for.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Why a bind mount cannot be connected with the host's mounts as asked.
#[derive(Debug, thiserror::Error)]
pub enum PropagationError {
    /// What happens on the host would not reach the container; docker's words.
    #[error("path {path} is mounted on {mount} but it is not a shared or slave mount", path = .path.display(), mount = .mount.display())]
    NotSharedOrSlave {
        /// The source, as given.
        path: PathBuf,
        /// The mount that it is on.
        mount: PathBuf,
    },
    /// What happens in the container would not reach the host; docker's words.
    #[error("path {path} is mounted on {mount} but it is not a shared mount", path = .path.display(), mount = .mount.display())]
    NotShared {
        /// The source, as given.
        path: PathBuf,
        /// The mount that it is on.
        mount: PathBuf,
    },
    /// It could be done, and is not: a container's mounts stay in a namespace that only its supervisor shares.
    #[error(
        "bind-propagation={0} is not supported: mounts that a container makes do not leave it; rslave brings those of the host to it"
    )]
    Upwards(String),
    /// The host's mounts could not be read.
    #[error("could not read the mounts of this machine")]
    Mounts(#[source] io::Error),
}

/// A line of `/proc/self/mountinfo`, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct HostMount {
    point: PathBuf,
    is_shared: bool,
    is_slave: bool,
}

/// Refuses a bind of `source` with `propagation` (`rslave`, `shared` …) that would have no effect.
///
/// Source: moby `daemon/oci_linux.go` `ensureShared`, `ensureSharedOrSlave` at v20.10.24.
pub(super) fn check(source: &Path, propagation: &str) -> Result<(), PropagationError> {
    let wants_shared = propagation.ends_with("shared");
    if !wants_shared && !propagation.ends_with("slave") {
        return Ok(());
    }
    let text = fs::read("/proc/self/mountinfo").map_err(PropagationError::Mounts)?;
    // A source that is gone is somebody else's complaint.
    let Ok(path) = source.canonicalize() else { return Ok(()) };
    let mounts = text.split(|&byte| byte == b'\n').filter_map(parse);
    // A later line of the same place lies over the earlier ones.
    let around = mounts.filter(|mount| path.starts_with(&mount.point));
    let Some(mount) = around.max_by_key(|mount| mount.point.components().count()) else { return Ok(()) };
    let (path, point) = (source.to_owned(), mount.point);
    match (wants_shared, mount.is_shared, mount.is_slave) {
        (true, false, _) => Err(PropagationError::NotShared { path, mount: point }),
        (true, true, _) => Err(PropagationError::Upwards(propagation.to_owned())),
        (false, false, false) => Err(PropagationError::NotSharedOrSlave { path, mount: point }),
        (false, ..) => Ok(()),
    }
}

/// Source: proc(5), `/proc/pid/mountinfo`: the fifth field is the place, the optional fields end with a `-`.
fn parse(line: &[u8]) -> Option<HostMount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = PathBuf::from(OsString::from_vec(unescape(fields.nth(4)?)));
    let optional: Vec<&[u8]> = fields.skip(1).take_while(|field| *field != b"-").collect();
    let has = |name: &[u8]| optional.iter().any(|field| field.starts_with(name));
    Some(HostMount { point, is_shared: has(b"shared:"), is_slave: has(b"master:") })
}

/// Undoes the kernel's `\040` for a blank, and its like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match after.get(..3).filter(|_| *first == b'\\').and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let mount =
            |point: &str, is_shared, is_slave| Some(HostMount { point: point.into(), is_shared, is_slave });
        for (line, expected) in [
            // The example of proc(5).
            (
                "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
                mount("/mnt2", false, true),
            ),
            (r"40 35 0:30 / /a\040b\134 rw shared:5 - tmpfs tmpfs rw", mount(r"/a b\", true, false)),
            ("41 35 0:31 / /both rw shared:5 master:2 - tmpfs tmpfs rw", mount("/both", true, true)),
            ("42 35 0:31 / /shared:1 rw - tmpfs shared:2 rw", mount("/shared:1", false, false)),
            ("", None),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
    }
}
