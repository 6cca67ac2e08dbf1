//! Files in and out of containers: changes, export, archives, and commit.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use jiff::Zoned;
use serde_json::{Value, json};
use shale_engine::containers::changes::ChangeKind;
use shale_engine::containers::commit::Commit;
use shale_engine::containers::copy::{CopyIn, PathStat};
use shale_oci::RunConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::answer::{Answer, Body, document, empty, stream, with_status};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::events::Action;
use crate::failure::Failure;
use crate::images::tag::target;
use crate::request::Call;
use crate::transfer::{PIECE_BYTES, PIECES_MAX, Pieces, Received};

/// The header that describes a path.
const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

/// Lists what a container changed.
pub(crate) async fn changes(daemon: &Daemon, name: String) -> Result<Answer, Failure> {
    let changes = daemon.blocking(move |engine| engine.container_changes(&name)).await?;
    if changes.is_empty() {
        return Ok(document(&Value::Null));
    }
    let row = |change: &shale_engine::containers::changes::Change| {
        let kind = match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        };
        json!({ "Path": change.path.to_string_lossy(), "Kind": kind })
    };
    Ok(document(&Value::Array(changes.iter().map(row).collect())))
}

/// Sends all files of a container as one tar.
pub(crate) async fn export(daemon: &Daemon, name: String) -> Result<Answer, Failure> {
    let record = daemon.container(&name).await?;
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let engine = daemon.engine.clone();
    let id = record.id.clone();
    spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
        let written = engine.export_container(&id, &mut out).map_err(io::Error::other);
        if let Err(error) = written.and_then(|()| out.flush()) {
            // The connection breaks off here, so that the client does not take the part for the whole.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    daemon.container_event(&record, "export", &[]);
    Ok(stream(Body::Pieces(receiver), "application/octet-stream"))
}

fn path(call: &Call) -> Result<PathBuf, Failure> {
    // The missing blank is dockerd's.
    let path =
        call.query.text("path").ok_or_else(|| Failure::invalid("bad parameter: pathcannot be empty"))?;
    if path.contains('\0') {
        return Err(Failure::invalid("bad parameter: path has a NUL byte"));
    }
    Ok(PathBuf::from(path))
}

fn path_stat(stat: &PathStat) -> HeaderValue {
    let described = json!({
        "name": stat.name,
        "size": stat.size_bytes,
        "mode": stat.go_mode(),
        "mtime": stat.modified.to_string(),
        "linkTarget": stat.link_target,
    });
    HeaderValue::from_str(&STANDARD.encode(described.to_string()))
        .expect("base64 has letters that headers take")
}

/// Describes what is at a path of a container.
pub(crate) async fn stat(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let path = path(call)?;
    let stat = daemon.blocking(move |engine| engine.stat_container_path(&name, &path)).await?;
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().remove(http::header::CONTENT_LENGTH);
    answer.headers_mut().insert(PATH_STAT, path_stat(&stat));
    Ok(answer)
}

/// Sends what is at a path of a container as a tar.
pub(crate) async fn get(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let path = path(call)?;
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let (ready, is_ready) = oneshot::channel::<Result<PathStat, Failure>>();
    let engine = daemon.engine.clone();
    let copied = name.clone();
    spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
        let mut ready = Some(ready);
        let started = |stat: PathStat| match ready.take().map(|ready| ready.send(Ok(stat))) {
            Some(Ok(())) => Ok(()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        };
        let written = engine.copy_from_container(&copied, &path, started, &mut out);
        match (written, ready) {
            (Err(error), Some(ready)) => drop(ready.send(Err(error.into()))),
            (Err(error), None) => drop(pieces.blocking_send(Err(io::Error::other(error)))),
            (Ok(()), _) => {
                if let Err(error) = out.flush() {
                    let _ = pieces.blocking_send(Err(error));
                }
            }
        }
    });
    let stat = is_ready.await.map_err(|error| Failure::internal(&error))??;
    if let Ok(record) = daemon.container(&name).await {
        daemon.container_event(&record, "archive-path", &[]);
    }
    let mut answer = stream(Body::Pieces(receiver), "application/x-tar");
    answer.headers_mut().insert(PATH_STAT, path_stat(&stat));
    Ok(answer)
}

/// Unpacks the tar in the body, compressed or not, into a directory of a container.
pub(crate) async fn put(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    name: String,
) -> Result<Answer, Failure> {
    let path = path(call)?;
    let how = CopyIn {
        same_kind: call.query.is_on("noOverwriteDirNonDir"),
        to_user: call.query.is_on("copyUIDGID"),
    };
    let record = daemon.container(&name).await?;
    let archive = Received::of(body);
    daemon
        .blocking(move |engine| -> Result<(), Failure> {
            let mut tar = shale_rootfs::decompress(Box::new(archive))
                .map_err(|error| Failure::invalid(format!("the archive in the request body: {error}")))?;
            engine.copy_to_container(&name, &path, &mut tar, how)?;
            Ok(())
        })
        .await?;
    daemon.container_event(&record, "extract-to-dir", &[]);
    Ok(empty(StatusCode::OK))
}

/// Makes an image of what a container wrote.
pub(crate) async fn commit(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    // Clients send no type with an empty body.
    let config: Option<RunConfig> = call.document(body).await?;
    let query = &call.query;
    let name = query.text("container").unwrap_or_default().to_owned();
    let reference = query.text("repo").map(|repository| target(repository, query.text("tag"))).transpose()?;
    let commit = Commit {
        reference: reference.clone(),
        author: query.text("author").unwrap_or_default().to_owned(),
        message: query.text("comment").unwrap_or_default().to_owned(),
        changes: query.list("changes"),
        config,
        without_pause: !query.is_on_or("pause", true),
    };
    let record = daemon.container(&name).await?;
    let id = record.id.clone();
    let image = daemon.blocking(move |engine| engine.commit_container(&id, &commit, &Zoned::now())).await?;
    let image = image.to_string();
    let familiar = reference.map(|reference| reference.familiar()).unwrap_or_default();
    if !familiar.is_empty() {
        daemon.image_event(Action::Tag, &image, &familiar).await;
    }
    let comment = query.text("comment").unwrap_or_default();
    let more = [("comment", comment), ("imageID", image.as_str()), ("imageRef", familiar.as_str())];
    daemon.container_event(&record, "commit", &more);
    Ok(with_status(StatusCode::CREATED, &json!({ "Id": image })))
}
