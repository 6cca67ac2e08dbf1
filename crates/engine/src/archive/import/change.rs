//! Dockerfile instructions applied to the config of an image that has none yet: `--change`.

use std::collections::BTreeMap;

use shale_dockerfile::{
    Command, CommandLine, Dialect, Dockerfile, Healthcheck, ParseError, PlanError, PlanOptions, ResolveError,
    StageScope, parse_ports,
};
use shale_oci::{Empty, RunConfig};

/// Why an instruction was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// An instruction that does more than change a config. The message is Docker's.
    #[error("{0} is not a valid change command")]
    NotAChange(String),
    /// There is no instruction in them. The message is Docker's.
    #[error("file with no instructions")]
    Nothing,
    /// The instruction is malformed. There is no file to speak of, nor a line.
    #[error("{}", .0.fault)]
    Parse(Box<ParseError>),
    /// The instructions cannot be put in order.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A variable cannot be replaced.
    #[error("{}", .0.docker_message(Dialect::Classic))]
    Resolve(Box<ResolveError>),
}

/// Returns the config that `changes`, one instruction each, make of `config`.
///
/// Source: moby `builder/dockerfile/builder.go` `BuildFromConfig` and `dispatchers.go` at v20.10.24.
pub(crate) fn apply(config: RunConfig, changes: &[String]) -> Result<RunConfig, ChangeError> {
    let mut applied = Applied { config, has_cmd: false };
    if changes.is_empty() {
        return Ok(applied.config);
    }
    for change in changes {
        let word = change.split_whitespace().next().unwrap_or_default().to_lowercase();
        if !word.is_empty() && !word.starts_with('#') && !CHANGES.contains(&word.as_str()) {
            return Err(ChangeError::NotAChange(word));
        }
    }
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let parse = |error| ChangeError::Parse(Box::new(error));
    let dockerfile = Dockerfile::parse(text.as_bytes(), "Dockerfile", Dialect::Classic).map_err(parse)?;
    // A second stage would take what is in the first with it.
    if dockerfile.stages.len() != 1 {
        return Err(ChangeError::NotAChange("from".to_owned()));
    }
    if dockerfile.stages[0].instructions.is_empty() {
        return Err(ChangeError::Nothing);
    }
    for instruction in &dockerfile.stages[0].instructions {
        if !is_change(&instruction.command) {
            return Err(ChangeError::NotAChange(instruction.command.keyword().to_lowercase()));
        }
    }
    let plan = dockerfile.plan(&PlanOptions::default())?;
    // Docker adds no search path here; an empty one keeps the scope from doing so.
    let known = applied.config.env.clone().unwrap_or_default();
    let mut scope =
        StageScope::from_image(&plan, std::iter::once("PATH=").chain(known.iter().map(String::as_str)));
    for step in &plan.stages[plan.target].steps {
        let command = scope.resolve(step).map_err(|error| ChangeError::Resolve(Box::new(error)))?;
        applied.command(command);
    }
    Ok(applied.config)
}

