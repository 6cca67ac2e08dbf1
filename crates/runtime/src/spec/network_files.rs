//! The three files of `/etc` that say who and where a container is: their text and where they are bound.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Network;

/// Files on the host that are bound over the image's own; `None` leaves the image's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcFiles {
    /// Source of `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// Source of `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// Source of `/etc/hosts`.
    pub hosts: Option<PathBuf>,
}

impl EtcFiles {
    pub(super) fn bindings(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [
            ("/etc/resolv.conf", &self.resolv_conf),
            ("/etc/hostname", &self.hostname),
            ("/etc/hosts", &self.hosts),
        ]
        .into_iter()
        .filter_map(|(name, source)| Some((name, source.as_deref()?)))
    }
}

/// What goes into `/etc/hosts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsFile {
    /// `--add-host`: name and address, in the user's order.
    pub extra: Vec<(String, String)>,
}

impl HostsFile {
    /// The text of the file. With the host's network and no extra names it is the host's own, `host_text`.
    ///
    /// Source: observed with dockerd 20.10.24, networks `none` and `host`.
    pub fn text(&self, network: &Network, host_text: &str) -> String {
        if *network == Network::Host && self.extra.is_empty() {
            return host_text.to_owned();
        }
        let mut text =
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
            ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
                .to_owned();
        for (name, address) in &self.extra {
            writeln!(text, "{address}\t{name}").expect("a string grows");
        }
        text
    }
}

/// The text of `/etc/resolv.conf` made from the host's.
///
/// Outside the host's network nameservers on loopback addresses are left out: nobody answers there. When that leaves
/// none, the file has none; no public resolver is put in their place.
pub fn resolv_conf(host_text: &str, network: &Network) -> String {
    if *network == Network::Host {
        return host_text.to_owned();
    }
    let mut text = String::with_capacity(host_text.len());
    for line in host_text.split_inclusive('\n') {
        let mut words = line.split_ascii_whitespace();
        let on_loopback = words.next() == Some("nameserver")
            && words
                .next()
                .and_then(|address| address.split('%').next()?.parse::<IpAddr>().ok())
                .is_some_and(|address| address.is_loopback());
        if !on_loopback {
            text.push_str(line);
        }
    }
    text
}

/// `--dns`, `--dns-search` and `--dns-option`: each that is given takes the place of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Domains; `.` alone is none.
    pub search: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

impl Dns {
    /// The text of `/etc/resolv.conf` made from the one that it would be without.
    ///
    /// Source: libnetwork `resolvconf.Build`, observed with dockerd 20.10.24.
    pub fn apply(&self, text: &str) -> String {
        if self == &Self::default() {
            return text.to_owned();
        }
        let of = |keyword: &str| -> Vec<String> {
            let words = |line: &str| {
                let mut words = line.split_ascii_whitespace();
                (words.next() == Some(keyword)).then(|| words.map(str::to_owned).collect::<Vec<_>>())
            };
            text.lines().filter_map(words).flatten().collect()
        };
        let chosen = |own: &Vec<String>, keyword| if own.is_empty() { of(keyword) } else { own.clone() };
        let search = chosen(&self.search, "search");
        let mut built = String::new();
        if !search.is_empty() && search != ["."] {
            writeln!(built, "search {}", search.join(" ")).expect("a string grows");
        }
        for server in chosen(&self.servers, "nameserver") {
            writeln!(built, "nameserver {server}").expect("a string grows");
        }
        let options = chosen(&self.options, "options");
        if !options.is_empty() {
            writeln!(built, "options {}", options.join(" ")).expect("a string grows");
        }
        built
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_an_isolated_container_are_dockers() {
        let hosts = HostsFile { extra: vec![("foo".to_owned(), "1.2.3.4".to_owned())] };
        let text = hosts.text(&Network::None, "127.0.0.1 vm\n");
        assert_eq!(text.lines().count(), 7);
        assert!(text.ends_with("ff02::2\tip6-allrouters\n1.2.3.4\tfoo\n"));
    }

    #[test]
    fn loopback_nameservers_stay_on_the_host() {
        let host =
            "search a.b\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1\noptions ndots:2\n";
        let expected = "search a.b\nnameserver 10.0.0.1\noptions ndots:2\n";
        assert_eq!(resolv_conf(host, &Network::None), expected);
        assert_eq!(resolv_conf(host, &Network::Host), host);
    }

    #[test]
    fn name_servers_that_are_given_take_the_place_of_the_hosts() {
        // As `docker run --dns 1.2.3.4 --dns-option ndots:3 --dns-search a.b` writes it.
        let dns = Dns {
            servers: vec!["1.2.3.4".to_owned()],
            search: vec!["a.b".to_owned()],
            options: vec!["ndots:3".to_owned()],
        };
        let host = "# a comment\nnameserver 10.0.0.1\nsearch c\n";
        assert_eq!(dns.apply(host), "search a.b\nnameserver 1.2.3.4\noptions ndots:3\n");
        assert_eq!(Dns::default().apply(host), host);
    }
}
