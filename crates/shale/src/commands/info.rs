//! `shale info`.

use serde_json::json;
use shale_daemon::{Experiments, describe_engine};

use super::Failure;
use crate::context::{BUILD, Context, identity};
use crate::terminal::listing::system::render_info;

/// Prints what the store, the machine and the registries are: what `shale daemon` would answer, and the client's part.
pub fn run(context: &Context, format: Option<&str>) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    let options = context.client_options()?;
    let mut document = describe_engine(&engine, &options, &identity(), Experiments::Served)?;
    document["ClientInfo"] = json!({
        "Debug": context.is_debug(),
        "Version": env!("CARGO_PKG_VERSION"),
        "GitCommit": BUILD,
        "Os": std::env::consts::OS,
        "Arch": document["Architecture"],
        "Context": "default",
        "Plugins": [],
        "Warnings": null,
    });
    print!("{}", render_info(&document, format)?);
    Ok(())
}
