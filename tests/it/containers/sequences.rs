//! Random file operations in a container: `diff` lists what docker lists, and a committed layer over its parents shows
//! what the container showed.
//!
//! `SHALE_TEST_SEQUENCES` sets how many sequences (a full run: 500), `SHALE_TEST_SEED` the first one. One container
//! carries many sequences, each in a folder of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use shale_tests::program::{require, run_bounded, shell};
use shale_tests::random::{Random, number};

use super::pair::{Pair, feed};

/// Sequences of one container, and operations of a sequence.
const FOLDERS: u64 = 25;
const OPERATIONS: u64 = 25;
/// No command here takes longer than a few seconds on an idle machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Few names, some of them in the image, so that operations meet: a directory in place of a file, a link in place of a
/// directory, and back.
const PATHS: [&str; 13] = [
    "file",
    "hard",
    "old",
    "old/x",
    "old/sub",
    "old/sub/y",
    "link",
    "empty",
    "n",
    "n/a",
    "n/a/b",
    "q",
    "q/old",
];

/// An operation may fail: the path is not what it needs. It then changes nothing, on both sides.
fn operation(random: &mut Random) -> String {
    let (one, two) = (random.one_of(&PATHS), random.one_of(&PATHS));
    let number = random.below(1000);
    match random.below(16) {
        // A pipe has no reader and would hold the writer for ever; a device would take the bytes and say nothing.
        0 | 1 => format!("test -p {one} -o -c {one} || echo {number} > {one}"),
        2 => format!("test -p {one} -o -c {one} || echo {number} >> {one}"),
        3 => format!("mkdir -p {one}"),
        4 => format!("rm -rf {one}"),
        5 => format!("mv {one} {two}"),
        6 => format!("chmod {} {one}", ["700", "4755", "1777", "644"][(number % 4) as usize]),
        7 => format!("chown {}:{} {one}", number % 7, number % 5),
        8 => format!("ln {one} {two}"),
        9 => format!("rm -rf {one}; ln -s {two} {one}"),
        10 => format!("rm -rf {one}; mkdir -p {one}; echo {number} > {one}/x"),
        11 => format!("rm -rf {one}; mkfifo {one}"),
        12 => format!("rm -rf {one}; mknod {one} c 1 3"),
        13 => format!("touch -h -d @{} {one}", 1_500_000_000 + number),
        14 => format!("setfattr -n user.note -v {number} {one}"),
        // The whole tree again: everything in it is new, and its links to each other stay. A pipe that is there
        // already would be opened for writing, and nobody reads.
        _ => format!("test -p {two} || timeout 5 cp -a {one} {two}"),
    }
}

fn script(seed: u64) -> String {
    let mut random = Random::of_seed(seed);
    let operations: Vec<String> = (0..OPERATIONS).map(|_| operation(&mut random)).collect();
    operations.join("\n")
}

/// An image with the same small tree in every folder, and a `setfattr` that runs there.
fn import(pair: &Pair) {
    let tree = pair.scratch.folder("sequences");
    let tar = pair.scratch.path().join("sequences.tar");
    let script = format!(
        "mkdir -p bin etc tmp lib64 lib/x86_64-linux-gnu; cp {busybox} bin/busybox
         for applet in $({busybox} --list); do ln -sf busybox bin/$applet; done; rm bin/busybox; cp {busybox} bin/busybox
         cp -L {setfattr} bin/setfattr
         for library in $(ldd {setfattr} | grep -o '/[^ ]*'); do mkdir -p .$(dirname $library); cp -L $library .$library; done
         for at in $(seq 0 {last}); do
             mkdir -p s$at/old/sub s$at/empty
             echo file > s$at/file; ln s$at/file s$at/hard; ln -s old s$at/link; echo x > s$at/old/x; echo y > s$at/old/sub/y
         done
         find . -exec touch -h -d @1600000000 {{}} +
         tar --format=posix --numeric-owner --sort=name -cf {tar} .",
        busybox = require("busybox", "busybox-static").display(),
        setfattr = require("setfattr", "attr").display(),
        last = FOLDERS - 1,
        tar = tar.display(),
    );
    shell(&tree, &script);
    let tar = tar.to_str().expect("scratch paths are text");
    for mut command in pair.commands(&["import", tar, "sequences"]) {
        run_bounded(&mut command, LIMIT).finished.success();
    }
}

