//! What holds at one point of a stage: the image so far, and what the next one will say.

use shale_dockerfile::{Dialect, StageScope};
use shale_oci::{ChainId, ImageConfig, ImageId, Platform, RunConfig};

use crate::buildkit::Written;

/// A stage while it is built, and afterwards what other stages start from.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// The last image; `None` before the first one of a stage from scratch.
    pub image: Option<ImageId>,
    /// The image that the stage started from.
    pub base: Option<ImageId>,
    /// What the last image's config says.
    pub parent: ImageConfig,
    /// What the next image will say.
    pub run: RunConfig,
    /// `MAINTAINER`
    pub author: String,
    /// Whether `CMD` stood in this stage.
    pub cmd_set: bool,
    /// Whether the cache is still asked: not after the first miss.
    pub probes: bool,
    /// Whether what other stages of this build make is used: not with `--no-cache`.
    pub shares: bool,
    /// What BuildKit's form says of the steps so far.
    pub written: Written,
    /// The variables.
    pub scope: StageScope,
}

impl StageState {
    /// Starts a stage on an image.
    pub fn on_image(image: ImageId, parent: ImageConfig, scope: StageScope, probes: bool) -> StageState {
        let mut run = parent.config.clone().unwrap_or_default();
        run.open_stdin = false;
        run.stdin_once = false;
        run.image = image.to_string();
        run.env = Some(scope.environment().to_list());
        let written = Written::upon(&parent);
        StageState {
            image: Some(image),
            base: Some(image),
            parent,
            run,
            author: String::new(),
            cmd_set: false,
            probes,
            shares: probes,
            written,
            scope,
        }
    }

    /// Starts a stage on nothing.
    pub fn on_scratch(platform: &Platform, scope: StageScope, dialect: Dialect, probes: bool) -> StageState {
        let mut parent = ImageConfig {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            os: platform.os.clone(),
            ..ImageConfig::default()
        };
        parent.rootfs.kind = "layers".to_owned();
        let mut run = RunConfig { env: Some(scope.environment().to_list()), ..RunConfig::default() };
        if dialect.scratch_has_working_directory() {
            run.working_dir = "/".to_owned();
        }
        StageState {
            image: None,
            base: None,
            parent,
            run,
            author: String::new(),
            cmd_set: false,
            probes,
            shares: probes,
            written: Written::default(),
            scope,
        }
    }

    /// Returns the top layer of the image so far.
    pub fn top(&self) -> Option<ChainId> {
        ChainId::stack(&self.parent.rootfs.diff_ids).pop()
    }

    /// Returns the shell of the shell forms.
    pub fn shell(&self) -> Vec<String> {
        match &self.run.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    /// Returns the config whose `Cmd` notes a step in two words, as most instructions do.
    pub fn noted(&self, comment: &str) -> RunConfig {
        let mut cmd = self.shell();
        cmd.extend(["#(nop) ".to_owned(), comment.to_owned()]);
        RunConfig { cmd: Some(cmd), ..self.run.clone() }
    }

    /// Returns the config whose `Cmd` notes a step in one word: `WORKDIR`, `COPY` and `ADD`.
    pub fn noted_in_one_word(&self, comment: &str) -> RunConfig {
        let mut cmd = self.shell();
        cmd.push(format!("#(nop) {comment}"));
        RunConfig { cmd: Some(cmd), ..self.run.clone() }
    }
}
