//! Which crate may use which: the levels of ARCHITECTURE.md as a table.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Complaint;

/// A package of the workspace with the names of what it depends on.
#[derive(Debug, Default)]
pub struct Package {
    name: String,
    dependencies: Vec<String>,
    dev_dependencies: Vec<String>,
}

/// A crate and the crates of the workspace that it may use. A crate that is not here may use none and is reported.
const EDGES: [(&str, &[&str]); 18] = [
    ("shale-oci", &[]),
    ("shale-deflate", &[]),
    ("shale-tree", &[]),
    ("shale-dockerfile", &["shale-oci"]),
    ("shale-engine-api", &["shale-oci"]),
    ("shale-store", &["shale-oci", "shale-tree"]),
    ("shale-rootfs", &["shale-oci", "shale-deflate", "shale-tree"]),
    ("shale-registry-client", &["shale-oci"]),
    ("shale-runtime", &[]),
    ("shale-build", &["shale-oci", "shale-dockerfile", "shale-store", "shale-rootfs", "shale-runtime"]),
    ("shale-registry", &["shale-oci"]),
    (
        "shale-engine",
        &[
            "shale-oci",
            "shale-store",
            "shale-rootfs",
            "shale-registry-client",
            "shale-build",
            "shale-runtime",
            "shale-dockerfile",
            "shale-engine-api",
        ],
    ),
    (
        "shale-daemon",
        &[
            "shale-build",
            "shale-dockerfile",
            "shale-engine",
            "shale-engine-api",
            "shale-oci",
            "shale-registry-client",
            "shale-rootfs",
            "shale-runtime",
        ],
    ),
    (
        "shale",
        &[
            "shale-engine",
            "shale-engine-api",
            "shale-registry",
            "shale-registry-client",
            "shale-daemon",
            "shale-oci",
            "shale-dockerfile",
            "shale-build",
            "shale-runtime",
        ],
    ),
    ("shale-testkit", &["shale-oci"]),
    ("shale-xtask", &[]),
    ("shale-tests", &[]),
    ("shale-benches", &["shale-tests"]),
];

/// The one crate that everybody may use in tests, and nobody elsewhere.
const TESTKIT: &str = "shale-testkit";

/// Crates from outside, and the only crates of the workspace that may use them.
const RESERVED: [(&str, &[&str]); 21] = [
    ("anyhow", &["shale", "shale-xtask", "shale-benches"]),
    ("askama", &["shale-registry"]),
    ("axum", &["shale-registry", "shale-daemon"]),
    ("bcrypt", &["shale-registry"]),
    ("clap", &["shale"]),
    ("clap_complete", &["shale"]),
    ("futures-util", ASYNC),
    ("gtmpl-ng", &["shale"]),
    ("hyper", ASYNC),
    ("hyper-util", ASYNC),
    ("jsonwebtoken", &["shale-registry"]),
    ("reqwest", &["shale-registry-client", "shale-registry"]),
    ("saphyr-parser", &["shale-registry"]),
    ("sqlx", &["shale-registry"]),
    ("tokio", ASYNC),
    ("tokio-rustls", ASYNC),
    ("tokio-util", ASYNC),
    ("tower", ASYNC),
    ("tracing-subscriber", &["shale"]),
    ("rustls", &["shale-registry-client", "shale-registry", "shale-daemon", "shale"]),
    ("rustls-webpki", &["shale-registry-client"]),
];

/// Where sockets are.
const ASYNC: &[&str] = &["shale-registry-client", "shale-registry", "shale-engine", "shale-daemon", "shale"];

/// Crates that know neither files, nor clocks, nor chance.
const PURE: [&str; 3] = ["shale-oci", "shale-dockerfile", "shale-engine-api"];

/// What the pure crates may not use outside their tests.
const IMPURE: [&str; 4] = ["getrandom", "rustix", "tempfile", "tracing"];

/// Reads the packages out of `cargo metadata`.
pub fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let list = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    Ok(list.iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let mut package =
        Package { name: value["name"].as_str().unwrap_or_default().to_owned(), ..Package::default() };
    for dependency in value["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default().to_owned();
        match dependency["kind"].as_str() {
            Some("dev") => package.dev_dependencies.push(name),
            _ => package.dependencies.push(name),
        }
    }
    package
}

/// Complains about each edge that the tables do not allow.
pub fn check(packages: &[Package]) -> Vec<Complaint> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Complaint> {
    let name = &package.name;
    let Some((_, allowed)) = EDGES.iter().find(|(known, _)| known == name) else {
        return vec![format!("{name} is not in the table of edges (tools/xtask/src/tidy/edges.rs)")];
    };
    let mut complaints = Vec::new();
    for dependency in &package.dependencies {
        if is_ours(dependency) && !allowed.contains(&dependency.as_str()) {
            complaints.push(format!("{name} may not use {dependency}"));
        }
        if IMPURE.contains(&dependency.as_str()) && PURE.contains(&name.as_str()) {
            complaints.push(format!("{name} is pure and may not use {dependency}"));
        }
        if let Some((_, users)) = RESERVED.iter().find(|(reserved, _)| reserved == dependency)
            && !users.contains(&name.as_str())
            && !is_tool(name)
        {
            complaints.push(format!("{name} may not use {dependency}, only {} may", users.join(", ")));
        }
    }
    for dependency in &package.dev_dependencies {
        if is_ours(dependency) && dependency != TESTKIT && !allowed.contains(&dependency.as_str()) {
            complaints.push(format!("{name} may not use {dependency}, not even in tests"));
        }
    }
    complaints
}

fn is_ours(name: &str) -> bool {
    name == "shale" || name.starts_with("shale-")
}

fn is_tool(name: &str) -> bool {
    [TESTKIT, "shale-xtask", "shale-tests", "shale-benches"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, dependencies: &[&str], dev_dependencies: &[&str]) -> Vec<Complaint> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        check(&[Package {
            name: name.to_owned(),
            dependencies: owned(dependencies),
            dev_dependencies: owned(dev_dependencies),
        }])
    }

    #[test]
    fn an_edge_of_the_table_passes() {
        assert_eq!(one("shale-store", &["shale-oci", "serde"], &["shale-testkit"]), Vec::<String>::new());
    }

    #[test]
    fn an_edge_upwards_and_one_to_the_own_row_are_reported() {
        assert_eq!(one("shale-oci", &["shale-store"], &[]), ["shale-oci may not use shale-store"]);
        assert_eq!(one("shale-store", &["shale-rootfs"], &[]), ["shale-store may not use shale-rootfs"]);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        assert_eq!(one("shale-store", &["shale-testkit"], &[]), ["shale-store may not use shale-testkit"]);
    }

    #[test]
    fn async_stays_out_of_disk_code_even_if_tests_may_use_it() {
        assert_eq!(one("shale-store", &["tokio"], &[]).len(), 1);
        assert_eq!(one("shale-store", &[], &["tokio"]), Vec::<String>::new());
        assert_eq!(one("shale-engine", &["tokio"], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_pure_crate_has_no_clock_and_no_files() {
        assert_eq!(one("shale-oci", &["rustix"], &[]), ["shale-oci is pure and may not use rustix"]);
    }

    #[test]
    fn an_unknown_crate_must_enter_the_table_first() {
        assert_eq!(one("shale-nonsense", &[], &[]).len(), 1);
    }
}
