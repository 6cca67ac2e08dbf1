//! Holds this crate against Docker's own parser, lexer, linter and ignore matcher; see `tests/data/README.md`.

mod expansion;
mod hostile;
mod ignoring;
mod linting;
mod parsing;
mod planning;

use std::fs;

/// Returns the text of a file below `tests/data`.
fn data(path: &str) -> String {
    let path = format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns name, input and expected output of each case of `directory`.
fn cases(directory: &str) -> Vec<(String, String, String)> {
    let split = |file: &str| -> Vec<(String, String)> {
        let text = data(&format!("{directory}/{file}.txt"));
        let cases =
            text.split("=====> ").skip(1).map(|case| case.split_once('\n').expect("a case has a body"));
        cases.map(|(name, body)| (name.to_owned(), body.to_owned())).collect()
    };
    let (inputs, results) = (split("input"), split("expected"));
    assert_eq!(inputs.len(), results.len(), "input and expected output differ in length");
    let joined = inputs.into_iter().zip(results).map(|((name, input), (same, expected))| {
        assert_eq!(name, same);
        (name, input, expected)
    });
    joined.collect()
}

/// Compares `actual` with `expected` for all cases and shows the first differences.
fn check(
    directory: &str,
    accepted: &[&str],
    actual: impl Fn(&str) -> String,
    relevant: impl Fn(&str) -> &str,
) {
    let cases = cases(directory);
    let total = cases.len();
    let mut wrong = Vec::new();
    for (name, input, expected) in cases {
        let (result, expected) = (actual(&input), relevant(&expected));
        let is_accepted = accepted.contains(&name.as_str());
        assert!(!is_accepted || result != expected, "{name} does not differ any more");
        if result != expected && !is_accepted {
            wrong.push(format!("--- {name}\n{input:?}\nexpected:\n{expected}\nactual:\n{result}"));
        }
    }
    let shown: Vec<&str> = wrong.iter().take(12).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} of {total} differ\n{}", wrong.len(), shown.join("\n"));
}
