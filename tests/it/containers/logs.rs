//! `--log-driver` and `--log-opt`: which files there are, what `logs` reads of them, and what is refused.

use std::fs;
use std::time::Duration;

use shale_tests::peer::{Dockerd, Options};
use shale_tests::program::run_bounded;
use shale_tests::scratch::Scratch;

use super::pair::{Pair, names, shale_with_image};

#[test]
fn wrong_log_options_are_refused_in_dockers_words() {
    let pair = Pair::new("c-logopt");
    pair.check(
        "
        run --rm --network none --log-opt max-size=abc busybox true
        run --rm --network none --log-opt max-size= busybox true
        run --rm --network none --log-opt max-size=0 busybox true
        run --rm --network none --log-opt max-size=-1 busybox true
        run --rm --network none --log-opt max-file=0 busybox true
        run --rm --network none --log-opt max-file=abc busybox true
        run --rm --network none --log-opt max-file=3 busybox true
        run --rm --network none --log-opt compress=true busybox true
        run --rm --network none --log-opt max-size=1k --log-opt max-file=2 --log-opt compress=asd busybox true
        run --rm --network none --log-opt foo=bar busybox true
        run --rm --network none --log-opt foo busybox true
        run --rm --network none --log-opt MAX-SIZE=1k busybox true
        run --rm --network none --log-opt mode=asd busybox true
        run --rm --network none --log-opt mode=blocking --log-opt max-buffer-size=1m busybox true
        run --rm --network none --log-driver nosuch --log-opt a=b busybox true
        run --rm --network none --log-driver none --log-opt a=b busybox true
        run --rm --network none --log-driver local --log-opt a=b busybox true
        run --rm --network none --log-driver local --log-opt max-size=asd busybox true
        run --rm --network none --log-driver local --log-opt max-file=0 busybox true
        run --rm --network none --log-driver local --log-opt max-file=asd busybox true
        run --rm --network none --log-driver local --log-opt compress=asd busybox true
        create --network none --name c1 --log-opt foo=bar busybox true
        create --network none --name c2 --log-opt max-size=abc busybox true
        start c2
        inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' c2
        create --network none --name c3 --log-driver none --log-opt a=b busybox true
        run --network none --name c4 --log-driver none busybox echo hi
        logs c4
        logs -f c4
        inspect -f '{{json .HostConfig.LogConfig}}{{.LogPath}}' c4
    ",
    );
    // What dockerd has and the program has not is said, and nothing else happens.
    for words in [["--log-driver", "syslog"], ["--log-opt", "tag=x"], ["--log-opt", "mode=non-blocking"]] {
        let words = [&["run", "--rm", "--network", "none"], &words[..], &["busybox", "true"]].concat();
        let [_, shale] = pair.both(&words);
        assert!(shale.starts_with("125\n") && shale.contains("is not supported"), "{shale}");
    }
}

/// The log files of a container by name, with the number of entries in each.
fn files(pair: &Pair, name: &str) -> [String; 2] {
    let ids = pair.commands(&["inspect", "-f", "{{.Id}}", name]).map(|mut command| {
        let output = command.output().expect("the program runs");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    });
    let roots = [pair.docker.data_root(), pair.shale.data_root()];
    [0, 1].map(|side| {
        let directory = roots[side].join("containers").join(&ids[side]);
        let local = directory.join("local-logs");
        let folder = if local.exists() { local } else { directory };
        let mut shown = String::new();
        for name in names(&folder).into_iter().filter(|name| name.contains(".log")) {
            let bytes = fs::read(folder.join(&name)).expect("a file");
            let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
            // Compressed files are as large as their times are hard to compress.
            let count = if name.contains(".gz") || name.starts_with("container") { 0 } else { lines };
            shown.push_str(&format!("{} {count}\n", name.replace(&ids[side], "ID")));
        }
        shown
    })
}

#[test]
fn logs_are_rotated_as_docker_rotates_them() {
    let pair = Pair::new("c-logs");
    for (number, options) in [
        "max-size=1k",
        "max-size=1k max-file=1",
        "max-size=1k max-file=3",
        "max-size=1.5kB max-file=2",
        "max-size=1k max-file=3 compress=true",
        "max-size=1m max-file=3",
        "local",
        "local max-size=500 max-file=3",
        "local max-size=500 max-file=2 compress=false",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("log{number}");
        let mut words = vec!["run", "--name", &name, "--network", "none"];
        for option in options.split(' ') {
            words.extend(if option == "local" { ["--log-driver", option] } else { ["--log-opt", option] });
        }
        // Five digits make a line so long that the digits of its time do not decide where a file ends.
        words.extend(["busybox", "sh", "-c", "seq 10010 10055; printf end"]);
        let check = |words: &[&str]| {
            let [docker, shale] = pair.both(words);
            assert_eq!(docker, shale, "{options}: {words:?}");
        };
        check(&words);
        let [docker, shale] = files(&pair, &name);
        assert_eq!(docker, shale, "{options}");
        check(&["inspect", "-f", "{{json .HostConfig.LogConfig}}", &name]);
        check(&["logs", &name]);
        check(&["logs", "-f", "--tail", "30", &name]);
        check(&["logs", "--tail", "2", &name]);
        check(&["start", "-a", &name]);
        check(&["logs", "--tail", "5", &name]);
    }
}

#[test]
fn a_follower_sees_each_line_once_across_rotations() {
    let scratch = Scratch::new("c-logf");
    let shale = shale_with_image(&scratch);
    let script = "for i in $(seq 1000 1399); do echo $i; [ $((i % 20)) = 0 ] && sleep 0.05; done; exit 0";
    for options in [&["max-size=1k", "max-file=4"][..], &["max-size=1k", "max-file=5", "compress=true"]] {
        let mut words = vec!["run", "-d", "--name", "ff", "--network", "none"];
        options.iter().for_each(|option| words.extend(["--log-opt", option]));
        words.extend(["busybox", "sh", "-c", script]);
        shale.shale(&words);
        let followed =
            run_bounded(&mut shale.command(&["logs", "-f", "ff"]), Duration::from_secs(60)).finished;
        let expected: String = (1000..1400).map(|number| format!("{number}\n")).collect();
        assert_eq!(followed.success(), expected);
        shale.shale(&["rm", "-f", "ff"]);
    }
}

#[test]
fn dockerd_reads_the_files_that_the_program_rotated() {
    let scratch = Scratch::new("c-logd");
    let shale = shale_with_image(&scratch);
    let run = |name: &str, options: &[&str]| {
        let words = [&["run", "--name", name, "--network", "none"], options, &["busybox", "seq", "1", "90"]];
        shale.shale(&words.concat());
        shale.shale(&["logs", name])
    };
    let json =
        run("jj", &["--log-opt", "max-size=2k", "--log-opt", "max-file=9", "--log-opt", "compress=true"]);
    let local = run("ll", &["--log-driver", "local", "--log-opt", "max-size=1k"]);
    let docker = Dockerd::start(&scratch.folder("d"), shale.data_root(), &Options::default());
    assert_eq!(docker.docker(&["logs", "jj"]), json);
    assert_eq!(docker.docker(&["logs", "ll"]), local);
    assert_eq!(json.lines().count(), 90);
    assert_eq!(local.lines().count(), 90);
}
