//! As much HTTP as a bad server needs, on a blocking socket.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Fields with lower-case names, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, if it was read.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a query parameter, decoded as far as digests need.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(pair.replace("%3A", ":").replace("%2F", "/"))
    }
}

/// A socket, or TLS upon one.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// What the first byte of a client that speaks TLS is.
const HANDSHAKE: u8 = 0x16;

/// Returns how to speak TLS, with a certificate of its own that no authority signed.
pub(super) fn self_signed() -> Arc<ServerConfig> {
    let key = rcgen::KeyPair::generate().expect("the system has randomness");
    let names = ["127.0.0.1", "127.0.0.2", "localhost"].map(str::to_owned);
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|parameters| parameters.self_signed(&key))
        .expect("the names are valid");
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("it was just made");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key belongs to the certificate");
    Arc::new(config)
}

pub(super) struct Connection {
    stream: BufReader<Stream>,
    has_answered: bool,
    /// The request is a HEAD; bytes behind its answer would be read as the next one.
    is_head: bool,
}

impl Connection {
    /// Starts to listen to a client; none when the client speaks TLS and we do not.
    pub(super) fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Option<Connection> {
        let _ = socket.set_nodelay(true);
        let mut first = [0];
        let is_tls = socket.peek(&mut first).ok()? > 0 && first[0] == HANDSHAKE;
        let stream = if is_tls {
            let session = ServerConnection::new(Arc::clone(tls?)).ok()?;
            Stream::Tls(Box::new(StreamOwned::new(session, socket)))
        } else {
            Stream::Plain(socket)
        };
        Some(Connection { stream: BufReader::new(stream), has_answered: false, is_head: false })
    }

    /// Tells whether nobody on the way can listen.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.stream.get_ref(), Stream::Tls(_))
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Reads the head of the next request; none at the end.
    pub(super) fn head(&mut self) -> Option<Request> {
        self.has_answered = false;
        if self.stream.fill_buf().ok()?.is_empty() {
            return None;
        }
        let mut request = Request::default();
        let line = self.line()?;
        let mut words = line.split(' ');
        request.method = words.next()?.to_owned();
        self.is_head = request.method == "HEAD";
        request.path = words.next()?.to_owned();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(request);
            }
            let (name, value) = line.split_once(':')?;
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the body into the request; false when the connection broke.
    pub(super) fn body(&mut self, request: &mut Request) -> bool {
        if request.header("transfer-encoding").is_some() {
            loop {
                let Some(size) = self.line().and_then(|line| usize::from_str_radix(&line, 16).ok()) else {
                    return false;
                };
                if !self.take(size, request) || self.line().is_none() {
                    return false;
                }
                if size == 0 {
                    return true;
                }
            }
        }
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.take(length, request)
    }

    /// Reads exactly `size` bytes of the body.
    pub(super) fn take(&mut self, size: usize, request: &mut Request) -> bool {
        let before = request.body.len();
        request.body.resize(before + size, 0);
        self.stream.read_exact(&mut request.body[before..]).is_ok()
    }

    /// Answers with a length and a body; the connection stays open.
    pub(super) fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Option<()> {
        self.head_of(status, headers, Some(body.len()))?;
        if self.is_head { Some(()) } else { self.raw(body) }
    }

    /// Writes the head of an answer; without a length the body ends with the connection.
    pub(super) fn head_of(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        length: Option<usize>,
    ) -> Option<()> {
        let mut head = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        match length {
            // RFC 9110: no length with a 204.
            Some(_) if status == 204 => {}
            Some(length) => head += &format!("Content-Length: {length}\r\n"),
            None => head += "Connection: close\r\n",
        }
        head += "\r\n";
        self.raw(head.as_bytes())
    }

    /// Writes bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.has_answered = true;
        self.stream.get_mut().write_all(bytes).ok()?;
        self.stream.get_mut().flush().ok()
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(&mut self) -> Option<()> {
        let socket = self.stream.get_ref().socket();
        let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
        None
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(1 << 20).read_until(b'\n', &mut line).ok().filter(|&count| count > 0)?;
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Encodes as RFC 4648, section 4.
pub(super) fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for index in 0..4 {
            let digit = (bits >> (18 - 6 * index)) & 63;
            encoded.push(if index <= group.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_the_rfc() {
        // RFC 4648, section 10.
        for (text, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(super::base64(text), encoded);
        }
    }
}
