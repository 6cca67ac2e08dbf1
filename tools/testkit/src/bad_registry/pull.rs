//! Manifests, configs, blobs and tag lists.

use std::time::Duration;

use super::Shared;
use super::http::{Connection, Request};
use crate::image::sha256;

const FOREVER: Duration = Duration::from_secs(120);
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// Answers a GET or HEAD at the registry.
pub(super) fn answer(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let path = request.path.split('?').next().unwrap_or_default();
    if path.ends_with("/tags/list") {
        return tags(shared, connection, request);
    }
    let reference = path.rsplit('/').next().unwrap_or_default();
    if path.contains("/manifests/") {
        return manifest(shared, connection, request);
    }
    if path.contains("/blobs/")
        && shared.inner().starts_with("config-")
        && reference == shared.image.config.digest
    {
        return config(shared, connection);
    }
    let layer = shared.image.layers.last().map(|layer| layer.blob.digest.as_str());
    if path.contains("/blobs/") && shared.inner().starts_with("blob-") && Some(reference) == layer {
        return blob(shared, connection, request);
    }
    good(shared, connection, request)
}

/// Answers as a good registry, ranges included.
pub(super) fn good(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let path = request.path.split('?').next().unwrap_or_default();
    let reference = path.rsplit('/').next().unwrap_or_default();
    let Some((bytes, media_type)) = shared.content(reference) else {
        return error(connection, 404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let digest = sha256(&bytes);
    let headers = [("Content-Type", media_type.as_str()), ("Docker-Content-Digest", &digest)];
    if request.method == "HEAD" {
        return connection.head_of(200, &headers, Some(bytes.len()));
    }
    match first_byte(request) {
        Some(first) if first < bytes.len() => partial(connection, &bytes, first, first),
        Some(_) => connection.answer(416, &[], b""),
        None => connection.answer(200, &headers, &bytes),
    }
}

fn error(connection: &mut Connection, status: u16, code: &str, message: &str) -> Option<()> {
    let body = format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}");
    connection.answer(status, &[("Content-Type", "application/json")], body.as_bytes())
}

fn first_byte(request: &Request) -> Option<usize> {
    request.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// Answers 206 with the bytes from `first`, saying that they are those from `claimed`.
fn partial(connection: &mut Connection, bytes: &[u8], first: usize, claimed: usize) -> Option<()> {
    let range = format!("bytes {claimed}-{}/{}", bytes.len() - 1, bytes.len());
    connection.answer(206, &[OCTETS, ("Content-Range", &range)], &bytes[first..])
}

fn redirect(connection: &mut Connection, location: &str) -> Option<()> {
    connection.answer(307, &[("Location", location)], b"")
}

fn endless(connection: &mut Connection, headers: &[(&str, &str)], byte: u8) -> Option<()> {
    connection.head_of(200, headers, None)?;
    loop {
        connection.raw(&[byte; 65536])?;
    }
}

fn manifest(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let behaviour = shared.inner();
    let (bytes, digest, media_type) = {
        let manifest = &shared.image.manifest;
        (manifest.bytes.as_slice(), manifest.digest.as_str(), manifest.media_type.as_str())
    };
    let kind = ("Content-Type", media_type);
    let zeros = format!("sha256:{}", "0".repeat(64));
    let is_head = request.method == "HEAD";
    match behaviour {
        "man-head-differs" if is_head => {
            return connection.head_of(200, &[kind, ("Docker-Content-Digest", &zeros)], Some(bytes.len()));
        }
        "man-head-405" if is_head => return connection.head_of(405, &[], Some(0)),
        _ if is_head => return good(shared, connection, request),
        _ => {}
    }
    match behaviour {
        "man-wrong-digest-header" => {
            connection.answer(200, &[kind, ("Docker-Content-Digest", &zeros)], bytes)
        }
        "man-bad-digest-header" => {
            connection.answer(200, &[kind, ("Docker-Content-Digest", "sha256:../../x")], bytes)
        }
        "man-no-digest-header" => connection.answer(200, &[kind], bytes),
        "man-500-twice" if shared.count("manifest") <= 2 => error(connection, 500, "UNKNOWN", "oops"),
        "man-503-always" => connection.answer(503, &[("Retry-After", "0")], b"busy"),
        "man-429-once" if shared.count("manifest") == 1 => {
            connection.answer(429, &[("Retry-After", "1")], b"slow down")
        }
        "man-429-long" => connection.answer(429, &[("Retry-After", "99999")], b"slow down"),
        "man-404-ansi" => {
            let text = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"\u001b[2J\u001b]0;owned\u0007\r\ngone"}]}"#;
            connection.answer(404, &[("Content-Type", "application/json")], text)
        }
        "man-404-huge" => connection.answer(404, &[], "x".repeat(20 << 20).as_bytes()),
        "man-html" => connection.answer(200, &[("Content-Type", "text/html")], b"<html>Welcome</html>"),
        "man-ce-gzip" | "man-ce-bomb" => {
            let size = if behaviour == "man-ce-bomb" { 8 << 20 } else { 0 };
            let mut plain = bytes.to_vec();
            plain.resize(plain.len() + size, b' ');
            let layer = crate::image::layer(plain, "x");
            connection.answer(200, &[kind, ("Content-Encoding", "gzip")], &layer.blob.bytes)
        }
        "man-100m" => {
            connection.head_of(200, &[kind], Some(100 << 20))?;
            connection.raw(bytes)?;
            loop {
                connection.raw(&[b' '; 65536])?;
            }
        }
        "man-infinite" => endless(connection, &[kind], b' '),
        "man-stall" => {
            connection.head_of(200, &[kind], Some(bytes.len()))?;
            shared.sleep(FOREVER);
            None
        }
        "man-noresponse" => {
            shared.sleep(FOREVER);
            None
        }
        "man-close" => connection.reset(),
        "man-te-cl" => {
            let length = bytes.len().to_string();
            let headers = [kind, ("Transfer-Encoding", "chunked"), ("Content-Length", length.as_str())];
            connection.head_of(200, &headers, None)?;
            connection.raw(format!("{:x}\r\n", bytes.len()).as_bytes())?;
            connection.raw(bytes)?;
            connection.raw(b"\r\n0\r\n\r\n")?;
            None
        }
        "man-cl-neg" => {
            connection.head_of(200, &[kind, ("Content-Length", "-5")], None)?;
            connection.raw(bytes)?;
            None
        }
        "man-cl-dup" => {
            let length = bytes.len().to_string();
            connection.head_of(
                200,
                &[kind, ("Content-Length", &length), ("Content-Length", &length)],
                None,
            )?;
            connection.raw(bytes)?;
            None
        }
        "man-hdr-5m" => connection.answer(200, &[kind, ("X-Large", &"x".repeat(5 << 20))], bytes),
        "man-hdr-drip" => {
            connection.raw(b"HTTP/1.1 200 OK\r\n")?;
            for index in 0.. {
                connection.raw(format!("X-{index}: y\r\n").as_bytes())?;
                shared.sleep(Duration::from_millis(50));
                if shared.has_ended() {
                    break;
                }
            }
            None
        }
        "man-1xx-flood" => loop {
            connection.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")?;
            shared.sleep(Duration::from_millis(1));
            if shared.has_ended() {
                return None;
            }
        },
        "man-redir-loop" => redirect(connection, &request.path),
        "man-redir-evilhost" => redirect(connection, &shared.elsewhere(shared.other_host, &request.path)),
        "man-wrong-content" => {
            let text = String::from_utf8_lossy(bytes).replace("schemaVersion", "schemaversion");
            connection.answer(200, &[kind, ("Docker-Content-Digest", digest)], text.as_bytes())
        }
        _ => good(shared, connection, request),
    }
}

