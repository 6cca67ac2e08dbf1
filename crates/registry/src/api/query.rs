//! The query of a request, decoded.

/// Returns the pairs of `query` in their order, percent-decoded; a plus sign stays a plus sign.
///
/// Digests and media types hold `+`, and clients write it without escaping. Sequences that are no escape stay as they are.
pub fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    query
        .unwrap_or("")
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Returns the first value of `name`.
pub fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Returns `text` with its `%xx` escapes resolved; bytes that are not UTF-8 become replacement characters.
pub fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = escape.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits
                .bytes()
                .all(|digit| digit.is_ascii_hexdigit())
                .then(|| u8::from_str_radix(digits, 16).ok())?
        });
        match value {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Returns `text` with everything but unreserved characters escaped, for a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_pluses_kept() {
        let pairs =
            pairs(Some("digest=sha256%3Aab&type=application/vnd.x+json&empty=&flag&tag=a&tag=b&odd=%zz%2"));
        assert_eq!(first(&pairs, "digest"), Some("sha256:ab"));
        assert_eq!(first(&pairs, "type"), Some("application/vnd.x+json"));
        assert_eq!(first(&pairs, "flag"), Some(""));
        assert_eq!(first(&pairs, "tag"), Some("a"));
        assert_eq!(first(&pairs, "odd"), Some("%zz%2"));
        assert_eq!(decode(&encode("a+b c/ä")), "a+b c/ä");
    }
}
