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

/// The two stages wait for each other through a cache mount: they end only if they run at the same time.
#[test]
fn stages_that_do_not_need_each_other_run_at_the_same_time() {
    let Some(machine) = Machine::new() else { return };
    let wait = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,target=/c echo {own}; touch /c/{own}; \
             n=0; while ! test -e /c/{other}; do n=$((n+1)); test $n -lt 300 || exit 9; busybox sleep 0.1; done; \
             touch /{own}"
        )
    };
    let dockerfile = format!(
        "FROM base AS a\n{}\nFROM base AS b\n{}\nFROM base\nCOPY --from=a /one /\nCOPY --from=b /two /\nRUN ls /one /two\n",
        wait("one", "two"),
        wait("two", "one")
    );
    let outcome = machine.build(&dockerfile, Dialect::Shale);
    outcome.image();
    // What they say is told as if one ran after the other.
    let places: Vec<usize> = (1..=8)
        .map(|step| outcome.text.find(&format!("Step {step}/8 : ")).expect("every step is told"))
        .collect();
    assert!(places.is_sorted(), "{}", outcome.text);
    let (one, two) = (outcome.text.find("\none\n").unwrap(), outcome.text.find("\ntwo\n").unwrap());
    assert!(places[1] < one && one < places[2] && places[3] < two && two < places[4], "{}", outcome.text);
}

/// A stage that fails ends the command of another one, which would take a minute.
#[test]
fn a_stage_that_fails_ends_the_others() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "FROM base AS a\nRUN busybox sleep 60\nFROM base AS b\nRUN busybox sleep 0.2; echo told; exit 7\n\
                      FROM base\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let start = std::time::Instant::now();
    let outcome = machine.build(dockerfile, Dialect::Shale);
    let error = outcome.result.unwrap_err();
    assert_eq!(error.exit_code(), 7, "{error}");
    assert!(outcome.text.contains("told"), "{}", outcome.text);
    assert!(start.elapsed() < std::time::Duration::from_secs(40), "{:?}", start.elapsed());
}

/// What a command writes to a bind mount is seen by it alone.
#[test]
fn a_bind_mount_for_writing_is_thrown_away() {
    let Some(machine) = Machine::new() else { return };
    machine.file("d/f", "before\n");
    let dockerfile = "FROM base\nRUN --mount=type=bind,source=d,target=/m,rw echo after > /m/f; cat /m/f; touch /m/new\n\
                      RUN --mount=type=bind,source=d,target=/m cat /m/f; ls /m\n";
    let outcome = machine.build(dockerfile, Dialect::Shale);
    outcome.image();
    assert!(outcome.text.contains("\nafter\n") && outcome.text.contains("\nbefore\nf\n"), "{}", outcome.text);
    assert_eq!(std::fs::read_to_string(machine.context().join("d/f")).unwrap(), "before\n");
}

/// A private cache is a directory of its own while another step has the first one; a new cache is filled from a stage.
#[test]
fn caches_are_shared_or_not_as_asked() {
    let Some(machine) = Machine::new() else { return };
    let hold = "RUN --mount=type=cache,id=p,target=/c,sharing=private --mount=type=cache,target=/s";
    let dockerfile = format!(
        "FROM base AS seed\nRUN mkdir /seed; touch /seed/from-stage\n\
         FROM base AS a\n{hold} touch /c/a /s/a; n=0; while ! test -e /s/b; do n=$((n+1)); test $n -lt 300 || exit 9; busybox sleep 0.1; done; ls /c > /a\n\
         FROM base AS b\n{hold} touch /c/b /s/b; n=0; while ! test -e /s/a; do n=$((n+1)); test $n -lt 300 || exit 9; busybox sleep 0.1; done; ls /c > /b\n\
         FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n\
         RUN --mount=type=cache,id=filled,target=/f,from=seed,source=/seed ls /f > /filled\n"
    );
    let image = machine.build(&dockerfile, Dialect::Shale).image();
    assert_eq!(machine.shell(&image, "cat /a /b /filled"), "a\nb\nfrom-stage\n");
}
