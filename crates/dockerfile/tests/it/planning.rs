use std::collections::BTreeSet;

use shale_dockerfile::{
    Command, Dialect, Dockerfile, Mount, Origin, Plan, PlanError, PlanOptions, Run, StageScope, Variable,
};

const ALL: [Dialect; 3] = [Dialect::Classic, Dialect::BuildKit, Dialect::Shale];

fn dockerfile(source: &str, dialect: Dialect) -> Dockerfile {
    Dockerfile::parse(source.as_bytes(), "Dockerfile", dialect).expect("a Dockerfile")
}

fn options(build_arguments: &[(&str, &str)]) -> PlanOptions {
    PlanOptions {
        build_arguments: build_arguments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        target_platform: "linux/arm64".parse().expect("a platform"),
        build_platform: "linux/amd64".parse().expect("a platform"),
        ..PlanOptions::default()
    }
}

fn plan(source: &str, dialect: Dialect, options: &PlanOptions) -> Plan {
    dockerfile(source, dialect).plan(options).expect("a plan")
}

fn plan_error(source: &str, dialect: Dialect, options: &PlanOptions) -> PlanError {
    dockerfile(source, dialect).plan(options).expect_err("no plan")
}

/// Walks all stages; returns the scope at the end of the last one and the commands of the last one.
fn walk(plan: &Plan) -> (StageScope, Vec<Command>) {
    let mut ends: Vec<StageScope> = Vec::new();
    let mut commands = Vec::new();
    for stage in &plan.stages {
        let mut scope = match stage.base {
            Origin::Stage(base) => StageScope::from_stage(&ends[base]),
            _ => StageScope::from_image(plan, ["PATH=/bin"]),
        };
        commands = stage.steps.iter().map(|step| scope.resolve(step).expect("a sound step")).collect();
        ends.push(scope);
    }
    (ends.pop().expect("a stage"), commands)
}

/// What `RUN echo $name` would print at the end.
#[track_caller]
fn check_run(source: &str, dialect: Dialect, arguments: &[(&str, &str)], name: &str, expected: Option<&str>) {
    let (scope, _) = walk(&plan(source, dialect, &options(arguments)));
    let environment = scope.run_environment();
    let value = environment.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!(value, expected, "{dialect:?} {source:?}");
}

/// Builder reference, section 3: observed.
#[test]
fn arguments_reach_where_they_do_in_docker() {
    for dialect in ALL {
        check_run("ARG V=1\nFROM a\n", dialect, &[], "V", None);
        check_run("ARG V=1\nFROM a\nARG V\n", dialect, &[], "V", Some("1"));
        check_run("ARG V=1\nFROM a\nARG V=9\n", dialect, &[], "V", Some("9"));
        check_run("ARG V=1\nFROM a\nARG V=9\n", dialect, &[("V", "5")], "V", Some("5"));
        check_run("FROM a\nRUN x\n", dialect, &[("V", "5")], "V", None);
        check_run("FROM a\nARG A=\nARG C\n", dialect, &[], "A", Some(""));
        check_run("FROM a\nARG A=\nARG C\n", dialect, &[], "C", None);
        check_run("ARG A=1\nARG B=$A-2\nFROM a\nARG B\n", dialect, &[], "B", Some("1-2"));
        check_run("FROM a\nENV abc=hello\nENV abc=bye def=$abc\n", dialect, &[], "def", Some("hello"));
    }
    check_run("FROM a\nENV A=1\nARG A=2\n", Dialect::Classic, &[], "A", Some("1"));
    check_run("FROM a\nENV A=1\nARG A=2\n", Dialect::BuildKit, &[], "A", Some("2"));
    check_run("FROM a AS s\nARG X=1\nFROM s\n", Dialect::Classic, &[], "X", None);
    check_run("FROM a AS s\nARG X=1\nFROM s\n", Dialect::BuildKit, &[], "X", Some("1"));
    check_run(
        "FROM a\nARG TARGETPLATFORM BUILDARCH TARGETSTAGE\n",
        Dialect::Shale,
        &[],
        "TARGETPLATFORM",
        Some("linux/arm64"),
    );
    check_run("FROM a\nARG BUILDARCH\n", Dialect::Shale, &[], "BUILDARCH", Some("amd64"));
    check_run("FROM a\nARG TARGETSTAGE\n", Dialect::Shale, &[], "TARGETSTAGE", Some("default"));
    check_run("FROM a AS z\nARG TARGETSTAGE\n", Dialect::Shale, &[], "TARGETSTAGE", Some("z"));
    check_run("FROM a\nARG TARGETARCH\n", Dialect::Classic, &[], "TARGETARCH", None);
}

