//! A real docker-registry (distribution 2.8) with a configuration made for one test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::token_server::{ISSUER, SERVICE};
use crate::http;
use crate::program::{Server, require, run, shell};

/// Who may enter, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Plain HTTP, everybody may do everything.
    Open,
    /// Plain HTTP, nobody may write: several registries can serve one storage.
    ReadOnly,
    /// Plain HTTP, user `bob` with password `s3cret`.
    Password,
    /// Plain HTTP, tokens of a [`super::TokenServer`].
    Token {
        /// URL of the service.
        realm: String,
        /// PEM file with its certificate.
        certificate: PathBuf,
    },
    /// TLS with a certificate of an own authority, see [`DockerRegistry::authority`].
    Tls,
}

/// A running registry; dropping it stops it.
#[derive(Debug)]
pub struct DockerRegistry {
    server: Server,
    port: u16,
    directory: PathBuf,
    access: Access,
}

impl DockerRegistry {
    /// Starts a registry whose storage is `directory/storage`.
    #[track_caller]
    pub fn start(directory: &Path, access: Access) -> Self {
        Self::on_storage(directory, &directory.join("storage"), access)
    }

    /// Starts a registry on a storage that exists or will be made; configuration and log go to `directory`.
    #[track_caller]
    pub fn on_storage(directory: &Path, storage: &Path, access: Access) -> Self {
        let program = require("docker-registry", "docker-registry");
        std::fs::create_dir_all(directory).expect("the registry's directory can be made");
        // The port was free when it was chosen; when somebody was faster, choose again.
        for attempt in 1.. {
            let port = http::free_port();
            let config = directory.join("config.yml");
            std::fs::write(&config, configuration(directory, storage, port, &access))
                .expect("the directory is ours");
            let arguments = ["serve".to_owned(), config.display().to_string()];
            let log = directory.join("log");
            let mut server = Server::start(&program, &arguments, &[("OTEL_TRACES_EXPORTER", "none")], &log);
            let is_listening = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            if server.wait_until(Duration::from_secs(30), is_listening) {
                return Self { server, port, directory: directory.to_owned(), access };
            }
            assert!(attempt < 5, "docker-registry does not start:\n{}", server.log());
        }
        unreachable!("the loop returns or panics")
    }

    /// `127.0.0.1:PORT`, as it stands in references; `localhost:PORT` with TLS, the name in the certificate.
    pub fn host(&self) -> String {
        match self.access {
            Access::Tls => format!("localhost:{}", self.port),
            _ => format!("127.0.0.1:{}", self.port),
        }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// PEM file of the authority that signed the certificate; only with [`Access::Tls`].
    pub fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Log and access log so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The lines of the access log that name `method` and contain `part`.
    pub fn requests(&self, method: &str, part: &str) -> Vec<String> {
        let method = format!("\"{method} ");
        let log = self.log();
        log.lines().filter(|line| line.contains(&method) && line.contains(part)).map(str::to_owned).collect()
    }

    /// Digest of a manifest, from the registry itself; only without TLS and password.
    #[track_caller]
    pub fn digest(&self, repository: &str, reference: &str) -> String {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = http::get(&self.host(), &path).expect("the registry answers");
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.header("docker-content-digest").expect("docker-registry sends it").to_owned()
    }
}

fn configuration(directory: &Path, storage: &Path, port: u16, access: &Access) -> String {
    let storage = storage.display();
    let mut text = format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: false}}}}\n\
         storage:\n  filesystem: {{rootdirectory: {storage}}}\n  delete: {{enabled: true}}\n"
    );
    if *access == Access::ReadOnly {
        text.push_str("  maintenance: {readonly: {enabled: true}}\n");
    }
    text.push_str(&format!("http:\n  addr: 127.0.0.1:{port}\n"));
    match access {
        Access::Open | Access::ReadOnly => {}
        Access::Password => {
            let users =
                run(Command::new(require("htpasswd", "apache2-utils")).args(["-Bbn", "bob", "s3cret"]));
            let path = directory.join("htpasswd");
            std::fs::write(&path, users.success()).expect("the directory is ours");
            text.push_str(&format!("auth:\n  htpasswd: {{realm: tests, path: {}}}\n", path.display()));
        }
        Access::Token { realm, certificate } => text.push_str(&format!(
            "auth:\n  token: {{realm: \"{realm}\", service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {}}}\n",
            certificate.display()
        )),
        Access::Tls => {
            make_certificates(directory);
            let folder = directory.display();
            text.push_str(&format!(
                "  tls: {{certificate: {folder}/server.crt, key: {folder}/server.key}}\n"
            ));
        }
    }
    text
}

/// Makes an authority, `ca.crt`, and `server.crt` with `server.key` for localhost below `directory`.
pub(super) fn make_certificates(directory: &Path) {
    require("openssl", "openssl");
    shell(
        directory,
        "curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
         openssl req -x509 $curve -days 2 -subj '/CN=Shale test authority' -keyout ca.key -out ca.crt 2>/dev/null
         openssl req $curve -subj /CN=localhost -keyout server.key -out server.csr 2>/dev/null
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > server.ext
         openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
             -extfile server.ext -out server.crt 2>/dev/null",
    );
}
