//! Where a request goes: scheme, host and port. Credentials belong to one of these and never leave it.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// How bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// Returns the name as it stands in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Scheme, host and port; two URLs of one origin may see the same credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    /// Lower case, IPv6 addresses in brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// Returns the origin of `host[:port]` under `scheme`; none when that is no authority.
    pub fn new(scheme: Scheme, authority: &str) -> Option<Origin> {
        let url = Url::parse(&format!("{}://{authority}/", scheme.name())).ok()?;
        let plain = url.username().is_empty() && url.password().is_none() && url.path() == "/";
        (plain && url.query().is_none() && url.fragment().is_none()).then(|| Origin::of(&url)).flatten()
    }

    /// Returns the origin of a URL; none when it is neither http nor https.
    pub fn of(url: &Url) -> Option<Origin> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let host = url.host_str()?.to_ascii_lowercase();
        Some(Origin { scheme, host, port: url.port().unwrap_or(scheme.default_port()) })
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address when the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Returns whether the host is this machine: 127.0.0.0/8, ::1 or `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Returns `host` or `host:port`, the port only where it is not the usual one.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns the URL of `path`, which begins with a slash and may carry a query.
    pub(crate) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{self}{path}")).expect("an origin and a path of URL characters make a URL")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_differ_in_scheme_host_and_port_only() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap());
        assert_eq!(origin("https://H.example/a?b"), origin("https://h.EXAMPLE:443/c#d"));
        assert_ne!(origin("https://h"), origin("http://h"));
        assert_ne!(origin("http://h"), origin("http://h:81"));
        assert_eq!(origin("file:///etc/passwd"), None);
        assert_eq!(origin("http://[::1]:5000/").unwrap().to_string(), "http://[::1]:5000");
    }

    #[test]
    fn an_authority_is_nothing_more() {
        for text in ["h/x", "u@h", "u:p@h", "h?x", "h#x", "", "h:99999", "a b"] {
            assert_eq!(Origin::new(Scheme::Https, text), None, "{text}");
        }
        assert_eq!(Origin::new(Scheme::Http, "h:5000").map(|origin| origin.port()), Some(5000));
    }

    #[test]
    fn loopback_is_this_machine_only() {
        let loopback = |host: &str| Origin::new(Scheme::Http, host).unwrap().is_loopback();
        assert!(loopback("127.9.8.7:1") && loopback("[::1]") && loopback("LOCALHOST"));
        assert!(
            !loopback("128.0.0.1") && !loopback("localhost.evil.example") && !loopback("127.0.0.1.example")
        );
    }
}
