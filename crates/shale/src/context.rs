//! What every command starts from: where the store and the configuration are, and how registries are reached.

use std::error::Error as _;
use std::future::Future;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use shale_daemon::Identity;
use shale_engine::progress::{self, Status};
use shale_engine::{Engine, OpenError};
use shale_registry_client::credentials::ConfigFile;
use shale_registry_client::{Client, ClientOptions, Event};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Command, Global};
use crate::commands::Failure;
use crate::terminal::progress::{Progress, Surface, Transfer};
use crate::terminal::screen;
use crate::user_namespace;

/// The commit that the program was built from, where the build knows it.
pub const BUILD: &str = match option_env!("SHALE_BUILD") {
    Some(build) => build,
    None => "unknown",
};

/// Returns how the program names itself to clients of the Engine API.
pub fn identity() -> Identity {
    Identity { version: env!("CARGO_PKG_VERSION").to_owned(), commit: BUILD.to_owned() }
}

/// So long after Ctrl-C may threads take away what they had begun. One that waits for somebody else's lock is left behind.
const CLEANING_MAX: Duration = Duration::from_secs(5);

const DATA_ROOT: &str = "/var/lib/shale";
const DAEMON_FILE: &str = "/etc/docker/daemon.json";
/// What dockerd does not know stands here: it refuses a `daemon.json` with a key of ours.
const OWN_FILE: &str = "/etc/shale/registries.json";

/// The global flags, and what follows from them and the environment.
pub struct Context {
    global: Global,
    /// The warning of a `config.json` that cannot be read is given once.
    config_warning: Once,
}

impl Context {
    /// Takes the global flags.
    pub fn new(global: Global) -> Context {
        Context { global, config_warning: Once::new() }
    }

