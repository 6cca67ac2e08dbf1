//! `--squash`: the same tree in one layer, as moby's `SquashImage` at v20.10.24 makes it.

use shale_build::BuildOptions;
use shale_dockerfile::Dialect;

use crate::machine::Machine;

const STEPS: &str = "FROM base
RUN mkdir -p /d/sub && echo 1 > /d/sub/one && echo gone > /d/gone && rm /etc/group
RUN rm -r /d/sub /d/gone && echo 2 > /d/sub && rm -r /tmp
ENV a=b
RUN mkdir /tmp && echo 3 > /tmp/three && ln -s three /tmp/link && rm /bin/id
";

const LOOK: &str = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -print | sort | while read \
                    f; do stat -c '%n %a %u:%g %F' $f; done; cat /d/sub /tmp/link";

#[test]
fn a_squashed_image_has_the_same_tree_in_one_layer_and_keeps_its_history() {
    let Some(machine) = Machine::new() else { return };
    let whole = machine.build(STEPS, Dialect::Shale).image();
    let options = BuildOptions { squash: true, ..BuildOptions::default() };
    let squashed = machine.build_with(STEPS, Dialect::Shale, &options).image();
    let (before, after) = (machine.config(whole), machine.config(squashed));
    assert_eq!((before.rootfs.diff_ids.len(), after.rootfs.diff_ids.len()), (4, 2));
    assert_eq!(before.rootfs.diff_ids[0], after.rootfs.diff_ids[0], "the base stays");
    assert_eq!(after.config, before.config);
    // Four steps upon the one line of the base, and one line more.
    let lines: Vec<(bool, bool)> =
        after.history.iter().map(|entry| (entry.empty_layer, entry.comment.is_empty())).collect();
    assert_eq!(
        lines,
        [(false, true), (true, true), (true, true), (true, true), (true, true), (false, false)]
    );
    let comment = &after.history[5].comment;
    assert!(comment.starts_with(&format!("merge {whole} to sha256:")), "{comment}");
    let tree = machine.shell(&whole, LOOK);
    assert!(tree.contains("/d/sub 644 0:0 regular file") && !tree.contains("/etc/group"), "{tree}");
    assert_eq!(machine.shell(&squashed, LOOK), tree);
}

#[test]
fn what_stands_upon_nothing_is_squashed_too() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "a\n");
    let options = BuildOptions { squash: true, ..BuildOptions::default() };
    let image =
        machine.build_with("FROM scratch\nCOPY a.txt /\nCOPY a.txt /b\n", Dialect::Shale, &options).image();
    let config = machine.config(image);
    assert_eq!(config.rootfs.diff_ids.len(), 1);
    assert!(config.history[2].comment.starts_with("create new from sha256:"));
    // A build without steps has nothing to squash.
    let image = machine.build_with("FROM base\nENV a=b\n", Dialect::Shale, &options).image();
    assert_eq!(machine.config(image).rootfs.diff_ids.len(), 1);
}
