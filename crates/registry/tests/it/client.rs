//! A server for one test, and a client that sends exactly what it is told.

use std::net::SocketAddr;

use sha2::{Digest as _, Sha256, Sha512};
use shale_registry::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry that ends with the test.
pub struct Running {
    pub address: SocketAddr,
    pub root: tempfile::TempDir,
    pub config: Config,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start() -> Running {
        Running::with(|_| {}).await
    }

    pub async fn with(choose: impl FnOnce(&mut Config)) -> Running {
        Running::at(tempfile::tempdir().unwrap(), choose).await
    }

    pub async fn at(root: tempfile::TempDir, choose: impl FnOnce(&mut Config)) -> Running {
        let mut config = Config { root: root.path().to_owned(), ..Config::default() };
        config.address.set_port(0);
        choose(&mut config);
        let server = Server::bind(config.clone()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Running { address, root, config, stop: Some(stop), task }
    }

    pub async fn stop(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        self.task.await.unwrap();
        self.root
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.address, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    /// Pushes a blob with one POST.
    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.send("POST", &path, &[], bytes).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Pushes an image with one layer; returns its digest.
    pub async fn push_image(&self, repository: &str, reference: &str, layer: &[u8]) -> String {
        self.push_blob(repository, b"{}").await;
        self.push_blob(repository, layer).await;
        let manifest = image(layer);
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.send("PUT", &path, &[("Content-Type", OCI_MANIFEST)], manifest.as_bytes()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        sha256(manifest.as_bytes())
    }
}

/// The manifest of an image with an empty config and one layer.
pub fn image(layer: &[u8]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        sha256(b"{}"),
        sha256(layer),
        layer.len()
    )
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// An answer, as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        let body = String::from_utf8_lossy(&self.body).chars().take(300).collect::<String>();
        assert_eq!(self.status, status, "{:?} {body}", self.headers);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        document["errors"][0]["code"].as_str().unwrap_or("").to_owned()
    }
}

pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let chunked = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
    if !chunked && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if chunked {
        for chunk in body.chunks(1000) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    } else {
        bytes.extend(body);
    }
    raw(address, &bytes).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// Sends `bytes` and reads one answer.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    // The server may answer before it has read everything, and close.
    let written = stream.write_all(bytes).await;
    let mut received = Vec::new();
    if let Err(error) = stream.read_to_end(&mut received).await
        && received.is_empty()
    {
        return Err(error);
    }
    if received.is_empty() {
        written?;
    }
    parse(&received, bytes.starts_with(b"HEAD"))
}

fn parse(received: &[u8], is_head: bool) -> std::io::Result<Answer> {
    let broken = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, String::from_utf8_lossy(received));
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    let head = std::str::from_utf8(&received[..end]).unwrap();
    if head.starts_with("HTTP/1.1 100") {
        return parse(&received[end + 4..], is_head);
    }
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let answer = Answer { status, headers, body: received[end + 4..].to_vec() };
    if !is_head && let Ok(length) = answer.header("content-length").parse::<usize>() {
        assert_eq!(answer.body.len(), length, "{answer:?}");
    }
    Ok(answer)
}
