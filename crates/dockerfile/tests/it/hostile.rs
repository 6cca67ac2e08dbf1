//! The cases B16 to B25 of the security reference, and what a fuzzer would try first.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use shale_dockerfile::{
    Dialect, Dockerfile, ExpandFault, IgnoreFile, LintContext, ParseFault, PlanOptions, ResolveFault,
    StageScope, lint,
};

/// Generous for a loaded machine and a debug build; everything here takes a small part of it.
const LONGEST: Duration = Duration::from_secs(60);

/// Does everything that can be done with a text.
fn exercise(source: &[u8], dialect: Dialect) -> Result<(), ParseFault> {
    let dockerfile = Dockerfile::parse(source, "Dockerfile", dialect).map_err(|error| error.fault)?;
    dockerfile.dump_nodes();
    dockerfile.dump_instructions();
    lint(&dockerfile, &LintContext::default());
    if let Ok(plan) = dockerfile.plan(&PlanOptions::default()) {
        let mut scope = StageScope::from_image(&plan, []);
        for step in plan.needed_stages().flat_map(|stage| &stage.steps) {
            let _ = scope.resolve(step);
        }
    }
    Ok(())
}

fn resolve_all(source: &str) -> Result<(), ResolveFault> {
    let dockerfile =
        Dockerfile::parse(source.as_bytes(), "Dockerfile", Dialect::Shale).expect("a Dockerfile");
    let plan = dockerfile.plan(&PlanOptions::default()).expect("a plan");
    let mut scope = StageScope::from_image(&plan, []);
    plan.stages[0]
        .steps
        .iter()
        .try_for_each(|step| scope.resolve(step).map(drop))
        .map_err(|error| error.fault)
}

fn is_too_large(result: Result<(), ResolveFault>) -> bool {
    matches!(result, Err(ResolveFault::Expand(error)) if error.fault == ExpandFault::TooLarge)
}

#[test]
fn expansion_bombs_stop_at_the_cap() {
    let start = Instant::now();
    assert!(is_too_large(resolve_all(&format!("FROM a\nENV A=xxxx\n{}", "ENV A=$A$A\n".repeat(34)))));
    assert!(is_too_large(resolve_all(&format!("FROM a\nARG A=xxxx\n{}", "ARG A=$A$A\n".repeat(34)))));
    let many: String = (0..2_000).map(|number| format!("ENV B{number}=$A\n")).collect();
    let value = "x".repeat(10_000);
    assert!(is_too_large(resolve_all(&format!("FROM a\nENV A={value}\n{many}"))));
    let words = "$A".repeat(1_000);
    assert!(is_too_large(resolve_all(&format!("FROM a\nENV A={value}\nLABEL x={words}\n"))));
    let labels: String = (0..1_000).map(|number| format!(" l{number}=$A")).collect();
    assert!(is_too_large(resolve_all(&format!("FROM a\nENV A={value}\nLABEL{labels}\n"))));
    let replaced = format!("FROM a\nENV A={value}\nENV B=${{A//x/$A}}\n");
    assert!(is_too_large(resolve_all(&replaced)));
    assert!(start.elapsed() < LONGEST);
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("FROM a\nENV A={}x{}\n", "${a:-".repeat(9_000), "}".repeat(9_000));
    assert!(
        matches!(resolve_all(&deep), Err(ResolveFault::Expand(error)) if error.fault == ExpandFault::TooDeep)
    );
    assert_eq!(
        exercise(format!("FROM a\n{}\n", "ONBUILD ".repeat(8_000)).as_bytes(), Dialect::Shale),
        Err(ParseFault::OnbuildChain)
    );
    assert_eq!(exercise(format!("FROM a\nRUN {}\n", "[".repeat(60_000)).as_bytes(), Dialect::Shale), Ok(()));
}

#[test]
fn long_lines_and_files_are_refused() {
    let line = |length: usize| format!("FROM a\nRUN {}\n", "x".repeat(length - 4));
    assert_eq!(exercise(line(65_535).as_bytes(), Dialect::Shale), Ok(()));
    assert_eq!(exercise(line(65_536).as_bytes(), Dialect::Shale), Err(ParseFault::LineTooLong));
    assert_eq!(exercise(&vec![b'x'; 20 << 20], Dialect::Shale), Err(ParseFault::TooLarge));
    let heredoc = format!("FROM a\nRUN <<EOF\n{}\nEOF\n", "x".repeat(70_000));
    assert_eq!(exercise(heredoc.as_bytes(), Dialect::Shale), Err(ParseFault::LineTooLong));
}

