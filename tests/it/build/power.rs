//! Power cuts: a finished build is there afterwards, and of one that was cut every step is whole or not there.
//!
//! Tried by hand: without the last sync of the names the first test fails, without that of a step's files the second.
//!
//! `SHALE_TEST_CUTS` sets how often (a full run: 100), `SHALE_TEST_SEED` the moments.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use shale_tests::build::{BASE, base_tar};
use shale_tests::disk::Disk;
use shale_tests::peer::Shale;
use shale_tests::random::{Random, number};
use shale_tests::scratch::Scratch;

/// Layers and steps without one, two stages at the same time, and one that is fetched from the other.
const DOCKERFILE: &str = "FROM base:1 AS one
ENV a=b
COPY round /round
RUN mkdir -p /big; dd if=/dev/zero of=/big/f bs=64k count=4 2>/dev/null; rm -r /t
LABEL l=1
RUN true
FROM base:1
LABEL l=2
RUN echo two > /two
COPY --from=one /big /big
WORKDIR /new
RUN cat /two > end
CMD [\"true\"]
";

struct Context {
    folder: String,
    tar: String,
}

impl Context {
    fn make(scratch: &Scratch) -> Context {
        let folder = scratch.folder("context");
        fs::write(folder.join("Dockerfile"), DOCKERFILE).expect("ours");
        fs::write(folder.join("round"), "round").expect("ours");
        let text = |path: &Path| path.to_str().expect("scratch paths are text").to_owned();
        Context { folder: text(&folder), tar: text(&base_tar(scratch)) }
    }

    /// The program on a disk, with the base image.
    fn start(&self, scratch: &Scratch, disk: &Disk) -> Shale {
        let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
        shale.shale(&["import", "-c", "ENV PATH=/bin", &self.tar, BASE]);
        shale
    }

    fn words(&self) -> [&str; 5] {
        ["build", "--quiet", "--network", "none", &self.folder]
    }
}

#[track_caller]
fn check_built(shale: &Shale, image: &str) {
    let script = "pwd; cat end; wc -c /big/f";
    let printed = shale.shale(&["run", "--rm", "--network", "none", image.trim(), "sh", "-c", script]);
    assert_eq!(printed, "/new\ntwo\n262144 /big/f\n");
    // The steps are there with their parents: the line of each names an image.
    let steps = shale.shale(&["history", "--quiet", "--no-trunc", image.trim()]);
    assert_eq!(steps.lines().filter(|id| id.starts_with("sha256:")).count(), 7, "{steps}");
}

#[test]
fn a_finished_build_survives_a_power_cut() {
    let scratch = Scratch::new("build-cut");
    let context = Context::make(&scratch);
    let disk = Disk::make(scratch.path(), "disk", "200M", &[]);
    let image = context.start(&scratch, &disk).shale(&context.words());
    let disk = disk.cut_power();
    let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
    shale.check_sound("after the cut");
    check_built(&shale, &image);
    // All of it is the cache of the next build.
    assert_eq!(shale.shale(&context.words()), image);
}

#[test]
fn a_build_that_a_power_cut_ended_leaves_whole_steps() {
    let scratch = Scratch::new("build-cuts");
    let context = Context::make(&scratch);
    let mut span = Duration::from_secs(2);
    let mut moments = Random::of_this_run();
    for round in 0..number("SHALE_TEST_CUTS", 5) {
        let disk = Disk::make(scratch.path(), &format!("disk{round}"), "200M", &[]);
        let shale = context.start(&scratch, &disk);
        let delay = Duration::from_micros(moments.below(span.as_micros().try_into().expect("it is short")));
        let when = format!("round {round}: cut after {delay:?}");
        let mut child = shale
            .command(&context.words())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // A cut at a random moment is the subject here, so this sleep is not a wait for something.
        std::thread::sleep(delay);
        child.kill().expect("the child is ours");
        child.wait().expect("the child is ours");
        let disk = disk.cut_power();
        let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
        shale.check_sound(&when);
        let start = Instant::now();
        let image = shale.shale(&context.words());
        // The moments of the next round are spread over what a build takes on this machine.
        span = span.min(start.elapsed().max(Duration::from_millis(200)));
        check_built(&shale, &image);
        shale.shale(&["gc"]);
        shale.check_sound(&when);
    }
}
