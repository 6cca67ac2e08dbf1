//! docker-py's own integration tests on `shale daemon`.
//!
//! `SHALE_TEST_DOCKER_PY` names the folder with them; `cargo xtask test` fetches it, and says in its last line when it cannot. Which tests
//! fail is written down with the reasons in `fixtures/engine-api/docker-py.txt`; one that passes all the same fails the suite, so that
//! the list stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use shale_tests::peer::{Access, DockerRegistry, ShaleDaemon};
use shale_tests::program::{require, run, run_bounded, shell};
use shale_tests::scratch::Scratch;

const EXCEPTIONS: &str = include_str!("../../../fixtures/engine-api/docker-py.txt");

/// Most of the time is spent in the tests' own sleeping.
const LIMIT: Duration = Duration::from_secs(300);

/// What is run beside each other, each part with a daemon of its own: tests prune what others need.
const PARTS: [&[&str]; 2] = [
    &["tests/integration/api_container_test.py"],
    &["tests/integration", "--ignore=tests/integration/api_container_test.py"],
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Fails,
    NotRun,
}

/// The tests of the list; a name without its last part stands for all that begin so.
fn exceptions() -> BTreeMap<&'static str, Expected> {
    let mut exceptions = BTreeMap::new();
    let mut expected = None;
    for line in EXCEPTIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(reason) = line.strip_prefix("fails: ").or_else(|| line.strip_prefix("not run: ")) {
            assert!(!reason.is_empty(), "an exception has a reason");
            expected = Some(if line.starts_with("fails") { Expected::Fails } else { Expected::NotRun });
            continue;
        }
        assert!(exceptions.insert(line, expected.expect("a reason stands first")).is_none(), "twice: {line}");
    }
    exceptions
}

/// The images that the tests use, as archives of `docker load`, and in a registry that is a mirror of Docker Hub.
fn make_images(daemon: &ShaleDaemon, directory: &Path, registry: &DockerRegistry) {
    let busybox = require("busybox", "busybox-static");
    let script = format!(
        "export DOCKER_HOST=unix://{socket} DOCKER_CONFIG=$PWD
        mkdir -p tree/bin tree/etc tree/tmp tree/root tree/var/opt
        cp {busybox} tree/bin/busybox
        for name in $(tree/bin/busybox --list); do [ $name = busybox ] || ln -s busybox tree/bin/$name; done
        printf 'root:x:0:0:root:/root:/bin/sh\\npostgres:x:70:70::/:/bin/sh\\n' > tree/etc/passwd
        printf 'root:x:0:\\npostgres:x:70:\\n' > tree/etc/group
        for image in busybox:latest alpine:3.10 alpine:latest hello-world:latest; do
            echo $image > tree/etc/issue
            tar -C tree -c . | docker import --change 'CMD [\"sh\"]' - $image
            docker tag $image {registry}/library/$image
            docker push -q {registry}/library/$image
            docker rmi {registry}/library/$image
        done",
        socket = daemon.socket().display(),
        busybox = busybox.display(),
        registry = registry.host(),
    );
    shell(directory, &script);
}

