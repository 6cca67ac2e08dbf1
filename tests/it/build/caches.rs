//! Builds of other machines as a cache: an image of dockerd's, a directory, a registry.
//!
//! The key of a COPY is that of Debian's docker 20.10: later clients leave the file type out of the modes that they send.

use std::path::Path;
use std::process::Command;

use shale_tests::build::{BASE, base_tar, old_client};
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{run, shell};
use shale_tests::scratch::Scratch;

const FIRST: &str = "FROM base:1\nENV a=b\nRUN echo x > /x\nCOPY f /f\nRUN echo y > /y\nCMD [\"x\"]\n";

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are text")
}

/// Standard output of Debian's client, whose COPY keys are those of the recordings.
fn old_docker(scratch: &Scratch, daemon: &Dockerd, words: &[&str]) -> String {
    let host = format!("unix://{}", daemon.socket().display());
    let mut command = Command::new(old_client());
    command.args(["--host", &host]).args(words).env("DOCKER_BUILDKIT", "0").env("HOME", scratch.path());
    run(&mut command).success()
}

fn hits(printed: &str) -> usize {
    printed.matches("---> Using cache").count()
}

#[test]
fn an_image_of_another_machine_is_the_cache_that_it_is_for_dockerd() {
    let scratch = Scratch::new("caches");
    let context = scratch.folder("context");
    shell(&context, "echo f > f; chmod 644 f; touch -d @1700000000 f");
    let write = |dockerfile: &str| std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let archive = scratch.path().join("app.tar");
    write(FIRST);
    {
        let maker = Dockerd::start(&scratch.folder("m"), &scratch.folder("maker"), &Options::default());
        maker.docker(&["import", "-c", "ENV PATH=/bin", text(&base_tar(&scratch)), BASE]);
        old_docker(&scratch, &maker, &["build", "--network", "none", "-t", "app:1", text(&context)]);
        maker.docker(&["save", "-o", text(&archive), BASE, "app:1"]);
    }
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("docker"), &Options::default());
    let shale = Shale::new(&scratch.folder("shale"));
    docker.docker(&["load", "-i", text(&archive)]);
    shale.shale(&["load", "-i", text(&archive)]);
    let id = |peer: &dyn Fn(&[&str]) -> String| peer(&["image", "inspect", "-f", "{{.Id}}", "built"]);
    let docker_words = |words: &[&str]| docker.docker(words);
    let shale_words = |words: &[&str]| shale.shale(words);
    let app = shale.shale(&["image", "inspect", "-f", "{{.Id}}", "app:1"]);
    // The whole image; all but its last two steps, whose layers are made anew; nothing, because ENV is another one.
    for (dockerfile, expected) in
        [(FIRST.to_owned(), 5), (FIRST.replace("echo y", "echo z"), 3), (FIRST.replace("a=b", "a=c"), 0)]
    {
        write(&dockerfile);
        let flags = ["--network", "none", "--cache-from", "app:1", "-t", "built", text(&context)];
        let docker_printed = old_docker(&scratch, &docker, &[&["build"], &flags[..]].concat());
        let shale_printed = shale.shale(&[&["build", "--dialect", "classic"], &flags[..]].concat());
        assert_eq!(hits(&docker_printed), expected, "docker: {docker_printed}");
        assert_eq!(hits(&shale_printed), expected, "shale: {shale_printed}");
        if expected == 5 {
            // The last step is the image itself, not one like it.
            assert_eq!(id(&docker_words), app);
            assert_eq!(id(&shale_words), app);
        }
        let history = ["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Size}}", "built"];
        assert_eq!(shale.shale(&history), docker.docker(&history), "{dockerfile}");
    }
    // A cache that cannot be had makes no build fail; docker says nothing of it.
    write(FIRST);
    let run =
        shale.run(&["build", "--network", "none", "--cache-from", "127.0.0.1:1/no/such", text(&context)]);
    assert!(
        run.is_success() && run.stderr.contains("Warning: no cache from 127.0.0.1:1/no/such"),
        "{}",
        run.describe()
    );
}

