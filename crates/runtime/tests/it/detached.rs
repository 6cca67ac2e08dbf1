//! Containers under a supervisor: start, attach, exec, logs, the end, and every way to lose one of the processes.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use shale_runtime::log::{LogFile, LogOptions, LogReader};
use shale_runtime::spec::User;
use shale_runtime::{
    AttachStreams, Container, ContainerSpec, ControlError, DETACH_KEYS, DetachedSpec, ExecSpec, Restart,
    Signal, Status, WindowSize,
};

use crate::setup::Machine;

const ALL: AttachStreams = AttachStreams { stdin: true, stdout: true, stderr: true };

fn detached(machine: &Machine, container: ContainerSpec) -> DetachedSpec {
    let log = Some(LogFile::whole(machine.path("json.log")));
    DetachedSpec {
        container,
        log,
        open_stdin: false,
        stdin_once: false,
        size: None,
        restart: Restart::No,
        health: None,
    }
}

#[track_caller]
fn begin(machine: &Machine, spec: &DetachedSpec) -> Container {
    let container =
        machine.runtime.supervise(&machine.path("containers").join(&spec.container.id), spec).unwrap();
    container.start().unwrap();
    container
}

fn logged(machine: &Machine) -> Vec<(String, String)> {
    let mut reader =
        LogReader::open(&LogFile::whole(machine.path("json.log")), LogOptions::default()).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap())
        .map(|entry| (format!("{:?}", entry.stream).to_lowercase(), entry.line))
        .collect()
}

/// The payloads of Docker's framed stream, by stream number.
fn frames(mut stream: &UnixStream) -> [String; 3] {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let mut outputs = [String::new(), String::new(), String::new()];
    let mut rest = all.as_slice();
    while let Some((head, after)) = rest.split_at_checked(8) {
        assert_eq!(head[1..4], [0, 0, 0]);
        let length = u32::from_be_bytes(head[4..].try_into().unwrap()) as usize;
        outputs[usize::from(head[0])].push_str(std::str::from_utf8(&after[..length]).unwrap());
        rest = &after[length..];
    }
    outputs
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_detached_container_is_logged_and_its_end_recorded() {
    let machine = Machine::new();
    let spec = detached(&machine, machine.shell("echo out; echo err >&2; printf end; exit 3"));
    let container = begin(&machine, &spec);
    assert_eq!(container.wait().unwrap().code, 3);
    let mut entries = logged(&machine);
    entries.sort();
    let entry = |stream: &str, line: &str| (stream.to_owned(), line.to_owned());
    assert_eq!(entries, [entry("stderr", "err\n"), entry("stdout", "end"), entry("stdout", "out\n")]);
    let state = container.state().unwrap();
    assert_eq!((state.status, state.exit.unwrap().code), (Status::Exited, 3));
    assert!(state.started_at < state.finished_at, "{state:?}");
    eventually("the supervisor goes", || !state.supervisor.is_alive());
    machine.assert_clean(&spec.container);
    assert_eq!(Container::open(container.directory()).unwrap().wait().unwrap().code, 3);
}

#[test]
fn long_lines_are_logged_in_dockers_pieces() {
    let machine = Machine::new();
    let script = "printf 'x%.0s' $(seq 40000); echo; printf tail";
    begin(&machine, &detached(&machine, machine.shell(script))).wait().unwrap();
    let lengths: Vec<usize> = logged(&machine).iter().map(|(_, line)| line.len()).collect();
    assert_eq!(lengths, [16384, 16384, 7233, 4]);
    let tail = LogOptions { tail: Some(2), ..LogOptions::default() };
    let mut reader = LogReader::open(&LogFile::whole(machine.path("json.log")), tail).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().line.len(), 7233);
    assert_eq!(reader.next_entry().unwrap().unwrap().line, "tail");
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn logs_follow_until_the_end() {
    let machine = Machine::new();
    let container =
        begin(&machine, &detached(&machine, machine.shell("for i in 1 2 3; do echo $i; sleep 0.1; done")));
    eventually("a log", || machine.path("json.log").exists());
    let mut reader =
        LogReader::open(&LogFile::whole(machine.path("json.log")), LogOptions::default()).unwrap();
    let mut lines = String::new();
    while let Some(entry) = reader.follow(|| container.state().unwrap().status == Status::Exited).unwrap() {
        lines.push_str(&entry.line);
    }
    assert_eq!(lines, "1\n2\n3\n");
}

#[test]
fn an_early_client_sees_the_first_byte_and_half_close_ends_input() {
    let machine = Machine::new();
    let mut spec = detached(&machine, machine.shell("echo first; echo bad >&2; cat; echo last"));
    (spec.open_stdin, spec.stdin_once) = (true, true);
    let container = machine.runtime.supervise(&machine.path("containers/a"), &spec).unwrap();
    let mut client = container.attach(ALL).unwrap();
    let second = container.attach(AttachStreams { stdin: false, stdout: false, stderr: true }).unwrap();
    container.start().unwrap();
    client.write_all(b"typed\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(&client), ["", "first\ntyped\nlast\n", "bad\n"]);
    assert_eq!(frames(&second), ["", "", "bad\n"]);
    assert_eq!(container.wait().unwrap().code, 0);
}

#[test]
fn a_terminal_has_the_size_it_is_given() {
    let machine = Machine::new();
    let mut container = machine.shell("stty size; read x; stty size; exit 5");
    container.terminal = true;
    let mut spec = detached(&machine, container);
    (spec.open_stdin, spec.size) = (true, Some(WindowSize { rows: 11, columns: 22 }));
    let container = machine.runtime.supervise(&machine.path("containers/a"), &spec).unwrap();
    let mut client = container.attach(ALL).unwrap();
    container.start().unwrap();
    container.resize(WindowSize { rows: 33, columns: 44 }).unwrap();
    client.write_all(b"\n").unwrap();
    let mut screen = String::new();
    client.read_to_string(&mut screen).unwrap();
    assert!(screen.ends_with("33 44\r\n"), "{screen:?}");
    assert_eq!(container.wait().unwrap().code, 5);
}

#[test]
fn exec_is_dockers() {
    let machine = Machine::new();
    let container = begin(&machine, &detached(&machine, machine.spec(&["sleep", "1000"])));
    let exec = |args: &[&str]| ExecSpec {
        args: args.iter().map(|&arg| arg.into()).collect(),
        ..ExecSpec::default()
    };
    let script = "id -u; echo $X; grep CapEff /proc/self/status; echo bad >&2; cat; exit 9";
    let spec = ExecSpec {
        user: Some(User::resolve(&machine.root(), "app", &[]).unwrap()),
        env: vec!["X=1".into()],
        open_stdin: true,
        ..exec(&["sh", "-c", script])
    };
    let mut stream = container.exec("one", &spec).unwrap();
    stream.write_all(b"in").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(&stream), ["", "1000\n1\nCapEff:\t0000000000000000\nin", "bad\n"]);
    assert_eq!(container.exec_state("one").unwrap().exit_code, Some(9));
    // The words of `docker exec` with dockerd 20.10.24.
    for (args, words) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let error = container.exec("two", &exec(&[args])).unwrap_err().to_string();
        let head = "OCI runtime exec failed: exec failed: unable to start container process: ";
        assert_eq!(error, format!("{head}{words}: unknown"));
        assert_eq!(container.exec_state("two").unwrap().exit_code, Some(126));
    }
    let mut terminal = container.exec("tty", &ExecSpec { terminal: true, ..exec(&["tty"]) }).unwrap();
    let mut screen = String::new();
    terminal.read_to_string(&mut screen).unwrap();
    assert!(screen.starts_with("/dev/pts/"), "{screen:?}");
    container.kill(Signal::KILL).unwrap();
    assert_eq!(container.wait().unwrap().code, 137);
    let error = container.exec("late", &exec(&["true"])).unwrap_err();
    assert!(matches!(error, ControlError::Unreachable { .. } | ControlError::Refused { .. }), "{error}");
}

