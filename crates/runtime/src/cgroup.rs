//! The control groups of a container: where they are, who is in them, what they count. v1, v2 and both at once.

mod stats;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use stats::{BlockIo, CpuStats, MemoryStats, NetworkStats, Stats};

/// The control groups of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// v1 hierarchies: controllers (or `name=systemd`) and directory.
    v1: Vec<(Vec<String>, PathBuf)>,
    /// Directory in the unified hierarchy.
    v2: Option<PathBuf>,
}

impl Cgroups {
    /// The control groups at `path` below every mounted hierarchy; some need not exist.
    ///
    /// Asking `/proc/<pid>/cgroup` instead would miss a process that has already ended: a zombie is in none.
    pub(crate) fn at(path: &str) -> Self {
        resolve(path, &std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Directory of a v1 controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Path> {
        let found = self.v1.iter().find(|(controllers, _)| controllers.iter().any(|name| name == controller));
        found.map(|(_, path)| path.as_path())
    }

    /// Directory in the unified hierarchy.
    pub(crate) fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|(_, path)| path.as_path()).chain(self.v2.as_deref())
    }

    /// Every process in the container, by its number on the host.
    pub fn processes(&self) -> Vec<u32> {
        let text = [self.v1("pids"), self.v1("memory"), self.v2()]
            .into_iter()
            .flatten()
            .find_map(|path| std::fs::read_to_string(path.join("cgroup.procs")).ok());
        text.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Whether the kernel killed a process of the container for want of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        let counted = |path: PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.strip_prefix("oom_kill "))
                .any(|count| count.trim().parse::<u64>().is_ok_and(|count| count > 0))
        };
        self.v1("memory").is_some_and(|path| counted(path.join("memory.oom_control")))
            || self.v2().is_some_and(|path| counted(path.join("memory.events")))
    }

    /// Whether the processes are held where they are.
    pub(crate) fn is_frozen(&self) -> bool {
        let says = |path: PathBuf, word: &str| {
            std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.trim() == word))
        };
        self.v1("freezer").is_some_and(|path| says(path.join("freezer.state"), "FROZEN"))
            || self.v2().is_some_and(|path| says(path.join("cgroup.freeze"), "1"))
    }

    /// Removes the directories; true when none is left.
    pub(crate) fn remove(&self) -> bool {
        self.directories().all(|path| {
            // The last process has been reaped, yet the kernel may need a moment to let its group go.
            for attempt in 0..6 {
                match rustix::fs::rmdir(path) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => return true,
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(1 << attempt)),
                }
            }
            false
        })
    }
}

fn resolve(path: &str, mounts: &str) -> Cgroups {
    let mut cgroups = Cgroups::default();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut after = after.split(' ');
        let (kind, options) = (after.next().unwrap_or_default(), after.nth(1).unwrap_or_default());
        let Some(mount_point) = before.split(' ').nth(4) else { continue };
        let directory = Path::new(mount_point).join(path.trim_start_matches('/'));
        match kind {
            "cgroup" => {
                let flags = ["rw", "ro", "xattr", "noprefix", "clone_children"];
                let controllers = options.split(',').filter(|option| !flags.contains(option));
                cgroups.v1.push((controllers.map(str::to_owned).collect(), directory));
            }
            "cgroup2" => cgroups.v2 = Some(directory),
            _ => {}
        }
    }
    cgroups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_both_kinds_of_hierarchy() {
        let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let cgroups = resolve("/shale/ab", mounts);
        assert_eq!(cgroups.v1("memory"), Some(Path::new("/sys/fs/cgroup/memory/shale/ab")));
        assert_eq!(cgroups.v1("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/shale/ab")));
        assert_eq!(cgroups.v2(), Some(Path::new("/sys/fs/cgroup/unified/shale/ab")));
    }
}
