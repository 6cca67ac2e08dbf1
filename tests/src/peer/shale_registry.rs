//! `shale registry serve` on a directory made for one test, as an operator would start it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::docker_registry::make_certificates;
use super::token_server::{ISSUER, SERVICE};
use crate::program::{Server, require};

/// The user that a guarded registry knows.
pub const USER: &str = "bob";
/// The user's password.
pub const PASSWORD: &str = "s3cret";

/// Who may enter, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Plain HTTP, everybody may do everything.
    Open,
    /// TLS with a certificate of an own authority, everybody may do everything.
    Tls,
    /// Plain HTTP, a password with each request.
    Password,
    /// TLS, and tokens from the token server that is built in.
    Tokens,
    /// Plain HTTP, tokens of a [`super::TokenServer`].
    OtherTokens {
        /// URL of the service.
        realm: String,
        /// PEM file with its certificate.
        certificate: PathBuf,
    },
}

/// A running registry; dropping it stops it.
#[derive(Debug)]
pub struct ShaleRegistry {
    server: Server,
    port: u16,
    directory: PathBuf,
    guard: Guard,
}

impl ShaleRegistry {
    /// Starts a registry whose root is `directory/root`; configuration and log go to `directory`.
    ///
    /// # Panics
    /// When `SHALE_BIN` is not set, or the registry does not start; the message has its log.
    #[track_caller]
    pub fn start(directory: &Path, guard: Guard) -> Self {
        let started = Self::launch(directory, guard, &[]);
        started.unwrap_or_else(|log| panic!("the registry does not start:\n{log}"))
    }

    /// Starts an open registry through strace with `options`; when it does not start, what it wrote.
    #[track_caller]
    pub fn start_traced(directory: &Path, options: &[String]) -> Result<Self, String> {
        // The tracer stands aside (-D), so that the process is the registry's own.
        let strace = require("strace", "strace").display().to_string();
        let words: Vec<String> =
            [strace, "-D".to_owned()].into_iter().chain(options.iter().cloned()).collect();
        Self::launch(directory, Guard::Open, &words)
    }

    #[track_caller]
    fn launch(directory: &Path, guard: Guard, before: &[String]) -> Result<Self, String> {
        let program = Self::program();
        let root = directory.join("root");
        std::fs::create_dir_all(&root).expect("the registry's directory can be made");
        let mut arguments: Vec<String> =
            ["registry", "serve", "--addr", "127.0.0.1:0"].map(str::to_owned).into();
        arguments.extend(["--root".to_owned(), root.display().to_string()]);
        if guard == Guard::Tls || guard == Guard::Tokens {
            make_certificates(directory);
            for (flag, name) in [("--tls-certificate", "server.crt"), ("--tls-key", "server.key")] {
                arguments.extend([flag.to_owned(), directory.join(name).display().to_string()]);
            }
        }
        if guard == Guard::Password || guard == Guard::Tokens {
            add_user(&program, &root);
        }
        let config = match &guard {
            Guard::Open | Guard::Tls | Guard::Password => String::new(),
            Guard::Tokens => "[auth]\ntokens = true\n".to_owned(),
            Guard::OtherTokens { realm, certificate } => format!(
                "[auth.token_server]\nrealm = \"{realm}\"\nservice = \"{SERVICE}\"\nissuer = \"{ISSUER}\"\n\
                 certificates = \"{}\"\n",
                certificate.display()
            ),
        };
        let file = directory.join("registry.toml");
        std::fs::write(&file, config).expect("the directory is ours");
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
        let log = directory.join("log");
        // An earlier registry of this directory had another port.
        let _ = std::fs::remove_file(&log);
        let mut words: Vec<String> = before.to_vec();
        words.push(program.display().to_string());
        words.extend(arguments);
        let mut server = Server::start(Path::new(&words[0]), &words[1..], &[], &log);
        let is_ready = || port_in(&std::fs::read_to_string(&log).unwrap_or_default()).is_some();
        let is_alive = server.wait_until(Duration::from_secs(60), is_ready);
        if !is_alive {
            return Err(server.log());
        }
        let port = port_in(&server.log()).expect("it was there a moment ago");
        Ok(Self { server, port, directory: directory.to_owned(), guard })
    }

    /// The program under test.
    ///
    /// # Panics
    /// When `SHALE_BIN` is not set.
    pub fn program() -> PathBuf {
        let program = std::env::var_os("SHALE_BIN").map(PathBuf::from).unwrap_or_else(|| {
            panic!("SHALE_BIN does not name the program under test: run `cargo xtask test build black-box`")
        });
        program.canonicalize().unwrap_or_else(|error| panic!("SHALE_BIN={}: {error}", program.display()))
    }

    /// `127.0.0.1:PORT`, as it stands in references; `localhost:PORT` with TLS, the name in the certificate.
    pub fn host(&self) -> String {
        if self.has_tls() { format!("localhost:{}", self.port) } else { format!("127.0.0.1:{}", self.port) }
    }

    /// Whether it speaks TLS only.
    pub fn has_tls(&self) -> bool {
        matches!(self.guard, Guard::Tls | Guard::Tokens)
    }

    /// Whether nothing is done for those without a name.
    pub fn is_guarded(&self) -> bool {
        !matches!(self.guard, Guard::Open | Guard::Tls)
    }

    /// A folder whose `ca.crt` proves the certificate; only with TLS.
    pub fn authority(&self) -> PathBuf {
        let folder = self.directory.join("authority");
        std::fs::create_dir_all(&folder).expect("the directory is ours");
        std::fs::copy(self.directory.join("ca.crt"), folder.join("ca.crt")).expect("TLS has an authority");
        folder
    }

    /// Its directory, for commands beside the server.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Ends it as a crash would: at once, without a word.
    pub fn kill(mut self) {
        self.server.kill();
    }

    /// Log and access log so far.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn add_user(program: &Path, root: &Path) {
    let mut child = Command::new(program)
        .args(["registry", "user", "add", "--password-stdin", "--root"])
        .arg(root)
        .arg(USER)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program under test starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(PASSWORD.as_bytes()).expect("the program reads its input");
    drop(input);
    assert!(child.wait().expect("the child is ours").success(), "no user could be added");
}

/// The port in the line that the server greets with.
fn port_in(log: &str) -> Option<u16> {
    let line = log.lines().find_map(|line| line.strip_prefix("Serving a registry on "))?;
    line.rsplit(':').next()?.parse().ok()
}