#[test]
fn a_failed_start_is_refused_and_recorded() {
    let machine = Machine::new();
    let mut container = machine.spec(&["nosuch"]);
    // A mount, so that the runtime itself finds out.
    container.mounts.push(shale_runtime::spec::Mount::Tmpfs(shale_runtime::spec::TmpfsMount {
        target: "/vol".into(),
        options: Vec::new(),
    }));
    let spec = detached(&machine, container);
    let container = machine.runtime.supervise(&machine.path("containers/a"), &spec).unwrap();
    let error = container.start().unwrap_err();
    assert_eq!(error.exit_code(), 127);
    let state = container.state().unwrap();
    assert_eq!(state.error.unwrap(), error.to_string());
    assert_eq!((state.status, state.exit.unwrap().code), (Status::Exited, 127));
    machine.assert_clean(&spec.container);
}

#[test]
fn stop_pause_top_and_stats() {
    let machine = Machine::new();
    let mut spec = machine.shell("trap 'exit 4' TERM; while :; do sleep 0.05; done");
    spec.resources.memory_bytes = Some(64 << 20);
    spec.resources.pids_max = Some(50);
    let container = begin(&machine, &detached(&machine, spec));
    let table = container.top(&["-eo".into(), "pid,args".into()]).unwrap();
    assert_eq!(table[0], ["PID", "COMMAND"]);
    assert!(table[1][1].starts_with("sh -c trap"), "{table:?}");
    let stats = container.stats().unwrap();
    assert_eq!((stats.memory.limit_bytes, stats.pids_limit), (64 << 20, Some(50)));
    assert!(stats.cpu.total_ns > 0 && stats.pids_current >= 1 && stats.memory.usage_bytes > 0, "{stats:?}");
    assert!(stats.networks.contains_key("lo"), "{stats:?}");
    container.pause().unwrap();
    assert!(container.is_paused().unwrap());
    container.resume().unwrap();
    assert!(!container.is_paused().unwrap());
    assert_eq!(container.stop(Signal::TERM, Duration::from_secs(10)).unwrap().code, 4);
    assert!(matches!(container.kill(Signal::TERM), Err(ControlError::NotRunning { .. })));
}

