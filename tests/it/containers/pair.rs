//! A dockerd and the program, each with the same image on a root of its own, given the same words.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shale_tests::peer::{Dockerd, Options, Shale};
use shale_tests::program::{Finished, require, run, shell};
use shale_tests::scratch::Scratch;

/// Both sides. What they make is removed with them.
pub struct Pair {
    pub docker: Dockerd,
    pub shale: Shale,
    // Last: the daemon goes before its directory.
    pub scratch: Scratch,
}

/// Writes a small tree with busybox, two users and a file that cannot be executed; returns it as a tar.
pub fn image_tar(scratch: &Scratch) -> PathBuf {
    let busybox = require("busybox", "busybox-static");
    let tree = scratch.folder("image");
    let tar = scratch.path().join("image.tar");
    let script = format!(
        "mkdir -p bin etc tmp root; chmod 1777 tmp
         for applet in $({busybox} --list); do ln -sf busybox bin/$applet; done; rm bin/busybox; cp {busybox} bin/busybox
         printf '#!/bin/sh\\n' > bin/noexec; chmod 644 bin/noexec
         printf 'root:x:0:0:root:/root:/bin/sh\\nbob:x:1000:1000::/:/bin/sh\\n' > etc/passwd
         printf 'root:x:0:\\nbob:x:1000:\\nwheel:x:10:bob\\n' > etc/group
         mkdir -p data/sub; echo one > data/one; echo two > data/sub/two; ln -s one data/link; ln data/one data/hard
         ln -s /data datalink; mkfifo data/pipe; chown 1000:1000 data/sub/two
         find . -exec touch -h -d @1600000000 {{}} +
         tar --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name -cf {tar} .",
        busybox = busybox.display(),
        tar = tar.display(),
    );
    shell(&tree, &script);
    tar
}

/// The program on a root of its own with the image `busybox`.
pub fn shale_with_image(scratch: &Scratch) -> Shale {
    let shale = Shale::new(&scratch.folder("s"));
    let tar = image_tar(scratch);
    shale.shale(&["import", "-c", "CMD [\"sh\"]", tar.to_str().expect("scratch paths are text"), "busybox"]);
    shale
}

impl Pair {
    pub fn new(subject: &str) -> Pair {
        let scratch = Scratch::new(subject);
        let shale = shale_with_image(&scratch);
        let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("dr"), &Options::default());
        let tar = scratch.path().join("image.tar");
        docker.docker(&["import", "-c", "CMD [\"sh\"]", tar.to_str().expect("text"), "busybox"]);
        Pair { docker, shale, scratch }
    }

    /// Both commands for the same words.
    pub fn commands(&self, words: &[&str]) -> [Command; 2] {
        [self.docker.command(words), self.shale.command(words)]
    }

    /// What both say and how they end, made comparable; docker's first.
    #[track_caller]
    pub fn both(&self, words: &[&str]) -> [String; 2] {
        self.commands(words).map(|mut command| self.comparable(&run(&mut command)))
    }

    /// As [`Pair::both`], with something on standard input.
    #[track_caller]
    pub fn both_fed(&self, words: &[&str], input: &[u8]) -> [String; 2] {
        self.commands(words).map(|command| self.comparable(&feed(command, input)))
    }

    /// The differences between both for each of these lines, whose words are separated by blanks; a word in quotes may
    /// have blanks.
    #[track_caller]
    pub fn differences(&self, lines: &str) -> Vec<String> {
        let mut differences = Vec::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words = words(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let [docker, shale] = self.both(&words);
            if docker != shale {
                differences.push(format!("{line}\n  docker: {docker}\n  shale:  {shale}"));
            }
        }
        differences
    }

    /// Checks that both sides say the same to each of these lines.
    #[track_caller]
    pub fn check(&self, lines: &str) {
        let differences = self.differences(lines);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    fn comparable(&self, finished: &Finished) -> String {
        let roots = [self.docker.data_root(), self.shale.data_root()];
        let text = |said: &str| {
            let said = roots
                .iter()
                .fold(said.to_owned(), |text, root| text.replace(&root.display().to_string(), "ROOT"));
            comparable(&said)
        };
        format!("{}\n{}--- stderr\n{}", finished.code(), text(&finished.stdout), text(&finished.stderr))
    }
}

/// Runs a command with something on standard input.
#[track_caller]
pub fn feed(mut command: Command, input: &[u8]) -> Finished {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("the child is ours");
    Finished {
        command: shown,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Takes out what must differ: identifiers, the program's name, and the words by which a client says that a daemon spoke.
fn comparable(text: &str) -> String {
    let mut comparable = String::new();
    for line in text.lines() {
        let mut line = line.replace("See 'docker", "See 'shale").replace("Run 'docker", "Run 'shale");
        line = line.replace("Usage:  docker ", "Usage:  shale ");
        for prefix in ["docker: ", "shale: ", "Error response from daemon: ", "Error: "] {
            line = line.strip_prefix(prefix).map_or(line.clone(), str::to_owned);
        }
        comparable.push_str(&without_ids(&line));
        comparable.push('\n');
    }
    comparable
}

/// Replaces runs of twelve and more hexadecimal digits.
fn without_ids(text: &str) -> String {
    let mut kept = String::new();
    let mut run = String::new();
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_hexdigit() && !character.is_ascii_uppercase() {
            run.push(character);
            continue;
        }
        kept.push_str(if run.len() == 12 || run.len() == 64 { "ID" } else { &run });
        run.clear();
        kept.push(character);
    }
    kept.trim_end_matches('\0').to_owned()
}

/// Takes a line apart at blanks; single quotes keep some together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            other => words.last_mut().expect("it starts with one").push(other),
        }
    }
    words
}

/// The names below `folder`, in their order.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
