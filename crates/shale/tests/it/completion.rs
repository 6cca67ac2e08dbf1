//! The bash script, in bash.

use std::{path::Path, process::Command};

/// Types `line` in a bash that has read the script, presses tab, and returns what bash would offer.
fn offered(line: &str) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_shale"));
    let script = format!(
        "source <(shale completion bash)
        COMP_LINE={line:?}; COMP_POINT=${{#COMP_LINE}}
        _shale
        printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash").args(["--norc", "-c", &script]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    assert_eq!(offered("shale pu"), ["pull", "push"]);
    assert_eq!(offered("shale image pr"), ["prune"]);
    assert_eq!(offered("shale pull --q"), ["--quiet"]);
    assert_eq!(offered("shale pull --platform linux/arm6"), ["linux/arm64"]);
    // Bash breaks words at '=', so it wants what stands after it.
    assert_eq!(offered("shale pull --platform=linux/arm6"), ["linux/arm64"]);
    assert!(offered("shale ").contains(&"images".to_owned()));
}

#[test]
fn bash_completes_files_where_files_stand() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ma");
    assert_eq!(
        offered(&format!("shale load -i {directory}")),
        [concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs")]
    );
}
