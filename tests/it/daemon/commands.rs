//! The same script of docker commands against `shale daemon` and dockerd: what is printed and the exit codes are equal.
//!
//! The docker command that comes first in `PATH` is the client; `SHALE_TEST_CLIENTS=all` takes every other one too.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shale_tests::peer::{Dockerd, Options, ShaleDaemon};
use shale_tests::program::{Finished, require, run, shell};
use shale_tests::scratch::Scratch;

const SCRIPT: &str = include_str!("../../../fixtures/engine-api/commands.txt");

/// A line that takes longer hangs.
const LINE_SECONDS: &str = "60";

struct Line<'a> {
    text: &'a str,
    /// Why the words may differ.
    differs: Option<&'a str>,
}

fn lines() -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut differs = None;
    for text in SCRIPT.lines().filter(|line| !line.is_empty()) {
        match (text.strip_prefix("#! "), text.starts_with('#')) {
            (Some(reason), _) => differs = Some(reason),
            (None, true) => {}
            (None, false) => lines.push(Line { text, differs: differs.take() }),
        }
    }
    lines
}

/// Where the lines are run against one of the daemons.
struct Place {
    directory: PathBuf,
    socket: PathBuf,
}

impl Place {
    fn new(directory: PathBuf, socket: &Path, client: &Path) -> Place {
        // Busybox is one program under many names.
        let busybox = require("busybox", "busybox-static");
        shell(
            &directory,
            &format!(
                "mkdir -p tree/bin tree/etc tree/tmp tree/root bin config context
                cp {busybox} tree/bin/busybox
                for name in $(tree/bin/busybox --list); do [ $name = busybox ] || ln -s busybox tree/bin/$name; done
                echo root:x:0:0:root:/root:/bin/sh > tree/etc/passwd
                echo root:x:0: > tree/etc/group
                tar -C tree -cf rootfs.tar .
                echo hello > context/hello.txt
                printf 'FROM busybox\\nARG WHO=world\\nENV GREETING=hello\\nCOPY hello.txt /app/\\n' > context/Dockerfile
                printf 'RUN echo \"$GREETING $WHO\" > /out\\nCMD [\"cat\",\"/out\"]\\n' >> context/Dockerfile
                printf 'FROM busybox\\nRUN echo before && exit 7\\n' > context/Dockerfile.fails
                printf 'FROM busybox\\nFROBNICATE x\\n' > context/Dockerfile.syntax
                printf 'FROM busybox AS first\\nRUN echo one > /stage\\n' > context/Dockerfile.stages
                printf 'FROM first\\nRUN echo two > /stage\\n' >> context/Dockerfile.stages",
                busybox = busybox.display()
            ),
        );
        symlink(client, directory.join("bin/docker")).expect("the scratch directory is ours");
        Place { directory, socket: socket.to_owned() }
    }

    fn run(&self, line: &str) -> Finished {
        let mut command = Command::new("timeout");
        command
            .args(["--signal", "KILL", LINE_SECONDS, "sh", "-c", line])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.display()))
            .env("HOME", &self.directory)
            .env("LC_ALL", "C")
            .env("DOCKER_CONFIG", self.directory.join("config"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_BUILDKIT", "0");
        run(&mut command)
    }
}

/// IDs, ages, times and widths of columns are put aside.
pub(super) fn normal(text: &str, directory: &Path) -> String {
    let text = text.replace(&directory.display().to_string(), "DIRECTORY");
    // The client of 20.10 says this or not, by chance, after its container did not start.
    let by_chance = "error waiting for container: context canceled";
    let text: String = text.split_inclusive('\n').filter(|line| !line.contains(by_chance)).collect();
    let mut normal = String::new();
    let mut word = String::new();
    let end_word = |word: &mut String, normal: &mut String| {
        let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time =
            word.len() >= 20 && word.as_bytes()[4] == b'-' && word.contains('T') && word.ends_with('Z');
        match word.len() {
            12 | 64 if is_hex => normal.push_str("ID"),
            _ if is_time => normal.push_str("TIME"),
            _ => normal.push_str(word),
        }
        word.clear();
    };
    // An ID may begin so, too, but has no dash behind a year.
    let is_in_time = |word: &str, next: char| match word.as_bytes() {
        [b'2', b'0', _, _] => next == '-',
        [b'2', b'0', _, _, b'-', ..] => "-:.".contains(next),
        _ => false,
    };
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || is_in_time(&word, character) {
            word.push(character);
            continue;
        }
        end_word(&mut word, &mut normal);
        if character != ' ' || !normal.ends_with(' ') {
            normal.push(character);
        }
    }
    end_word(&mut word, &mut normal);
    normal.split('\n').map(without_ages).collect::<Vec<String>>().join("\n")
}

