//! Uploads and manifests that are put.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Shared;
use super::http::{Connection, Request};
use crate::image::sha256;

const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// How long a busy registry asks to wait, and is busy from the first request on.
const BUSY: Duration = Duration::from_secs(1);

/// What clients have sent.
#[derive(Default)]
pub(crate) struct Pushed {
    uploads: HashMap<String, Vec<u8>>,
    content: HashMap<String, Vec<u8>>,
}

impl Pushed {
    pub(super) fn content(&self, digest: &str) -> Option<Vec<u8>> {
        self.content.get(digest).cloned()
    }
}

/// Returns whether a request belongs to a push.
pub(super) fn is_push(request: &Request) -> bool {
    request.path.contains("/blobs/uploads/")
        || matches!(request.method.as_str(), "PUT" | "POST" | "PATCH" | "DELETE")
        || (request.method == "HEAD" && request.path.contains("/blobs/"))
}

/// Returns whether a behaviour reads less than the body.
pub(super) fn reads_its_own_body(shared: &Shared, request: &Request) -> bool {
    request.method == "PATCH" && matches!(shared.inner(), "p-patch-reset" | "p-patch-early-500")
}

/// Answers a request of a push. `at` is its place in the log.
pub(super) fn answer(
    shared: &Shared,
    connection: &mut Connection,
    request: &mut Request,
    at: usize,
) -> Option<()> {
    let path = request.path.split('?').next().unwrap_or_default().to_owned();
    let session = path.split_once("/blobs/uploads/").map(|(_, session)| session.to_owned());
    match (request.method.as_str(), session) {
        ("HEAD", _) => head(shared, connection, &path),
        ("POST", Some(_)) => post(shared, connection, request),
        ("PATCH", Some(session)) => patch(shared, connection, request, &session, &path, at),
        ("PUT", Some(session)) => put(shared, connection, request, &session),
        ("GET", Some(session)) => status(shared, connection, &session, &path),
        ("PUT", None) => put_manifest(shared, connection, request, &path),
        _ => connection.answer(202, &[], b""),
    }
}

fn head(shared: &Shared, connection: &mut Connection, path: &str) -> Option<()> {
    let digest = path.rsplit('/').next().unwrap_or_default();
    match shared.content(digest) {
        Some((bytes, _)) => connection.head_of(200, &[("Docker-Content-Digest", digest)], Some(bytes.len())),
        None if shared.inner() == "p-head-lies" => connection.head_of(200, &[], Some(10)),
        None => connection.head_of(404, &[], Some(0)),
    }
}

fn post(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let location = match shared.inner() {
        "p-post-500-twice" if shared.count("post") <= 2 => return connection.answer(500, &[], b""),
        "p-post-429-once" if shared.count("post") == 1 => {
            return connection.answer(429, &[("Retry-After", "0")], b"");
        }
        "p-noloc" => return connection.answer(202, &[], b""),
        "p-201-at-once" => return connection.answer(201, &[("Location", "/v2/b/img/blobs/x")], b""),
        "p-loc-file" => "file:///etc/passwd".to_owned(),
        "p-loc-evilhost" => format!("http://{}/v2/b/img/blobs/uploads/1", shared.other_host),
        "p-mount" if request.query("mount").is_some() => {
            return connection.answer(201, &[("Location", "/v2/b/img/blobs/x")], b"");
        }
        _ => {
            let session = shared.count("session").to_string();
            let mut pushed = shared.pushed.lock().unwrap_or_else(PoisonError::into_inner);
            pushed.uploads.insert(session.clone(), Vec::new());
            format!("/v2/b/img/blobs/uploads/{session}?_state=a%3Db~c")
        }
    };
    connection.answer(202, &[("Location", &location), ("Range", "0-0")], b"")
}

fn patch(
    shared: &Shared,
    connection: &mut Connection,
    request: &mut Request,
    session: &str,
    path: &str,
    at: usize,
) -> Option<()> {
    let behaviour = shared.inner();
    let length: usize = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    match behaviour {
        "p-patch-early-500" => {
            connection.answer(500, &[("Connection", "close")], b"")?;
            // The answer has to get there before the unread body resets the connection.
            std::thread::sleep(Duration::from_millis(50));
            return None;
        }
        "p-patch-reset" if shared.count("patch") <= 3 => {
            if !connection.take(length / 4, request) {
                return None;
            }
            keep(shared, request, session);
            note(shared, request, at);
            return connection.reset();
        }
        "p-patch-reset" => {
            if !connection.body(request) {
                return None;
            }
            note(shared, request, at);
        }
        "p-patch-413" => return connection.answer(413, &[], b"too large"),
        "p-patch-416" if shared.count("patch") == 1 => return connection.answer(416, &[], b""),
        // As a registry that was started again and kept no drafts.
        "p-patch-forgotten-once" if shared.count("patch") == 1 => {
            shared.pushed.lock().unwrap_or_else(PoisonError::into_inner).uploads.remove(session);
            return unknown_upload(connection);
        }
        "p-patch-busy-1s" if shared.busy_since.get_or_init(Instant::now).elapsed() < BUSY => {
            return connection.answer(503, &[("Retry-After", "1")], b"busy");
        }
        "p-patch-wrong-range" if shared.count("patch") == 1 => {
            request.body.truncate(4);
            keep(shared, request, session);
            return connection.answer(202, &[("Location", path), ("Range", "0-3")], b"");
        }
        _ => {}
    }
    let total = keep(shared, request, session);
    let range = format!("0-{}", total.saturating_sub(1));
    connection.answer(202, &[("Location", path), ("Range", &range)], b"")
}

