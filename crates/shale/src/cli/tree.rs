//! The commands. Texts that docker has are docker's, without what only a daemon or Docker Hub means.

mod build;
mod containers;
mod images;
mod registry;
mod run;
mod system;

use super::{
    Command,
    spec::{Completes, Flag, Kind, Place, Spec},
};

/// Returns the program.
pub(super) fn root() -> &'static Spec {
    &ROOT
}

/// Returns the program's flags that may also stand behind a command: all but the last, `--version`.
pub(super) fn global_flags() -> &'static [Flag] {
    &ROOT.flags[..ROOT.flags.len() - 1]
}

static ROOT: Spec = Spec {
    name: "shale",
    usage: "[OPTIONS] COMMAND [ARG...]",
    about: "Docker images without a daemon: pull, push, look, explain, serve",
    flags: &[
        Flag::value("config", None, Kind::Text, "Location of client config files (default \"~/.docker\")")
            .completed_by(Completes::Files),
        Flag::value(
            "data-root",
            None,
            Kind::Text,
            "Location of the image store (default \"~/.local/share/shale\", or \"/var/lib/shale\" for root)",
        )
        .completed_by(Completes::Files),
        Flag::switch("debug", Some('D'), "Enable debug mode"),
        Flag::value(
            "log-level",
            Some('l'),
            Kind::Text,
            "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")",
        )
        .or("\"warn\"")
        .completed_by(Completes::Words(&["debug", "info", "warn", "error", "fatal"])),
        Flag::switch("version", Some('v'), "Print version information and quit"),
    ],
    commands: &[
        build::BUILD,
        run::RUN,
        containers::EXEC,
        containers::LIST,
        images::PULL,
        images::PUSH,
        images::IMAGES,
        system::EXPLAIN,
        system::LOGIN,
        system::LOGOUT,
        system::SEARCH,
        system::VERSION,
        system::INFO,
        containers::CONTAINER,
        images::IMAGE,
        images::MANIFEST,
        registry::REGISTRY,
        system::SYSTEM,
        system::COMPLETION,
        system::COPY,
        system::DAEMON,
        system::DIFF,
        system::FSCK,
        system::GC,
        images::HISTORY,
        images::IMPORT,
        system::INSPECT,
        images::LOAD,
        images::REMOVE,
        images::SAVE,
        images::TAG,
        system::TOUR,
        containers::ATTACH,
        containers::COMMIT,
        containers::COPY,
        run::CREATE,
        containers::EXPORT,
        containers::KILL,
        containers::LOGS,
        containers::PAUSE,
        containers::REMOVE,
        containers::RENAME,
        containers::RESTART,
        containers::START,
        containers::STATS,
        containers::STOP,
        containers::TOP,
        containers::UNPAUSE,
        containers::UPDATE,
        containers::WAIT,
    ],
    ..Spec::EMPTY
};

const TABLE_FORMAT: &str = "Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

const OBJECT_FORMAT: &str = "Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

const FORMAT_OF_TABLE: Flag =
    Flag::value("format", None, Kind::Text, TABLE_FORMAT).completed_by(Completes::Words(&["json", "table"]));
const FORMAT_OF_OBJECT: Flag =
    Flag::value("format", Some('f'), Kind::Text, OBJECT_FORMAT).completed_by(Completes::Words(&["json"]));
const NO_TRUNC: Flag = Flag::switch("no-trunc", None, "Don't truncate output");

const PLATFORMS: Completes = Completes::Words(&[
    "linux/386",
    "linux/amd64",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/loong64",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "windows/amd64",
]);

/// A `--platform` with one value.
const fn platform(help: &'static str) -> Flag {
    Flag::value("platform", None, Kind::Text, help).completed_by(PLATFORMS)
}

const ANY: usize = usize::MAX;
