//! Being root where one is not: a user namespace in which files of the store can have several owners.
//!
//! With ranges in `/etc/subuid` and the `newuidmap` program many users exist inside, otherwise only one.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, anyhow};
use rustix::process::{getegid, geteuid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

static REAL_ROOT: OnceLock<bool> = OnceLock::new();

/// Returns whether the user who started the program is root; also inside the namespace.
pub fn is_real_root() -> bool {
    *REAL_ROOT.get_or_init(|| geteuid().is_root())
}

/// Enters a user namespace unless the user is root. Must be called before other threads start.
///
/// # Errors
/// When the kernel does not allow it, with what to do then.
pub fn enter_if_not_root() -> anyhow::Result<()> {
    if is_real_root() || geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let mappers = [mapper("newuidmap", "/etc/subuid", user), mapper("newgidmap", "/etc/subgid", group)];
    // SAFETY: no other thread runs yet, so no other code sees the change of credentials half done.
    #[allow(unsafe_code)]
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
    unshared.map_err(std::io::Error::from).context(
        "this needs root, or user namespaces, which this machine does not allow; run it as root (sudo), or allow them \
         (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)",
    )?;
    let [Some(users), Some(groups)] = mappers else { return map_one(user, group) };
    if run(users)? && run(groups)? { Ok(()) } else { map_one(user, group) }
}

/// Enters the user namespace of the process `pid`, which the same user started. Must be called before other threads start.
///
/// # Errors
/// When the process is gone, or somebody else's.
pub fn join(pid: u32) -> anyhow::Result<()> {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/user"))
        .context("the container's user namespace cannot be opened")?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(std::io::Error::from)
        .context("the container's user namespace cannot be entered")
}

/// Prepares the program that may write the map: it must be started outside, before the namespace is there.
fn mapper(program: &str, ranges_file: &str, id: u32) -> Option<Child> {
    let (first, count) = range(&std::fs::read_to_string(ranges_file).ok()?, id)?;
    let pid = std::process::id();
    // The shell waits for a line, which is sent when the namespace is there.
    let script = format!("read go && exec {program} {pid} 0 {id} 1 1 {first} {count}");
    Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// Returns the first range that `/etc/subuid` gives to a user, by number or by name.
fn range(ranges: &str, id: u32) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    let number = id.to_string();
    ranges.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        (owner == number || Some(owner) == name).then_some(())?;
        Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
    })
}

fn run(mut mapper: Child) -> anyhow::Result<bool> {
    if let Some(mut input) = mapper.stdin.take() {
        let _ = input.write_all(b"go\n");
    }
    Ok(mapper.wait().context("could not wait for the mapping of users")?.success())
}

/// Maps the user alone: every file of every layer then belongs to them.
fn map_one(user: u32, group: u32) -> anyhow::Result<()> {
    let write = |file: &str, text: String| {
        std::fs::write(file, text).map_err(|error| anyhow!(error).context(format!("could not write {file}")))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}
