//! Whether two documents have the same shape: the same keys with values of the same types, null apart from missing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::wire::Answer;

/// Objects whose keys are names of things, not of fields.
const MAPS: &[&str] = &[
    "Attributes",
    "Config",
    "Containers",
    "Data",
    "ExposedPorts",
    "IndexConfigs",
    "Labels",
    "Networks",
    "Options",
    "Ports",
    "Runtimes",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "networks",
    "stats",
    "DriverOpts",
];

/// Fields that tell of the machine or of what was made before: their type may differ, or they may be missing.
const FREE: &[&str] = &[
    // Null where there are no warnings, no proxies and no labels.
    "Warnings",
    "CachesDeleted",
    "ImagesDeleted",
    "ContainersDeleted",
    "NetworksDeleted",
    // The recording had a bridge.
    "NetworkDisabled",
    "networks",
    "MacAddress",
    // By the kernel: version 1 of control groups has more.
    "percpu_usage",
    "max_usage",
    "stats",
    "limit",
    // Of images that were pulled, and of those that were not.
    "RepoDigests",
    "Labels",
    "VirtualSize",
    "Comment",
    "SizeRw",
    "UsageData",
    // Health of containers, their execs, and lists that are null where there are none.
    "Health",
    "ExecIDs",
    "progress",
    "total",
    "current",
];

/// Collects what differs.
pub struct Shapes {
    title: String,
    pub differences: Vec<String>,
}

impl Shapes {
    pub fn new(title: &str) -> Shapes {
        Shapes { title: title.to_owned(), differences: Vec::new() }
    }

    fn differ(&mut self, text: String) {
        self.differences.push(format!("{}: {text}", self.title));
    }

    pub fn compare(&mut self, recorded: &Value, answer: &Answer) {
        if recorded["status"] != answer.head.status {
            // Told already; this says why.
            let text = String::from_utf8_lossy(&answer.body);
            return self.differ(format!("the answer is {}", text.chars().take(300).collect::<String>()));
        }
        let body = &recorded["body"];
        if let Some(document) = body.get("_json") {
            match answer.json() {
                Some(ours) => self.documents("", document, &ours),
                None => self.differ(format!("no JSON came: {:?}", String::from_utf8_lossy(&answer.body))),
            }
        } else if let Some(lines) = body["_jsonlines"].as_array() {
            self.streams(lines, &answer.lines());
        } else if let Some(frames) = body["_frames"].as_array() {
            self.frames(frames, &answer.body);
        } else if body.get("_tar").is_some()
            && (answer.body.len() < 1024 || !answer.body.len().is_multiple_of(512))
        {
            self.differ(format!("an archive was recorded, {} bytes came", answer.body.len()));
        }
    }

    fn documents(&mut self, place: &str, recorded: &Value, ours: &Value) {
        let key = place.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
        if FREE.contains(&key) {
            return;
        }
        match (recorded, ours) {
            (Value::Object(recorded), Value::Object(ours)) => {
                let is_map = MAPS.contains(&key) && !(key == "Config" && ours.contains_key("Hostname"));
                for (name, value) in recorded {
                    match ours.get(name) {
                        Some(ours) => self.documents(&format!("{place}.{name}"), value, ours),
                        None if is_map || FREE.contains(&name.as_str()) => {}
                        None => self.differ(format!("{place}.{name} is missing")),
                    }
                }
                for name in ours.keys() {
                    if !is_map && !recorded.contains_key(name) && !FREE.contains(&name.as_str()) {
                        self.differ(format!("{place}.{name} was not recorded"));
                    }
                }
            }
            (Value::Array(recorded), Value::Array(ours)) => {
                if let (Some(recorded), Some(ours)) = (recorded.first(), ours.first()) {
                    self.documents(&format!("{place}[]"), recorded, ours);
                }
            }
            _ if kind(recorded) == kind(ours) => {}
            _ => self.differ(format!("{place} was {}, {} came", kind(recorded), brief(ours))),
        }
    }

    /// Each message has a shape that was recorded, and the last ones agree.
    fn streams(&mut self, recorded: &[Value], ours: &[Value]) {
        let shape = |message: &Value| -> String {
            let keys = message.as_object().into_iter().flat_map(serde_json::Map::keys);
            // Bars and amounts come or not, by chance; the order of keys changed between versions of dockerd.
            let keys: BTreeSet<&str> =
                keys.map(String::as_str).filter(|key| !matches!(*key, "progress" | "id" | "from")).collect();
            keys.into_iter().collect::<Vec<_>>().join(",")
        };
        let mut known: BTreeSet<String> = recorded.iter().map(shape).collect();
        // Layers are named or not by what is there already.
        known.insert("progressDetail,status".to_owned());
        for message in ours {
            if !known.contains(&shape(message)) {
                self.differ(format!("no such message was recorded: {}", brief(message)));
            }
        }
        match (recorded.last(), ours.last()) {
            (Some(recorded), Some(ours)) => self.documents("last", recorded, ours),
            (Some(_), None) => self.differ("messages were recorded, none came".to_owned()),
            _ => {}
        }
    }

    fn frames(&mut self, recorded: &[Value], mut body: &[u8]) {
        let mut ours = BTreeSet::new();
        while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = body {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            ours.insert(match stream {
                1 => "stdout",
                2 => "stderr",
                _ => "another",
            });
            let Some(rest) = rest.get(length..) else { return self.differ("a frame broke off".to_owned()) };
            body = rest;
        }
        if !body.is_empty() {
            self.differ(format!("{} bytes came without a frame", body.len()));
        }
        let recorded: BTreeSet<&str> = recorded.iter().filter_map(|frame| frame["stream"].as_str()).collect();
        if recorded != ours {
            self.differ(format!("frames of {recorded:?} were recorded, of {ours:?} came"));
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// Notes the IDs that stand at the same places of two documents.
pub fn pair_ids(recorded: &Value, ours: &Value, ids: &mut BTreeMap<String, String>) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            for (key, value) in recorded {
                if let Some(ours) = ours.get(key) {
                    pair_ids(value, ours, ids);
                }
            }
        }
        (Value::Array(recorded), Value::Array(ours)) if recorded.len() == ours.len() => {
            recorded.iter().zip(ours).for_each(|(recorded, ours)| pair_ids(recorded, ours, ids));
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            // Of streams the ends agree.
            recorded
                .iter()
                .rev()
                .zip(ours.iter().rev())
                .for_each(|(recorded, ours)| pair_ids(recorded, ours, ids));
        }
        (Value::String(recorded), Value::String(ours)) => {
            let bare = |text: &str| text.trim().strip_prefix("sha256:").unwrap_or(text.trim()).to_owned();
            let (recorded, ours) = (bare(recorded), bare(ours));
            let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id(&recorded) && is_id(&ours) {
                ids.entry(recorded).or_insert(ours);
            }
        }
        _ => {}
    }
}
