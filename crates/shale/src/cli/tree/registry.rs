//! `shale registry …`.

use super::{ANY, Command, Completes, Flag, Kind, Place, Spec};

const ROOT: Flag = Flag::value("root", None, Kind::Text, "Directory of the registry")
    .or("\"registry-data\", or \"/var/lib/shale-registry\" for root")
    .completed_by(Completes::Files);

const PASSWORD_STDIN: Flag = Flag::switch("password-stdin", None, "Take the password from stdin");

pub(super) const REGISTRY: Spec = Spec {
    name: "registry",
    usage: "COMMAND",
    about: "Run and manage a registry",
    place: Place::Management,
    commands: &[
        Spec {
            name: "delete",
            usage: "[OPTIONS] NAME[:TAG|@DIGEST] [NAME[:TAG|@DIGEST]...]",
            about: "Delete tags, manifests or whole repositories in a registry",
            long: "Delete tags, manifests or whole repositories in a registry.

A TAG deletes that tag alone, a DIGEST the manifest with all its tags, and a NAME
alone the whole repository. A NAME that begins with a host is deleted through that
registry; any other in the directory of a registry, whether it is being served or not.",
            arguments: (1, ANY),
            flags: &[Flag::switch("force", Some('f'), "Do not prompt for confirmation"), ROOT],
            make: Some(Command::registry_delete),
            ..Spec::EMPTY
        },
        Spec {
            name: "fsck",
            usage: "[OPTIONS]",
            about: "Check every blob and link of a registry's directory",
            flags: &[Flag::switch("repair", None, "Quarantine what is damaged"), ROOT],
            make: Some(Command::registry_fsck),
            ..Spec::EMPTY
        },
        Spec {
            name: "gc",
            usage: "[OPTIONS]",
            about: "Remove blobs that nothing refers to",
            flags: &[
                Flag::value("grace", None, Kind::Text, "Keep what arrived within this time (s|m|h|d)")
                    .or("gc.grace of the server, 1h"),
                ROOT,
                Flag::value(
                    "untagged-after",
                    None,
                    Kind::Text,
                    "Remove manifests without a tag after this time (s|m|h|d)",
                )
                .or("gc.untagged_after of the server, never"),
            ],
            make: Some(Command::registry_gc),
            ..Spec::EMPTY
        },
        Spec {
            name: "import",
            usage: "DIR",
            about: "Take over the directory of a Docker registry, in place",
            arguments: (1, 1),
            make: Some(Command::registry_import),
            completes: Completes::Files,
            ..Spec::EMPTY
        },
        Spec {
            name: "repositories",
            usage: "[OPTIONS] [REGISTRY]",
            about: "List the repositories of a registry",
            arguments: (0, 1),
            flags: &[ROOT],
            make: Some(Command::registry_repositories),
            ..Spec::EMPTY
        },
        Spec {
            name: "serve",
            usage: "[OPTIONS]",
            about: "Serve a registry",
            flags: &[
                Flag::value(
                    "config",
                    None,
                    Kind::Text,
                    "Read settings from a TOML file, or from a config.yml of the Docker registry",
                )
                .completed_by(Completes::Files),
                Flag::value("addr", None, Kind::Text, "Address and port to listen on")
                    .or("\"127.0.0.1:5000\""),
                Flag::switch("read-only", None, "Refuse every change"),
                ROOT,
                Flag::value(
                    "tls-certificate",
                    None,
                    Kind::Text,
                    "Serve TLS with the certificates in this file",
                )
                .completed_by(Completes::Files),
                Flag::value("tls-key", None, Kind::Text, "Private key of the TLS certificate")
                    .completed_by(Completes::Files),
            ],
            make: Some(Command::registry_serve),
            ..Spec::EMPTY
        },
        Spec {
            name: "tags",
            usage: "[OPTIONS] REPOSITORY",
            about: "List the tags of a repository in a registry",
            long: "List the tags of a repository in a registry.

A REPOSITORY that begins with a host (HOST/NAME) is asked for at that registry; any
other in the directory of a registry, whether it is being served or not.",
            arguments: (1, 1),
            flags: &[ROOT],
            make: Some(Command::registry_tags),
            completes: Completes::Images,
            ..Spec::EMPTY
        },
        Spec {
            name: "user",
            usage: "COMMAND",
            about: "Manage who may log in",
            commands: &[
                Spec {
                    name: "add",
                    usage: "[OPTIONS] NAME",
                    about: "Add a user, or set a user's password",
                    arguments: (1, 1),
                    flags: &[PASSWORD_STDIN, ROOT],
                    make: Some(Command::registry_user_add),
                    ..Spec::EMPTY
                },
                Spec {
                    name: "rm",
                    aliases: &["remove"],
                    usage: "[OPTIONS] NAME",
                    about: "Remove a user",
                    arguments: (1, 1),
                    flags: &[ROOT],
                    make: Some(Command::registry_user_remove),
                    ..Spec::EMPTY
                },
            ],
            ..Spec::EMPTY
        },
    ],
    ..Spec::EMPTY
};
