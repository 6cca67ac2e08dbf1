//! The tables of statuses, codes and headers of the distribution protocol, line by line.
//!
//! Sources: distribution-spec at 967efdc, "Endpoints" and "Error Codes"; RFC 9110 for ranges and conditions; for what
//! both leave open, what docker-registry 2.8.2, distribution 3 and zot answer.

use crate::client::{Answer, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Running, image, sha256};

const NONE: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What is asked (`METHOD path`), its headers and body, and what must come back: the status, the code of the error body
/// (none: no error), and headers (`*`: any value). `{name}` stands for what [`Known`] says.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    u16,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// What is in the registry before the rows are asked.
struct Known(Vec<(&'static str, String)>);

impl Known {
    /// Pushes an image `v1`, `v2` of two layers' worth and lists of it into repository `a`.
    async fn push(server: &Running) -> Known {
        let layer = vec![b'x'; 2048];
        let digest = server.push_image("a", "v1", &layer).await;
        let text = image(&layer);
        let headers = [("Content-Type", OCI_MANIFEST)];
        server.send("PUT", "/v2/a/manifests/v2", &headers, text.as_bytes()).await.is(201);
        let list = |list: &str, child: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{list}","manifests":[{{"mediaType":"{child}","digest":"{digest}","size":{},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#,
                text.len()
            )
        };
        let docker_image = text.replace(OCI_MANIFEST, DOCKER_MANIFEST);
        let docker_list = list(DOCKER_LIST, OCI_MANIFEST);
        let headers = [("Content-Type", DOCKER_LIST)];
        server.send("PUT", "/v2/a/manifests/list", &headers, docker_list.as_bytes()).await.is(201);
        let foreign = text
            .replace(&sha256(&layer), NONE)
            .replace("\"size\":2048", r#""size":2048,"urls":["https://example.com/layer"]"#);
        Known(vec![
            ("blob", sha256(&layer)),
            ("none", NONE.to_owned()),
            ("wrong-digest-image", text.replace("\"schemaVersion\":2", "\"schemaVersion\": 2")),
            ("missing-layer", image(b"never pushed")),
            ("missing-child", list(OCI_INDEX, OCI_MANIFEST).replace(&digest, NONE)),
            ("image-digest", digest.clone()),
            ("index", list(OCI_INDEX, OCI_MANIFEST)),
            ("docker-image", docker_image),
            ("docker-list-digest", sha256(docker_list.as_bytes())),
            ("docker-list", docker_list),
            ("foreign", foreign),
            ("too-large", format!("{text}{}", " ".repeat(4 << 20))),
            ("image", text),
            ("tag-129", "t".repeat(129)),
            ("chunk", "0123456789".to_owned()),
            ("chunk-digest", sha256(b"01234567890123456789")),
        ])
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// Asks each row and compares; `{upload}` is an upload with ten bytes, a new one for each row.
    async fn ask(&self, server: &Running, rows: &[Row]) {
        for (request, headers, body, status, code, expected) in rows {
            let upload = if request.contains("{upload}") { started(server).await } else { String::new() };
            let fill = |text: &str| self.fill(text).replace("{upload}", &upload);
            let (method, path) = request.split_once(' ').unwrap();
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, fill(value))).collect();
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = server.send(method, &fill(path), &headers, fill(body).as_bytes()).await;
            let shown = format!("{request} {headers:?}");
            assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{shown}: {answer:?}");
            is_error_document(&shown, &answer, code);
            for (name, value) in *expected {
                let (got, value) = (answer.header(name), fill(value));
                assert!(got == value || value == "*" && !got.is_empty(), "{shown}: {name} is {got:?}");
            }
        }
    }
}

async fn started(server: &Running) -> String {
    let answer = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.is(202);
    let location = answer.header("Location").to_owned();
    server.send("PATCH", &location, &[("Content-Range", "0-9")], b"0123456789").await.is(202);
    location
}

/// An error is JSON of the shape that the specification gives, and no browser takes it for a page.
fn is_error_document(shown: &str, answer: &Answer, code: &str) {
    assert_eq!(answer.header("X-Content-Type-Options"), "nosniff", "{shown}");
    assert_eq!(answer.header("Docker-Distribution-Api-Version"), "registry/2.0", "{shown}");
    if !code.is_empty() {
        assert!(answer.header("Content-Type").starts_with("application/json"), "{shown}");
        assert!(answer.json()["errors"][0]["message"].is_string(), "{shown}");
    }
}

