//! A `config.yml` of the Docker registry as pairs of keys and values.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

/// Returns every value with its path, the keys joined by underscores and list entries numbered, all in lower case.
///
/// This is how the Docker registry spells the variables for its keys, so file and environment meet here. A value that is
/// null, and a mapping or a list without entries, is the empty text.
pub(super) fn flatten(text: &str) -> Result<Vec<(String, String)>, String> {
    read(None, text)
}

/// Returns the values of a variable, which are YAML below `key`, as [`flatten`] does.
pub(super) fn flatten_below(key: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = read(Some(key), text)?;
    if pairs.is_empty() {
        pairs.push((key.to_owned(), String::new()));
    }
    Ok(pairs)
}

fn read(above: Option<&str>, text: &str) -> Result<Vec<(String, String)>, String> {
    let mut reader = Reader { above, open: Vec::new(), pairs: Vec::new() };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        let read = if documents > 1 {
            Err("a second document")
        } else if is_behind_tab(text, &span.start) {
            // The parser takes a tab before the first key; YAML, and the Docker registry, do not.
            Err("a tab before a key")
        } else {
            reader.take(event)
        };
        read.map_err(|reason| format!("line {}: {reason}", span.start.line()))?;
    }
    Ok(reader.pairs)
}

fn is_behind_tab(text: &str, start: &Marker) -> bool {
    let line = text.lines().nth(start.line().saturating_sub(1)).unwrap_or_default();
    let indent: String = line.chars().take(start.col()).collect();
    indent.trim_start().is_empty() && indent.contains('\t')
}

/// What has begun and not ended.
enum Open {
    /// The key is there between its own end and its value's.
    Mapping {
        key: Option<String>,
        is_empty: bool,
    },
    List {
        entries: usize,
    },
}

