//! Flags of one instruction: what is known, what was given.

use crate::parse::{ParseFault, Placed};
use crate::source::Span;
use crate::suggest::nearest;
use crate::text::{Node, Word};

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// `--link`, `--link=true`, `--link=false`.
    Switch,
    /// `--from=x`, once.
    Text,
    /// `--exclude=x`, any number of times.
    List,
}

/// A flag that an instruction knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownFlag {
    pub name: &'static str,
    pub kind: FlagKind,
    /// Whether the classic builder has it.
    pub classic: bool,
}

impl KnownFlag {
    pub const fn new(name: &'static str, kind: FlagKind, classic: bool) -> KnownFlag {
        KnownFlag { name, kind, classic }
    }
}

/// A flag that was given.
#[derive(Debug)]
struct GivenFlag {
    name: &'static str,
    value: String,
    span: Span,
}

/// The flags that were given.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<GivenFlag>);

impl Flags {
    /// Reads the flags of `node`, of which `known` exist.
    pub fn read(
        node: &Node,
        known: &[KnownFlag],
        has_buildkit_flags: bool,
    ) -> Result<Flags, Placed<ParseFault>> {
        let mut flags = Flags::default();
        for word in &node.flags {
            if word.text == "--" {
                break;
            }
            let given = read_flag(word, known, has_buildkit_flags)
                .and_then(|(flag, value)| flags.check(flag, value, word))
                .map_err(|fault| Placed { fault, span: word.span })?;
            flags.0.push(given);
        }
        Ok(flags)
    }

    fn check(&self, flag: KnownFlag, value: Option<&str>, word: &Word) -> Result<GivenFlag, ParseFault> {
        let KnownFlag { name, kind, .. } = flag;
        if kind != FlagKind::List && self.0.iter().any(|given| given.name == name) {
            return Err(ParseFault::DuplicateFlag(name.to_owned()));
        }
        let value = match (kind, value) {
            (FlagKind::Switch, None) => "true".to_owned(),
            (FlagKind::Switch, Some("")) | (FlagKind::Text | FlagKind::List, None) => {
                return Err(ParseFault::FlagWithoutValue(name.to_owned()));
            }
            (FlagKind::Switch, Some(value)) => match value.to_ascii_lowercase().as_str() {
                value @ ("true" | "false") => value.to_owned(),
                _ => {
                    return Err(ParseFault::FlagNotBoolean {
                        flag: name.to_owned(),
                        value: value.to_owned(),
                    });
                }
            },
            (_, Some(value)) => value.to_owned(),
        };
        Ok(GivenFlag { name, value, span: word.span })
    }

    /// Returns the value of a flag that stands at most once; `None` also for an empty one.
    pub fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|(value, _)| value.to_owned()).filter(|value| !value.is_empty())
    }

    /// Returns the value and the place of a flag that stands at most once.
    pub fn find(&self, name: &str) -> Option<(&str, Span)> {
        self.0.iter().find(|given| given.name == name).map(|given| (given.value.as_str(), given.span))
    }

    /// Returns the values of a flag that may stand several times.
    pub fn list(&self, name: &str) -> Vec<(&str, Span)> {
        let given = self.0.iter().filter(|given| given.name == name);
        given.map(|given| (given.value.as_str(), given.span)).collect()
    }

    /// Returns whether a switch is on; `None` when it was not given.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.find(name).map(|(value, _)| value == "true")
    }
}

fn read_flag<'a>(
    word: &'a Word,
    known: &[KnownFlag],
    has_buildkit_flags: bool,
) -> Result<(KnownFlag, Option<&'a str>), ParseFault> {
    let text = word.text.strip_prefix("--").unwrap_or(&word.text);
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    match known.iter().find(|flag| flag.name == name) {
        Some(flag) if flag.classic || has_buildkit_flags => Ok((*flag, value)),
        // Docker 20.10 knows these two names only to say what they need.
        Some(_) if matches!(name, "mount" | "chmod") => Err(ParseFault::NeedsBuildKit(name.to_owned())),
        _ => {
            let options =
                known.iter().filter(|flag| flag.classic || has_buildkit_flags).map(|flag| flag.name);
            let suggestion = nearest(name, options).map(str::to_owned);
            Err(ParseFault::UnknownFlag { flag: name.to_owned(), suggestion })
        }
    }
}
