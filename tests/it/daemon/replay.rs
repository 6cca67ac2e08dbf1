//! Recorded conversations of docker 28.2, docker-py and testcontainers with dockerd 20.10 and 29, sent again to `shale daemon`: each
//! answer has the same status, the headers that clients read, and a body of the same shape, key by key.
//!
//! Each set of conversations was one session, so they are sent in order to one daemon. IDs of the recording are replaced by
//! those that the daemon gave for the same things. Archives were not recorded; others of the same kind take their place.

pub(super) mod archive;
mod console;
mod shape;
pub(super) mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shale_tests::peer::{Access, DockerRegistry, ShaleDaemon};
use shale_tests::scratch::Scratch;

use shape::Shapes;
use wire::{Answer, Head, Open};

/// Conversations that end otherwise here, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("version-03-forced-low-api", "dockerd 20.10 serves down to 1.12; Shale, as dockerd 25, down to 1.24"),
    (
        "tc-03-network",
        "its requests stand by connection: the network is removed before the container is made in it",
    ),
    ("py-03-images-list", "it asks for images that were there before the recording"),
    // Images of one second are listed in any order, so which of ours stands for the recorded ID is chance.
    ("rmi-04-force-by-id-delete", "it asks for an image that was made outside the recording"),
    ("pull-15-manifest-list", "the list was pushed outside the recording"),
    ("login-08-pull-noauth", "a refusal is told as Docker Hub's is"),
    ("run-14-platform-mismatch", "it asks Docker Hub"),
    ("search-", "it asks Docker Hub, or a registry that has no search"),
    ("py-17-search", "it asks Docker Hub, or a registry that has no search"),
    ("events-02-since-until-json", "it asks for the moments of the recording"),
    ("events-03-filter", "it asks for the moments of the recording"),
    ("py-22-events", "it asks for the moments of the recording"),
];

/// As [`OTHERWISE`], for dockerd 29 with the image store of containerd.
const OTHERWISE_29: &[(&str, &str)] = &[
    ("push-01", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-02", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-03", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-04", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-05", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-06", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-08", "containerd's store ends a push without the digest, which was of the image itself"),
    ("push-10", "containerd's store ends a push without the digest, which was of the image itself"),
    ("login-04", "containerd's store ends a push without the digest, which was of the image itself"),
    (
        "pull-07-by-digest",
        "the ID in containerd's store is the manifest's digest, so it asks for what no registry has",
    ),
    ("pull-15-manifest-list", "the list was pushed outside the recording"),
    ("login-08-pull-noauth", "a refusal is told as Docker Hub's is"),
    ("run-14-platform-mismatch", "it asks Docker Hub"),
    ("search-", "it asks Docker Hub, or a registry that has no search"),
    ("rmi-04-force-by-id-delete", "it asks for an image that was made outside the recording"),
    ("events-02-since-until-json", "it asks for the moments of the recording"),
    ("events-03-filter", "it asks for the moments of the recording"),
];

/// What else differs from dockerd 29, wherever it stands: the end of a difference's text, and why.
const FIELDS_29: &[(&str, &str)] = &[
    (".Descriptor is missing", "of containerd's store"),
    (".Manifests is missing", "of containerd's store"),
    (".ImageManifestDescriptor is missing", "of containerd's store"),
    (".GraphDriver.Data was null", "of containerd's store"),
    (".Containerd is missing", "there is no containerd"),
    (".FirewallBackend is missing", "nothing here writes rules of a firewall"),
    (".Runtimes.runc.status is missing", "what the runtime can do is not asked for"),
    (".Components[].Details.Module is missing", "the parts of another program"),
    (".Components[].Details.ModuleVersion is missing", "the parts of another program"),
    (".os_type is missing", "of API 1.52; dockerd 29 answers older clients with it too"),
    (".IdentityToken was not recorded", "of API 1.51 and before; dockerd 29 leaves it out of all"),
    (".Config.OnBuild was not recorded", "of API 1.51 and before; dockerd 29 leaves it out of all"),
    (".NetworkSettings.Bridge was not recorded", "of API 1.51 and before; dockerd 29 leaves it out of all"),
    (
        ".NetworkSettings.HairpinMode was not recorded",
        "of API 1.51 and before; dockerd 29 leaves it out of all",
    ),
    (".NetworkSettings.LinkLocalIPv6Address was not recorded", "of API 1.51 and before, as Bridge"),
    (".NetworkSettings.LinkLocalIPv6PrefixLen was not recorded", "of API 1.51 and before, as Bridge"),
    (".NetworkSettings.SecondaryIPAddresses was not recorded", "of API 1.51 and before, as Bridge"),
    (".NetworkSettings.SecondaryIPv6Addresses was not recorded", "of API 1.51 and before, as Bridge"),
    (".Images[].RepoTags was null", "the first image of the list is another one"),
    (".IPAM.Config was null", "of dockerd 29 for networks without addresses; 20.10 has a list"),
    ("[].Containers was not recorded", "of API 1.51 and before; dockerd 29 leaves it out of the list"),
];

