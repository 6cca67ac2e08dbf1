//! `shale tour`: the whole story in a minute, without network and without root, in a temporary directory.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use anyhow::{Context as _, anyhow, bail};
use rustix::io::{FdFlags, fcntl_setfd};

use super::Failure;
use crate::terminal::output::EXIT_BROKEN_PIPE;
use crate::{EXIT_FAILURE, EXIT_INTERRUPTED};

const DOCKERFILE: &str = r#"FROM scratch
COPY greeting /etc/greeting
COPY site /srv/site
LABEL org.example.tour="shale"
CMD ["/bin/show", "/etc/greeting"]
"#;

/// Runs the tour: every step is a command of this program, shown before what it prints.
pub fn run() -> Result<(), Failure> {
    let tour = Tour::start()?;
    tour.say(
        "An image is a stack of layers and a config. Here are the files of a small one, and a Dockerfile:",
    );
    tour.show("Dockerfile", DOCKERFILE);
    tour.say("Build it into a store. The store is a directory in Docker's own layout; no daemon runs.");
    let image = format!("{}/tour/hello:1", tour.registry);
    tour.shale("store", &["build", "--progress", "plain", "-t", &image, "context"])?;
    tour.shale("store", &["images"])?;
    tour.say("Push it to a registry. The one that listens here is `shale registry serve`, the same program.");
    tour.shale("store", &["push", &image])?;
    tour.say("Pull it into another, empty store, as another machine would.");
    tour.shale("fresh", &["pull", &image])?;
    tour.shale("fresh", &["images", "--digests"])?;
    tour.shale("fresh", &["history", &image])?;
    tour.say("So many hashes: which is which? `explain` takes any of them.");
    tour.shale("fresh", &["explain", &image])?;
    tour.say("Every byte can be checked against those hashes, at any time.");
    tour.shale("fresh", &["fsck"])?;
    tour.say("That was all. The temporary directory goes away now; `shale --help` lists the commands.");
    Ok(())
}

/// The word by which the program starts itself as the guard of a tour.
pub const GUARD: &str = "__tour-guard";
const ANNOUNCEMENT: &str = "Serving a registry on ";

/// A tour under way. Its directory and its registry belong to a guard, a process that removes both when the tour has ended,
/// however that came: killed, or without a reader of its output.
struct Tour {
    program: PathBuf,
    directory: PathBuf,
    registry: String,
    guard: Child,
    /// The guard waits for its end. The commands of the tour have it too, so none is at work when the directory goes.
    lifeline: Option<PipeWriter>,
}

impl Tour {
    fn start() -> Result<Tour, Failure> {
        let program = std::env::current_exe().context("could not find this program")?;
        let directory = std::env::temp_dir().join(format!("shale-tour-{}", std::process::id()));
        let (waiting, lifeline) = std::io::pipe().context("could not make a pipe")?;
        let mut guard = Command::new(&program)
            .args([OsStr::new(GUARD), directory.as_os_str()])
            .stdin(waiting)
            .stdout(Stdio::piped())
            // Ctrl-C is for the tour.
            .process_group(0)
            .spawn()
            .context("could not start this program")?;
        // Only now, so that the guard does not hold its own pipe open.
        fcntl_setfd(&lifeline, FdFlags::empty()).context("could not keep a pipe open")?;
        let mut line = String::new();
        BufReader::new(guard.stdout.take().expect("the output is piped"))
            .read_line(&mut line)
            .context("could not read what the registry says")?;
        let registry = line.trim().strip_prefix(ANNOUNCEMENT).unwrap_or_default().to_owned();
        let tour = Tour { program, directory, registry, guard, lifeline: Some(lifeline) };
        if tour.registry.is_empty() {
            // The guard has said why.
            return Err(Failure::Reported { exit_code: EXIT_FAILURE });
        }
        write_files(&tour.directory.join("context"))?;
        Ok(tour)
    }

    fn say(&self, text: &str) {
        println!("\n── {text}\n");
    }

    fn show(&self, name: &str, content: &str) {
        println!("   {name}:");
        for line in content.lines() {
            println!("     {line}");
        }
    }

    /// Runs the program on one of the stores, after showing the command.
    fn shale(&self, store: &str, arguments: &[&str]) -> Result<(), Failure> {
        println!("$ shale --data-root {store} {}", arguments.join(" "));
        std::io::stdout().flush()?;
        let status = Command::new(&self.program)
            .args(["--data-root", store])
            .args(arguments)
            .current_dir(&self.directory)
            .status()
            .context("could not start this program")?;
        // Nobody reads any more, or Ctrl-C: no failure of the command.
        if let Some(exit_code @ (EXIT_BROKEN_PIPE | EXIT_INTERRUPTED)) =
            status.code().and_then(|code| u8::try_from(code).ok())
        {
            return Err(Failure::Reported { exit_code });
        }
        println!();
        if status.success() { Ok(()) } else { Err(anyhow!("shale {} failed: {status}", arguments[0]).into()) }
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.guard.wait();
    }
}

/// The life of a guard: makes the directory, serves a registry in it, and removes it when standard input ends.
pub fn guard(directory: &Path) -> ExitCode {
    let guarded = std::fs::create_dir(directory)
        .with_context(|| format!("could not create {}", directory.display()))
        .and_then(|()| {
            let served = serve_until_end(directory);
            // Layers may hold files of users that exist in the namespace alone; the program is root there.
            let _ = crate::user_namespace::enter_if_not_root();
            let removed = std::fs::remove_dir_all(directory);
            served.and(removed.with_context(|| format!("could not remove {}", directory.display())))
        });
    match guarded {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not with `eprintln!`: its reader may be gone as well.
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve_until_end(directory: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe().context("could not find this program")?);
    command
        .args(["registry", "serve", "--root", "registry", "--addr", "127.0.0.1:0"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // Settings for another registry.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"REGISTRY_")) {
        command.env_remove(name);
    }
    let mut server = command.spawn().context("could not start the registry")?;
    let served = announce(&mut server).and_then(|_output| {
        // The output stays open, so that the server can go on writing.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("could not wait for the end")
    });
    let _ = server.kill();
    let _ = server.wait();
    served.map(drop)
}

/// Passes on where the server listens; returns the rest of its output.
fn announce(server: &mut Child) -> anyhow::Result<BufReader<ChildStdout>> {
    let mut output = BufReader::new(server.stdout.take().expect("the output is piped"));
    let mut line = String::new();
    output.read_line(&mut line).context("could not read what the registry says")?;
    if !line.starts_with(ANNOUNCEMENT) {
        bail!("the registry did not start");
    }
    write!(std::io::stdout(), "{line}").and_then(|()| std::io::stdout().flush())?;
    Ok(output)
}

fn write_files(context: &Path) -> anyhow::Result<()> {
    let site = context.join("site");
    std::fs::create_dir_all(&site).context("could not create the build context")?;
    std::fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    std::fs::write(context.join("greeting"), "Hello from a layer.\n")?;
    std::fs::write(site.join("index.html"), "<!doctype html><title>tour</title><p>Hello.\n")?;
    std::fs::write(site.join("logo.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>\n")?;
    Ok(())
}