/// Runs a part; returns what pytest says of each test, by its name.
fn outcomes(suite: &Path, part: usize, not_run: &[&str]) -> BTreeMap<String, &'static str> {
    let scratch = Scratch::new(&format!("py{part}"));
    let registry = DockerRegistry::start(&scratch.folder("registry"), Access::Open);
    let config = scratch.folder("config");
    let mirror = format!("{{\"registry-mirrors\":[\"http://{}\"]}}", registry.host());
    std::fs::write(config.join("daemon.json"), mirror).expect("the scratch directory is ours");
    let daemon = ShaleDaemon::start_with_system_config(&scratch.folder("s"), &config);
    make_images(&daemon, &scratch.folder("images"), &registry);
    // The tests write where they are.
    let work = scratch.folder("work");
    run(Command::new("cp")
        .arg("-r")
        .arg(suite.join("tests"))
        .arg(suite.join("pytest.ini"))
        .arg(suite.join("Makefile"))
        .arg(&work))
    .success();
    let home = scratch.folder("home");
    std::fs::create_dir_all(home.join(".docker")).expect("the scratch directory is ours");
    std::fs::write(home.join(".docker/config.json"), "{}").expect("the scratch directory is ours");
    let mut command = Command::new(suite.join("venv/bin/python"));
    command
        .args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "--tb=short", "--durations=5"])
        .args(["--timeout=100", "--timeout-method=signal"])
        .args(PARTS[part])
        .args(not_run.iter().map(|test| format!("--deselect={test}")))
        .current_dir(&work)
        .env("HOME", &home)
        .env("DOCKER_CONFIG", home.join(".docker"))
        .env("DOCKER_HOST", format!("unix://{}", daemon.socket().display()))
        // That of dockerd 20.10, with which the tests were compared.
        .env("DOCKER_TEST_API_VERSION", "1.41")
        .env("LC_ALL", "C.UTF-8");
    let finished = run_bounded(&mut command, LIMIT).finished;
    let mut outcomes = BTreeMap::new();
    for line in finished.stdout.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        let outcome = match word {
            "PASSED" | "XPASS" => "passed",
            "FAILED" | "ERROR" => "failed",
            _ => continue,
        };
        let name = rest.split(" - ").next().unwrap_or(rest).trim();
        if name.starts_with("tests/integration/") {
            outcomes.insert(name.to_owned(), outcome);
        }
    }
    // 0: all passed, 1: some failed.
    assert!(matches!(finished.code(), 0 | 1) && !outcomes.is_empty(), "{}", finished.describe());
    let slowest = finished.stdout.lines().skip_while(|line| !line.contains("slowest")).take(6);
    println!("part {part}: {}", slowest.collect::<Vec<&str>>().join("; "));
    let unexpected = |name: &&String| !exceptions().keys().any(|known| name.starts_with(known));
    if outcomes.iter().any(|(name, outcome)| *outcome == "failed" && unexpected(&name)) {
        println!("{}", finished.stdout);
    }
    outcomes
}

#[test]
fn docker_pys_own_tests_pass_but_for_those_with_a_reason() {
    let Some(suite) = std::env::var_os("SHALE_TEST_DOCKER_PY").map(PathBuf::from) else {
        println!("left out: SHALE_TEST_DOCKER_PY does not name the tests");
        return;
    };
    let exceptions = exceptions();
    let of = |wanted: Expected| -> Vec<&str> {
        exceptions.iter().filter(|(_, expected)| **expected == wanted).map(|(name, _)| *name).collect()
    };
    let not_run = of(Expected::NotRun);
    let outcomes: BTreeMap<String, &str> = std::thread::scope(|scope| {
        let parts = [0, 1].map(|part| {
            let (suite, not_run) = (&suite, &not_run);
            scope.spawn(move || outcomes(suite, part, not_run))
        });
        parts.into_iter().flat_map(|part| part.join().expect("a part does not panic")).collect()
    });
    let passed = outcomes.values().filter(|outcome| **outcome == "passed").count();
    println!("{passed} of docker-py's tests pass, {} fail", outcomes.len() - passed);
    let mut wrong = BTreeSet::new();
    for (name, outcome) in &outcomes {
        let is_expected_to_fail = of(Expected::Fails).iter().any(|known| name.starts_with(known));
        if is_expected_to_fail != (*outcome == "failed") {
            wrong.insert(format!("{outcome}: {name}"));
        }
    }
    for known in of(Expected::Fails) {
        if !outcomes.keys().any(|name| name.starts_with(known)) {
            wrong.insert(format!("not there: {known}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(passed >= PASSES_MIN, "only {passed} tests passed");
}

/// Fewer mean that pytest did not find them: 245 passed when the list was last changed.
const PASSES_MIN: usize = 240;
