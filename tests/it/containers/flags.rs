//! Flags of `run`: what both do, and what both refuse in the same words.

use std::time::{Duration, Instant};

use shale_tests::program::run;

use super::pair::Pair;

#[test]
fn values_that_mean_nothing_are_refused_as_docker_refuses_them() {
    let pair = Pair::new("c-refused");
    pair.check(
        "
        run --rm --network none --memory lots busybox true
        create --network none --memory lots busybox true
        run --rm --network none --ulimit nosuch busybox true
        run --rm --network none --ulimit nosuch=1 busybox true
        run --rm --network none --ulimit nofile=x busybox true
        run --rm --network none --ulimit nofile=5:3 busybox true
        run --rm --network none --pid nosuch busybox true
        run --rm --network none --uts nosuch busybox true
        run --rm --network none --userns nosuch busybox true
        run --rm --network none --cgroupns nosuch busybox true
        run --rm --network none --ipc nosuch busybox true
        run --rm --network none -v x:/ busybox true
        run --rm --network none -v xy:/ busybox true
        rename x ''
        run --rm --network none --dns nosuch busybox true
        run --rm --network none --dns-search 'a b' busybox true
        run --rm --network none --ip nosuch busybox true
        run --rm --network none --ip 1.2.3.4 busybox true
        run --rm --network none --ip6 ::1 busybox true
        run --rm --network none --network-alias a busybox true
        run --rm --network none --mac-address nosuch busybox true
        run --rm --network none --storage-opt size=1g busybox true
        run --rm --network none --storage-opt size busybox true
        run --rm --network none --volumes-from nosuch busybox true
        run --rm --network none --volumes-from a:bad busybox true
        run --rm --network none --blkio-weight x busybox true
        run --rm --network none --blkio-weight-device /dev/null busybox true
        run --rm --network none --blkio-weight-device /dev/null:5 busybox true
        run --rm --network none --device-read-bps nosuch busybox true
        run --rm --network none --device-read-bps x:1m busybox true
        run --rm --network none --device-read-bps /dev/nosuch:1m busybox true
        run --rm --network none --device-read-bps /dev/null:abc busybox true
        run --rm --network none --device-write-iops /dev/null:-1 busybox true
        run --rm --network none --health-cmd true --health-interval 1us busybox true
        run --rm --network none --health-cmd true --health-retries -1 busybox true
        run --rm --network none --health-cmd true --health-timeout -1s busybox true
        run --rm --network none --health-cmd true --no-healthcheck busybox true
        run --rm --network none --health-interval x busybox true
        run --rm --network none --health-interval 3 busybox true
        run --rm --network none --expose x busybox true
        run --rm --network none --expose 1:2 busybox true
        run --rm --network none --stop-signal NOSUCH busybox true
        run --rm --network none --stop-timeout x busybox true
        run --rm --network none --shm-size x busybox true
        run --rm --network none --device /dev/nosuch busybox true
        run --rm --network none --device /dev/null:/dev/x:q busybox true
        run --rm --network none --device-cgroup-rule x busybox true
        run --rm --network none --cpus x busybox true
        run --rm --network none --cpuset-cpus x busybox true
        run --rm --network none --cpuset-cpus 999 busybox true
        run --rm --network none --cpuset-mems 999 busybox true
        run --rm --network none --cpu-period 5 busybox true
        run --rm --network none --cpu-quota 5 busybox true
        run --rm --network none --cpus 1 --cpu-period 5000 busybox true
        run --rm --network none --cpu-shares -1 busybox true
        run --rm --network none --memory 100m --memory-swap 50m busybox true
        run --rm --network none --memory-swap 50m busybox true
        run --rm --network none --memory-reservation 200m --memory 100m busybox true
        run --rm --network none --memory-reservation 1m busybox true
        run --rm --network none --oom-score-adj 2000 busybox true
        run --rm --network none --mount type=bind busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,colour=red busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,tmpfs-size=1m busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,volume-nocopy busybox true
        run --rm --network none --mount type=tmpfs,dst=/h,bind-propagation=shared busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,bind-nonrecursive=x busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,bind-recursive=nosuch busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,bind-recursive=writable busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,ro,bind-recursive=readonly busybox true
        run --rm --network none --mount type=bind,src=/,dst=/h,readonly=maybe busybox true
        run --rm --network none --mount type=tmpfs,dst=/h,tmpfs-mode=9 busybox true
        run --rm --network none --mount type=tmpfs,dst=/h,tmpfs-size=x busybox true
        run --rm --network none --mount dst busybox true
        run --rm --network none --mount '' busybox true
    ",
    );
}