fn config(shared: &Shared, connection: &mut Connection) -> Option<()> {
    let bytes = &shared.image.config.bytes;
    match shared.inner() {
        "config-infinite" => endless(connection, &[OCTETS], b' '),
        _ => {
            let other = String::from_utf8_lossy(bytes).replace("/bin/sh", "/bin/sy");
            connection.answer(200, &[OCTETS], other.as_bytes())
        }
    }
}

fn blob(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let layer = shared.image.layers.last()?;
    let bytes = layer.blob.bytes.as_slice();
    let half = bytes.len() / 2;
    let first = first_byte(request);
    let cut = |connection: &mut Connection, from: usize, count: usize, status: u16| {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        let headers = [OCTETS, ("Content-Range", range.as_str())];
        let headers = if status == 206 { &headers[..] } else { &headers[..1] };
        connection.head_of(status, headers, Some(bytes.len() - from))?;
        let count = count.min(bytes.len() - from);
        connection.raw(&bytes[from..from + count])?;
        if from + count < bytes.len() {
            // What was written has to get there before the reset.
            std::thread::sleep(Duration::from_millis(20));
            return connection.reset();
        }
        Some(())
    };
    let elsewhere = |place: std::net::SocketAddr| shared.elsewhere(place, &request.path);
    match shared.inner() {
        "blob-wrong-content" => connection.answer(200, &[OCTETS], &vec![0; bytes.len()]),
        "blob-flip-last" => {
            let mut flipped = bytes.to_vec();
            *flipped.last_mut()? ^= 1;
            connection.answer(200, &[OCTETS], &flipped)
        }
        "blob-wrong-digest-header" => {
            let zeros = format!("sha256:{}", "0".repeat(64));
            connection.answer(200, &[OCTETS, ("Docker-Content-Digest", &zeros)], bytes)
        }
        "blob-short-close" => {
            connection.head_of(200, &[OCTETS], Some(bytes.len()))?;
            connection.raw(&bytes[..half])?;
            None
        }
        "blob-short-cl" => connection.answer(200, &[OCTETS], &bytes[..half]),
        "blob-extra" => connection.answer(200, &[OCTETS], &[bytes, &[0; 500]].concat()),
        "blob-extra-chunked" => {
            connection.head_of(200, &[OCTETS], None)?;
            connection.raw(bytes)?;
            connection.raw(&[0; 500])?;
            None
        }
        // Long after the last byte of the blob was handed on.
        "blob-extra-later" => {
            connection.head_of(200, &[OCTETS], None)?;
            connection.raw(bytes)?;
            shared.sleep(Duration::from_millis(200));
            connection.raw(&[0; 500])?;
            None
        }
        "blob-no-length" => {
            connection.head_of(200, &[OCTETS], None)?;
            connection.raw(bytes)?;
            None
        }
        "blob-500-twice" if shared.count("blob") <= 2 => error(connection, 500, "UNKNOWN", "oops"),
        "blob-503-always" => connection.answer(503, &[("Retry-After", "0")], b"busy"),
        "blob-429-once" if shared.count("blob") == 1 => {
            connection.answer(429, &[("Retry-After", "0")], b"slow down")
        }
        "blob-403-redirect-expired" => redirect(connection, &elsewhere(shared.other_host)),
        "blob-reset-once-range" if first.is_none() => cut(connection, 0, half, 200),
        "blob-reset-once-norange" => {
            let count = if shared.count("blob") == 1 { half } else { bytes.len() };
            cut(connection, 0, count, 200)
        }
        "blob-reset-once-206wrong" => match first {
            None if shared.count("blob") == 1 => cut(connection, 0, half, 200),
            None => good(shared, connection, request),
            Some(first) => partial(connection, bytes, first + 1, first + 1),
        },
        "blob-reset-once-206zero" => match first {
            None if shared.count("blob") == 1 => cut(connection, 0, half, 200),
            None => good(shared, connection, request),
            Some(_) => partial(connection, bytes, 0, 0),
        },
        "blob-reset-once-416" => match first {
            None if shared.count("blob") == 1 => cut(connection, 0, half, 200),
            None => good(shared, connection, request),
            Some(_) => connection.answer(416, &[], b""),
        },
        behaviour @ ("blob-reset-every-byte" | "blob-reset-every-5k" | "blob-reset-every-50k") => {
            let count = match behaviour {
                "blob-reset-every-byte" => 1,
                "blob-reset-every-5k" => 5_000,
                _ => 50_000,
            };
            let status = if first.is_some() { 206 } else { 200 };
            cut(connection, first.unwrap_or(0), count, status)
        }
        "blob-reset-always" => cut(connection, 0, 1_000, 200),
        "blob-redir-loop" => redirect(connection, &request.path),
        "blob-redir-chain" => {
            let hop: u32 = request.query("hop").and_then(|hop| hop.parse().ok()).unwrap_or(0);
            if hop == 8 {
                return good(shared, connection, request);
            }
            let path = request.path.split('?').next().unwrap_or_default();
            redirect(connection, &format!("{path}?hop={}", hop + 1))
        }
        "blob-redir-evilport" => redirect(connection, &elsewhere(shared.other_port)),
        "blob-redir-evilhost" => redirect(connection, &elsewhere(shared.other_host)),
        "blob-redir-sub" => {
            let name = format!("localhost:{}", shared.other_port.port());
            redirect(connection, &shared.elsewhere(name, &request.path))
        }
        "blob-redir-cookie" => {
            let location = elsewhere(shared.other_host);
            connection.answer(
                307,
                &[("Location", &location), ("Set-Cookie", "session=1; Domain=127.0.0.2")],
                b"",
            )
        }
        // The same registry, for everybody on the way to hear.
        "blob-redir-downgrade" => redirect(connection, &elsewhere(shared.home)),
        "blob-redir-file" => redirect(connection, "file:///etc/passwd"),
        "blob-redir-noloc" => connection.answer(307, &[], b""),
        "blob-redir-userinfo" => {
            redirect(connection, &shared.elsewhere(format!("u:p@{}", shared.other_host), &request.path))
        }
        "blob-ce-gzip" => {
            let twice = crate::image::layer(bytes.to_vec(), "x");
            connection.answer(200, &[OCTETS, ("Content-Encoding", "gzip")], &twice.blob.bytes)
        }
        "blob-ce-lie" => connection.answer(200, &[OCTETS, ("Content-Encoding", "gzip")], bytes),
        "blob-drip" => {
            connection.head_of(200, &[OCTETS], Some(bytes.len()))?;
            for byte in bytes {
                connection.raw(&[*byte])?;
                shared.sleep(Duration::from_millis(20));
            }
            None
        }
        "blob-stall" if first.is_none() => {
            connection.head_of(200, &[OCTETS], Some(bytes.len()))?;
            connection.raw(&bytes[..half])?;
            shared.sleep(FOREVER);
            None
        }
        "blob-infinite" => endless(connection, &[OCTETS], 0),
        "blob-204" => connection.head_of(204, &[], Some(0)),
        "blob-html" => {
            connection.answer(200, &[("Content-Type", "text/html")], b"<html>Log in, please</html>")
        }
        _ => good(shared, connection, request),
    }
}

