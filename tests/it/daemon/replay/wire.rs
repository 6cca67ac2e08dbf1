//! A plain HTTP client that lets an answer stay open while other requests are made.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// An answer that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Head {
    pub status: u16,
    lines: Vec<String>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// An answer whose head was read.
#[derive(Debug)]
pub struct Open {
    pub head: Head,
    is_head_alone: bool,
    reader: BufReader<UnixStream>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

/// Sends a recorded request with this body, and what was typed after it where the connection is handed over.
pub fn send(socket: &Path, request: &Value, body: &[u8]) -> Result<Open, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let method = request["method"].as_str().unwrap_or("GET");
    let mut target = escape(request["path"].as_str().unwrap_or_default(), true);
    for (number, (name, value)) in pairs(&request["query"]).into_iter().enumerate() {
        target.push(if number == 0 { '?' } else { '&' });
        target.push_str(&format!("{}={}", escape(&name, false), escape(&value, false)));
    }
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in pairs(&request["headers"]) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).map_err(failed)?;
    // The daemon may have refused before it read everything.
    let _ = stream.write_all(body);
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).map_err(failed)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let head = Head { status: status.ok_or("no answer came")?, lines };
    if head.status == 101 {
        if let Some(typed) = request["hijack_stdin"].as_str() {
            reader.get_mut().write_all(typed.as_bytes()).map_err(failed)?;
        }
        reader.get_ref().shutdown(Shutdown::Write).map_err(failed)?;
    }
    Ok(Open { head, is_head_alone: method == "HEAD", reader })
}

fn pairs(map: &Value) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in map.as_object().into_iter().flatten() {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            pairs.push((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    }
    pairs
}

fn escape(text: &str, is_path: bool) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            b'/' | b':' | b'@' if is_path => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl Open {
    /// Reads the body to its end.
    pub fn finish(mut self) -> Result<Answer, String> {
        let failed = |error: std::io::Error| format!("the body did not end: {error}");
        let mut body = Vec::new();
        let is_chunked = self.head.header("Transfer-Encoding") == Some("chunked");
        let length = self.head.header("Content-Length").and_then(|length| length.parse::<u64>().ok());
        match self.head.status {
            _ if self.is_head_alone => {}
            204 | 304 => {}
            101 => drop(self.reader.read_to_end(&mut body).map_err(failed)?),
            _ if is_chunked => loop {
                let mut line = String::new();
                self.reader.read_line(&mut line).map_err(failed)?;
                let length =
                    u64::from_str_radix(line.trim(), 16).map_err(|_| format!("a chunk of {line:?}"))?;
                self.reader.by_ref().take(length).read_to_end(&mut body).map_err(failed)?;
                self.reader.read_line(&mut line).map_err(failed)?;
                if length == 0 {
                    break;
                }
            },
            _ => drop(self.reader.by_ref().take(length.unwrap_or(0)).read_to_end(&mut body).map_err(failed)?),
        }
        Ok(Answer { head: self.head, body })
    }
}

impl Answer {
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The messages of a stream.
    pub fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
