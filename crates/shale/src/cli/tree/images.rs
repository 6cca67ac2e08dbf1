//! `shale image …` and its short forms.

use super::{
    ANY, Command, Completes, FORMAT_OF_OBJECT, FORMAT_OF_TABLE, Flag, Kind, NO_TRUNC, PLATFORMS, Place, Spec,
    platform,
};

pub(super) const PULL: Spec = Spec {
    name: "pull",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    paths: &["image pull", "pull"],
    arguments: (1, 1),
    flags: &[
        Flag::switch("all-tags", Some('a'), "Download all tagged images in the repository"),
        Flag::switch("disable-content-trust", None, "Skip image verification").or("true"),
        platform("Set platform if server is multi-platform capable"),
        Flag::switch("quiet", Some('q'), "Suppress verbose output"),
    ],
    place: Place::Common,
    make: Some(Command::pull),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const PUSH: Spec = Spec {
    name: "push",
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    paths: &["image push", "push"],
    arguments: (1, 1),
    flags: &[
        Flag::switch("all-tags", Some('a'), "Push all tags of an image to the repository"),
        Flag::switch("disable-content-trust", None, "Skip image signing").or("true"),
        platform(
            "Push a platform-specific manifest as a single-platform image to the registry.
Image index won't be pushed, meaning that other manifests, including attestations won't be preserved.
'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
        Flag::switch("quiet", Some('q'), "Suppress verbose output"),
    ],
    place: Place::Common,
    make: Some(Command::push),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const IMAGES: Spec = Spec {
    name: "images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    paths: &["image ls", "image list", "images"],
    arguments: (0, 1),
    flags: &[
        Flag::switch("all", Some('a'), "Show all images (default hides intermediate images)"),
        Flag::switch("digests", None, "Show digests"),
        Flag::value("filter", Some('f'), Kind::Filter, "Filter output based on conditions provided"),
        FORMAT_OF_TABLE,
        NO_TRUNC,
        Flag::switch("quiet", Some('q'), "Only show image IDs"),
        Flag::switch("tree", None, "List multi-platform images as a tree (EXPERIMENTAL)"),
    ],
    place: Place::Common,
    make: Some(Command::images),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const HISTORY: Spec = Spec {
    name: "history",
    usage: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    paths: &["image history", "history"],
    arguments: (1, 1),
    flags: &[
        FORMAT_OF_TABLE,
        Flag::switch("human", Some('H'), "Print sizes and dates in human readable format").or("true"),
        NO_TRUNC,
        platform(
            "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
        Flag::switch("quiet", Some('q'), "Only show image IDs"),
    ],
    make: Some(Command::history),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const TAG: Spec = Spec {
    name: "tag",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    paths: &["image tag", "tag"],
    arguments: (2, 2),
    make: Some(Command::tag),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const REMOVE: Spec = Spec {
    name: "rmi",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    paths: &["image rm", "image remove", "rmi"],
    arguments: (1, ANY),
    flags: &[
        Flag::switch("force", Some('f'), "Force removal of the image"),
        Flag::switch("no-prune", None, "Do not delete untagged parents"),
        Flag::value(
            "platform",
            None,
            Kind::Strings,
            "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        )
        .completed_by(PLATFORMS),
    ],
    make: Some(Command::image_remove),
    completes: Completes::Images,
    ..Spec::EMPTY
};

const PRUNE: Spec = Spec {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove unused images",
    flags: &[
        Flag::switch("all", Some('a'), "Remove all unused images, not just dangling ones"),
        Flag::value("filter", None, Kind::Filter, "Provide filter values (e.g. \"until=<timestamp>\")"),
        Flag::switch("force", Some('f'), "Do not prompt for confirmation"),
    ],
    make: Some(Command::image_prune),
    ..Spec::EMPTY
};

pub(super) const SAVE: Spec = Spec {
    name: "save",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    paths: &["image save", "save"],
    arguments: (1, ANY),
    flags: &[
        Flag::value("output", Some('o'), Kind::Text, "Write to a file, instead of STDOUT")
            .completed_by(Completes::Files),
        platform(
            "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
    ],
    make: Some(Command::save),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const LOAD: Spec = Spec {
    name: "load",
    usage: "[OPTIONS]",
    about: "Load an image from a tar archive or STDIN",
    paths: &["image load", "load"],
    flags: &[
        Flag::value("input", Some('i'), Kind::Text, "Read from tar archive file, instead of STDIN")
            .completed_by(Completes::Files),
        platform(
            "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
        Flag::switch("quiet", Some('q'), "Suppress the load output"),
    ],
    make: Some(Command::load),
    ..Spec::EMPTY
};

pub(super) const IMPORT: Spec = Spec {
    name: "import",
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    paths: &["image import", "import"],
    arguments: (1, 2),
    flags: &[
        Flag::value(
            "change",
            Some('c'),
            Kind::List("list"),
            "Apply Dockerfile instruction to the created image",
        ),
        Flag::value("message", Some('m'), Kind::Text, "Set commit message for imported image"),
        platform("Set platform if server is multi-platform capable"),
    ],
    make: Some(Command::import),
    completes: Completes::Files,
    ..Spec::EMPTY
};

const INSPECT: Spec = Spec {
    name: "inspect",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    arguments: (1, ANY),
    flags: &[
        FORMAT_OF_OBJECT,
        platform(
            "Inspect a specific platform of the multi-platform image.
If the image or the server is not multi-platform capable, the command will error out if the platform does not match.
'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
    ],
    make: Some(Command::image_inspect),
    completes: Completes::Images,
    ..Spec::EMPTY
};

pub(super) const IMAGE: Spec = Spec {
    name: "image",
    usage: "COMMAND",
    about: "Manage images",
    place: Place::Management,
    commands: &[
        super::build::BUILD,
        HISTORY,
        IMPORT,
        INSPECT,
        LOAD,
        Spec { name: "ls", aliases: &["list"], ..IMAGES },
        PRUNE,
        PULL,
        PUSH,
        Spec { name: "rm", aliases: &["remove"], ..REMOVE },
        SAVE,
        TAG,
    ],
    ..Spec::EMPTY
};

pub(super) const MANIFEST: Spec = Spec {
    name: "manifest",
    usage: "COMMAND",
    about: "Look at manifests and manifest lists in a registry",
    place: Place::Management,
    commands: &[Spec {
        name: "inspect",
        usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
        about: "Display an image manifest, or manifest list",
        arguments: (1, 2),
        flags: &[
            Flag::switch("insecure", None, "Allow communication with an insecure registry"),
            Flag::switch("raw", None, "Print the bytes as the registry has them"),
            Flag::switch("verbose", Some('v'), "Output additional info including layers and platform"),
        ],
        make: Some(Command::manifest_inspect),
        completes: Completes::Images,
        ..Spec::EMPTY
    }],
    ..Spec::EMPTY
};
