//! `GET /images/get`, `POST /images/load` and `POST /images/create?fromSrc=…`.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use jiff::Zoned;
use serde_json::json;
use shale_engine::archive::import::Import;
use shale_engine::archive::load::{Input, Loaded};
use shale_engine_api::ApiVersion;
use shale_oci::Platform;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::tag::target;
use crate::answer::{Answer, Body, stream};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::events::Action;
use crate::failure::Failure;
use crate::progress;
use crate::request::Call;
use crate::transfer::{PIECE_BYTES, PIECES_MAX, Pieces, Received};

/// Sends images as one archive. An unknown name is told before the first byte.
pub(crate) async fn save(daemon: &Daemon, call: &Call, names: Vec<String>) -> Result<Answer, Failure> {
    if names.is_empty() {
        return Err(Failure::invalid("no image names were given"));
    }
    let platform = platform(call)?;
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let (ready, is_ready) = oneshot::channel();
    let engine = daemon.engine.clone();
    let saved = names.clone();
    spawn_blocking(move || {
        let archive = match engine.save(&names, platform.as_ref()) {
            Ok(archive) => archive,
            Err(error) => return drop(ready.send(Err(Failure::from(error)))),
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
        let written = archive.write(&mut out).map_err(io::Error::other).and_then(|()| out.flush());
        if let Err(error) = written {
            // The connection breaks off here, so that the client does not take the part for the whole.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    is_ready.await.map_err(|error| Failure::internal(&error))??;
    for name in saved {
        let image = daemon.blocking(move |engine| engine.find_image(&name)).await;
        if let Ok(image) = image {
            let id = image.id.to_string();
            daemon.image_event(Action::Save, &id, &id).await;
        }
    }
    Ok(stream(Body::Pieces(receiver), "application/x-tar"))
}

/// Loads the archive in the body.
pub(crate) async fn load(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    let platform = platform(call)?;
    let is_quiet = call.query.is_on_or("quiet", true);
    let archive = Received::of(body);
    let daemon = daemon.clone();
    progress::answer(!is_quiet, move |reporter| async move {
        let shown = Arc::clone(&reporter);
        let loaded = daemon
            .blocking(move |engine| {
                let input = Input::Stream(Box::new(archive));
                let loaded = match is_quiet {
                    true => engine.load(input, platform.as_ref(), &shale_engine::progress::Silent),
                    false => engine.load(input, platform.as_ref(), &*shown),
                };
                // dockerd has sent the head by now, so that a bad archive is told in the stream.
                loaded.map_err(|error| Failure::internal(&error))
            })
            .await;
        match loaded {
            Err(failure) => reporter.fail(&failure.message),
            Ok(loaded) => {
                for image in &loaded {
                    lines(image).iter().for_each(|line| reporter.send(&json!({ "stream": line })));
                    let id = image.image.to_string();
                    daemon.image_event(Action::Load, &id, &id).await;
                }
            }
        }
        Ok(())
    })
    .await
}

/// Returns docker's lines about one image.
fn lines(loaded: &Loaded) -> Vec<String> {
    if loaded.names.is_empty() {
        return vec![format!("Loaded image ID: {}\n", loaded.image)];
    }
    let mut lines = Vec::new();
    for name in &loaded.names {
        let reference = name.reference.familiar();
        lines.extend(name.replaced.map(|replaced| {
            format!("The image {reference} already exists, renaming the old one with ID {replaced} to empty string\n")
        }));
        lines.push(format!("Loaded image: {reference}\n"));
    }
    lines
}

/// Makes an image of the file system in the body.
pub(crate) async fn import(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    match call.query.text("fromSrc") {
        Some("-") => {}
        Some(source) => {
            let message =
                format!("importing from a URL is not served; pipe it in: curl -L {source} | docker import -");
            return Err(Failure::new(StatusCode::NOT_IMPLEMENTED, message));
        }
        None => return Err(Failure::invalid("neither fromImage nor fromSrc was given")),
    }
    let repository = call.query.text("repo");
    let import = Import {
        changes: call.query.list("changes"),
        message: call.query.text("message").unwrap_or("Imported from -").to_owned(),
        platform: match call.query.text("platform") {
            Some(platform) => platform.parse()?,
            None => Platform::host(),
        },
        reference: repository.map(|repository| target(repository, call.query.text("tag"))).transpose()?,
    };
    let archive = Received::of(body);
    let daemon = daemon.clone();
    progress::answer(false, move |reporter| async move {
        let image =
            daemon.blocking(move |engine| engine.import(Box::new(archive), &import, &Zoned::now())).await?;
        let id = image.to_string();
        reporter.send(&json!({ "status": id }));
        daemon.image_event(Action::Import, &id, &id).await;
        Ok(())
    })
    .await
}

/// Returns the platform of save and load, which they have since API 1.48.
fn platform(call: &Call) -> Result<Option<Platform>, Failure> {
    if call.version < ApiVersion::one(48) { Ok(None) } else { call.query.json_platform("platform") }
}
