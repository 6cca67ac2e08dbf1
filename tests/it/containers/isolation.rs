//! Ways out of a container that were published, and those that `cp` opens: a canary outside stays as it is.
//!
//! | class | published as | test |
//! |---|---|---|
//! | descriptors of the host that leak, working directories in them | CVE-2016-9962, CVE-2024-21626 | `processes_have_three_descriptors…` |
//! | mounts over or through `/proc`, links where a mount, a volume or a working directory goes | CVE-2019-16884, CVE-2019-19921, CVE-2021-30465, CVE-2022-23648, CVE-2023-27561, CVE-2025-52881, CVE-2026-55686 | `mounts_go_nowhere…` |
//! | the runtime's own program written through `/proc/*/exe` | CVE-2019-5736 | `the_host_and_its_programs…` |
//! | masked and read-only paths, control groups' release agent, devices of the host, kernel parameters | CVE-2022-0492, CVE-2025-31133 | `the_host_and_its_programs…` |
//! | a path of `cp` that is swapped for a link while it is read or written | CVE-2018-15664, CVE-2026-41568 | `renames_that_race…` |
//! | links, `..` and devices in what is copied | CVE-2026-17106, CVE-2024-1485 | `copies_out_of_a_hostile_container…`; layers: suite `hostile` |
//! | programs of the container that are run on the host | CVE-2019-14271, CVE-2026-41567, CVE-2014-9357 | `no_program_of_the_container…` |
//! | inheritable capabilities, groups that are not set | CVE-2022-24769, CVE-2022-36109 | `run_says_and_ends_as_docker_does` (`Cap…`, `id`) |
//! | numbers of users that wrap to 0, endless group files | CVE-2024-40635, CVE-2026-47262 | tests of `crates/runtime/src/spec/user.rs` and `crates/runtime/tests/it/hostile.rs` |
//! | a data root that everybody may enter | CVE-2021-41091 | tests of `crates/store` |
//! | cache and bind mounts of a build that are replaced by links | CVE-2024-23651 to 23653, CVE-2024-9675, CVE-2024-11218 | `mounts_of_a_build_lead_nowhere`, `a_cache_that_was_replaced…` |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shale_tests::peer::Shale;
use shale_tests::program::{run, shell};
use shale_tests::scratch::Scratch;
use shale_tests::tree::{self, Compare, Listing};

use super::pair::shale_with_image;

/// A folder outside every container that nothing may read or change.
struct Canary {
    folder: PathBuf,
    before: Listing,
}

const SECRET: &str = "secret of the host";

impl Canary {
    fn new(scratch: &Scratch) -> Canary {
        let folder = scratch.folder("canary");
        shell(
            &folder,
            &format!(
                "mkdir sub; echo '{SECRET}' > secret; chmod 600 secret; echo x > sub/file; ln -s secret link"
            ),
        );
        let before = tree::list(&folder, Compare { times: true }).expect("it can be read");
        Canary { folder, before }
    }

    fn path(&self) -> &str {
        self.folder.to_str().expect("scratch paths are text")
    }

    #[track_caller]
    fn check(&self) {
        let now = tree::list(&self.folder, Compare { times: true }).expect("it can be read");
        assert_eq!(tree::differences(&self.before, &now), Vec::<String>::new());
    }
}

fn in_container(shale: &Shale, flags: &[&str], script: &str) -> shale_tests::program::Finished {
    let words = [&["run", "--rm", "--network", "none"][..], flags, &["busybox", "sh", "-c", script]].concat();
    run(&mut shale.command(&words))
}

