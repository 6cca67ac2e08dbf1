//! What a person may ask for about containers, as plain values.

use std::path::PathBuf;

use super::command::{Command, Inspect};
use super::flags::Matches;

/// A command about containers with everything that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the flags and arguments of the same name.
pub enum ContainerCommand {
    Run(Box<Run>),
    Create(Box<Run>),
    Start { containers: Vec<String>, attach: bool, interactive: bool, detach_keys: Option<String> },
    Stop { containers: Vec<String>, signal: Option<String>, timeout_seconds: Option<i64> },
    Restart { containers: Vec<String>, signal: Option<String>, timeout_seconds: Option<i64> },
    Kill { containers: Vec<String>, signal: Option<String> },
    Pause { containers: Vec<String> },
    Unpause { containers: Vec<String> },
    Wait { containers: Vec<String> },
    Exec(Exec),
    Logs(Logs),
    Attach { container: String, no_stdin: bool, sig_proxy: bool, detach_keys: Option<String> },
    List(List),
    Remove { containers: Vec<String>, force: bool, volumes: bool },
    Diff { container: String },
    Export { container: String, output: Option<PathBuf> },
    Prune { force: bool, filters: Vec<String> },
    Top { container: String, ps_args: Vec<String> },
    Commit(CommitImage),
    Copy(ContainerCopy),
    Rename { container: String, name: String },
    Stats(ShowStats),
    Update(Box<UpdateLimits>),
}

/// `shale commit`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CommitImage {
    pub container: String,
    pub reference: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    pub changes: Vec<String>,
    pub pause: bool,
}

/// `shale cp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ContainerCopy {
    pub source: String,
    pub destination: String,
    pub archive: bool,
    pub follow_link: bool,
    /// Quiet without a terminal, unless asked.
    pub quiet: Option<bool>,
}

/// `shale stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ShowStats {
    pub containers: Vec<String>,
    pub all: bool,
    pub format: String,
    pub no_stream: bool,
    pub no_trunc: bool,
}

/// `shale update`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UpdateLimits {
    pub containers: Vec<String>,
    pub blkio_weight: Option<i64>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub cpu_shares: Option<i64>,
    pub cpus: Option<String>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub memory: Option<String>,
    pub memory_reservation: Option<String>,
    pub memory_swap: Option<String>,
    pub pids_limit: Option<i64>,
    pub restart: Option<String>,
}

/// `shale run` and `shale create`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Run {
    pub image: String,
    pub command: Vec<String>,
    pub detach: bool,
    pub interactive: bool,
    pub tty: bool,
    pub remove: bool,
    pub attach: Vec<String>,
    pub sig_proxy: bool,
    pub name: Option<String>,
    pub platform: Option<String>,
    pub pull: Option<String>,
    pub quiet: bool,
    pub cid_file: Option<PathBuf>,
    pub env: Vec<String>,
    pub env_files: Vec<String>,
    pub labels: Vec<String>,
    pub label_files: Vec<String>,
    pub volumes: Vec<String>,
    pub mounts: Vec<String>,
    pub tmpfs: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    /// Also an empty one counts: it takes the image's away.
    pub entrypoint: Option<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub network: Option<String>,
    pub add_hosts: Vec<String>,
    pub group_add: Vec<String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub read_only: bool,
    pub init: bool,
    pub security_opt: Vec<String>,
    pub devices: Vec<String>,
    pub device_cgroup_rules: Vec<String>,
    pub sysctls: Vec<String>,
    pub ulimits: Vec<String>,
    pub ipc: Option<String>,
    pub pid: Option<String>,
    pub uts: Option<String>,
    pub cgroupns: Option<String>,
    pub shm_size: Option<String>,
    pub memory: Option<String>,
    pub memory_swap: Option<String>,
    pub memory_reservation: Option<String>,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: bool,
    pub oom_score_adj: Option<i64>,
    pub cpus: Option<String>,
    pub cpu_shares: Option<i64>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids_limit: Option<i64>,
    pub blkio_weight: Option<i64>,
    pub expose: Vec<String>,
    pub stop_signal: Option<String>,
    pub stop_timeout: Option<i64>,
    pub isolation: Option<String>,
    pub log_driver: Option<String>,
    pub log_options: Vec<String>,
    pub restart: Option<String>,
    pub runtime: Option<String>,
    pub userns: Option<String>,
    pub no_healthcheck: bool,
    pub detach_keys: Option<String>,
    pub publish: Vec<String>,
    pub publish_all: bool,
    pub annotations: Vec<String>,
    pub blkio_weight_devices: Vec<String>,
    pub cgroup_parent: Option<String>,
    pub cpu_rt_period: Option<i64>,
    pub cpu_rt_runtime: Option<i64>,
    pub device_read_bps: Vec<String>,
    pub device_read_iops: Vec<String>,
    pub device_write_bps: Vec<String>,
    pub device_write_iops: Vec<String>,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub health: Health,
    pub volume_driver: Option<String>,
    pub volumes_from: Vec<String>,
    /// Flags that were given and that nothing here can carry out, with their last values.
    pub impossible: Vec<(&'static str, String)>,
}

