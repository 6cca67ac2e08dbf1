//! `run` and `create`: docker's flags, also those that nothing here can carry out, which then say so.

use super::containers::{DETACH_KEYS, bytes, list, text};
use super::{ANY, Completes, Flag, Kind, Place, Spec, platform};
use crate::cli::container::ContainerCommand;

const CID_FILE: Flag = Flag::value("cidfile", None, Kind::Text, "Write the container ID to the file");
const NOTHING: Flag = Flag::switch("", None, "");

/// The flags that `run` and `create` share, then those of `run` alone.
static RUN_FLAGS: [Flag; 104] = run_flags();
static CREATE_FLAGS: [Flag; 101] = {
    let all = run_flags();
    let mut flags = [NOTHING; 101];
    let mut at = 0;
    while at < flags.len() {
        flags[at] = all[at];
        at += 1;
    }
    flags
};

pub(super) const RUN: Spec = Spec {
    name: "run",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    paths: &["container run", "run"],
    arguments: (1, ANY),
    flags: &RUN_FLAGS,
    flags_first: true,
    place: Place::Common,
    make: Some(ContainerCommand::run),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const CREATE: Spec = Spec {
    name: "create",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    paths: &["container create", "create"],
    arguments: (1, ANY),
    flags: &CREATE_FLAGS,
    flags_first: true,
    make: Some(ContainerCommand::create),
    completes: Completes::Images,
    ..Spec::EMPTY
};

const fn run_flags() -> [Flag; 104] {
    [
        Flag::value("annotation", None, Kind::List("map"), "Add an annotation to the container (passed through to the OCI runtime)").or("map[]"),
        list("blkio-weight-device", "Block IO weight (relative device weight)").or("[]"),
        text("cgroup-parent", "Optional parent cgroup for the container"),
        Flag::value("cpu-count", None, Kind::Int, "CPU count (Windows only)"),
        Flag::value("cpu-percent", None, Kind::Int, "CPU percent (Windows only)"),
        Flag::value("cpu-rt-period", None, Kind::Int, "Limit CPU real-time period in microseconds"),
        Flag::value("cpu-rt-runtime", None, Kind::Int, "Limit CPU real-time runtime in microseconds"),
        list("device-read-bps", "Limit read rate (bytes per second) from a device").or("[]"),
        list("device-read-iops", "Limit read rate (IO per second) from a device").or("[]"),
        list("device-write-bps", "Limit write rate (bytes per second) to a device").or("[]"),
        list("device-write-iops", "Limit write rate (IO per second) to a device").or("[]"),
        Flag::switch("disable-content-trust", None, "Skip image verification; signatures are never looked at").or("true"),
        list("dns", "Set custom DNS servers"),
        list("dns-option", "Set DNS options"),
        list("dns-search", "Set custom DNS search domains"),
        Flag::value("gpus", None, Kind::Word("gpu-request"), "GPU devices to add to the container; not supported, see --device"),
        text("health-cmd", "Command to run to check health"),
        Flag::value("health-interval", None, Kind::Duration, "Time between running the check (ms|s|m|h)").or("0s"),
        Flag::value("health-retries", None, Kind::Int, "Consecutive failures needed to report unhealthy"),
        Flag::value("health-start-interval", None, Kind::Duration, "Time between running the check during the start period (ms|s|m|h)").or("0s"),
        Flag::value("health-start-period", None, Kind::Duration, "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)").or("0s"),
        Flag::value("health-timeout", None, Kind::Duration, "Maximum time to allow one check to run (ms|s|m|h)").or("0s"),
        bytes("io-maxbandwidth", None, "Maximum IO bandwidth limit for the system drive (Windows only)"),
        Flag::value("io-maxiops", None, Kind::Unsigned("uint"), "Maximum IOps limit for the system drive (Windows only)"),
        text("ip", "IPv4 address; there are no networks that have any"),
        text("ip6", "IPv6 address; there are no networks that have any"),
        bytes("kernel-memory", None, "Kernel memory limit; not supported"),
        list("link", "Add link to another container; not supported, see --network container:NAME"),
        list("link-local-ip", "Container IPv4/IPv6 link-local addresses; there are no networks that have any"),
        text("mac-address", "Container MAC address; there are no networks that have any"),
        list("network-alias", "Add network-scoped alias for the container; there are no networks that have any"),
        list("storage-opt", "Storage driver options for the container; not supported"),
        Flag::switch("use-api-socket", None, "Bind mount Docker API socket and required auth; not supported"),
        text("volume-driver", "Optional volume driver for the container; \"local\" is the only one"),
        list("volumes-from", "Mount volumes from the specified container(s)"),
        list("add-host", "Add a custom host-to-IP mapping (host:ip)"),
        Flag::value("attach", Some('a'), Kind::List("list"), "Attach to STDIN, STDOUT or STDERR"),
        Flag::value(
            "blkio-weight",
            None,
            Kind::Unsigned("uint16"),
            "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
        ),
        list("cap-add", "Add Linux capabilities"),
        list("cap-drop", "Drop Linux capabilities"),
        text("cgroupns", "Cgroup namespace to use (host|private)"),
        CID_FILE.completed_by(Completes::Files),
        Flag::value("cpu-period", None, Kind::Int, "Limit CPU CFS (Completely Fair Scheduler) period"),
        Flag::value("cpu-quota", None, Kind::Int, "Limit CPU CFS (Completely Fair Scheduler) quota"),
        Flag::value("cpu-shares", Some('c'), Kind::Int, "CPU shares (relative weight)"),
        Flag::value("cpus", None, Kind::Word("decimal"), "Number of CPUs"),
        text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
        text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
        list("device", "Add a host device to the container"),
        list("device-cgroup-rule", "Add a rule to the cgroup allowed devices list"),
        text("domainname", "Container NIS domain name"),
        text("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
        Flag::value("env", Some('e'), Kind::List("list"), "Set environment variables"),
        list("env-file", "Read in a file of environment variables").completed_by(Completes::Files),
        list("expose", "Expose a port or a range of ports"),
        list("group-add", "Add additional groups to join"),
        Flag::value("hostname", Some('h'), Kind::Text, "Container host name"),
        Flag::switch(
            "init",
            None,
            "Run an init inside the container that forwards signals and reaps processes",
        ),
        Flag::switch("interactive", Some('i'), "Keep STDIN open even if not attached"),
        text("ipc", "IPC mode to use"),
        Flag::value("label", Some('l'), Kind::List("list"), "Set meta data on a container"),
        list("label-file", "Read in a line delimited file of labels").completed_by(Completes::Files),
        bytes("memory", Some('m'), "Memory limit"),
        bytes("memory-reservation", None, "Memory soft limit"),
        bytes("memory-swap", None, "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
        Flag::value("memory-swappiness", None, Kind::Int, "Tune container memory swappiness (0 to 100)")
            .or("-1"),
        Flag::value("mount", None, Kind::List("mount"), "Attach a filesystem mount to the container"),
        text("name", "Assign a name to the container"),
        text("net", "Connect a container to a network, as --network"),
        Flag::value(
            "network",
            None,
            Kind::Word("network"),
            "Connect a container to a network: none (default), host or container:NAME",
        )
        .completed_by(Completes::Words(&["none", "host"])),
        Flag::switch("oom-kill-disable", None, "Disable OOM Killer"),
        Flag::value("oom-score-adj", None, Kind::Int, "Tune host's OOM preferences (-1000 to 1000)"),
        text("pid", "PID namespace to use"),
        Flag::value("pids-limit", None, Kind::Int, "Tune container pids limit (set -1 for unlimited)"),
        platform("Set platform if server is multi-platform capable"),
        Flag::switch("privileged", None, "Give extended privileges to this container"),
        text("pull", "Pull image before running (\"always\", \"missing\", \"never\")")
            .or("\"missing\"")
            .completed_by(Completes::Words(&["always", "missing", "never"])),
        Flag::switch("quiet", Some('q'), "Suppress the pull output"),
        Flag::switch("read-only", None, "Mount the container's root filesystem as read only"),
        Flag::switch(
            "rm",
            None,
            "Automatically remove the container and its associated anonymous volumes when it exits",
        ),
        list("security-opt", "Security Options"),
        bytes("shm-size", None, "Size of /dev/shm"),
        text("stop-signal", "Signal to stop the container"),
        Flag::value("stop-timeout", None, Kind::Int, "Timeout (in seconds) to stop a container"),
        Flag::value("sysctl", None, Kind::List("map"), "Sysctl options").or("map[]"),
        list("tmpfs", "Mount a tmpfs directory"),
        Flag::switch("tty", Some('t'), "Allocate a pseudo-TTY"),
        Flag::value("ulimit", None, Kind::List("ulimit"), "Ulimit options").or("[]"),
        Flag::value("user", Some('u'), Kind::Text, "Username or UID (format: <name|uid>[:<group|gid>])"),
        text("uts", "UTS namespace to use"),
        Flag::value("volume", Some('v'), Kind::List("list"), "Bind mount a volume"),
        Flag::value("workdir", Some('w'), Kind::Text, "Working directory inside the container"),
        text("isolation", "Container isolation technology; \"default\" is the only one on Linux"),
        text("log-driver", "Logging driver for the container: \"json-file\" (default), \"local\" or \"none\"")
            .completed_by(Completes::Words(&["json-file", "none"])),
        list("log-opt", "Log driver options: \"max-size\", \"max-file\" and \"compress\""),
        Flag::value("publish", Some('p'), Kind::List("list"), "Publish a container's port(s) to the host; needs --network host"),
        Flag::switch("publish-all", Some('P'), "Publish all exposed ports to random ports; needs --network host"),
        text("restart", "Restart policy to apply when a container exits: no, on-failure[:max-retries], always, unless-stopped")
            .or("\"no\"")
            .completed_by(Completes::Words(&["no", "on-failure", "always", "unless-stopped"])),
        text("runtime", "Runtime to use for this container: runc, crun, or the path of another"),
        text("userns", "User namespace to use; \"host\" is the only one"),
        Flag::switch("no-healthcheck", None, "Disable any container-specified HEALTHCHECK"),
        Flag::switch("detach", Some('d'), "Run container in background and print container ID"),
        DETACH_KEYS,
        Flag::switch("sig-proxy", None, "Proxy received signals to the process").or("true"),
    ]
}
