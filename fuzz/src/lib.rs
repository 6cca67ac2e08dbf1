//! A daemon in the fuzzer's process, and the plainest client there is.

use std::path::Path;
use std::time::Duration;

use shale_daemon::{Config, Experiments, Identity, Limits, Server, SocketAccess};
use shale_engine::Engine;
use shale_registry_client::ClientOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// An answer that takes longer hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Streams without an end are read for so long.
const STREAM_LIMIT: Duration = Duration::from_millis(20);
/// What is beside the root, and must stay as it is.
const CANARY: &str = "canary";

/// A daemon on a root of its own, beside which nothing may change.
pub struct Daemon {
    outer: TempDir,
    runtime: Runtime,
    server: Server,
}

impl Default for Daemon {
    fn default() -> Daemon {
        // Threads that are started from here on have no network but a loopback that is down.
        // SAFETY: no descriptor or memory is given up, only the view of the network.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("the fuzzer is root");
        let outer = tempfile::tempdir().expect("a scratch directory");
        std::fs::write(outer.path().join(CANARY), CANARY).expect("the scratch directory is ours");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let engine = Engine::open(&outer.path().join("root")).expect("a new root");
        let mut registries = ClientOptions::default();
        registries.retries.attempts_max = 1;
        let config = Config {
            hosts: Vec::new(),
            access: SocketAccess { mode: 0o600, group: None },
            tls: None,
            plain_loopback: false,
            metrics: None,
            registries,
            identity: Identity { version: "0".to_owned(), commit: String::new() },
            experiments: Experiments::Served,
            supervisor: None,
            limits: Limits::default(),
        };
        let server = runtime.block_on(Server::bind(engine, config)).expect("it listens nowhere");
        Daemon { outer, runtime, server }
    }
}

impl Daemon {
    /// Sends one request; returns the answer's status and what came of its body. No answer at all is status 0.
    ///
    /// # Panics
    /// When the answer does not begin in time.
    pub fn send(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let length = body.len();
        let head = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let answer = self.runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let (mut reading, mut writing) = tokio::io::split(ours);
            let write = async {
                // An answer may come before the body was read.
                let _ = writing.write_all(head.as_bytes()).await;
                let _ = writing.write_all(body).await;
                std::future::pending::<()>().await;
            };
            let serve = async {
                self.server.serve_stream(theirs).await;
                std::future::pending::<()>().await;
            };
            let read = async {
                let mut answer = Vec::new();
                let first = tokio::time::timeout(ANSWER_LIMIT, reading.read_buf(&mut answer)).await;
                let _ = first.expect("an answer begins in time");
                while let Ok(Ok(1..)) = tokio::time::timeout(STREAM_LIMIT, reading.read_buf(&mut answer)).await {}
                answer
            };
            tokio::select! {
                answer = read => answer,
                () = write => unreachable!("writing pends at its end"),
                () = serve => unreachable!("serving pends at its end"),
            }
        });
        let text = String::from_utf8_lossy(&answer);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    /// Asserts that nothing was made or changed beside the root.
    pub fn check_surroundings(&self) {
        let outer: &Path = self.outer.path();
        let names = std::fs::read_dir(outer).expect("it is there").count();
        assert_eq!(names, 2, "nothing lands beside the root");
        let canary = std::fs::read(outer.join(CANARY)).expect("the canary lives");
        assert_eq!(canary, CANARY.as_bytes());
    }
}