/// The lines of an export for each folder: names, types, modes, owners, sizes, links, and times where `times`.
fn exported(mut command: Command, times: bool) -> BTreeMap<String, Vec<String>> {
    let tar = command.output().expect("the program starts").stdout;
    let mut lister = Command::new("tar");
    lister.args(["-tvf", "-", "--numeric-owner", "--full-time"]).env("TZ", "UTC");
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let text = feed(lister, &tar).success();
    // A file with two names: which of them is the other's link is the packer's choice.
    for line in text.lines() {
        let mut fields: Vec<&str> = line.split_whitespace().collect();
        if !times {
            fields.drain(3..5);
        }
        let name = fields[if times { 5 } else { 3 }].trim_start_matches("./");
        if let Some((folder, _)) = name.split_once('/').filter(|(folder, _)| is_folder(folder)) {
            let folder = folder.to_owned();
            folders.entry(folder).or_default().push(fields.join(" "));
        }
    }
    folders.values_mut().for_each(|lines| lines.sort());
    folders
}

fn is_folder(name: &str) -> bool {
    name.strip_prefix('s').is_some_and(|number| number.parse::<u64>().is_ok())
}

/// The lines of `diff` for each folder.
fn changed(command: &mut Command) -> BTreeMap<String, Vec<String>> {
    let text = run_bounded(command, LIMIT).finished.success();
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let path = line.get(3..).unwrap_or_default();
        let folder = path.split('/').next().unwrap_or_default().to_owned();
        folders.entry(folder).or_default().push(line.to_owned());
    }
    folders.values_mut().for_each(|lines| lines.sort());
    folders
}

/// Says for each folder that differs which seed it was.
fn compare(
    what: &str,
    first: u64,
    expected: &BTreeMap<String, Vec<String>>,
    found: &BTreeMap<String, Vec<String>>,
    failures: &mut Vec<String>,
) {
    let folders: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let nothing = Vec::new();
    for folder in folders {
        let of = |lines: &BTreeMap<String, Vec<String>>| lines.get(folder).unwrap_or(&nothing).clone();
        let (expected, found) = (of(expected), of(found));
        if expected != found {
            let seed = folder.trim_start_matches('s').parse::<u64>().map_or(first, |at| first + at);
            let missing: Vec<&String> = expected.iter().filter(|line| !found.contains(line)).collect();
            let extra: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).collect();
            failures.push(format!("SHALE_TEST_SEED={seed}: {what}: missing {missing:?}, found {extra:?}"));
        }
    }
}

#[test]
fn random_file_operations_are_listed_and_committed_as_they_are() {
    let pair = Pair::new("c-sequences");
    import(&pair);
    let first = number("SHALE_TEST_SEED", 1);
    let last = first + number("SHALE_TEST_SEQUENCES", 10);
    let mut failures = Vec::new();
    for round in (first..last).step_by(FOLDERS as usize) {
        let mut text = String::from("exec 2>/dev/null\n");
        for seed in round..last.min(round + FOLDERS) {
            writeln!(text, "cd /s{}\n{}", seed - round, script(seed)).expect("a String takes all");
        }
        text.push_str("true\n");
        let words = ["run", "--name", "zc", "--network", "none", "sequences", "sh", "-c", &text];
        for mut command in pair.commands(&words) {
            run_bounded(&mut command, LIMIT).finished.success();
        }
        let [docker, shale] = pair.commands(&["diff", "zc"]).map(|mut command| changed(&mut command));
        compare("diff", round, &docker, &shale, &mut failures);
        let [docker, shale] = pair.commands(&["export", "zc"]).map(|command| exported(command, false));
        compare("export", round, &docker, &shale, &mut failures);

        pair.shale.shale(&["commit", "zc", "committed"]);
        pair.shale.shale(&["create", "--name", "zd", "--network", "none", "committed", "true"]);
        let merged = exported(pair.shale.command(&["export", "zc"]), true);
        let committed = exported(pair.shale.command(&["export", "zd"]), true);
        compare("committed", round, &merged, &committed, &mut failures);
        for words in [&["rm", "zc"][..], &["rm", "zd"], &["rmi", "committed"]] {
            pair.shale.shale(words);
        }
        pair.docker.docker(&["rm", "zc"]);
    }
    assert!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
}
