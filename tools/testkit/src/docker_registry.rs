//! Runs the `docker-registry` of the machine, on a port of its own.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running docker-registry; it ends with this value.
pub struct DockerRegistry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// How it authenticates and speaks.
#[derive(Debug, Default, Clone)]
pub struct Setup {
    /// A file of `htpasswd`, bcrypt.
    pub htpasswd: Option<PathBuf>,
    /// Certificate chain and key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Authority whose certificates clients must have, PEM; with `tls` only.
    pub client_authority: Option<PathBuf>,
    /// Realm, service, issuer and root certificate (PEM) of a token server.
    pub token: Option<TokenAuth>,
    /// Where blobs are; a fresh folder if none.
    pub root: Option<PathBuf>,
    /// Which registry it is a mirror of: its URL.
    pub proxy_of: Option<String>,
}

/// The `auth.token` section.
#[derive(Debug, Clone)]
pub struct TokenAuth {
    /// URL of the token server.
    pub realm: String,
    /// Name of the service.
    pub service: String,
    /// Name of the issuer.
    pub issuer: String,
    /// Certificate that tokens are checked with, PEM.
    pub root_certificate: PathBuf,
}

impl DockerRegistry {
    /// Returns whether the program is installed.
    pub fn is_installed() -> bool {
        Command::new("docker-registry").arg("--version").output().is_ok_and(|output| output.status.success())
    }

    /// Starts one and waits until it accepts connections.
    ///
    /// # Panics
    /// When it does not start within 30 seconds.
    pub fn start(setup: &Setup) -> DockerRegistry {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = setup.root.clone().unwrap_or_else(|| folder.path().join("root"));
        let port = free_port();
        let config = folder.path().join("config.yml");
        std::fs::write(&config, yaml(setup, &root, port)).expect("the config is written");
        let log = std::fs::File::create(folder.path().join("log")).expect("the log is opened");
        let errors = log.try_clone().expect("the log is opened twice");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("docker-registry starts");
        let mut registry = DockerRegistry { child, port, folder };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = registry.child.try_wait().ok().flatten();
            let late = begin.elapsed() > Duration::from_secs(30);
            assert!(ended.is_none() && !late, "docker-registry does not answer: {}", registry.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        registry
    }

    /// Returns `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file for `htpasswd` authentication with one user, by the `htpasswd` program.
///
/// # Panics
/// When the program is missing.
pub fn write_htpasswd(path: &Path, user: &str, password: &str) {
    let output =
        Command::new("htpasswd").args(["-Bbn", "-C", "4", user, password]).output().expect("htpasswd runs");
    assert!(output.status.success(), "htpasswd failed");
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(&output.stdout))
        .expect("the file is written");
}

/// Returns a port that nobody listens on right now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn yaml(setup: &Setup, root: &Path, port: u16) -> String {
    let mut yaml = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n",
        root.display()
    );
    yaml += &format!("http:\n  addr: 127.0.0.1:{port}\n  secret: test\n");
    if let Some((certificate, key)) = &setup.tls {
        yaml += &format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        if let Some(authority) = &setup.client_authority {
            yaml += &format!("    clientcas: [{}]\n", authority.display());
        }
    }
    if let Some(path) = &setup.htpasswd {
        yaml += &format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", path.display());
    }
    if let Some(token) = &setup.token {
        let TokenAuth { realm, service, issuer, root_certificate } = token;
        let bundle = root_certificate.display();
        yaml += &format!(
            "auth:\n  token: {{realm: '{realm}', service: {service}, issuer: {issuer}, rootcertbundle: {bundle}}}\n"
        );
    }
    if let Some(url) = &setup.proxy_of {
        yaml += &format!("proxy: {{remoteurl: '{url}'}}\n");
    }
    yaml
}
