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

// As Docker does: the context itself is never ignored, although `*` and `**` match an empty path.
#[test]
fn a_rule_for_everything_leaves_what_is_taken_back() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "a\n");
    machine.file("docs/b.txt", "b\n");
    machine.file("docs/c.txt", "c\n");
    for (rules, expected) in [
        ("*\n!a.txt\n", "/x/a.txt\n"),
        ("*\n!docs\n", "/x/docs/b.txt\n/x/docs/c.txt\n"),
        ("**\n!docs/b.txt\n", "/x/docs/b.txt\n"),
    ] {
        machine.file(".dockerignore", rules);
        for dialect in [Dialect::Classic, Dialect::Shale] {
            let image = machine.build("FROM base\nCOPY . /x\n", dialect).image();
            assert_eq!(machine.shell(&image, "find /x -type f | sort"), expected, "{rules:?} {dialect:?}");
        }
    }
}

// As in BuildKit: made upon nothing, so a link of the image is not followed, and its directory is replaced.
#[test]
fn a_linked_copy_does_not_look_at_the_image() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "a\n");
    let dockerfile = "FROM base\nRUN mkdir /real; ln -s real /l\nCOPY --link a.txt /l/a.txt\n";
    let image = machine.build(dockerfile, Dialect::Shale).image();
    assert_eq!(machine.shell(&image, "ls /real; test -L /l || cat /l/a.txt"), "a\n");
}

#[test]
fn named_contexts_stand_for_directories_and_images() {
    use shale_build::{BuildOptions, NamedContext};
    let Some(machine) = Machine::new() else { return };
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("f"), "other\n").unwrap();
    std::fs::write(other.path().join("hidden"), "h\n").unwrap();
    std::fs::write(other.path().join(".dockerignore"), "hidden\n").unwrap();
    let mut options = BuildOptions::default();
    options.named_contexts.insert("other".to_owned(), NamedContext::Directory(other.path().to_owned()));
    options.named_contexts.insert("image".to_owned(), NamedContext::Image("base".to_owned()));
    let dockerfile = "FROM image\nCOPY --from=other / /x/\nCOPY --from=image /etc/passwd /p\n\
                      RUN --mount=type=bind,from=other,target=/m cat /m/f; ls /m\n";
    let outcome = machine.build_with(dockerfile, Dialect::Shale, &options);
    let image = outcome.image();
    assert!(outcome.text.contains("\nother\nf\n"), "{}", outcome.text);
    assert_eq!(machine.shell(&image, "ls /x; wc -l < /p"), "f\n3\n");
}

#[test]
fn many_files_are_copied_as_one_would_be_into_new_and_into_old_directories() {
    let Some(machine) = machine() else { return };
    for number in 0..300 {
        machine.file(&format!("many/{}/f{number}", number % 3), &format!("{number}\n"));
    }
    std::fs::hard_link(machine.context().join("many/0/f3"), machine.context().join("many/2/linked")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::open(machine.context().join("many/1")).unwrap().set_modified(old).unwrap();
    // 300 numbers, 1 more name of a file; `find` counts the top, three directories and 301 names.
    let look = "cd /t/x && find . | wc -l && cat 0/f* 1/f* 2/f* | wc -l && cat 1/f298 2/linked && stat -c '%h %Y' 2/linked 1";
    let expected = ["305", "300", "298", "3"];
    for steps in
        ["COPY many /t/x", "RUN mkdir -p /t/x/1\nCOPY many /t/x/", "COPY a.txt many /t/x/\nRUN rm /t/x/a.txt"]
    {
        let image = machine.build(&format!("FROM base\n{steps}\n"), Dialect::Shale).image();
        let seen = machine.shell(&image, look);
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..4], expected, "{steps}");
        assert!(lines[4].starts_with("2 "), "a hard link stays one: {steps}: {seen}");
        assert!(lines[5].ends_with(" 1000000000"), "a directory keeps its time: {steps}: {seen}");
    }
}

#[test]
fn a_name_that_is_nearly_a_stages_says_so() {
    let Some(machine) = machine() else { return };
    let dockerfile = "FROM base AS missing-tools\nFROM base\nCOPY --from=missing-tols /bin/sh /x\n";
    let hint = " (did you mean the stage missing-tools?)";
    let shale = machine.build(dockerfile, Dialect::Shale).error(Dialect::Shale);
    assert_eq!(shale, format!("there is no such image{hint}"));
    let classic = machine.build(dockerfile, Dialect::Classic).error(Dialect::Classic);
    assert_eq!(classic, "there is no such image");
    let far = dockerfile.replace("missing-tols", "missing-image");
    assert_eq!(machine.build(&far, Dialect::Shale).error(Dialect::Shale), "there is no such image");
}
