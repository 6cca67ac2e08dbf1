//! A registry that lies, stalls, floods or leads elsewhere: the right image or a clear error, never a secret for others.
//!
//! The behaviours are those of `shale_testkit::bad_registry`. Each runs against the program as a user would start it, so
//! its own limits of time count; the slow ones only wait, and run side by side.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use shale_testkit::bad_registry::{BadRegistry, PASSWORD, USERNAME};
use shale_testkit::image::{Flavour, ImageBuilder};
use shale_tests::data_root::DataRoot;
use shale_tests::peer::Shale;
use shale_tests::program::{Finished, run_bounded};
use shale_tests::scratch::Scratch;
use shale_tests::tree;

use super::MEMORY_MAX_KIB;

/// Five tries of thirty seconds each, and the pauses between them.
const TIME_MAX: Duration = Duration::from_secs(240);

/// Beyond this a client storms a registry that says no.
const REQUESTS_MAX: usize = 60;

/// What is left of a refused image: locks and empty indexes.
const RESIDUE_MAX_BYTES: u64 = 64 * 1024;

/// Programs at the same time; most of them sleep.
const SIDE_BY_SIDE: usize = 12;

/// The registry errs, and the image is the right one all the same.
const HARMLESS: [&str; 43] = [
    "auth-many",
    "auth-neg",
    "auth-ok",
    "blob-403-redirect-expired",
    "blob-429-once",
    "blob-500-twice",
    "blob-ce-lie",
    "blob-no-length",
    "blob-redir-chain",
    "blob-redir-cookie",
    "blob-redir-evilhost",
    "blob-redir-evilport",
    "blob-redir-sub",
    "blob-redir-userinfo",
    "blob-reset-every-50k",
    "blob-reset-once-206wrong",
    "blob-reset-once-206zero",
    "blob-reset-once-416",
    "blob-reset-once-norange",
    "blob-reset-once-range",
    "blob-stall",
    "blob-wrong-digest-header",
    "cred-basic-blob-redir-cookie",
    "cred-basic-blob-redir-evilhost",
    "cred-basic-blob-redir-evilport",
    "cred-basic-blob-redir-sub",
    "cred-basic-blob-redir-userinfo",
    "cred-basic-blob-reset-every-50k",
    "cred-basic-good",
    "cred-basic-man-redir-evilhost",
    "cred-ok-blob-500-twice",
    "cred-ok-blob-redir-cookie",
    "cred-ok-blob-redir-evilhost",
    "cred-ok-blob-redir-evilport",
    "cred-ok-blob-redir-sub",
    "cred-ok-good",
    "cred-ok-man-redir-evilhost",
    "good",
    "man-429-once",
    "man-500-twice",
    "man-head-405",
    "man-head-differs",
    "man-redir-evilhost",
];

/// The registry must not be believed, and words that say why.
const REFUSED: [(&str, &str); 61] = [
    ("auth-500", "is not available: HTTP 500"),
    ("auth-badjson", "it is not JSON"),
    ("auth-basicloop", "unauthorized: authentication required"),
    ("auth-big", "it is too large"),
    ("auth-crlf", "the token has control characters"),
    ("auth-ctlrealm", "invalid HTTP header"),
    ("auth-empty", "it holds no token"),
    ("auth-evilhost", "it is on another host than the registry"),
    ("auth-evilport", "it is on another host than the registry"),
    ("auth-file", "it is not a plain URL of http or https"),
    ("auth-html", "it is not JSON"),
    ("auth-huge", "message head is too large"),
    ("auth-infinite", "it is too large"),
    ("auth-insufficient", "denied: requested access to the resource is denied"),
    ("auth-loop", "unauthorized: authentication required"),
    ("auth-loopback9", "it is on another host than the registry"),
    ("auth-nohdr", "asks for authentication without saying how"),
    ("auth-redirect", "a redirect to another host"),
    ("auth-rel", "it is not a plain URL of http or https"),
    ("auth-slow", "did not answer within 15s"),
    ("auth-unclosed", "the challenge is malformed"),
    ("auth-userinfo", "it is not a plain URL of http or https"),
    ("blob-204", "HTTP 204"),
    ("blob-503-always", "is not available: HTTP 503: busy"),
    ("blob-ce-gzip", "but its descriptor says"),
    ("blob-drip", "sends less than 1024 bytes a second"),
    ("blob-extra", "but its descriptor says"),
    ("blob-extra-chunked", "sends more than the"),
    ("blob-extra-later", "sends more than the"),
    ("blob-flip-last", "does not match its digest"),
    ("blob-html", "but its descriptor says"),
    ("blob-infinite", "sends more than the"),
    ("blob-redir-file", "the location is not a URL of http or https"),
    ("blob-redir-loop", "more than 10 redirects"),
    ("blob-redir-noloc", "the answer names no location"),
    ("blob-reset-always", "the connection broke"),
    ("blob-short-cl", "but its descriptor says"),
    ("blob-short-close", "the connection broke"),
    ("blob-wrong-content", "does not match its digest"),
    ("config-infinite", "sends more than the"),
    ("config-wrong", "content does not match digest"),
    ("man-100m", "is larger than 4194304 bytes"),
    ("man-1xx-flood", "did not answer within 30s"),
    ("man-404-ansi", "not found: manifest unknown: \\u{1b}[2J"),
    ("man-404-huge", "not found: HTTP 404: xxx"),
    ("man-429-long", "limits requests: HTTP 429: slow down (try again in 99999 s)"),
    ("man-503-always", "is not available: HTTP 503: busy"),
    ("man-bad-digest-header", "its digest is malformed"),
    ("man-ce-bomb", "it is encoded, which was not asked for"),
    ("man-ce-gzip", "it is encoded, which was not asked for"),
    ("man-cl-dup", "more than one length"),
    ("man-cl-neg", "invalid content-length"),
    ("man-close", "the connection broke"),
    ("man-hdr-5m", "message head is too large"),
    ("man-hdr-drip", "did not answer within 30s"),
    ("man-html", "it is a web page"),
    ("man-noresponse", "did not answer within 30s"),
    ("man-redir-loop", "more than 10 redirects"),
    ("man-stall", "did not answer within 30s"),
    ("man-te-cl", "more than one length"),
    ("man-wrong-digest-header", "does not match its digest"),
];

