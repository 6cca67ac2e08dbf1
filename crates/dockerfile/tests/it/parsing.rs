use shale_dockerfile::{Dialect, Dockerfile, ParseFault};

use crate::check;

/// Returns what BuildKit's parser says of `source` in the words of the generator.
fn describe(source: &str) -> String {
    match Dockerfile::parse(source.as_bytes(), "Dockerfile", Dialect::BuildKit) {
        Ok(dockerfile) => format!("{}{}", dockerfile.dump_nodes(), dockerfile.dump_instructions()),
        Err(error) => {
            if let ParseFault::Mount(fault) = &error.fault
                && error.docker_message(Dialect::BuildKit) == fault.to_string()
            {
                return format!("  mount error: {fault}\n");
            }
            let mut message = error.docker_message(Dialect::BuildKit);
            if let ParseFault::UnknownInstruction { .. } = error.fault
                && let Some(suggestion) = message.find(" (did you mean ")
            {
                message.truncate(suggestion);
            }
            let is_instruction =
                message.starts_with("dockerfile parse error") || matches!(error.fault, ParseFault::NoStage);
            format!("{} error: {message}\n", if is_instruction { "instruction" } else { "syntax" })
        }
    }
}

#[test]
fn understands_what_buildkit_understands() {
    // Behind a fault of an instruction only the fault is compared: the generator prints the nodes in front of it.
    check("parse", ACCEPTED, describe, |expected| {
        let fault = ["instruction error: ", "  mount error: "].iter().find_map(|fault| expected.find(fault));
        let shown = &expected[fault.unwrap_or(0)..];
        if shown.starts_with("  mount") {
            &shown[..=shown.find('\n').unwrap_or(shown.len() - 1)]
        } else {
            shown
        }
    });
}

/// Without a `FROM` BuildKit's parser finds no fault, the step behind it does; and it reads flags byte by byte, so that
/// letters beyond ASCII fall apart.
const ACCEPTED: &[&str] = &["meta-only", "random-1352"];

#[track_caller]
fn check_fault(source: &str, dialect: Dialect, docker: &str, place: (usize, usize)) {
    let error = Dockerfile::parse(source.as_bytes(), "Dockerfile", dialect).expect_err("a fault");
    assert_eq!(error.docker_message(dialect), docker);
    assert_eq!((error.span.start.line, error.span.start.column), place);
}

/// The texts of the builder reference, section 7.
#[test]
fn names_faults_as_docker_does() {
    let classic = |source: &str, docker: &str, place| check_fault(source, Dialect::Classic, docker, place);
    let buildkit = |source: &str, docker: &str, place| check_fault(source, Dialect::BuildKit, docker, place);
    classic("FROM a\nFOO b\n", "dockerfile parse error line 2: unknown instruction: FOO", (2, 1));
    buildkit(
        "FROM a\nFOO b\n",
        "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)",
        (2, 1),
    );
    classic("FROM a\nrunn b\n", "dockerfile parse error line 2: unknown instruction: RUNN", (2, 1));
    buildkit(
        "FROM a\nrunn b\n",
        "dockerfile parse error on line 2: unknown instruction: runn (did you mean run?)",
        (2, 1),
    );
    classic("RUN a\n", "no build stage in current context", (1, 1));
    buildkit("RUN a\n", "no build stage in current context", (1, 1));
    let copy = "COPY requires at least two arguments, but only one was provided. Destination could not be determined";
    classic("FROM a\nCOPY b\n", &format!("dockerfile parse error line 2: {copy}"), (2, 1));
    buildkit("FROM a\nCOPY b\n", &format!("dockerfile parse error on line 2: {copy}"), (2, 1));
    let stage = "invalid name for build stage: \"1bad\", name can't start with a number or contain symbols";
    classic("FROM a AS 1bad\n", &format!("dockerfile parse error line 1: {stage}"), (1, 11));
    buildkit("FROM a AS 1bad\n", &format!("dockerfile parse error on line 1: {stage}"), (1, 11));
    classic("# x\n", "failed to parse Dockerfile: file with no instructions", (1, 1));
    buildkit("# x\n", "file with no instructions", (1, 1));
    classic("", "the Dockerfile (Dockerfile) cannot be empty", (1, 1));
    buildkit("", "the Dockerfile cannot be empty", (1, 1));
    classic("FROM a\nENV A\n", "failed to parse Dockerfile: ENV must have two arguments", (2, 5));
    buildkit("FROM a\nENV A\n", "ENV must have two arguments", (2, 5));
    let needs = "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to \
                 build images with BuildKit enabled";
    classic("FROM a\nRUN --mount=target=/x b\n", needs, (2, 5));
    classic("FROM a\nCOPY --link a b\n", "dockerfile parse error line 2: Unknown flag: link", (2, 6));
    buildkit("FROM a\nRUN --bogus x\n", "dockerfile parse error on line 2: unknown flag: --bogus", (2, 5));
    classic("FROM a as b\nFROM a as b\n", "b stage name already used", (2, 1));
    classic(
        "FROM a\nRUN <<EOF\necho hi\nEOF\n",
        "dockerfile parse error line 3: unknown instruction: ECHO",
        (3, 1),
    );
    buildkit("FROM a\nRUN x \\\n  <<EOF\nb\n", "unterminated heredoc", (2, 1));
}

#[test]
fn shows_the_lines_around_a_fault() {
    let error = Dockerfile::parse(b"FROM a\nRUN x\nFOO b\nRUN y\n", "Dockerfile", Dialect::Shale)
        .expect_err("a fault");
    assert_eq!(error.to_string(), "Dockerfile:3:1: unknown instruction: FOO (did you mean FROM?)");
    assert_eq!(error.line, "FOO b");
    let expected = "Dockerfile:3\n--------------------\n   1 |     FROM a\n   2 |     RUN x\n   3 | >>> FOO b\n   4 |     \
                    RUN y\n--------------------\n";
    assert_eq!(error.excerpt(), expected);
}

#[test]
fn points_into_continued_lines() {
    let source = "FROM a\nENV b=c \\\n  # comment\n  d e=f\n";
    check_fault(
        source,
        Dialect::BuildKit,
        "Syntax error - can't find = in \"d\". Must be of the form: name=value",
        (4, 3),
    );
}
