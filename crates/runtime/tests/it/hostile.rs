//! Root filesystems that mean harm: every name in them leads out, blocks or never ends. A canary tells.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use shale_runtime::RunError;
use shale_runtime::spec::{Mount, TmpfsMount, User};

use crate::setup::Machine;

#[test]
fn a_working_directory_behind_links_stays_in_the_root() {
    let machine = Machine::new();
    let canary = machine.path("canary");
    fs::create_dir(&canary).unwrap();
    for (name, link) in [("abs", canary.clone()), ("up", "../../../../../../../../../tmp".into())] {
        symlink(&link, machine.root().join(name)).unwrap();
        let mut spec = machine.spec(&["pwd"]);
        spec.cwd = format!("/{name}/made-by-test").into();
        let _ = machine.try_run(&spec);
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "{name}");
        assert!(!std::path::Path::new("/tmp/made-by-test").exists(), "{name}");
    }
}

#[test]
fn a_mount_target_behind_links_stays_in_the_root() {
    let machine = Machine::new();
    let canary = machine.path("canary");
    fs::create_dir(&canary).unwrap();
    symlink(&canary, machine.root().join("out")).unwrap();
    fs::create_dir(machine.root().join("real")).unwrap();
    symlink("/real", machine.root().join("inside")).unwrap();
    let mut spec = machine.shell("grep -c ' /real/sub ' /proc/mounts");
    spec.mounts = vec![Mount::Tmpfs(TmpfsMount { target: "/inside/sub".into(), options: Vec::new() })];
    assert_eq!(machine.run(&spec).stdout, "1\n");
    let mut spec = machine.shell("true");
    spec.mounts = vec![Mount::Tmpfs(TmpfsMount { target: "/out/sub".into(), options: Vec::new() })];
    let _ = machine.try_run(&spec);
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn etc_behind_a_link_stays_in_the_root() {
    let machine = Machine::new();
    let canary = machine.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::remove_dir_all(machine.root().join("etc")).unwrap();
    symlink(&canary, machine.root().join("etc")).unwrap();
    fs::write(machine.path("hosts"), "1.2.3.4 foo\n").unwrap();
    let mut spec = machine.shell("true");
    spec.etc_files.hosts = Some(machine.path("hosts"));
    let _ = machine.try_run(&spec);
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn a_passwd_that_is_a_pipe_a_device_or_a_bomb_is_refused_at_once() {
    let machine = Machine::new();
    let passwd = machine.root().join("etc/passwd");
    let refused = |what: &str| {
        let began = Instant::now();
        let error = User::resolve(&machine.root(), "app", &[]).unwrap_err();
        assert_eq!(error.to_string(), "could not read /etc/passwd of the image", "{what}");
        assert!(began.elapsed() < Duration::from_secs(1), "{what}");
    };
    fs::remove_file(&passwd).unwrap();
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644));
    rustix::fs::mknodat(rustix::fs::CWD, &passwd, kind, mode, 0).unwrap();
    refused("pipe");
    fs::remove_file(&passwd).unwrap();
    let zero = rustix::fs::makedev(1, 5);
    rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::CharacterDevice, mode, zero).unwrap();
    refused("device");
    fs::remove_file(&passwd).unwrap();
    fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
    refused("terabyte");
    // A link leads to the file of that name inside the root, never on the host.
    fs::remove_file(&passwd).unwrap();
    symlink("/etc/group", &passwd).unwrap();
    let error = User::resolve(&machine.root(), "daemon", &[]).unwrap_err();
    assert_eq!(error.to_string(), "unable to find user daemon: no matching entries in passwd file");
}

#[test]
fn a_user_in_too_many_groups_is_refused() {
    let machine = Machine::new();
    let groups: String = (0..20_000).map(|gid| format!("g{gid}:x:{gid}:app\n")).collect();
    fs::write(machine.root().join("etc/group"), groups).unwrap();
    let error = User::resolve(&machine.root(), "app", &[]).unwrap_err();
    assert_eq!(error.to_string(), "user app is in more than 4096 groups");
}

#[test]
fn a_working_directory_that_is_a_file_is_refused_in_dockers_words() {
    let machine = Machine::new();
    let mut spec = machine.spec(&["true"]);
    spec.cwd = "/etc/passwd".into();
    match machine.try_run(&spec) {
        Err(RunError::Start(error)) => {
            assert_eq!(error.to_string(), "Cannot mkdir: /etc/passwd is not a directory");
            assert_eq!(error.exit_code(), 125);
        }
        other => panic!("{other:?}"),
    }
}