/// A context that comes as an archive: the numbers of its owners count, their names and all times do not.
#[test]
fn owners_in_an_archive_count_in_the_cache_as_they_do_for_dockerd() {
    let scratch = Scratch::new("caches-tar");
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("docker"), &Options::default());
    let shale = Shale::new(&scratch.folder("shale"));
    let tar = base_tar(&scratch);
    docker.docker(&["import", text(&tar), BASE]);
    shale.shale(&["import", text(&tar), BASE]);
    let context = scratch.folder("context");
    shell(
        &context,
        "mkdir d; echo a > a; echo b > d/b; printf 'FROM base:1\nCOPY a /a\nCOPY d /d\n' > Dockerfile",
    );
    let pack = |flags: &str| {
        let archive = scratch.path().join("context.tar");
        shell(&context, &format!("tar --sort=name --mtime=@1600000000 {flags} -cf {} .", archive.display()));
        archive
    };
    for (flags, expected) in [
        ("--owner=root:0 --group=root:0", 0),
        ("--owner=root:0 --group=root:0", 2),
        ("--owner=joe:0 --group=root:0", 2),
        ("--owner=root:0 --group=root:0 --mtime=@1700000000", 2),
        ("--owner=root:7 --group=root:0", 0),
        ("--owner=root:0 --group=root:9", 0),
        ("--owner=root:7 --group=root:0 --numeric-owner", 2),
    ] {
        let archive = pack(flags);
        let fed = |mut command: Command| {
            let file = std::fs::File::open(&archive).expect("made above");
            let output = command.stdin(file).output().expect("the program starts");
            assert!(output.status.success(), "{flags}: {}", String::from_utf8_lossy(&output.stderr));
            hits(&String::from_utf8_lossy(&output.stdout))
        };
        let mut theirs = Command::new(old_client());
        let host = format!("unix://{}", docker.socket().display());
        theirs.args(["--host", &host, "build", "-"]).env("DOCKER_BUILDKIT", "0").env("HOME", scratch.path());
        assert_eq!(fed(theirs), expected, "docker: {flags}");
        assert_eq!(fed(shale.command(&["build", "--dialect", "classic", "-"])), expected, "shale: {flags}");
    }
    // Nothing of an owner is copied, so the program's own dialect has no use for it.
    let archive = pack("--owner=root:8 --group=root:0");
    let build = |archive: &Path| {
        let command = format!("{:?} < {}", shale.command(&["build", "-"]), text(archive));
        hits(&shell(scratch.path(), &command))
    };
    build(&archive);
    assert_eq!(build(&pack("--owner=root:9 --group=root:0")), 2);
}

#[test]
fn a_cache_goes_through_a_directory_and_a_registry() {
    let scratch = Scratch::new("caches");
    let tar = base_tar(&scratch);
    let registry = DockerRegistry::start(&scratch.folder("registry"), Access::Open);
    let context = scratch.folder("context");
    let dockerfile = "FROM base:1 AS tool\nRUN echo tool > /tool\nFROM base:1\nRUN echo x > /x\nCOPY --from=tool /tool /tool\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let maker = Shale::new(&scratch.folder("maker"));
    maker.shale(&["import", text(&tar), BASE]);
    let directory = scratch.path().join("cache");
    let whole = format!("type=local,dest={},mode=max", directory.display());
    let name = format!("{}/app:cache", registry.host());
    let pushed = format!("type=registry,ref={name}");
    let build = ["build", "--network", "none"];
    maker.shale(&[&build[..], &["--cache-to", &whole, "--cache-to", &pushed, text(&context)]].concat());
    // The same again takes the place of what is there.
    maker.shale(&[&build[..], &["--cache-to", &whole, text(&context)]].concat());
    let base = scratch.path().join("base-image.tar");
    maker.shale(&["save", "-o", text(&base), BASE]);
    let local = format!("type=local,src={}", directory.display());
    // The directory has both stages, the registry the last one.
    for (source, expected) in [(local.as_str(), 3), (pushed.as_str(), 2)] {
        let user = Shale::new(&scratch.folder(&format!("user-{expected}")));
        user.shale(&["load", "-i", text(&base)]);
        let printed = user.shale(&[&build[..], &["--cache-from", source, text(&context)]].concat());
        assert_eq!(hits(&printed), expected, "{source}: {printed}");
    }
    let other = scratch.folder("other");
    std::fs::write(other.join("precious"), "mine").unwrap();
    let to = format!("type=local,dest={}", other.display());
    let refused = maker.run(&[&build[..], &["--cache-to", &to, text(&context)]].concat());
    assert!(refused.stderr.contains("holds something else than a cache"), "{}", refused.describe());
    assert_eq!(std::fs::read_to_string(other.join("precious")).unwrap(), "mine");
}
