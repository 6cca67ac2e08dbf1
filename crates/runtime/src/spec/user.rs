//! Which user a process runs as: `USER` and `-u` read against the image's own `/etc/passwd` and `/etc/group`.
//!
//! Promise: bounded work whatever the image says; a number never wraps and is never looked up as a name.

use std::io;
use std::path::Path;

use crate::root_dir::RootDir;

/// Largest `/etc/passwd` or `/etc/group` that is read.
const FILE_SIZE_BYTES_MAX: u64 = 1 << 20;
/// Longest list of supplementary groups (the kernel's own limit is 65,536).
const GROUPS_MAX: usize = 4096;
/// Docker refuses larger numbers, though the kernel has twice as many.
const ID_MAX: u32 = 0x7fff_ffff;

/// A user as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
    /// Supplementary groups; the primary one comes first, so that dropping it from the process is never silent.
    pub additional_gids: Vec<u32>,
}

/// Why a user could not be resolved; the first four texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that the image's passwd file does not hold.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    UnknownUser {
        /// As written.
        name: String,
    },
    /// A name that the image's group file does not hold.
    #[error("unable to find group {name}: no matching entries in group file")]
    UnknownGroup {
        /// As written.
        name: String,
    },
    /// A number below 0 or above 2³¹ - 1.
    #[error("uids and gids must be in range 0-2147483647")]
    OutOfRange,
    /// The entry found has a number that is none, or that does not fit.
    #[error("the entry of {name} in {file} has no valid number")]
    BadEntry {
        /// As written.
        name: String,
        /// File inside the image.
        file: &'static str,
    },
    /// More supplementary groups than a process may have.
    #[error("user {name} is in more than {GROUPS_MAX} groups")]
    TooManyGroups {
        /// As written.
        name: String,
    },
    /// A file of the image cannot be used: no regular file, or larger than 1 MiB.
    #[error("could not read {file} of the image")]
    Read {
        /// File inside the image.
        file: &'static str,
        /// What the kernel or the limit said.
        source: io::Error,
    },
}

impl User {
    /// Resolves `written` (`""`, `name`, `uid`, `name:group`, `uid:gid`) and `--group-add` in the root at `rootfs`.
    ///
    /// # Errors
    /// [`UserError`]; nothing was changed.
    ///
    /// Source: moby daemon/oci_linux.go, observed with dockerd 20.10.24.
    pub fn resolve(rootfs: &Path, written: &str, group_add: &[String]) -> Result<Self, UserError> {
        let read = |file: &'static str| {
            RootDir::open(rootfs)
                .and_then(|root| root.read_regular(Path::new(file), FILE_SIZE_BYTES_MAX))
                .map(Option::unwrap_or_default)
                .map_err(|source| UserError::Read { file, source })
        };
        resolve(&read(PASSWD)?, &read(GROUP)?, written, group_add)
    }
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

fn resolve(passwd: &[u8], group: &[u8], written: &str, group_add: &[String]) -> Result<User, UserError> {
    let (user_written, group_written) = match written.split_once(':') {
        Some((user, group)) => (user.trim(), group.split(':').next().unwrap_or_default().trim()),
        None => (written.trim(), ""),
    };
    let wanted_uid = number(if user_written.is_empty() { "0" } else { user_written })?;
    let entry = lines(passwd).find(|fields| match wanted_uid {
        Some(uid) => parse_id(fields[2]) == Some(uid),
        None => fields[0] == user_written.as_bytes(),
    });
    let bad_entry = |file| UserError::BadEntry { name: written.to_owned(), file };
    let mut user = match (&entry, wanted_uid) {
        (Some(fields), _) => User {
            uid: parse_id(fields[2]).ok_or_else(|| bad_entry(PASSWD))?,
            gid: parse_id(fields[3]).ok_or_else(|| bad_entry(PASSWD))?,
            additional_gids: Vec::new(),
        },
        (None, Some(uid)) => User { uid, ..User::default() },
        (None, None) => return Err(UserError::UnknownUser { name: user_written.to_owned() }),
    };
    let mut supplementary = Vec::new();
    if !group_written.is_empty() {
        user.gid = find_group(group, group_written)?;
    } else if let Some(fields) = &entry {
        for group_fields in lines(group) {
            if group_fields[3].split(|&byte| byte == b',').any(|member| member == fields[0]) {
                supplementary.push(parse_id(group_fields[2]).ok_or_else(|| bad_entry(GROUP))?);
            }
        }
    }
    for added in group_add {
        supplementary.push(find_group(group, added)?);
    }
    // The primary group is also a supplementary one: otherwise a process could leave it by setgid and be let into
    // files that deny exactly that group.
    user.additional_gids.push(user.gid);
    for gid in supplementary {
        if !user.additional_gids.contains(&gid) {
            user.additional_gids.push(gid);
        }
        if user.additional_gids.len() > GROUPS_MAX {
            return Err(UserError::TooManyGroups { name: written.to_owned() });
        }
    }
    Ok(user)
}

