//! `POST /images/{name}/push`.

use std::sync::Arc;

use serde_json::json;
use shale_engine::progress::Progress;
use shale_engine::push::PushError;
use shale_oci::{Reference, Tag};
use shale_registry_client::RequestError;

use crate::answer::Answer;
use crate::daemon::Daemon;
use crate::events::Action;
use crate::failure::Failure;
use crate::progress;
use crate::registry_auth::{self, AuthConfig};
use crate::request::Call;

pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: &str) -> Result<Answer, Failure> {
    let named = Reference::parse(name)?;
    let repository = named.repository.clone();
    // Up to Docker 20.10 a tag in the path was ignored, and all tags were pushed.
    let tag = call.query.text("tag").map(Tag::parse).transpose()?;
    let client = registry_auth::client(call, &daemon.registries, &repository)?;
    let is_anonymous = AuthConfig::of(call).credential().is_none();
    let daemon = daemon.clone();
    progress::answer(true, move |reporter| async move {
        reporter.message(&format!("The push refers to repository [{repository}]"));
        let known =
            daemon.blocking(move |engine| Ok::<_, Failure>(engine.local_tags(&named.repository))).await?;
        let known = known.map_err(refused)?;
        let references = match tag {
            Some(tag) => {
                let wanted = repository.tagged(tag);
                if !known.contains(&wanted) {
                    return Err(refused(PushError::NoSuchTag(wanted)));
                }
                vec![wanted]
            }
            None => known,
        };
        let progress: Arc<dyn Progress> = Arc::clone(&reporter) as Arc<dyn Progress>;
        for reference in references {
            let pushed = daemon.engine.push(&client, &reference, &progress).await;
            let pushed = pushed.map_err(|error| match without_words(&error) {
                true if is_anonymous => Failure::internal_text("no basic auth credentials"),
                true => Failure::internal_text("unauthorized: authentication required"),
                false => refused(error),
            })?;
            let tag = reference.tag.map(|tag| tag.to_string());
            reporter.send(&json!({
                "progressDetail": {},
                "aux": { "Tag": tag, "Digest": pushed.digest, "Size": pushed.size_bytes },
            }));
            daemon.image_event(Action::Push, &pushed.reference.familiar(), repository.familiar()).await;
        }
        Ok(())
    })
    .await
}

/// Whether a registry wants credentials and could not say so in words: the first request of a push has an answer without a
/// body. dockerd finds words of its own then.
fn without_words(error: &PushError) -> bool {
    matches!(error, PushError::Request(RequestError::Unauthorized { answer, .. }) if answer.errors.is_empty())
}

fn refused(error: PushError) -> Failure {
    match error {
        PushError::NoSuchImage(_) | PushError::NoSuchTag(_) => Failure::missing(error.to_string()),
        error => Failure::internal(&error),
    }
}
