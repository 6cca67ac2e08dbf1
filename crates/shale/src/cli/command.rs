//! What a person may ask for, as plain values.

use std::path::PathBuf;

use super::container::ContainerCommand;
use super::flags::Matches;

/// A command with everything that was typed. Optional texts are `None` where nothing or an empty text was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the flags and arguments of the same name; `shale COMMAND --help` describes them.
pub enum Command {
    Build(Box<Build>),
    Pull {
        reference: String,
        all_tags: bool,
        platform: Option<String>,
        /// None where nothing was said.
        disable_content_trust: Option<bool>,
        quiet: bool,
    },
    Push {
        reference: String,
        all_tags: bool,
        platform: Option<String>,
        /// None where nothing was said.
        disable_content_trust: Option<bool>,
        quiet: bool,
    },
    Images(Images),
    Inspect(Inspect),
    History {
        image: String,
        format: String,
        human: bool,
        no_trunc: bool,
        platform: Option<String>,
        quiet: bool,
    },
    Tag {
        source: String,
        target: String,
    },
    ImageRemove(ImageRemove),
    ImagePrune {
        all: bool,
        force: bool,
        filters: Vec<String>,
    },
    Save(Save),
    Load(Load),
    Import(Import),
    ManifestInspect(ManifestInspect),
    Search(Search),
    Login(Login),
    Logout {
        server: Option<String>,
    },
    SystemDf {
        format: String,
        verbose: bool,
    },
    Version {
        format: Option<String>,
    },
    Info {
        format: Option<String>,
    },
    Completion {
        shell: Shell,
        descriptions: bool,
    },
    Explain(Explain),
    Copy(Copy),
    Daemon(Daemon),
    Fsck {
        repair: bool,
        quiet: bool,
    },
    Gc {
        dry_run: bool,
    },
    Diff {
        image: String,
        other: String,
        format: Option<String>,
    },
    Tour,
    Registry(RegistryCommand),
    Container(ContainerCommand),
}

/// `shale build`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Build {
    pub context: String,
    pub file: Option<String>,
    pub tags: Vec<String>,
    pub target: Option<String>,
    pub build_arguments: Vec<String>,
    pub labels: Vec<String>,
    pub hosts: Vec<String>,
    pub secrets: Vec<String>,
    pub ulimits: Vec<String>,
    pub outputs: Vec<String>,
    pub build_contexts: Vec<String>,
    pub no_cache_filter: Vec<String>,
    pub cache_from: Vec<String>,
    pub cache_to: Vec<String>,
    pub squash: bool,
    pub shell_on_failure: bool,
    pub agents: Vec<String>,
    pub reproducible: bool,
    pub verify: bool,
    pub dialect: Option<String>,
    pub format: Option<String>,
    pub platform: Option<String>,
    pub network: Option<String>,
    pub progress: Option<String>,
    pub iid_file: Option<PathBuf>,
    pub shm_size: Option<String>,
    pub memory: Option<String>,
    pub memory_swap: Option<String>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub cpu_shares: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub check: bool,
    pub explain: bool,
    pub no_cache: bool,
    pub pull: bool,
    pub quiet: bool,
}

/// `shale images`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Images {
    pub reference: Option<String>,
    pub all: bool,
    pub digests: bool,
    pub filters: Vec<String>,
    pub format: String,
    pub no_trunc: bool,
    pub quiet: bool,
    pub tree: bool,
}

/// `shale inspect`, `image inspect` and `container inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Inspect {
    pub names: Vec<String>,
    pub format: Option<String>,
    pub size: bool,
    /// `container` or `image`; either where none is named.
    pub kind: Option<String>,
    pub platform: Option<String>,
}

/// `shale rmi`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ImageRemove {
    pub images: Vec<String>,
    pub force: bool,
    pub no_prune: bool,
    pub platforms: Vec<String>,
}

/// `shale save`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Save {
    pub images: Vec<String>,
    pub output: Option<PathBuf>,
    pub platform: Option<String>,
}

/// `shale load`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Load {
    pub input: Option<PathBuf>,
    pub platform: Option<String>,
    pub quiet: bool,
}

/// `shale import`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Import {
    pub source: String,
    pub reference: Option<String>,
    pub changes: Vec<String>,
    pub message: Option<String>,
    pub platform: Option<String>,
}

