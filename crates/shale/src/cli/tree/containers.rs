//! Containers.

use super::{ANY, Completes, FORMAT_OF_OBJECT, FORMAT_OF_TABLE, Flag, Kind, NO_TRUNC, Place, Spec};
use crate::cli::container::ContainerCommand;

pub(super) const DETACH_KEYS: Flag =
    Flag::value("detach-keys", None, Kind::Text, "Override the key sequence for detaching a container");

pub(super) const fn list(name: &'static str, help: &'static str) -> Flag {
    Flag::value(name, None, Kind::List("list"), help)
}

pub(super) const fn text(name: &'static str, help: &'static str) -> Flag {
    Flag::value(name, None, Kind::Text, help)
}

pub(super) const fn bytes(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag::value(name, short, Kind::Word("bytes"), help)
}

pub(super) const EXEC: Spec = Spec {
    name: "exec",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    paths: &["container exec", "exec"],
    arguments: (2, ANY),
    flags: &[
        Flag::switch("detach", Some('d'), "Detached mode: run command in the background"),
        DETACH_KEYS,
        Flag::value("env", Some('e'), Kind::List("list"), "Set environment variables"),
        list("env-file", "Read in a file of environment variables").completed_by(Completes::Files),
        Flag::switch("interactive", Some('i'), "Keep STDIN open even if not attached"),
        Flag::switch("privileged", None, "Give extended privileges to the command"),
        Flag::switch("tty", Some('t'), "Allocate a pseudo-TTY"),
        Flag::value("user", Some('u'), Kind::Text, "Username or UID (format: \"<name|uid>[:<group|gid>]\")"),
        Flag::value("workdir", Some('w'), Kind::Text, "Working directory inside the container"),
    ],
    flags_first: true,
    place: Place::Common,
    make: Some(ContainerCommand::exec),
    ..Spec::EMPTY
};

pub(super) const LIST: Spec = Spec {
    name: "ps",
    usage: "[OPTIONS]",
    about: "List containers",
    paths: &["container ls", "container list", "container ps", "ps"],
    flags: &[
        Flag::switch("all", Some('a'), "Show all containers (default shows just running)"),
        Flag::value("filter", Some('f'), Kind::Filter, "Filter output based on conditions provided"),
        FORMAT_OF_TABLE,
        Flag::value("last", Some('n'), Kind::Int, "Show n last created containers (includes all states)")
            .or("-1"),
        Flag::switch("latest", Some('l'), "Show the latest created container (includes all states)"),
        NO_TRUNC,
        Flag::switch("quiet", Some('q'), "Only display container IDs"),
        Flag::switch("size", Some('s'), "Display total file sizes"),
    ],
    place: Place::Common,
    make: Some(ContainerCommand::list),
    ..Spec::EMPTY
};

/// A command with any number of containers and no flags.
const fn on_containers(
    name: &'static str,
    about: &'static str,
    paths: &'static [&'static str],
    make: fn(&crate::cli::flags::Matches) -> crate::cli::Command,
) -> Spec {
    Spec {
        name,
        usage: "CONTAINER [CONTAINER...]",
        about,
        paths,
        arguments: (1, ANY),
        make: Some(make),
        ..Spec::EMPTY
    }
}

pub(super) const PAUSE: Spec = on_containers(
    "pause",
    "Pause all processes within one or more containers",
    &["container pause", "pause"],
    ContainerCommand::pause,
);

pub(super) const UNPAUSE: Spec = on_containers(
    "unpause",
    "Unpause all processes within one or more containers",
    &["container unpause", "unpause"],
    ContainerCommand::unpause,
);

pub(super) const WAIT: Spec = on_containers(
    "wait",
    "Block until one or more containers stop, then print their exit codes",
    &["container wait", "wait"],
    ContainerCommand::wait,
);

pub(super) const START: Spec = Spec {
    name: "start",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    paths: &["container start", "start"],
    arguments: (1, ANY),
    flags: &[
        Flag::switch("attach", Some('a'), "Attach STDOUT/STDERR and forward signals"),
        DETACH_KEYS,
        Flag::switch("interactive", Some('i'), "Attach container's STDIN"),
    ],
    make: Some(ContainerCommand::start),
    ..Spec::EMPTY
};