#[test]
fn stop_kills_what_does_not_listen() {
    let machine = Machine::new();
    let container = begin(&machine, &detached(&machine, machine.spec(&["sleep", "1000"])));
    assert_eq!(container.stop(Signal::TERM, Duration::from_millis(200)).unwrap().code, 137);
}

#[test]
fn a_container_whose_supervisor_was_killed_is_ended_and_cleaned_up() {
    let machine = Machine::new();
    let spec = detached(&machine, machine.spec(&["sleep", "1000"]));
    let container = begin(&machine, &spec);
    let state = container.state().unwrap();
    let init = state.init.unwrap();
    state.supervisor.signal(rustix::process::Signal::KILL).unwrap();
    eventually("the supervisor is gone", || !state.supervisor.is_alive());
    assert!(init.is_alive(), "the container itself was not killed");
    assert_eq!(container.wait().unwrap().code, 137);
    eventually("the container is gone", || !init.is_alive());
    machine.assert_clean(&spec.container);
}

#[test]
fn a_container_outlives_its_starter() {
    let machine = Machine::new();
    let spec = machine.path("starter");
    let starter = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples/supervisor");
    let status = Command::new(&starter)
        .arg("--start-detached")
        .args([machine.directory.path(), &machine.root(), &spec])
        .status()
        .unwrap();
    assert!(status.success());
    let container = Container::open(&spec).unwrap();
    assert_eq!(container.state().unwrap().status, Status::Running);
    container.kill(Signal::KILL).unwrap();
    assert_eq!(container.wait().unwrap().code, 137);
}

#[test]
fn a_foreground_container_dies_with_its_killed_starter() {
    let machine = Machine::new();
    let starter = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples/supervisor");
    let mut child = Command::new(&starter)
        .arg("--run-foreground")
        .args([machine.directory.path(), &machine.root()])
        .spawn()
        .unwrap();
    let pid_file = machine.root().join("pid-of-first");
    eventually("the container runs", || pid_file.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let records = machine.path("run/records");
    eventually("records are gone", || fs::read_dir(&records).unwrap().count() == 0);
    eventually("bundles are gone", || fs::read_dir(machine.path("run/bundles")).unwrap().count() == 0);
}

#[test]
fn twenty_detached_at_once() {
    let machine = Machine::new();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let machine = &machine;
            scope.spawn(move || {
                let mut spec = detached(machine, machine.shell(&format!("echo {number}; exit {number}")));
                let path = machine.path(&format!("log-{number}"));
                spec.log = Some(LogFile::whole(&path));
                assert_eq!(begin(machine, &spec).wait().unwrap().code, number);
                let text = fs::read_to_string(path).unwrap();
                assert!(
                    text.starts_with(&format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",")),
                    "{text}"
                );
                machine.assert_clean(&spec.container);
            });
        }
    });
}

#[test]
fn following_joins_the_caller_s_streams() {
    use shale_runtime::{FollowEnd, Followed, Signals, Stdio, Stream};
    let machine = Machine::new();
    let mut spec = detached(&machine, machine.shell("cat; echo bad >&2"));
    (spec.open_stdin, spec.stdin_once) = (true, true);
    let container = machine.runtime.supervise(&machine.path("containers/a"), &spec).unwrap();
    let stream = container.attach(ALL).unwrap();
    container.start().unwrap();
    let (keys, keys_write) = rustix::pipe::pipe().unwrap();
    let ((out, out_write), (err, err_write)) = (rustix::pipe::pipe().unwrap(), rustix::pipe::pipe().unwrap());
    rustix::io::write(&keys_write, b"typed\n").unwrap();
    drop(keys_write);
    let stdio = Stdio {
        stdin: Stream::Descriptor(keys),
        stdout: Stream::Descriptor(out_write),
        stderr: Stream::Descriptor(err_write),
    };
    let followed = Followed { exec: None, terminal: false, detach_keys: DETACH_KEYS };
    assert_eq!(container.follow(&stream, followed, stdio, &mut Signals::none()).unwrap(), FollowEnd::Ended);
    let text = |pipe| std::io::read_to_string(fs::File::from(pipe)).unwrap();
    assert_eq!((text(out), text(err)), ("typed\n".to_owned(), "bad\n".to_owned()));
}
