//! `run_to_end`: exit codes, what the process sees, limits, signals, terminals, and what is left behind.

use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use shale_runtime::spec::{BindMount, Capabilities, Mount, Rlimit, Seccomp, TmpfsMount, User};
use shale_runtime::{RunError, Signal, Signals, StartError, Stdio, Stream};

use crate::setup::Machine;

#[test]
fn exit_codes_are_the_process_s_own() {
    let machine = Machine::new();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255)] {
        let spec = machine.shell(script);
        assert_eq!(machine.run(&spec).status.code, code, "{script}");
        machine.assert_clean(&spec);
    }
}

#[track_caller]
fn check_refusal(args: &[&str], code: i32, words: &str) {
    let machine = Machine::new();
    let spec = machine.spec(args);
    let error = match machine.try_run(&spec) {
        Err(RunError::Start(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.to_string(), format!("OCI runtime create failed: runc create failed: {words}: unknown"));
    assert_eq!(error.exit_code(), code);
    machine.assert_clean(&spec);
    // The runtime itself says the same, behind a mount that hides the answer from our own look.
    let mut spec = machine.spec(args);
    spec.mounts.push(Mount::Tmpfs(TmpfsMount { target: "/vol".into(), options: Vec::new() }));
    let error = match machine.try_run(&spec) {
        Err(RunError::Start(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error.to_string(), format!("OCI runtime create failed: runc create failed: {words}: unknown"));
    machine.assert_clean(&spec);
}

// The texts are those of `docker run` with dockerd 20.10.24 and runc 1.1.5.
#[test]
fn a_missing_program_is_127_and_a_file_that_is_none_126() {
    let start = "unable to start container process: exec:";
    check_refusal(&["nosuch"], 127, &format!("{start} \"nosuch\": executable file not found in $PATH"));
    check_refusal(
        &["/nosuch"],
        127,
        &format!("{start} \"/nosuch\": stat /nosuch: no such file or directory"),
    );
    check_refusal(&["/etc/passwd"], 126, &format!("{start} \"/etc/passwd\": permission denied"));
    check_refusal(&["/etc"], 126, &format!("{start} \"/etc\": permission denied"));
}

#[test]
fn the_process_sees_dockers_environment() {
    let machine = Machine::new();
    let mut spec = machine.shell("env | sort; pwd; hostname; umask; id; readlink /proc/1/fd/0");
    spec.env = vec!["A=b".into(), "HOME=/x".into()];
    spec.cwd = "/new/dir".into();
    spec.hostname = "myhost".into();
    spec.user = User::resolve(&machine.root(), "app", &[]).unwrap();
    let expected = "A=b\nHOME=/x\nHOSTNAME=myhost\n\
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/new/dir\nSHLVL=1\n\
        /new/dir\nmyhost\n0022\nuid=1000(app) gid=1001(app) groups=10(wheel),20(audio),50(staff),1001(app)\n\
        /dev/null\n";
    assert_eq!(machine.run(&spec).stdout, expected);
}

#[test]
fn groups_always_hold_the_primary_one() {
    let machine = Machine::new();
    for (user, groups) in [("", "Groups:\t0 10 "), ("1000:1000", "Groups:\t1000 "), ("4242", "Groups:\t0 ")] {
        let mut spec = machine.spec(&["grep", "Groups", "/proc/self/status"]);
        spec.user = User::resolve(&machine.root(), user, &[]).unwrap();
        assert_eq!(machine.run(&spec).stdout.trim_end_matches('\n'), groups, "user {user:?}");
    }
}

// `docker run` of dockerd 20.10.24: the default set, none for a user, none with --cap-drop ALL.
#[test]
fn capabilities_are_those_under_dockerd() {
    let machine = Machine::new();
    let status = |spec: &shale_runtime::ContainerSpec| machine.run(spec).stdout.replace('\t', " ");
    let lines = |inheritable: &str, permitted: &str, bounding: &str| {
        let zeros = "00000000";
        format!(
            "CapInh: {zeros}{inheritable}\nCapPrm: {zeros}{permitted}\nCapEff: {zeros}{permitted}\n\
             CapBnd: {zeros}{bounding}\nCapAmb: {zeros}00000000\nNoNewPrivs: 0\nSeccomp: 2\n"
        )
    };
    let mut spec = machine.spec(&["grep", "-E", "^Cap|^NoNew|^Seccomp:", "/proc/self/status"]);
    assert_eq!(status(&spec), lines("00000000", "a80425fb", "a80425fb"));
    spec.user = User::resolve(&machine.root(), "app", &[]).unwrap();
    assert_eq!(status(&spec), lines("00000000", "00000000", "a80425fb"));
    spec.capabilities = Capabilities { add: Vec::new(), drop: vec!["ALL".into()] };
    assert_eq!(status(&spec), lines("00000000", "00000000", "00000000"));
    spec.no_new_privileges = true;
    spec.seccomp = Seccomp::Unconfined;
    assert!(status(&spec).ends_with("NoNewPrivs: 1\nSeccomp: 0\n"));
}

#[test]
fn a_privileged_container_runs_with_what_this_process_has() {
    let machine = Machine::new();
    let mut spec =
        machine.shell("grep -E 'CapBnd|Seccomp:' /proc/self/status; test -c /dev/kmsg && echo kmsg");
    spec.privileged = true;
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find(|line| line.starts_with("CapBnd")).unwrap();
    assert_eq!(machine.run(&spec).stdout, format!("{bounding}\nSeccomp:\t0\nkmsg\n"));
}

#[test]
fn the_container_sees_three_descriptors() {
    let machine = Machine::new();
    // A descriptor that is deliberately not close-on-exec, as one inherited from a careless parent would be.
    let leak = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let spec = machine.spec(&["ls", "/proc/self/fd"]);
    // The fourth is the directory that `ls` itself has open, as under dockerd.
    assert_eq!(machine.run(&spec).stdout, "0\n1\n2\n3\n");
    drop(leak);
}

#[test]
fn read_only_root_and_tmpfs_and_binds() {
    let machine = Machine::new();
    fs::create_dir(machine.path("shared")).unwrap();
    let mut spec = machine.shell(
        "touch /f 2>/dev/null || echo root-ro; touch /run/f && echo run-rw; touch /ro/f 2>/dev/null || echo bind-ro; \
         echo x >/rw/made; grep ' /run ' /proc/mounts | grep -o noexec; touch /dev/shm/f && echo shm-rw",
    );
    spec.read_only_root = true;
    let bind = |target: &str, read_only| {
        Mount::Bind(BindMount {
            source: machine.path("shared"),
            target: target.into(),
            read_only,
            recursive: true,
            propagation: Some(shale_runtime::spec::Propagation::RecursivePrivate),
        })
    };
    spec.mounts = vec![
        bind("/ro", true),
        bind("/rw", false),
        Mount::Tmpfs(TmpfsMount { target: "/run".into(), options: vec!["size=1m".into()] }),
    ];
    assert_eq!(machine.run(&spec).stdout, "root-ro\nrun-rw\nbind-ro\nnoexec\nshm-rw\n");
    assert_eq!(fs::read_to_string(machine.path("shared/made")).unwrap(), "x\n");
}

#[test]
fn etc_files_are_bound_over_the_image_s() {
    let machine = Machine::new();
    let mut spec = machine.shell("cat /etc/hosts; echo more >> /etc/hosts");
    fs::write(machine.path("hosts"), "1.2.3.4 foo\n").unwrap();
    spec.etc_files.hosts = Some(machine.path("hosts"));
    assert_eq!(machine.run(&spec).stdout, "1.2.3.4 foo\n");
    assert_eq!(fs::read_to_string(machine.path("hosts")).unwrap(), "1.2.3.4 foo\nmore\n");
    assert_eq!(fs::read(machine.root().join("etc/hosts")).unwrap(), b"");
}

#[test]
fn memory_limit_kills_with_137() {
    let machine = Machine::new();
    let mut spec = machine.spec(&["tail", "/dev/zero"]);
    spec.resources.memory_bytes = Some(8 << 20);
    let status = machine.run(&spec).status;
    assert_eq!((status.code, status.oom_killed), (137, true));
    spec.resources.memory_bytes = Some(1 << 20);
    let error = machine.try_run(&spec).unwrap_err().to_string();
    assert_eq!(error, "Minimum memory limit allowed is 6MB");
}

#[test]
fn pids_limit_and_ulimit_hold() {
    let machine = Machine::new();
    let mut spec = machine.shell("for i in $(seq 30); do sleep 1 & done; wait");
    // Not less: the runtime's own threads count too until the program begins.
    spec.resources.pids_max = Some(20);
    let outcome = machine.run(&spec);
    // Words and code of `docker run --pids-limit` with the same shell.
    assert_eq!(
        (outcome.status.code, &*outcome.stderr),
        (2, "sh: can't fork: Resource temporarily unavailable\n")
    );
    let mut spec = machine.shell("ulimit -n; ulimit -Hn");
    spec.rlimits = vec![Rlimit { name: "nofile".into(), soft: 100, hard: 200 }];
    assert_eq!(machine.run(&spec).stdout, "100\n200\n");
}

#[test]
fn default_seccomp_refuses_new_namespaces() {
    let machine = Machine::new();
    let spec = machine.shell("mount -t tmpfs t /tmp 2>&1; echo $?");
    assert!(machine.run(&spec).stdout.contains("ermission denied"), "mount needs CAP_SYS_ADMIN and a hole");
}

#[test]
fn a_sent_signal_reaches_the_process() {
    let machine = Machine::new();
    let spec = machine.shell("trap 'echo got; exit 42' TERM; echo ready; while :; do sleep 0.05; done");
    let (sender, mut signals) = Signals::channel().unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let stdio = Stdio { stdout: Stream::Descriptor(write), ..Stdio::default() };
    let running = machine.runtime.start(&spec, stdio).unwrap();
    let mut ready = [0; 6];
    rustix::io::read(read.as_fd(), &mut ready).unwrap();
    sender.send(Signal::TERM);
    assert_eq!(running.wait(&mut signals).unwrap().code, 42);
    machine.assert_clean(&spec);
}

#[test]
fn cancelling_kills_the_whole_container() {
    let machine = Machine::new();
    let spec = machine.shell("sleep 1000 & sleep 1000");
    let (sender, mut signals) = Signals::channel().unwrap();
    let running = machine.runtime.start(&spec, Stdio::default()).unwrap();
    let began = Instant::now();
    sender.send(Signal::KILL);
    assert_eq!(running.wait(&mut signals).unwrap().code, 137);
    assert!(began.elapsed() < Duration::from_secs(5));
    machine.assert_clean(&spec);
}

#[test]
fn a_dropped_container_is_killed_and_removed() {
    let machine = Machine::new();
    let spec = machine.shell("sleep 1000");
    let running = machine.runtime.start(&spec, Stdio::default()).unwrap();
    let pid = running.pid();
    drop(running);
    assert!(shale_runtime::ProcessId::find(pid).is_none());
    machine.assert_clean(&spec);
}

#[test]
fn a_terminal_is_a_terminal() {
    let machine = Machine::new();
    let mut spec =
        machine.shell("tty; env | grep TERM; read line; echo \"<$line>\"; test -t 0 && test -t 2 && echo t");
    spec.terminal = true;
    let (keys_read, keys_write) = rustix::pipe::pipe().unwrap();
    let (screen_read, screen_write) = rustix::pipe::pipe().unwrap();
    let stdio = Stdio {
        stdin: Stream::Descriptor(keys_read),
        stdout: Stream::Descriptor(screen_write),
        stderr: Stream::Null,
    };
    rustix::io::write(&keys_write, b"hello\n").unwrap();
    let status = machine.runtime.run_to_end(&spec, stdio, &mut Signals::none()).unwrap();
    assert_eq!(status.code, 0);
    let mut screen = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(screen_read), &mut screen).unwrap();
    // The terminal echoes what was typed; where in the output depends on who was faster.
    assert_eq!(screen.replacen("hello\r\n", "", 1), "/dev/pts/0\r\nTERM=xterm\r\n<hello>\r\nt\r\n");
}

#[test]
fn twenty_at_once() {
    let machine = Machine::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|number| {
                let machine = &machine;
                scope.spawn(move || {
                    let spec = machine.shell(&format!("echo {number}; exit {number}"));
                    let outcome = machine.run(&spec);
                    assert_eq!((outcome.status.code, outcome.stdout), (number, format!("{number}\n")));
                    machine.assert_clean(&spec);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_missing_runtime_is_named() {
    let error = shale_runtime::Runtime::find(Some("/nonexistent/runc".as_ref())).unwrap_err();
    assert_eq!(error.to_string(), "the OCI runtime /nonexistent/runc cannot be run");
    assert!(matches!(StartError::NoSupervisor.exit_code(), 125));
}

#[test]
fn this_process_s_own_signals_are_passed_on() {
    let machine = Machine::new();
    let spec = machine.shell("trap 'exit 43' USR1; echo ready; while :; do sleep 0.05; done");
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut signals = Signals::of_process().unwrap();
    let stdio = Stdio { stdout: Stream::Descriptor(write), ..Stdio::default() };
    let running = machine.runtime.start(&spec, stdio).unwrap();
    let mut ready = [0; 6];
    rustix::io::read(read.as_fd(), &mut ready).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1).unwrap();
    assert_eq!(running.wait(&mut signals).unwrap().code, 43);
}
