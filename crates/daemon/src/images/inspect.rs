//! `GET /images/{name}/json`.

use shale_engine::images::find::FindError;
use shale_engine::images::inspect::InspectError;
use shale_engine_api::ApiVersion;
use shale_oci::Platform;

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let platform = match call.version >= ApiVersion::one(49) {
        true => call.query.json_platform("platform")?,
        false => None,
    };
    if platform.is_some() && call.query.is_on("manifests") {
        return Err(Failure::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let typed = name.clone();
    let image = daemon.blocking(move |engine| Ok::<_, Failure>(engine.inspect(&name))).await?;
    let image = image.map_err(|error| match error {
        // dockerd of 20.10 says it twice, and its command prints it so.
        InspectError::Find(error @ FindError::NoSuchImage(_)) => {
            Failure::missing(format!("no such image: {typed}: {error}"))
        }
        error => error.into(),
    })?;
    let offered = Platform::new(&image.os, &image.architecture, Some(image.variant.as_str()));
    if let Some(wanted) = platform
        && wanted.choose([Some(&offered)].into_iter()).is_none()
    {
        return Err(Failure::missing(format!(
            "image with reference {typed} was found but does not provide the specified platform ({wanted})"
        )));
    }
    Ok(document(&image.document(call.version)))
}
