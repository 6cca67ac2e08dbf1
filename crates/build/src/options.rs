//! What the user asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use shale_oci::{ImageId, Platform};
use shale_runtime::spec::{Resources, Rlimit};

use crate::parallel::Cancel;

/// How to build. The Dockerfile brings the dialect.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// `--target`
    pub target: Option<String>,
    /// `--build-arg`
    pub build_arguments: BTreeMap<String, String>,
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--no-cache-filter`: stages whose steps are all done anew, by name or number.
    pub no_cache_stages: Vec<String>,
    /// `--cache-from`: images of the store whose steps are taken for those of this build.
    pub cache_from: Vec<ImageId>,
    /// `--squash`: everything that the last stage adds becomes one layer.
    pub squash: bool,
    /// `--format`: how the finished image is written.
    pub format: ImageFormat,
    /// `--build-context`: what stands for a stage or an image of this name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// `--pull`
    pub refresh_bases: bool,
    /// `--platform`
    pub platform: Option<Platform>,
    /// `--network`
    pub network: RunNetwork,
    /// `--add-host`: name and address.
    pub hosts: Vec<(String, String)>,
    /// `--shm-size`
    pub shm_size_bytes: Option<u64>,
    /// `--memory` and its like.
    pub resources: Resources,
    /// `--ulimit`
    pub rlimits: Vec<Rlimit>,
    /// `--secret`: the files, by id.
    pub secrets: BTreeMap<String, PathBuf>,
    /// `--ssh`: sockets of agents, by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// `SOURCE_DATE_EPOCH`: the time of everything that the build makes, in seconds.
    pub source_date_epoch: Option<i64>,
    /// `--explain`: what each step's key is made of, and what the nearest image in the store has instead.
    pub explain: bool,
    /// Whether the root of a failed `RUN` is kept as an image without a name.
    pub keep_failed_root: bool,
    /// `--shell-on-failure`: a `RUN` that fails is followed by a shell in its root, on this process's terminal.
    pub shell_on_failure: bool,
    /// The program to start as guard of containers; see [`shale_runtime::Supervisor`].
    pub supervisor: Option<shale_runtime::Supervisor>,
    /// What the config of an image names as its maker.
    pub version: String,
    /// With which the caller ends the build before its time.
    pub cancel: Arc<Cancel>,
}

/// What a name of `--build-context` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// An image.
    Image(String),
    /// A directory, read with its own ignore file.
    Directory(PathBuf),
}

/// Whose form config and history of the finished image have. It is no question of meaning: any dialect has either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageFormat {
    /// The classic builder's.
    #[default]
    Classic,
    /// BuildKit's: its words for each step, and a layer also of a `RUN` that changed nothing.
    BuildKit,
}

/// The network of `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunNetwork {
    /// The host's: there is no network driver, and most builds fetch something.
    #[default]
    Host,
    /// A loopback device alone.
    None,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions {
            target: None,
            build_arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            cache_from: Vec::new(),
            squash: false,
            format: ImageFormat::default(),
            named_contexts: BTreeMap::new(),
            refresh_bases: false,
            platform: None,
            network: RunNetwork::default(),
            hosts: Vec::new(),
            shm_size_bytes: None,
            resources: Resources::default(),
            rlimits: Vec::new(),
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            source_date_epoch: None,
            explain: false,
            keep_failed_root: false,
            shell_on_failure: false,
            supervisor: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cancel: Arc::default(),
        }
    }
}