/// CVE-2016-9962, CVE-2024-21626: a descriptor of the host that the container's processes inherit.
#[test]
fn processes_have_three_descriptors_and_no_way_to_the_host_through_them() {
    let scratch = Scratch::new("c-fds");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let list = "ls -l /proc/self/fd | awk 'NR>1 {print $9}' | sort | tr '\\n' ' '";
    // The fourth is the directory that `ls` reads.
    let listed = in_container(&shale, &[], list);
    assert_eq!(listed.stdout, "0 1 2 3 ", "{}", listed.describe());
    shale.shale(&["run", "-d", "--name", "zc", "--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(shale.shale(&["exec", "zc", "sh", "-c", list]), "0 1 2 3 ");
    // The working directory is one of the runtime's own descriptors.
    for number in 3..12 {
        for directory in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../../../..")] {
            let script = format!("cat {}/secret; ls ..", canary.path());
            let finished = in_container(&shale, &["-w", &directory], &script);
            assert!(!finished.stdout.contains(SECRET), "{}", finished.describe());
            let words = [
                "exec",
                "-w",
                &directory,
                "zc",
                "sh",
                "-c",
                &format!("cat ../../../../{}/secret", canary.path()),
            ];
            let finished = run(&mut shale.command(&words));
            assert!(!finished.stdout.contains(SECRET), "{}", finished.describe());
        }
    }
    // Every process in the container, the one that exec starts included, sees only its own.
    let others = "for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null; done | grep -c shale";
    assert_eq!(shale.shale(&["exec", "zc", "sh", "-c", &format!("{others} || true")]).trim(), "0");
    shale.shale(&["rm", "-f", "zc"]);
    canary.check();
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2021-30465, CVE-2023-27561: mounts over or through `/proc`, and links where a mount
/// goes.
#[test]
fn mounts_go_nowhere_but_into_the_container() {
    let scratch = Scratch::new("c-mounts");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let source = scratch.folder("source");
    fs::write(source.join("mine"), "mine").expect("ours");
    let source = source.to_str().expect("text");
    for target in ["/proc", "/proc/self", "/proc/self/attr"] {
        let finished =
            in_container(&shale, &["-v", &format!("{source}:{target}")], "cat /proc/mine /proc/self/mine");
        assert_ne!(finished.code(), 0, "{target}: {}", finished.describe());
    }
    // An image whose places for mounts are links to the host.
    shale.shale(&["run", "--name", "zm", "--network", "none", "busybox", "sh", "-c", &format!(
        "rm -r /data; ln -s {canary} /data; ln -s / /root2; ln -s ../../../../../../..{canary} /up; ln -s /proc/1/root /magic",
        canary = canary.path()
    )]);
    shale.shale(&["commit", "-c", "WORKDIR /up/sub", "zm", "links"]);
    for (target, write) in [
        ("/data/sub", "/data/sub/new"),
        ("/up/sub", "/up/sub/new"),
        ("/magic/x", "/magic/x/new"),
        ("/root2/y", "/root2/y/new"),
    ] {
        let bind = format!("{source}:{target}");
        let script = format!("touch {write}; cat {}/secret", canary.path());
        let finished = run(&mut shale.command(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &bind,
            "links",
            "sh",
            "-c",
            &script,
        ]));
        assert!(!finished.stdout.contains(SECRET), "{}", finished.describe());
        canary.check();
        let tmpfs = run(&mut shale.command(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--tmpfs",
            target,
            "links",
            "sh",
            "-c",
            &script,
        ]));
        assert!(!tmpfs.stdout.contains(SECRET), "{}", tmpfs.describe());
        let volume = format!("vol:{target}");
        let volume = run(&mut shale.command(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &volume,
            "links",
            "sh",
            "-c",
            &script,
        ]));
        assert!(!volume.stdout.contains(SECRET), "{}", volume.describe());
        canary.check();
    }
    // The volume was filled from the image's own place, and not from the host.
    let volume = shale.data_root().join("volumes/vol/_data");
    assert!(!volume.join("secret").exists() && !volume.join("file").exists());
}

