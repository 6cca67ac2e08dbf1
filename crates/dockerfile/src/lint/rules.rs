//! Names and descriptions of the rules.

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $description:literal,)*) => {
        /// A rule; its name is the variant's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each variant's description is its documentation")]
        pub enum Rule {
            $(#[doc = $description] $name,)*
        }

        impl Rule {
            /// All rules: BuildKit's in its order, then our own.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// Returns the name by which `# check=skip=` knows the rule.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$name => stringify!($name),)* }
            }

            /// Returns what the rule asks for.
            pub fn description(self) -> &'static str {
                match self { $(Rule::$name => $description,)* }
            }
        }
    };
}

rules! {
    StageNameCasing = "Stage names should be lowercase",
    FromAsCasing = "The 'as' keyword should match the case of the 'from' keyword",
    NoEmptyContinuation = "Empty continuation lines will become errors in a future release",
    ConsistentInstructionCasing =
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    DuplicateStageName = "Stage names should be unique",
    ReservedStageName = "Reserved words should not be used as stage names",
    JSONArgsRecommended =
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    MaintainerDeprecated = "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    UndefinedArgInFrom = "FROM command must use declared ARGs",
    WorkdirRelativePath = "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    UndefinedVar = "Variables should be defined before their use",
    MultipleInstructionsDisallowed = "Multiple instructions of the same type should not be used in the same stage",
    LegacyKeyValueFormat = "Legacy key/value format with whitespace separator should not be used",
    InvalidBaseImagePlatform = "Base image platform does not match expected target platform",
    RedundantTargetPlatform = "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    SecretsUsedInArgOrEnv = "Sensitive data should not be used in the ARG or ENV commands",
    InvalidDefaultArgInFrom = "Default value for global ARG results in an empty or invalid base image name",
    FromPlatformFlagConstDisallowed = "FROM --platform flag should not use a constant value",
    CopyIgnoredFile = "Attempting to Copy file that is excluded by .dockerignore",
    InvalidDefinitionDescription = "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    ExposeProtoCasing = "Protocol in EXPOSE instruction should be lowercase",
    ExposeInvalidFormat = "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    LayerDeletesEarlier = "A file that a later layer deletes still takes its space in the earlier one",
    LayerRewritesEarlier = "A file whose owner or mode a later layer changes is stored twice",
    PackageCacheLeft = "Package managers should not leave their caches in the layer",
    SecretValueInArgOrEnv = "A value that looks like a credential should not stand in a Dockerfile",
}

impl Rule {
    /// Whether it only runs when `# check=experimental=` names it.
    pub fn is_experimental(self) -> bool {
        self == Rule::InvalidDefinitionDescription
    }

    /// Whether BuildKit has the rule, too.
    pub fn is_buildkits(self) -> bool {
        self < Rule::LayerDeletesEarlier
    }
}
