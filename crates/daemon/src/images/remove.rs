//! `DELETE /images/{name}` and `POST /images/prune`.

use serde_json::{Value, json};
use shale_engine::images::remove::{Remove, Removed};

use super::list::parse_filters;
use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::events::{Action, Kind};
use crate::failure::Failure;
use crate::request::Call;

/// Filters of a prune.
const KNOWN: [&str; 4] = ["dangling", "label", "label!", "until"];

pub(crate) async fn remove(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let how = Remove { force: call.query.is_on("force"), prune: !call.query.is_on("noprune") };
    let (image, removed) = daemon
        .blocking(move |engine| {
            let image = engine.find_image(&name)?.id;
            Ok::<_, Failure>((image.to_string(), engine.remove(&name, how)?))
        })
        .await?;
    tell(daemon, &image, &removed).await;
    Ok(document(&Value::Array(removed.iter().map(item).collect())))
}

pub(crate) async fn prune(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let filters = parse_filters(&call.query.filters()?, &KNOWN)?;
    let pruned = daemon.blocking(move |engine| engine.prune_images(false, &filters)).await?;
    daemon.prune_event(Kind::Image, pruned.reclaimed_bytes);
    let removed: Vec<Value> = pruned.removed.iter().map(item).collect();
    let removed = if removed.is_empty() { Value::Null } else { Value::Array(removed) };
    Ok(document(&json!({ "ImagesDeleted": removed, "SpaceReclaimed": pruned.reclaimed_bytes })))
}

fn item(removed: &Removed) -> Value {
    match removed {
        Removed::Untagged(name) => json!({ "Untagged": name }),
        Removed::Deleted(id) => json!({ "Deleted": id }),
    }
}

/// dockerd tells of names by the image that lost them, and of images, not of layers.
async fn tell(daemon: &Daemon, image: &str, removed: &[Removed]) {
    for item in removed {
        match item {
            Removed::Untagged(_) => daemon.image_event(Action::Untag, image, image).await,
            Removed::Deleted(id) if id == image => daemon.image_event(Action::Delete, image, image).await,
            Removed::Deleted(_) => {}
        }
    }
}