/// CVE-2019-5736 and its kind: what the container can do to the program that is its runtime.
#[test]
fn the_host_and_its_programs_are_out_of_reach() {
    let scratch = Scratch::new("c-reach");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let program = fs::read(shale.program()).expect("it is there");
    let tricks = [
        // The kernel's own doors.
        "echo x > /proc/sysrq-trigger",
        "echo '|/bin/sh' > /proc/sys/kernel/core_pattern",
        "echo /evil > /sys/kernel/uevent_helper",
        "mount -t proc proc /tmp",
        "mount -o bind / /tmp",
        "mount -o remount,rw /sys",
        "mount -o remount,rw /proc/sys",
        "umount /proc/kcore",
        "head -c1 /proc/kcore | grep .",
        "mkdir /tmp/cg; mount -t cgroup -o rdma x /tmp/cg",
        "echo 1 > /sys/fs/cgroup/memory/release_agent",
        "unshare -U true && unshare -r mount -t tmpfs x /mnt",
        // Devices of the host.
        "mknod /tmp/disk b 8 0 && head -c1 /tmp/disk | grep .",
        "mknod /tmp/vda b 254 0 && head -c1 /tmp/vda | grep .",
        "mknod /tmp/mem c 1 1 && head -c1 /tmp/mem | grep .",
        "mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg | grep .",
        // Other processes and their roots.
        "cat /proc/1/root/../../../../../../etc/shadow",
        "kill -9 $PPID && false",
        "chroot /proc/1/root /bin/nosuch",
        "insmod /nosuch.ko",
        "hostname evil",
        "ip link set lo down && ip link set lo name evil",
        "reboot -f",
    ];
    let hostname = shell(Path::new("/"), "hostname");
    for trick in tricks {
        let finished =
            in_container(&shale, &[], &format!("{trick}; e=$?; cat {}/secret; exit $e", canary.path()));
        assert!(!finished.stdout.contains(SECRET), "{trick}: {}", finished.describe());
        assert_ne!(finished.code(), 0, "it worked: {trick}: {}", finished.describe());
    }
    // Writing to whatever started the container, through /proc, while exec starts something.
    shale.shale(&[
        "run",
        "-d",
        "--name",
        "zc",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "while true; do for p in /proc/[0-9]*; do echo evil > $p/exe; done 2>/dev/null; done",
    ]);
    for _ in 0..10 {
        shale.shale(&["exec", "zc", "true"]);
    }
    shale.shale(&["rm", "-f", "zc"]);
    assert_eq!(fs::read(shale.program()).expect("it is there"), program);
    assert_eq!(shell(Path::new("/"), "hostname"), hostname);
    canary.check();
}

/// CVE-2018-15664: while files are copied, the container swaps a directory of the path for a link to the host.
#[test]
fn renames_that_race_with_cp_lead_nowhere() {
    let scratch = Scratch::new("c-race");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let here = scratch.folder("here");
    fs::write(here.join("file"), "evil").expect("ours");
    let out = scratch.folder("out");
    // The container's own /canary path is what a careless copy would take for the host's.
    let swap = format!(
        "mkdir -p /a/sub /b; echo inside > /a/sub/secret; echo inside > /a/secret; ln -s {canary} /b/link; \
         while true; do mv /a /c 2>/dev/null; mv /b/link /a 2>/dev/null; mv /a /b/link 2>/dev/null; mv /c /a 2>/dev/null; done",
        canary = canary.path()
    );
    shale.shale(&["run", "-d", "--name", "zc", "--network", "none", "busybox", "sh", "-c", &swap]);
    let start = Instant::now();
    let file = here.join("file");
    let file = file.to_str().expect("text");
    let mut copies = 0;
    while start.elapsed() < Duration::from_secs(12) {
        let target = out.join(copies.to_string());
        let _ = shale.run(&["cp", "zc:/a/secret", target.to_str().expect("text")]);
        let _ = shale.run(&["cp", "zc:/a", target.with_extension("d").to_str().expect("text")]);
        let _ = shale.run(&["cp", file, "zc:/a/sub"]);
        let _ = shale.run(&["cp", file, "zc:/a/secret"]);
        copies += 1;
    }
    shale.shale(&["rm", "-f", "zc"]);
    canary.check();
    let stolen = shell(&out, &format!("grep -rl '{SECRET}' . || true"));
    assert_eq!(stolen, "", "after {copies} copies");
    assert!(copies > 3, "too few copies to mean anything: {copies}");
}

