//! kill -9 of the daemon while it pulls, builds and relays containers; clients that leave in the middle.
//!
//! `SHALE_TEST_DAEMON_KILLS` sets how often (a full run: 100), `SHALE_TEST_SEED` the moments.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shale_tests::data_root::DataRoot;
use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, ShaleDaemon};
use shale_tests::random::{Random, number};
use shale_tests::scratch::Scratch;

use super::survival::{bare_docker, docker, eventually, import, output};

fn begin(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("docker starts")
}

/// Command lines of processes that hold `word`, this process and the daemon apart.
fn processes_with(word: &str, daemon: u32) -> Vec<String> {
    let own = [std::process::id(), daemon].map(|pid| pid.to_string());
    let entries = std::fs::read_dir("/proc").expect("there are processes").flatten();
    entries
        .filter(|entry| !own.iter().any(|pid| entry.file_name() == pid.as_str()))
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}

fn names_below(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A context whose build takes a moment in each of its steps.
fn context(scratch: &Scratch, marker: &str) -> String {
    let folder = scratch.folder("context");
    std::fs::write(folder.join("file"), vec![b'x'; 20 << 20]).expect("the scratch directory is ours");
    let dockerfile = format!(
        "FROM busybox\nCOPY file /file\nRUN : {marker}; cp /file /copy; sleep 0.3\nRUN : {marker}; echo done > /done\n"
    );
    std::fs::write(folder.join("Dockerfile"), dockerfile).expect("the scratch directory is ours");
    folder.display().to_string()
}

/// Nothing is left of what was cut off: no process, no mount, no half-made layer, no lease.
#[track_caller]
fn check_no_leftovers(daemon: &ShaleDaemon, scratch: &Scratch, marker: &str) {
    let root = daemon.shale.data_root();
    daemon.shale.shale(&["fsck"]);
    daemon.shale.shale(&["gc"]);
    assert_eq!(DataRoot::read(root).leftovers, Vec::<String>::new());
    assert_eq!(names_below(&root.join("shale/leases")), Vec::<String>::new(), "leases");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("there are mounts");
    let place = scratch.path().display().to_string();
    assert_eq!(mounts.lines().filter(|line| line.contains(&place)).collect::<Vec<_>>(), Vec::<&str>::new());
    for word in [marker, &place] {
        eventually(&format!("no process of {word}"), || {
            let left = processes_with(word, daemon.pid());
            // The registry of the test is no leftover.
            left.iter().all(|line| line.contains("docker-registry"))
        });
    }
}

#[test]
fn killed_while_it_pulls_builds_and_runs_the_daemon_loses_no_container_and_leaves_nothing() {
    let scratch = Scratch::new("killd");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let mut daemon = ShaleDaemon::start(&scratch.folder("s"));
    import(&daemon, &scratch);
    let image = format!("{}/images/debian:1", registry.host());
    let marker = format!("marker-{}", std::process::id());
    let context = context(&scratch, &marker);
    let build = ["build", "-q", "--no-cache", "-t", "built", &context];
    let ticking = "while :; do echo tick; sleep 0.1; done";
    output(&daemon, &["run", "-d", "--name", "rest", "busybox", "sh", "-c", ticking]).success();
    let pid_of =
        |daemon: &ShaleDaemon| output(daemon, &["inspect", "-f", "{{.State.Pid}}", "rest"]).success();
    let pid = pid_of(&daemon);
    // The moments are spread over what the whole takes when nobody interrupts.
    let start = Instant::now();
    output(&daemon, &["pull", "-q", &image]).success();
    output(&daemon, &build).success();
    let span = u64::try_from(start.elapsed().as_micros()).expect("it is short");
    let mut moments = Random::of_this_run();
    let mut interrupted = 0;
    for round in 0..number("SHALE_TEST_DAEMON_KILLS", 4) {
        output(&daemon, &["rmi", &image]);
        let attached = format!("att{round}");
        let script = format!("echo begin; while [ ! -e /go ]; do sleep 0.05; done; echo end {round}; exit 4");
        let mut clients = [
            begin(&mut docker(&daemon, &["pull", "-q", &image])),
            begin(&mut docker(&daemon, &build)),
            begin(&mut docker(&daemon, &["run", "--name", &attached, "busybox", "sh", "-c", &script])),
        ];
        let delay = Duration::from_micros(moments.below(span));
        // A kill at a random moment is the subject here, so this sleep is not a wait for something.
        std::thread::sleep(delay);
        daemon.kill();
        for client in &mut clients {
            interrupted += usize::from(!client.wait().expect("it is ours").success());
        }
        daemon.start_again();
        let when = format!("round {round}, killed after {delay:?}");
        let verdict = daemon.shale.run(&["fsck"]);
        assert!(verdict.is_success(), "{when}: {}", verdict.describe());
        let running = output(&daemon, &["ps", "--format", "{{.Names}}"]).success();
        assert!(running.lines().any(|name| name == "rest"), "{when}: {running}");
        assert_eq!(pid_of(&daemon), pid, "{when}: the same process goes on");
        // Whatever the moment, the container of the attached client is whole or was never made.
        if running.lines().any(|name| name == attached) {
            // Detached: the container may end, and the kernel kill all that is in it, before `touch` has.
            output(&daemon, &["exec", "-d", &attached, "touch", "/go"]).success();
            assert_eq!(output(&daemon, &["wait", &attached]).success(), "4\n", "{when}");
            let log = output(&daemon, &["logs", &attached]).success();
            assert_eq!(log, format!("begin\nend {round}\n"), "{when}");
        }
    }
    assert!(interrupted > 0, "no kill came in time");
    output(&daemon, &["pull", "-q", &image]).success();
    output(&daemon, &build).success();
    assert_eq!(output(&daemon, &["run", "--rm", "built", "cat", "/done"]).success(), "done\n");
    let before = output(&daemon, &["logs", "rest"]).success().len();
    eventually("the container still writes", || output(&daemon, &["logs", "rest"]).stdout.len() > before);
    let all = output(&daemon, &["ps", "-aq"]).success();
    for id in all.split_whitespace() {
        output(&daemon, &["rm", "-f", id]).success();
    }
    check_no_leftovers(&daemon, &scratch, &marker);
}

#[test]
fn a_build_ends_when_its_client_leaves() {
    let scratch = Scratch::new("left");
    let daemon = ShaleDaemon::start(&scratch.folder("s"));
    import(&daemon, &scratch);
    let marker = format!("forever-{}", std::process::id());
    let folder = scratch.folder("context");
    let dockerfile = format!("FROM busybox\nRUN : {marker}; sleep 1000; true\nRUN echo never\n");
    std::fs::write(folder.join("Dockerfile"), dockerfile).expect("the scratch directory is ours");
    let folder = folder.display().to_string();
    let mut client = begin(&mut bare_docker(&daemon, &["build", "-t", "never", &folder]));
    let runs = || processes_with(&marker, daemon.pid()).iter().any(|line| line.contains("sleep 1000"));
    eventually("the step runs", runs);
    client.kill().expect("it is ours");
    client.wait().expect("it is ours");
    eventually("the step ends", || !runs());
    assert_eq!(output(&daemon, &["images", "-q", "never"]).success(), "");
    check_no_leftovers(&daemon, &scratch, &marker);
}
