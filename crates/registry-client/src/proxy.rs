//! Which proxy stands between us and an origin.
//!
//! Source: golang.org/x/net/http/httpproxy, which dockerd and the docker command go by.

use std::net::IpAddr;

use reqwest::Url;

use crate::error::RequestError;
use crate::network::Network;
use crate::options::Proxies;
use crate::origin::{Origin, Scheme};

impl Proxies {
    /// Returns the proxy for an origin; none where it is reached directly.
    ///
    /// # Errors
    /// [`RequestError::InvalidProxy`].
    pub(crate) fn to(&self, origin: &Origin) -> Result<Option<Url>, RequestError> {
        match self {
            Proxies::None => Ok(None),
            Proxies::Environment => from_variables(|name| std::env::var(name).ok()).to(origin),
            Proxies::Configured { http, https, except } => {
                let proxy = match origin.scheme() {
                    Scheme::Http => http,
                    Scheme::Https => https,
                };
                let Some(proxy) = proxy.as_deref().filter(|proxy| !proxy.is_empty()) else { return Ok(None) };
                if is_direct(origin, except.as_deref().unwrap_or_default()) {
                    return Ok(None);
                }
                let scheme = origin.scheme().name();
                parse(proxy).map(Some).ok_or(RequestError::InvalidProxy { scheme })
            }
        }
    }
}

fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Proxies {
    let find = |lower: &str| {
        let upper = lower.to_uppercase();
        [lower, &upper].into_iter().filter_map(&variable).find(|value| !value.is_empty())
    };
    let all = find("all_proxy");
    // A web server sets HTTP_PROXY for its scripts from the header `Proxy` of whoever asks it.
    let is_script = variable("REQUEST_METHOD").is_some_and(|method| !method.is_empty());
    Proxies::Configured {
        http: find("http_proxy").or_else(|| all.clone()).filter(|_| !is_script),
        https: find("https_proxy").or(all),
        except: find("no_proxy"),
    }
}

/// Reads `scheme://[user:password@]host[:port]`, also without the scheme.
fn parse(text: &str) -> Option<Url> {
    let is_proxy = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let read = |text: &str| Url::parse(text).ok().filter(is_proxy);
    read(text).or_else(|| (!text.contains("://")).then(|| read(&format!("http://{text}"))).flatten())
}

/// Returns whether an origin is reached without a proxy: this machine, and what the list `except` names.
fn is_direct(origin: &Origin, except: &str) -> bool {
    let entries = except.split(',').map(|entry| entry.trim().to_lowercase());
    // Nobody's proxy can reach our loopback.
    origin.is_loopback() || entries.into_iter().any(|entry| covers(&entry, origin))
}

