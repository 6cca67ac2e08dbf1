//! The instructions: what each one changes, and how its step is noted.

use std::collections::BTreeMap;
use std::path::Path;

use shale_dockerfile::{Command, CommandLine, Healthcheck, Pair, Step, parse_ports};
use shale_oci::{ChainId, Empty, ImageConfig, ImageId, RunConfig};

use crate::build::Builder;
use crate::commit::StepResult;
use crate::error::BuildError;
use crate::go_text;
use crate::stage::StageState;

impl Builder<'_> {
    /// Does one step; `defaults` are the words of an `ARG` for the history.
    pub(crate) fn dispatch(
        &mut self,
        stage: &mut StageState,
        step: &Step,
        command: &Command,
        defaults: &[String],
    ) -> Result<(), BuildError> {
        match command {
            Command::Add(_) | Command::Copy(_) => self.run_copy(stage, step, command),
            Command::Run(run) => self.run_run(stage, step, run),
            Command::Workdir(path) => self.workdir(stage, path),
            Command::Label(pairs) => self.label(stage, pairs),
            Command::Arg(_) => self.note(stage, &format!("ARG {}", defaults.join(" "))),
            Command::Env(pairs) => {
                stage.run.env = Some(stage.scope.environment().to_list());
                self.note(stage, &format!("ENV{}", written(pairs)))
            }
            Command::Maintainer(author) => {
                stage.author = author.clone();
                self.note(stage, &format!("MAINTAINER {author}"))
            }
            Command::Cmd(line) => {
                let words = command_line(stage, line);
                stage.cmd_set |= !matches!(line, CommandLine::Exec(words) if words.is_empty());
                let comment = format!("CMD {}", go_text::quote_list(&words));
                stage.run.cmd = Some(words);
                self.note(stage, &comment)
            }
            Command::Entrypoint(line) => {
                let words = command_line(stage, line);
                let comment = format!("ENTRYPOINT {}", go_text::quote_list(&words));
                stage.run.entrypoint = Some(words).filter(|words| !words.is_empty());
                if !stage.cmd_set {
                    stage.run.cmd = None;
                }
                self.note(stage, &comment)
            }
            Command::Expose(words) => {
                let ports = stage.run.exposed_ports.get_or_insert_default();
                for word in words {
                    ports.extend(
                        parse_ports(word).unwrap_or_default().into_iter().map(|port| (port, Empty {})),
                    );
                }
                let mut words = words.clone();
                words.sort();
                self.note(stage, &format!("EXPOSE {}", words.join(" ")))
            }
            Command::Healthcheck(healthcheck) => self.healthcheck(stage, healthcheck),
            Command::Onbuild(onbuild) => {
                stage.run.on_build.get_or_insert_default().push(onbuild.expression.clone());
                self.note(stage, &format!("ONBUILD {}", onbuild.expression))
            }
            Command::Shell(words) => {
                stage.run.shell = Some(words.clone());
                self.note(stage, &format!("SHELL {}", go_text::list(words)))
            }
            Command::StopSignal(signal) => {
                stage.run.stop_signal = signal.clone();
                self.note(stage, &format!("STOPSIGNAL {signal}"))
            }
            Command::User(user) => {
                stage.run.user = user.clone();
                self.note(stage, &format!("USER {user}"))
            }
            Command::Volume(paths) => {
                let volumes = stage.run.volumes.get_or_insert_default();
                volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
                self.note(stage, &format!("VOLUME {}", go_text::list(paths)))
            }
        }
    }

    pub(crate) fn label(&mut self, stage: &mut StageState, pairs: &[Pair]) -> Result<(), BuildError> {
        let labels = stage.run.labels.get_or_insert_default();
        labels.extend(pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())));
        self.note(stage, &format!("LABEL{}", written(pairs)))
    }

    fn healthcheck(&mut self, stage: &mut StageState, given: &Healthcheck) -> Result<(), BuildError> {
        let old = stage.run.healthcheck.as_ref().and_then(|old| old.test.clone()).unwrap_or_default();
        if old.first().is_some_and(|word| word != "NONE") {
            self.output.text(&format!("Note: overriding previous HEALTHCHECK: {}\n", go_text::list(&old)));
        }
        let quoted = |duration| go_text::quote(&go_text::duration(duration));
        let comment = format!(
            "HEALTHCHECK &{{{} {} {} {} {}}}",
            go_text::quote_list(&given.test),
            quoted(given.interval),
            quoted(given.timeout),
            quoted(given.start_period),
            go_text::quote_number(given.retries)
        );
        let nanoseconds =
            |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        stage.run.healthcheck = Some(shale_oci::Healthcheck {
            test: Some(given.test.clone()),
            interval: nanoseconds(given.interval),
            timeout: nanoseconds(given.timeout),
            start_period: nanoseconds(given.start_period),
            start_interval: nanoseconds(given.start_interval),
            retries: i64::from(given.retries),
        });
        self.note(stage, &comment)
    }

    /// Commits a step that changes the config alone.
    fn note(&mut self, stage: &mut StageState, comment: &str) -> Result<(), BuildError> {
        let config = stage.noted(comment);
        if self.hit(stage, &config)? {
            return Ok(());
        }
        let container = self.announce_container();
        let container_config = self.as_container(stage, config, &container);
        self.commit(stage, StepResult { container: container.clone(), container_config, layer: None })?;
        self.announce_removal(&container);
        Ok(())
    }

    fn workdir(&mut self, stage: &mut StageState, path: &str) -> Result<(), BuildError> {
        if path.is_empty() {
            return Err(BuildError::EmptyWorkdir);
        }
        stage.run.working_dir = join_path(&stage.run.working_dir, path);
        // Whose the directory is belongs to the key where it is not always root's.
        let is_users = self.dialect.working_directory_belongs_to_user() && !stage.run.user.is_empty();
        let owner = if is_users { format!("--chown={} ", stage.run.user) } else { String::new() };
        let kept = if self.keeps_empty_layers() { "--keep-empty-layer " } else { "" };
        let config = stage.noted_in_one_word(&format!("WORKDIR {kept}{owner}{}", stage.run.working_dir));
        if self.hit(stage, &config)? {
            return Ok(());
        }
        let container = self.announce_container();
        let layer = self.make_workdir(stage)?;
        let container_config = self.as_container(stage, config, &container);
        self.commit(stage, StepResult { container: container.clone(), container_config, layer })?;
        self.announce_removal(&container);
        Ok(())
    }

    /// Whether an image of this step is in the store; then it becomes the stage's own.
    pub(crate) fn hit(&mut self, stage: &mut StageState, config: &RunConfig) -> Result<bool, BuildError> {
        if self.options.explain {
            self.explain(stage, config)?;
        }
        let mut looks = stage.probes;
        let image = loop {
            if looks && let Some(image) = self.find_step(stage, config)? {
                break image;
            }
            if !stage.shares {
                stage.probes = false;
                return Ok(false);
            }
            self.claim = self.claims.claim(stage.image, config);
            if self.claim.is_none() {
                // Another stage did the step meanwhile.
                looks = true;
                continue;
            }
            // Or it was done between the look and the claim.
            let late = if self.dialect.runs_stages_at_once() { self.find_step(stage, config)? } else { None };
            match late {
                Some(image) => {
                    self.claim = None;
                    break image;
                }
                None => {
                    stage.probes = false;
                    return Ok(false);
                }
            }
        };
        // Somebody may have removed the image since the list was made; then it is no hit.
        let Some(found) = self.hold_image(image) else {
            stage.probes = false;
            return Ok(false);
        };
        self.is_cached = true;
        self.output.text(" ---> Using cache\n");
        self.enter(stage, image, found);
        Ok(true)
    }

    /// Returns the config of an image whose layers are here and sound, and stay until the build is over.
    fn hold_image(&mut self, image: ImageId) -> Option<ImageConfig> {
        let config = self.config_of(image).ok()?;
        if let Some(top) = ChainId::stack(&config.rootfs.diff_ids).pop() {
            self.kept.held.push(self.store.hold_layer(top).ok()??);
        }
        Some(config)
    }

    fn find_step(&self, stage: &StageState, config: &RunConfig) -> Result<Option<ImageId>, BuildError> {
        let epoch = self.options.source_date_epoch;
        let made = epoch.map(|epoch| jiff::Timestamp::from_second(epoch).unwrap_or_default());
        let found = self.cache().find(self.store, stage.image, config, made)?;
        match found {
            Some(image) if self.may_use(image)? => Ok(Some(image)),
            _ => self.restore_step(stage, config, made),
        }
    }

    /// Returns the cache, which the stages share.
    pub(crate) fn cache(&self) -> std::sync::MutexGuard<'_, crate::cache::Cache> {
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Says what the step's key is made of, and what the nearest image has instead.
    fn explain(&mut self, stage: &StageState, config: &RunConfig) -> Result<(), BuildError> {
        use crate::cache::key_parts;
        let shown = |value: &str| value.replace('\0', " ");
        let parent = stage.image.map_or_else(|| "nothing".to_owned(), |image| image.short());
        let mut text = format!(" ---> Key: on {parent}\n");
        let parts = key_parts(config);
        for (name, value) in parts.iter().filter(|(name, value)| !value.is_empty() && *name != "streams") {
            text.push_str(&format!("        {name}: {}\n", shown(value)));
        }
        if !stage.probes {
            text.push_str(
                "      Not looked up: an earlier step of the stage was built anew, or --no-cache\n",
            );
        } else {
            let mut cache = self.cache();
            let known = cache.steps_upon(self.store, stage.image)?;
            // The nearest one differs in the fewest parts, and the newest of those.
            let changed = |step: &&RunConfig| {
                parts.iter().zip(key_parts(step)).filter(|(new, old)| new.1 != old.1).count()
            };
            match known.iter().min_by_key(|step| changed(step)) {
                None => text.push_str("      No step was built upon this image before\n"),
                Some(step) if changed(step) == 0 => {}
                Some(step) => {
                    for (new, old) in parts.iter().zip(key_parts(step)).filter(|(new, old)| new.1 != old.1) {
                        text.push_str(&format!("      Changed: {}, before: {}\n", new.0, shown(&old.1)));
                    }
                }
            }
        }
        self.output.text(&text);
        Ok(())
    }

    /// Says that a container starts, and returns its id.
    pub(crate) fn announce_container(&self) -> String {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("Linux gives random bytes to every process once it has booted");
        let container = hex::encode(random);
        self.output.text(&format!(" ---> Running in {}\n", &container[..12]));
        container
    }

    pub(crate) fn announce_removal(&self, container: &str) {
        self.output.text(&format!("Removing intermediate container {}\n", &container[..12]));
    }

    /// Returns the config as it is once a container was created from it: with what Docker merges in from the image.
    fn as_container(&self, stage: &mut StageState, mut config: RunConfig, container: &str) -> RunConfig {
        if self.dialect.merges_healthchecks() {
            merge_healthcheck(stage);
            config.healthcheck = stage.run.healthcheck.clone();
        }
        config.hostname = container[..12].to_owned();
        if stage.image.is_some() {
            let below = stage.parent.config.as_ref();
            config.labels.get_or_insert_default();
            config.entrypoint =
                config.entrypoint.or_else(|| below.and_then(|below| below.entrypoint.clone()));
        }
        config
    }
}

