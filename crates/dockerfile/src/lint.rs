//! Rules about Dockerfiles that are sound and still unwise.
//!
//! The first 22 are BuildKit's, under its names and with its messages; the last four are our own.

mod files;
mod options;
mod rules;
mod shell;
mod walk;

use std::collections::BTreeMap;

use shale_oci::Platform;

use crate::document::Dockerfile;
use crate::ignore::IgnoreFile;
use crate::source::Span;
use crate::stage::{BuildArguments, PlanOptions};

pub use rules::Rule;

/// Something that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The rule.
    #[serde(serialize_with = "serialize_rule")]
    pub rule: Rule,
    /// What it found here.
    pub message: String,
    /// Where.
    pub span: Span,
    /// The other place that belongs to it: the instruction whose work is undone.
    pub related: Option<Span>,
}

fn serialize_rule<S: serde::Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(rule.name())
}

/// All findings of a Dockerfile.
#[derive(Debug, Clone, Default)]
pub struct LintReport {
    /// In the order of their places.
    pub findings: Vec<Finding>,
    /// Why the Dockerfile cannot be built; some rules could then not look at all of it.
    pub build_error: Option<String>,
    /// Whether there are findings that fail the build: `# check=error=true`, and a rule that BuildKit has.
    pub findings_are_errors: bool,
}

/// What a base image says of itself, for the rules that ask.
#[derive(Debug, Clone, Default)]
pub struct BaseImage {
    /// Its variables: `NAME=value` words.
    pub environment: Vec<String>,
    /// Its platform.
    pub platform: Option<Platform>,
    /// Whether it has a `SHELL` of its own.
    pub has_shell: bool,
}

/// What the rules may know beside the Dockerfile.
#[derive(Debug, Clone, Default)]
pub struct LintContext<'a> {
    /// `--build-arg`; `BUILDKIT_DOCKERFILE_CHECK` among them replaces the `# check=` directive.
    pub build_arguments: BuildArguments,
    /// `--target`; all stages are looked at in any case.
    pub target: Option<String>,
    /// The rules of `.dockerignore`.
    pub ignore_file: Option<&'a IgnoreFile>,
    /// Base images by the name that `FROM` gives them, variables replaced. The variables of a base that is not here are
    /// unknown, and nothing is said of variables that it may set.
    pub base_images: BTreeMap<String, BaseImage>,
    /// The platform of the result; this machine's without one.
    pub target_platform: Option<Platform>,
}

impl LintContext<'_> {
    fn plan_options(&self) -> PlanOptions {
        let mut options = PlanOptions {
            target: self.target.clone(),
            build_arguments: self.build_arguments.clone(),
            ..PlanOptions::default()
        };
        if let Some(platform) = &self.target_platform {
            options.target_platform = platform.clone();
            options.build_platform = platform.clone();
        }
        options
    }
}

/// Looks at a Dockerfile with every rule that its `# check=` lines do not turn off.
pub fn lint(dockerfile: &Dockerfile, context: &LintContext<'_>) -> LintReport {
    walk::Walk::run(dockerfile, context)
}
