use std::collections::BTreeMap;

use shale_dockerfile::{BaseImage, Dialect, Dockerfile, IgnoreFile, LintContext, Rule, lint};

use crate::check;

/// The base image of the generator.
fn base_images() -> BTreeMap<String, BaseImage> {
    let image = BaseImage {
        environment: vec!["PATH=/bin".to_owned(), "BASE=1".to_owned()],
        platform: Some("linux/amd64".parse().expect("a platform")),
        has_shell: false,
    };
    let names = ["busybox", "a", "busybox:", "busybox:latest", "busybox:1", "busybox:amd64"];
    names.map(|name| (name.to_owned(), image.clone())).into()
}

fn describe(source: &str) -> String {
    let dockerfile = match Dockerfile::parse(source.as_bytes(), "Dockerfile", Dialect::BuildKit) {
        Ok(dockerfile) => dockerfile,
        Err(error) => return format!("error {}\n", error.docker_message(Dialect::BuildKit)),
    };
    let context = LintContext {
        base_images: base_images(),
        target_platform: Some("linux/amd64".parse().expect("a platform")),
        ..LintContext::default()
    };
    let report = lint(&dockerfile, &context);
    let buildkit = report.findings.iter().filter(|finding| finding.rule.is_buildkits());
    let mut lines: Vec<String> = buildkit
        .map(|finding| {
            let (first, last) = (finding.span.start.line, finding.span.end.line);
            // BuildKit names the last line of the instruction; the empty line itself helps more.
            let lines = if finding.rule == Rule::NoEmptyContinuation {
                String::new()
            } else {
                format!("{first}-{last} ")
            };
            format!("{} {lines}{}", finding.rule.name(), finding.message)
        })
        .collect();
    lines.sort();
    lines.extend(report.build_error.map(|error| format!("error {error}")));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn finds_what_buildkit_finds() {
    check("lint", ACCEPTED, describe, |expected| expected);
}

/// Where this crate says something else, on purpose:
/// 047 the builder refuses the mount point `/`, since only it knows the working directory;
/// 050 a variable in `EXPOSE` is looked at like all others;
/// 097 one text for `COPY` and `RUN --mount` from a later stage;
/// 099 `FROM B` finds the stage `b`, since names of stages have no case.
const ACCEPTED: &[&str] = &["lint-047", "lint-050", "lint-097", "lint-099"];

fn findings(source: &str, context: &LintContext<'_>) -> Vec<(Rule, usize, Option<usize>)> {
    let dockerfile =
        Dockerfile::parse(source.as_bytes(), "Dockerfile", Dialect::Shale).expect("a Dockerfile");
    let report = lint(&dockerfile, context);
    assert_eq!(report.build_error, None);
    let found = report
        .findings
        .iter()
        .filter(|finding| finding.rule >= Rule::LayerDeletesEarlier || finding.rule == Rule::CopyIgnoredFile);
    found.map(|own| (own.rule, own.span.start.line, own.related.map(|span| span.start.line))).collect()
}

#[test]
fn finds_layers_that_undo_earlier_ones() {
    let own = |source: &str| findings(source, &LintContext::default());
    let base = "FROM scratch\n";
    let twice = own(&format!("{base}COPY big.tar /tmp/\nRUN tar xf /tmp/big.tar && rm /tmp/big.tar\n"));
    assert_eq!(twice, [(Rule::LayerDeletesEarlier, 3, Some(2))]);
    let owner = own(&format!("{base}WORKDIR /srv\nCOPY . app\nUSER 0\nRUN chown -R www:www app\n"));
    assert_eq!(owner, [(Rule::LayerRewritesEarlier, 5, Some(3))]);
    let fetched = own(&format!("{base}RUN curl -o /x.tgz https://e/x\nRUN rm -f /x.tgz\n"));
    assert_eq!(fetched, [(Rule::LayerDeletesEarlier, 3, Some(2))]);
    assert_eq!(own(&format!("{base}RUN curl -o /x.tgz https://e/x && rm -f /x.tgz\nRUN rm -f /x.tgz\n")), []);
    assert_eq!(own(&format!("{base}COPY a /srv/a\nRUN rm -rf /var/lib && chmod 755 /bin/x\n")), []);
}

/// Found in a Dockerfile of BuildKit's own, which checks itself with that line.
#[test]
fn only_rules_of_buildkit_end_a_build_that_asks_for_errors() {
    let fails = |source: &str| {
        let dockerfile =
            Dockerfile::parse(source.as_bytes(), "Dockerfile", Dialect::BuildKit).expect("valid");
        let report = lint(&dockerfile, &LintContext::default());
        assert_eq!(report.findings.len(), 1, "{source}");
        report.findings_are_errors
    };
    let cache = "FROM a AS b\nRUN apt-get update\n";
    assert!(!fails(cache));
    assert!(!fails(&format!("# check=error=true\n{cache}")));
    assert!(fails("# check=error=true\nFROM a AS B\n"));
    assert!(!fails("FROM a AS B\n"));
}

#[test]
fn finds_caches_that_stay() {
    let own = |line: &str| findings(&format!("FROM scratch\n{line}\n"), &LintContext::default()).len();
    assert_eq!(own("RUN apt-get update && apt-get install -y curl"), 1);
    assert_eq!(own("RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*"), 0);
    assert_eq!(own("RUN --mount=type=cache,target=/var/lib/apt apt-get update"), 0);
    assert_eq!(own("RUN apk add curl"), 1);
    assert_eq!(own("RUN apk add --no-cache curl"), 0);
    assert_eq!(own("RUN dnf install -y x"), 1);
    assert_eq!(own("RUN dnf install -y x && dnf clean all"), 0);
    assert_eq!(own("RUN pip install x"), 1);
    assert_eq!(own("ENV PIP_NO_CACHE_DIR=1\nRUN pip install x"), 0);
    assert_eq!(own("RUN echo apk add curl"), 0);
    assert_eq!(own("# check=skip=PackageCacheLeft\nRUN apk add curl"), 0);
}

#[test]
fn finds_values_that_look_like_credentials() {
    let own = |line: &str| findings(&format!("FROM scratch\n{line}\n"), &LintContext::default());
    assert_eq!(own("ENV ID=AKIAABCDEFGHIJKLMNOP"), [(Rule::SecretValueInArgOrEnv, 2, None)]);
    assert_eq!(own("ARG DB=postgres://user:hunter2@db/x"), [(Rule::SecretValueInArgOrEnv, 2, None)]);
    assert_eq!(own("ARG DB=postgres://user@db/x\nENV A=AKIA"), []);
}

#[test]
fn finds_copies_of_ignored_files() {
    let ignore = IgnoreFile::parse(b"docs\n*.md\n").expect("an ignore file");
    let context = LintContext { ignore_file: Some(&ignore), ..LintContext::default() };
    let source = "FROM scratch\nCOPY README.md docs/a x.txt /d/\nCOPY . /e\n";
    assert_eq!(
        findings(source, &context),
        [(Rule::CopyIgnoredFile, 2, None), (Rule::CopyIgnoredFile, 2, None)]
    );
}