/// Links, `..` and devices in what is copied: out of a container they are made below the destination, and nowhere else.
#[test]
fn copies_out_of_a_hostile_container_stay_below_their_destination() {
    let scratch = Scratch::new("c-hostile");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let script = format!(
        "mkdir -p /h/dir; cd /h; ln -s {canary} evil; ln -s {canary}/secret leaf; ln -s ../../../../../../../../..{canary} up; \
         ln -s / root; ln -s /proc/self/root magic; mknod disk c 1 3; echo x > 'dir/..x'; chmod 4755 dir",
        canary = canary.path()
    );
    shale.shale(&["run", "--name", "zc", "--network", "none", "busybox", "sh", "-c", &script]);
    let out = scratch.folder("out");
    let out_text = out.to_str().expect("text");
    shale.shale(&["cp", "zc:/h/.", out_text]);
    // Again, over the links that are there now: none is followed.
    shale.shale(&["cp", "zc:/h/.", out_text]);
    for path in ["zc:/h/evil/secret", "zc:/h/leaf", "zc:/h/up/secret", "zc:/h/magic/etc/shadow"] {
        let _ = shale.run(&["cp", "-L", path, out.join("got").to_str().expect("text")]);
        let got = fs::read_to_string(out.join("got")).unwrap_or_default();
        assert!(!got.contains(SECRET) && !got.contains("root:$"), "{path}");
    }
    // A tar from outside that leads out of the container.
    let tar = scratch.path().join("evil.tar");
    shell(
        scratch.path(),
        &format!(
            "mkdir -p t; cd t; echo evil > f; tar -cPf {tar} --transform 's,^f,../../../../../../../../..{canary}/planted,' f; \
         ln -s {canary} l; tar -rPf {tar} l; tar -rPf {tar} --transform 's,^f,l/planted,' f",
            tar = tar.display(),
            canary = canary.path()
        ),
    );
    let archive = fs::read(tar).expect("made");
    let _ = super::pair::feed(shale.command(&["cp", "-", "zc:/h"]), &archive);
    let _ = super::pair::feed(shale.command(&["cp", "-", "zc:/h/evil"]), &archive);
    canary.check();
    assert!(!canary.folder.join("planted").exists());
}

/// CVE-2019-14271, CVE-2026-41567: nothing of the container's own is run on the host, whatever it names itself.
#[test]
fn no_program_of_the_container_is_run_outside_it() {
    let scratch = Scratch::new("c-traps");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    // Programs that tools like to start when they unpack or look up users, each a trap.
    let trap = format!("#!/bin/sh\ntouch {}/sprung\n", canary.path());
    let folder = scratch.folder("traps");
    for name in ["xz", "unpigz", "gzip", "tar", "zstd", "newuidmap", "ps", "runc", "tini", "docker-init"] {
        fs::write(folder.join(name), &trap).expect("ours");
    }
    shell(&folder, "chmod 755 *; printf 'root:x:0:0:root:/:/bin/sh\\n' > passwd");
    let traps = format!("{}/.", folder.to_str().expect("text"));
    shale.shale(&["create", "--name", "zc", "--network", "none", "busybox", "sleep", "1000"]);
    for target in ["zc:/bin", "zc:/usr", "zc:/lib"] {
        shale.shale(&["cp", &traps, target]);
    }
    shale.shale(&["start", "zc"]);
    let tar = scratch.path().join("t.tar.xz");
    shell(&folder, &format!("tar -cJf {} passwd", tar.display()));
    let archive = fs::read(&tar).expect("made");
    assert!(super::pair::feed(shale.command(&["cp", "-", "zc:/tmp"]), &archive).is_success());
    shale.shale(&["top", "zc"]);
    shale.shale(&["commit", "zc", "trapped"]);
    shale.shale(&["rm", "-f", "zc"]);
    canary.check();
}

