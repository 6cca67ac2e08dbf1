//! Versions and features of dependencies stand in the workspace table and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Complaint;

const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Reads the manifest of every member and complains about each dependency that is not inherited, and about each entry of
/// the workspace's table that no member inherits.
pub fn check(root: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    let mut members = Vec::new();
    for path in manifests(root)? {
        let manifest = read(&path)?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        complaints.extend(check_manifest(&shown, &manifest));
        members.push(manifest);
    }
    complaints.extend(check_workspace(&read(&root.join("Cargo.toml"))?, &members));
    Ok(complaints)
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    text.parse().with_context(|| format!("could not parse {}", path.display()))
}

fn check_workspace(workspace: &Table, members: &[Table]) -> Vec<Complaint> {
    let entries =
        workspace.get("workspace").and_then(|table| table.get("dependencies")).and_then(Value::as_table);
    let inherits = |table: &Table, name: &str| {
        DEPENDENCY_TABLES.iter().any(|kind| table.get(*kind).is_some_and(|table| table.get(name).is_some()))
    };
    let is_inherited = |name: &str| {
        members.iter().any(|member| {
            let targets = member.get("target").and_then(Value::as_table).into_iter().flatten();
            inherits(member, name)
                || targets.filter_map(|(_, table)| table.as_table()).any(|table| inherits(table, name))
        })
    };
    entries
        .into_iter()
        .flatten()
        .filter(|(name, _)| !is_inherited(name))
        .map(|(name, _)| {
            format!("Cargo.toml: nobody uses {name}, take it out of the workspace's dependencies")
        })
        .collect()
}

fn manifests(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![root.join("tests/Cargo.toml"), root.join("benches/Cargo.toml")];
    found.retain(|path| path.exists());
    for folder in ["crates", "tools"] {
        let folder = root.join(folder);
        for entry in fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
            let manifest = entry?.path().join("Cargo.toml");
            if manifest.exists() {
                found.push(manifest);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check_manifest(path: &str, manifest: &Table) -> Vec<Complaint> {
    let mut complaints = check_tables(path, manifest);
    for target in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        complaints.extend(target.1.as_table().map(|table| check_tables(path, table)).unwrap_or_default());
    }
    for key in ["version", "edition", "rust-version", "license"] {
        let value = manifest.get("package").and_then(|package| package.get(key));
        if !value.is_some_and(is_inherited) {
            complaints.push(format!("{path}: package.{key} must be inherited ({key}.workspace = true)"));
        }
    }
    if !manifest.get("lints").is_some_and(is_inherited) {
        complaints
            .push(format!("{path}: the lints must be those of the workspace ([lints] workspace = true)"));
    }
    complaints
}

fn check_tables(path: &str, table: &Table) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for section in DEPENDENCY_TABLES {
        for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            if !is_inherited(value) {
                complaints
                    .push(format!("{path}: write {name}.workspace = true, its version stands in the root"));
            } else if value.get("features").is_some() || value.get("default-features").is_some() {
                complaints.push(format!("{path}: the features of {name} stand in the root"));
            }
        }
    }
    complaints
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[package]\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true\n";

    fn complaints(tail: &str) -> Vec<Complaint> {
        check_manifest("x/Cargo.toml", &format!("{HEAD}{tail}").parse().unwrap())
    }

    #[test]
    fn inherited_dependencies_pass() {
        assert_eq!(complaints("[dependencies]\nserde.workspace = true\n"), Vec::<String>::new());
    }

    #[test]
    fn a_version_in_a_member_is_reported_in_every_kind_of_table() {
        for table in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
            assert_eq!(complaints(&format!("[{table}]\nserde = \"1\"\n")).len(), 1, "{table}");
        }
    }

    #[test]
    fn features_in_a_member_are_reported() {
        let tail = "[dependencies]\nserde = { workspace = true, features = [\"derive\"] }\n";
        assert_eq!(complaints(tail), ["x/Cargo.toml: the features of serde stand in the root"]);
    }

    #[test]
    fn an_entry_of_the_workspace_that_nobody_inherits_is_reported() {
        let workspace: Table =
            "[workspace.dependencies]\nserde = \"1\"\nlibc = \"1\"\nhex = \"1\"\n".parse().unwrap();
        let members = [
            "[dev-dependencies]\nserde.workspace = true\n".parse().unwrap(),
            "[target.'cfg(unix)'.dependencies]\nlibc.workspace = true\n".parse().unwrap(),
        ];
        assert_eq!(
            check_workspace(&workspace, &members),
            ["Cargo.toml: nobody uses hex, take it out of the workspace's dependencies"]
        );
    }
}
