//! One root for both: what Shale made dockerd lists, starts and removes, and the other way round.

use shale_tests::peer::{Dockerd, Options, Shale};
use shale_tests::program::run;
use shale_tests::scratch::Scratch;

use super::pair::{names, shale_with_image};

#[test]
fn dockerd_goes_on_with_what_shale_made() {
    let scratch = Scratch::new("c-given");
    let shale = shale_with_image(&scratch);
    let script = "echo from shale; echo x > /written; rm -f /etc/group";
    shale.shale(&[
        "run",
        "--name",
        "ended",
        "--label",
        "a=b",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    shale.shale(&[
        "create",
        "--name",
        "fresh",
        "-v",
        "vol:/vol",
        "--network",
        "none",
        "busybox",
        "echo",
        "hello",
    ]);
    shale.shale(&["commit", "ended", "committed"]);
    shale.shale(&["create", "--name", "gone", "--network", "none", "busybox", "true"]);
    let changes = shale.shale(&["diff", "ended"]);
    {
        let docker = Dockerd::start(&scratch.folder("d"), shale.data_root(), &Options::default());
        let listed = docker.docker(&["ps", "-a", "--format", "{{.Names}} {{.Image}} {{.State}} {{.Labels}}"]);
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, ["ended busybox exited a=b", "fresh busybox created ", "gone busybox created "]);
        assert_eq!(docker.docker(&["logs", "ended"]), "from shale\n");
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&docker.docker(&["diff", "ended"])), sorted(&changes));
        assert_eq!(docker.docker(&["start", "-a", "fresh"]), "hello\n");
        assert_eq!(docker.docker(&["start", "-a", "ended"]), "from shale\n");
        assert_eq!(
            docker.docker(&["run", "--rm", "--network", "none", "committed", "cat", "/written"]),
            "x\n"
        );
        docker.docker(&["rm", "gone"]);
        let ended = docker.run(&[
            "run",
            "--name",
            "docks",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "echo from docker; exit 3",
        ]);
        assert_eq!((ended.code(), ended.stdout.as_str()), (3, "from docker\n"), "{}", ended.describe());
    }
    check_the_way_back(&shale);
}

fn check_the_way_back(shale: &Shale) {
    let listed = shale.shale(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["docks exited", "ended exited", "fresh exited"]);
    assert_eq!(shale.shale(&["logs", "docks"]), "from docker\n");
    assert_eq!(shale.shale(&["wait", "docks"]), "3\n");
    let again = run(&mut shale.command(&["start", "-a", "docks"]));
    assert_eq!((again.code(), again.stdout.as_str()), (3, "from docker\n"), "{}", again.describe());
    assert_eq!(shale.shale(&["start", "-a", "fresh"]), "hello\n");
    shale.shale(&["rm", "-v", "docks", "ended", "fresh"]);
    assert!(names(&shale.data_root().join("containers")).is_empty());
    assert!(names(&shale.data_root().join("image/overlay2/layerdb/mounts")).is_empty());
    let fsck = run(&mut shale.command(&["fsck"]));
    assert!(fsck.is_success(), "{}", fsck.describe());
}

#[test]
fn a_root_that_dockerd_holds_is_left_alone() {
    let scratch = Scratch::new("c-held");
    let shale = shale_with_image(&scratch);
    let docker = Dockerd::start(&scratch.folder("d"), shale.data_root(), &Options::default());
    docker.docker(&["create", "--name", "its", "--network", "none", "busybox", "true"]);
    for words in
        [&["run", "--rm", "--network", "none", "busybox", "true"][..], &["rm", "its"], &["commit", "its"]]
    {
        let refused = run(&mut shale.command(words)).refusal();
        assert!(refused.contains("a running dockerd holds this data root"), "{refused}");
    }
}