fn find_group(group: &[u8], written: &str) -> Result<u32, UserError> {
    if let Some(gid) = number(written)? {
        return Ok(gid);
    }
    let fields = lines(group)
        .find(|fields| fields[0] == written.as_bytes())
        .ok_or_else(|| UserError::UnknownGroup { name: written.to_owned() })?;
    parse_id(fields[2]).ok_or_else(|| UserError::BadEntry { name: written.to_owned(), file: GROUP })
}

/// The number that `written` is; `None` for a name.
fn number(written: &str) -> Result<Option<u32>, UserError> {
    let digits = written.strip_prefix(['-', '+']).unwrap_or(written);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match written.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(UserError::OutOfRange),
    }
}

fn parse_id(field: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(field).ok()?.trim();
    text.parse().ok().filter(|&id: &u32| id <= ID_MAX)
}

/// The first four fields of each line; missing ones are empty.
fn lines(content: &[u8]) -> impl Iterator<Item = [&[u8]; 4]> {
    content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n\
        nogrp:x:1002:1003::/:/bin/sh\n42:x:7:7::/:\nbig:x:4294967296:0::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\napp:x:1001:\nwheel:x:10:root,app\naudio:x:20:app\nstaff:x:50:app,nogrp\n";

    #[track_caller]
    fn check(written: &str, add: &[&str], uid: u32, gid: u32, additional: &[u32]) {
        let add: Vec<String> = add.iter().map(|&name| name.to_owned()).collect();
        let user = resolve(PASSWD, GROUP, written, &add).unwrap();
        assert_eq!(user, User { uid, gid, additional_gids: additional.to_vec() });
    }

    // The expected values are those of `process.user` in the bundles of dockerd 20.10.24 for the same two files.
    #[test]
    fn users_are_those_of_docker() {
        check("", &[], 0, 0, &[0, 10]);
        check("app", &[], 1000, 1001, &[1001, 10, 20, 50]);
        check("1000:1001", &["audio", "77"], 1000, 1001, &[1001, 20, 77]);
        check("4242", &[], 4242, 0, &[0]);
        check("app:wheel", &[], 1000, 10, &[10]);
    }

    #[track_caller]
    fn refuse(written: &str, message: &str) {
        assert_eq!(resolve(PASSWD, GROUP, written, &[]).unwrap_err().to_string(), message);
    }

    #[test]
    fn refusals_have_dockers_words() {
        refuse("nouser", "unable to find user nouser: no matching entries in passwd file");
        refuse("root:nogroup", "unable to find group nogroup: no matching entries in group file");
        for number in ["4294967296", "2147483648", "-1", "99999999999999999999999", "0:4294967295"] {
            refuse(number, "uids and gids must be in range 0-2147483647");
        }
    }

    #[test]
    fn a_number_is_never_looked_up_as_a_name() {
        check("42", &[], 42, 0, &[0]);
    }

    #[test]
    fn an_entry_whose_number_does_not_fit_is_refused_and_not_root() {
        refuse("big", "the entry of big in /etc/passwd has no valid number");
    }
}
