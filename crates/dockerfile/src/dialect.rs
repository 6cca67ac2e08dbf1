//! Which builder's language is spoken: every point on which the builders disagree, in one place.
//!
//! A step that asks `dialect.something()` reads here what the answer means and where it was seen. "Observed" is Docker
//! Engine 20.10.24 with its classic builder, and BuildKit 0.32.2 (Dockerfile frontend 1.26), on the same contexts.

/// The builder whose meaning of a Dockerfile is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Docker's classic builder, as in Docker Engine 20.10: `POST /build`, `--dialect classic`.
    Classic,
    /// BuildKit to the letter, also where it lets a mistake pass.
    BuildKit,
    /// BuildKit, except that a mistake that BuildKit lets pass is an error: `shale build`.
    #[default]
    Shale,
}

/// Who may have which value when `ENV` and `ARG` name the same variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// `ENV` wins, whichever comes first.
    Environment,
    /// The later instruction wins.
    Later,
}

impl Dialect {
    fn is_classic(self) -> bool {
        self == Dialect::Classic
    }

    // --- the language ---

    /// Whether `<<EOF` opens a heredoc. The classic parser takes the body for instructions. Observed.
    pub fn has_heredocs(self) -> bool {
        !self.is_classic()
    }

    /// Whether the flags that came with BuildKit are known: `RUN --mount`, `COPY --link` and so on. Observed.
    pub fn has_buildkit_flags(self) -> bool {
        !self.is_classic()
    }

    /// Whether `${x-w}`, `${x#p}`, `${x%p}` and `${x/a/b}` are known; the classic builder has only `:-`, `:+` and `:?`.
    /// Observed.
    pub fn has_pattern_expansion(self) -> bool {
        !self.is_classic()
    }

    /// Whether `TARGETPLATFORM`, `BUILDARCH` and so on exist in the global scope. Observed.
    pub fn has_platform_arguments(self) -> bool {
        !self.is_classic()
    }

    /// Whether an instruction whose flags Docker reads and forgets (`ARG --x`, `STOPSIGNAL --x`, `HEALTHCHECK --x NONE`)
    /// is refused. Source: buildkit `frontend/dockerfile/instructions/parse.go` at v0.34.2, which never looks at them.
    pub fn refuses_forgotten_flags(self) -> bool {
        self == Dialect::Shale
    }

    /// Whether an `ONBUILD` trigger is parsed in full where it is written, and not only when it runs in another build.
    /// Source: the same file: only the trigger's name is looked at.
    pub fn checks_triggers(self) -> bool {
        self == Dialect::Shale
    }

    /// Whether `HEALTHCHECK --retries=0` is an error. Observed.
    pub fn refuses_zero_retries(self) -> bool {
        self.is_classic()
    }

    // --- variables ---

    /// Who wins when `ENV` and `ARG` name the same variable: classic always lets `ENV` win. Observed with
    /// `ENV A=1`, `ARG A=2`.
    pub fn precedence(self) -> Precedence {
        if self.is_classic() { Precedence::Environment } else { Precedence::Later }
    }

    /// Whether a stage sees the `ARG`s of the stage that it is built from. Observed.
    pub fn inherits_arguments(self) -> bool {
        !self.is_classic()
    }

    /// Whether `--build-arg http_proxy=…` also sets `HTTP_PROXY`, and the other way round. Observed.
    pub fn sets_both_proxy_spellings(self) -> bool {
        !self.is_classic()
    }

    // --- stages ---

    /// Whether every stage up to the target is built, needed or not. Observed.
    pub fn builds_unneeded_stages(self) -> bool {
        self.is_classic()
    }

    /// Whether, with `--cache-from`, a step that is in the store counts only when a source was built upon it. The classic
    /// builder wants it so; BuildKit adds the sources to what it has. Source: moby `image/cache/cache.go` at v20.10.24.
    pub fn cache_sources_replace_the_store(self) -> bool {
        self.is_classic()
    }

    /// Whether stages that do not need each other run at the same time. Observed.
    pub fn runs_stages_at_once(self) -> bool {
        !self.is_classic()
    }

    /// Whether two stages of one name are an error. Classic: `x stage name already used`; BuildKit only lints. Observed.
    pub fn refuses_duplicate_stage_names(self) -> bool {
        self.is_classic()
    }

