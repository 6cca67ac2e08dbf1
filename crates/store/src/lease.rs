//! Leases: what a living process is making or using, written down before it is made or used.
//!
//! A lease is a flocked file whose *name* says everything. So nothing has to be written into it, and a journalling
//! file system keeps the order of names: the lease is never missing while the thing it names is there.
//!
//! Promise: a lease whose flock is free belongs to nobody alive; its leftovers may be removed.
//! Not here: removing them.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use shale_oci::ChainId;

use crate::durable::{self, DiskError};
use crate::{layout, lock, random};

/// What a lease is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A layer that is being unpacked: the names of its three parts.
    NewLayer { cache_id: String, link: String, write_set: u64 },
    /// A container that is being made or removed: its id, the name of its writable directory, and the short names of
    /// that and of the init directory.
    Mount { name: String, mount_id: String, link: String, init_link: String },
    /// A directory of files that wait for the lock to be renamed: its name below `layerdb/tmp`.
    Staging { directory: String },
    /// A published layer that somebody builds upon.
    Hold { chain: ChainId },
}

impl Purpose {
    fn file_name(&self) -> String {
        match self {
            Purpose::NewLayer { cache_id, link, write_set } => format!("new.{cache_id}.{link}.{write_set}"),
            Purpose::Mount { name, mount_id, link, init_link } => {
                // Who made a container may not have given its lease back when somebody else removes the container.
                format!("mount.{name}.{mount_id}.{link}.{init_link}.{}", random::hex(8))
            }
            Purpose::Staging { directory } => format!("staging.{directory}"),
            Purpose::Hold { chain } => format!("hold.{}.{}", chain.hex(), random::hex(8)),
        }
    }

    /// Returns what the lease protects below `layerdb/tmp`.
    pub(crate) fn staged_name(&self) -> Option<String> {
        match self {
            Purpose::NewLayer { write_set, .. } => Some(layout::write_set_name(*write_set)),
            Purpose::Staging { directory } => Some(directory.clone()),
            Purpose::Hold { .. } | Purpose::Mount { .. } => None,
        }
    }

    fn parse(file_name: &str) -> Option<Purpose> {
        let mut parts = file_name.split('.');
        let purpose = match parts.next()? {
            "new" => {
                let (cache_id, link, write_set) = (parts.next()?, parts.next()?, parts.next()?);
                if !layout::is_cache_id(cache_id) || !layout::is_link(link) {
                    return None;
                }
                Purpose::NewLayer {
                    cache_id: cache_id.to_owned(),
                    link: link.to_owned(),
                    write_set: write_set.parse().ok()?,
                }
            }
            "mount" => {
                let mut part = || parts.next().map(str::to_owned);
                let (name, mount_id, link, init_link) = (part()?, part()?, part()?, part()?);
                part();
                let are_ids = layout::is_cache_id(&name) && layout::is_cache_id(&mount_id);
                if !are_ids || !layout::is_link(&link) || !layout::is_link(&init_link) {
                    return None;
                }
                Purpose::Mount { name, mount_id, link, init_link }
            }
            "staging" => Purpose::Staging { directory: parts.next()?.to_owned() },
            "hold" => {
                let chain = ChainId::from_str(&format!("sha256:{}", parts.next()?)).ok()?;
                parts.next()?;
                Purpose::Hold { chain }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(purpose)
    }
}

/// A lease of this process; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lease {
    file: File,
    path: PathBuf,
    abandoned: bool,
}

impl Lease {
    /// Writes a lease down, with names that `purpose` makes anew for each try. When this returns, every other process
    /// knows.
    pub(crate) fn take(
        directory: &Path,
        mut purpose: impl FnMut() -> Purpose,
    ) -> Result<(Lease, Purpose), DiskError> {
        loop {
            let purpose = purpose();
            let path = directory.join(purpose.file_name());
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|source| DiskError::new("create", &path, source))?;
            let lease = Lease { file, path, abandoned: false };
            match rustix::fs::flock(&lease.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // A sweeper was faster than our flock; it will remove the file.
                Err(Errno::WOULDBLOCK) => continue,
                Err(source) => return Err(DiskError::new("lock", &lease.path, source)),
            }
            let links =
                lease.file.metadata().map_err(|source| DiskError::new("read", &lease.path, source))?.nlink();
            if links > 0 {
                return Ok((lease, purpose));
            }
        }
    }

    /// Changes what the lease is for, in one step.
    pub(crate) fn change(&mut self, purpose: &Purpose) -> Result<(), DiskError> {
        let path = self.path.with_file_name(purpose.file_name());
        durable::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Leaves the lease behind unlocked, so that the next open removes what it names.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.abandoned {
            let _ = durable::remove_file(&self.path);
        }
        lock::unlock(&self.file);
    }
}

/// All leases of a root at one moment.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Those of living processes.
    pub(crate) live: Vec<Purpose>,
    /// Those of dead processes, now ours: nobody else cleans up after them as long as we keep them.
    pub(crate) dead: Vec<(Option<Purpose>, Lease)>,
}

/// Lists the leases and takes over those of dead processes.
pub(crate) fn survey(directory: &Path) -> Result<Leases, DiskError> {
    let mut leases = Leases::default();
    for name in durable::names(directory)? {
        let path = directory.join(&name);
        // Not there: given back, or changed its purpose; a change happens under the commit lock or is seen by its new name.
        let Some(file) = durable::open(&path)? else { continue };
        let purpose = Purpose::parse(&name);
        match lock::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => leases.dead.push((purpose, Lease { file, path, abandoned: true })),
            Err(Errno::WOULDBLOCK) => leases.live.extend(purpose),
            Err(source) => return Err(DiskError::new("lock", &path, source)),
        }
    }
    Ok(leases)
}

/// Lists the containers that somebody is making or removing, or was when it was killed.
pub(crate) fn mounts(directory: &Path) -> Result<HashSet<String>, DiskError> {
    let purposes = durable::names(directory)?.into_iter().filter_map(|name| Purpose::parse(&name));
    Ok(purposes
        .filter_map(|purpose| match purpose {
            Purpose::Mount { name, .. } => Some(name),
            _ => None,
        })
        .collect())
}

impl Lease {
    /// Removes a dead process's lease, after all that it names is gone.
    pub(crate) fn bury(self) -> Result<(), DiskError> {
        durable::remove_file(&self.path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_leased_by_who_made_it_and_by_who_removes_it() {
        let directory = tempfile::tempdir().unwrap();
        let purpose = || Purpose::Mount {
            name: "a".repeat(64),
            mount_id: "b".repeat(64),
            link: "A".repeat(26),
            init_link: "B".repeat(26),
        };
        let (maker, _) = Lease::take(directory.path(), purpose).unwrap();
        let (_remover, _) = Lease::take(directory.path(), purpose).unwrap();
        assert_eq!(survey(directory.path()).unwrap().live, [purpose(), purpose()]);
        drop(maker);
        assert_eq!(mounts(directory.path()).unwrap(), HashSet::from(["a".repeat(64)]));
        // As named by earlier versions.
        let name = purpose().file_name();
        let earlier = name.rsplit_once('.').unwrap().0;
        assert_eq!(Purpose::parse(earlier), Some(purpose()));
    }
}
