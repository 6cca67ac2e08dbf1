//! What an image runs on, and which image of an index fits a machine.
//!
//! Source: containerd `platforms` v1.0: normalisation, and the order of `Only`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, processor architecture and its variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture: `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// Operating system: `linux`.
    pub os: String,
    /// Version of the operating system; Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system; Windows only.
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// Variant of the architecture: `v7` of `arm`, `v3` of `amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is no platform. The messages are Docker's, which clients look for words in.
///
/// Source: containerd `platforms` `Parse`, observed with dockerd 20.10.24 on 2026-11-22.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part between the slashes is empty, or has other characters.
    #[error(
        "{component:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_-]+$\": invalid argument"
    )]
    Component {
        /// The part.
        component: String,
        /// The whole text.
        text: String,
    },
    /// One word, which is neither an operating system nor an architecture.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three parts.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Form(String),
}

impl Platform {
    /// Returns a normalised platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, variant) = normalised(architecture, variant.unwrap_or_default());
        Platform {
            architecture,
            os: normalised_os(os),
            os_version: None,
            os_features: None,
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// Returns the platform that this program was built for.
    pub fn host() -> Platform {
        let variant = if cfg!(target_arch = "arm") { Some("v7") } else { None };
        // Go's names, where they are not among the spellings that are made one.
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform::new(std::env::consts::OS, architecture, variant)
    }

    /// Returns the platform with every spelling that containerd treats alike made one: `aarch64` is `arm64`.
    pub fn normalise(&self) -> Platform {
        Platform {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            ..Platform::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// Returns what a machine of this platform can run, best first: an `arm/v7` also runs `arm/v6` and `arm/v5`.
    pub fn runnable(&self) -> Vec<Platform> {
        let wanted = self.normalise();
        let variant = wanted.variant.as_deref().unwrap_or_default();
        let mut all = vec![wanted.clone()];
        let mut also = |architecture: &str, variant: &str| {
            let candidate = Platform::new(&wanted.os, architecture, Some(variant));
            if !all.contains(&candidate) {
                all.push(candidate);
            }
        };
        match wanted.architecture.as_str() {
            "amd64" => {
                let level = variant.strip_prefix('v').and_then(|level| level.parse::<u8>().ok()).unwrap_or(1);
                (1..level.min(9)).rev().for_each(|level| also("amd64", &format!("v{level}")));
                also("amd64", "");
                also("386", "");
            }
            "arm64" => {
                for minor in [
                    "v9.6", "v9.5", "v9.4", "v9.3", "v9.2", "v9.1", "v9", "v8.9", "v8.8", "v8.7", "v8.6",
                    "v8.5", "v8.4", "v8.3", "v8.2", "v8.1",
                ] {
                    if !variant.is_empty() && not_above(minor, variant) {
                        also("arm64", minor);
                    }
                }
                also("arm64", "");
                ["v8", "v7", "v6", "v5"].iter().for_each(|variant| also("arm", variant));
            }
            "arm" => {
                let level = variant.strip_prefix('v').and_then(|level| level.parse::<u8>().ok()).unwrap_or(7);
                (5..level.min(9)).rev().for_each(|level| also("arm", &format!("v{level}")));
            }
            _ => {}
        }
        all
    }

    /// Returns the index of the entry that a machine of this platform should run, or nothing if none fits.
    pub fn choose<'a>(&self, offered: impl Iterator<Item = Option<&'a Platform>> + Clone) -> Option<usize> {
        self.runnable().iter().find_map(|candidate| {
            offered.clone().position(|entry| entry.is_some_and(|entry| candidate.is_same(&entry.normalise())))
        })
    }

    fn is_same(&self, other: &Platform) -> bool {
        self.os == other.os && self.architecture == other.architecture && self.variant == other.variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os/architecture[/variant]`, or one of the first two alone.
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        let words: Vec<&str> = text.split('/').collect();
        if let Some(component) = words.iter().find(|word| !is_word(word)) {
            let component = (*component).to_owned();
            return Err(PlatformError::Component { component, text: text.to_owned() });
        }
        let host = Platform::host();
        match words[..] {
            [word] if is_known_os(&normalised_os(word)) => Ok(Platform { os: normalised_os(word), ..host }),
            [word] if is_known_architecture(&normalised(word, "").0) => {
                Ok(Platform::new(&host.os, word, None))
            }
            [_] => Err(PlatformError::Unknown(text.to_owned())),
            [os, architecture] => Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, Some(variant))),
            _ => Err(PlatformError::Form(text.to_owned())),
        }
    }
}

fn normalised_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalised(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

fn not_above(minor: &str, variant: &str) -> bool {
    let version = |text: &str| {
        let (major, minor) =
            text.trim_start_matches('v').split_once('.').unwrap_or((text.trim_start_matches('v'), "0"));
        (major.parse::<u8>().unwrap_or(0), minor.parse::<u8>().unwrap_or(0))
    };
    version(minor) <= version(variant)
}

fn is_known_os(os: &str) -> bool {
    matches!(
        os,
        "linux" | "windows" | "darwin" | "freebsd" | "netbsd" | "openbsd" | "solaris" | "android" | "wasip1"
    )
}

fn is_known_architecture(architecture: &str) -> bool {
    matches!(
        architecture,
        "386"
            | "amd64"
            | "arm"
            | "arm64"
            | "loong64"
            | "mips"
            | "mipsle"
            | "mips64"
            | "mips64le"
            | "ppc64"
            | "ppc64le"
            | "riscv64"
            | "s390x"
            | "wasm"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(machine: &str, offered: &[&str], expected: Option<&str>) {
        let machine: Platform = machine.parse().unwrap();
        let platforms: Vec<Platform> = offered.iter().map(|text| text.parse().unwrap()).collect();
        let chosen = machine.choose(platforms.iter().map(Some));
        assert_eq!(chosen.map(|index| offered[index]), expected);
    }

    #[test]
    fn spellings_are_made_one() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("Linux/AMD64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
    }

    #[test]
    fn what_is_none_is_refused_in_dockers_words() {
        let words = "platform specifier component must match \"^[A-Za-z0-9_-]+$\": invalid argument";
        for (text, expected) in [
            ("foobar", "\"foobar\": unknown operating system or architecture: invalid argument".to_owned()),
            (
                "linux/amd64/v1/x",
                "\"linux/amd64/v1/x\": cannot parse platform specifier: invalid argument".to_owned(),
            ),
            ("foo@bar", format!("\"foo@bar\" is an invalid component of \"foo@bar\": {words}")),
            ("linux/", format!("\"\" is an invalid component of \"linux/\": {words}")),
            ("/amd64", format!("\"\" is an invalid component of \"/amd64\": {words}")),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_nearest_variant_that_runs_is_chosen() {
        check("linux/amd64", &["linux/arm64", "linux/amd64"], Some("linux/amd64"));
        check("linux/amd64", &["linux/amd64/v3", "linux/arm64"], None);
        check("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some("linux/amd64/v2"));
        check("linux/amd64", &["linux/386"], Some("linux/386"));
        check("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"], Some("linux/arm/v6"));
        check("linux/arm/v5", &["linux/arm/v6"], None);
        check("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some("linux/arm64/v8"));
        check("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7"));
        check("linux/s390x", &["linux/amd64"], None);
    }

    #[test]
    fn entries_without_a_platform_fit_nothing() {
        assert_eq!(Platform::host().choose([None].into_iter()), None);
    }
}
