//! kill -9 at random moments of a build: the store stays sound, nothing is left, and what was complete is used again.
//!
//! `SHALE_TEST_KILLS` sets how often (a full run: 200), `SHALE_TEST_SEED` the moments.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use shale_tests::build::{BASE, base_tar};
use shale_tests::data_root::DataRoot;
use shale_tests::peer::Shale;
use shale_tests::random::{Random, number};
use shale_tests::scratch::Scratch;

const DOCKERFILE: &str = "FROM base:1 AS one
COPY round /round
RUN --mount=type=cache,target=/cache sleep 0.1; echo 1 > /cache/x; mkdir -p /big; dd if=/dev/zero of=/big/f bs=64k count=16
RUN rm -r /t; echo done > /one
FROM base:1 AS two
COPY round /round
RUN sleep 0.2 & echo $MARK; sleep 0.3; echo two > /two
FROM base:1
COPY --from=one / /from-one
COPY --from=two /two /two
WORKDIR /new
RUN sleep 0.1; echo end > /end
CMD [\"true\"]
";

/// How long the guard of a killed build may take to end what the build started, on a busy machine.
const CLEANUP_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_killed_build_leaves_nothing_but_what_is_complete() {
    let scratch = Scratch::new("buildkill");
    let shale = Shale::new(&scratch.folder("shale"));
    let tar = base_tar(&scratch);
    shale.shale(&["import", "-c", "ENV PATH=/bin", tar.to_str().expect("scratch paths are text"), BASE]);
    let context = scratch.folder("context");
    // Processes are found again by this variable of theirs.
    let mark = format!("SHALE_TEST_MARK={}", scratch.path().display());
    fs::write(context.join("Dockerfile"), DOCKERFILE.replace("CMD", &format!("ENV {mark}\nCMD")))
        .expect("ours");
    let mut arguments = vec!["build".to_owned(), "--build-arg".to_owned(), "MARK=x".to_owned()];
    arguments.extend(["-t".to_owned(), "built:1".to_owned(), context.display().to_string()]);
    fs::write(context.join("round"), "first").expect("ours");
    let start = Instant::now();
    shale.shale(&arguments);
    let span = u64::try_from(start.elapsed().as_micros()).expect("it is short");
    let mut moments = Random::of_this_run();
    let mut interrupted = 0;
    for round in 0..number("SHALE_TEST_KILLS", 12) {
        fs::write(context.join("round"), round.to_string()).expect("ours");
        let delay = Duration::from_micros(moments.below(span));
        let when = format!("round {round}: killed after {delay:?}");
        let said = scratch.path().join("said");
        let mut child = shale
            .command(&arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&said).expect("ours"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // A kill at a random moment is the subject here, so this sleep is not a wait for something.
        std::thread::sleep(delay);
        child.kill().expect("the child is ours");
        let was_interrupted = !child.wait().expect("the child is ours").success();
        interrupted += u64::from(was_interrupted);
        let said = fs::read_to_string(&said).expect("ours");
        wait_until_nothing_is_left(&scratch, &said, &when);
        let verdict = shale.run(&["fsck"]);
        assert!(verdict.is_success(), "{when}: {}", verdict.describe());
        let again = shale.shale(&arguments);
        for id in finished_steps(&said) {
            assert!(finished_steps(&again).contains(&id), "{when}: step {id} is built anew\n{said}\n{again}");
        }
    }
    assert!(interrupted > 0, "no kill came in time");
    shale.shale(&["gc"]);
    assert_eq!(DataRoot::read(shale.data_root()).leftovers, Vec::<String>::new());
}

/// The images that a build said it had made: ` ---> 0123456789ab`.
fn finished_steps(said: &str) -> Vec<&str> {
    let is_id = |word: &&str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    said.lines().filter_map(|line| line.strip_prefix(" ---> ")).filter(is_id).collect()
}

/// The containers that a build said it had started.
fn containers(said: &str) -> Vec<&str> {
    said.lines().filter_map(|line| line.strip_prefix(" ---> Running in ")).collect()
}

#[track_caller]
fn wait_until_nothing_is_left(scratch: &Scratch, said: &str, when: &str) {
    let start = Instant::now();
    loop {
        let mut left = processes(scratch.path());
        left.extend(mounts(scratch.path()));
        left.extend(cgroups(&containers(said)));
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < CLEANUP_LIMIT, "{when}: left are {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes that were started with the scratch directory in their arguments or environment, or whose root is in it.
fn processes(scratch: &Path) -> Vec<String> {
    let scratch = scratch.display().to_string();
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("there is /proc").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let root = fs::read_link(entry.path().join("root")).unwrap_or_default();
        let words = String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).into_owned();
        if words.contains(&scratch) || root.starts_with(&scratch) {
            found.push(format!(
                "process {pid}: {}",
                String::from_utf8_lossy(&read("cmdline")).replace('\0', " ")
            ));
        }
    }
    found
}

fn mounts(scratch: &Path) -> Vec<String> {
    let scratch = scratch.display().to_string();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("there is /proc");
    table.lines().filter(|line| line.contains(&scratch)).map(|line| format!("mount {line}")).collect()
}

fn cgroups(containers: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if containers.iter().any(|container| name.starts_with(container)) {
                found.push(format!("cgroup {}", entry.path().display()));
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found
}