#[test]
fn proxies_need_no_declaration_and_leave_no_trace() {
    let given = [("http_proxy", "p")];
    let (scope, _) = walk(&plan("FROM a\nRUN x\n", Dialect::Classic, &options(&given)));
    assert_eq!(scope.proxy_environment(), [("http_proxy".to_owned(), "p".to_owned())]);
    assert_eq!(scope.arguments(), []);
    let (scope, _) = walk(&plan("FROM a\nRUN x\n", Dialect::BuildKit, &options(&given)));
    let names: Vec<String> = scope.proxy_environment().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["HTTP_PROXY", "http_proxy"]);
    let (scope, _) = walk(&plan("FROM a\nARG http_proxy\nRUN x\n", Dialect::Classic, &options(&given)));
    assert_eq!(scope.proxy_environment(), []);
    let declared = Variable { name: "http_proxy".to_owned(), value: Some("p".to_owned()) };
    assert_eq!(scope.arguments(), [declared]);
}

#[test]
fn unused_build_arguments_are_named() {
    let given = options(&[("A", "1"), ("B", "2"), ("http_proxy", "x"), ("BUILDKIT_INLINE_CACHE", "1")]);
    assert_eq!(plan("FROM a\nARG A\n", Dialect::Shale, &given).unused_build_arguments(), ["B"]);
    assert_eq!(
        plan("FROM a\nARG A\n", Dialect::Classic, &given).unused_build_arguments(),
        ["B", "BUILDKIT_INLINE_CACHE"]
    );
}

#[test]
fn only_needed_stages_are_built() {
    let source = "FROM a AS one\nFROM a AS two\nFROM one AS three\nCOPY --from=1 / /\nFROM a AS four\nFROM three\nRUN \
                  --mount=from=four,target=/x y\n";
    let needed = |dialect, target: Option<&str>| -> Vec<usize> {
        let options = PlanOptions { target: target.map(str::to_owned), ..PlanOptions::default() };
        plan(source, dialect, &options).needed_stages().map(|stage| stage.index).collect()
    };
    assert_eq!(needed(Dialect::Shale, None), [0, 1, 2, 3, 4]);
    assert_eq!(needed(Dialect::Shale, Some("Three")), [0, 1, 2]);
    assert_eq!(needed(Dialect::Shale, Some("two")), [1]);
    assert_eq!(needed(Dialect::BuildKit, Some("four")), [3]);
    let three = PlanOptions { target: Some("three".to_owned()), ..PlanOptions::default() };
    let classic = plan("FROM a AS one\nFROM a AS two\nFROM one AS three\n", Dialect::Classic, &three);
    assert_eq!(classic.needed_stages().count(), 3);
}

#[test]
fn names_lead_to_stages_images_and_contexts() {
    let options = PlanOptions {
        named_contexts: BTreeSet::from(["alpine".to_owned(), "two".to_owned()]),
        ..PlanOptions::default()
    };
    let source = "FROM alpine:latest AS one\nFROM scratch AS two\nRUN gone\nFROM one\nCOPY --from=ONE a /b\nCOPY \
                  --from=two a /b\nCOPY --from=busybox:1 a /b\nCOPY a /b\n";
    let plan = plan(source, Dialect::Shale, &options);
    assert_eq!(plan.stages[0].base, Origin::NamedContext("alpine".to_owned()));
    assert_eq!(plan.stages[1].base, Origin::NamedContext("two".to_owned()));
    assert!(plan.stages[1].steps.is_empty());
    assert_eq!(plan.stages[2].base, Origin::Stage(0));
    let origins: Vec<Origin> = plan.stages[2].steps.iter().filter_map(|step| step.origin.clone()).collect();
    let image = Origin::Image("busybox:1".to_owned());
    assert_eq!(origins, [Origin::Stage(0), Origin::Stage(1), image, Origin::Context]);
}

/// B21, and the table of builder reference 7.
#[test]
fn stages_that_cannot_be_built_say_why() {
    let message = |source: &str, dialect, target: Option<&str>| {
        let options = PlanOptions { target: target.map(str::to_owned), ..PlanOptions::default() };
        let error = plan_error(source, dialect, &options);
        (error.docker_message(dialect), error.span.map(|span| span.start.line))
    };
    let buildkit = Dialect::BuildKit;
    assert_eq!(
        message("FROM a AS one\nFROM a\n", buildkit, Some("on")),
        ("target stage \"on\" could not be found (did you mean one?)".to_owned(), None)
    );
    assert_eq!(
        message("FROM a\n", Dialect::Classic, Some("nope")),
        ("failed to reach build target nope in Dockerfile".to_owned(), None)
    );
    assert_eq!(
        message("FROM a\nCOPY --from=0 x y\n", buildkit, None),
        ("circular dependency detected on stage: stage-0".to_owned(), Some(2))
    );
    assert_eq!(
        message("FROM a\nFROM b\nCOPY --from=0 x y\nCOPY --from=7 x y\n", buildkit, None),
        ("invalid stage index 7".to_owned(), Some(4))
    );
    assert_eq!(
        message("FROM $X\n", buildkit, None),
        ("base name ($X) should not be blank".to_owned(), Some(1))
    );
    let upper = "invalid reference format: repository name (library/Busybox) must be lowercase";
    assert_eq!(
        message("FROM Busybox\n", buildkit, None),
        (format!("failed to parse stage name \"Busybox\": {upper}"), Some(1))
    );
}

