//! `POST /images/{name}/tag`.

use http::StatusCode;
use jiff::Zoned;
use shale_engine::images::tag::TagError;
use shale_oci::{Reference, Tag};

use crate::answer::{Answer, empty};
use crate::daemon::Daemon;
use crate::events::Action;
use crate::failure::Failure;
use crate::request::Call;

pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let target = target(call.query.text("repo").unwrap_or_default(), call.query.text("tag"))?;
    let text = target.familiar();
    let image = daemon
        .blocking(move |engine| {
            engine.tag(&name, &text, &Zoned::now())?;
            Ok::<_, TagError>(engine.find_image(&text)?.id)
        })
        .await?;
    daemon.image_event(Action::Tag, &image.to_string(), &target.familiar()).await;
    Ok(empty(StatusCode::CREATED))
}

/// Puts a name together from `repo`, which may bear a tag itself, and `tag`.
pub(crate) fn target(repository: &str, tag: Option<&str>) -> Result<Reference, Failure> {
    let named = Reference::parse(repository)?;
    match tag {
        Some(tag) => Ok(named.repository.tagged(Tag::parse(tag)?)),
        None => Ok(named.or_latest()),
    }
}
