use shale_dockerfile::{Dialect, Dockerfile, ParseFault};

use crate::check;

/// Returns what BuildKit's parser says of `source` in the words of the generator.
fn describe(source: &str) -> String {
    match Dockerfile::parse(source.as_bytes(), "Dockerfile", Dialect::BuildKit) {
        Ok(dockerfile) => format!("{}{}", dockerfile.dump_nodes(), dockerfile.dump_instructions()),
        Err(error) => {
            let message = error.docker_message(Dialect::BuildKit);
            let is_instruction =
                message.starts_with("dockerfile parse error") || matches!(error.fault, ParseFault::NoStage);
            format!("{} error: {message}\n", if is_instruction { "instruction" } else { "syntax" })
        }
    }
}

#[test]
fn understands_what_buildkit_understands() {
    // Behind a fault of an instruction only the fault is compared: the generator prints the nodes in front of it.
    check("parse", ACCEPTED, describe, |expected| match expected.find("instruction error: ") {
        Some(fault) => &expected[fault..],
        None => expected,
    });
}

const ACCEPTED: &[&str] = &[];
