//! Accounts, the store as a whole, and what docker does not have.

use super::{
    ANY, Command, Completes, FORMAT_OF_OBJECT, FORMAT_OF_TABLE, Flag, Kind, NO_TRUNC, PLATFORMS, Place, Spec,
};
use crate::cli::{command::Shell, flags::Matches};

pub(super) const LOGIN: Spec = Spec {
    name: "login",
    usage: "[OPTIONS] [SERVER]",
    about: "Authenticate to a registry",
    long: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    arguments: (0, 1),
    flags: &[
        Flag::value("password", Some('p'), Kind::Text, "Password or Personal Access Token (PAT)"),
        Flag::switch("password-stdin", None, "Take the Password or Personal Access Token (PAT) from stdin"),
        Flag::value("username", Some('u'), Kind::Text, "Username"),
    ],
    place: Place::Common,
    make: Some(Command::login),
    ..Spec::EMPTY
};

pub(super) const LOGOUT: Spec = Spec {
    name: "logout",
    usage: "[SERVER]",
    about: "Log out from a registry",
    long: "Log out from a registry.\nIf no server is specified, the default is Docker Hub.",
    arguments: (0, 1),
    place: Place::Common,
    make: Some(Command::logout),
    ..Spec::EMPTY
};

pub(super) const SEARCH: Spec = Spec {
    name: "search",
    usage: "[OPTIONS] TERM",
    about: "Search Docker Hub or a registry for images",
    long: "Search Docker Hub for images.\nA TERM such as \"registry.example.com/web\" searches that registry's catalog.",
    arguments: (1, 1),
    flags: &[
        Flag::value("filter", Some('f'), Kind::Filter, "Filter output based on conditions provided"),
        Flag::value("format", None, Kind::Text, "Pretty-print search using a Go template")
            .completed_by(Completes::Words(&["json", "table"])),
        Flag::value("limit", None, Kind::Int, "Max number of search results"),
        NO_TRUNC,
    ],
    place: Place::Common,
    make: Some(Command::search),
    ..Spec::EMPTY
};

pub(super) const VERSION: Spec = Spec {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the Shale version information",
    flags: &[FORMAT_OF_OBJECT],
    place: Place::Common,
    make: Some(Command::version),
    ..Spec::EMPTY
};

pub(super) const INFO: Spec = Spec {
    name: "info",
    usage: "[OPTIONS]",
    about: "Display system-wide information",
    paths: &["system info", "info"],
    flags: &[FORMAT_OF_OBJECT],
    place: Place::Common,
    make: Some(Command::info),
    ..Spec::EMPTY
};

