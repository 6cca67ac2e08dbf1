//! `POST /images/create?fromImage=…`.

use std::sync::Arc;

use shale_engine::progress::Progress;
use shale_oci::{Digest, Platform, Reference, Tag};

use crate::answer::Answer;
use crate::daemon::Daemon;
use crate::events::Action;
use crate::failure::{Failure, access_denied};
use crate::progress;
use crate::registry_auth;
use crate::request::Call;

pub(crate) async fn answer(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let name = call.query.text("fromImage").unwrap_or_default();
    let reference = reference(name, call.query.text("tag"))?;
    let platform = call.query.text("platform").map(str::parse::<Platform>).transpose()?;
    let client = registry_auth::client(call, &daemon.registries, &reference.repository)?;
    let daemon = daemon.clone();
    progress::answer(true, move |reporter| async move {
        let repository = &reference.repository;
        let references = if reference.is_name_only() {
            let tags = client.tags(repository).await.map_err(|error| Failure::internal(&error))?;
            tags.into_iter().map(|tag| repository.tagged(tag)).collect()
        } else {
            vec![reference.clone()]
        };
        let progress: Arc<dyn Progress> = Arc::clone(&reporter) as Arc<dyn Progress>;
        let mut is_new = false;
        let mut other_platforms = Vec::new();
        for reference in &references {
            let pulled = daemon.engine.pull(&client, reference, platform.as_ref(), &progress).await;
            let pulled = pulled.map_err(|error| access_denied(error, repository.familiar()))?;
            is_new |= pulled.is_new;
            other_platforms.extend(pulled.other_platform);
            daemon.image_event(Action::Pull, &reference.familiar(), repository.familiar()).await;
        }
        let outcome = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        reporter.message(&format!("Status: {outcome} {}", reference.familiar()));
        for other in other_platforms {
            reporter.message(&format!("WARNING: {other}"));
        }
        Ok(())
    })
    .await
}

/// Puts a reference together from `fromImage` and `tag`, which may be a digest; with neither, all tags are meant.
pub(crate) fn reference(name: &str, tag: Option<&str>) -> Result<Reference, Failure> {
    let named = Reference::parse(name.trim_end_matches(':'))?;
    let Some(tag) = tag else { return Ok(named) };
    match tag.parse::<Digest>() {
        Ok(digest) => Ok(named.repository.at(digest)),
        Err(_) => Ok(named.repository.tagged(Tag::parse(tag)?)),
    }
}