/// A partial blob may stay for the next pull to go on with; whatever else is wrong leaves nothing.
const KEEPS_A_PART: [&str; 4] = ["blob-drip", "blob-reset-always", "blob-short-close", "blob-stall"];

#[test]
fn the_image_is_the_right_one_or_refused_with_a_reason() {
    let scratch = Scratch::new("lies");
    let harmless = HARMLESS.iter().map(|behaviour| (*behaviour, None));
    let refused = REFUSED.iter().map(|(behaviour, reason)| (*behaviour, Some(*reason)));
    let cases: Vec<_> = refused.chain(harmless).collect();
    side_by_side(&cases, |(behaviour, reason)| {
        let registry = BadRegistry::start(behaviour);
        let shale = customer(&scratch.folder(behaviour), &registry);
        let mut complaints = Vec::new();
        let finished = observe(&shale, &["pull", &reference(&registry)], &registry, &mut complaints);
        match reason {
            None => complaints.extend(not_the_image(&shale, &registry, &finished)),
            Some(reason) => {
                complaints.extend(not_refused(&finished, reason));
                let is_partial = KEEPS_A_PART.contains(&behaviour);
                complaints
                    .extend(kept(shale.data_root(), if is_partial { u64::MAX } else { RESIDUE_MAX_BYTES }));
            }
        }
        complaints
    });
}

/// A registry that answers over TLS, and words of the refusal where there is one. To a stranger over TLS a client may go,
/// without what it knows; to nobody over plain HTTP.
const OVER_TLS: [(&str, Option<&str>); 21] = [
    ("good", None),
    ("cred-basic-good", None),
    ("cred-ok-good", None),
    ("blob-redir-chain", None),
    ("blob-reset-once-range", None),
    ("https-blob-redir-evilhost", None),
    ("https-blob-redir-evilport", None),
    ("cred-basic-https-blob-redir-evilhost", None),
    ("cred-ok-https-blob-redir-evilhost", None),
    ("cred-ok-https-blob-redir-cookie", None),
    ("blob-redir-downgrade", Some("the location leaves https")),
    ("blob-redir-evilhost", Some("the location leaves https")),
    ("blob-redir-evilport", Some("the location leaves https")),
    ("blob-redir-userinfo", Some("the location leaves https")),
    ("cred-basic-blob-redir-downgrade", Some("the location leaves https")),
    ("cred-basic-blob-redir-evilhost", Some("the location leaves https")),
    ("cred-ok-blob-redir-downgrade", Some("the location leaves https")),
    ("cred-ok-blob-redir-evilhost", Some("the location leaves https")),
    ("cred-basic-man-redir-evilhost", Some("the location leaves https")),
    ("cred-ok-man-redir-evilhost", Some("the location leaves https")),
    ("auth-downgrade", Some("leaves https")),
];