pub(super) const INSPECT: Spec = Spec {
    name: "inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on Docker objects",
    arguments: (1, ANY),
    flags: &[
        FORMAT_OF_OBJECT,
        Flag::switch("size", Some('s'), "Display total file sizes if the type is container"),
        Flag::value("type", None, Kind::Text, "Only inspect objects of the given type")
            .completed_by(Completes::Words(&["container", "image"])),
    ],
    make: Some(Command::inspect),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const SYSTEM: Spec = Spec {
    name: "system",
    usage: "COMMAND",
    about: "Manage the store",
    place: Place::Management,
    commands: &[
        Spec {
            name: "df",
            usage: "[OPTIONS]",
            about: "Show disk usage",
            flags: &[
                FORMAT_OF_TABLE,
                Flag::switch("verbose", Some('v'), "Show detailed information on space usage"),
            ],
            make: Some(Command::system_df),
            ..Spec::EMPTY
        },
        INFO,
    ],
    ..Spec::EMPTY
};

pub(super) const EXPLAIN: Spec = Spec {
    name: "explain",
    usage: "[OPTIONS] ANYTHING",
    about: "Say what an identifier is and how it connects",
    long: "Say what an identifier is and how it connects.

ANYTHING is a name, an image ID or its beginning, the digest of a manifest, config or
layer, a diff ID, a chain ID, a cache ID, or a path below \"overlay2/\" of the store.",
    arguments: (1, 1),
    flags: &[
        Flag::value("format", None, Kind::Text, "Format output: 'json' for programs (default is a tree)")
            .completed_by(Completes::Words(&["json"])),
        Flag::switch("waste", None, "List bytes that a later layer deletes or replaces, layer by layer"),
    ],
    place: Place::Common,
    make: Some(Command::explain),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const COPY: Spec = Spec {
    name: "copy",
    usage: "[OPTIONS] SOURCE DESTINATION",
    about: "Copy an image between registries, layouts and archives, byte for byte",
    long: "Copy an image between registries, layouts and archives, byte for byte.

SOURCE and DESTINATION are a name in a registry, \"oci:DIR[:TAG]\" for an OCI layout,
\"oci-archive:FILE[:TAG]\" for one in a tar archive, or \"docker-archive:FILE[:NAME]\".
All platforms and everything that refers to the image come along; from registry to
registry also what cosign keeps under tags of its own (sha256-….sig, .att and .sbom).",
    arguments: (2, 2),
    flags: &[
        Flag::switch(
            "no-referrers",
            None,
            "Leave out signatures, SBOMs and whatever else refers to the image",
        ),
        Flag::value("platform", None, Kind::Strings, "Copy only these platforms (default is all of them)")
            .completed_by(PLATFORMS),
        Flag::switch("quiet", Some('q'), "Suppress verbose output"),
    ],
    make: Some(Command::copy),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const DAEMON: Spec = Spec {
    name: "daemon",
    usage: "[OPTIONS]",
    about: "Serve the Docker Engine API",
    long: "Serve the Docker Engine API, so that docker and its libraries work on the store.

The daemon keeps nothing of its own: other shale commands may work on the same store
at the same time. Whoever may connect is root on this machine.",
    flags: &[
        Flag::switch("experimental", None, "Serve what dockerd calls experimental: builds with --squash"),
        Flag::value(
            "host",
            Some('H'),
            Kind::Strings,
            "Sockets to listen on (default unix:///run/shale.sock, or unix://$XDG_RUNTIME_DIR/shale.sock without root)",
        ),
        Flag::value("log-format", None, Kind::Text, "Format of the log: text or json (default text)"),
        Flag::value("metrics-addr", None, Kind::Text, "TCP address and port to serve the metrics on"),
        Flag::switch("plain-loopback", None, "Allow tcp:// without TLS on a loopback address"),
        Flag::value("socket-group", None, Kind::Text, "Group of the socket, by name or number"),
        Flag::value("socket-mode", None, Kind::Text, "Permissions of the socket (default 0660)"),
        Flag::value("tlscacert", None, Kind::Text, "Trust only clients with certificates signed by this CA")
            .completed_by(Completes::Files),
        Flag::value("tlscert", None, Kind::Text, "Path to the TLS certificate file")
            .completed_by(Completes::Files),
        Flag::value("tlskey", None, Kind::Text, "Path to the TLS key file").completed_by(Completes::Files),
    ],
    make: Some(Command::daemon),
    ..Spec::EMPTY
};

pub(super) const FSCK: Spec = Spec {
    name: "fsck",
    usage: "[OPTIONS]",
    about: "Check the store for damage",
    long: "Check the store for damage.\nEvery file of every layer is read. Ends with 1 where something is damaged and stays so.",
    flags: &[
        Flag::switch("quiet", Some('q'), "Print damage only"),
        Flag::switch("repair", None, "Fetch what is damaged from its registry again"),
    ],
    make: Some(Command::fsck),
    ..Spec::EMPTY
};

pub(super) const GC: Spec = Spec {
    name: "gc",
    usage: "[OPTIONS]",
    about: "Remove what killed processes left in the store",
    flags: &[Flag::switch("dry-run", None, "Print what would be removed, and keep it")],
    make: Some(Command::gc),
    ..Spec::EMPTY
};

pub(super) const DIFF: Spec = Spec {
    name: "diff",
    usage: "[OPTIONS] CONTAINER | IMAGE IMAGE",
    about: "Inspect changes to a container's filesystem, or list files that differ between two images",
    paths: &["container diff", "diff"],
    arguments: (1, 2),
    flags: &[Flag::value("format", None, Kind::Text, "Format output: 'json' for programs")
        .completed_by(Completes::Words(&["json"]))],
    make: Some(Command::diff),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const TOUR: Spec = Spec {
    name: "tour",
    about: "Show the whole story in a temporary directory, without network or root",
    make: Some(|_: &Matches| Command::Tour),
    ..Spec::EMPTY
};

const NO_DESCRIPTIONS: &[Flag] = &[Flag::switch("no-descriptions", None, "disable completion descriptions")];

pub(super) const COMPLETION: Spec = Spec {
    name: "completion",
    usage: "COMMAND",
    about: "Generate the autocompletion script for the specified shell",
    long: "Generate the autocompletion script for shale for the specified shell.
See each sub-command's help for details on how to use the generated script.",
    place: Place::Management,
    commands: &[
        Spec {
            name: "bash",
            about: "Generate the autocompletion script for bash",
            long: "Generate the autocompletion script for bash.

To load completions in your current shell session:

	source <(shale completion bash)

To load completions for every new session, execute once:

	shale completion bash > /etc/bash_completion.d/shale",
            flags: NO_DESCRIPTIONS,
            make: Some(|matches: &Matches| Command::completion(Shell::Bash, matches)),
            ..Spec::EMPTY
        },
        Spec {
            name: "fish",
            about: "Generate the autocompletion script for fish",
            long: "Generate the autocompletion script for fish.

To load completions in your current shell session:

	shale completion fish | source

To load completions for every new session, execute once:

	shale completion fish > ~/.config/fish/completions/shale.fish",
            flags: NO_DESCRIPTIONS,
            make: Some(|matches: &Matches| Command::completion(Shell::Fish, matches)),
            ..Spec::EMPTY
        },
        Spec {
            name: "powershell",
            about: "Generate the autocompletion script for powershell",
            long: "Generate the autocompletion script for powershell.

To load completions in your current shell session:

	shale completion powershell | Out-String | Invoke-Expression

To load completions for every new session, add the output of the above command
to your powershell profile.",
            flags: NO_DESCRIPTIONS,
            make: Some(|matches: &Matches| Command::completion(Shell::Powershell, matches)),
            ..Spec::EMPTY
        },
        Spec {
            name: "zsh",
            about: "Generate the autocompletion script for zsh",
            long: "Generate the autocompletion script for zsh.

To load completions in your current shell session:

	source <(shale completion zsh)

To load completions for every new session, execute once:

	shale completion zsh > \"${fpath[1]}/_shale\"",
            flags: NO_DESCRIPTIONS,
            make: Some(|matches: &Matches| Command::completion(Shell::Zsh, matches)),
            ..Spec::EMPTY
        },
    ],
    ..Spec::EMPTY
};
