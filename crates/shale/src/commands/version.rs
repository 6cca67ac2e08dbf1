//! `shale version`.

use serde_json::{Value, json};
use shale_engine_api::ApiVersion;
use shale_oci::Platform;

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
        "Arch": Platform::host().architecture,
    })
}
