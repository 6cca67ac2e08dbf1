//! The program under test.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Finished, require, run};

/// The binary with one data root and a home of its own.
#[derive(Debug, Clone)]
pub struct Shale {
    program: PathBuf,
    data_root: PathBuf,
    home: PathBuf,
    system_config: Option<PathBuf>,
}

/// Puts the folder `$1` over `/etc/docker` in a mount namespace of its own and becomes the command behind it.
const WITH_SYSTEM_CONFIG: &str = "mount --bind \"$1\" /etc/docker; shift; exec \"$@\"";

impl Shale {
    /// The program named by `SHALE_BIN` on `directory/root`, with `directory/home` as home.
    ///
    /// # Panics
    /// When `SHALE_BIN` is not set: the message says what to run instead.
    #[track_caller]
    pub fn new(directory: &Path) -> Self {
        Self::on_root(directory, &directory.join("root"))
    }

    /// The program on a data root that stands elsewhere.
    #[track_caller]
    pub fn on_root(directory: &Path, data_root: &Path) -> Self {
        let program = std::env::var_os("SHALE_BIN").map(PathBuf::from).unwrap_or_else(|| {
            panic!("SHALE_BIN does not name the program under test: run `cargo xtask test build black-box`")
        });
        assert!(program.is_file(), "SHALE_BIN={} is no file", program.display());
        let home = directory.join("home");
        std::fs::create_dir_all(&home).expect("the scratch directory is ours");
        Self {
            program: program.canonicalize().expect("it is a file"),
            data_root: data_root.to_owned(),
            home,
            system_config: None,
        }
    }

    /// The same program where `folder` stands in the place of `/etc/docker`; the machine's own is not touched.
    pub fn with_system_config(mut self, folder: &Path) -> Self {
        std::fs::create_dir_all("/etc/docker").expect("root may make it");
        self.system_config = Some(folder.to_owned());
        self
    }

    /// Path of the data root.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// Path of the docker configuration that the program reads, `$HOME/.docker`.
    pub fn config(&self) -> PathBuf {
        self.home.join(".docker")
    }

    /// The program to start and the arguments that come before those of `shale`.
    pub(super) fn invocation(&self) -> (PathBuf, Vec<OsString>) {
        let Some(folder) = &self.system_config else { return (self.program.clone(), Vec::new()) };
        let words = ["--mount", "--propagation", "private", "sh", "-euc", WITH_SYSTEM_CONFIG, "sh"];
        let mut leading: Vec<OsString> = words.map(OsString::from).to_vec();
        leading.extend([folder.clone().into_os_string(), self.program.clone().into_os_string()]);
        (require("unshare", "util-linux"), leading)
    }

    /// A command for this data root, without anything of the caller's own configuration.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let (program, leading) = self.invocation();
        let mut command = Command::new(program);
        command.args(leading);
        command
            .arg("--data-root")
            .arg(&self.data_root)
            .args(arguments)
            .env("HOME", &self.home)
            .env("LC_ALL", "C");
        for name in ["DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_DEFAULT_PLATFORM", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(name).env_remove(name.to_ascii_lowercase());
        }
        command
    }

    /// Runs one command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Finished {
        run(&mut self.command(arguments))
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub fn shale(&self, arguments: &[impl AsRef<OsStr>]) -> String {
        self.run(arguments).success()
    }

    /// Asserts that the store is sound, and that it has what it shows, whatever happened before.
    #[track_caller]
    pub fn check_sound(&self, when: &str) {
        let verdict = self.run(&["fsck"]);
        assert!(verdict.is_success(), "{when}: {}", verdict.describe());
        for id in self.shale(&["images", "--all", "--quiet", "--no-trunc"]).lines() {
            self.shale(&["inspect", id]);
        }
    }

    /// The program itself.
    pub fn program(&self) -> &Path {
        &self.program
    }
}
