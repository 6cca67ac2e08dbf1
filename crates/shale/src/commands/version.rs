//! `shale version`.

use serde_json::json;
use shale_daemon::{Experiments, describe_version};

use super::Failure;
use crate::context::identity;
use crate::terminal::listing::system::render_version;

/// Prints the version of the program, which is client and engine in one.
pub fn run(format: Option<&str>) -> Result<(), Failure> {
    let server = describe_version(&identity(), Experiments::Served);
    let client = json!({
        "Version": server["Version"],
        "ApiVersion": server["ApiVersion"],
        "DefaultAPIVersion": server["ApiVersion"],
        "GitCommit": server["GitCommit"],
        "GoVersion": server["GoVersion"],
        "Os": server["Os"],
        "Arch": server["Arch"],
        "BuildTime": server["BuildTime"],
        "Context": "default",
    });
    print!("{}", render_version(&json!({ "Client": client, "Server": server }), format)?);
    Ok(())
}
