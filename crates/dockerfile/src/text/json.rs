//! Arrays of strings, read as Go's `encoding/json` reads them: what is valid there and nowhere else decides whether an
//! instruction is in exec form.

/// What a text that may be a JSON array of strings turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JsonArray {
    /// An array that holds only strings.
    Strings(Vec<String>),
    /// A valid array that holds something else.
    OtherValues,
    /// Not a JSON array: shell form.
    NotJson,
}

/// Go refuses deeper nesting, and the text then counts as no JSON.
const DEPTH_MAX: usize = 10_000;

/// Reads `text` as a JSON array.
pub(crate) fn read_array(text: &str) -> JsonArray {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return JsonArray::NotJson;
    }
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
    match reader.read_document() {
        Some(Some(strings)) => JsonArray::Strings(strings),
        Some(None) => JsonArray::OtherValues,
        None => JsonArray::NotJson,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

/// What may stand next inside the innermost array or object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    CommaOrEnd,
    KeyOrEnd,
    Key,
}

impl Reader<'_> {
    /// Returns `None` for invalid JSON and `Some(None)` for an array with values that are no strings.
    fn read_document(&mut self) -> Option<Option<Vec<String>>> {
        let mut strings = Some(Vec::new());
        let mut open: Vec<u8> = Vec::new();
        let mut expect = Expect::Value;
        loop {
            self.skip_blanks();
            let next = *self.bytes.get(self.at)?;
            match expect {
                Expect::Value | Expect::ValueOrEnd if next == b'[' || next == b'{' => {
                    if !open.is_empty() {
                        strings = None;
                    }
                    if open.len() >= DEPTH_MAX {
                        return None;
                    }
                    open.push(next);
                    self.at += 1;
                    expect = if next == b'[' { Expect::ValueOrEnd } else { Expect::KeyOrEnd };
                    continue;
                }
                Expect::ValueOrEnd if next == b']' => self.close(&mut open)?,
                Expect::KeyOrEnd if next == b'}' => self.close(&mut open)?,
                Expect::Value | Expect::ValueOrEnd => {
                    let value = self.read_scalar()?;
                    match (&mut strings, value) {
                        (Some(list), Some(value)) if open.len() == 1 => list.push(value),
                        _ => strings = None,
                    }
                }
                Expect::Key | Expect::KeyOrEnd => {
                    self.read_string()?;
                    self.skip_blanks();
                    self.expect_byte(b':')?;
                    expect = Expect::Value;
                    continue;
                }
                Expect::CommaOrEnd if next == b',' => {
                    self.at += 1;
                    expect = if open.last() == Some(&b'[') { Expect::Value } else { Expect::Key };
                    continue;
                }
                Expect::CommaOrEnd => {
                    let matching = if open.last() == Some(&b'[') { b']' } else { b'}' };
                    if next != matching {
                        return None;
                    }
                    self.close(&mut open)?;
                }
            }
            expect = Expect::CommaOrEnd;
            if open.is_empty() {
                self.skip_blanks();
                return (self.at == self.bytes.len()).then_some(strings);
            }
        }
    }

    fn close(&mut self, open: &mut Vec<u8>) -> Option<()> {
        open.pop()?;
        self.at += 1;
        Some(())
    }

    fn skip_blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect_byte(&mut self, byte: u8) -> Option<()> {
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    /// Returns the string, or `None` inside for a number, `true`, `false` and `null`.
    fn read_scalar(&mut self) -> Option<Option<String>> {
        match self.bytes.get(self.at)? {
            b'"' => Some(Some(self.read_string()?)),
            b't' => self.read_word("true"),
            b'f' => self.read_word("false"),
            b'n' => self.read_word("null"),
            _ => self.read_number(),
        }
    }

    fn read_word(&mut self, word: &str) -> Option<Option<String>> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            None
        })
    }

    fn read_number(&mut self) -> Option<Option<String>> {
        let start = self.at;
        let _ = self.expect_byte(b'-');
        if self.expect_byte(b'0').is_none() {
            self.read_digits()?;
        }
        if self.expect_byte(b'.').is_some() {
            self.read_digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.read_digits()?;
        }
        // Go fails on a number that no float64 holds, and Docker then takes the text for shell form.
        self.text[start..self.at].parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| None)
    }

    fn read_digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn read_string(&mut self) -> Option<String> {
        self.expect_byte(b'"')?;
        let mut value = String::new();
        loop {
            let start = self.at;
            while self.bytes.get(self.at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            value.push_str(&self.text[start..self.at]);
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(value);
                }
                b'\\' => {
                    self.at += 1;
                    value.push(self.read_escape()?);
                }
                _ => return None,
            }
        }
    }

    fn read_escape(&mut self) -> Option<char> {
        let escape = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.read_hex4()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // A high surrogate counts only together with a low one; alone it becomes the replacement character.
                let before = self.at;
                if self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let second = self.read_hex4()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = before;
                }
                char::REPLACEMENT_CHARACTER
            }
            _ => return None,
        })
    }

    fn read_hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}
