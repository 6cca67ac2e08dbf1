//! Making a container: an image, what to run in it, a name.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use shale_oci::{ConfigError, ImageConfig, RunConfig};
use shale_runtime::Signal;
use shale_store::{BeginMountError, DiskError, PublishContainerError};

use super::endpoints::ConnectError;
use super::find::FindContainerError;
use super::health::HealthError;
use super::names::{self, NameError};
use super::namespace;
use super::record::NewRecord;
use super::settings::HostConfig;
pub use super::spec::SettingsError;
pub use super::volumes::VolumeError;
use crate::Engine;
use crate::images::find::FindError;

/// What to make.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// The image: a reference, an ID or the begin of one.
    pub image: String,
    /// The name; a made one when `None`.
    pub name: Option<String>,
    /// What the user wants to run; the image's own config fills what is not set.
    pub config: RunConfig,
    /// How it is tied to the host.
    pub host_config: HostConfig,
}

/// A new container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its ID.
    pub id: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Why no container was made. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The image is not there.
    #[error(transparent)]
    Image(#[from] FindError),
    /// The image's config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// Nothing to run.
    #[error("No command specified")]
    NoCommand,
    /// The working directory is relative.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    RelativeWorkingDirectory(String),
    /// The settings contradict themselves, or ask for what is not there.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The check of its health means nothing.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// A container whose namespaces are to be shared is not there.
    #[error(transparent)]
    Other(FindContainerError),
    /// A volume or bind was refused.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The directories could not be made.
    #[error(transparent)]
    Mount(#[from] BeginMountError),
    /// The record could not be written.
    #[error(transparent)]
    Publish(PublishContainerError),
    /// The container's files could not be prepared.
    #[error("could not prepare the container's files")]
    Prepare(#[source] io::Error),
    /// A network that nobody made.
    #[error(
        "network {0} not found: there are \"none\" and \"host\", \"container:NAME\" for that of another container, and those that were made through the daemon"
    )]
    NoSuchNetwork(String),
    /// The network was removed meanwhile; the container is there.
    #[error(transparent)]
    Endpoint(ConnectError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Makes a container that is not started yet.
    ///
    /// # Errors
    /// [`CreateError`]; nothing was left but volumes.
    ///
    /// Source: moby `daemon/create.go` at v20.10.24.
    pub fn create_container(&self, create: &Create) -> Result<Created, CreateError> {
        let image = self.load_image(&create.image)?;
        let image_config = ImageConfig::parse(&image.config)?.config.unwrap_or_default();
        let mut config = merge(create.config.clone(), &image_config);
        config.image.clone_from(&create.image);
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            return Err(CreateError::RelativeWorkingDirectory(config.working_dir));
        }
        let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        let command = [words(&config.entrypoint), words(&config.cmd)].concat();
        if command.is_empty() {
            return Err(CreateError::NoCommand);
        }
        let settings = create.host_config.read().map_err(SettingsError::from)?;
        super::spec::check(&settings)?;
        let mode = &settings.network_mode;
        let made_network =
            self.network_of_mode(mode).map_err(|_| CreateError::NoSuchNetwork(mode.clone()))?;
        if !config.stop_signal.is_empty() && config.stop_signal.parse::<Signal>().is_err() {
            return Err(SettingsError::StopSignal(config.stop_signal).into());
        }
        super::health::validate(&config)?;
        let mut host_config = create.host_config.clone();
        let warnings = super::limits::discard(&settings, &mut host_config);
        self.resolve_links(&settings, &mut host_config).map_err(SettingsError::Link)?;
        for mode in [&settings.network_mode, &settings.ipc_mode, &settings.pid_mode] {
            if let Some(other) = mode.strip_prefix("container:") {
                self.find_container(other).map_err(CreateError::Other)?;
            }
        }
        let wanted = create.name.as_deref().map(names::check_name).transpose()?;
        if let Some(name) = wanted {
            self.check_name_is_free(name)?;
        }

        let id = new_id();
        if config.hostname.is_empty() {
            config.hostname = match settings.network_mode.as_str() {
                "host" => super::spec::host_name(),
                _ => id[..12].to_owned(),
            };
        }
        let mount_points = self.plan_mount_points(&config, &settings)?;
        let mount = self.store.begin_mount(&id, image.top())?;
        let (init, own) =
            (self.store.mount_paths(&mount.init_id())?, self.store.mount_paths(mount.mount_id())?);
        let has_volumes = mount_points
            .as_object()
            .is_some_and(|points| points.values().any(|point| point["Type"] == "volume"));
        namespace::in_private_namespace(|| -> Result<(), CreateError> {
            let prepare = CreateError::Prepare;
            let syncs = namespace::Syncs::Never;
            namespace::mount(&self.store, self.privileges, &init, syncs).map_err(prepare)?;
            let filled = namespace::fill_init(&init.merged);
            namespace::unmount(&init);
            namespace::forget_volatile(&init).map_err(prepare)?;
            filled.map_err(prepare)?;
            if has_volumes {
                namespace::mount(&self.store, self.privileges, &own, syncs).map_err(prepare)?;
                let filled = self.fill_volumes(&mount_points, &own.merged);
                namespace::unmount(&own);
                namespace::forget_volatile(&own).map_err(prepare)?;
                filled?;
            }
            Ok(())
        })
        .map_err(CreateError::Prepare)??;

        let directory = self.store.container_directory(&id);
        let mut name = wanted.map_or_else(|| names::random_name(0), str::to_owned);
        let mut attempt = 0;
        while wanted.is_none() && self.check_name_is_free(&name).is_err() {
            attempt += 1;
            name = names::random_name(attempt);
        }
        let network = match &made_network {
            Some(network) => &network.name,
            None if settings.network_mode.is_empty() => "none",
            None => &settings.network_mode,
        };
        let record = NewRecord {
            id: &id,
            name: &name,
            created: Timestamp::now(),
            image: image.id,
            command: &command,
            config: &config,
            host_config,
            mount_points,
            directory: &path_text(&directory),
            network,
        };
        let record = record.record();
        let (files, durability) = (record.files(), record.durability());
        let mut taken = None;
        let is_wanted = || match self.check_name_is_free(&name) {
            Ok(()) => true,
            Err(error) => {
                taken = Some(error);
                false
            }
        };
        match mount.publish(&files, durability, is_wanted) {
            Ok(()) => {
                if let Some(network) = made_network {
                    self.describe_endpoint(&id, &network.id, &serde_json::Value::Null)
                        .map_err(CreateError::Endpoint)?;
                }
                Ok(Created { id, warnings })
            }
            Err(error) => Err(taken.unwrap_or(CreateError::Publish(error))),
        }
    }

    pub(super) fn check_name_is_free(&self, name: &str) -> Result<(), CreateError> {
        for id in self.store.container_ids()? {
            // Only the name counts, so the state is not looked at.
            let files = self.store.read_container(&id)?;
            let record = files.and_then(|files| super::Record::parse(&id, &files));
            if record.is_some_and(|record| record.name() == name) {
                return Err(CreateError::NameTaken { name: name.to_owned(), id });
            }
        }
        Ok(())
    }
}

