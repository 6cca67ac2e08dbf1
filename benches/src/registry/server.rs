//! The servers that are measured, each on a folder of its own, and what they cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use shale_tests::http::{self, free_port};
use shale_tests::program::{self, resident_peak_kib};
use shale_tests::sha256_hex;

use crate::load::{self, Image};

/// Everything that can be measured.
pub const PEERS: [&str; 5] = ["shale", "docker-registry", "distribution", "zot", "nginx"];

/// A running server; dropping it stops it.
pub struct Server {
    name: &'static str,
    folder: PathBuf,
    port: u16,
    process: program::Server,
    started: Duration,
}

/// Whether the program of `peer` is on this machine.
pub fn is_here(peer: &str) -> bool {
    program_of(peer).is_ok_and(|program| program.is_file())
}

/// The program of `peer`.
pub fn program_of(peer: &str) -> Result<PathBuf> {
    let named = |variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).with_context(|| format!("{variable} is not set"))
    };
    Ok(match peer {
        "shale" => named("SHALE_BIN")?,
        "distribution" => named("SHALE_BENCH_DISTRIBUTION")?,
        "zot" => named("SHALE_BENCH_ZOT")?,
        "docker-registry" => "/usr/bin/docker-registry".into(),
        "nginx" => "/usr/sbin/nginx".into(),
        other => bail!("there is no peer {other}"),
    })
}

impl Server {
    /// Starts the server called `name` on `folder`, which may hold what it kept there before.
    pub fn start(name: &str, folder: &Path) -> Result<Self> {
        let name = PEERS.into_iter().find(|peer| *peer == name).context("there is no such peer")?;
        let port = free_port();
        let arguments = configure(name, folder, port)?;
        let began = Instant::now();
        let environment = [("OTEL_TRACES_EXPORTER", "none")];
        let process =
            program::Server::start(&program_of(name)?, &arguments, &environment, &folder.join("log"));
        let server = Self { name, folder: folder.to_owned(), port, process, started: Duration::ZERO };
        let limit = Duration::from_secs(60);
        while http::get(&server.host(), "/v2/").is_err() {
            ensure!(began.elapsed() < limit, "{name} does not answer:\n{}", server.process.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { started: began.elapsed(), ..server })
    }

    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From start to the first answer.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Process id of the server, or of its first process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Puts an image into the server: nginx finds files, the others are pushed to.
    pub fn publish(&self, config: &[u8], layer: &[u8]) -> Result<Image> {
        let manifest = load::manifest(config, layer);
        let image = Image::new("bench/app", "1", manifest.as_bytes(), config, layer);
        if self.name == "nginx" {
            for (path, bytes) in [
                (&image.by_tag, manifest.as_bytes()),
                (&image.by_digest, manifest.as_bytes()),
                (&image.config, config),
                (&image.layer, layer),
            ] {
                let file = self.folder.join("files").join(path.trim_start_matches('/'));
                fs::create_dir_all(file.parent().context("it has a folder")?)?;
                fs::write(file, bytes)?;
            }
            return Ok(image);
        }
        for blob in [config, layer] {
            let mut stream = load::connect(&self.host())?;
            load::push(&mut stream, &self.host(), "bench/app", &sha256_hex(blob), &[blob])?;
        }
        load::put_manifest(&self.host(), "bench/app", "1", manifest.as_bytes())?;
        Ok(image)
    }
}

/// Writes the configuration; returns the arguments.
fn configure(name: &str, folder: &Path, port: u16) -> Result<Vec<String>> {
    fs::create_dir_all(folder.join("files"))?;
    let shown = folder.display();
    let (file, text, words): (&str, String, &[&str]) = match name {
        "shale" => (
            "shale.toml",
            // Garbage goes at once, as with `garbage-collect --delete-untagged` of the distributions.
            format!(
                "root = \"{shown}/root\"\naddress = \"127.0.0.1:{port}\"\naccess_log = false\n\
                 gc.grace = \"0s\"\ngc.untagged_after = \"0s\"\ngc.interval = \"24h\"\n"
            ),
            &["registry", "serve", "--config", "FILE"],
        ),
        "docker-registry" | "distribution" => (
            "config.yml",
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
                 filesystem: {{rootdirectory: {shown}/root}}\n  delete: {{enabled: true}}\n  \
                 cache: {{blobdescriptor: inmemory}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
            ),
            &["serve", "FILE"],
        ),
        "zot" => (
            "zot.json",
            format!(
                "{{\"storage\": {{\"rootDirectory\": \"{shown}/root\", \"commit\": true}}, \
                 \"http\": {{\"address\": \"127.0.0.1\", \"port\": \"{port}\"}}, \"log\": {{\"level\": \"error\"}}}}"
            ),
            &["serve", "FILE"],
        ),
        _ => (
            "nginx.conf",
            format!(
                "user root; worker_processes 2; daemon off; pid {shown}/pid; error_log {shown}/errors;\n\
                 events {{ worker_connections 12000; }}\nworker_rlimit_nofile 20000;\n\
                 http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
                 open_file_cache max=100; default_type application/octet-stream;\n\
                 server {{ listen 127.0.0.1:{port}; root {shown}/files; }} }}\n"
            ),
            &["-c", "FILE"],
        ),
    };
    let path = folder.join(file);
    fs::write(&path, text)?;
    Ok(words.iter().map(|word| word.replace("FILE", &path.display().to_string())).collect())
}

/// A measurement of processor time and memory.
pub struct Charge {
    cpu_s: f64,
}

impl Charge {
    /// Begins to count.
    pub fn begin(server: &Server) -> Self {
        for pid in processes(server.pid()) {
            // Resets the high-water mark of resident memory.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        Self { cpu_s: cpu_s(server.pid()) }
    }

    /// Returns the seconds of processor time since the beginning, and the most megabytes that were resident.
    pub fn end(self, server: &Server) -> (f64, f64) {
        let peak_kib: u64 = processes(server.pid()).into_iter().map(resident_peak_kib).sum();
        (cpu_s(server.pid()) - self.cpu_s, peak_kib as f64 / 1000.0)
    }
}

/// A process and its children: nginx works in two of them.
fn processes(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|text| text.parse().ok())).collect()
}

fn cpu_s(pid: u32) -> f64 {
    let of = |pid: u32| -> u64 {
        // Nanoseconds of every thread; the ticks of /proc/PID/stat are too coarse for short measurements.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        times.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
    };
    processes(pid).into_iter().map(of).sum::<u64>() as f64 / 1e9
}
