//! A real dockerd on its own data root, and the docker command in front of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::program::{Finished, Server, require, run};
use crate::scratch::unmount_below;

/// How a daemon differs from a plain one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `host:port` of registries to be spoken to without TLS; loopback always is.
    pub insecure_registries: Vec<String>,
    /// URL of a mirror of Docker Hub.
    pub mirror: Option<String>,
}

/// A running daemon; dropping it stops it and unmounts what it left.
#[derive(Debug)]
pub struct Dockerd {
    server: Option<Server>,
    directory: PathBuf,
    data_root: PathBuf,
}

/// The managed containerd needs a moment on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

impl Dockerd {
    /// Starts a daemon on `data_root`; its socket, log and configuration go to `directory`, whose path must be short.
    ///
    /// # Panics
    /// When dockerd is missing, does not start, or is not answering in time; the message has its log.
    #[track_caller]
    pub fn start(directory: &Path, data_root: &Path, options: &Options) -> Self {
        std::fs::create_dir_all(directory.join("config")).expect("the daemon's directory can be made");
        let mut daemon =
            Self { server: None, directory: directory.to_owned(), data_root: data_root.to_owned() };
        // After a kill the containerd of the old daemon may hold its lock for a moment; a second try works.
        for attempt in 1.. {
            let mut server = daemon.launch(options);
            let socket = daemon.socket();
            if server.wait_until(START_LIMIT, || http::unix_answers(&socket, "/_ping")) {
                daemon.server = Some(server);
                return daemon;
            }
            assert!(attempt < 3, "dockerd does not start:\n{}", server.log());
        }
        unreachable!("the loop returns or panics")
    }

    fn launch(&self, options: &Options) -> Server {
        let _ = std::fs::remove_file(self.directory.join("pid"));
        let mut arguments = vec![
            "--data-root".to_owned(),
            self.data_root.display().to_string(),
            "--exec-root".to_owned(),
            self.directory.join("exec").display().to_string(),
            "--pidfile".to_owned(),
            self.directory.join("pid").display().to_string(),
            // The machine's own /etc/docker/daemon.json must not reach a test.
            "--config-file".to_owned(),
            self.empty_config().display().to_string(),
            "-H".to_owned(),
            format!("unix://{}", self.socket().display()),
            "--iptables=false".to_owned(),
            "--bridge=none".to_owned(),
            "--storage-driver=overlay2".to_owned(),
        ];
        arguments
            .extend(options.insecure_registries.iter().map(|host| format!("--insecure-registry={host}")));
        arguments.extend(options.mirror.iter().map(|url| format!("--registry-mirror={url}")));
        Server::start(&require("dockerd", "docker.io"), &arguments, &[], &self.directory.join("log"))
    }

    fn empty_config(&self) -> PathBuf {
        let path = self.directory.join("daemon.json");
        std::fs::write(&path, "{}").expect("the daemon's directory is ours");
        path
    }

    /// Path of the API socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// Path of the data root.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a daemon runs until it is dropped").pid()
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        self.server.as_ref().expect("a daemon runs until it is dropped").log()
    }

    /// A docker command for this daemon, with an empty configuration and the classic builder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(require("docker", "docker.io"));
        command
            .arg("--config")
            .arg(self.directory.join("config"))
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(arguments)
            .env("DOCKER_BUILDKIT", "0")
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs a docker command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }

    /// Standard output of a docker command that must succeed.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.run(arguments).success()
    }

    /// Kills the daemon as a crash would.
    pub fn kill(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill();
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop(Duration::from_secs(30));
        }
        unmount_below(&self.data_root);
        unmount_below(&self.directory);
    }
}