/// Fills what the user left open from the image.
///
/// Source: moby `runconfig/…` and `daemon/commit.go` `merge` at v20.10.24.
pub(super) fn merge(mut user: RunConfig, image: &RunConfig) -> RunConfig {
    let is_empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if user.user.is_empty() {
        user.user.clone_from(&image.user);
    }
    for port in image.exposed_ports.iter().flatten() {
        user.exposed_ports.get_or_insert_default().entry(port.0.clone()).or_insert(*port.1);
    }
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    match (&mut user.env, &image.env) {
        (env, Some(image_env)) if env.as_ref().is_none_or(Vec::is_empty) => *env = Some(image_env.clone()),
        (Some(env), Some(image_env)) => {
            let missing: Vec<String> = image_env
                .iter()
                .filter(|entry| !env.iter().any(|own| name(own) == name(entry)))
                .cloned()
                .collect();
            env.extend(missing);
        }
        _ => {}
    }
    for (key, value) in image.labels.iter().flatten() {
        user.labels.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
    if is_empty(&user.entrypoint) {
        if is_empty(&user.cmd) {
            user.cmd.clone_from(&image.cmd);
            user.args_escaped = image.args_escaped;
        }
        if user.entrypoint.is_none() {
            user.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if user.entrypoint.as_ref().is_some_and(|words| words.as_slice() == [""]) {
        user.entrypoint = None;
    }
    user.healthcheck = super::health::merge(user.healthcheck, image.healthcheck.as_ref());
    if user.working_dir.is_empty() {
        user.working_dir.clone_from(&image.working_dir);
    }
    for volume in image.volumes.iter().flatten() {
        user.volumes.get_or_insert_default().entry(volume.0.clone()).or_insert(*volume.1);
    }
    if user.stop_signal.is_empty() {
        user.stop_signal.clone_from(&image.stop_signal);
    }
    if user.shell.is_none() {
        user.shell.clone_from(&image.shell);
    }
    user
}

/// An ID whose first twelve digits do not read as a number, as Docker's.
fn new_id() -> String {
    loop {
        let id = super::volumes::random_id();
        if id.as_bytes()[..12].iter().any(|digit| !digit.is_ascii_digit()) {
            return id;
        }
    }
}

fn path_text(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}
