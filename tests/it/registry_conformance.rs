//! `shale registry serve` under the conformance suite of the distribution specification, with every API and every kind of data on.
//!
//! `SHALE_TEST_CONFORMANCE` names the suite's program; `cargo xtask test` builds it, and says in its last line when it cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

use shale_tests::peer::{Guard, PASSWORD, ShaleRegistry, USER};
use shale_tests::program::run;
use shale_tests::scratch::Scratch;

/// What the suite checks in its version `dev` with everything on.
const CHECKS: u64 = 1032;

/// The number behind `label` in what the suite prints: `  Pass......:   1032`.
fn count(said: &str, label: &str) -> u64 {
    let line = said.lines().find(|line| line.trim_start().starts_with(&format!("{label}..")));
    let number = line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    number.unwrap_or_else(|| panic!("the suite does not count {label}:\n{said}"))
}

fn assert_conforms(suite: &Path, guard: Guard) {
    let scratch = Scratch::new("conformance");
    let registry = ShaleRegistry::start(&scratch.folder("r"), guard.clone());
    let results = scratch.folder("results");
    let mut command = Command::new("timeout");
    command.arg("200").arg(suite).current_dir(scratch.path());
    command.env("OCI_VERSION", "dev").env("OCI_DATA_SPARSE", "true").env("OCI_RESULTS_DIR", &results);
    command.env("OCI_REGISTRY", registry.host()).env("OCI_REPO1", "c/r1").env("OCI_REPO2", "c/r2");
    match registry.has_tls() {
        true => command.env("OCI_TLS", "enabled").env("SSL_CERT_FILE", registry.authority().join("ca.crt")),
        false => command.env("OCI_TLS", "disabled"),
    };
    if registry.is_guarded() {
        command.env("OCI_USERNAME", USER).env("OCI_PASSWORD", PASSWORD);
    }
    let finished = run(&mut command);
    // Its exit code is 0, too, when it could not read its settings.
    let said = finished.describe();
    let failures: Vec<&str> =
        said.lines().filter(|line| line.ends_with(": FAIL") || line.ends_with(": Error")).collect();
    let counts = ["Pass", "FAIL", "Error", "Skip", "Disabled"].map(|label| count(&said, label));
    assert_eq!(counts, [CHECKS, 0, 0, 0, 0], "{guard:?}: {failures:#?}");
    let report = std::fs::read_to_string(results.join("junit.xml")).expect("the suite writes a report");
    assert!(
        report.contains(&format!("tests=\"{CHECKS}\" failures=\"0\" errors=\"0\"")),
        "{guard:?}: {report:.300}"
    );
    let settings =
        std::fs::read_to_string(results.join("results.yaml")).expect("the suite writes its settings");
    let switched_off: Vec<&str> = settings.lines().filter(|line| line.ends_with(": false")).collect();
    assert_eq!(switched_off, Vec::<&str>::new(), "{guard:?}");
}

#[test]
fn every_check_of_the_conformance_suite_passes_also_with_tls_and_with_a_password() {
    let Some(suite) = std::env::var_os("SHALE_TEST_CONFORMANCE").map(PathBuf::from) else {
        println!("left out: SHALE_TEST_CONFORMANCE does not name the suite");
        return;
    };
    // Not with tokens: the suite's token for one repository does not open another, so nothing can be mounted from there.
    for guard in [Guard::Open, Guard::Tls, Guard::Password] {
        assert_conforms(&suite, guard);
    }
}
