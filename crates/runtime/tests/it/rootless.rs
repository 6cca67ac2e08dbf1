//! An ordinary user: a user namespace with one ID, and none of what the kernel keeps for real root.

use std::os::unix::fs::chown;
use std::process::Command;

use crate::setup::Machine;

#[test]
fn an_ordinary_user_runs_a_container() {
    let machine = Machine::new();
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples/supervisor");
    // Where an ordinary user can reach it.
    let copy = machine.path("supervisor");
    std::fs::copy(program, &copy).unwrap();
    let owned =
        Command::new("chown").args(["-R", "4242:4242"]).arg(machine.directory.path()).status().unwrap();
    assert!(owned.success());
    chown(machine.directory.path(), Some(4242), Some(4242)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "4242", "--regid", "4242", "--clear-groups"])
        .arg(&copy)
        .arg("--run-foreground-as-user")
        .args([machine.directory.path(), &machine.root()])
        .current_dir("/")
        .output()
        .expect("setpriv is part of util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    // One mapped ID: the kernel lets nobody set supplementary groups.
    assert_eq!(text, "uid=0(root) gid=0(root)\nSeccomp:\t2\n", "{output:?}");
    assert_eq!(output.status.code(), Some(7));
}
