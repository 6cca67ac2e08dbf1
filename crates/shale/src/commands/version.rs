//! `shale version`.

use serde_json::{Value, json};
use shale_engine_api::ApiVersion;

use super::Failure;
use crate::context::BUILD;
use crate::terminal::listing::system::render_version;

/// Prints the version of the program, which is client and engine in one.
pub fn run(format: Option<&str>) -> Result<(), Failure> {
    let part = part();
    print!("{}", render_version(&json!({ "Client": part, "Server": part }), format)?);
    Ok(())
}

fn part() -> Value {
    json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": ApiVersion::NEWEST.to_string(),
        "GitCommit": BUILD,
        "Os": std::env::consts::OS,
        "Arch": go_architecture(),
    })
}

/// Returns the processor as Go names it, as in image configs.
pub fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}
