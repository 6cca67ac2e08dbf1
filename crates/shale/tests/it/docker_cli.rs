//! Help, mistakes and exit codes, held against the docker program (CLI 28.2; none of this needs a daemon).
//!
//! Where that program is not there, the tests say so and hold nothing.

use std::process::{Command, Output, Stdio};

const DOCKER_VERSION: &str = "Docker version 28.2";

fn run(program: &str, line: &str) -> Output {
    // Arguments are separated by blanks; a lone '' is an empty one.
    let words = line.split_whitespace().map(|word| if word == "''" { "" } else { word });
    Command::new(program)
        .args(words)
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"))
}

fn shale(line: &str) -> Output {
    run(env!("CARGO_BIN_EXE_shale"), line)
}

/// The docker program of the right version; the first that the search path has.
fn docker() -> Option<String> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join("docker"))
        .find(|path| {
            let version = Command::new(path).arg("--version").stdin(Stdio::null()).output();
            version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with(DOCKER_VERSION))
        });
    if found.is_none() {
        eprintln!("skipped: no {DOCKER_VERSION} on the search path");
    }
    found.map(|path| path.to_string_lossy().into_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Puts our name where docker's command lines have its own.
fn renamed(text: &str) -> String {
    let mut text = text.to_owned();
    for (from, to) in [
        ("  docker ", "  shale "),
        (", docker ", ", shale "),
        ("'docker ", "'shale "),
        ("docker: ", "shale: "),
        ("command: docker ", "command: shale "),
        // Docker's own slips of the pen.
        ("\nSRun '", "\nRun '"),
        ("\nSee '", "\nRun '"),
    ] {
        text = text.replace(from, to);
    }
    text.strip_prefix("docker ").map_or(text.clone(), |rest| format!("shale {rest}"))
}

/// Takes the table of flags apart: names and type, and the description on one line.
fn flags(help: &str) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in
        help.lines().skip_while(|line| *line != "Options:").skip(1).take_while(|line| !line.is_empty())
    {
        let is_flag = line[..line.len().min(8)].contains('-') && line.trim_start().starts_with('-');
        match (line.trim().split_once("   "), flags.last_mut()) {
            (Some((names, description)), _) if is_flag => {
                flags.push((names.trim().to_owned(), description.trim().to_owned()));
            }
            (_, Some((_, description))) => {
                description.push(' ');
                description.push_str(line.trim());
            }
            _ => panic!("no flag in {line:?}"),
        }
    }
    flags.iter_mut().for_each(|(_, text)| *text = text.split_whitespace().collect::<Vec<_>>().join(" "));
    flags
}

#[test]
fn help_is_docker_s_to_the_byte() {
    let Some(docker) = docker() else { return };
    for command in [
        "pull",
        "image pull",
        "push",
        "image push",
        "images",
        "image ls",
        "image list",
        "history",
        "image history",
        "tag",
        "image tag",
        "rmi",
        "image rm",
        "image remove",
        "image prune",
        "save",
        "load",
        "import",
        "image import",
        "image inspect",
        "inspect",
        "login",
        "info",
        "system info",
    ] {
        for line in [format!("{command} --help"), format!("help {command}")] {
            let (theirs, ours) = (run(&docker, &line), shale(&line));
            assert_eq!(text(&ours.stdout), renamed(&text(&theirs.stdout)), "{line}");
            assert_eq!(text(&ours.stderr), "", "{line}");
            assert_eq!(ours.status.code(), theirs.status.code(), "{line}");
        }
    }
}

