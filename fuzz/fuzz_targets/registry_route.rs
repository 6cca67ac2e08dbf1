//! Any path and query of a request. Nothing may panic; what is accepted is safe in a path, in SQL and in a header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_registry::api::query;
use shale_registry::api::route::{self, Reference, Route};
use shale_registry::name::{RepositoryName, Tag, UploadId};

fuzz_target!(|text: &str| {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let pairs = query::pairs(query);
    assert!(pairs.len() <= text.len());
    for (key, value) in &pairs {
        assert_eq!(query::decode(&query::encode(value)), *value);
        let _ = route::digest(value);
        let _ = query::first(&pairs, key);
    }
    let full = format!("/v2/{path}");
    for path in [path, &full] {
        match route::parse(path) {
            Ok(Route::Ping | Route::Catalog) | Err(_) => {}
            Ok(Route::Tags(name) | Route::Uploads(name)) => is_name(&name),
            Ok(Route::Blob(name, digest) | Route::Referrers(name, digest)) => {
                is_name(&name);
                is_plain(&digest.to_string(), ":");
            }
            Ok(Route::Upload(name, id)) => {
                is_name(&name);
                assert_eq!(UploadId::parse(&id.to_string()), Some(id));
            }
            Ok(Route::Manifest(name, reference)) => {
                is_name(&name);
                is_plain(&reference.to_string(), ":._-");
                if let Reference::Tag(tag) = &reference {
                    assert_eq!(Tag::parse(tag.as_str()).as_ref(), Ok(tag));
                }
                let path = format!("/v2/{name}/manifests/{reference}");
                assert!(
                    matches!(route::parse(&path), Ok(Route::Manifest(n, r)) if n == name && r == reference)
                );
            }
        }
    }
});

fn is_name(name: &RepositoryName) {
    let text = name.as_str();
    assert_eq!(RepositoryName::parse(text).as_ref(), Ok(name));
    assert!(
        text.len() <= 255 && text.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '_']))
    );
    is_plain(text, "/._-");
}

fn is_plain(text: &str, more: &str) {
    assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c)), "{text:?}");
}