/// `Up 2 seconds`, `Less than a second ago`, `About a minute ago` → `AGE`.
fn without_ages(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    let all: Vec<&str> = text.split(' ').collect();
    let mut at = 0;
    while at < all.len() {
        let rest = &all[at..];
        let is_unit = |word: Option<&&str>| {
            word.is_some_and(|word| matches!(word.trim_end_matches('s'), "second" | "minute"))
        };
        let length = match rest {
            ["Less", "than", "a", "second", ..] => 4,
            ["About", "a", "minute", ..] => 3,
            [number, ..] if number.parse::<u32>().is_ok() && is_unit(rest.get(1)) => 2,
            _ => 0,
        };
        if length == 0 {
            words.push(all[at]);
            at += 1;
            continue;
        }
        words.push("AGE");
        at += length + usize::from(all.get(at + length) == Some(&"ago"));
    }
    words.join(" ")
}

/// The docker commands of this machine, each distribution's and version's own: the first, or all if that is asked for.
fn clients() -> Vec<PathBuf> {
    let mut clients = all_clients();
    if std::env::var("SHALE_TEST_CLIENTS").is_ok_and(|clients| clients == "all") {
        return clients;
    }
    clients.truncate(1);
    assert!(!clients.is_empty(), "there is no docker command: install the package docker.io");
    clients
}

/// Every docker command in `PATH`.
pub(super) fn all_clients() -> Vec<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut clients: Vec<PathBuf> = path
        .split(':')
        .filter_map(|directory| Path::new(directory).join("docker").canonicalize().ok())
        .filter(|program| program.is_file())
        .collect();
    clients.dedup();
    clients
}

#[test]
fn a_script_of_docker_commands_prints_what_it_prints_with_dockerd() {
    assert!(lines().len() >= 150, "the script is shorter than was promised");
    let mut differences = Vec::new();
    for (number, client) in clients().iter().enumerate() {
        let scratch = Scratch::new(&format!("cmd{number}"));
        let ours = ShaleDaemon::start(&scratch.folder("s"));
        let theirs = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
        let ours = (Place::new(scratch.folder("ours"), ours.socket(), client), ours);
        let theirs = (Place::new(scratch.folder("theirs"), &theirs.socket(), client), theirs);
        for line in lines() {
            let (mine, docker) = std::thread::scope(|scope| {
                let mine = scope.spawn(|| ours.0.run(line.text));
                let docker = theirs.0.run(line.text);
                (mine.join().expect("running a command does not panic"), docker)
            });
            let shown = |finished: &Finished, place: &Place| {
                let code = finished.code();
                match line.differs {
                    Some(_) => format!("exit code {code}"),
                    None => {
                        let (out, err) = (
                            normal(&finished.stdout, &place.directory),
                            normal(&finished.stderr, &place.directory),
                        );
                        format!("exit code {code}\n{out}---\n{err}")
                    }
                }
            };
            let (mine, docker) = (shown(&mine, &ours.0), shown(&docker, &theirs.0));
            if mine != docker {
                let client = client.display();
                differences.push(format!("{client}: {}\nshale daemon: {mine}\ndockerd: {docker}", line.text));
            }
        }
    }
    assert!(differences.is_empty(), "{} lines differ:\n\n{}", differences.len(), differences.join("\n\n"));
}

#[test]
fn what_is_put_aside_is_no_more_than_that() {
    let scratch = Scratch::new("normal");
    let check = |text: &str, expected: &str| assert_eq!(normal(text, scratch.path()), expected);
    check("0123456789ab   x   Up 2 seconds (Paused)", "ID x Up AGE (Paused)");
    check("Exited (3) Less than a second ago\n", "Exited (3) AGE\n");
    check("2026-11-22T04:30:34.123456789Z y", "TIME y");
    check("0123456789abc 3 files", "0123456789abc 3 files");
}

#[test]
fn ids_and_times_are_put_aside_whatever_they_begin_with() {
    let text = "20bd5586c971: Layer already exists\n2026-11-23T06:00:00.5Z 201d5586c971 2012-x";
    assert_eq!(normal(text, Path::new("/nowhere")), "ID: Layer already exists\nTIME ID 2012-x");
}