/// What of a session lives on from one exchange to the next.
struct Session {
    daemon: ShaleDaemon,
    scratch: Scratch,
    /// IDs of the recording, and ours.
    ids: BTreeMap<String, String>,
    /// Conversations that end otherwise here, and why.
    otherwise: Exceptions,
    /// What differs in many conversations, and why.
    fields: Exceptions,
    /// Those of `fields` that were met.
    met: BTreeSet<&'static str>,
    differences: Vec<String>,
}

/// What may differ, each with the reason.
type Exceptions = &'static [(&'static str, &'static str)];

impl Session {
    fn start(name: &str, [otherwise, fields]: [Exceptions; 2]) -> Session {
        let scratch = Scratch::new(name);
        let daemon = ShaleDaemon::start(&scratch.folder("s"));
        let (ids, met, differences) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Session { daemon, scratch, ids, otherwise, fields, met, differences }
    }

    fn replay(&mut self, conversation: &Value) {
        let name = conversation["name"].as_str().expect("each has a name").to_owned();
        let reason =
            self.otherwise.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reason)| *reason);
        let mut differences = Vec::new();
        let mut open: Vec<(Open, Value, String)> = Vec::new();
        let mut is_started = false;
        for exchange in conversation["exchanges"].as_array().expect("a list") {
            let request = self.translate(&exchange["request"]);
            let recorded = &exchange["answer"];
            let path = request["path"].as_str().expect("a path").to_owned();
            let title = format!("{name}: {} {path}", request["method"].as_str().unwrap_or_default());
            let body = self.body(&request, &exchange["request"], recorded);
            if request["method"] == "DELETE" {
                // The client had seen the output when it removed the container.
                let (attached, others) = open.into_iter().partition(|(_, recorded, _)| has_frames(recorded));
                open = others;
                for (begun, recorded, title) in attached {
                    self.finish(begun, &recorded, &title, &mut differences);
                }
            }
            if path.ends_with("/logs") && has_frames(recorded) && !is_endless(&request) {
                self.wait_for_output(&request);
            }
            let begun = match wire::send(self.daemon.socket(), &request, &body) {
                Ok(begun) => begun,
                Err(error) => {
                    differences.push(format!("{title}: {error}"));
                    continue;
                }
            };
            if path.ends_with("/resize") {
                // What was typed comes at once here, and the terminal may be gone.
                continue;
            }
            differences.extend(check_head(&title, recorded, &begun.head));
            // These end with something that comes later.
            let awaits_start = path.ends_with("/wait") && !is_started;
            let goes_on = path.ends_with("/attach") || awaits_start || is_endless(&request);
            is_started |= path.contains("/containers/") && path.ends_with("/start");
            if goes_on {
                open.push((begun, recorded.clone(), title));
            } else {
                self.finish(begun, recorded, &title, &mut differences);
            }
        }
        for (begun, recorded, title) in open {
            // A client that left took no body along.
            let has_body = !recorded["body"].is_null() && !name.ends_with("-detached");
            if has_body && !title.ends_with("/events") && !title.ends_with("/logs") {
                self.finish(begun, &recorded, &title, &mut differences);
            }
        }
        differences.retain(|difference| {
            let field = self.fields.iter().find(|(text, _)| difference.contains(text));
            self.met.extend(field.map(|(text, _)| *text));
            field.is_none()
        });
        match reason {
            None => self.differences.extend(differences),
            // What is asked of the network outside, or of what was not recorded, may be answered either way.
            Some(reason) if differences.is_empty() && !reason.starts_with("it asks") => {
                // An exception that is none any more hides the next mistake.
                self.differences.push(format!("{name} is as recorded, but it is said that {reason}"));
            }
            Some(_) => {}
        }
    }

    fn finish(&mut self, begun: Open, recorded: &Value, title: &str, differences: &mut Vec<String>) {
        match begun.finish() {
            Err(error) => differences.push(format!("{title}: {error}")),
            Ok(answer) => {
                let mut shapes = Shapes::new(title);
                shapes.compare(recorded, &answer);
                differences.extend(shapes.differences);
                self.learn(&recorded["body"], &answer);
            }
        }
    }

    /// Asks for logs until there are some: on a busy machine a container takes its time to its first word.
    fn wait_for_output(&self, request: &Value) {
        let start = Instant::now();
        let is_empty = || {
            let answer = wire::send(self.daemon.socket(), request, b"").and_then(Open::finish);
            answer.is_ok_and(|answer| answer.head.status == 200 && answer.body.is_empty())
        };
        while is_empty() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Notes which of our IDs stands for which of the recording.
    fn learn(&mut self, recorded: &Value, answer: &Answer) {
        let ours = match (&recorded["_json"], &recorded["_jsonlines"]) {
            (Value::Null, Value::Null) => return,
            (Value::Null, _) => Value::Array(answer.lines()),
            _ => answer.json().unwrap_or(Value::Null),
        };
        let recorded = if recorded["_json"].is_null() { &recorded["_jsonlines"] } else { &recorded["_json"] };
        shape::pair_ids(recorded, &ours, &mut self.ids);
    }

    fn translate(&self, request: &Value) -> Value {
        let mut text = request.to_string();
        for (recorded, ours) in &self.ids {
            text = text.replace(recorded, ours);
            text = text.replace(&recorded[..12], &ours[..12]);
        }
        serde_json::from_str(&text).expect("IDs have no quotes")
    }

    fn body(&self, request: &Value, recorded: &Value, answer: &Value) -> Vec<u8> {
        let body = &request["body"];
        let path = request["path"].as_str().unwrap_or_default();
        if !body["_json"].is_null() {
            return body["_json"].to_string().into_bytes();
        }
        if let Some(text) = body["_text"].as_str() {
            return text.as_bytes().to_vec();
        }
        let Some(members) = body["_tar"].as_array() else { return Vec::new() };
        match path.rsplit('/').next() {
            Some("load") => {
                let saved =
                    json!({ "method": "GET", "path": "/images/get", "query": { "names": "busybox:latest" } });
                let saved = wire::send(self.daemon.socket(), &saved, b"").and_then(Open::finish);
                saved.expect("busybox can be saved").body
            }
            Some("create") => archive::busybox(&self.scratch),
            Some("build") => archive::build_context(members, recorded, answer),
            _ => archive::like(members),
        }
    }
}

