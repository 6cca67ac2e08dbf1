//! `shale build`.

use super::{Command, Completes, Flag, Kind, Place, Spec, platform};

pub(super) const BUILD: Spec = Spec {
    name: "build",
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    paths: &["image build", "build"],
    arguments: (1, 1),
    flags: &[
        Flag::value("add-host", None, Kind::List("list"), "Add a custom host-to-IP mapping (\"host:ip\")"),
        Flag::value("build-arg", None, Kind::List("list"), "Set build-time variables"),
        Flag::value(
            "build-context",
            None,
            Kind::List("list"),
            "Additional build contexts (e.g., name=path, name=docker-image://reference)",
        ),
        Flag::value(
            "cache-from",
            None,
            Kind::List("list"),
            "Images to consider as cache sources (format: \"NAME\", \"type=registry,ref=NAME\", \"type=local,src=path\")",
        ),
        Flag::value(
            "cache-to",
            None,
            Kind::List("list"),
            "Cache export destinations (format: \"type=inline\", \"type=registry,ref=NAME\", \"type=local,dest=path\")",
        ),
        Flag::switch("check", None, "Check the Dockerfile and build nothing"),
        Flag::value("cpu-period", None, Kind::Int, "Limit the CPU CFS (Completely Fair Scheduler) period"),
        Flag::value("cpu-quota", None, Kind::Int, "Limit the CPU CFS (Completely Fair Scheduler) quota"),
        Flag::value("cpu-shares", Some('c'), Kind::Int, "CPU shares (relative weight)"),
        Flag::value("cpuset-cpus", None, Kind::Text, "CPUs in which to allow execution (0-3, 0,1)"),
        Flag::value("cpuset-mems", None, Kind::Text, "MEMs in which to allow execution (0-3, 0,1)"),
        Flag::value(
            "dialect",
            None,
            Kind::Text,
            "Whose meaning of a Dockerfile is followed (\"shale\", \"buildkit\", \"classic\")",
        )
        .or("\"shale\"")
        .completed_by(Completes::Words(&["shale", "buildkit", "classic"])),
        Flag::switch("explain", None, "Show what each step's cache key is made of, and what changed"),
        Flag::value("file", Some('f'), Kind::Text, "Name of the Dockerfile (Default is \"PATH/Dockerfile\")")
            .completed_by(Completes::Files),
        Flag::switch("force-rm", None, "Always remove intermediate containers"),
        Flag::value(
            "format",
            None,
            Kind::Text,
            "Whose form config and history of the image have (\"classic\", \"buildkit\")",
        )
        .or("\"classic\"")
        .completed_by(Completes::Words(&["classic", "buildkit"])),
        Flag::value("iidfile", None, Kind::Text, "Write the image ID to the file")
            .completed_by(Completes::Files),
        Flag::value("label", None, Kind::List("list"), "Set metadata for an image"),
        Flag::value("memory", Some('m'), Kind::Text, "Memory limit"),
        Flag::value(
            "memory-swap",
            None,
            Kind::Text,
            "Swap limit equal to memory plus swap: -1 to enable unlimited swap",
        ),
        Flag::value(
            "network",
            None,
            Kind::Text,
            "Set the networking mode for the RUN instructions during build (\"host\", \"none\")",
        )
        .or("\"host\"")
        .completed_by(Completes::Words(&["host", "none"])),
        Flag::switch("no-cache", None, "Do not use cache when building the image"),
        Flag::value("no-cache-filter", None, Kind::List("list"), "Do not cache specified stages"),
        Flag::value(
            "output",
            Some('o'),
            Kind::List("list"),
            "Output destination (format: \"type=local,dest=path\")",
        )
        .completed_by(Completes::Files),
        platform("Set platform if server is multi-platform capable"),
        Flag::value(
            "progress",
            None,
            Kind::Text,
            "Set type of progress output (\"auto\", \"plain\", \"tty\", \"quiet\")",
        )
        .or("\"auto\"")
        .completed_by(Completes::Words(&["auto", "plain", "tty", "quiet"])),
        Flag::switch("pull", None, "Always attempt to pull a newer version of the image"),
        Flag::switch("quiet", Some('q'), "Suppress the build output and print image ID on success"),
        Flag::switch(
            "reproducible",
            None,
            "Make everything of one time (that of SOURCE_DATE_EPOCH, or 0), so that two builds are equal",
        ),
        Flag::switch("rm", None, "Remove intermediate containers after a successful build").or("true"),
        Flag::value(
            "secret",
            None,
            Kind::List("list"),
            "Secret to expose to the build (format: \"id=mysecret[,src=/local/secret]\")",
        ),
        Flag::switch(
            "shell-on-failure",
            None,
            "Open a shell in the root of a RUN that fails, with its mounts and variables",
        ),
        Flag::value("shm-size", None, Kind::Text, "Size of \"/dev/shm\""),
        Flag::switch("squash", None, "Squash newly built layers into a single new layer"),
        Flag::value(
            "ssh",
            None,
            Kind::List("list"),
            "SSH agent socket to expose to the build (format: \"default|<id>[=<socket>]\")",
        ),
        Flag::value(
            "tag",
            Some('t'),
            Kind::List("list"),
            "Name and optionally a tag in the \"name:tag\" format",
        ),
        Flag::value("target", None, Kind::Text, "Set the target build stage to build"),
        Flag::value("ulimit", None, Kind::List("ulimit"), "Ulimit options"),
        Flag::switch("verify", None, "Build twice, and fail where the two differ (implies --reproducible)"),
    ],
    place: Place::Common,
    make: Some(Command::build),
    completes: Completes::Files,
    ..Spec::EMPTY
};