#[test]
fn nobody_is_led_from_https_to_http() {
    let scratch = Scratch::new("downgrades");
    side_by_side(&OVER_TLS, |(behaviour, reason)| {
        let registry = BadRegistry::start_with_tls(behaviour);
        let shale = customer(&scratch.folder(behaviour), &registry);
        let mut complaints = Vec::new();
        let finished = observe(&shale, &["pull", &reference(&registry)], &registry, &mut complaints);
        match reason {
            None => complaints.extend(not_the_image(&shale, &registry, &finished)),
            Some(reason) => {
                complaints.extend(not_refused(&finished, reason));
                complaints.extend(kept(shale.data_root(), RESIDUE_MAX_BYTES));
                if registry.strangers_were_asked() {
                    complaints.push("a stranger was asked".to_owned());
                }
            }
        }
        complaints
    });
}

/// What a push is told, and words of the refusal where there is one.
const PUSHES: [(&str, Option<&str>); 21] = [
    ("p-good", None),
    ("p-post-500-twice", None),
    ("p-post-429-once", None),
    ("p-patch-reset", None),
    // The second try of a short layer is one PUT, which it takes.
    ("p-patch-early-500", None),
    ("p-patch-wrong-range", None),
    ("p-patch-416", None),
    ("p-put-500-twice", None),
    ("p-mput-200", None),
    ("p-mput-500-twice", None),
    ("p-mput-blob-unknown", None),
    ("p-loc-evilhost", Some("the location is on another host")),
    ("cred-basic-p-loc-evilhost", Some("the location is on another host")),
    ("cred-ok-p-loc-evilhost", Some("the location is on another host")),
    ("p-noloc", Some("the answer names no location")),
    ("p-loc-file", Some("the location is not a URL of http or https")),
    ("p-201-at-once", Some("unexpected answer")),
    ("p-patch-413", Some("does not take a blob this large")),
    ("p-put-400", Some("received other bytes than those of")),
    ("p-put-wrong-digest", Some("stored the blob as sha256:0000")),
    ("p-mput-wrong-digest", Some("stored the manifest as sha256:0000")),
];

#[test]
fn a_push_ends_with_the_image_there_or_with_a_reason() {
    let scratch = Scratch::new("pushes");
    side_by_side(&PUSHES, |(behaviour, reason)| {
        let source = BadRegistry::start("good");
        let target = match behaviour {
            // It misses a blob that it said it had.
            "p-mput-blob-unknown" => BadRegistry::start(behaviour),
            _ => BadRegistry::start_with(behaviour, ImageBuilder::new(Flavour::Oci).build()),
        };
        let shale = customer(&scratch.folder(behaviour), &target);
        shale.shale(&["pull", "--quiet", &reference(&source)]);
        shale.shale(&["tag", &reference(&source), &reference(&target)]);
        let mut complaints = Vec::new();
        let finished = observe(&shale, &["push", &reference(&target)], &target, &mut complaints);
        match reason {
            Some(reason) => complaints.extend(not_refused(&finished, reason)),
            None if !finished.is_success() => complaints.push(finished.describe()),
            None => {
                let digest = finished.stdout.split_whitespace().find(|word| word.starts_with("sha256:"));
                if digest.and_then(|digest| target.pushed(digest)).is_none() {
                    complaints.push(format!("the registry has no manifest: {}", finished.describe()));
                }
            }
        }
        complaints
    });
}

/// Lists of tags, and words of the refusal where there is one.
const LISTS: [(&str, Option<&str>); 5] = [
    ("tags-null", None),
    ("tags-weird", None),
    ("tags-loop-self", Some("leads back to a page that was read")),
    ("tags-loop-new", Some("does not end after 10000 pages")),
    ("cred-basic-tags-evil-link", Some("continues on another host")),
];

#[test]
fn a_list_of_tags_ends() {
    let scratch = Scratch::new("lists");
    side_by_side(&LISTS, |(behaviour, reason)| {
        let registry = BadRegistry::start(behaviour);
        let shale = customer(&scratch.folder(behaviour), &registry);
        let mut complaints = Vec::new();
        let repository = format!("{}/b/img", registry.host());
        let finished =
            observe_up_to(10_010, &shale, &["pull", "--all-tags", &repository], &registry, &mut complaints);
        match reason {
            Some(reason) => {
                complaints.extend(not_refused(&finished, reason));
                complaints.extend(kept(shale.data_root(), RESIDUE_MAX_BYTES));
            }
            None if !finished.is_success() => complaints.push(finished.describe()),
            None => {}
        }
        complaints
    });
}