#[test]
fn triggers_run_in_front_and_may_name_stages_of_the_child() {
    let source = "FROM a AS base\nONBUILD COPY --from=tool /t /t\nONBUILD RUN <<EOF\necho $x\nEOF\nFROM a AS tool\nFROM \
                  base\nRUN own\n";
    let error = plan_error(
        source,
        Dialect::Shale,
        &PlanOptions { target: Some("9".to_owned()), ..PlanOptions::default() },
    );
    assert!(error.span.is_none());
    let mut plan = plan(source, Dialect::Shale, &PlanOptions::default());
    let texts = |plan: &Plan| -> Vec<(bool, String)> {
        let steps = plan.stages[2].steps.iter();
        steps.map(|step| (step.is_trigger, step.instruction.text.clone())).collect()
    };
    let copy = (true, "COPY --from=tool /t /t".to_owned());
    let run = (true, "RUN <<EOF".to_owned());
    let own = (false, "RUN own".to_owned());
    assert_eq!(texts(&plan), [copy.clone(), run.clone(), own.clone()]);
    assert!(plan.stages[1].is_needed);
    plan.add_triggers(2, &["USER x".to_owned()]).expect("a sound trigger");
    assert_eq!(texts(&plan), [(true, "USER x".to_owned()), copy, run, own]);
    assert!(plan.add_triggers(2, &["ONBUILD RUN x".to_owned()]).is_err());
    assert!(plan.add_triggers(2, &["RUN a\nRUN b".to_owned()]).is_err());
}

#[test]
fn words_of_steps_are_replaced() {
    let source = "FROM a\nARG v=x p=\"80 81\"\nCOPY --chown=$v $v/a <<EOF /$v/\n\"$v\" \\$v\nEOF\nRUN \
                  --mount=type=cache,target=/$v,id=$v echo $v\nEXPOSE $p/tcp\nLABEL \"$v\"='$v'\nSTOPSIGNAL 9\n";
    let (_, commands) = walk(&plan(source, Dialect::Shale, &PlanOptions::default()));
    let Command::Copy(copy) = &commands[1] else { panic!("{commands:?}") };
    assert_eq!(
        (copy.chown.as_deref(), &copy.sources[..], copy.destination.as_str()),
        (Some("x"), &["x/a".to_owned()][..], "/x/")
    );
    assert_eq!(copy.inline_files[0].content, "\"x\" $v\n");
    let Command::Run(Run { mounts, .. }) = &commands[2] else { panic!("{commands:?}") };
    let expected = Mount { target: Some("/x".to_owned()), id: Some("x".to_owned()), ..mounts[0].clone() };
    assert_eq!(mounts[0], expected);
    assert_eq!(commands[3], Command::Expose(vec!["80".to_owned(), "81/tcp".to_owned()]));
    let Command::Label(pairs) = &commands[4] else { panic!("{commands:?}") };
    assert_eq!((pairs[0].name.as_str(), pairs[0].value.as_str()), ("x", "$v"));
}

/// The texts of builder reference 7 for faults that show only in a step.
#[test]
fn steps_that_make_no_sense_say_why() {
    let fault = |line: &str, dialect| {
        let plan = plan(&format!("FROM a\n{line}\n"), dialect, &PlanOptions::default());
        let mut scope = StageScope::from_image(&plan, []);
        scope.resolve(&plan.stages[0].steps[0]).expect_err("a fault").docker_message(dialect)
    };
    let (classic, buildkit, shale) = (Dialect::Classic, Dialect::BuildKit, Dialect::Shale);
    assert_eq!(fault("EXPOSE 99999", classic), "Invalid containerPort: 99999");
    assert_eq!(fault("EXPOSE 99999", buildkit), "invalid containerPort: 99999");
    assert_eq!(fault("STOPSIGNAL SIGFOO", classic), "Invalid signal: SIGFOO");
    assert_eq!(fault("COPY http://x /y", buildkit), "source can't be a URL for COPY");
    assert_eq!(fault("COPY http://x /y", classic), "COPY failed: source can't be a URL for COPY");
    let directory = "When using COPY with more than one source file, the destination must be a directory and end with a /";
    assert_eq!(fault("COPY a b /c", classic), directory);
    assert_eq!(fault("COPY a b /c", shale), directory);
    assert_eq!(
        fault("ENV A=${x:bad}", classic),
        "failed to process \"${x:bad}\": unsupported modifier (b) in substitution"
    );
    assert_eq!(
        fault("ENV A=${x:bad}", buildkit),
        "failed to process \"${x:bad}\": unsupported modifier (:b) in substitution"
    );
    assert_eq!(fault("ENV A=${E-d}", classic), "failed to process \"${E-d}\": missing ':' in substitution");
}