/// `--health-…` of `run` and `create`; durations in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Health {
    pub command: Option<String>,
    pub interval: Option<i64>,
    pub retries: Option<i64>,
    pub start_interval: Option<i64>,
    pub start_period: Option<i64>,
    pub timeout: Option<i64>,
}

/// Flags of docker that need what is not here: Windows, networks with addresses, plugins, quotas.
const IMPOSSIBLE: [&str; 15] = [
    "cpu-count",
    "cpu-percent",
    "io-maxbandwidth",
    "io-maxiops",
    "gpus",
    "ip",
    "ip6",
    "kernel-memory",
    "link",
    "link-local-ip",
    "mac-address",
    "network-alias",
    "storage-opt",
    "use-api-socket",
    "disable-content-trust",
];

/// `shale exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Exec {
    pub container: String,
    pub command: Vec<String>,
    pub detach: bool,
    pub interactive: bool,
    pub tty: bool,
    pub privileged: bool,
    pub env: Vec<String>,
    pub env_files: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub detach_keys: Option<String>,
}

/// `shale logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Logs {
    pub container: String,
    pub details: bool,
    pub follow: bool,
    pub since: Option<String>,
    pub until: Option<String>,
    pub tail: Option<String>,
    pub timestamps: bool,
}

/// `shale ps`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct List {
    pub all: bool,
    pub filters: Vec<String>,
    pub format: String,
    pub last: Option<i64>,
    pub latest: bool,
    pub no_trunc: bool,
    pub quiet: bool,
    pub size: bool,
}

/// A switch that is on unless it is turned off.
fn is_not_off(matches: &Matches, flag: &str) -> bool {
    !matches.is_given(flag) || matches.is_on(flag)
}

