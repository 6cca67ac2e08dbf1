//! Terminals, containers that outlive who started them, supervisors that are killed, restarts.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shale_tests::peer::Shale;
use shale_tests::program::{require, run};
use shale_tests::scratch::Scratch;
use shale_tests::terminal::run_on_terminal;

use super::pair::{Pair, shale_with_image};

#[test]
fn a_terminal_is_one_on_both_sides() {
    let pair = Pair::new("c-tty");
    for words in [
        &[
            "run",
            "--rm",
            "-it",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "tty; stty -a | grep -o 'rows [0-9]*'; exit 4",
        ][..],
        &["run", "--rm", "-t", "--network", "none", "busybox", "ls", "-C", "/data"],
        &["run", "--rm", "-it", "--network", "none", "busybox", "sh", "-c", "read line; echo got $line"],
    ] {
        // What is typed is echoed when it comes, once or twice: that depends on the moment alone.
        let [docker, shale] = pair.commands(words).map(|command| {
            let (screen, code) = run_on_terminal(&command, "", "words\n");
            (screen.replace("got words", "GOT").replace("words\r\n", ""), code)
        });
        assert_eq!(docker, shale, "{words:?}");
    }
}

fn inspect(shale: &Shale, name: &str, format: &str) -> String {
    shale.shale(&["inspect", "-f", format, name]).trim().to_owned()
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The pid of the process that holds a container.
fn supervisor_of(shale: &Shale, id: &str) -> i32 {
    let path: PathBuf = shale.data_root().join("containers").join(id).join("shale/state.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(path).expect("it runs")).expect("JSON");
    state["supervisor"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
}

#[test]
fn a_detached_container_outlives_its_starter_and_a_killed_supervisor_is_noticed() {
    let scratch = Scratch::new("c-survive");
    let shale = shale_with_image(&scratch);
    // The starter's whole session goes: terminal, group, everything.
    let id = run(Command::new(require("setsid", "util-linux")).arg("--wait").arg(shale.program()).args([
        "--data-root",
        shale.data_root().to_str().expect("text"),
        "run",
        "-d",
        "--name",
        "long",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]))
    .success();
    let id = id.trim();
    assert_eq!(shale.shale(&["exec", "long", "echo", "alive"]), "alive\n");
    let init: i32 = inspect(&shale, "long", "{{.State.Pid}}").parse().expect("a pid");
    kill(supervisor_of(&shale, id));
    // Its output and its end would be nobody's, so that it is ended as well; nothing of it stays.
    wait_for("the container is told to have ended", || {
        inspect(&shale, "long", "{{.State.Status}}") == "exited"
    });
    assert_eq!(inspect(&shale, "long", "{{.State.ExitCode}}"), "137");
    wait_for("the container's process is gone", || !PathBuf::from(format!("/proc/{init}")).exists());
    shale.shale(&["start", "long"]);
    assert_eq!(shale.shale(&["exec", "long", "echo", "again"]), "again\n");
    shale.shale(&["rm", "-f", "long"]);
    assert!(!shale.data_root().join("containers").join(id).exists());
}

#[test]
fn the_layers_of_a_deleted_image_go_with_its_last_container() {
    let pair = Pair::new("c-last");
    pair.check(
        "
        create --name zc --network none busybox true
        create --name zd --network none busybox true
        rmi -f busybox
        rm zc
        ",
    );
    let roots = [pair.docker.data_root(), pair.shale.data_root()];
    let layers = || {
        roots.map(|root| {
            let folder = root.join("image/overlay2/layerdb/sha256");
            fs::read_dir(folder).expect("it is there").count()
        })
    };
    assert_eq!(layers(), [1, 1]);
    pair.check("start -a zd\nrm zd\n");
    assert_eq!(layers(), [0, 0]);
}

/// Somebody else ends and removes the container before whoever is attached gets a turn.
#[test]
fn the_exit_code_of_a_container_that_is_removed_at_its_end_reaches_who_is_attached() {
    let scratch = Scratch::new("c-removed");
    let shale = shale_with_image(&scratch);
    let script = "trap 'exit 3' TERM; while :; do echo up; sleep 0.1; done";
    for command in ["start", "attach"] {
        let id = shale.shale(&["create", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
        let id = id.trim();
        let flag = if command == "start" { "--attach" } else { "--no-stdin" };
        if command == "attach" {
            shale.shale(&["start", id]);
        }
        let mut attached = shale
            .command(&[command, flag, id])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = attached.stdout.take().expect("piped");
        output.read_exact(&mut [0; 3]).expect("it is attached");
        let pid = rustix::process::Pid::from_child(&attached);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it runs");
        shale.shale(&["stop", id]);
        wait_for("it is removed", || !shale.data_root().join("containers").join(id).exists());
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is stopped");
        let mut status = None;
        wait_for("it ends", || {
            status = attached.try_wait().expect("the child is ours");
            status.is_some()
        });
        let mut said = String::new();
        attached.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        assert_eq!((status.and_then(|status| status.code()), said.as_str()), (Some(3), ""), "{command}");
    }
}

/// With `--rm` somebody else may have removed the container before `stop` gets to see its end.
#[test]
fn who_stops_a_container_that_is_removed_meanwhile_has_stopped_it() {
    let scratch = Scratch::new("c-stopped");
    let shale = shale_with_image(&scratch);
    let script = "trap 'echo asked; sleep 1; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let id = shale.shale(&["create", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    let id = id.trim();
    let mut attached = shale
        .command(&["start", "--attach", id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut output = attached.stdout.take().expect("piped");
    output.read_exact(&mut [0; 3]).expect("it runs");
    let stop = shale
        .command(&["stop", id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    output.read_exact(&mut [0; 6]).expect("it was asked to end");
    let pid = rustix::process::Pid::from_child(&stop);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it waits");
    wait_for("it is removed", || !shale.data_root().join("containers").join(id).exists());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is stopped");
    let said = stop.wait_with_output().expect("it ends");
    assert_eq!(
        (said.status.code(), String::from_utf8_lossy(&said.stderr).as_ref()),
        (Some(0), ""),
        "{said:?}"
    );
    assert_eq!(attached.wait().expect("it ends").code(), Some(3));
}

#[test]
fn restart_policies_are_kept() {
    let scratch = Scratch::new("c-restart");
    let shale = shale_with_image(&scratch);
    let status =
        |name: &str| inspect(&shale, name, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}");
    let start = |name: &str, policy: &str, script: &str| {
        let words = [
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            script,
        ];
        shale.shale(&words)
    };
    start("failing", "on-failure:2", "echo life; exit 3");
    wait_for("it gives up after two more lives", || status("failing") == "exited 3 2");
    assert_eq!(shale.shale(&["logs", "failing"]), "life\nlife\nlife\n");
    start("content", "on-failure:2", "exit 0");
    wait_for("success ends it", || status("content") == "exited 0 0");
    start("stubborn", "always", "sleep 0.2");
    wait_for("it lives again and again", || {
        inspect(&shale, "stubborn", "{{.RestartCount}}").parse::<u32>().is_ok_and(|count| count >= 2)
    });
    shale.shale(&["stop", "-t", "1", "stubborn"]);
    assert_eq!(inspect(&shale, "stubborn", "{{.State.Status}}"), "exited");
    let count = inspect(&shale, "stubborn", "{{.RestartCount}}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(inspect(&shale, "stubborn", "{{.State.Status}} {{.RestartCount}}"), format!("exited {count}"));
    start("killed", "always", "sleep 1000");
    shale.shale(&["kill", "killed"]);
    assert_eq!(status("killed"), "exited 137 0");
    // In the foreground the first end counts.
    let finished = shale.run(&[
        "run",
        "--name",
        "front",
        "--restart",
        "on-failure:1",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "exit 9",
    ]);
    assert_eq!(finished.code(), 9, "{}", finished.describe());
    wait_for("it had its second life", || status("front") == "exited 9 1");
    shale.shale(&["rm", "-f", "failing", "content", "stubborn", "killed", "front"]);
}

#[test]
fn logs_are_followed_to_the_end_of_the_container() {
    let scratch = Scratch::new("c-follow");
    let shale = shale_with_image(&scratch);
    let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done";
    shale.shale(&["run", "-d", "--name", "zc", "--network", "none", "busybox", "sh", "-c", script]);
    assert_eq!(shale.shale(&["logs", "-f", "zc"]), "1\n2\n3\n4\n5\n");
    assert_eq!(shale.shale(&["wait", "zc"]), "0\n");
}

#[test]
fn signals_reach_the_process_in_the_container() {
    let scratch = Scratch::new("c-signal");
    let shale = shale_with_image(&scratch);
    let script = "trap 'echo caught; exit 6' TERM; echo ready; while true; do sleep 0.05; done";
    let mut child = shale
        .command(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert_eq!(lines.next().expect("a line").expect("text"), "caught");
    assert_eq!(child.wait().expect("ours").code(), Some(6));
}