fn has_frames(answer: &Value) -> bool {
    answer["body"]["_frames"].as_array().is_some_and(|frames| !frames.is_empty())
}

fn is_endless(request: &Value) -> bool {
    let path = request["path"].as_str().unwrap_or_default();
    let query = &request["query"];
    (path.ends_with("/events") && query["until"].is_null())
        || (path.ends_with("/logs") && query["follow"] == "1")
}

fn check_head(title: &str, recorded: &Value, head: &Head) -> Vec<String> {
    let mut differences = Vec::new();
    if recorded["status"] != head.status {
        let body = recorded["body"]["_json"]["message"].as_str().unwrap_or_default();
        differences.push(format!(
            "{title}: status {} was recorded ({body}), {} came",
            recorded["status"], head.status
        ));
        return differences;
    }
    for (name, value) in recorded["headers"].as_object().into_iter().flatten() {
        let ours = head.header(name);
        let is_equal = match name.as_str() {
            // Ours is newer, and describes another file.
            "Api-Version" | "X-Docker-Container-Path-Stat" => ours.is_some(),
            _ => ours == value.as_str(),
        };
        if !is_equal {
            differences.push(format!("{title}: header {name} was {value}, {ours:?} came"));
        }
    }
    differences
}

#[track_caller]
fn replay(name: &str, conversations: &str, exceptions: [Exceptions; 2], images: &[&str]) {
    let mut session = Session::start(name, exceptions);
    let registry = DockerRegistry::start(&session.scratch.folder("r"), Access::Open);
    let closed = DockerRegistry::start(&session.scratch.folder("p"), Access::Password);
    // The registries of the recording stood at these ports; bob and his password are theirs.
    let conversations = conversations.replace("localhost:5044", &registry.host());
    let conversations = conversations.replace("localhost:5045", &closed.host());
    // What was made outside the recording.
    for image in images {
        let image = image.replace("OPEN", &registry.host()).replace("CLOSED", &closed.host());
        import(&session, &image);
    }
    let mut count = 0;
    for line in conversations.lines() {
        session.replay(&serde_json::from_str(line).expect("each line is one conversation"));
        count += 1;
    }
    for (text, reason) in session.fields {
        assert!(session.met.contains(text), "{text:?} was never met, but it is said that it is {reason}");
    }
    let differences = &session.differences;
    assert!(
        differences.is_empty(),
        "{} differences in {count} conversations:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Makes an image that was there before the recording began.
fn import(session: &Session, name: &str) {
    let query = json!({ "fromSrc": "-", "repo": name, "changes": ["CMD [\"sh\"]", "ENV A=b"] });
    let request = json!({ "method": "POST", "path": "/images/create", "query": query });
    let body = archive::busybox(&session.scratch);
    let answer = wire::send(session.daemon.socket(), &request, &body).and_then(Open::finish);
    assert_eq!(answer.expect("an import answers").head.status, 200, "{name}");
}

#[test]
fn conversations_of_docker_28() {
    let recorded = include_str!("../../../fixtures/engine-api/transcripts/cli28.2_dockerd20.10.jsonl");
    let images = [
        "OPEN/cli28.2_dockerd20.10/demotty:1",
        "OPEN/cli28.2_dockerd20.10/demo:2",
        "OPEN/cli28.2_dockerd20.10/big:1",
        "OPEN/cli28.2_dockerd20.10/bigtwo:1",
        "CLOSED/cli28.2_dockerd20.10/bb:1",
        "CLOSED/cli28.2_dockerd20.10/bb:2",
    ];
    replay("cli", recorded, [OTHERWISE, &[]], &images);
}

#[test]
fn conversations_of_docker_28_with_dockerd_29() {
    let recorded = include_str!("../../../fixtures/engine-api/transcripts/cli28.2_dockerd29c.jsonl");
    let images = [
        "OPEN/cli28.2_dockerd29c/demotty:1",
        "OPEN/cli28.2_dockerd29c/demo:2",
        "OPEN/cli28.2_dockerd29c/big:1",
        "OPEN/cli28.2_dockerd29c/bigtwo:1",
        "CLOSED/cli28.2_dockerd29c/bb:1",
        "CLOSED/cli28.2_dockerd29c/bb:2",
    ];
    replay("cli29", recorded, [OTHERWISE_29, FIELDS_29], &images);
}

#[test]
fn conversations_of_docker_py() {
    let recorded = include_str!("../../../fixtures/engine-api/transcripts/docker-py7.2_dockerd20.10.jsonl");
    replay("py", recorded, [OTHERWISE, &[]], &["busybox:latest"]);
}

#[test]
fn conversations_of_testcontainers() {
    let recorded =
        include_str!("../../../fixtures/engine-api/transcripts/testcontainers-py_dockerd20.10.jsonl");
    replay("tc", recorded, [OTHERWISE, &[]], &["busybox:latest"]);
}
