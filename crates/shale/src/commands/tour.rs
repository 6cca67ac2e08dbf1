//! `shale tour`: the whole story in a minute, without network and without root, in a temporary directory.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, anyhow, bail};

use super::Failure;

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

/// The temporary directory and the registry in it; both go when this is dropped.
struct Tour {
    program: PathBuf,
    directory: PathBuf,
    registry: String,
    server: Child,
    /// Kept open, so that the server can go on writing.
    _server_output: BufReader<ChildStdout>,
}

impl Tour {
    fn start() -> anyhow::Result<Tour> {
        let program = std::env::current_exe().context("could not find this program")?;
        let directory = std::env::temp_dir().join(format!("shale-tour-{}", std::process::id()));
        std::fs::create_dir(&directory)
            .with_context(|| format!("could not create {}", directory.display()))?;
        write_files(&directory.join("context"))?;
        let mut server = Command::new(&program)
            .args(["registry", "serve", "--root", "registry", "--addr", "127.0.0.1:0"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the registry")?;
        let mut output = BufReader::new(server.stdout.take().expect("the output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).context("could not read what the registry says")?;
        let Some(registry) = line.trim().strip_prefix("Serving a registry on ").map(str::to_owned) else {
            let _ = server.kill();
            bail!("the registry did not start");
        };
        Ok(Tour { program, directory, registry, server, _server_output: output })
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
    fn shale(&self, store: &str, arguments: &[&str]) -> anyhow::Result<()> {
        println!("$ shale --data-root {store} {}", arguments.join(" "));
        std::io::stdout().flush()?;
        let status = Command::new(&self.program)
            .args(["--data-root", store])
            .args(arguments)
            .current_dir(&self.directory)
            .status()
            .context("could not start this program")?;
        println!();
        if status.success() { Ok(()) } else { Err(anyhow!("shale {} failed: {status}", arguments[0])) }
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        // Layers may hold files of users that exist in the namespace alone; the program is root there.
        let _ = crate::user_namespace::enter_if_not_root();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
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