    /// Returns the data root: `--data-root`, `SHALE_DATA_ROOT`, or the default of the system or of the user.
    pub fn data_root(&self) -> PathBuf {
        let named = self.global.data_root.clone().or_else(|| variable("SHALE_DATA_ROOT"));
        named.unwrap_or_else(|| {
            if user_namespace::is_real_root() {
                return PathBuf::from(DATA_ROOT);
            }
            let data = variable("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"));
            data.join("shale")
        })
    }

    /// Returns the folder of `config.json`: `--config`, `DOCKER_CONFIG`, or `~/.docker`.
    pub fn config_dir(&self) -> PathBuf {
        let named = self.global.config.clone().or_else(|| variable("DOCKER_CONFIG"));
        named.unwrap_or_else(|| home().join(".docker"))
    }

    /// Opens the store for changing it; a missing one is made. Without root's rights, enters a user namespace first.
    pub fn engine(&self) -> Result<Engine, Failure> {
        user_namespace::enter_if_not_root()?;
        let root = self.data_root();
        let engine =
            Engine::open(&root).with_context(|| format!("could not open the store {}", root.display()))?;
        Ok(engine)
    }

    /// Opens the store for giving images away, which also works from a disk that cannot be written.
    pub fn engine_to_read(&self) -> Result<Engine, Failure> {
        user_namespace::enter_if_not_root()?;
        let root = self.data_root();
        match Engine::open(&root) {
            Err(error) if error.is_read_only_disk() => self.engine_to_look(),
            opened => Ok(opened.with_context(|| format!("could not open the store {}", root.display()))?),
        }
    }

    /// Opens the store for the files of a container. Those of one that runs are mounted where only its own user namespace has a
    /// say, so an ordinary user enters that one instead of another.
    pub fn engine_beside(&self, container: &str) -> Result<Engine, Failure> {
        if !user_namespace::is_real_root()
            && let Ok(engine) = Engine::open_to_look(&self.data_root())
            && let Ok((_, running)) = engine.running_container(container)
            && let Ok(state) = running.state()
        {
            user_namespace::join(state.supervisor.pid)?;
        }
        self.engine()
    }

    /// Opens the store for looking; where there is none yet, it is made and empty.
    pub fn engine_to_look(&self) -> Result<Engine, Failure> {
        user_namespace::enter_if_not_root()?;
        let root = self.data_root();
        match Engine::open_to_look(&root) {
            Ok(engine) => Ok(engine),
            Err(OpenError::Missing(_)) => self.engine(),
            Err(error) => {
                Err(anyhow!(error).context(format!("could not open the store {}", root.display())).into())
            }
        }
    }

    /// Returns the tags of the store as they are typed; none where it cannot be opened.
    pub fn image_names(&self) -> Vec<String> {
        let engine = self.engine_to_look().ok();
        let references = engine.and_then(|engine| engine.store().references().ok());
        let tags = references.iter().flat_map(|references| references.iter());
        tags.filter(|(name, _)| !name.is_digest()).map(|(name, _)| name.key.to_owned()).collect()
    }

    /// Returns `config.json`. One that cannot be read is told of once, and counts as empty until somebody writes to it.
    ///
    /// Source: docker CLI 28.2, observed 2026-11-23.
    pub fn config_file(&self) -> ConfigFile {
        let config_dir = self.config_dir();
        ConfigFile::open(&config_dir).unwrap_or_else(|error| {
            let file = ConfigFile::unread(&config_dir);
            self.config_warning.call_once(|| {
                let path = file.path().display();
                let reason = match error.source() {
                    Some(source) => source.to_string(),
                    None => error.to_string(),
                };
                let warning = format!("WARNING: Error parsing config file ({path}): {reason}");
                eprintln!("{}", screen::escape_lines(&warning));
            });
            file
        })
    }

    /// Returns what a client is made from: Docker's files and the environment.
    pub fn client_options(&self) -> Result<ClientOptions, Failure> {
        self.config_file();
        let daemon_file = Path::new(DAEMON_FILE);
        let daemon_file = daemon_file.exists().then_some(daemon_file);
        let mut options =
            ClientOptions::from_environment(&self.config_dir(), daemon_file).map_err(anyhow::Error::from)?;
        options.apply_daemon_file(Path::new(OWN_FILE)).map_err(anyhow::Error::from)?;
        options.user_agent = format!("shale/{}", env!("CARGO_PKG_VERSION"));
        options.observer = Arc::new(|event: &Event| {
            tracing::debug!(?event, "registry");
        });
        Ok(options)
    }

    /// Returns a client of registries.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.client_options()?).map_err(anyhow::Error::from)?)
    }

    /// Whether `--debug` was given.
    pub fn is_debug(&self) -> bool {
        self.global.debug
    }

    /// Fetches the file at `url` into `out`, and returns its `Last-Modified`.
    pub fn download(&self, url: &str, out: &mut (dyn Write + Send)) -> Result<Option<String>, Failure> {
        let client = self.client()?;
        self.block_on(async {
            let mut file = client.url_file(url).await.with_context(|| format!("could not fetch {url}"))?;
            while let Some(chunk) = file.chunk().await? {
                out.write_all(&chunk).context("could not write what was downloaded")?;
            }
            Ok::<_, Failure>(file.last_modified().map(str::to_owned))
        })
    }

    /// Runs `work` to its end, or until Ctrl-C; then it is dropped and what it was doing stops.
    pub fn block_on<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
    where
        Failure: From<E>,
    {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            tokio::select! {
                result = work => Ok(result?),
                _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
            }
        });
        if matches!(outcome, Err(Failure::Interrupted)) {
            runtime.shutdown_timeout(CLEANING_MAX);
        }
        outcome
    }

    /// Runs a server to its end, which [`stop_signal`] tells it: Ctrl-C lets requests finish too.
    pub fn block_on_server(&self, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        runtime()?.block_on(work)
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("could not start the runtime")
}

/// Waits for SIGTERM or Ctrl-C. From the call on neither ends the process by itself.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Shows the engine's progress on standard output.
pub struct ShownProgress(Progress);

impl ShownProgress {
    /// Shows everything, or nothing where the user asked for quiet.
    pub fn shown(quiet: bool) -> Arc<dyn progress::Progress> {
        Arc::new(ShownProgress(if quiet { Progress::new(Surface::Nothing) } else { Progress::on_stdout() }))
    }
}

impl progress::Progress for ShownProgress {
    fn layer(&self, id: &str, status: &Status) {
        let transfer = status.amounts().map(|(current, total)| Transfer { current, total });
        self.0.update(id, &status.to_string(), transfer);
    }

    fn message(&self, text: &str) {
        self.0.message(text);
    }
}

/// Starts the log on standard error; a daemon may be told to write it for programs.
pub fn start_log(global: &Global, command: &Command) {
    let level = match global.log_level.as_deref() {
        _ if global.debug => "debug",
        Some("fatal") => "error",
        Some(level) => level,
        None => "warn",
    };
    let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match command {
        Command::Daemon(daemon) if daemon.log_format.as_deref() == Some("json") => log.json().init(),
        _ => log.without_time().init(),
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn home() -> PathBuf {
    variable("HOME").unwrap_or_else(|| PathBuf::from("/"))
}
