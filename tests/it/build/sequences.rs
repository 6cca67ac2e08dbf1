//! Random file operations in `RUN`: the layers are those that docker makes, on the disk and in an archive.
//!
//! `SHALE_TEST_SEQUENCES` sets how many sequences (a full run: 500), `SHALE_TEST_SEED` the first one.

use std::fmt::Write as _;

use shale_tests::build::{Pair, case};
use shale_tests::random::{Random, number};

/// Operations of one step, and steps of one Dockerfile.
const OPERATIONS: u64 = 12;
const STEPS: u64 = 3;

/// Few names, so that operations meet: a directory in place of a file, a link in place of a directory, and back.
const PATHS: [&str; 12] = [
    "/t/file",
    "/t/old",
    "/t/old/x",
    "/real",
    "/real/file",
    "/n",
    "/n/a",
    "/n/b",
    "/n/a/c",
    "/other",
    "/usr/share",
    "/q",
];

/// An operation may fail: the path is not what it needs. It then changes nothing, with both builders.
fn operation(random: &mut Random) -> String {
    let (one, two) = (random.one_of(&PATHS), random.one_of(&PATHS));
    let number = random.below(1000);
    match random.below(14) {
        // A pipe has no reader and would hold the writer for ever, a copying one too.
        0 | 1 => format!("test -p {one} || echo {number} > {one}"),
        2 => format!("mkdir -p {one}"),
        3 | 4 => format!("rm -rf {one}"),
        5 => format!("mv {one} {two}"),
        6 => format!("chmod {} {one}", ["700", "4755", "1777", "644"][(number % 4) as usize]),
        7 => format!("chown {}:{} {one}", number % 7, number % 5),
        8 => format!("ln {one} {two}"),
        9 => format!("rm -rf {one}; ln -s {two} {one}"),
        10 => format!("rm -rf {one}; mkdir -p {one}; echo {number} > {one}/x"),
        11 => format!("rm -rf {one}; mkfifo {one}"),
        12 => format!("rm -rf {one}; mknod {one} c 1 {}", [3, 5, 7][(number % 3) as usize]),
        _ => format!("test -p {two} || cp -a {one} {two}"),
    }
}

fn dockerfile(seed: u64) -> String {
    let mut random = Random::of_seed(seed);
    let mut text = String::new();
    for _ in 0..STEPS {
        let operations: Vec<String> = (0..OPERATIONS).map(|_| operation(&mut random)).collect();
        writeln!(text, "RUN ({}) 2>/dev/null; true", operations.join("; ")).expect("a String takes all");
    }
    text
}

#[test]
fn random_file_operations_make_dockers_layers() {
    let pair = Pair::start("sequences");
    let first = number("SHALE_TEST_SEED", 1);
    let mut failures = Vec::new();
    for seed in first..first + number("SHALE_TEST_SEQUENCES", 10) {
        // A case lives as long as the program: there are as many as sequences.
        let text: &'static str = dockerfile(seed).leak();
        let index = usize::try_from(seed).expect("seeds are small");
        let mut differences = pair.compare(index, case(text));
        if differences.is_empty() {
            differences = pair.archive_differences(index);
        }
        failures.extend(differences.iter().map(|line| format!("SHALE_TEST_SEED={seed}: {line}")));
    }
    assert!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
}