#[test]
fn flags_do_what_they_do_in_docker() {
    let pair = Pair::new("c-flags");
    pair.check(
        "
        run --rm --network none --dns 1.2.3.4 --dns-option ndots:3 --dns-search a.b busybox cat /etc/resolv.conf
        run --rm --network none --dns-search . --dns 1.2.3.4 busybox cat /etc/resolv.conf
        run --rm --network none --cgroup-parent /zz busybox sh -c 'grep pids /proc/self/cgroup'
        run --rm --network none --health-interval 1s busybox true
        run --rm --network none --blkio-weight 500 busybox true
        run --rm --network none --device-read-bps /dev/loop0:1mb busybox cat /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device
        run --rm --network none --device-write-iops /dev/loop0:77 busybox cat /sys/fs/cgroup/blkio/blkio.throttle.write_iops_device
        run --rm --network none --device /dev/null:/dev/hole:rw busybox sh -c 'ls -l /dev/hole; echo x > /dev/hole'
        run --rm --network none -v x:/ busybox sh -c 'ls -d /x:; mount | grep -c /x:'
        run --rm --network none --mount type=tmpfs,dst=/t,tmpfs-size=64k,tmpfs-mode=700 busybox sh -c 'mount | grep \" /t \"; stat -c %a /t'
        run --rm --network none --tmpfs /new/t busybox stat -c %a /new /new/t
        run --rm --network none --tmpfs /data:mode=700 busybox stat -c %a /data
        run --rm --network none --mount type=volume,src=nocopy,dst=/data,volume-nocopy busybox ls /data
        run --rm --network none -v nocopy2:/data:nocopy busybox ls /data
        run --rm --network none --mount type=volume,src=copied,dst=/data busybox ls /data
        run --rm --network none --mount type=bind,src=/proc,dst=/p,bind-recursive=disabled busybox sh -c 'grep -c \" /p/\" /proc/self/mountinfo'
        create --name zv --network none -v named:/data -v /usr/share:/s:ro busybox true
        run --rm --network none --volumes-from zv busybox sh -c 'ls /data; mount | grep -c \" /s \"; touch /s/x'
        run --rm --network none --volumes-from zv:ro busybox touch /data/x
        run --rm --network none --volumes-from zv -v other:/data busybox sh -c 'ls /data; touch /data/mine'
        run --rm --network none --volumes-from zv busybox ls /data
        create --name ze --network none --expose 80-82/udp --expose 9 busybox true
        inspect -f '{{json .Config.ExposedPorts}}' ze
        create --name zh --network none --health-cmd x --health-interval 2s --health-retries 5 busybox true
        inspect -f '{{json .Config.Healthcheck}}' zh
    ",
    );
}

#[test]
fn health_is_checked_as_docker_checks_it() {
    let pair = Pair::new("c-health");
    // One stream: docker joins two as they happen to arrive.
    let check = "cat /healthy 2>&1 || { echo sick; exit 3; }";
    let words = [
        "run",
        "-d",
        "--name",
        "zc",
        "--network",
        "none",
        "--health-cmd",
        check,
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "1000",
    ];
    let slow = [
        "run",
        "-d",
        "--name",
        "zs",
        "--network",
        "none",
        "--health-cmd",
        "sleep 100",
        "--health-interval",
        "200ms",
        "--health-timeout",
        "1s",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "1000",
    ];
    for words in [&words[..], &slow] {
        for mut command in pair.commands(words) {
            run(&mut command).success();
        }
    }
    let status = |name: &str, wanted: &str| {
        for mut command in pair.commands(&["inspect", "-f", "{{.State.Health.Status}}", name]) {
            let start = Instant::now();
            while run(&mut command).success().trim() != wanted {
                assert!(
                    start.elapsed() < Duration::from_secs(60),
                    "{name} does not get {wanted}: {command:?}"
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    };
    let last = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}|{{end}}";
    let one =
        |text: &str| text.lines().nth(1).unwrap_or_default().split('|').next().unwrap_or_default().to_owned();
    status("zc", "unhealthy");
    let [docker, shale] = pair.both(&["inspect", "-f", last, "zc"]).map(|text| one(&text));
    assert_eq!(docker, shale);
    status("zs", "unhealthy");
    let [docker, shale] = pair.both(&["inspect", "-f", last, "zs"]).map(|text| one(&text));
    assert_eq!(docker, shale);
    pair.check("exec zc sh -c 'echo well > /healthy'");
    status("zc", "healthy");
    pair.check(
        "
        ps --filter health=healthy --format '{{.Names}}'
        ps --filter health=unhealthy --format '{{.Names}}'
        inspect -f '{{.State.Health.FailingStreak}}' zc
        kill zc
        inspect -f '{{.State.Health.Status}}' zc
        rm -f zc zs
    ",
    );
}

#[test]
fn what_cannot_be_carried_out_says_so() {
    let scratch = shale_tests::scratch::Scratch::new("c-unsupported");
    let shale = super::pair::shale_with_image(&scratch);
    for (flags, words) in [
        (&["--cpu-count", "2"][..], "only supported on windows"),
        (&["--io-maxbandwidth", "1m"], "only supported on windows"),
        (&["--gpus", "all"], "could not select device driver"),
        (&["--link", "a"], "--link is not supported"),
        (&["--link-local-ip", "1.2.3.4"], "--link-local-ip is not supported"),
        (&["--mac-address", "92:d0:c6:0a:29:33"], "--mac-address is not supported"),
        (&["--kernel-memory", "50m"], "--kernel-memory is not supported"),
        (&["--use-api-socket"], "--use-api-socket is not supported"),
        (&["--disable-content-trust=false"], "is not supported"),
        (&["-p", "80:80"], "publishing ports is not supported"),
        (&["--volume-driver", "nosuch", "-v", "a:/x"], "plugin \"nosuch\" not found"),
        (&["--mount", "type=volume,dst=/x,volume-opt=a=b"], "volume-opt is not supported"),
        (&["--mount", "type=volume,dst=/x,volume-subpath=a"], "volume-subpath is not supported"),
        (
            &["--mount", "type=bind,src=/,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate"],
            "bind-recursive=readonly is not supported",
        ),
        (&["--cgroup-parent", "/a/../../b"], "invalid cgroup parent"),
    ] {
        let finished = run(&mut shale
            .command(&[&["run", "--rm", "--network", "none"][..], flags, &["busybox", "true"]].concat()));
        assert_eq!(finished.code(), 125, "{}", finished.describe());
        assert!(finished.stderr.contains(words), "{}", finished.describe());
    }
}