    /// Whether a child stage keeps the `MAINTAINER` of the stage that it is built from. Observed.
    pub fn inherits_author(self) -> bool {
        !self.is_classic()
    }

    /// Whether `FROM scratch` starts with the working directory `/` in the image's config. Observed.
    pub fn scratch_has_working_directory(self) -> bool {
        !self.is_classic()
    }

    // --- steps ---

    /// Whether a source that points above the context is clamped at its root instead of refused. BuildKit clamps.
    /// Observed with `COPY ../a /`.
    pub fn clamps_sources_at_root(self) -> bool {
        self == Dialect::BuildKit
    }

    /// Whether a wildcard that matches nothing is an error. BuildKit copies nothing and goes on. Observed.
    pub fn refuses_empty_wildcards(self) -> bool {
        self != Dialect::BuildKit
    }

    /// Whether several sources need a destination that ends in `/`. BuildKit fails later, when a file would become a
    /// directory. Observed.
    pub fn requires_directory_for_several_sources(self) -> bool {
        self != Dialect::BuildKit
    }

    /// Whether `--chown` with a user that the image does not have is an error. BuildKit takes 0:0. Observed.
    pub fn refuses_unknown_owners(self) -> bool {
        self != Dialect::BuildKit
    }

    /// Whether `--chown=user` takes the group from the user's `passwd` entry when no group has the user's name; classic
    /// refuses. Observed with `--chown=nobody`.
    pub fn takes_group_of_user(self) -> bool {
        !self.is_classic()
    }

    /// Whether `WORKDIR` gives a directory that it creates to the current `USER`; classic gives it to root. Observed.
    pub fn working_directory_belongs_to_user(self) -> bool {
        !self.is_classic()
    }

    /// Whether what a later `RUN` writes below a `VOLUME` is thrown away. Observed.
    pub fn discards_volume_writes(self) -> bool {
        self.is_classic()
    }

    /// Whether the numbers that a `HEALTHCHECK` leaves out come from the one before it. Observed.
    pub fn merges_healthchecks(self) -> bool {
        self.is_classic()
    }

    /// Whether a directory that is copied onto a link to a directory replaces the link; BuildKit refuses. Observed with
    /// `COPY d /t` where `/t/sub` is a link.
    pub fn replaces_linked_directories(self) -> bool {
        self.is_classic()
    }

    /// Whether a destination that one source directory creates takes that directory's time. Observed.
    pub fn copies_time_of_source_directory(self) -> bool {
        !self.is_classic()
    }

    /// Whether an ignored directory that stays for what an exception takes back below it is made anew: 0755, root's, of
    /// now, and in the key by its name alone. The classic builder's client does not send it. Observed.
    pub fn makes_ignored_directories_anew(self) -> bool {
        self.is_classic()
    }

    /// Whether an exception with a wildcard takes nothing back from an ignored directory: docker's client looks only
    /// whether the exception's text begins with the directory. Observed.
    pub fn prunes_by_text_of_exceptions(self) -> bool {
        self.is_classic()
    }

    /// Whether a wildcard that ends in `/` matches nothing. Observed with `COPY */ /x/`.
    pub fn wildcards_may_not_end_in_slash(self) -> bool {
        self.is_classic()
    }

    /// Whether a destination that one source directory creates belongs to whoever owns that directory, and has its mode;
    /// classic makes it root's, 0755. Observed with `COPY --from`.
    pub fn copies_owner_of_source_directory(self) -> bool {
        !self.is_classic()
    }

    /// Whether zstd archives are unpacked by `ADD`. Source: moby from v23.0; 20.10 copies them as files.
    pub fn unpacks_zstd(self) -> bool {
        !self.is_classic()
    }

    /// Whether the owners that an archive names for the files of a context are part of the keys of `COPY` and `ADD`, though
    /// nothing of them is copied. Numbers are, names are not, nor are times. Observed with `docker build - < context.tar`.
    pub fn counts_owners_in_archives(self) -> bool {
        self.is_classic()
    }

    /// Whether `<name>.dockerignore` beside the Dockerfile comes before `.dockerignore`. Observed.
    pub fn has_own_ignore_file(self) -> bool {
        !self.is_classic()
    }
}