/// Another container's files, names and processes are not to be seen either.
#[test]
fn containers_do_not_see_each_other() {
    let scratch = Scratch::new("c-apart");
    let shale = shale_with_image(&scratch);
    shale.shale(&[
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo mine > /mine; exec sleep 1000",
    ]);
    let other = in_container(&shale, &[], "cat /min[e]; ps | grep slee[p]; ls /dev/shm");
    assert_eq!(other.stdout, "", "{}", other.describe());
    shale.shale(&["rm", "-f", "one"]);
}

/// CVE-2024-23651, CVE-2024-23652, CVE-2024-9675: links in a cache, in the place of a mount and in its source, and a cache
/// named like a path.
#[test]
fn mounts_of_a_build_lead_nowhere() {
    let scratch = Scratch::new("c-build");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let context = scratch.folder("context");
    let up = format!("../../../../../../../../../../..{}", canary.path());
    let steps = [
        format!(
            "RUN --mount=type=cache,id=c,target=/c ln -s {canary} /c/link; ln -s {up} /c/up",
            canary = canary.path()
        ),
        "RUN --mount=type=cache,id=c,target=/c cat /c/link/secret /c/up/secret; touch /c/link/x /c/up/x; true".to_owned(),
        "RUN --mount=type=cache,id=c,source=link,target=/d cat /d/secret; touch /d/x; true".to_owned(),
        "RUN --mount=type=cache,id=c,source=up/sub,target=/d ls /d; touch /d/x; true".to_owned(),
        format!("RUN --mount=type=cache,id={up},target=/e touch /e/planted"),
        format!("RUN ln -s {canary}/sub /at; ln -s {up}/sub /up", canary = canary.path()),
        "RUN --mount=type=cache,target=/at touch /at/planted".to_owned(),
        "RUN --mount=type=tmpfs,target=/up touch /up/planted".to_owned(),
        "RUN --mount=type=bind,from=busybox,target=/at/new true".to_owned(),
        format!("RUN --mount=type=bind,source={up},target=/b cat /b/secret"),
    ];
    // Each alone upon what the first ones made: a step may be refused.
    for step in &steps[1..] {
        let text = format!("FROM busybox\n{}\n{}\n{step}\n", steps[0], steps[5]);
        fs::write(context.join("Dockerfile"), text).expect("ours");
        let context = context.to_str().expect("text");
        let built = run(&mut shale.command(&["build", "--no-cache", "--network", "none", context]));
        assert!(!built.stdout.contains(SECRET) && !built.stderr.contains(SECRET), "{}", built.describe());
        canary.check();
    }
}

/// CVE-2024-23651 between two builds: the cache's directory itself became a link.
#[test]
fn a_cache_that_was_replaced_by_a_link_is_made_anew() {
    let scratch = Scratch::new("c-cache");
    let shale = shale_with_image(&scratch);
    let canary = Canary::new(&scratch);
    let context = scratch.folder("context");
    let dockerfile =
        "FROM busybox\nRUN --mount=type=cache,target=/c ls -A /c; cat /c/secret; touch /c/planted\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("ours");
    let words = ["build", "--no-cache", "--network", "none", context.to_str().expect("text")];
    shale.shale(&words);
    let caches = shale.data_root().join("shale/build-cache");
    let of_caches =
        || fs::read_dir(&caches).expect("there is a cache").map(|entry| entry.expect("readable").path());
    let cache = of_caches().find(|path| path.is_dir()).expect("it is a directory");
    for replacement in ["ln -s", "cp"] {
        let source = if replacement == "cp" { canary.folder.join("secret") } else { canary.folder.clone() };
        let (path, source) = (cache.display(), source.display());
        shell(&caches, &format!("rm -r {path}; {replacement} {source} {path}"));
        let built = run(&mut shale.command(&words));
        assert!(built.is_success(), "{}", built.describe());
        assert!(!built.stdout.contains(SECRET) && !built.stdout.contains("link"), "{}", built.describe());
        canary.check();
        assert!(cache.join("planted").exists() && !cache.is_symlink());
    }
}
