//! COPY and ADD: where files go and what they look like there. The expected trees are those of the builder reference 11.

use shale_dockerfile::Dialect;

use crate::machine::Machine;

/// Prints name, mode, owner, and the content of files.
const LOOK: &str = "cd /t && find . | sort | while read f; do stat -c '%n %a %u:%g %F' $f; done";

#[track_caller]
fn check(machine: &Machine, steps: &str, expected: &str) {
    let image = machine.build(&format!("FROM base\n{steps}\n"), Dialect::Shale).image();
    let seen = machine.shell(&image, LOOK);
    assert_eq!(seen.trim(), expected.trim(), "{steps}");
}

fn machine() -> Option<Machine> {
    let machine = Machine::new()?;
    machine.file("a.txt", "a\n");
    machine.file("d/one", "1\n");
    machine.file("d/sub/two", "2\n");
    std::os::unix::fs::symlink("one", machine.context().join("d/link")).unwrap();
    std::os::unix::fs::symlink("a.txt", machine.context().join("to-a")).unwrap();
    Some(machine)
}

#[test]
fn a_directory_brings_its_content() {
    let Some(machine) = machine() else { return };
    let expected = ". 755 0:0 directory\n./link 777 0:0 symbolic link\n./one 644 0:0 regular file\n./sub 755 0:0 \
                    directory\n./sub/two 644 0:0 regular file";
    check(&machine, "COPY d /t", expected);
    check(&machine, "COPY d/ /t/", expected);
    check(&machine, "WORKDIR /t\nCOPY d .", expected);
}

#[test]
fn a_file_becomes_the_destination_or_goes_below_it() {
    let Some(machine) = machine() else { return };
    check(&machine, "COPY a.txt /t/x", ". 755 0:0 directory\n./x 644 0:0 regular file");
    check(
        &machine,
        "COPY a.txt /t/x/",
        ". 755 0:0 directory\n./x 755 0:0 directory\n./x/a.txt 644 0:0 regular file",
    );
    check(
        &machine,
        "RUN mkdir -p /t/x\nCOPY a.txt /t/x",
        ". 755 0:0 directory\n./x 755 0:0 directory\n./x/a.txt 644 0:0 regular file",
    );
    check(&machine, "COPY to-a /t/", ". 755 0:0 directory\n./to-a 644 0:0 regular file");
    check(&machine, "COPY a.* /t/", ". 755 0:0 directory\n./a.txt 644 0:0 regular file");
}

#[test]
fn owners_and_modes_are_those_asked_for() {
    let Some(machine) = machine() else { return };
    check(&machine, "COPY --chown=1:2 a.txt /t/", ". 755 1:2 directory\n./a.txt 644 1:2 regular file");
    check(
        &machine,
        "COPY --chown=user --chmod=600 a.txt /t/",
        ". 755 1000:1001 directory\n./a.txt 600 1000:1001 regular file",
    );
    check(
        &machine,
        "COPY --chown=nogroup a.txt /t/",
        ". 755 1002:1003 directory\n./a.txt 644 1002:1003 regular file",
    );
    check(&machine, "USER user\nCOPY a.txt /t/", ". 755 0:0 directory\n./a.txt 644 0:0 regular file");
}

#[test]
fn stages_keep_owners_and_give_what_links_lead_to() {
    let Some(machine) = machine() else { return };
    let steps = "RUN mkdir /s && echo x > /s/f && /bin/busybox chown 7:8 /s/f && /bin/busybox ln -s /s/f /l\nFROM base\nCOPY --from=0 /l /s/f /t/";
    check(&machine, steps, ". 755 0:0 directory\n./f 644 7:8 regular file\n./l 644 7:8 regular file");
}

#[test]
fn ignored_files_are_not_there() {
    let Some(machine) = machine() else { return };
    machine.file(".dockerignore", "d\n!d/sub/two\na.txt\n");
    check(
        &machine,
        "COPY d /t",
        ". 755 0:0 directory\n./sub 755 0:0 directory\n./sub/two 644 0:0 regular file",
    );
    let outcome = machine.build("FROM base\nCOPY a.txt /t/\n", Dialect::Shale);
    assert!(outcome.error(Dialect::Shale).contains("line 3 of the ignore file hides it"));
    // A link does not show what is hidden.
    let outcome = machine.build("FROM base\nCOPY to-a /t/\n", Dialect::Shale);
    assert!(outcome.error(Dialect::Shale).contains("file does not exist"));
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let Some(machine) = machine() else { return };
    let packed = std::process::Command::new("tar")
        .args(["--owner=5", "--group=6", "--numeric-owner", "-czf", "ar", "a.txt"])
        .current_dir(machine.context())
        .status();
    assert!(packed.unwrap().success());
    check(&machine, "ADD ar /t/", ". 755 0:0 directory\n./a.txt 644 5:6 regular file");
    check(&machine, "COPY ar /t/", ". 755 0:0 directory\n./ar 644 0:0 regular file");
}

#[test]
fn heredocs_are_files() {
    let Some(machine) = machine() else { return };
    let dockerfile = "FROM base\nARG v=1\nCOPY <<one <<\"two\" /t/\nx $v\none\ny $v\ntwo\n";
    let image = machine.build(dockerfile, Dialect::Shale).image();
    assert_eq!(machine.shell(&image, "cat /t/one /t/two"), "x 1\ny $v\n");
}
