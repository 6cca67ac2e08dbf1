//! The search of a hub, beside the registry.

use super::Shared;
use super::http::{Connection, Request};

/// An answer in the form that `docker search` reads.
///
/// Source: the search API of docker, moby api/types/registry `SearchResults` at v20.10.24.
const FOUND: &str = r#"{"num_results":2,"query":"busybox","results":[
{"name":"busybox","description":"Busybox base image.","star_count":3161,"is_official":true,"is_automated":false},
{"name":"someone/busybox","description":"two\nlines \u001b[31m","star_count":2,"is_official":false,"is_automated":false}]}"#;

pub(super) fn search(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let json = ("Content-Type", "application/json");
    match shared.inner() {
        "index-500" => connection.answer(500, &[json], b"{}"),
        "index-html" => connection.answer(200, &[("Content-Type", "text/html")], b"<html>Hello</html>"),
        "index-infinite" => {
            connection.head_of(200, &[json], None)?;
            loop {
                connection.raw(&[b' '; 65536])?;
            }
        }
        "index-evilhost" => {
            let location = format!("http://{}{}", shared.other_host, request.path);
            connection.answer(307, &[("Location", &location)], b"")
        }
        "index-null" => connection.answer(200, &[json], br#"{"results":null}"#),
        _ => connection.answer(200, &[json], FOUND.as_bytes()),
    }
}
