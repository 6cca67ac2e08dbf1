//! `shale daemon` with a data root of its own, and docker commands in front of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Shale;
use crate::http;
use crate::program::Server;

/// A running daemon; dropping it stops it.
#[derive(Debug)]
pub struct ShaleDaemon {
    /// The program on the same data root.
    pub shale: Shale,
    server: Option<Server>,
    socket: PathBuf,
    log: PathBuf,
}

/// For a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

impl ShaleDaemon {
    /// Starts a daemon on `directory/root`; the path of `directory` must be short.
    ///
    /// # Panics
    /// When it does not answer in time; the message has its log.
    #[track_caller]
    pub fn start(directory: &Path) -> Self {
        Self::start_as(directory, Shale::new(directory))
    }

    /// Starts a daemon for which `folder` stands in the place of `/etc/docker`.
    ///
    /// # Panics
    /// As [`ShaleDaemon::start`].
    #[track_caller]
    pub fn start_with_system_config(directory: &Path, folder: &Path) -> Self {
        Self::start_as(directory, Shale::new(directory).with_system_config(folder))
    }

    #[track_caller]
    fn start_as(directory: &Path, shale: Shale) -> Self {
        let mut daemon =
            Self { shale, server: None, socket: directory.join("sock"), log: directory.join("log") };
        daemon.start_again();
        daemon
    }

    /// Starts it again on the same data root, after [`ShaleDaemon::kill`].
    #[track_caller]
    pub fn start_again(&mut self) {
        let root = self.shale.data_root().display().to_string();
        let host = format!("unix://{}", self.socket.display());
        let (program, mut arguments) = self.shale.invocation();
        arguments.extend(["--data-root", &root, "daemon", "--host", &host].map(OsString::from));
        let mut server = Server::start(&program, &arguments, &[], &self.log);
        let socket = self.socket.clone();
        let answers = server.wait_until(START_LIMIT, || http::unix_answers(&socket, "/_ping"));
        assert!(answers, "shale daemon does not answer:\n{}", server.log());
        self.server = Some(server);
    }

    /// Path of the API socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a daemon runs until it is dropped").pid()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill();
        }
    }
}

impl Drop for ShaleDaemon {
    fn drop(&mut self) {
        // Containers outlive their daemon; those of a test do not outlive the test.
        let left = self.shale.run(&["ps", "-aq"]).stdout;
        for id in left.split_whitespace() {
            self.shale.run(&["rm", "-f", id]);
        }
        if let Some(mut server) = self.server.take() {
            server.stop(Duration::from_secs(30));
        }
    }
}