/// `shale manifest inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ManifestInspect {
    /// The list in which to look, where two names were typed.
    pub list: Option<String>,
    pub reference: String,
    pub insecure: bool,
    pub raw: bool,
    pub verbose: bool,
}

/// `shale search`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Search {
    pub term: String,
    pub filters: Vec<String>,
    pub format: String,
    pub limit: Option<i64>,
    pub no_trunc: bool,
}

/// `shale login`.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Login {
    pub server: Option<String>,
    pub username: Option<String>,
    /// A secret; it stays out of `Debug`.
    pub password: Option<String>,
    pub password_stdin: bool,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Login")
            .field("server", &self.server)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("password_stdin", &self.password_stdin)
            .finish()
    }
}

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Fish,
    Powershell,
    Zsh,
}

/// `shale explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Explain {
    pub subject: String,
    pub format: Option<String>,
    pub waste: bool,
}

/// `shale copy`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Copy {
    pub source: String,
    pub destination: String,
    pub platforms: Vec<String>,
    pub no_referrers: bool,
    pub quiet: bool,
}

/// `shale daemon`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Daemon {
    pub hosts: Vec<String>,
    pub socket_mode: Option<String>,
    pub socket_group: Option<String>,
    pub tls_authority: Option<PathBuf>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub plain_loopback: bool,
    pub is_experimental: bool,
    pub metrics_address: Option<String>,
    pub log_format: Option<String>,
}

/// `shale registry …`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RegistryCommand {
    Serve(Serve),
    Gc { root: Option<PathBuf>, grace: Option<String>, untagged_after: Option<String> },
    Fsck { root: Option<PathBuf>, repair: bool },
    Import { root: PathBuf },
    UserAdd { name: String, root: Option<PathBuf>, password_stdin: bool },
    UserRemove { name: String, root: Option<PathBuf> },
    Tags { repository: String, root: Option<PathBuf> },
    Repositories { registry: Option<String>, root: Option<PathBuf> },
    Delete { names: Vec<String>, force: bool, root: Option<PathBuf> },
}

/// `shale registry serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Serve {
    pub root: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub addr: Option<String>,
    pub read_only: bool,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
}

fn format(matches: &Matches) -> String {
    matches.text("format").unwrap_or_default().to_owned()
}

fn path(matches: &Matches, flag: &str) -> Option<PathBuf> {
    matches.filled(flag).map(PathBuf::from)
}

/// Makers, one for each command of the tree.
impl Command {
    pub(super) fn build(matches: &Matches) -> Command {
        Command::Build(Box::new(Build {
            context: matches.argument(0),
            file: matches.filled("file"),
            tags: matches.list("tag"),
            target: matches.filled("target"),
            build_arguments: matches.list("build-arg"),
            labels: matches.list("label"),
            hosts: matches.list("add-host"),
            secrets: matches.list("secret"),
            ulimits: matches.list("ulimit"),
            outputs: matches.list("output"),
            build_contexts: matches.list("build-context"),
            no_cache_filter: matches.list("no-cache-filter"),
            cache_from: matches.list("cache-from"),
            cache_to: matches.list("cache-to"),
            squash: matches.is_on("squash"),
            shell_on_failure: matches.is_on("shell-on-failure"),
            agents: matches.list("ssh"),
            reproducible: matches.is_on("reproducible"),
            verify: matches.is_on("verify"),
            dialect: matches.filled("dialect"),
            format: matches.filled("format"),
            platform: matches.platform_or_default(),
            network: matches.filled("network"),
            progress: matches.filled("progress"),
            iid_file: path(matches, "iidfile"),
            shm_size: matches.filled("shm-size"),
            memory: matches.filled("memory"),
            memory_swap: matches.filled("memory-swap"),
            cpu_period: matches.number("cpu-period"),
            cpu_quota: matches.number("cpu-quota"),
            cpu_shares: matches.number("cpu-shares"),
            cpuset_cpus: matches.filled("cpuset-cpus"),
            cpuset_mems: matches.filled("cpuset-mems"),
            check: matches.is_on("check"),
            explain: matches.is_on("explain"),
            no_cache: matches.is_on("no-cache"),
            pull: matches.is_on("pull"),
            quiet: matches.is_on("quiet"),
        }))
    }