/// Rows that change nothing which another row looks at.
const OPEN: &[Row] = &[
    ("GET /v2/", &[], "", 200, "", &[("Content-Length", "2")]),
    ("GET /v2", &[], "", 200, "", &[]),
    ("HEAD /v2/", &[], "", 200, "", &[]),
    ("GET /v2/none/tags/list", &[], "", 404, "NAME_UNKNOWN", &[]),
    ("GET /v2/A/manifests/v1", &[], "", 400, "NAME_INVALID", &[]),
    ("GET /v2/a/elsewhere/v1", &[], "", 404, "UNKNOWN", &[]),
    ("GET /v2/a/blobs/sha256:zz", &[], "", 400, "DIGEST_INVALID", &[]),
    ("GET /v2/a/blobs/{none}", &[], "", 404, "BLOB_UNKNOWN", &[]),
    ("DELETE /v2/a/blobs/{none}", &[], "", 404, "BLOB_UNKNOWN", &[]),
    // Uploads.
    (
        "POST /v2/a/blobs/uploads/",
        &[],
        "",
        202,
        "",
        &[("Location", "*"), ("Range", "0-0"), ("Docker-Upload-UUID", "*")],
    ),
    ("GET {upload}", &[], "", 204, "", &[("Location", "{upload}"), ("Range", "0-9")]),
    ("PATCH {upload}", &[], "{chunk}", 202, "", &[("Location", "{upload}"), ("Range", "0-19")]),
    ("PATCH {upload}", &[("Content-Range", "10-19")], "{chunk}", 202, "", &[("Range", "0-19")]),
    (
        "PATCH {upload}",
        &[("Content-Range", "20-29")],
        "{chunk}",
        416,
        "BLOB_UPLOAD_INVALID",
        &[("Location", "{upload}"), ("Range", "0-9")],
    ),
    (
        "PATCH {upload}",
        &[("Content-Range", "0-9")],
        "{chunk}",
        416,
        "BLOB_UPLOAD_INVALID",
        &[("Range", "0-9")],
    ),
    ("PATCH {upload}", &[("Content-Range", "nonsense")], "{chunk}", 400, "BLOB_UPLOAD_INVALID", &[]),
    ("PATCH {upload}", &[("Content-Range", "19-10")], "{chunk}", 400, "BLOB_UPLOAD_INVALID", &[]),
    ("PATCH {upload}", &[("Content-Range", "10-29")], "{chunk}", 400, "SIZE_INVALID", &[]),
    (
        "PUT {upload}?digest={chunk-digest}",
        &[],
        "{chunk}",
        201,
        "",
        &[("Docker-Content-Digest", "{chunk-digest}")],
    ),
    ("PUT {upload}", &[], "", 400, "DIGEST_INVALID", &[]),
    ("PUT {upload}?digest=sha256:zz", &[], "", 400, "DIGEST_INVALID", &[]),
    ("PUT {upload}?digest={none}", &[], "", 400, "DIGEST_INVALID", &[]),
    (
        "PUT {upload}?digest={chunk-digest}",
        &[("Content-Range", "0-9")],
        "{chunk}",
        416,
        "BLOB_UPLOAD_INVALID",
        &[("Range", "0-9")],
    ),
    ("DELETE {upload}", &[], "", 204, "", &[]),
    (
        "GET /v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000",
        &[],
        "",
        404,
        "BLOB_UPLOAD_UNKNOWN",
        &[],
    ),
    ("PATCH /v2/a/blobs/uploads/no-upload", &[], "x", 404, "BLOB_UPLOAD_UNKNOWN", &[]),
    (
        "POST /v2/b/blobs/uploads/?digest={chunk-digest}",
        &[],
        "{chunk}{chunk}",
        201,
        "",
        &[("Docker-Content-Digest", "{chunk-digest}"), ("Location", "/v2/b/blobs/{chunk-digest}")],
    ),
    ("POST /v2/b/blobs/uploads/?digest={none}", &[], "{chunk}", 400, "DIGEST_INVALID", &[]),
    ("POST /v2/b/blobs/uploads/?digest-algorithm=md5", &[], "", 400, "DIGEST_INVALID", &[]),
    (
        "POST /v2/b/blobs/uploads/?mount={blob}&from=a",
        &[],
        "",
        201,
        "",
        &[("Docker-Content-Digest", "{blob}")],
    ),
    ("POST /v2/b/blobs/uploads/?mount={none}&from=a", &[], "", 202, "", &[("Location", "*")]),
    ("POST /v2/b/blobs/uploads/?mount=nonsense&from=a", &[], "", 202, "", &[("Location", "*")]),
    ("POST /v2/c/blobs/uploads/?mount={blob}", &[], "", 201, "", &[("Docker-Content-Digest", "{blob}")]),
    // Blobs.
    (
        "GET /v2/a/blobs/{blob}",
        &[],
        "",
        200,
        "",
        &[
            ("Docker-Content-Digest", "{blob}"),
            ("Content-Length", "2048"),
            ("ETag", "\"{blob}\""),
            ("Cache-Control", "*"),
            ("Accept-Ranges", "bytes"),
        ],
    ),
    (
        "HEAD /v2/a/blobs/{blob}",
        &[],
        "",
        200,
        "",
        &[("Docker-Content-Digest", "{blob}"), ("Content-Length", "2048"), ("Accept-Ranges", "bytes")],
    ),
    (
        "GET /v2/a/blobs/{blob}",
        &[("Range", "bytes=0-9")],
        "",
        206,
        "",
        &[("Content-Range", "bytes 0-9/2048")],
    ),
    ("GET /v2/a/blobs/{blob}", &[("Range", "bytes=0-0,10-19")], "", 200, "", &[("Content-Length", "2048")]),
    (
        "GET /v2/a/blobs/{blob}",
        &[("Range", "bytes=5000-6000")],
        "",
        416,
        "RANGE_INVALID",
        &[("Content-Range", "bytes */2048")],
    ),
    ("GET /v2/a/blobs/{blob}", &[("Range", "lines=1-2")], "", 200, "", &[("Content-Length", "2048")]),
    ("GET /v2/a/blobs/{blob}", &[("If-None-Match", "\"{blob}\"")], "", 304, "", &[("ETag", "\"{blob}\"")]),
    ("GET /v2/a/manifests/v1", &[("If-None-Match", "\"{image-digest}\"")], "", 304, "", &[]),
    // Manifests.
    (
        "PUT /v2/a/manifests/new",
        &[("Content-Type", OCI_MANIFEST)],
        "{image}",
        201,
        "",
        &[("Location", "*"), ("Docker-Content-Digest", "{image-digest}")],
    ),
    (
        "PUT /v2/a/manifests/{image-digest}",
        &[("Content-Type", OCI_MANIFEST)],
        "{wrong-digest-image}",
        400,
        "DIGEST_INVALID",
        &[],
    ),
    (
        "PUT /v2/a/manifests/sha256:bad",
        &[("Content-Type", OCI_MANIFEST)],
        "{image}",
        400,
        "DIGEST_INVALID",
        &[],
    ),
    (
        "PUT /v2/a/manifests/{image-digest}?tag=p&tag=q",
        &[("Content-Type", OCI_MANIFEST)],
        "{image}",
        201,
        "",
        &[("OCI-Tag", "p")],
    ),
    ("PUT /v2/a/manifests/x", &[("Content-Type", "text/plain")], "{image}", 400, "MANIFEST_INVALID", &[]),
    ("PUT /v2/a/manifests/x", &[("Content-Type", OCI_MANIFEST)], "{", 400, "MANIFEST_INVALID", &[]),
    (
        "PUT /v2/a/manifests/sparse",
        &[("Content-Type", OCI_MANIFEST)],
        "{missing-layer}",
        201,
        "",
        &[("Warning", "*")],
    ),
    (
        "PUT /v2/a/manifests/sparse",
        &[("Content-Type", OCI_INDEX)],
        "{missing-child}",
        201,
        "",
        &[("Warning", "*")],
    ),
    ("PUT /v2/a/manifests/docker", &[("Content-Type", DOCKER_MANIFEST)], "{docker-image}", 201, "", &[]),
    ("PUT /v2/a/manifests/docker", &[("Content-Type", DOCKER_LIST)], "{docker-list}", 201, "", &[]),
    (
        "PUT /v2/a/manifests/old",
        &[("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")],
        r#"{"schemaVersion":1,"name":"a","tag":"old","fsLayers":[]}"#,
        400,
        "MANIFEST_INVALID",
        &[],
    ),
    ("PUT /v2/a/manifests/{tag-129}", &[("Content-Type", OCI_MANIFEST)], "{image}", 400, "TAG_INVALID", &[]),
    ("PUT /v2/a/manifests/x", &[("Content-Type", OCI_MANIFEST)], "{too-large}", 413, "MANIFEST_INVALID", &[]),
    ("GET /v2/a/manifests/v1", &[], "", 200, "", &[("Content-Type", OCI_MANIFEST)]),
    (
        "GET /v2/a/manifests/v1",
        &[("Accept", DOCKER_MANIFEST)],
        "",
        200,
        "",
        &[("Content-Type", OCI_MANIFEST)],
    ),
    (
        "GET /v2/a/manifests/list",
        &[("Accept", DOCKER_MANIFEST)],
        "",
        200,
        "",
        &[("Content-Type", DOCKER_LIST), ("Docker-Content-Digest", "{docker-list-digest}")],
    ),
    ("GET /v2/a/manifests/none", &[], "", 404, "MANIFEST_UNKNOWN", &[]),
    ("GET /v2/a/manifests/{none}", &[], "", 404, "MANIFEST_UNKNOWN", &[]),
    // Lists.
    (
        "GET /v2/a/tags/list?n=1",
        &[],
        "",
        200,
        "",
        &[("Link", "</v2/a/tags/list?n=1&last=docker>; rel=\"next\"")],
    ),
    ("GET /v2/a/tags/list?n=0", &[], "", 200, "", &[("Link", "")]),
    ("GET /v2/a/tags/list?n=-1", &[], "", 400, "PAGINATION_NUMBER_INVALID", &[]),
    ("GET /v2/a/tags/list?n=abc", &[], "", 400, "PAGINATION_NUMBER_INVALID", &[]),
    ("GET /v2/a/tags/list?last=zzz", &[], "", 200, "", &[("Link", "")]),
    ("PUT /v2/b/manifests/v1", &[("Content-Type", OCI_INDEX)], "{index}", 201, "", &[]),
    ("GET /v2/_catalog?n=1", &[], "", 200, "", &[("Link", "</v2/_catalog?n=1&last=a>; rel=\"next\"")]),
    ("GET /v2/_catalog?n=1000000000", &[], "", 200, "", &[("Link", "")]),
    ("GET /v2/_catalog?n=-1", &[], "", 400, "PAGINATION_NUMBER_INVALID", &[]),
    ("GET /v2/a/referrers/{image-digest}", &[], "", 200, "", &[("Content-Type", OCI_INDEX)]),
    ("GET /v2/none/referrers/{none}", &[], "", 200, "", &[("Content-Type", OCI_INDEX)]),
    ("GET /v2/a/referrers/sha256:bad", &[], "", 400, "DIGEST_INVALID", &[]),
    (
        "GET /v2/a/referrers/{none}?artifactType=x/y",
        &[],
        "",
        200,
        "",
        &[("OCI-Filters-Applied", "artifactType")],
    ),
    // Methods.
    ("PUT /v2/", &[], "", 405, "UNSUPPORTED", &[("Allow", "*")]),
    ("POST /v2/_catalog", &[], "", 405, "UNSUPPORTED", &[("Allow", "GET, HEAD")]),
    ("DELETE /v2/a/tags/list", &[], "", 405, "UNSUPPORTED", &[("Allow", "GET, HEAD")]),
    ("POST /v2/a/manifests/v1", &[], "", 405, "UNSUPPORTED", &[("Allow", "GET, HEAD, PUT, DELETE")]),
    ("PUT /v2/a/blobs/{blob}", &[], "", 405, "UNSUPPORTED", &[("Allow", "GET, HEAD, DELETE")]),
    ("GET /v2/a/blobs/uploads/", &[], "", 405, "UNSUPPORTED", &[("Allow", "POST")]),
    ("POST {upload}", &[], "", 405, "UNSUPPORTED", &[("Allow", "GET, PATCH, PUT, DELETE")]),
    // Deleting: a tag goes alone, a manifest takes its tags along, a blob goes from its repository.
    ("DELETE /v2/a/manifests/v1", &[], "", 202, "", &[]),
    ("GET /v2/a/manifests/v1", &[], "", 404, "MANIFEST_UNKNOWN", &[]),
    ("DELETE /v2/a/manifests/v1", &[], "", 404, "MANIFEST_UNKNOWN", &[]),
    ("GET /v2/a/manifests/v2", &[], "", 200, "", &[]),
    ("DELETE /v2/a/manifests/{image-digest}", &[], "", 202, "", &[]),
    ("GET /v2/a/manifests/v2", &[], "", 404, "MANIFEST_UNKNOWN", &[]),
    ("GET /v2/a/manifests/{image-digest}", &[], "", 404, "MANIFEST_UNKNOWN", &[]),
    ("DELETE /v2/a/blobs/{blob}", &[], "", 202, "", &[]),
    ("GET /v2/a/blobs/{blob}", &[], "", 404, "BLOB_UNKNOWN", &[]),
    ("GET /v2/b/blobs/{blob}", &[], "", 200, "", &[]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_the_table_holds() {
    let server = Running::start().await;
    Known::push(&server).await.ask(&server, OPEN).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_was_wrong_leaves_the_upload_and_one_that_was_right_ends_it() {
    let server = Running::start().await;
    let location = started(&server).await;
    server.send("PUT", &format!("{location}?digest={NONE}"), &[], b"").await.is(400);
    assert_eq!(server.get(&location).await.is(204).header("Range"), "0-9");
    let end = format!("{location}?digest={}", sha256(b"0123456789"));
    server.send("PUT", &end, &[], b"").await.is(201);
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        assert_eq!(
            server.send(method, &end, &[], b"").await.is(404).code(),
            "BLOB_UPLOAD_UNKNOWN",
            "{method}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_or_full_says_so() {
    let missing: &[Row] = &[
        (
            "PUT /v2/a/manifests/x",
            &[("Content-Type", OCI_MANIFEST)],
            "{missing-layer}",
            400,
            "MANIFEST_BLOB_UNKNOWN",
            &[],
        ),
        (
            "PUT /v2/a/manifests/x",
            &[("Content-Type", OCI_INDEX)],
            "{missing-child}",
            400,
            "MANIFEST_BLOB_UNKNOWN",
            &[],
        ),
        // What may be elsewhere need not be here.
        ("PUT /v2/a/manifests/x", &[("Content-Type", OCI_MANIFEST)], "{foreign}", 201, "", &[]),
    ];
    let server = Running::with(|config| config.missing = shale_registry::MissingTargets::Refuse).await;
    let known = Known::push(&server).await;
    known.ask(&server, missing).await;
    let no_delete: &[Row] = &[
        ("DELETE /v2/a/manifests/v1", &[], "", 405, "UNSUPPORTED", &[]),
        ("DELETE /v2/a/manifests/{image-digest}", &[], "", 405, "UNSUPPORTED", &[]),
        ("DELETE /v2/a/blobs/{blob}", &[], "", 405, "UNSUPPORTED", &[]),
        ("DELETE {upload}", &[], "", 204, "", &[]),
    ];
    let server = Running::at(server.stop().await, |config| config.delete = false).await;
    known.ask(&server, no_delete).await;
    let read_only: &[Row] = &[
        ("POST /v2/a/blobs/uploads/", &[], "", 405, "UNSUPPORTED", &[]),
        ("PUT /v2/a/manifests/v1", &[("Content-Type", OCI_MANIFEST)], "{image}", 405, "UNSUPPORTED", &[]),
        ("DELETE /v2/a/manifests/v1", &[], "", 405, "UNSUPPORTED", &[]),
        ("GET /v2/a/manifests/v1", &[], "", 200, "", &[]),
    ];
    let server = Running::at(server.stop().await, |config| config.read_only = true).await;
    known.ask(&server, read_only).await;
    let full: &[Row] =
        &[("POST /v2/a/blobs/uploads/", &[], "", 429, "TOOMANYREQUESTS", &[("Retry-After", "*")])];
    let server = Running::at(server.stop().await, |config| config.limits.uploads_max = 0).await;
    known.ask(&server, full).await;
    let small: &[Row] = &[(
        "POST /v2/a/blobs/uploads/?digest={chunk-digest}",
        &[],
        "{chunk}{chunk}",
        413,
        "SIZE_INVALID",
        &[],
    )];
    let server = Running::at(server.stop().await, |config| config.limits.blob_bytes_max = 15).await;
    known.ask(&server, small).await;
    server.stop().await;
}
