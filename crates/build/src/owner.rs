//! `--chown`: names read against the files of the image that is being built.

use std::os::fd::BorrowedFd;

use shale_dockerfile::Dialect;

use crate::tree::read_small_file;

/// Largest `/etc/passwd` or `/etc/group` that is read.
const FILE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// User and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Why `--chown` names nobody. The texts are the classic builder's.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// No such user.
    #[error("can't find uid for user {0}: no such user: {0}")]
    User(String),
    /// No such group.
    #[error("can't find gid for group {0}: no such group: {0}")]
    Group(String),
    /// More than one colon, or nothing.
    #[error("invalid chown string format: {0}")]
    Format(String),
    /// A number that the kernel does not take, or takes for "leave as is".
    #[error("uids and gids must be in range 0-2147483647")]
    OutOfRange,
    /// A file of the image cannot be used.
    #[error("could not read {file} of the image")]
    Read {
        /// The file.
        file: &'static str,
        /// What the kernel or the limit said.
        source: std::io::Error,
    },
}

/// Returns the owner that `written` means in the image at `root`.
pub(crate) fn resolve(root: BorrowedFd<'_>, written: &str, dialect: Dialect) -> Result<Owner, OwnerError> {
    let mut words = written.splitn(3, ':');
    let user = words.next().unwrap_or_default();
    let group = words.next();
    if user.is_empty() || words.next().is_some() {
        return Err(OwnerError::Format(written.to_owned()));
    }
    let passwd = || read(root, "etc/passwd");
    let uid = match number(user)? {
        Some(uid) => uid,
        None => match entry(&passwd()?, user).and_then(|fields| parse_id(fields.get(2)?)) {
            Some(uid) => uid,
            None if dialect.refuses_unknown_owners() => return Err(OwnerError::User(user.to_owned())),
            None => 0,
        },
    };
    let name = group.filter(|group| !group.is_empty()).unwrap_or(user);
    let gid = match number(name)? {
        Some(gid) => gid,
        None => {
            let of_group = entry(&read(root, "etc/group")?, name).and_then(|fields| parse_id(fields.get(2)?));
            let of_user = || {
                let takes = group.is_none() && dialect.takes_group_of_user();
                takes
                    .then(|| entry(&passwd().ok()?, user).and_then(|fields| parse_id(fields.get(3)?)))
                    .flatten()
            };
            match of_group.or_else(of_user) {
                Some(gid) => gid,
                None if dialect.refuses_unknown_owners() => return Err(OwnerError::Group(name.to_owned())),
                None => 0,
            }
        }
    };
    Ok(Owner { uid, gid })
}

fn read(root: BorrowedFd<'_>, file: &'static str) -> Result<String, OwnerError> {
    let content = read_small_file(root, file, FILE_SIZE_BYTES_MAX);
    let content = content.map_err(|source| OwnerError::Read { file, source })?;
    Ok(String::from_utf8_lossy(&content.unwrap_or_default()).into_owned())
}

fn entry<'a>(content: &'a str, name: &str) -> Option<Vec<&'a str>> {
    content
        .lines()
        .map(|line| line.trim().split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
}

fn number(text: &str) -> Result<Option<u32>, OwnerError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    parse_id(text).map(Some).ok_or(OwnerError::OutOfRange)
}

fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id: &u32| *id <= 0x7fff_ffff)
}
