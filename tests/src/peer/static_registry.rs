//! A registry that serves given bytes, whatever they are, and remembers who asked for what.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::sha256_hex;

/// Where the bytes of an answer come from.
#[derive(Debug, Clone)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of a file, read for each answer.
    File(PathBuf),
}

#[derive(Debug)]
struct State {
    /// Path below `/v2/` to media type and body.
    answers: Mutex<HashMap<String, (String, Body)>>,
    requests: Mutex<Vec<String>>,
    is_stopping: AtomicBool,
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct StaticRegistry {
    port: u16,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

impl StaticRegistry {
    /// Starts a server that knows nothing yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(State {
            answers: Mutex::default(),
            requests: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that hangs up is no fault of the server.
                    let _ = serve(&stream, &shared);
                });
            }
        });
        Self { port, state, listener: Some(listener) }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Serves `bytes` as the manifest `reference` (a tag, or a digest that need not be true), and by its true digest.
    pub fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let digest = format!("sha256:{}", sha256_hex(bytes));
        for reference in [reference, digest.as_str()] {
            self.put(&format!("{repository}/manifests/{reference}"), media_type, Body::Bytes(bytes.to_vec()));
        }
    }

    /// Serves a blob under `digest`, which need not be true.
    pub fn put_blob(&self, repository: &str, digest: &str, body: Body) {
        self.put(&format!("{repository}/blobs/{digest}"), "application/octet-stream", body);
    }

    fn put(&self, path: &str, media_type: &str, body: Body) {
        let mut answers = self.state.answers.lock().expect("no handler panics with the lock");
        answers.insert(path.to_owned(), (media_type.to_owned(), body));
    }

    /// Each request so far as `METHOD /path` or `METHOD /path RANGE`.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().expect("no handler panics with the lock").clone()
    }
}

impl Drop for StaticRegistry {
    fn drop(&mut self) {
        self.state.is_stopping.store(true, Ordering::SeqCst);
        // The listener sees the flag at its next connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut range, mut length) = (None, 0);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => range = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let shown = match &range {
            Some(range) => format!("{method} {target} {range}"),
            None => format!("{method} {target}"),
        };
        state.requests.lock().expect("no handler panics with the lock").push(shown);
        answer(stream, state, method, target, range.as_deref())?;
    }
}

fn answer(
    mut stream: &TcpStream,
    state: &State,
    method: &str,
    target: &str,
    range: Option<&str>,
) -> std::io::Result<()> {
    let path = target.split('?').next().unwrap_or_default();
    if matches!(path, "/v2" | "/v2/") {
        return stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    }
    let known = path.strip_prefix("/v2/").and_then(|path| {
        let answers = state.answers.lock().expect("no handler panics with the lock");
        answers.get(path).or_else(|| answers.get(&path.replace("%3A", ":"))).cloned()
    });
    let Some((media_type, body)) = known.filter(|_| matches!(method, "GET" | "HEAD")) else {
        let code = if path.contains("/manifests/") { "MANIFEST_UNKNOWN" } else { "BLOB_UNKNOWN" };
        let body = format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"unknown\"}}]}}");
        let content = if method == "HEAD" { "" } else { body.as_str() };
        let head = format!(
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        return stream.write_all(format!("{head}{content}").as_bytes());
    };
    let bytes = match body {
        Body::Bytes(bytes) => bytes,
        Body::File(path) => std::fs::read(path)?,
    };
    let start = range
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|start| *start < bytes.len());
    let (status, span) = match start {
        Some(start) => {
            let last = bytes.len() - 1;
            let total = bytes.len();
            (format!("206 Partial Content\r\nContent-Range: bytes {start}-{last}/{total}"), &bytes[start..])
        }
        None => ("200 OK".to_owned(), bytes.as_slice()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n",
        span.len()
    );
    stream.write_all(head.as_bytes())?;
    if method == "GET" {
        stream.write_all(span)?;
    }
    Ok(())
}
