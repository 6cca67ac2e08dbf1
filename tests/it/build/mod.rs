//! `shale build --dialect classic` against dockerd's classic builder: one daemon, one base image, tables of cases.

mod caches;
mod copies;
mod failed_root;
mod ignores;
mod instructions;
mod kills;
mod mistakes;
mod power;
mod sequences;
mod sources;

use shale_tests::build::{Case, Pair, case};

/// What is printed, every step's config and the flattened tree are equal; each then takes the other's cache.
#[test]
fn builds_are_those_of_dockers_classic_builder() {
    let mut pair = Pair::start("build");
    pair.build_base("onbuild:0", case("ONBUILD ENV T=1\nONBUILD COPY a.txt /trig/\nONBUILD RUN echo trig"));
    let cases: Vec<(usize, Case)> = copies::CASES
        .iter()
        .copied()
        .chain(ignores::cases())
        .chain(instructions::CASES.iter().copied())
        .chain(mistakes::CASES.iter().copied())
        .enumerate()
        .collect();
    let only = std::env::var("SHALE_TEST_CASE").unwrap_or_default();
    let chosen = |number: usize| only.is_empty() || is_listed(number, &only);
    let cases: Vec<(usize, Case)> = cases.into_iter().filter(|(number, _)| chosen(*number)).collect();
    let mut failures = Vec::new();
    for (number, case) in &cases {
        failures.extend(pair.compare(*number, *case));
    }
    assert!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
    let repeated = cases.iter().filter(|(_, case)| is_repeatable(case)).copied().collect::<Vec<_>>();
    failures.extend(pair.missed_by_docker(&repeated));
    failures.extend(pair.missed_by_shale(&repeated));
    assert!(failures.is_empty(), "{} missed\n{}", failures.len(), failures.join("\n"));
}

/// Whether `number` is in a list such as `3,20-25`.
fn is_listed(number: usize, list: &str) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().is_ok_and(|first: usize| first <= number)
            && last.parse().is_ok_and(|last: usize| number <= last)
    })
}

/// Whether a second build has something to find: the first one did not fail, and it was not told to look away.
fn is_repeatable(case: &Case) -> bool {
    !case.has_own_key
        && !case.flags.contains(&"--no-cache")
        && !mistakes::CASES.iter().any(|mistake| mistake.dockerfile == case.dockerfile)
}
