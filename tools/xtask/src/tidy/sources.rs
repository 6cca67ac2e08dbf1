//! What source files may be called, how long they may be, and what they may not say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Complaint;

/// Above this a file has more than one subject.
const LINES_MAX: usize = 800;

/// Tables that are long because the world is.
const LONG_FILES: [&str; 0] = [];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils", "common", "helpers", "types", "models"];

/// Folders of the tree that are not ours to judge.
const SKIPPED: [&str; 4] = ["target", "fixtures", ".git", "corpus"];

/// Complains about names, lengths, paths of one machine, and fuzz targets that fuzz/README.md does not explain.
pub fn check(root: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for path in files(root)? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        complaints.extend(check_name(&shown));
        let is_text = matches!(
            path.extension().and_then(|extension| extension.to_str()),
            Some("rs" | "toml" | "md" | "sh" | "py" | "json" | "yml" | "html" | "css" | "js")
        ) || shown == ".ci/run";
        if is_text {
            let text = fs::read_to_string(&path).with_context(|| format!("could not read {shown}"))?;
            complaints.extend(check_text(&shown, &text));
        }
    }
    complaints.extend(check_fuzz(&root.join("fuzz"))?);
    Ok(complaints)
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check_name(shown: &str) -> Option<Complaint> {
    let path = Path::new(shown);
    if path.extension()? != "rs" {
        return None;
    }
    let empty = path.components().find_map(|component| {
        let component = component.as_os_str().to_str()?;
        let stem = component.strip_suffix(".rs").unwrap_or(component);
        EMPTY_NAMES.contains(&stem).then(|| stem.to_owned())
    })?;
    Some(format!("{shown}: {empty} says nothing; name the module after its subject"))
}

fn check_text(shown: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if shown.ends_with(".rs") && lines > LINES_MAX && !LONG_FILES.contains(&shown) {
        complaints.push(format!("{shown}: {lines} lines, more than {LINES_MAX}; split it by subject"));
    }
    for (number, line) in text.lines().enumerate() {
        // Put together here so that this file does not name such a path itself.
        if [concat!("/wo", "rk/"), concat!("/ro", "ot/")].iter().any(|private| mentions_path(line, private)) {
            complaints.push(format!("{shown}:{}: a path of one machine", number + 1));
        }
    }
    complaints
}

/// Whether `line` names `prefix` as an absolute path, and not as the end of another one (`diff/work/`).
fn mentions_path(line: &str, prefix: &str) -> bool {
    let is_start =
        |before: Option<char>| !before.is_some_and(|c| c.is_alphanumeric() || "/._-}>)*".contains(c));
    line.match_indices(prefix).any(|(at, _)| {
        let rest = &line[at + prefix.len()..];
        is_start(line[..at].chars().next_back())
            && ["main", "shared", ".library", ".cargo", ".pyenv"].iter().any(|name| rest.starts_with(name))
    })
}

fn check_fuzz(fuzz: &Path) -> Result<Vec<Complaint>> {
    let targets = fuzz.join("fuzz_targets");
    if !targets.exists() {
        return Ok(Vec::new());
    }
    let readme = fs::read_to_string(fuzz.join("README.md")).unwrap_or_default();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&targets)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    Ok(names
        .into_iter()
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .map(|name| format!("fuzz/README.md does not explain the target `{name}`"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_reported_as_files_and_as_folders() {
        assert!(check_name("crates/store/src/utils.rs").is_some());
        assert!(check_name("crates/store/src/common/read.rs").is_some());
        assert!(check_name("crates/store/src/layer.rs").is_none());
        assert!(check_name("fixtures/types.json").is_none());
    }

    #[test]
    fn only_long_sources_are_too_long() {
        let text = "x\n".repeat(LINES_MAX + 1);
        assert_eq!(check_text("a.rs", &text).len(), 1);
        assert!(check_text("a.json", &text).is_empty());
        assert!(check_text("a.rs", &"x\n".repeat(LINES_MAX)).is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_reported_with_its_line() {
        let text = format!("ok\nsee {}shared/x\n", concat!("/wo", "rk/"));
        assert_eq!(check_text("a.md", &text), ["a.md:2: a path of one machine"]);
    }

    #[test]
    fn directories_that_only_end_alike_pass() {
        assert!(check_text("a.rs", concat!("overlay2/x/wo", "rk/main\nWORKDIR /wo", "rk/app\n")).is_empty());
    }
}
