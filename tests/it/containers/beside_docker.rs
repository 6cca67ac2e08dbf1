//! The same words to both: the same standard output, standard error and exit code.

use super::pair::Pair;

#[test]
fn run_says_and_ends_as_docker_does() {
    let pair = Pair::new("c-run");
    pair.check(
        "
        run --rm --network none busybox echo hi
        run --rm --network none busybox sh -c 'echo out; echo err >&2; exit 3'
        run --rm --network none busybox nosuch
        run --rm --network none busybox /nosuch
        run --rm --network none busybox noexec
        run --rm --network none busybox /bin/noexec
        run --rm --network none busybox /etc
        run --rm --network none busybox sh -c 'kill -9 $$'
        run --rm --network none busybox sh -c 'exit 255'
        run --rm --network none -u bob busybox id
        run --rm --network none -u nobody2 busybox id
        run --rm --network none -u 1234:10 busybox id
        run --rm --network none -u bob --group-add wheel busybox id
        run --rm --network none -w /x/y busybox pwd
        run --rm --network none -w x busybox pwd
        run --rm --network none -e A=1 -e B=two busybox sh -c 'env | grep -v HOSTNAME | sort'
        run --rm --network none --entrypoint echo busybox a b
        run --rm --network none --read-only busybox touch /x
        run --rm --network none --memory 1m busybox true
        run --rm --network none --cpus 900 busybox true
        run --rm --network none --cap-drop ALL busybox chown 1 /tmp
        run --rm --network none --cap-add NOSUCH busybox true
        run --rm --network none busybox sh -c 'grep Cap /proc/self/status; grep Seccomp: /proc/self/status'
        run --rm --network none busybox ls /proc/self/fd
        run --rm --network none busybox sh -c 'cut -d\" \" -f5 /proc/self/mountinfo | sort'
        run --rm --network none busybox sh -c 'ls -l /dev | cut -zc1-10 | sort; cat /proc/self/mountinfo | wc -l'
        run --rm --network none --tmpfs /t busybox sh -c 'mount | grep \" /t \"'
        run --rm --network none --tmpfs /t:size=64k,mode=700 busybox sh -c 'mount | grep \" /t \"'
        run --rm --network none --hostname other busybox hostname
        run --rm --network none --ulimit nofile=64 busybox sh -c 'ulimit -n'
        run --rm --network none --shm-size 1m busybox df -k /dev/shm
        run --rm --network none --sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward
        run --rm --network none --security-opt nosuch=1 busybox true
        run --rm --network none --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status
        run --rm --network none --add-host a:1.2.3.4 busybox grep 1.2.3.4 /etc/hosts
        run --rm --network none -v /etc/hostname:/h:bad busybox true
        run --rm --network none --mount type=bind,src=/nosuch-y,dst=/m busybox true
        run --rm --network none --mount type=nosuch,src=/x,dst=/m busybox true
        run --rm --network none -v named:/data busybox sh -c 'find /data | sort; stat -c %u:%g /data/sub/two'
        run --rm --network none -v named:/data:ro busybox touch /data/x
        run --rm --network none -it busybox true
        run --rm --network none --restart always busybox true
        run --rm --network none --restart sometimes busybox true
        run --rm --network none --restart always:3 busybox true
        run --rm --network none --log-driver nosuch busybox true
        run -d -a stdout --network none busybox true
        run --rm --network none --cidfile /etc/passwd busybox true
        run --rm --network none Bad:Name:x true
    ",
    );
    let [docker, shale] =
        pair.both_fed(&["run", "--rm", "-i", "--network", "none", "busybox", "cat"], b"a\n\0b");
    assert_eq!(docker, shale);
}

#[test]
fn the_life_of_a_container_is_told_as_docker_tells_it() {
    let pair = Pair::new("c-life");
    pair.check(
        "
        create --name zc1 --network none busybox sh -c 'echo out; echo err >&2; mkdir /d; rm /etc/group; trap \"exit 5\" TERM; while true; do sleep 0.1; done'
        create --name zc1 --network none busybox true
        create --name y --network none busybox true
        inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' zc1
        exec zc1 true
        attach zc1
        kill zc1
        pause zc1
        unpause zc1
        stop zc1
        top zc1
        wait zc1
        start zc1
        start zc1
        start nosuch
        ps --format '{{.Names}} {{.Image}} {{.State}} {{.Command}}'
        exec zc1 echo x
        exec zc1 nosuch
        exec zc1 sh -c 'exit 7'
        exec -w x zc1 true
        exec -w /tmp zc1 pwd
        exec -u bob zc1 id
        exec -u nouser zc1 id
        exec -e Q=1 zc1 sh -c 'echo $Q'
        exec nosuch true
        logs zc1
        logs --since 2001-01-01 --until 2002-01-01 zc1
        logs nosuch
        rm zc1
        pause zc1
        pause zc1
        exec zc1 true
        rm zc1
        ps --format '{{.Names}} {{.State}}'
        start zc1
        unpause zc1
        unpause zc1
        rename zc1 zc2
        rename zc1 zc3
        rename zc2 zc2
        rename zc2 'a b'
        create --name zc4 --network none busybox sh -c 'exit 4'
        rename zc4 zc2
        stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' zc4
        start -a zc4
        wait zc4
        ps -a --filter exited=4 --format '{{.Names}}'
        kill -s NOSUCH zc2
        stop -t 5 zc2
        wait zc2
        inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Pid}}' zc2
        update --memory 1m zc2
        update --pids-limit 50 zc2
        inspect -f '{{.HostConfig.PidsLimit}}' zc2
        rm zc2 zc4
        rm zc2
        rm -f zc2
        run -d --name r --network none busybox sleep 100
        run --name r --network none busybox true
        kill r
        wait r
        rm r
        run -d --name r --network none busybox nosuch
        inspect -f '{{.State.ExitCode}} {{.State.Status}} {{.State.Error}}' r
        rm r
        run --name r --network none --memory 64m busybox true
        inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' r
        container prune -f --filter label=nosuch
        rm r
    ",
    );
}