#[test]
fn many_instructions_take_linear_time() {
    let start = Instant::now();
    for line in
        ["RUN true\n", "ENV A=b\n", "COPY a /b\n", "FROM a AS b\n", "# x\n", "RUN a \\\n\n", "RUN rm /b\n"]
    {
        let source = format!("FROM a\n{}", line.repeat(20_000));
        let _ = exercise(source.as_bytes(), Dialect::Shale);
    }
    let arguments: String = (0..20_000).map(|number| format!("ARG a{number}\n")).collect();
    let _ = exercise(format!("FROM a\n{arguments}").as_bytes(), Dialect::Shale);
    assert!(start.elapsed() < 6 * LONGEST, "{:?}", start.elapsed());
}

#[test]
fn strange_bytes_are_kept_or_refused() {
    assert_eq!(exercise(b"FROM a\nRUN echo \x00 x\r\n", Dialect::Shale), Ok(()));
    assert_eq!(exercise(b"FROM a\nRUN echo \xff\n", Dialect::Shale), Err(ParseFault::NotUtf8));
    assert_eq!(
        exercise(b"FROM a\n# \xe9\nMAINTAINER Jos\xe9\nRUN x \\\n# \xff\n y\n", Dialect::Shale),
        Ok(())
    );
    assert_eq!(exercise(b"FROM a\nRUN <<EOF\n# \xff\nEOF\n", Dialect::Shale), Err(ParseFault::NotUtf8));
    assert_eq!(exercise(b"# escape=`\nFROM a\nRUN x `", Dialect::Shale), Ok(()));
    assert_eq!(exercise(b"\xef\xbb\xbf# escape=`\nFROM a\nRUN x `\n y\n", Dialect::Shale), Ok(()));
}

#[test]
fn catastrophic_patterns_take_linear_time() {
    let start = Instant::now();
    let path = format!("{}/b", "a".repeat(2_000));
    for pattern in
        ["*a".repeat(500), "**/*a".repeat(300), "[a]*".repeat(400), "?*".repeat(500), "**".repeat(1_000)]
    {
        let file = IgnoreFile::parse(format!("{pattern}c\n").as_bytes()).expect("a pattern");
        assert!(!file.matches(&path), "{pattern}");
    }
    assert!(start.elapsed() < LONGEST, "{:?}", start.elapsed());
    assert!(IgnoreFile::parse(b"a[\n").is_err());
    assert!(IgnoreFile::parse(&vec![b'x'; 70_000]).is_err());
}

#[test]
fn a_walker_may_skip_only_what_no_exception_reaches() {
    let may = |rules: &str, directory: &str| {
        IgnoreFile::parse(rules.as_bytes()).expect("rules").may_readmit_below(directory)
    };
    assert!(may("docs\n!docs/README.md\n", "docs"));
    assert!(may("*\n!src/**/x\n", "src/a"));
    assert!(may("*\n!src\n", "src/a"));
    assert!(may("*\n!**/x\n", "docs"));
    assert!(may("*\n!do*/x\n", "docs"));
    assert!(!may("docs\n!src/README.md\n", "docs"));
    assert!(!may("docs\n!docsx/a\n", "docs"));
    assert!(!may("docs\n", "docs"));
}

fn token() -> impl Strategy<Value = String> {
    let words = [
        "FROM a\n",
        "RUN ",
        "COPY ",
        "ENV ",
        "ARG ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "EXPOSE ",
        "LABEL ",
        "--mount=",
        "type=",
        "--from=",
        "<<EOF",
        "<<-",
        "EOF\n",
        "\n",
        "\\\n",
        "\\",
        "`",
        "# escape=`\n",
        "# check=skip=all\n",
        "$",
        "${",
        "}",
        ":-",
        "##",
        "%",
        "//",
        "/",
        "\"",
        "'",
        "[",
        "]",
        ",",
        "=",
        " ",
        "\t",
        "\r\n",
        "a",
        "é",
        "\u{0}",
        "\u{feff}",
        "CMD ",
        "0",
        "-1",
        "80/tcp",
        "SHELL ",
        "as b",
        "*",
        "?",
        "!",
    ];
    prop::sample::select(words.map(str::to_owned).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(tokens in prop::collection::vec(token(), 0..40)) {
        let source = tokens.concat();
        for dialect in [Dialect::Classic, Dialect::Shale] {
            let _ = exercise(source.as_bytes(), dialect);
        }
        if let Ok(file) = IgnoreFile::parse(source.as_bytes()) {
            file.matches(&source);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(source in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = exercise(&source, Dialect::Shale);
        let mut framed = b"FROM a\nENV ".to_vec();
        framed.extend(&source);
        let _ = exercise(&framed, Dialect::BuildKit);
    }
}
