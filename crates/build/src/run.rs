//! RUN, and the working directory that WORKDIR makes.

use shale_dockerfile::{Dialect, Mount, Origin, Run, Script, Step};
use shale_oci::RunConfig;
use shale_store::FinishedLayer;

use crate::build::Builder;
use crate::commit::StepResult;
use crate::error::BuildError;
use crate::options::NamedContext;
use crate::stage::StageState;
use crate::step::Arguments;

impl Builder<'_> {
    pub(crate) fn run_run(
        &mut self,
        stage: &mut StageState,
        step: &Step,
        run: &Run,
    ) -> Result<(), BuildError> {
        if let Some(device) = run.devices.first() {
            let name = &device.name;
            return Err(BuildError::Unsupported(format!("RUN --device={name} is not supported")));
        }
        let script = run.script();
        let words = match &script {
            Script::Exec(words) => words.clone(),
            Script::Shell(text) => with_shell(stage, text.clone()),
            Script::File { name, .. } => vec![format!("/dev/pipes/{name}")],
        };
        let mut key = with_arguments(
            self.visible_arguments(stage),
            !stage.scope.proxy_environment().is_empty(),
            &words,
        );
        if let Script::File { content, .. } = &script {
            key.push(content.clone());
        }
        key.extend(self.options_key(stage, run, step)?);
        let probe = RunConfig {
            cmd: Some(key.clone()),
            entrypoint: if key.is_empty() { stage.run.entrypoint.clone() } else { None },
            ..stage.run.clone()
        };
        if self.hit(stage, &probe)? {
            return Ok(());
        }
        let container = self.announce_container();
        let layer = self.run_container(stage, step, run, &script, &words, &container)?;
        self.commit(stage, StepResult { container: container.clone(), container_config: probe, layer })?;
        self.announce_removal(&container);
        Ok(())
    }

    /// Returns the arguments that the process sees and the history names.
    fn visible_arguments(&self, stage: &StageState) -> Arguments {
        if self.dialect == Dialect::Classic {
            let visible = stage.scope.classic_arguments();
            return visible.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        }
        let arguments = stage.scope.arguments();
        arguments.into_iter().filter_map(|variable| Some((variable.name, variable.value?))).collect()
    }

    /// Returns what the options of a `RUN` add to its key: nothing where it has none, so that its key is Docker's.
    fn options_key(&mut self, stage: &StageState, run: &Run, step: &Step) -> Result<Vec<String>, BuildError> {
        let mut parts = Vec::new();
        for (mount, origin) in run.mounts.iter().zip(&step.mount_origins) {
            parts.push(mount_text(mount));
            if mount.kind != shale_dockerfile::MountKind::Bind {
                continue;
            }
            let source = mount.source.as_deref().unwrap_or("/");
            parts.push(match origin {
                None | Some(Origin::Context) => self.hash_of_context(source)?,
                Some(origin @ Origin::NamedContext(name))
                    if matches!(self.options.named_contexts.get(name), Some(NamedContext::Directory(_))) =>
                {
                    let from = self.source_of(origin)?;
                    self.hash_of_path(from.tree(), source)?
                }
                Some(origin) => {
                    self.image_of(origin)?.map_or_else(|| "scratch".to_owned(), |image| image.to_string())
                }
            });
        }
        match run.network {
            shale_dockerfile::Network::Default => {}
            shale_dockerfile::Network::None => parts.push("--network=none".to_owned()),
            shale_dockerfile::Network::Host => parts.push("--network=host".to_owned()),
        }
        if run.security == shale_dockerfile::Security::Insecure {
            parts.push("--security=insecure".to_owned());
        }
        let has_volumes = stage.run.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty());
        if has_volumes && !self.dialect.discards_volume_writes() {
            // The classic builder makes another layer of the same words.
            parts.push("volumes are kept".to_owned());
        }
        if self.keeps_empty_layers() {
            parts.push("an empty layer is kept".to_owned());
        }
        if !parts.is_empty() {
            parts.insert(0, "#".to_owned());
        }
        Ok(parts)
    }

    /// Makes the working directory where it is missing, as a layer.
    pub(crate) fn make_workdir(&self, stage: &StageState) -> Result<Option<FinishedLayer>, BuildError> {
        let layer = self.store.begin_layer()?;
        let mounted = self.store.mount_layer(&layer, None, stage.top())?;
        let made = self.make_directory(stage, mounted.path());
        mounted.unmount()?;
        if !made? && (stage.run.working_dir == "/" || !self.keeps_empty_layers()) {
            return Ok(None);
        }
        self.pack(layer)
    }

    fn make_directory(&self, stage: &StageState, root: &std::path::Path) -> Result<bool, BuildError> {
        use crate::copy::place::{Destination, fault};
        let destination = Destination::open(root).map_err(|source| BuildError::Disk {
            action: "open",
            path: root.to_owned(),
            source,
        })?;
        let mut owner = crate::owner::Owner::default();
        if self.dialect.working_directory_belongs_to_user() && !stage.run.user.is_empty() {
            let user = shale_runtime::spec::User::resolve(root, &stage.run.user, &[]);
            let user = user.map_err(|error| BuildError::Unsupported(error.to_string()))?;
            owner = crate::owner::Owner { uid: user.uid, gid: user.gid };
        }
        let failed = |source| BuildError::Copy {
            keyword: "WORKDIR",
            fault: fault("mkdir", &stage.run.working_dir, source),
        };
        let path = crate::tree::follow(destination.descriptor(), stage.run.working_dir.as_bytes())
            .map_err(failed)?;
        destination.make_directories(&path, owner).map(|(_, is_new)| is_new).map_err(|source| {
            match rustix::io::Errno::from_io_error(&source) {
                Some(rustix::io::Errno::NOTDIR) => {
                    BuildError::WorkdirNotDirectory(stage.run.working_dir.clone())
                }
                _ => failed(source),
            }
        })
    }
}

fn with_shell(stage: &StageState, text: String) -> Vec<String> {
    let mut words = stage.shell();
    words.push(text);
    words
}

/// Puts the arguments in front of the words, with their count, as the history shows them.
fn with_arguments(arguments: Arguments, has_proxies: bool, words: &[String]) -> Vec<String> {
    if arguments.is_empty() && !has_proxies {
        return words.to_vec();
    }
    let mut all = vec![format!("|{}", arguments.len())];
    let mut written: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
    written.sort();
    all.extend(written);
    all.extend_from_slice(words);
    all
}

/// The parts of a mount that decide what a step does: neither the id of a cache nor the content of a secret.
fn mount_text(mount: &Mount) -> String {
    let mut text = format!("--mount=type={}", mount.kind.name());
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(",{name}={value}"));
        }
    };
    add("target", mount.target.clone());
    add("source", mount.source.clone());
    add("from", mount.from.clone());
    add("env", mount.variable.clone());
    add("mode", mount.mode.map(|mode| format!("{mode:o}")));
    add("uid", mount.uid.map(|uid| uid.to_string()));
    add("gid", mount.gid.map(|gid| gid.to_string()));
    add("size", mount.size_bytes.map(|size| size.to_string()));
    text
}