fn tags(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let json = ("Content-Type", "application/json");
    let own = format!("<{}>; rel=\"next\"", request.path);
    match shared.inner() {
        "tags-loop-self" => {
            connection.answer(200, &[json, ("Link", &own)], br#"{"name":"b/img","tags":["a"]}"#)
        }
        "tags-loop-new" => {
            let page = shared.count("page");
            let link = format!("</v2/b/img/tags/list?last={page}>; rel=\"next\"");
            let body = format!("{{\"name\":\"b/img\",\"tags\":[\"t{page}\"]}}");
            connection.answer(200, &[json, ("Link", &link)], body.as_bytes())
        }
        "tags-evil-link" => {
            let link = format!("<http://{}{}>; rel=\"next\"", shared.other_host, request.path);
            connection.answer(200, &[json, ("Link", &link)], br#"{"name":"b/img","tags":["a"]}"#)
        }
        "tags-null" => connection.answer(200, &[json], br#"{"name":"b/img","tags":null}"#),
        "tags-weird" => {
            let long = "x".repeat(5_000);
            let body = format!(r#"{{"tags":["../../x","\u001b[31m","{long}","good",""]}}"#);
            connection.answer(200, &[json], body.as_bytes())
        }
        _ if request.query("last").is_none() => {
            let link = "</v2/b/img/tags/list?n=2&last=b>; rel=\"next\"";
            connection.answer(200, &[json, ("Link", link)], br#"{"name":"b/img","tags":["a","b"]}"#)
        }
        _ => connection.answer(200, &[json], br#"{"name":"b/img","tags":["c"]}"#),
    }
}
