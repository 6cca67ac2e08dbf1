//! A token service for docker-registry: it signs what the registry asks for, for whoever knows the password.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::program::{require, run, shell};

/// Name of the service in challenges and tokens.
pub(super) const SERVICE: &str = "shale-tests";

/// Name of the issuer in tokens.
pub(super) const ISSUER: &str = "shale-token-server";

/// `bob:s3cret` as HTTP sends it.
const BASIC: &str = "Basic Ym9iOnMzY3JldA==";

/// A running service; dropping it stops it.
#[derive(Debug)]
pub struct TokenServer {
    port: u16,
    directory: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    is_stopping: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl TokenServer {
    /// Starts a service whose key and certificate are made in `directory`.
    #[track_caller]
    pub fn start(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("the directory can be made");
        require("openssl", "openssl");
        let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=token -keyout key -out cert 2>/dev/null";
        shell(directory, script);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (log, stopping, folder) = (Arc::clone(&requests), Arc::clone(&is_stopping), directory.to_owned());
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up is no fault of the server.
                let _ = answer(&stream, &folder, &log);
            }
        });
        Self { port, directory: directory.to_owned(), requests, is_stopping, listener: Some(listener) }
    }

    /// URL of the service.
    pub fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// PEM file with the certificate that proves the tokens.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("cert")
    }

    /// Request lines so far, each followed by ` as bob` or ` as nobody`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no handler panics with the lock").clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn answer(mut stream: &TcpStream, directory: &Path, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut is_bob = false;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else { break };
        is_bob |= name.eq_ignore_ascii_case("authorization") && value.trim() == BASIC;
    }
    let who = if is_bob { "bob" } else { "nobody" };
    log.lock().expect("no handler panics with the lock").push(format!("{} as {who}", line.trim()));
    let token = token(directory, &access(&target, is_bob));
    let (status, body) = if line.starts_with("GET /token") {
        ("200 OK", json!({"token": token, "access_token": token, "expires_in": 300}).to_string())
    } else {
        // As most services do: clients that try OAuth2 first must fall back to GET.
        ("404 Not Found", "{}".to_owned())
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Grants what was asked for to bob, and nothing to anybody else.
fn access(target: &str, is_bob: bool) -> Vec<Value> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let decoded: Vec<String> = scopes
        .map(|scope| scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace('+', " "))
        .collect();
    decoded
        .iter()
        .filter(|_| is_bob)
        .flat_map(|scopes| scopes.split(' '))
        .filter_map(|scope| {
            let mut parts = scope.splitn(3, ':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
        })
        .collect()
}

/// A signed token; openssl does what has to do with keys.
fn token(directory: &Path, access: &[Value]) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs();
    let certificate = shell(directory, "openssl x509 -in cert -outform DER | base64 -w0");
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate.trim()]});
    let claims = json!({
        "iss": ISSUER, "sub": "bob", "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1",
        "access": access,
    });
    let encode = |text: &str| {
        let script = "printf %s \"$1\" | base64 -w0 | tr +/ -_ | tr -d =";
        run(Command::new("sh").args(["-euc", script, "sh", text])).success()
    };
    let unsigned = format!("{}.{}", encode(&header.to_string()), encode(&claims.to_string()));
    let script = "printf %s \"$1\" | openssl dgst -sha256 -sign key | base64 -w0 | tr +/ -_ | tr -d =";
    let signed =
        run(Command::new("sh").args(["-euc", script, "sh", &unsigned]).current_dir(directory)).success();
    format!("{unsigned}.{signed}")
}
