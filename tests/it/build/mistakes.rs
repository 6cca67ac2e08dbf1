//! Builds that fail: docker's words and its exit code.

use shale_tests::build::{Case, Pair, case};

pub const CASES: &[Case] = &[
    case("FOO bar"),
    case("RUN exit 3"),
    case("RUN nosuchcmd"),
    case("COPY missing.txt /"),
    case("COPY ../a.txt /x"),
    case("COPY a.txt"),
    case("COPY a.txt b.txt /x"),
    case("COPY zz* /x/"),
    case("COPY dangling /x"),
    case("COPY d /tf").in_own_words(),
    case("COPY --chown=nouser a.txt /x"),
    case("COPY --chown=lone a.txt /x"),
    case("COPY --from=nostage:1 /x /y").in_own_words(),
    case("COPY --from=0 /x /y"),
    case("COPY --link a.txt /x"),
    case("COPY http://127.0.0.1/x /y"),
    case("RUN --mount=type=cache,target=/x true"),
    case("USER nobody-there\nRUN true"),
    case("ENV A"),
    case("ENV A=1 B"),
    case("ENV A=${A:bad}"),
    case("ENV A=${A-b}"),
    case("ENV A=${}"),
    case("ENV A=${B"),
    case("EXPOSE 99999"),
    case("STOPSIGNAL SIGFOO"),
    case("SHELL /bin/sh"),
    case("HEALTHCHECK --interval=x CMD true"),
    case("HEALTHCHECK --retries=-1 CMD true"),
    case("HEALTHCHECK --retries=0 CMD true"),
    case("HEALTHCHECK"),
    case("ONBUILD ONBUILD RUN true"),
    case("ONBUILD FROM x"),
    case("VOLUME [\"\"]"),
    case("LABEL a"),
    case("ARG a b=c d"),
    case("RUN [\"/nosuch\"]").in_own_words(),
    case("CMD [1]"),
    case("MAINTAINER"),
    case("WORKDIR"),
    case("WORKDIR /tf"),
    case("FROM base:1 AS 1bad"),
    case("FROM base:1 AS x\nFROM base:1 AS x"),
    case("ARG X\nFROM $X"),
    case("FROM Base:1").in_own_words(),
    case("FROM base:1 base:2"),
    case("# from nothing\nFROM scratch"),
    case("RUN <<FROM\necho\nFROM"),
    case("RUN true").flags(&["--target", "nope"]),
    case("COPY b.txt /").context("echo b.txt > .dockerignore"),
    case("COPY a.txt /").context("echo '!' > .dockerignore"),
    case("COPY a.txt /").context("echo '[' > .dockerignore"),
    case("RUN true").flags(&["-f", "nowhere"]).in_own_words(),
    case("RUN true").flags(&["-t", "BAD:x"]).in_own_words(),
    case("RUN echo bogus").flags(&["--network", "bogus"]),
];

/// A mistake, and what the program says of it in the dialect that it speaks by itself.
struct Told {
    case: Case,
    /// Where the mistake is: `0` where no line is at fault.
    line: usize,
    /// What is said: docker's words, or those that BuildKit 0.32.2 was seen to say, and the help behind them.
    words: &'static str,
}

const fn told(case: Case, line: usize, words: &'static str) -> Told {
    Told { case, line, words }
}

