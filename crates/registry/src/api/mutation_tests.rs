//! Parsers of what strangers send, fed with mutations of good input: no panic, and what is accepted keeps its promise.
//!
//! `SHALE_FUZZ_SECONDS` makes each run longer.

use std::time::{Duration, Instant};

use super::{query, range, route};
use crate::manifest;
use crate::name::{RepositoryName, Tag};

/// A small generator with a fixed seed: a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

fn mutate(random: &mut Random, seeds: &[&str], words: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let word = words[random.below(words.len())].bytes();
                drop(bytes.splice(at..end, word));
            }
            2 => bytes.insert(at, u8::try_from(random.next() % 256).unwrap()),
            3 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

fn run(seeds: &[&str], words: &[&str], check: impl Fn(&[u8])) {
    let seconds = std::env::var("SHALE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let began = Instant::now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0_u64.. {
        let done = match seconds {
            Some(seconds) => number % 1024 == 0 && began.elapsed() > Duration::from_secs(seconds),
            None => number == 20_000,
        };
        if done {
            break;
        }
        check(&mutate(&mut random, seeds, words));
    }
}

const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn routes() {
    let blob = format!("/v2/library/alpine/blobs/{DIGEST}");
    let manifest = format!("/v2/a/manifests/{DIGEST}");
    let seeds = [
        "/v2/",
        "/v2/_catalog",
        "/v2/a/b/tags/list",
        "/v2/a/blobs/uploads/",
        "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000",
        "/v2/a/manifests/latest",
        &blob,
        &manifest,
    ];
    let words = [
        "/",
        "//",
        "..",
        "%2e",
        "%2f",
        "%00",
        "blobs",
        "uploads",
        "manifests",
        "tags/list",
        "_",
        ":",
        DIGEST,
        "\u{e9}",
    ];
    run(&seeds, &words, |bytes| {
        let path = String::from_utf8_lossy(bytes);
        if let Ok(route) = route::parse(&path) {
            let text = format!("{route:?}");
            // A tag may hold two dots, though not at its beginning.
            assert!(
                !text.contains("/..")
                    && !text.contains("\"..")
                    && !text.contains('%')
                    && !text.contains("//"),
                "{path}: {text}"
            );
        }
    });
}

#[test]
fn names_and_tags() {
    let words = [".", "..", "/", "_", "__", "-", "A", "\0", "\n", "\u{2f}", "%2f"];
    run(&["library/alpine", "a.b_c__d-e/f", "latest", "v1.0-rc_1"], &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if RepositoryName::parse(&text).is_ok() {
            assert!(
                text.len() <= 255 && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
            );
            assert!(
                text.bytes().all(|byte| byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || b"./_-".contains(&byte))
            );
        }
        if Tag::parse(&text).is_ok() {
            assert!(text.len() <= 128 && !text.contains(['/', '\0', '\n']) && !text.starts_with('.'));
        }
    });
}

#[test]
fn ranges() {
    let words = [
        "-",
        ",",
        "bytes=",
        "bytes ",
        "/",
        "*",
        "0",
        "18446744073709551615",
        "9223372036854775808",
        "+",
        " ",
    ];
    run(
        &["bytes=0-99", "bytes=-5", "bytes=5-", "bytes 0-99/200", "0-99", "bytes=0-0,5-9"],
        &words,
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            for size_bytes in [0, 1, 100, u64::MAX] {
                if let range::Requested::Part { first, last } = range::parse_range(&text, size_bytes) {
                    assert!(first <= last && last < size_bytes, "{text} of {size_bytes}");
                }
            }
            if let Some(range) = range::parse_content_range(&text) {
                assert!(range.first <= range.last && range.length_bytes() > 0);
            }
        },
    );
}

#[test]
fn queries() {
    let words = ["&", "=", "%", "%2", "%00", "%ff", "tag", "\u{e9}"];
    run(&["n=5&last=a", "digest=sha256%3Aab&tag=x&tag=y", "mount=a&from=b"], &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for (name, value) in query::pairs(Some(&text)) {
            assert_eq!(query::decode(&query::encode(&name)), name);
            assert_eq!(query::decode(&query::encode(&value)), value);
        }
    });
}

#[test]
fn manifests() {
    let image = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"a/b","digest":"{DIGEST}","size":3}},"layers":[{{"mediaType":"c/d","digest":"{DIGEST}","size":3,"urls":["https://x/y"]}}],"annotations":{{"k":"v"}}}}"#,
        manifest::OCI_MANIFEST
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","digest":"{DIGEST}","size":3,"platform":{{"os":"linux"}}}}],"subject":{{"mediaType":"a/b","digest":"{DIGEST}","size":3}}}}"#
    );
    let words = [
        "\"layers\":[]",
        "\"Layers\"",
        "null",
        "-1",
        "1e3",
        "[[[[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "\\u0000",
        "\\ud800",
        "\"size\":9223372036854775807",
        "\"manifests\":[]",
    ];
    run(&[&image, &index], &words, |bytes| {
        let Ok(parsed) = manifest::parse(bytes, None) else { return };
        // Whatever is accepted is read the same way by a reader that lets the last of two keys win.
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(document["schemaVersion"], 2);
        let listed = document["layers"].as_array().map_or(0, Vec::len) + usize::from(parsed.has_config);
        assert_eq!(parsed.blobs.len(), listed);
        assert_eq!(parsed.manifests.len(), document["manifests"].as_array().map_or(0, Vec::len));
        assert!(parsed.manifests.is_empty() || parsed.blobs.is_empty());
        let _ = parsed.referrer(DIGEST.parse().unwrap(), bytes.len());
    });
}