/// What Docker takes, and STOPSIGNAL.
const CHANGES: [&str; 11] = [
    "cmd",
    "entrypoint",
    "env",
    "expose",
    "healthcheck",
    "label",
    "onbuild",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

fn is_change(command: &Command) -> bool {
    matches!(
        command,
        Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Env(_)
            | Command::Expose(_)
            | Command::Healthcheck(_)
            | Command::Label(_)
            | Command::Onbuild(_)
            | Command::StopSignal(_)
            | Command::User(_)
            | Command::Volume(_)
            | Command::Workdir(_)
    )
}

struct Applied {
    config: RunConfig,
    has_cmd: bool,
}

impl Applied {
    fn command(&mut self, command: Command) {
        let config = &mut self.config;
        match command {
            Command::Cmd(line) => {
                config.cmd = Some(arguments(line, config.shell.as_deref()));
                self.has_cmd = true;
            }
            Command::Entrypoint(line) => {
                config.entrypoint = Some(arguments(line, config.shell.as_deref()));
                if !self.has_cmd {
                    config.cmd = None;
                }
            }
            Command::Env(pairs) => {
                let environment = config.env.get_or_insert_default();
                for pair in pairs {
                    let word = format!("{}={}", pair.name, pair.value);
                    let prefix = &word[..=pair.name.len()];
                    match environment.iter().position(|known| known.starts_with(prefix)) {
                        Some(at) => environment[at] = word,
                        None => environment.push(word),
                    }
                }
            }
            Command::Expose(words) => {
                // The scope has refused what is no port.
                let ports = words.iter().filter_map(|word| parse_ports(word).ok()).flatten();
                insert(&mut config.exposed_ports, ports);
            }
            Command::Healthcheck(check) => config.healthcheck = Some(healthcheck(check)),
            Command::Label(pairs) => {
                let pairs = pairs.into_iter().map(|pair| (pair.name, pair.value));
                config.labels.get_or_insert_default().extend(pairs);
            }
            Command::Onbuild(onbuild) => config.on_build.get_or_insert_default().push(onbuild.expression),
            Command::StopSignal(signal) => config.stop_signal = signal,
            Command::User(user) => config.user = user,
            Command::Volume(paths) => insert(&mut config.volumes, paths),
            Command::Workdir(path) => config.working_dir = join(&config.working_dir, &path),
            _ => {}
        }
    }
}

fn arguments(line: CommandLine, shell: Option<&[String]>) -> Vec<String> {
    match line {
        CommandLine::Exec(arguments) => arguments,
        CommandLine::Shell(text) => {
            let shell = shell.filter(|words| !words.is_empty()).map(<[String]>::to_vec);
            let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            words.push(text);
            words
        }
    }
}

fn insert(set: &mut Option<BTreeMap<String, Empty>>, members: impl IntoIterator<Item = String>) {
    set.get_or_insert_default().extend(members.into_iter().map(|member| (member, Empty {})));
}

fn healthcheck(check: Healthcheck) -> shale_oci::Healthcheck {
    let nanoseconds = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    shale_oci::Healthcheck {
        test: Some(check.test),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: i64::from(check.retries),
    }
}

/// Joins a working directory and the next one as Go's `filepath.Join` does, from the root on.
fn join(current: &str, next: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if next.starts_with('/') { "" } else { current };
    for part in from.split('/').chain(next.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(changes: &[&str], expected: &str) {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        let empty = serde_json::to_value(RunConfig::default()).unwrap();
        let mut changed = serde_json::to_value(apply(RunConfig::default(), &changes).unwrap()).unwrap();
        changed.as_object_mut().unwrap().retain(|key, value| empty.get(key) != Some(value));
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(changed, expected);
    }

    #[test]
    fn instructions_change_what_dockerd_changes() {
        // Each expected value was read from `docker import -c …` of dockerd 20.10.24.
        check(&["CMD echo $A"], r#"{"Cmd": ["/bin/sh", "-c", "echo $A"]}"#);
        check(&["cmd [\"a\", \"b\"]"], r#"{"Cmd": ["a", "b"]}"#);
        check(&["ENTRYPOINT [\"/e\"]", "CMD [\"x\"]"], r#"{"Cmd": ["x"], "Entrypoint": ["/e"]}"#);
        check(&["ENV A=1 B=2", "ENV A=3", "ENV C=$A-$PATH"], r#"{"Env": ["A=3", "B=2", "C=3-"]}"#);
        check(&["EXPOSE 80 53/udp"], r#"{"ExposedPorts": {"53/udp": {}, "80/tcp": {}}}"#);
        check(&["LABEL a=1 b=\"x y\""], r#"{"Labels": {"a": "1", "b": "x y"}}"#);
        check(&["VOLUME /a /b"], r#"{"Volumes": {"/a": {}, "/b": {}}}"#);
        check(&["WORKDIR /a/./b", "WORKDIR ../c"], r#"{"WorkingDir": "/a/c"}"#);
        check(&["USER me:us"], r#"{"User": "me:us"}"#);
        check(&["ONBUILD RUN make"], r#"{"OnBuild": ["RUN make"]}"#);
        check(&["HEALTHCHECK NONE"], r#"{"Healthcheck": {"Test": ["NONE"]}}"#);
        check(
            &["HEALTHCHECK --interval=5s --retries=3 CMD [\"t\"]"],
            r#"{"Healthcheck": {"Test": ["CMD", "t"], "Interval": 5000000000, "Retries": 3}}"#,
        );
    }

    #[test]
    fn a_stop_signal_is_a_change_too() {
        // The documentation does not list it and dockerd 20.10.24 refuses it; its value is that of a build.
        check(&["STOPSIGNAL SIGTERM"], r#"{"StopSignal": "SIGTERM"}"#);
    }

    #[test]
    fn malformed_changes_are_refused_in_dockers_words() {
        // Each text was read from dockerd 20.10.24.
        for (change, expected) in [
            ("ENV", "ENV requires at least one argument"),
            ("ENV a", "ENV must have two arguments"),
            ("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value"),
            ("LABEL a", "LABEL must have two arguments"),
            ("USER", "USER requires exactly one argument"),
            ("VOLUME", "VOLUME requires at least one argument"),
            ("HEALTHCHECK x", "Unknown type \"X\" in HEALTHCHECK (try CMD)"),
            ("EXPOSE x", "Invalid containerPort: x"),
            ("", "file with no instructions"),
            (" ", "file with no instructions"),
            ("# nothing", "file with no instructions"),
        ] {
            let error = apply(RunConfig::default(), &[change.to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), expected, "{change:?}");
        }
    }

    #[test]
    fn instructions_that_do_more_are_refused() {
        for (change, command) in [("RUN true", "run"), ("COPY a b", "copy"), ("SHELL [\"a\"]", "shell")] {
            let error = apply(RunConfig::default(), &[change.to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), format!("{command} is not a valid change command"));
        }
        let error = apply(RunConfig::default(), &["NONSENSE x".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "nonsense is not a valid change command");
        assert!(apply(RunConfig::default(), &["FROM other".to_owned()]).is_err());
        assert!(apply(RunConfig::default(), &["NONSENSE".to_owned()]).is_err());
    }
}
