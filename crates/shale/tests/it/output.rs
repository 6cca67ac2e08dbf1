//! Standard output that cannot be written: nothing is lost without a word.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn shale(root: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shale"));
    command.arg("--data-root").arg(root).args(line.split(' ')).stdin(Stdio::null());
    command
}

fn refusal_to_write(mut command: Command) -> Output {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    command.stdout(full).stderr(Stdio::piped()).output().unwrap()
}

/// A store with the image `a:1`.
fn store() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let tar = directory.path().join("empty.tar");
    std::fs::write(&tar, [0; 1024]).unwrap();
    let root = directory.path().join("root");
    let line = format!("import {} a:1", tar.display());
    assert!(shale(&root, &line).stdout(Stdio::null()).status().unwrap().success());
    directory
}

const LINES: [&str; 14] = [
    "--help",
    "images --help",
    "--version",
    "version",
    "info",
    "completion bash",
    "images",
    "images --tree",
    "inspect a:1",
    "history a:1",
    "explain a:1",
    "system df",
    "fsck",
    "save a:1",
];

#[test]
fn a_full_disk_is_told() {
    let directory = store();
    for line in LINES {
        let said = refusal_to_write(shale(&directory.path().join("root"), line));
        // The words are the kernel's.
        let expected = "Error: could not write to standard output: No space left on device (os error 28)\n";
        assert_eq!(String::from_utf8_lossy(&said.stderr), expected, "{line}");
        assert_eq!(said.status.code(), Some(1), "{line}");
    }
}

#[test]
fn a_reader_that_went_away_is_not_told() {
    let directory = store();
    for line in LINES {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = shale(&directory.path().join("root"), line).stdout(writer).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stderr), "", "{line}");
        // As a shell reports SIGPIPE.
        assert_eq!(said.status.code(), Some(141), "{line}");
    }
}

#[test]
fn what_fails_otherwise_says_so_also_without_a_reader() {
    let directory = store();
    let said = refusal_to_write(shale(&directory.path().join("root"), "tag b:1 c:1"));
    assert!(String::from_utf8_lossy(&said.stderr).starts_with("Error: No such image: b:1"), "{said:?}");
    assert_eq!(said.status.code(), Some(1));
}