/// Makers, one for each command of the tree.
impl ContainerCommand {
    pub(super) fn run(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Run(Box::new(read_run(matches))))
    }

    pub(super) fn create(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Create(Box::new(read_run(matches))))
    }

    pub(super) fn start(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Start {
            containers: matches.arguments.clone(),
            attach: matches.is_on("attach"),
            interactive: matches.is_on("interactive"),
            detach_keys: matches.filled("detach-keys"),
        })
    }

    pub(super) fn stop(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Stop {
            containers: matches.arguments.clone(),
            signal: matches.filled("signal"),
            timeout_seconds: matches.number("timeout").or_else(|| matches.number("time")),
        })
    }

    pub(super) fn restart(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Restart {
            containers: matches.arguments.clone(),
            signal: matches.filled("signal"),
            timeout_seconds: matches.number("timeout").or_else(|| matches.number("time")),
        })
    }

    pub(super) fn kill(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Kill {
            containers: matches.arguments.clone(),
            signal: matches.filled("signal"),
        })
    }

    pub(super) fn pause(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Pause { containers: matches.arguments.clone() })
    }

    pub(super) fn unpause(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Unpause { containers: matches.arguments.clone() })
    }

    pub(super) fn wait(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Wait { containers: matches.arguments.clone() })
    }

    pub(super) fn exec(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Exec(Exec {
            container: matches.argument(0),
            command: matches.arguments.get(1..).unwrap_or_default().to_vec(),
            detach: matches.is_on("detach"),
            interactive: matches.is_on("interactive"),
            tty: matches.is_on("tty"),
            privileged: matches.is_on("privileged"),
            env: matches.list("env"),
            env_files: matches.list("env-file"),
            user: matches.filled("user"),
            working_dir: matches.filled("workdir"),
            detach_keys: matches.filled("detach-keys"),
        }))
    }

    pub(super) fn logs(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Logs(Logs {
            container: matches.argument(0),
            details: matches.is_on("details"),
            follow: matches.is_on("follow"),
            since: matches.filled("since"),
            until: matches.filled("until"),
            tail: matches.filled("tail"),
            timestamps: matches.is_on("timestamps"),
        }))
    }

    pub(super) fn attach(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Attach {
            container: matches.argument(0),
            no_stdin: matches.is_on("no-stdin"),
            sig_proxy: is_not_off(matches, "sig-proxy"),
            detach_keys: matches.filled("detach-keys"),
        })
    }

    pub(super) fn list(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::List(List {
            all: matches.is_on("all"),
            filters: matches.list("filter"),
            format: matches.text("format").unwrap_or_default().to_owned(),
            last: matches.number("last"),
            latest: matches.is_on("latest"),
            no_trunc: matches.is_on("no-trunc"),
            quiet: matches.is_on("quiet"),
            size: matches.is_on("size"),
        }))
    }

    pub(super) fn remove(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Remove {
            containers: matches.arguments.clone(),
            force: matches.is_on("force"),
            volumes: matches.is_on("volumes"),
        })
    }

    pub(super) fn diff(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Diff { container: matches.argument(0) })
    }

    pub(super) fn export(matches: &Matches) -> Command {
        let output = matches.filled("output").map(PathBuf::from);
        Command::Container(ContainerCommand::Export { container: matches.argument(0), output })
    }

    pub(super) fn prune(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Prune {
            force: matches.is_on("force"),
            filters: matches.list("filter"),
        })
    }

    pub(super) fn top(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Top {
            container: matches.argument(0),
            ps_args: matches.arguments.get(1..).unwrap_or_default().to_vec(),
        })
    }

    pub(super) fn inspect(matches: &Matches) -> Command {
        Command::Inspect(Inspect {
            names: matches.arguments.clone(),
            format: matches.filled("format"),
            size: matches.is_on("size"),
            kind: Some("container".to_owned()),
            platform: None,
        })
    }
}

/// Makers of the commands that copy, rename and watch.
impl ContainerCommand {
    pub(super) fn commit(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Commit(CommitImage {
            container: matches.argument(0),
            reference: matches.optional_argument(1).filter(|name| !name.is_empty()),
            author: matches.filled("author"),
            message: matches.filled("message"),
            changes: matches.list("change"),
            pause: is_not_off(matches, "pause"),
        }))
    }

    pub(super) fn copy(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Copy(ContainerCopy {
            source: matches.argument(0),
            destination: matches.argument(1),
            archive: matches.is_on("archive"),
            follow_link: matches.is_on("follow-link"),
            quiet: matches.is_given("quiet").then(|| matches.is_on("quiet")),
        }))
    }

    pub(super) fn rename(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Rename {
            container: matches.argument(0),
            name: matches.argument(1),
        })
    }

    pub(super) fn stats(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Stats(ShowStats {
            containers: matches.arguments.clone(),
            all: matches.is_on("all"),
            format: matches.text("format").unwrap_or_default().to_owned(),
            no_stream: matches.is_on("no-stream"),
            no_trunc: matches.is_on("no-trunc"),
        }))
    }

    pub(super) fn update(matches: &Matches) -> Command {
        Command::Container(ContainerCommand::Update(Box::new(UpdateLimits {
            containers: matches.arguments.clone(),
            blkio_weight: matches.number("blkio-weight"),
            cpu_period: matches.number("cpu-period"),
            cpu_quota: matches.number("cpu-quota"),
            cpu_shares: matches.number("cpu-shares"),
            cpus: matches.filled("cpus"),
            cpuset_cpus: matches.filled("cpuset-cpus"),
            cpuset_mems: matches.filled("cpuset-mems"),
            memory: matches.filled("memory"),
            memory_reservation: matches.filled("memory-reservation"),
            memory_swap: matches.filled("memory-swap"),
            pids_limit: matches.number("pids-limit"),
            restart: matches.filled("restart"),
        })))
    }
}