#[test]
fn commands_that_leave_flags_out_or_add_some_have_docker_s_for_the_rest() {
    let Some(docker) = docker() else { return };
    for (command, left_out, added) in [
        ("manifest inspect", "none", "--raw"),
        ("search", "none", "none"),
        ("system df", "none", "none"),
        ("version", "none", "none"),
    ] {
        let line = format!("{command} --help");
        let (theirs, ours) = (renamed(&text(&run(&docker, &line).stdout)), text(&shale(&line).stdout));
        assert_eq!(ours.lines().next(), theirs.lines().next(), "usage of {command}");
        let without = |help: &str, flag: &str| -> Vec<_> {
            flags(help).into_iter().filter(|(names, _)| names != flag).collect()
        };
        assert_eq!(without(&ours, added), without(&theirs, left_out), "{command}");
        assert!(!flags(&ours).is_empty(), "{command}");
    }
}

#[test]
fn mistakes_have_docker_s_words_and_exit_codes() {
    let Some(docker) = docker() else { return };
    for line in [
        "frob",
        "imagez_x",
        "images --frob",
        "images -x",
        "images -qx",
        "images -xq",
        "images --format",
        "images -f",
        "images -qf",
        "images -f foo",
        "images --all=maybe",
        "images --no-trunc=foo",
        "images --all=",
        "images --=x",
        "images ---x",
        "images a b",
        "images -- a b",
        "images a -- -x",
        "images -aq=false x y",
        "image ls a b",
        "image ls --help -x",
        "search",
        "search --limit abc x",
        "search --limit= x",
        "search --limit 9999999999999999999999 x",
        "search --limit 0x10",
        "pull",
        "pull a b",
        "push",
        "tag a",
        "tag a b c",
        "image tag a",
        "rmi",
        "rmi --platform a,b",
        "rmi -f",
        "image rm",
        "save",
        "load x",
        "import --frob",
        "history",
        "history a b",
        "inspect",
        "image inspect",
        "manifest inspect",
        "manifest inspect a b c",
        "login a b",
        "logout a b",
        "image prune x",
        "system df x",
        "info x",
        "version x",
        "help frob_x",
    ] {
        let (theirs, ours) = (run(&docker, line), shale(line));
        assert_eq!(text(&ours.stderr), renamed(&text(&theirs.stderr)), "{line}");
        assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{line}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{line}");
    }
}

#[test]
fn mistakes_of_the_program_s_own_flags_are_docker_s() {
    let Some(docker) = docker() else { return };
    for line in ["-x", "--frob", "--config", "--log-level", "-l", "--debug=maybe"] {
        let (theirs, ours) = (run(&docker, line), shale(line));
        assert_eq!(text(&ours.stderr), renamed(&text(&theirs.stderr)), "{line}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{line}");
    }
}

#[test]
fn an_unknown_command_of_a_group_leaves_with_docker_s_code() {
    let Some(docker) = docker() else { return };
    for line in ["image frob", "system frob", "image pul"] {
        let (theirs, ours) = (run(&docker, line), shale(line));
        let (theirs_text, ours_text) = (renamed(&text(&theirs.stderr)), text(&ours.stderr));
        assert_eq!(ours_text.lines().next(), theirs_text.lines().next(), "{line}");
        assert_eq!(ours_text.lines().last(), theirs_text.lines().last(), "{line}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{line}");
    }
}

#[test]
fn the_name_alone_prints_help_to_standard_error() {
    for line in ["", "image", "registry user"] {
        let output = shale(line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        assert!(text(&output.stderr).starts_with("Usage:  shale"), "{line}");
    }
    let Some(docker) = docker() else { return };
    for line in ["", "image"] {
        let theirs = run(&docker, line);
        assert!(theirs.stdout.is_empty() && theirs.status.code() == Some(0), "docker {line}");
    }
}

#[test]
fn the_program_s_help_has_docker_s_sections_in_docker_s_order() {
    let Some(docker) = docker() else { return };
    let titles = |help: &str| -> Vec<String> {
        help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).map(str::to_owned).collect()
    };
    let theirs = titles(&text(&run(&docker, "--help").stdout));
    let ours = titles(&text(&shale("--help").stdout));
    assert_eq!(ours, theirs.into_iter().filter(|title| title != "Swarm Commands:").collect::<Vec<_>>());
}
