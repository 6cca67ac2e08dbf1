//! `GET /images/{name}/history`.

use serde_json::Value;

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;

pub(crate) async fn answer(daemon: &Daemon, name: String) -> Result<Answer, Failure> {
    let items = daemon.blocking(move |engine| engine.history(&name)).await?;
    Ok(document(&Value::Array(items.iter().map(|item| item.document()).collect())))
}