/// Runs all cases, a few at a time, and fails with all complaints together.
#[track_caller]
fn side_by_side<T: Copy + Sync>(
    cases: &[(&'static str, T)],
    judge: impl Fn((&'static str, T)) -> Vec<String> + Sync,
) {
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = judge(*case);
                    let mut all = complaints.lock().expect("nobody panics while holding it");
                    all.extend(found.into_iter().map(|complaint| format!("{}: {complaint}", case.0)));
                }
            });
        }
    });
    let complaints = complaints.into_inner().expect("nobody panics while holding it");
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn reference(registry: &BadRegistry) -> String {
    format!("{}/b/img:latest", registry.host())
}

/// The program in a folder of its own, logged in at `registry`.
fn customer(folder: &Path, registry: &BadRegistry) -> Shale {
    let shale = Shale::new(folder);
    let login = json!({"auths": {registry.host(): {"username": USERNAME, "password": PASSWORD}}});
    std::fs::create_dir_all(shale.config()).expect("the scratch directory is ours");
    std::fs::write(shale.config().join("config.json"), login.to_string())
        .expect("the scratch directory is ours");
    shale
}

/// Runs the program and complains about whatever must hold however the registry behaves.
fn observe(
    shale: &Shale,
    arguments: &[&str],
    registry: &BadRegistry,
    complaints: &mut Vec<String>,
) -> Finished {
    observe_up_to(REQUESTS_MAX, shale, arguments, registry, complaints)
}

fn observe_up_to(
    requests_max: usize,
    shale: &Shale,
    arguments: &[&str],
    registry: &BadRegistry,
    complaints: &mut Vec<String>,
) -> Finished {
    let run = run_bounded(&mut shale.command(arguments), TIME_MAX);
    if run.elapsed > TIME_MAX {
        complaints.push(format!("took {:?}", run.elapsed));
    }
    if run.peak_kib > MEMORY_MAX_KIB {
        complaints.push(format!("used {} KiB", run.peak_kib));
    }
    complaints.extend(registry.leaks().into_iter().map(|leak| format!("told a stranger: {leak}")));
    let requests = registry.requests().len();
    if requests > requests_max {
        complaints.push(format!("{requests} requests"));
    }
    let shown = [&run.finished.stdout, &run.finished.stderr].map(|text| text.contains(PASSWORD));
    if shown.contains(&true) {
        complaints.push(format!("shows the password: {}", run.finished.describe()));
    }
    run.finished
}

/// What is not as it must be after the image was accepted.
fn not_the_image(shale: &Shale, registry: &BadRegistry, finished: &Finished) -> Vec<String> {
    if !finished.is_success() {
        return vec![finished.describe()];
    }
    let root = DataRoot::read(shale.data_root());
    let config = &registry.image().config;
    let mut complaints: Vec<String> =
        root.leftovers.iter().map(|name| format!("left over: {name}")).collect();
    if root.configs.values().ne([&config.bytes]) {
        complaints.push("the config is not that of the image".to_owned());
    }
    // The registry's image: a layer with the file `hello`, and one with 300,000 bytes of noise.
    for (path, content) in
        [("hello", b"hello\n".to_vec()), ("data/noise", shale_testkit::image::noise(7, 300_000))]
    {
        let found = root.layers.values().find_map(|layer| std::fs::read(layer.diff.join(path)).ok());
        if found.as_deref() != Some(content.as_slice()) {
            complaints.push(format!("{path} is not that of the image"));
        }
    }
    complaints
}

/// What is not as a refusal must be.
fn not_refused(finished: &Finished, reason: &str) -> Vec<String> {
    let message = finished.stderr.trim();
    let mut complaints = Vec::new();
    if finished.code() != 1 {
        complaints.push(format!("was not refused: {}", finished.describe()));
    }
    if !message.contains(reason) {
        complaints.push(format!("does not say {reason:?}: {message:?}"));
    }
    if message.chars().any(|letter| letter.is_control() && letter != '\n') || message.len() > 2_000 {
        complaints.push(format!("is not fit for a terminal: {message:?}"));
    }
    complaints
}

/// What stays of a refused image, beyond `bytes_max` of locks and empty indexes.
fn kept(data_root: &Path, bytes_max: u64) -> Vec<String> {
    let root = DataRoot::read(data_root);
    let mut complaints: Vec<String> =
        root.leftovers.iter().map(|name| format!("left over: {name}")).collect();
    if !root.configs.is_empty() || !root.layers.is_empty() {
        complaints.push(format!("{} configs and {} layers stay", root.configs.len(), root.layers.len()));
    }
    let bytes = tree::size_bytes(data_root);
    if bytes > bytes_max {
        complaints.push(format!("{bytes} bytes stay"));
    }
    complaints
}