    pub(super) fn pull(matches: &Matches) -> Command {
        Command::Pull {
            reference: matches.argument(0),
            all_tags: matches.is_on("all-tags"),
            platform: matches.platform_or_default(),
            disable_content_trust: matches.given_switch("disable-content-trust"),
            quiet: matches.is_on("quiet"),
        }
    }

    pub(super) fn push(matches: &Matches) -> Command {
        Command::Push {
            reference: matches.argument(0),
            all_tags: matches.is_on("all-tags"),
            platform: matches.filled("platform"),
            disable_content_trust: matches.given_switch("disable-content-trust"),
            quiet: matches.is_on("quiet"),
        }
    }

    pub(super) fn images(matches: &Matches) -> Command {
        Command::Images(Images {
            reference: matches.optional_argument(0),
            all: matches.is_on("all"),
            digests: matches.is_on("digests"),
            filters: matches.list("filter"),
            format: format(matches),
            no_trunc: matches.is_on("no-trunc"),
            quiet: matches.is_on("quiet"),
            tree: matches.is_on("tree"),
        })
    }

    pub(super) fn inspect(matches: &Matches) -> Command {
        Command::Inspect(Inspect {
            names: matches.arguments.clone(),
            format: matches.filled("format"),
            size: matches.is_on("size"),
            kind: matches.filled("type"),
            platform: None,
        })
    }

    pub(super) fn image_inspect(matches: &Matches) -> Command {
        Command::Inspect(Inspect {
            names: matches.arguments.clone(),
            format: matches.filled("format"),
            size: false,
            kind: Some("image".to_owned()),
            platform: matches.filled("platform"),
        })
    }

    pub(super) fn history(matches: &Matches) -> Command {
        Command::History {
            image: matches.argument(0),
            format: format(matches),
            human: !matches.is_given("human") || matches.is_on("human"),
            no_trunc: matches.is_on("no-trunc"),
            platform: matches.filled("platform"),
            quiet: matches.is_on("quiet"),
        }
    }

    pub(super) fn tag(matches: &Matches) -> Command {
        Command::Tag { source: matches.argument(0), target: matches.argument(1) }
    }

    pub(super) fn image_remove(matches: &Matches) -> Command {
        Command::ImageRemove(ImageRemove {
            images: matches.arguments.clone(),
            force: matches.is_on("force"),
            no_prune: matches.is_on("no-prune"),
            platforms: matches.list("platform"),
        })
    }

    pub(super) fn image_prune(matches: &Matches) -> Command {
        Command::ImagePrune {
            all: matches.is_on("all"),
            force: matches.is_on("force"),
            filters: matches.list("filter"),
        }
    }

    pub(super) fn save(matches: &Matches) -> Command {
        Command::Save(Save {
            images: matches.arguments.clone(),
            output: path(matches, "output"),
            platform: matches.filled("platform"),
        })
    }

    pub(super) fn load(matches: &Matches) -> Command {
        Command::Load(Load {
            input: path(matches, "input"),
            platform: matches.filled("platform"),
            quiet: matches.is_on("quiet"),
        })
    }

    pub(super) fn import(matches: &Matches) -> Command {
        Command::Import(Import {
            source: matches.argument(0),
            reference: matches.optional_argument(1),
            changes: matches.list("change"),
            message: matches.filled("message"),
            platform: matches.platform_or_default(),
        })
    }

    pub(super) fn manifest_inspect(matches: &Matches) -> Command {
        let mut names = matches.arguments.clone();
        let reference = names.pop().unwrap_or_default();
        Command::ManifestInspect(ManifestInspect {
            list: names.pop(),
            reference,
            insecure: matches.is_on("insecure"),
            raw: matches.is_on("raw"),
            verbose: matches.is_on("verbose"),
        })
    }

    pub(super) fn search(matches: &Matches) -> Command {
        Command::Search(Search {
            term: matches.argument(0),
            filters: matches.list("filter"),
            format: format(matches),
            limit: matches.number("limit"),
            no_trunc: matches.is_on("no-trunc"),
        })
    }