#[test]
fn what_a_container_changed_is_what_docker_lists_and_exports() {
    let pair = Pair::new("c-diff");
    let script = "mkdir /d; echo f > /d/f; rm /etc/group; chmod 700 /root; echo x >> /data/one; rm -r /data/sub; \
                  mkdir /data/sub; ln -s x /l; mkfifo /p; mv /bin/noexec /moved; touch -d @5 /d/f; chown 5:6 /d";
    for side in [true, false] {
        let words = ["run", "--name", "zc", "--network", "none", "busybox", "sh", "-c", script];
        let [mut docker, mut shale] = pair.commands(&words);
        shale_tests::program::run(if side { &mut docker } else { &mut shale }).success();
    }
    let [docker, shale] = pair.both(&["diff", "zc"]).map(|text| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    });
    assert_eq!(docker, shale);
    // A directory that was made again in one that was made again: the kernel marks only the upper one.
    let again = [
        "run",
        "--name",
        "zd",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "rm -r /data; mkdir -p /data/sub",
    ];
    for mut command in pair.commands(&again) {
        shale_tests::program::run(&mut command).success();
    }
    let [docker, shale] = pair.both(&["diff", "zd"]).map(|text| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    });
    assert_eq!(docker, shale);
    let [docker, shale] = pair.commands(&["export", "zc"]).map(|mut command| {
        let tar = command.output().expect("it starts").stdout;
        let lister = std::process::Command::new("tar");
        listed(lister, &tar)
    });
    assert_eq!(docker, shale);
}

#[test]
fn a_committed_container_is_the_image_that_docker_makes() {
    let pair = Pair::new("c-commit");
    let script = "mkdir /d; echo f > /d/f; rm /etc/group; rm -r /data/sub; mkdir /data/sub; find /d /data -exec touch -h -d @7 {} +";
    pair.check(&format!(
        "run --name zc -e A=1 -w /tmp --label l=1 --network none busybox sh -c '{script}'
         commit -a me -m 'a message' -c 'ENV B=2' -c 'CMD [\"ls\", \"/d\"]' -c 'EXPOSE 80' zc made:1
         commit -c 'RUN true' zc made:2
         commit -c 'NONSENSE' zc made:2
         commit nosuch made:2
         commit zc Bad
         run --rm --network none made:1
         history --format '{{{{.CreatedBy}}}}|{{{{.Comment}}}}|{{{{.Size}}}}' made:1
         create --name untouched --network none busybox true
         commit untouched made:3
         history --format '{{{{.CreatedBy}}}}|{{{{.Comment}}}}|{{{{.Size}}}}' made:3
         run -d --name running --network none busybox sleep 100
         commit running made:4
         commit -p=false running made:5
         inspect -f '{{{{.State.Paused}}}}' running
         rm -f running"
    ));
    let [docker, shale] = pair.commands(&["image", "inspect", "made:1"]).map(|mut command| {
        // The daemon's own version: the shape of the document depends on it.
        let text = shale_tests::program::run(command.env("DOCKER_API_VERSION", "1.41")).success();
        let mut image: serde_json::Value = serde_json::from_str(&text).expect("inspect prints JSON");
        let image = image[0].as_object_mut().expect("an image").clone();
        // What is random, or says who made it.
        let mut kept: std::collections::BTreeMap<_, _> = image.into_iter().collect();
        for key in [
            "Id",
            "Created",
            "Container",
            "DockerVersion",
            "GraphDriver",
            "Metadata",
            "Parent",
            "RootFS",
            "Size",
            "VirtualSize",
            "Descriptor",
            "Identity",
        ] {
            kept.remove(key);
        }
        for config in ["Config", "ContainerConfig"] {
            if let Some(config) = kept.get_mut(config) {
                config["Hostname"] = serde_json::Value::Null;
            }
        }
        kept
    });
    assert_eq!(docker, shale);
}

/// What a tar holds, one line an entry; names, types, modes, owners, sizes and links.
pub fn listed(mut lister: std::process::Command, tar: &[u8]) -> Vec<String> {
    lister.args(["-tvf", "-", "--numeric-owner", "--full-time"]).env("TZ", "UTC");
    let text = super::pair::feed(lister, tar).success();
    // Times of what was made a moment ago differ; those of the image do not.
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(3).is_some_and(|date| !date.starts_with("2020-") && !date.starts_with("1970-")) {
            fields.drain(3..5);
        }
        fields.join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    lines.sort();
    lines
}
