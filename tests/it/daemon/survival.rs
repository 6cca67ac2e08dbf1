//! The daemon is killed, and is asked by many at once: containers go on, the store stays sound, memory stays small.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use shale_tests::data_root::DataRoot;
use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, ShaleDaemon};
use shale_tests::program::{Finished, require, resident_peak_kib, run};
use shale_tests::scratch::Scratch;

use super::replay::{archive, wire};

/// A docker command that takes at most a minute: one that hangs is killed.
pub fn docker(daemon: &ShaleDaemon, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal", "KILL", "60"]).arg(require("docker", "docker.io"));
    ask(&mut command, daemon, arguments);
    command
}

/// As [`docker`], without a limit: what is killed is docker itself.
pub fn bare_docker(daemon: &ShaleDaemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(require("docker", "docker.io"));
    ask(&mut command, daemon, arguments);
    command
}

fn ask(command: &mut Command, daemon: &ShaleDaemon, arguments: &[&str]) {
    command.arg("--host").arg(format!("unix://{}", daemon.socket().display())).args(arguments);
    command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env("DOCKER_BUILDKIT", "0");
}

#[track_caller]
pub fn output(daemon: &ShaleDaemon, arguments: &[&str]) -> Finished {
    run(&mut docker(daemon, arguments))
}

pub fn import(daemon: &ShaleDaemon, scratch: &Scratch) {
    let query = json!({ "fromSrc": "-", "repo": "busybox", "changes": "CMD [\"sh\"]" });
    let request = json!({ "method": "POST", "path": "/images/create", "query": query });
    let answer =
        wire::send(daemon.socket(), &request, &archive::busybox(scratch)).and_then(wire::Open::finish);
    assert_eq!(answer.expect("an import answers").head.status, 200);
}

#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn containers_go_on_when_the_daemon_is_killed_and_the_next_one_finds_them() {
    let scratch = Scratch::new("kill9");
    let mut daemon = ShaleDaemon::start(&scratch.folder("s"));
    import(&daemon, &scratch);
    output(&daemon, &["run", "-d", "--name", "rest", "busybox", "sleep", "1000"]).success();
    let script = "echo begin; while [ ! -e /go ]; do sleep 0.1; done; echo end; exit 4";
    let mut attached = docker(&daemon, &["run", "--name", "att", "busybox", "sh", "-c", script]);
    let mut attached = attached.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docker starts");
    eventually("the attached container writes", || output(&daemon, &["logs", "att"]).stdout == "begin\n");

    daemon.kill();
    assert_ne!(attached.wait().expect("it is ours").code(), Some(0), "the client lost its daemon");
    daemon.start_again();
    let names = output(&daemon, &["ps", "--format", "{{.Names}}"]).success();
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ["att", "rest"]);
    // Detached: the container may end, and the kernel kill all that is in it, before `touch` has.
    output(&daemon, &["exec", "-d", "att", "touch", "/go"]).success();
    assert_eq!(output(&daemon, &["wait", "att"]).success(), "4\n");
    assert_eq!(output(&daemon, &["logs", "att"]).success(), "begin\nend\n");
    // The same containers are those of the command line.
    let listed = daemon.shale.shale(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(listed, "att exited\nrest running\n");
    output(&daemon, &["rm", "-f", "att", "rest"]).success();
    daemon.shale.shale(&["fsck"]);
}

#[test]
fn two_hundred_clients_at_once_leave_the_daemon_small_and_answering() {
    let scratch = Scratch::new("many");
    let daemon = ShaleDaemon::start(&scratch.folder("s"));
    import(&daemon, &scratch);
    let socket = daemon.socket();
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let image = |number: usize| {
        let names = ["debian", "many-layers", "whiteouts", "hard-links"];
        format!("{}/images/{}", registry.host(), names[number % names.len()])
    };
    let pull = |number: usize| {
        let query = json!({ "fromImage": image(number), "tag": "1" });
        let request = json!({ "method": "POST", "path": "/images/create", "query": query });
        wire::send(socket, &request, b"").expect("a head comes")
    };
    // Streams that nobody reads, and requests that are never finished.
    let mut idle = Vec::new();
    for number in 0..80 {
        let mut stream = UnixStream::connect(socket).expect("the daemon listens");
        let request: String = match number % 4 {
            0 => "GET /events HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            1 => "POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\nhalf".to_owned(),
            _ => {
                let image = image(number / 2);
                format!(
                    "POST /images/create?fromImage={image}&tag=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
                )
            }
        };
        stream.write_all(request.as_bytes()).expect("the daemon reads");
        idle.push(stream);
    }
    std::thread::scope(|scope| {
        for number in 0..40 {
            let pull = &pull;
            scope.spawn(move || {
                let open = pull(number);
                assert_eq!(open.head.status, 200, "pull {number}");
                // Every other goes away in the middle.
                if number % 2 > 0 {
                    let body = open.finish().expect("a body comes").body;
                    let text = String::from_utf8_lossy(&body).into_owned();
                    assert!(text.contains("Status: "), "pull {number}: {text}");
                }
            });
        }
        for number in 0..80 {
            scope.spawn(move || {
                for path in
                    ["/images/json", "/images/busybox/json", "/containers/json", "/info", "/system/df"]
                {
                    let request = json!({ "method": "GET", "path": path, "query": {} });
                    let open = wire::send(socket, &request, b"").expect("a head comes");
                    assert_eq!(open.head.status, 200, "{path}");
                    // Every third goes away in the middle.
                    if number % 3 > 0 {
                        open.finish().expect("a body comes");
                    }
                }
            });
        }
    });
    drop(idle);
    let peak_kib = resident_peak_kib(daemon.pid());
    println!("the daemon's memory at its peak: {peak_kib} KiB");
    assert!(peak_kib < 150 << 10, "the daemon took {peak_kib} KiB");
    for number in 0..4 {
        output(&daemon, &["pull", "-q", &format!("{}:1", image(number))]).success();
    }
    let leases = daemon.shale.data_root().join("shale/leases");
    eventually("no pull goes on", || std::fs::read_dir(&leases).expect("it is there").count() == 0);
    daemon.shale.shale(&["fsck"]);
    daemon.shale.shale(&["gc"]);
    assert_eq!(DataRoot::read(daemon.shale.data_root()).leftovers, Vec::<String>::new());
}
