//! A root filesystem, a runtime and short ways to run something in it.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use shale_runtime::spec::User;
use shale_runtime::{ContainerSpec, ExitStatus, RunError, Runtime, Signals, Stdio, Stream, Supervisor};
use tempfile::TempDir;

const APPLETS: &[&str] = &[
    "awk", "cat", "chmod", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ln", "ls",
    "mkdir", "mount", "nc", "printf", "ps", "pwd", "readlink", "sed", "seq", "sh", "sleep", "sort", "stat",
    "stty", "tail", "tee", "test", "touch", "tr", "true", "tty", "umount", "wc", "xargs", "yes",
];

pub struct Machine {
    pub directory: TempDir,
    pub runtime: Runtime,
}

impl Machine {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let supervisor =
            std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples/supervisor");
        assert!(supervisor.exists(), "{supervisor:?} is missing: run `cargo test` without `--test`");
        let runtime = Runtime::find(None)
            .unwrap_or_else(|error| panic!("{error}"))
            .with_records(directory.path().join("run/records"))
            .with_supervisor(Supervisor { program: supervisor, args: Vec::new() });
        make_root(&directory.path().join("rootfs"));
        Self { directory, runtime }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn spec(&self, args: &[&str]) -> ContainerSpec {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut spec = ContainerSpec::new(fresh_id(), self.root(), args);
        spec.user = User::resolve(&self.root(), "", &[]).unwrap();
        spec
    }

    pub fn shell(&self, script: &str) -> ContainerSpec {
        self.spec(&["sh", "-c", script])
    }

    pub fn try_run(&self, spec: &ContainerSpec) -> Result<Outcome, RunError> {
        let mut stdout = tempfile::tempfile().unwrap();
        let mut stderr = tempfile::tempfile().unwrap();
        let copy = |file: &File| Stream::Descriptor(file.try_clone().unwrap().into());
        let stdio = Stdio { stdin: Stream::Null, stdout: copy(&stdout), stderr: copy(&stderr) };
        let status = self.runtime.run_to_end(spec, stdio, &mut Signals::none())?;
        Ok(Outcome { status, stdout: text(&mut stdout), stderr: text(&mut stderr) })
    }

    #[track_caller]
    pub fn run(&self, spec: &ContainerSpec) -> Outcome {
        self.try_run(spec).unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    /// Nothing of the container is left: no records, no bundle, no control group.
    #[track_caller]
    pub fn assert_clean(&self, spec: &ContainerSpec) {
        assert!(!self.path("run/records").join(&spec.id).exists(), "records");
        assert!(!self.path("run/bundles").join(&spec.id).exists(), "bundle");
        for controller in ["memory", "pids", "unified", "systemd", "."] {
            let group = Path::new("/sys/fs/cgroup").join(controller).join(&spec.cgroup_path()[1..]);
            assert!(!group.exists(), "{group:?}");
        }
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

pub fn fresh_id() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:032x}{:032x}", std::process::id(), number)
}

/// The tree that dockerd had when the expected values were taken.
fn make_root(root: &Path) {
    for directory in ["bin", "etc", "tmp", "root", "vol", "home/app"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install the package busybox-static");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\nnogrp:x:1002:1003::/:/bin/sh\n";
    let group = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\naudio:x:20:app\nstaff:x:50:app,nogrp\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), group).unwrap();
}