fn read_run(matches: &Matches) -> Run {
    Run {
        image: matches.argument(0),
        command: matches.arguments.get(1..).unwrap_or_default().to_vec(),
        detach: matches.is_on("detach"),
        interactive: matches.is_on("interactive"),
        tty: matches.is_on("tty"),
        remove: matches.is_on("rm"),
        attach: matches.list("attach"),
        sig_proxy: is_not_off(matches, "sig-proxy"),
        name: matches.filled("name"),
        platform: matches.platform_or_default(),
        pull: matches.filled("pull"),
        quiet: matches.is_on("quiet"),
        cid_file: matches.filled("cidfile").map(PathBuf::from),
        env: matches.list("env"),
        env_files: matches.list("env-file"),
        labels: matches.list("label"),
        label_files: matches.list("label-file"),
        volumes: matches.list("volume"),
        mounts: matches.list("mount"),
        tmpfs: matches.list("tmpfs"),
        working_dir: matches.filled("workdir"),
        user: matches.filled("user"),
        entrypoint: matches.text("entrypoint").map(str::to_owned),
        hostname: matches.filled("hostname"),
        domainname: matches.filled("domainname"),
        network: matches.filled("network").or_else(|| matches.filled("net")),
        add_hosts: matches.list("add-host"),
        group_add: matches.list("group-add"),
        cap_add: matches.list("cap-add"),
        cap_drop: matches.list("cap-drop"),
        privileged: matches.is_on("privileged"),
        read_only: matches.is_on("read-only"),
        init: matches.is_on("init"),
        security_opt: matches.list("security-opt"),
        devices: matches.list("device"),
        device_cgroup_rules: matches.list("device-cgroup-rule"),
        sysctls: matches.list("sysctl"),
        ulimits: matches.list("ulimit"),
        ipc: matches.filled("ipc"),
        pid: matches.filled("pid"),
        uts: matches.filled("uts"),
        cgroupns: matches.filled("cgroupns"),
        shm_size: matches.filled("shm-size"),
        memory: matches.filled("memory"),
        memory_swap: matches.filled("memory-swap"),
        memory_reservation: matches.filled("memory-reservation"),
        memory_swappiness: matches.number("memory-swappiness"),
        oom_kill_disable: matches.is_on("oom-kill-disable"),
        oom_score_adj: matches.number("oom-score-adj"),
        cpus: matches.filled("cpus"),
        cpu_shares: matches.number("cpu-shares"),
        cpu_period: matches.number("cpu-period"),
        cpu_quota: matches.number("cpu-quota"),
        cpuset_cpus: matches.filled("cpuset-cpus"),
        cpuset_mems: matches.filled("cpuset-mems"),
        pids_limit: matches.number("pids-limit"),
        blkio_weight: matches.number("blkio-weight"),
        expose: matches.list("expose"),
        stop_signal: matches.filled("stop-signal"),
        stop_timeout: matches.number("stop-timeout"),
        isolation: matches.filled("isolation"),
        log_driver: matches.filled("log-driver"),
        log_options: matches.list("log-opt"),
        restart: matches.filled("restart"),
        runtime: matches.filled("runtime"),
        userns: matches.filled("userns"),
        no_healthcheck: matches.is_on("no-healthcheck"),
        detach_keys: matches.filled("detach-keys"),
        publish: matches.list("publish"),
        publish_all: matches.is_on("publish-all"),
        annotations: matches.list("annotation"),
        blkio_weight_devices: matches.list("blkio-weight-device"),
        cgroup_parent: matches.filled("cgroup-parent"),
        cpu_rt_period: matches.number("cpu-rt-period"),
        cpu_rt_runtime: matches.number("cpu-rt-runtime"),
        device_read_bps: matches.list("device-read-bps"),
        device_read_iops: matches.list("device-read-iops"),
        device_write_bps: matches.list("device-write-bps"),
        device_write_iops: matches.list("device-write-iops"),
        dns: matches.list("dns"),
        dns_options: matches.list("dns-option"),
        dns_search: matches.list("dns-search"),
        health: Health {
            command: matches.filled("health-cmd"),
            interval: matches.duration("health-interval"),
            retries: matches.number("health-retries"),
            start_interval: matches.duration("health-start-interval"),
            start_period: matches.duration("health-start-period"),
            timeout: matches.duration("health-timeout"),
        },
        volume_driver: matches.filled("volume-driver"),
        volumes_from: matches.list("volumes-from"),
        impossible: IMPOSSIBLE
            .into_iter()
            .filter_map(|flag| Some((flag, matches.text(flag)?.to_owned())))
            .collect(),
    }
}
