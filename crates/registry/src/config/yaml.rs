//! As much YAML as a `config.yml` of the Docker registry has: nested keys, lists, plain and quoted values, comments.

/// Returns every value with its path, the keys joined by underscores and list entries numbered, all in lower case.
///
/// This is how the Docker registry spells the variables for its keys, so file and environment meet here.
pub(super) fn flatten(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    // The keys above a line, each with the column that it stands in, and the next number when a list stands below it.
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let content = without_comment(line);
        let mut rest = content.trim_start();
        if rest.trim_end().is_empty() || rest.trim_end() == "---" {
            continue;
        }
        if content[..content.len() - rest.len()].contains('\t') {
            return Err(format!("line {}: a tab before a key", number + 1));
        }
        let mut column = content.len() - rest.len();
        while let Some(item) = rest.strip_prefix("- ").or_else(|| (rest.trim_end() == "-").then_some("")) {
            // A list may stand in the column of its key.
            while open.last().is_some_and(|(at, key, _)| *at > column || (*at == column && is_number(key))) {
                open.pop();
            }
            let Some((_, _, next)) = open.last_mut() else {
                return Err(format!("line {}: a list without a key", number + 1));
            };
            let index = next.to_string();
            *next += 1;
            let trimmed = item.trim_start();
            open.push((column, index, 0));
            column += rest.len() - trimmed.len();
            rest = trimmed;
        }
        let rest = rest.trim_end();
        match split_key(rest) {
            Some((key, value)) => {
                while open.last().is_some_and(|(at, ..)| *at >= column) {
                    open.pop();
                }
                open.push((column, key.to_ascii_lowercase(), 0));
                push(&mut pairs, &open, value);
            }
            None if open.last().is_some_and(|(_, key, _)| is_number(key)) => push(&mut pairs, &open, rest),
            None => return Err(format!("line {}: neither a key nor an entry of a list", number + 1)),
        }
    }
    Ok(pairs)
}

fn is_number(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

fn push(pairs: &mut Vec<(String, String)>, open: &[(usize, String, usize)], value: &str) {
    if value.is_empty() {
        return;
    }
    let path = open.iter().map(|(_, key, _)| key.as_str()).collect::<Vec<_>>().join("_");
    match value.strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
        Some(list) => {
            for (number, entry) in list.split(',').filter(|entry| !entry.trim().is_empty()).enumerate() {
                pairs.push((format!("{path}_{number}"), scalar(entry)));
            }
        }
        None => pairs.push((path, scalar(value))),
    }
}

fn split_key(line: &str) -> Option<(&str, &str)> {
    if line.starts_with(['"', '\'']) {
        return None;
    }
    if let Some(key) = line.strip_suffix(':') {
        return Some((key.trim(), ""));
    }
    line.split_once(": ").map(|(key, value)| (key.trim(), value.trim()))
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        before = character;
    }
    line
}

/// Returns a value without its quotes.
pub(super) fn scalar(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    value.to_owned()
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
}