struct Reader<'a> {
    above: Option<&'a str>,
    open: Vec<Open>,
    pairs: Vec<(String, String)>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event<'_>) -> Result<(), &'static str> {
        match event {
            Event::Scalar(text, style, ..) => {
                if let Some(Open::Mapping { key: key @ None, is_empty }) = self.open.last_mut() {
                    (*key, *is_empty) = (Some(text.to_ascii_lowercase()), false);
                    return Ok(());
                }
                let is_null =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                self.begin_value()?;
                self.push(if is_null { "" } else { &text })?;
                self.end_value();
            }
            Event::MappingStart(..) => {
                self.begin_value()?;
                self.open.push(Open::Mapping { key: None, is_empty: true });
            }
            Event::SequenceStart(..) if self.open.is_empty() && self.above.is_none() => {
                return Err("a list without a key");
            }
            Event::SequenceStart(..) => {
                self.begin_value()?;
                self.open.push(Open::List { entries: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let ended = self.open.pop();
                if matches!(ended, Some(Open::Mapping { is_empty: true, .. } | Open::List { entries: 0 })) {
                    self.push("")?;
                }
                self.end_value();
            }
            Event::Alias(_) => return Err("an alias is not followed here: write the value out"),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin_value(&mut self) -> Result<(), &'static str> {
        match self.open.last_mut() {
            Some(Open::Mapping { key: None, .. }) => return Err("a key that is no text"),
            Some(Open::List { entries }) => *entries += 1,
            Some(Open::Mapping { .. }) | None => {}
        }
        Ok(())
    }

    fn end_value(&mut self) {
        if let Some(Open::Mapping { key, .. }) = self.open.last_mut() {
            *key = None;
        }
    }

    fn push(&mut self, value: &str) -> Result<(), &'static str> {
        let keys = self.open.iter().map(|open| match open {
            Open::Mapping { key, .. } => key.clone().unwrap_or_default(),
            Open::List { entries } => (entries - 1).to_string(),
        });
        let path = self.above.map(str::to_owned).into_iter().chain(keys).collect::<Vec<_>>().join("_");
        if path.is_empty() {
            return if value.is_empty() { Ok(()) } else { Err("neither a key nor an entry of a list") };
        }
        if self.pairs.iter().any(|(other, _)| *other == path) {
            return Err("a key that stands twice");
        }
        self.pairs.push((path, value.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_of_the_docker_registry_becomes_its_variables() {
        let text = "version: 0.1\nlog:\n  fields:\n    service: registry # a comment\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: \"/var/lib/registry\"\nhttp:\n  addr: :5000\n  headers:\n    X-Content-Type-Options: [nosniff]\nnotifications:\n  endpoints:\n    - name: alistener\n      url: https://a.example/event\n      timeout: 1s\n    - name: b\n      url: http://b\nhealth:\n  storagedriver:\n    enabled: true\n";
        let pairs = flatten(text).unwrap();
        let expected = [
            ("version", "0.1"),
            ("log_fields_service", "registry"),
            ("storage_delete_enabled", "true"),
            ("storage_filesystem_rootdirectory", "/var/lib/registry"),
            ("http_addr", ":5000"),
            ("http_headers_x-content-type-options_0", "nosniff"),
            ("notifications_endpoints_0_name", "alistener"),
            ("notifications_endpoints_0_url", "https://a.example/event"),
            ("notifications_endpoints_0_timeout", "1s"),
            ("notifications_endpoints_1_name", "b"),
            ("notifications_endpoints_1_url", "http://b"),
            ("health_storagedriver_enabled", "true"),
        ];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(flatten("\tkey: value").is_err());
        assert!(flatten("just words").is_err());
    }
    fn owned<const COUNT: usize>(pairs: [(&str, &str); COUNT]) -> Vec<(String, String)> {
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }

    #[test]
    fn flow_style_says_the_same_as_lines() {
        let text = "storage: {filesystem: {rootdirectory: /x}}\nhttp: {addr: \"127.0.0.1:5685\", host: 'it''s', tls: {certificate: \"c\\x2epem\"}}\nauth:\n  htpasswd: {realm: a # b\n    , path: /h}\nnotifications: {endpoints: [{name: a, headers: {Authorization: [Bearer x]}}]}\n";
        let expected = owned([
            ("storage_filesystem_rootdirectory", "/x"),
            ("http_addr", "127.0.0.1:5685"),
            ("http_host", "it's"),
            ("http_tls_certificate", "c.pem"),
            ("auth_htpasswd_realm", "a"),
            ("auth_htpasswd_path", "/h"),
            ("notifications_endpoints_0_name", "a"),
            ("notifications_endpoints_0_headers_authorization_0", "Bearer x"),
        ]);
        assert_eq!(flatten(text).unwrap(), expected);
        assert_eq!(flatten("http: {addr: :5000}").unwrap(), owned([("http_addr", ":5000")]));
    }

    #[test]
    fn what_is_empty_is_told_and_not_lost() {
        let text = "auth:\n  htpasswd:\nhttp: {tls: {}, net: ~}\nlist: []\nempty: \"\"\n";
        let expected =
            owned([("auth_htpasswd", ""), ("http_tls", ""), ("http_net", ""), ("list", ""), ("empty", "")]);
        assert_eq!(flatten(text).unwrap(), expected);
        assert_eq!(flatten("").unwrap(), []);
        assert_eq!(flatten("---\n# nothing\n").unwrap(), []);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_the_line() {
        for (text, line) in [
            ("http:\n\taddr: a\n", 2),
            ("http:\n  addr: {a: b\n", 3),
            ("log:\n  level: info\nlog:\n  level: debug\n", 4),
            ("a: &x 1\nb: *x\n", 2),
            ("a: 1\n---\na: 2\n", 2),
            ("a: 1\nwords\n", 3),
            ("- a\n", 1),
            ("a: 1\n? [b]\n: c\n", 2),
        ] {
            let reason = flatten(text).unwrap_err();
            assert!(reason.starts_with(&format!("line {line}: ")), "{text:?}: {reason}");
        }
    }

    #[test]
    fn a_variable_is_yaml_below_its_key() {
        let below = |text| flatten_below("storage", text).unwrap();
        assert_eq!(
            below("{filesystem: {rootdirectory: /x}}"),
            owned([("storage_filesystem_rootdirectory", "/x")])
        );
        assert_eq!(below("\"a b\""), owned([("storage", "a b")]));
        assert_eq!(below(""), owned([("storage", "")]));
    }
}
