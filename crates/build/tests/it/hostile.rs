//! Contexts and images that try to reach the host.

use std::os::unix::fs::symlink;
use std::path::Path;

use shale_build::{Context, ContextError};
use shale_dockerfile::Dialect;

use crate::machine::Machine;

#[test]
fn links_of_the_context_never_lead_out() {
    let Some(machine) = Machine::new() else { return };
    let secret = machine.directory.path().join("secret");
    std::fs::write(&secret, "canary\n").unwrap();
    symlink(&secret, machine.context().join("absolute")).unwrap();
    symlink("../secret", machine.context().join("relative")).unwrap();
    symlink("..", machine.context().join("up")).unwrap();
    for source in ["absolute", "relative", "up/secret", "up/../../secret", "a*"] {
        let outcome = machine.build(&format!("FROM base\nCOPY {source} /x/\n"), Dialect::Shale);
        assert!(outcome.error(Dialect::Shale).starts_with("COPY failed"), "{source}");
    }
    // Inside a directory a link is copied as it is.
    let image = machine.build("FROM base\nCOPY . /x/\n", Dialect::Shale).image();
    assert_eq!(machine.shell(&image, "readlink /x/relative"), "../secret\n");
}

#[test]
fn links_of_the_image_lead_below_its_root() {
    let Some(machine) = Machine::new() else { return };
    machine.file("f", "x\n");
    let canary = machine.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let path = canary.display();
    let dockerfile = format!(
        "FROM base\nRUN /bin/busybox ln -s {path} /l && /bin/busybox ln -s ../../../../../..{path} /m\nCOPY f /l/a\nCOPY f \
         /m/b\nWORKDIR /l/c\nADD f /l/d/\n"
    );
    let image = machine.build(&dockerfile, Dialect::Shale).image();
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
    let seen = machine.shell(&image, &format!("ls {path}"));
    assert_eq!(seen, "a\nb\nc\nd\n");
}

#[test]
fn pipes_in_place_of_files_hold_nothing_up() {
    let Some(machine) = Machine::new() else { return };
    let pipe = |name: &str| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, machine.context().join(name), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    };
    pipe("Dockerfile");
    let read = Context::read_dockerfile(&machine.context(), None);
    assert!(matches!(read, Err(ContextError::Read { .. })));
    pipe(".dockerignore");
    let opened = Context::open(&machine.context(), None, Dialect::Shale);
    assert!(matches!(opened, Err(ContextError::Read { .. })));
}

#[test]
fn a_dockerfile_that_is_a_link_to_the_host_is_not_read() {
    let Some(machine) = Machine::new() else { return };
    symlink(Path::new("/etc/passwd"), machine.context().join("Dockerfile")).unwrap();
    assert!(Context::read_dockerfile(&machine.context(), None).is_err());
}

#[test]
fn an_archive_does_not_leave_its_destination() {
    let Some(machine) = Machine::new() else { return };
    let packed = std::process::Command::new("tar")
        .args(["-cPf", "ar.tar", "--transform", "s,^,../../../../../canary-,", "Dockerfile"])
        .current_dir({
            machine.file("Dockerfile", "FROM base\n");
            machine.context()
        })
        .status();
    assert!(packed.unwrap().success());
    let outcome = machine.build("FROM base\nADD ar.tar /x/\n", Dialect::Shale);
    assert!(outcome.error(Dialect::Shale).starts_with("ADD failed"));
}
