//! A daemon on a new root, and the plainest client there is.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;
use shale_daemon::{Config, Experiments, Host, Identity, Limits, Server, SocketAccess};
use shale_engine::Engine;
use shale_registry_client::ClientOptions;

/// A daemon that runs until it is dropped.
pub struct Running {
    pub directory: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<()>>,
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    /// The chunks, or the whole body as one.
    pub chunks: Vec<Vec<u8>>,
}

pub fn config(hosts: Vec<Host>) -> Config {
    Config {
        hosts,
        access: SocketAccess { mode: 0o600, group: None },
        tls: None,
        plain_loopback: false,
        metrics: None,
        registries: ClientOptions::default(),
        identity: Identity { version: "1.2.3".to_owned(), commit: "abc".to_owned() },
        experiments: Experiments::Refused,
        supervisor: None,
        limits: Limits::default(),
    }
}

impl Running {
    pub fn start() -> Running {
        Running::start_with(Experiments::Refused)
    }

    pub fn start_with(experiments: Experiments) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let engine = Engine::open(&directory.path().join("root")).unwrap();
        let socket = directory.path().join("s");
        let config = Config { experiments, ..config(vec![Host::Unix(socket)]) };
        let server = runtime.block_on(Server::bind(engine, config)).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ended = runtime.spawn(server.run(async {
            let _ = stopped.await;
        }));
        Running { directory, runtime: Some(runtime), stop: Some(stop), ended: Some(ended) }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Sends a request as it stands and returns all that comes back until the end of the connection.
    pub fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        Reply::parse(&self.raw(&[head.as_bytes(), body].concat()))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", b"")
    }

    pub fn post(&self, path: &str) -> Reply {
        self.send("POST", path, "", b"")
    }

    /// Imports a file system without files under `name`; returns the ID of the image.
    pub fn import(&self, name: &str) -> String {
        // A tar without members is two blocks of zeros.
        let path = format!("/images/create?fromSrc=-&repo={name}&changes=LABEL%20a%3Db");
        let reply = self.send("POST", &path, "Content-Type: text/plain\r\n", &[0; 1024]);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.messages()[0]["status"].as_str().expect("import tells the ID").to_owned()
    }

    /// Tells the daemon to stop and waits for its end.
    pub fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let (Some(runtime), Some(ended)) = (&self.runtime, self.ended.take()) {
            runtime.block_on(ended).unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Reply {
    fn parse(bytes: &[u8]) -> Reply {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = &bytes[end + 4..];
        let chunks = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            true => split_chunks(body),
            false => vec![body.to_vec()],
        };
        Reply { status, head, chunks }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.chunks.concat()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.chunks.concat()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The message of an error.
    pub fn message(&self) -> String {
        let document = self.json();
        assert_eq!(document.as_object().unwrap().len(), 1, "an error has one key: {document}");
        document["message"].as_str().unwrap().to_owned()
    }

    /// The messages of a stream, each of which must be a chunk and a line of its own.
    pub fn messages(&self) -> Vec<Value> {
        let message = |chunk: &Vec<u8>| {
            let line = chunk.strip_suffix(b"\r\n").expect("a message ends with CR LF");
            serde_json::from_slice(line).expect("one JSON object a chunk")
        };
        self.chunks.iter().map(message).collect()
    }
}

fn split_chunks(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("the length of a chunk");
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return chunks;
        }
        chunks.push(body[end + 2..end + 2 + length].to_vec());
        body = &body[end + 2 + length + 2..];
    }
}

/// The keys of an object, in their order.
pub fn keys(document: &Value) -> Vec<&str> {
    document.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// JSON as it stands in a query.
pub fn escaped(json: &str) -> String {
    json.replace('"', "%22")
}
