//! Which process a number means: a pid together with the moment the process began.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

/// A process that can be told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number in the host's pid namespace.
    pub pid: u32,
    /// Clock ticks between the boot and the start of the process (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
}

impl ProcessId {
    /// Names the process that has the number `pid` now; `None` when there is none or it is a zombie.
    pub fn find(pid: u32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold blanks and brackets; the fields begin after its last bracket.
        let after_name = stat.iter().rposition(|&byte| byte == b')')? + 2;
        let fields = std::str::from_utf8(stat.get(after_name..)?).ok()?;
        let mut fields = fields.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }

    /// This process.
    pub fn of_self() -> Self {
        Self::find(std::process::id()).expect("a running process has a stat file")
    }

    /// Whether the process still runs.
    pub fn is_alive(self) -> bool {
        Self::find(self.pid) == Some(self)
    }

    /// Opens a descriptor of the process, checked to be this very one; `None` when it is gone.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let descriptor = open_pid(self.pid).ok()?;
        // Checked after the open: from here on the descriptor cannot change its meaning.
        self.is_alive().then_some(descriptor)
    }

    /// Sends `signal`, which may be any number the kernel knows.
    ///
    /// # Errors
    /// `ESRCH` when the process is gone.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        let descriptor = self.open().ok_or(rustix::io::Errno::SRCH)?;
        Ok(rustix::process::pidfd_send_signal(descriptor, signal)?)
    }
}

pub(crate) fn open_pid(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The random number that the kernel drew at boot: pids recorded under another one mean nothing.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
