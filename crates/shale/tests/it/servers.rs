//! How the servers end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);

/// A server; dropping it ends it.
struct Server {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(words: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shale"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Server { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads one answer without a body.
fn answer(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(connection.read(&mut byte).unwrap(), 1, "cut after {:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn ctrl_c_lets_an_upload_finish() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let mut server =
        Server::start(&["registry", "serve", "--addr", "127.0.0.1:0", "--root", root.to_str().unwrap()]);
    let host = server.line().strip_prefix("Serving a registry on ").unwrap().to_owned();
    let mut connection = TcpStream::connect(&host).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    write!(connection, "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let begun = answer(&mut connection);
    let location = begun
        .lines()
        .find_map(|line| line.to_ascii_lowercase().starts_with("location: ").then(|| &line[10..]));
    let path = location.unwrap().trim_start_matches("http://").trim_start_matches(&host).to_owned();

    // The server asks for the body when it is about to read it, so the request is on its way then.
    write!(
        connection,
        "PATCH {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    assert!(answer(&mut connection).starts_with("HTTP/1.1 100"));
    connection.write_all(b"hello").unwrap();
    server.interrupt();
    let start = Instant::now();
    while TcpStream::connect(&host).is_ok() {
        assert!(start.elapsed() < LIMIT, "the server goes on accepting");
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.write_all(b"world").unwrap();
    let received = answer(&mut connection);
    assert!(received.starts_with("HTTP/1.1 202"), "{received}");
    assert!(received.to_ascii_lowercase().contains("range: 0-9"), "{received}");
    drop(connection);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_a_daemon_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (root, host) = (at("root"), format!("unix://{}", at("sock")));
    let mut server = Server::start(&["--data-root", &root, "daemon", "--host", &host]);
    assert_eq!(server.line(), format!("Serving the Engine API on {host}"));
    server.interrupt();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!directory.path().join("sock").exists());
}