/// Returns whether an entry of the list names the origin: `*`, `address/bits`, `address[:port]`, `name[:port]` with what
/// is below it, `.name[:port]` or `*.name[:port]` without the name itself.
fn covers(entry: &str, origin: &Origin) -> bool {
    if entry.is_empty() || entry == "*" {
        return entry == "*";
    }
    let address = origin.address().map(|address| address.to_canonical());
    if let Some(network) = Network::parse(entry) {
        return address.is_some_and(|address| network.contains(address));
    }
    let (host, port) = split_port(entry);
    if !port.is_empty() && port != origin.port().to_string() {
        return false;
    }
    if let Ok(listed) = host.parse::<IpAddr>() {
        return address == Some(listed.to_canonical());
    }
    if address.is_some() {
        return false;
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let (name, is_below) = host.strip_prefix('.').map_or((host, false), |name| (name, true));
    // Spells names of other scripts as they stand in an origin.
    let Some(name) = Origin::new(Scheme::Http, name) else { return false };
    let above = origin.host().strip_suffix(name.host());
    above.is_some_and(|above| above.ends_with('.') || (above.is_empty() && !is_below))
}

/// Splits `host:port` and `[address]:port`; the port is empty where there is none.
fn split_port(entry: &str) -> (&str, &str) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port),
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => {
            (&host[1..host.len() - 1], port)
        }
        _ => (entry, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All hosts of the table below.
    const HOSTS: [&str; 19] = [
        "example.com",
        "example.com:5000",
        "EXAMPLE.com",
        "a.example.com",
        "a.example.com:5000",
        "a.b.example.com",
        "notexample.com",
        "other.org",
        "reg:5000",
        "bücher.example",
        "10.0.0.7",
        "10.0.0.7:5000",
        "10.9.9.9:5000",
        "11.0.0.1",
        "[fd00::7]:5000",
        "[fd00::8]",
        "localhost:5000",
        "127.9.9.9",
        "[::1]:5000",
    ];

    /// `direct`: what Go's `httpproxy.Config.ProxyFunc` gives no proxy for, besides the last three, which never get one.
    #[track_caller]
    fn check(except: &str, direct: &[&str]) {
        let found: Vec<&str> = HOSTS
            .into_iter()
            .filter(|host| is_direct(&Origin::new(Scheme::Https, host).unwrap(), except))
            .collect();
        let loopback = &HOSTS[HOSTS.len() - 3..];
        assert_eq!(found, [direct, loopback].concat(), "{except:?}");
    }

    #[test]
    fn the_exceptions_are_those_of_go() {
        let named = ["example.com", "example.com:5000", "EXAMPLE.com"];
        let below = ["a.example.com", "a.example.com:5000", "a.b.example.com"];
        let both = [named, below].concat();
        for nothing in
            ["", ",, ,", "example.com.", "x*.example.com", "*example.com", "http://example.com", "[fd00::7]"]
        {
            check(nothing, &[]);
        }
        for everything in ["*", "*,nothing", "nothing, * "] {
            check(everything, &HOSTS[..HOSTS.len() - 3]);
        }
        for name in ["example.com", "EXAMPLE.com", "example.com:"] {
            check(name, &both);
        }
        check(" example.com , other.org", &[both.as_slice(), &["other.org"]].concat());
        check(".example.com", &below);
        check("*.example.com", &below);
        check("example.com:5000", &["example.com:5000", "a.example.com:5000"]);
        check("bücher.example", &["bücher.example"]);
        check("reg", &["reg:5000"]);
        check("10.0.0.7", &["10.0.0.7", "10.0.0.7:5000"]);
        check("::ffff:10.0.0.7", &["10.0.0.7", "10.0.0.7:5000"]);
        check("10.0.0.7:5000", &["10.0.0.7:5000"]);
        check("10.0.0.0/8", &["10.0.0.7", "10.0.0.7:5000", "10.9.9.9:5000"]);
        check("10.0.0.0/8:5000", &[]);
        check("fd00::7", &["[fd00::7]:5000"]);
        check("[fd00::7]:5000", &["[fd00::7]:5000"]);
        check("fd00::/8", &["[fd00::7]:5000", "[fd00::8]"]);
    }

    #[test]
    fn a_proxy_is_found_in_the_environment() {
        let to = |variables: &[(&str, &str)], origin: &str| {
            let variables = variables.to_vec();
            let find = move |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let origin = Origin::of(&Url::parse(origin).unwrap()).unwrap();
            from_variables(find).to(&origin).unwrap().map(|url| url.to_string())
        };
        let proxy = |url: &str| Some(url.to_owned());
        assert_eq!(to(&[("HTTPS_PROXY", "http://u:p@p:3128")], "https://r"), proxy("http://u:p@p:3128/"));
        assert_eq!(to(&[("https_proxy", "p:3128")], "https://r"), proxy("http://p:3128/"));
        assert_eq!(to(&[("https_proxy", "p:3128")], "http://r"), None);
        assert_eq!(to(&[("http_proxy", ""), ("HTTP_PROXY", "https://p")], "http://r"), proxy("https://p/"));
        assert_eq!(to(&[("ALL_PROXY", "http://p"), ("no_proxy", "r")], "https://r"), None);
        assert_eq!(to(&[("HTTP_PROXY", "http://p"), ("REQUEST_METHOD", "GET")], "http://r"), None);
    }

    #[test]
    fn what_is_no_proxy_is_an_error() {
        for text in ["http://", "socks5://p:1080", "a b", "http://p:99999"] {
            let proxies = Proxies::Configured { http: None, https: Some(text.to_owned()), except: None };
            let origin = Origin::new(Scheme::Https, "r").unwrap();
            assert!(matches!(proxies.to(&origin), Err(RequestError::InvalidProxy { .. })), "{text}");
        }
    }
}
