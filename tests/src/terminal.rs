//! A command on a terminal of its own, with somebody who types.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::program::require;

/// Longest time that a command may take, in seconds.
const LIMIT: &str = "60";

/// Runs `command` on a terminal and types `keys` once `cue` was printed, at once where it is empty; returns what
/// appeared on the screen, and the exit code.
#[track_caller]
pub fn run_on_terminal(command: &Command, cue: &str, keys: &str) -> (String, i32) {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    let mut script = Command::new("timeout");
    script.args(["-k", "1", LIMIT, &require("script", "bsdutils").to_string_lossy()]);
    script.args(["-qefc", &words.join(" "), "/dev/null"]).env("SHELL", "/bin/sh");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("timeout is there");
    let (mut keyboard, mut output) = (child.stdin.take(), child.stdout.take().expect("piped"));
    let mut screen = String::new();
    let mut buffer = [0; 4096];
    loop {
        if screen.contains(cue)
            && let Some(mut keyboard) = keyboard.take()
        {
            // A command that is over does not read. Nobody types any more afterwards: that is a Ctrl-D.
            let _ = keyboard.write_all(keys.as_bytes());
        }
        match output.read(&mut buffer).expect("a pipe can be read") {
            0 => break,
            count => screen.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    let status = child.wait().expect("the child is ours");
    assert!(keyboard.is_none(), "{cue:?} never appeared:\n{screen}");
    (screen, status.code().expect("timeout ends by itself"))
}