/// Takes the numbers that a health check leaves out from the image below: creating a container from a config that
/// shares the structure does so in Docker.
pub(crate) fn merge_healthcheck(stage: &mut StageState) {
    let below = stage.parent.config.as_ref().and_then(|config| config.healthcheck.clone());
    let (Some(own), Some(below)) = (&mut stage.run.healthcheck, below) else { return };
    if own.test.as_ref().is_none_or(Vec::is_empty) {
        own.test = below.test;
    }
    for (own, below) in [
        (&mut own.interval, below.interval),
        (&mut own.timeout, below.timeout),
        (&mut own.start_period, below.start_period),
        (&mut own.retries, below.retries),
    ] {
        if *own == 0 {
            *own = below;
        }
    }
}

pub(crate) fn written(pairs: &[Pair]) -> String {
    pairs.iter().map(|pair| format!(" {}={}", pair.name, pair.value)).collect()
}

/// Returns the words of a `CMD` or `ENTRYPOINT`, the shell in front where there is one.
fn command_line(stage: &StageState, line: &CommandLine) -> Vec<String> {
    match line {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => {
            let mut words = stage.shell();
            words.push(text.clone());
            words
        }
    }
}

/// Returns the working directory after `WORKDIR requested`: an absolute one as it was written.
pub(crate) fn join_path(current: &str, requested: &str) -> String {
    if requested.starts_with('/') {
        return requested.to_owned();
    }
    clean(&format!("/{current}/{requested}"))
}

/// Takes out `.`, `..` and doubled slashes of an absolute path.
pub(crate) fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// Returns the path of the working directory for a process.
pub(crate) fn absolute(path: &str) -> &Path {
    if path.is_empty() { Path::new("/") } else { Path::new(path) }
}

/// The arguments of a `RUN` that its history and its key name.
pub(crate) type Arguments = BTreeMap<String, String>;