/// The commonest mistakes of those who write Dockerfiles.
const COMMONEST: &[Told] = &[
    told(case("COPPY a.txt /"), 2, "unknown instruction: COPPY (did you mean COPY?)"),
    told(case("RUN true\nFROM base:1"), 1, "no build stage in current context"),
    told(case("COPY a.tx /"), 2, "stat a.tx: file does not exist (did you mean a.txt?)"),
    told(
        case("COPY b.txt /").context("printf '# rule\\nb.*\\n' > .dockerignore"),
        2,
        "stat b.txt: file does not exist (line 2 of the ignore file hides it)",
    ),
    told(case("COPY ../a.txt /"), 2, "forbidden path outside the build context: ../a.txt"),
    told(case("COPY a.txt"), 2, "COPY requires at least two arguments, but only one was provided"),
    told(case("COPY a.txt b.txt /x"), 2, "the destination must be a directory and end with a /"),
    told(case("COPY nothing* /x/"), 2, "no source files were specified"),
    told(case("COPY --chwon=1 a.txt /"), 2, "unknown flag: --chwon (did you mean chown?)"),
    told(case("COPY --chown=nouser a.txt /"), 2, "can't find uid for user nouser: no such user: nouser"),
    told(case("FROM base:1 AS one\nFROM base:1\nCOPY --from=127.0.0.1:1/on /a /b"), 3, "127.0.0.1:1"),
    told(case("FROM 127.0.0.1:1/nosuch:1"), 1, "127.0.0.1:1"),
    told(case("FROM Base:1"), 1, "repository name"),
    told(case("FROM $NOPE"), 1, "base name ($NOPE) should not be blank"),
    told(case("FROM base:1 AS a b"), 1, "FROM requires either one or three arguments"),
    told(case("RUN exit 3"), 2, "The command '/bin/sh -c exit 3' returned a non-zero code: 3"),
    told(case("RUN nosuchcmd"), 2, "nosuchcmd: not found"),
    told(case("RUN [\"/nosuch\"]"), 2, "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
    told(case("USER nobody-there\nRUN true"), 3, "unable to find user nobody-there"),
    told(case("RUN <<EOF\necho hi"), 2, "unterminated heredoc"),
    told(case("ENV A"), 2, "ENV must have two arguments"),
    told(case("ENV A=${B"), 2, "failed to process \"${B\": syntax error: missing '}'"),
    told(case("LABEL a=\"b"), 2, "looking for matching double-quote"),
    told(case("EXPOSE eighty"), 2, "invalid containerPort: eighty"),
    told(case("HEALTHCHECK --interval=5 CMD true"), 2, "time: missing unit in duration \"5\""),
    told(case("ONBUILD FROM x"), 2, "FROM isn't allowed as an ONBUILD trigger"),
    told(case("SHELL sh -c"), 2, "SHELL requires the arguments to be in JSON form"),
    told(case("STOPSIGNAL SIGNOPE"), 2, "Invalid signal: SIGNOPE"),
    told(
        case("RUN --mount=type=cach,target=/x true"),
        2,
        "unsupported mount type \"cach\" (did you mean cache?)",
    ),
    told(case("RUN true").flags(&["--target", "nope"]), 0, "target stage \"nope\" could not be found"),
    told(case("RUN true").flags(&["-f", "Dockerfil"]), 0, "/Dockerfil: no such file or directory"),
    told(case("RUN true").flags(&["-t", "BAD:x"]), 0, "repository name"),
    told(case("RUN true").flags(&["--build-args", "X=1"]), 0, "Did you mean '--build-arg'?"),
    told(case("RUN true").flags(&["--build-arg", "NOPE=1"]), 0, "build-args [NOPE] were not consumed"),
    told(case("CMD a\nCMD b"), 0, "Successfully built"),
];

/// Docker's exit code, the line of the Dockerfile, and what to do about it.
#[test]
fn the_commonest_mistakes_are_told_with_their_line_and_with_help() {
    let pair = Pair::start("mistakes");
    let mut failures = Vec::new();
    for (number, Told { case, line, words }) in COMMONEST.iter().enumerate() {
        let [docker, ours] = pair.both_as_used(number, *case);
        let said = format!("{}{}", ours.stdout, ours.stderr);
        if docker.code() != ours.code() {
            failures.push(format!(
                "{:?}: {} is docker's exit code, {} ours",
                case.dockerfile,
                docker.code(),
                ours.code()
            ));
        }
        let marked = said.lines().any(|text| text.trim_start().starts_with(&format!("{line} | >>> ")));
        if !said.contains(words) || marked != (*line > 0) || said.contains('\u{fffd}') {
            failures.push(format!("{:?}: not {words:?} of line {line}, but:\n{said}", case.dockerfile));
        }
    }
    assert!(failures.is_empty(), "{} mistakes\n{}", failures.len(), failures.join("\n"));
}
