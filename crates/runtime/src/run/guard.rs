//! The guard: a small process that outlives its caller just long enough to end the caller's foreground containers.
//!
//! The caller holds the write end of a pipe and writes `+id cgroup-path` and `-id` to it. When the pipe ends, by exit or by
//! `kill -9`, the guard ends every container still on its list. One guard serves all containers of a process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::Cgroups;
use crate::find::Runtime;

static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Puts a container on the list; starts the guard at the first one.
pub(super) fn register(runtime: &Runtime, id: &str, cgroup_path: &str) {
    let Some(supervisor) = &runtime.supervisor else { return };
    let mut pipe = PIPE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if pipe.is_none() {
        let mut command = Command::new(&supervisor.program);
        command.args(&supervisor.args).arg("guard").arg(&runtime.program).arg(&runtime.records);
        // A group of its own: a Ctrl-C or a kill of the caller's group must not reach the guard.
        command.process_group(0);
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn();
        *pipe = spawned.ok().and_then(|mut child| child.stdin.take());
    }
    write(&mut pipe, &format!("+{id} {cgroup_path}"));
}

/// Takes a container off the list.
pub(super) fn unregister(runtime: &Runtime, id: &str) {
    if runtime.supervisor.is_some() {
        write(&mut PIPE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), &format!("-{id}"));
    }
}

fn write(pipe: &mut Option<ChildStdin>, line: &str) {
    if let Some(open) = pipe
        && open.write_all(format!("{line}\n").as_bytes()).is_err()
    {
        // Someone killed the guard; the next container gets a new one.
        *pipe = None;
    }
}

/// The guard's whole life: reads its list until the caller is gone, then ends what is on it.
pub(crate) fn guard_main(runtime: &Runtime) {
    let mut listed = BTreeMap::new();
    for line in BufReader::new(std::io::stdin()).lines().map_while(Result::ok) {
        match line.split_at_checked(1) {
            Some(("+", container)) => {
                if let Some((id, cgroup_path)) = container.split_once(' ') {
                    listed.insert(id.to_owned(), Cgroups::at(cgroup_path));
                }
            }
            Some(("-", id)) => drop(listed.remove(id)),
            _ => {}
        }
    }
    // A runtime that the caller had just started goes on creating its container: look again for a while.
    for delay_ms in [0, 50, 200, 500, 1000, 2000] {
        if listed.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(delay_ms));
        for (id, cgroups) in &listed {
            runtime.delete(id);
            end_all(cgroups);
        }
    }
    for id in listed.keys() {
        let _ = fs::remove_dir_all(runtime.records.with_file_name("bundles").join(id));
    }
}

/// Ends who is still in the container's groups, and removes them.
///
/// A runtime that is told to delete a container which is half made forgets it: runc 1.1 leaves its `init`, which waits for ever to
/// be started, and the groups.
fn end_all(cgroups: &Cgroups) {
    for process in cgroups.processes() {
        if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
    cgroups.remove();
}
