//! RUN: what the layer holds and what it does not.

use shale_build::BuildOptions;
use shale_dockerfile::Dialect;
use shale_rootfs::tar_split::entries;

use crate::machine::{Machine, Outcome};

/// The names in the top layer, as its tar has them.
#[track_caller]
fn top_layer(machine: &Machine, outcome: &Outcome) -> Vec<String> {
    let image = machine.store.image(outcome.image()).unwrap().unwrap();
    let mut tar_split = machine.store.open_tar_split(image.layers.last().unwrap()).unwrap();
    entries(&mut tar_split).map(|entry| entry.unwrap().name.to_string()).collect()
}

// The layer of the same step in dockerd 20.10.24 holds these names and no others.
#[test]
fn a_layer_holds_what_the_command_changed_and_no_stubs() {
    let Some(machine) = Machine::new() else { return };
    let outcome = machine
        .build("FROM base\nRUN echo hi >/f; mkdir -p /d/e; rm /etc/group; touch /tmp/q\n", Dialect::Classic);
    assert_eq!(top_layer(&machine, &outcome), ["d/", "d/e/", "etc/", "etc/.wh.group", "f", "tmp/", "tmp/q"]);
}

#[test]
fn a_command_that_changes_nothing_makes_no_layer() {
    let Some(machine) = Machine::new() else { return };
    let image = machine.build("FROM base\nRUN true\n", Dialect::Shale).image();
    let config = machine.config(image);
    assert_eq!(config.rootfs.diff_ids.len(), 1);
    assert!(config.history.last().unwrap().empty_layer);
}

#[test]
fn mounts_leave_nothing_in_the_layer() {
    let Some(machine) = Machine::new() else { return };
    machine.file("sub/f", "content\n");
    let secret = machine.directory.path().join("secret");
    std::fs::write(&secret, "s3cr3t\n").unwrap();
    let options = BuildOptions { secrets: [("s".to_owned(), secret)].into(), ..BuildOptions::default() };
    let dockerfile = "FROM base\nRUN --mount=type=bind,target=/m,source=sub --mount=type=cache,target=/c \
                      --mount=type=secret,id=s --mount=type=tmpfs,target=/t cat /m/f /run/secrets/s > /out; echo x > \
                      /c/x; echo y > /t/y\n";
    let outcome = machine.build_with(dockerfile, Dialect::Shale, &options);
    assert_eq!(top_layer(&machine, &outcome), ["out"]);
    assert_eq!(machine.shell(&outcome.image(), "cat /out"), "content\ns3cr3t\n");
    let again =
        machine.build("FROM base\nRUN --mount=type=cache,target=/c cat /c/x > /kept\n", Dialect::Shale);
    assert_eq!(machine.shell(&again.image(), "cat /kept"), "x\n");
}

// Observed with Docker's classic builder; BuildKit keeps both files.
#[test]
fn what_is_written_to_a_volume_is_lost_in_the_classic_dialect_alone() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "FROM base\nRUN mkdir /v && echo a > /v/a\nVOLUME /v\nRUN cat /v/a && echo b > /v/b\n";
    for (dialect, expected) in [(Dialect::Classic, "a\n"), (Dialect::Shale, "a\nb\n")] {
        let image = machine.build(dockerfile, dialect).image();
        assert_eq!(machine.shell(&image, "ls /v"), expected);
    }
}

#[test]
fn a_failed_step_keeps_its_root_and_is_no_cache() {
    let Some(machine) = Machine::new() else { return };
    let options = BuildOptions { keep_failed_root: true, ..BuildOptions::default() };
    let before = machine.store.image_ids().unwrap();
    let outcome = machine.build_with("FROM base\nRUN echo x > /left; exit 7\n", Dialect::Shale, &options);
    assert_eq!(outcome.result.as_ref().unwrap_err().exit_code(), 7);
    let kept = machine.store.image_ids().unwrap().into_iter().find(|id| !before.contains(id)).unwrap();
    assert_eq!(machine.shell(&kept, "cat /left"), "x\n");
    let again = machine.build("FROM base\nRUN echo x > /left; exit 7\n", Dialect::Shale);
    assert!(again.result.is_err() && !again.text.contains("Using cache"));
}

#[test]
fn a_command_sees_its_three_streams_and_no_other_descriptor() {
    let Some(machine) = Machine::new() else { return };
    let image = machine.build("FROM base\n", Dialect::Shale).image();
    // The fourth is the directory that the shell lists.
    assert_eq!(machine.shell(&image, "cd /proc/self/fd && echo [0-9]*"), "0 1 2 3\n");
}