/// Appends the body to the upload, unless it says that it begins elsewhere than where the upload ends; returns the length of the upload.
fn keep(shared: &Shared, request: &Request, session: &str) -> usize {
    let mut pushed = shared.pushed.lock().unwrap_or_else(PoisonError::into_inner);
    let upload = pushed.uploads.entry(session.to_owned()).or_default();
    let first = request.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
    if first.is_none_or(|first: usize| first == upload.len()) {
        upload.extend_from_slice(&request.body);
    }
    upload.len()
}

fn note(shared: &Shared, request: &Request, at: usize) {
    shared.log.lock().unwrap_or_else(PoisonError::into_inner)[at].1 = request.clone();
}

fn status(shared: &Shared, connection: &mut Connection, session: &str, path: &str) -> Option<()> {
    let length = {
        let pushed = shared.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        pushed.uploads.get(session).map(Vec::len)
    };
    match length {
        None => unknown_upload(connection),
        Some(length) => {
            let range = format!("0-{}", length.saturating_sub(1));
            connection.head_of(204, &[("Location", path), ("Range", &range)], Some(0))
        }
    }
}

fn unknown_upload(connection: &mut Connection) -> Option<()> {
    connection.answer(404, &[], br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#)
}

fn put(shared: &Shared, connection: &mut Connection, request: &Request, session: &str) -> Option<()> {
    match shared.inner() {
        "p-put-500-twice" if shared.count("put") <= 2 => return connection.answer(500, &[], b""),
        "p-put-wrong-digest" => {
            return connection.answer(
                201,
                &[("Location", "/v2/b/img/blobs/x"), ("Docker-Content-Digest", ZEROS)],
                b"",
            );
        }
        "p-put-400" => {
            return connection.answer(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
        }
        _ => {}
    }
    let wanted = request.query("digest").unwrap_or_default();
    let actual = {
        let mut pushed = shared.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut bytes) = pushed.uploads.remove(session) else {
            return unknown_upload(connection);
        };
        bytes.extend_from_slice(&request.body);
        let actual = sha256(&bytes);
        if actual == wanted {
            pushed.content.insert(actual.clone(), bytes);
        }
        actual
    };
    if actual != wanted {
        return connection.answer(
            400,
            &[],
            br#"{"errors":[{"code":"DIGEST_INVALID","message":"it differs"}]}"#,
        );
    }
    if shared.inner() == "p-put-lost-once" && shared.count("put") == 1 {
        return connection.reset();
    }
    let location = format!("/v2/b/img/blobs/{actual}");
    connection.answer(201, &[("Location", &location), ("Docker-Content-Digest", &actual)], b"")
}

fn put_manifest(shared: &Shared, connection: &mut Connection, request: &Request, path: &str) -> Option<()> {
    let digest = sha256(&request.body);
    let status = match shared.inner() {
        "p-mput-500-twice" if shared.count("mput") <= 2 => return connection.answer(500, &[], b""),
        "p-mput-wrong-digest" => {
            return connection.answer(201, &[("Location", path), ("Docker-Content-Digest", ZEROS)], b"");
        }
        "p-mput-blob-unknown" if shared.count("mput") == 1 => {
            let missing = &shared.image.config.digest;
            let body = format!(
                "{{\"errors\":[{{\"code\":\"MANIFEST_BLOB_UNKNOWN\",\"message\":\"blob unknown\",\"detail\":\"{missing}\"}}]}}"
            );
            return connection.answer(400, &[("Content-Type", "application/json")], body.as_bytes());
        }
        "p-mput-200" => 200,
        _ => 201,
    };
    let mut pushed = shared.pushed.lock().unwrap_or_else(PoisonError::into_inner);
    pushed.content.insert(digest.clone(), request.body.clone());
    drop(pushed);
    connection.answer(status, &[("Location", path), ("Docker-Content-Digest", &digest)], b"")
}
