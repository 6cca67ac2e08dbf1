//! `cp` in both directions: what docker copies, and what it refuses.

use std::path::PathBuf;

use shale_tests::program::{run, shell};
use shale_tests::tree::{self, Compare};

use super::beside_docker::listed;
use super::pair::{Pair, feed};

/// A folder of this machine for each side, with the same content.
fn folders(pair: &Pair) -> [PathBuf; 2] {
    ["here-docker", "here-shale"].map(|name| {
        let folder = pair.scratch.folder(name);
        let script = "mkdir -p dir/sub empty; echo f > file; echo s > dir/sub/s; ln -s file link; ln -s dir dirlink
            ln -s nothing dangling; chmod 640 file; chown 1234:5678 file; echo x > dir/x; mkdir out; echo old > out/old
            find . -exec touch -h -d @1500000000 {} +";
        shell(&folder, script);
        folder
    })
}

/// Runs each line on both sides, each in its own folder, and compares what they say and what is there afterwards. After
/// a `~` the words differ: docker's speak of paths of the daemon, or of its client's own troubles.
fn check(pair: &Pair, lines: &str) {
    let folders = folders(pair);
    let mut differences = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, same_words) = line.strip_prefix("~ ").map_or((line, true), |line| (line, false));
        let words: Vec<&str> = line.split(' ').collect();
        let mut commands = pair.commands(&words);
        let said: Vec<String> = (0..2)
            .map(|side| {
                let finished = run(commands[side].current_dir(&folders[side]));
                if !same_words {
                    return finished.code().to_string();
                }
                // What docker's client logs of its own pipe is not an answer.
                let stderr: Vec<&str> =
                    finished.stderr.lines().filter(|line| !line.starts_with("time=")).collect();
                let said = format!("{} {}{}", finished.code(), finished.stdout, stderr.join("\n"));
                said.replace("Error response from daemon: ", "").replace("Error: ", "")
            })
            .collect();
        let here =
            [0, 1].map(|side| tree::list(&folders[side], Compare { times: false }).expect("it can be read"));
        let inside = pair.commands(&["export", "zc"]).map(|mut command| {
            let tar = command.output().expect("it starts").stdout;
            listed(std::process::Command::new("tar"), &tar)
        });
        let trees = tree::differences(&here[1], &here[0]);
        let inside: Vec<String> = inside[0]
            .iter()
            .filter(|line| !inside[1].contains(line))
            .map(|line| format!("docker {line}"))
            .chain(
                inside[1].iter().filter(|line| !inside[0].contains(line)).map(|line| format!("shale {line}")),
            )
            .collect();
        if said[0] != said[1] || !trees.is_empty() || !inside.is_empty() {
            differences.push(format!(
                "{line}\n  docker: {}\n  shale:  {}\n  {trees:?}\n  {inside:?}",
                said[0], said[1]
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

const INTO: &str = "
    cp file zc:/new
    cp file zc:/newdir/
    cp file zc:/data
    cp file zc:/data/one
    cp file zc:/datalink
    cp file zc:/data/link
    cp file zc:/nosuch/x
    cp file zc:/data/one/x
    cp dir zc:/fresh
    cp dir zc:/data
    cp dir zc:/data/one
    cp dir/. zc:/data/sub
    cp dir/ zc:/slash
    cp link zc:/tmp
    cp -L link zc:/tmp/followed
    cp dirlink zc:/tmp
    cp dirlink/ zc:/tmp/through
    cp -L dirlink zc:/tmp/deep
    cp dangling zc:/tmp
    ~ cp nosuch zc:/tmp
    cp -a file zc:/tmp/archived
    cp file nosuch:/x
    cp file dir
    cp zc:/data zc:/x
    cp empty zc:/tmp/empty
    cp file zc:relative
";

const OUT: &str = "
    cp zc:/data/one .
    cp zc:/data/one out
    cp zc:/data/one out/
    cp zc:/data/one new
    cp zc:/data/one newdir/
    cp zc:/data/one out/old
    cp zc:/data/sub fresh
    cp zc:/data/sub out
    cp zc:/data/sub file
    cp zc:/data/sub/. out
    cp zc:/data/link linked
    cp -L zc:/data/link followed
    cp zc:/datalink asalink
    cp zc:/datalink/ through
    cp zc:/datalink/one byway
    cp zc:/nosuch x
    ~ cp zc:/data/one nosuch/x
    ~ cp zc:/data/one/x y
    cp nosuch:/x y
    cp zc:data/sub relative
    cp zc:/data everything
";

#[test]
fn what_goes_in_is_what_docker_puts_there() {
    let pair = Pair::new("c-in");
    pair.check("create --name zc --network none busybox true");
    check(&pair, INTO);
}

#[test]
fn what_comes_out_is_what_docker_brings() {
    let pair = Pair::new("c-out");
    pair.check("create --name zc --network none busybox true");
    check(&pair, OUT);
}

#[test]
fn running_containers_and_their_volumes_are_copied_too() {
    let pair = Pair::new("c-running");
    pair.check(
        "
        run -d --name zc --network none -v vol:/vol -v vol:/ro:ro busybox sleep 1000
        exec zc sh -c 'echo in > /vol/in; ln -s /vol /tovol'
    ",
    );
    check(
        &pair,
        "
        cp file zc:/vol
        cp file zc:/tovol/through
        cp file zc:/ro
        cp zc:/vol/in got
        cp zc:/tovol/ volume
        cp zc:/proc/version version
    ",
    );
    pair.check(
        "
        exec zc sh -c 'ls /vol; cat /vol/through'
        run -d --name locked --network none --read-only busybox sleep 1000
        cp /etc/hostname locked:/tmp
        rm -f zc locked
    ",
    );
}

#[test]
fn tars_stream_in_both_directions() {
    let pair = Pair::new("c-tar");
    pair.check("create --name zc --network none busybox true");
    for path in ["zc:/data", "zc:/data/one", "zc:/data/.", "zc:/datalink", "zc:/datalink/", "zc:/data/link"] {
        let [docker, shale] = pair.commands(&["cp", path, "-"]).map(|mut command| {
            let tar = command.output().expect("it starts").stdout;
            listed(std::process::Command::new("tar"), &tar)
        });
        assert_eq!(docker, shale, "{path}");
    }
    let here = folders(&pair);
    let tar = here[0].join("t.tar");
    shell(&here[0], "tar -czf t.tar dir file");
    let tar = std::fs::read(tar).expect("it was made");
    for path in ["zc:/tmp", "zc:/data/one", "zc:/nosuch"] {
        let [docker, shale] = pair.both_fed(&["cp", "-", path], &tar);
        assert_eq!(docker, shale, "{path}");
    }
    // What is no tar is refused; how docker words it depends on where it noticed.
    for mut command in pair.commands(&["cp", "-", "zc:/tmp"]) {
        command.current_dir("/");
        assert!(!feed(command, b"no tar at all, whatever it says").is_success());
    }
    let [docker, shale] = pair.commands(&["cp", "zc:/tmp", "-"]).map(|mut command| {
        let tar = command.output().expect("it starts").stdout;
        listed(std::process::Command::new("tar"), &tar)
    });
    assert_eq!(docker, shale);
}