const STOP_FLAGS: &[Flag] = &[
    Flag::value("signal", Some('s'), Kind::Text, "Signal to send to the container"),
    Flag::value("timeout", Some('t'), Kind::Int, "Seconds to wait before killing the container"),
    Flag::value("time", None, Kind::Int, "Seconds to wait before killing the container, as --timeout"),
];

pub(super) const STOP: Spec = Spec {
    name: "stop",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    paths: &["container stop", "stop"],
    arguments: (1, ANY),
    flags: STOP_FLAGS,
    make: Some(ContainerCommand::stop),
    ..Spec::EMPTY
};

pub(super) const RESTART: Spec = Spec {
    name: "restart",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    paths: &["container restart", "restart"],
    arguments: (1, ANY),
    flags: STOP_FLAGS,
    make: Some(ContainerCommand::restart),
    ..Spec::EMPTY
};

pub(super) const KILL: Spec = Spec {
    name: "kill",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    paths: &["container kill", "kill"],
    arguments: (1, ANY),
    flags: &[Flag::value("signal", Some('s'), Kind::Text, "Signal to send to the container")],
    make: Some(ContainerCommand::kill),
    ..Spec::EMPTY
};

pub(super) const LOGS: Spec = Spec {
    name: "logs",
    usage: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    paths: &["container logs", "logs"],
    arguments: (1, 1),
    flags: &[
        Flag::switch("details", None, "Show extra details provided to logs"),
        Flag::switch("follow", Some('f'), "Follow log output"),
        text(
            "since",
            "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
        Flag::value("tail", Some('n'), Kind::Text, "Number of lines to show from the end of the logs")
            .or("\"all\""),
        Flag::switch("timestamps", Some('t'), "Show timestamps"),
        text(
            "until",
            "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
    ],
    make: Some(ContainerCommand::logs),
    ..Spec::EMPTY
};

pub(super) const ATTACH: Spec = Spec {
    name: "attach",
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    paths: &["container attach", "attach"],
    arguments: (1, 1),
    flags: &[
        DETACH_KEYS,
        Flag::switch("no-stdin", None, "Do not attach STDIN"),
        Flag::switch("sig-proxy", None, "Proxy all received signals to the process").or("true"),
    ],
    make: Some(ContainerCommand::attach),
    ..Spec::EMPTY
};

pub(super) const REMOVE: Spec = Spec {
    name: "rm",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    paths: &["container rm", "container remove", "rm"],
    arguments: (1, ANY),
    flags: &[
        Flag::switch("force", Some('f'), "Force the removal of a running container (uses SIGKILL)"),
        Flag::switch("volumes", Some('v'), "Remove anonymous volumes associated with the container"),
    ],
    make: Some(ContainerCommand::remove),
    ..Spec::EMPTY
};

pub(super) const EXPORT: Spec = Spec {
    name: "export",
    usage: "[OPTIONS] CONTAINER",
    about: "Export a container's filesystem as a tar archive",
    paths: &["container export", "export"],
    arguments: (1, 1),
    flags: &[Flag::value("output", Some('o'), Kind::Text, "Write to a file, instead of STDOUT")
        .completed_by(Completes::Files)],
    make: Some(ContainerCommand::export),
    ..Spec::EMPTY
};

pub(super) const COMMIT: Spec = Spec {
    name: "commit",
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    paths: &["container commit", "commit"],
    arguments: (1, 2),
    flags: &[
        Flag::value(
            "author",
            Some('a'),
            Kind::Text,
            "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")",
        ),
        Flag::value(
            "change",
            Some('c'),
            Kind::List("list"),
            "Apply Dockerfile instruction to the created image",
        ),
        Flag::value("message", Some('m'), Kind::Text, "Commit message"),
        Flag::switch("pause", Some('p'), "Pause container during commit").or("true"),
    ],
    make: Some(ContainerCommand::commit),
    ..Spec::EMPTY
};

pub(super) const COPY: Spec = Spec {
    name: "cp",
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-",
    about: "Copy files/folders between a container and the local filesystem",
    long: "Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.",
    paths: &["container cp", "cp"],
    arguments: (2, 2),
    flags: &[
        Flag::switch("archive", Some('a'), "Archive mode (copy all uid/gid information)"),
        Flag::switch("follow-link", Some('L'), "Always follow symbol link in SRC_PATH"),
        Flag::switch(
            "quiet",
            Some('q'),
            "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
        ),
    ],
    make: Some(ContainerCommand::copy),
    completes: Completes::Files,
    ..Spec::EMPTY
};

pub(super) const RENAME: Spec = Spec {
    name: "rename",
    usage: "CONTAINER NEW_NAME",
    about: "Rename a container",
    paths: &["container rename", "rename"],
    arguments: (2, 2),
    make: Some(ContainerCommand::rename),
    ..Spec::EMPTY
};

pub(super) const STATS: Spec = Spec {
    name: "stats",
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Display a live stream of container(s) resource usage statistics",
    paths: &["container stats", "stats"],
    arguments: (0, ANY),
    flags: &[
        Flag::switch("all", Some('a'), "Show all containers (default shows just running)"),
        FORMAT_OF_TABLE,
        Flag::switch("no-stream", None, "Disable streaming stats and only pull the first result"),
        Flag::switch("no-trunc", None, "Do not truncate output"),
    ],
    make: Some(ContainerCommand::stats),
    ..Spec::EMPTY
};

pub(super) const UPDATE: Spec = Spec {
    name: "update",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Update configuration of one or more containers",
    paths: &["container update", "update"],
    arguments: (1, ANY),
    flags: &[
        Flag::value(
            "blkio-weight",
            None,
            Kind::Int,
            "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
        ),
        Flag::value("cpu-period", None, Kind::Int, "Limit CPU CFS (Completely Fair Scheduler) period"),
        Flag::value("cpu-quota", None, Kind::Int, "Limit CPU CFS (Completely Fair Scheduler) quota"),
        Flag::value("cpu-shares", Some('c'), Kind::Int, "CPU shares (relative weight)"),
        Flag::value("cpus", None, Kind::Word("decimal"), "Number of CPUs"),
        text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
        text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
        bytes("memory", Some('m'), "Memory limit"),
        bytes("memory-reservation", None, "Memory soft limit"),
        bytes("memory-swap", None, "Swap limit equal to memory plus swap: -1 to enable unlimited swap"),
        Flag::value("pids-limit", None, Kind::Int, "Tune container pids limit (set -1 for unlimited)"),
        text("restart", "Restart policy to apply when a container exits"),
    ],
    make: Some(ContainerCommand::update),
    ..Spec::EMPTY
};

pub(super) const TOP: Spec = Spec {
    name: "top",
    usage: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    paths: &["container top", "top"],
    arguments: (1, ANY),
    flags_first: true,
    make: Some(ContainerCommand::top),
    ..Spec::EMPTY
};

const PRUNE: Spec = Spec {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    flags: &[
        Flag::value("filter", None, Kind::Filter, "Provide filter values (e.g. \"until=<timestamp>\")"),
        Flag::switch("force", Some('f'), "Do not prompt for confirmation"),
    ],
    make: Some(ContainerCommand::prune),
    ..Spec::EMPTY
};

const DIFF: Spec = Spec {
    name: "diff",
    usage: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    paths: &["container diff", "diff"],
    arguments: (1, 1),
    make: Some(ContainerCommand::diff),
    ..Spec::EMPTY
};

const INSPECT: Spec = Spec {
    name: "inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    arguments: (1, ANY),
    flags: &[FORMAT_OF_OBJECT, Flag::switch("size", Some('s'), "Display total file sizes")],
    make: Some(ContainerCommand::inspect),
    ..Spec::EMPTY
};

pub(super) const CONTAINER: Spec = Spec {
    name: "container",
    usage: "COMMAND",
    about: "Manage containers",
    place: Place::Management,
    commands: &[
        ATTACH,
        COMMIT,
        COPY,
        super::run::CREATE,
        DIFF,
        EXEC,
        EXPORT,
        INSPECT,
        KILL,
        LOGS,
        Spec { name: "ls", aliases: &["list", "ps"], ..LIST },
        PAUSE,
        PRUNE,
        RENAME,
        RESTART,
        Spec { name: "rm", aliases: &["remove"], ..REMOVE },
        super::run::RUN,
        START,
        STATS,
        STOP,
        TOP,
        UNPAUSE,
        UPDATE,
        WAIT,
    ],
    ..Spec::EMPTY
};