    pub(super) fn login(matches: &Matches) -> Command {
        Command::Login(Login {
            server: matches.optional_argument(0),
            username: matches.filled("username"),
            password: matches.text("password").map(str::to_owned),
            password_stdin: matches.is_on("password-stdin"),
        })
    }

    pub(super) fn logout(matches: &Matches) -> Command {
        Command::Logout { server: matches.optional_argument(0) }
    }

    pub(super) fn system_df(matches: &Matches) -> Command {
        Command::SystemDf { format: format(matches), verbose: matches.is_on("verbose") }
    }

    pub(super) fn version(matches: &Matches) -> Command {
        Command::Version { format: matches.filled("format") }
    }

    pub(super) fn info(matches: &Matches) -> Command {
        Command::Info { format: matches.filled("format") }
    }

    pub(super) fn explain(matches: &Matches) -> Command {
        Command::Explain(Explain {
            subject: matches.argument(0),
            format: matches.filled("format"),
            waste: matches.is_on("waste"),
        })
    }

    pub(super) fn copy(matches: &Matches) -> Command {
        Command::Copy(Copy {
            source: matches.argument(0),
            destination: matches.argument(1),
            platforms: matches.list("platform"),
            no_referrers: matches.is_on("no-referrers"),
            quiet: matches.is_on("quiet"),
        })
    }

    pub(super) fn daemon(matches: &Matches) -> Command {
        Command::Daemon(Daemon {
            hosts: matches.list("host"),
            socket_mode: matches.filled("socket-mode"),
            socket_group: matches.filled("socket-group"),
            tls_authority: path(matches, "tlscacert"),
            tls_certificate: path(matches, "tlscert"),
            tls_key: path(matches, "tlskey"),
            plain_loopback: matches.is_on("plain-loopback"),
            is_experimental: matches.is_on("experimental"),
            metrics_address: matches.filled("metrics-addr"),
            log_format: matches.filled("log-format"),
        })
    }

    pub(super) fn fsck(matches: &Matches) -> Command {
        Command::Fsck { repair: matches.is_on("repair"), quiet: matches.is_on("quiet") }
    }

    pub(super) fn gc(matches: &Matches) -> Command {
        Command::Gc { dry_run: matches.is_on("dry-run") }
    }

    pub(super) fn diff(matches: &Matches) -> Command {
        // One container, or two images.
        if matches.arguments.len() == 1 {
            return ContainerCommand::diff(matches);
        }
        Command::Diff {
            image: matches.argument(0),
            other: matches.argument(1),
            format: matches.filled("format"),
        }
    }

    pub(super) fn registry_serve(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Serve(Serve {
            root: path(matches, "root"),
            config: path(matches, "config"),
            addr: matches.filled("addr"),
            read_only: matches.is_on("read-only"),
            tls_certificate: path(matches, "tls-certificate"),
            tls_key: path(matches, "tls-key"),
        }))
    }

    pub(super) fn registry_gc(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Gc {
            root: path(matches, "root"),
            grace: matches.filled("grace"),
            untagged_after: matches.filled("untagged-after"),
        })
    }

    pub(super) fn registry_fsck(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Fsck {
            root: path(matches, "root"),
            repair: matches.is_on("repair"),
        })
    }

    pub(super) fn registry_import(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Import { root: matches.argument(0).into() })
    }

    pub(super) fn registry_user_add(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::UserAdd {
            name: matches.argument(0),
            root: path(matches, "root"),
            password_stdin: matches.is_on("password-stdin"),
        })
    }

    pub(super) fn registry_user_remove(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::UserRemove {
            name: matches.argument(0),
            root: path(matches, "root"),
        })
    }

    pub(super) fn registry_tags(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Tags {
            repository: matches.argument(0),
            root: path(matches, "root"),
        })
    }

    pub(super) fn registry_repositories(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Repositories {
            registry: matches.optional_argument(0),
            root: path(matches, "root"),
        })
    }

    pub(super) fn registry_delete(matches: &Matches) -> Command {
        Command::Registry(RegistryCommand::Delete {
            names: matches.arguments.clone(),
            force: matches.is_on("force"),
            root: path(matches, "root"),
        })
    }

    pub(super) fn completion(shell: Shell, matches: &Matches) -> Command {
        Command::Completion { shell, descriptions: !matches.is_on("no-descriptions") }
    }
}
