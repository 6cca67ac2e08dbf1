//! `RUN --mount` and `RUN --device`.

use super::size::parse_memory_size;
use crate::expansion::ExpandError;
use crate::source::Span;
use crate::suggest::{hint, nearest};

/// What a mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountKind {
    /// A part of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file, or a variable, that the user passes to the build.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone.
    Shared,
    /// Everyone, each with a directory of their own.
    Private,
    /// One after the other.
    Locked,
}

/// The text of a `--mount`, still with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountText {
    /// The text behind `--mount=`.
    pub text: String,
    /// The stage, image or named context behind `from=`, in which variables are not replaced.
    pub from: Option<String>,
    /// Where the flag stands.
    pub span: Span,
}

/// A mount of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// `type`
    pub kind: MountKind,
    /// `from`: a stage, an image, or a named context.
    pub from: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `target`
    pub target: Option<String>,
    /// Whether it cannot be written: `ro`, or the default of the kind.
    pub is_read_only: bool,
    /// `size` of a tmpfs, in bytes.
    pub size_bytes: Option<i64>,
    /// `id` of a cache, a secret or an agent.
    pub id: Option<String>,
    /// `sharing` of a cache; shared when it was not given.
    pub sharing: Option<Sharing>,
    /// `required` of a secret or an agent.
    pub is_required: bool,
    /// `env`: the variable that holds a secret.
    pub variable: Option<String>,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
}

/// A device of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// The CDI name: `vendor.com/class=name`.
    pub name: String,
    /// Whether the step fails without it.
    pub is_required: bool,
}

/// Why a `--mount` or `--device` is malformed. The messages are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountFault {
    /// The quotes of the comma-separated values are wrong.
    #[error("failed to parse csv mounts: quotes in {0:?} do not enclose a whole value")]
    Quotes(String),
    /// A word without `=` that needs one.
    #[error("invalid field '{0}' must be a key=value pair")]
    NotPair(String),
    /// A key that does not exist.
    #[error("unexpected key '{key}' in '{field}'{}", hint(suggestion))]
    UnknownKey {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
        /// The nearest key.
        suggestion: Option<String>,
    },
    /// A key that the kind does not have.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForKind {
        /// The key.
        key: String,
        /// The kind.
        kind: &'static str,
    },
    /// `mode`, `uid` or `gid` where they mean nothing.
    #[error("{key} not allowed for {kind:?} type mounts")]
    NotAllowed {
        /// The key.
        key: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// A variable in `from`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    /// An unknown kind.
    #[error("unsupported mount type {kind:?}{}", hint(suggestion))]
    UnknownKind {
        /// As written.
        kind: String,
        /// The nearest kind.
        suggestion: Option<String>,
    },
    /// An unknown way of sharing.
    #[error("unsupported sharing value {sharing:?}{}", hint(suggestion))]
    UnknownSharing {
        /// As written.
        sharing: String,
        /// The nearest one.
        suggestion: Option<String>,
    },
    /// A value that is no boolean or no size.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A value that is no number.
    #[error("invalid value {value} for {key}")]
    Number {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
    /// A secret with `from`.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// A secret with `sharing`.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret without a name.
    #[error("invalid secret mount. one of source, target required")]
    SecretUnnamed,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SecretNamedTwice,
    /// `sharing` of something else than a cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingForKind(&'static str),
    /// A device with two names.
    #[error("device name already set to {0}")]
    DeviceNamedTwice(String),
    /// A value whose variables cannot be replaced.
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
    ("tmpfs", MountKind::Tmpfs),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("locked", Sharing::Locked), ("private", Sharing::Private), ("shared", Sharing::Shared)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountKind {
    /// Returns the kind's name: `bind`.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| name)
    }

    fn has_file_attributes(self) -> bool {
        matches!(self, MountKind::Secret | MountKind::Ssh | MountKind::Cache)
    }

    fn may_be_required(self) -> bool {
        matches!(self, MountKind::Secret | MountKind::Ssh)
    }
}

impl Sharing {
    /// Returns the name: `shared`.
    pub fn name(self) -> &'static str {
        SHARINGS.iter().find(|(_, sharing)| *sharing == self).map_or("shared", |(name, _)| name)
    }
}

impl MountText {
    /// Reads `from`, and everything else too unless a variable may still change it.
    pub(super) fn parse(text: &str, span: Span) -> Result<MountText, MountFault> {
        let mut from = None;
        for field in split_csv(text)? {
            match field.split_once('=') {
                Some((key, value)) if key.eq_ignore_ascii_case("from") => {
                    // A dollar sign at the end is one.
                    if value.find('$').is_some_and(|index| index + 1 < value.len()) {
                        return Err(MountFault::VariableInFrom);
                    }
                    from = Some(value.to_owned()).filter(|value| !value.is_empty());
                }
                _ => {}
            }
        }
        let mount = MountText { text: text.to_owned(), from, span };
        if !text.contains(['$', '\\', '`', '\'', '"']) {
            mount.resolve(|value| Ok(value.to_owned()))?;
        }
        Ok(mount)
    }

    /// Returns the mount, its values replaced by what `expand` makes of them.
    pub(crate) fn resolve(
        &self,
        mut expand: impl FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<Mount, MountFault> {
        let mut mount = Mount::default();
        let mut read_only = None;
        for field in split_csv(&self.text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(expand(value)?)),
                None => (field.to_lowercase(), None),
            };
            if let Some(own) = mount.set(&key, value, &field)? {
                read_only = Some(own);
            }
        }
        mount.is_read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount.check()?;
        Ok(mount)
    }
}

impl Mount {
    /// Takes one field; returns whether it makes the mount read-only, if it says so.
    fn set(&mut self, key: &str, value: Option<String>, field: &str) -> Result<Option<bool>, MountFault> {
        let Some(value) = value else {
            return match key {
                "readonly" | "ro" => Ok(Some(true)),
                "readwrite" | "rw" => Ok(Some(false)),
                "required" => {
                    self.is_required = self.require_kind(key, MountKind::may_be_required).map(|()| true)?;
                    Ok(None)
                }
                _ => Err(MountFault::NotPair(field.to_owned())),
            };
        };
        let invalid = |value: &str| MountFault::Value { key: key.to_owned(), value: value.to_owned() };
        let boolean = |value: &str| parse_bool(value).ok_or_else(|| invalid(value));
        match key {
            "type" => self.kind = parse_kind(&value)?,
            "from" => self.from = non_empty(value),
            "source" | "src" => self.source = non_empty(value),
            "target" | "dst" | "destination" => self.target = non_empty(value),
            "readonly" | "ro" => return Ok(Some(boolean(&value)?)),
            "readwrite" | "rw" => return Ok(Some(!boolean(&value)?)),
            "required" => {
                self.require_kind(key, MountKind::may_be_required)?;
                self.is_required = boolean(&value)?;
            }
            "size" => {
                self.require_kind(key, |kind| kind == MountKind::Tmpfs)?;
                self.size_bytes = Some(parse_memory_size(&value).ok_or_else(|| invalid(&value))?);
            }
            "id" => self.id = non_empty(value),
            "sharing" => self.sharing = Some(parse_sharing(&value)?),
            "mode" => self.mode = Some(parse_number("mode", &value, 8)?),
            "uid" => self.uid = Some(parse_number("uid", &value, 10)?),
            "gid" => self.gid = Some(parse_number("gid", &value, 10)?),
            "env" => self.variable = Some(value),
            _ => {
                let suggestion = nearest(key, KEYS).map(str::to_owned);
                return Err(MountFault::UnknownKey {
                    key: key.to_owned(),
                    field: field.to_owned(),
                    suggestion,
                });
            }
        }
        Ok(None)
    }

    fn require_kind(&self, key: &str, allows: impl Fn(MountKind) -> bool) -> Result<(), MountFault> {
        if allows(self.kind) {
            return Ok(());
        }
        Err(MountFault::KeyForKind { key: key.to_owned(), kind: self.kind.name() })
    }

    fn check(&self) -> Result<(), MountFault> {
        let kind = self.kind.name();
        if !self.kind.has_file_attributes() {
            for (key, is_set) in
                [("mode", self.mode.is_some()), ("uid", self.uid.is_some()), ("gid", self.gid.is_some())]
            {
                if is_set {
                    return Err(MountFault::NotAllowed { key, kind });
                }
            }
        }
        if self.kind == MountKind::Secret {
            if self.from.is_some() {
                return Err(MountFault::SecretFrom);
            }
            if self.sharing.is_some() {
                return Err(MountFault::SecretSharing);
            }
            if self.source.is_none() && self.target.is_none() && self.id.is_none() {
                return Err(MountFault::SecretUnnamed);
            }
            if self.source.is_some() && self.id.is_some() {
                return Err(MountFault::SecretNamedTwice);
            }
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(MountFault::SharingForKind(kind));
        }
        Ok(())
    }
}

impl Device {
    /// Reads the value of `--device`: a name, or `name=…`, and `required`.
    pub(super) fn parse(text: &str) -> Result<Device, MountFault> {
        let mut device = Device::default();
        for field in split_csv(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.is_required = true,
                ("required", Some(value)) => {
                    let invalid = || MountFault::Value { key: key.clone(), value: value.to_owned() };
                    device.is_required = parse_bool(value).ok_or_else(invalid)?;
                }
                ("name", Some(_)) if !device.name.is_empty() => {
                    return Err(MountFault::DeviceNamedTwice(device.name));
                }
                ("name", Some(value)) => device.name = value.to_owned(),
                _ if device.name.is_empty() => device.name = field,
                (_, None) => return Err(MountFault::NotPair(field)),
                _ => {
                    let suggestion = nearest(&key, ["name", "required"]).map(str::to_owned);
                    return Err(MountFault::UnknownKey { key, field, suggestion });
                }
            }
        }
        Ok(device)
    }
}

fn non_empty(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

fn parse_kind(value: &str) -> Result<MountKind, MountFault> {
    let lower = value.to_lowercase();
    KINDS.iter().find(|(name, _)| *name == lower).map(|(_, kind)| *kind).ok_or_else(|| {
        let suggestion = nearest(value, KINDS.map(|(name, _)| name)).map(str::to_owned);
        MountFault::UnknownKind { kind: value.to_owned(), suggestion }
    })
}

fn parse_sharing(value: &str) -> Result<Sharing, MountFault> {
    let lower = value.to_lowercase();
    SHARINGS.iter().find(|(name, _)| *name == lower).map(|(_, sharing)| *sharing).ok_or_else(|| {
        let suggestion = nearest(value, SHARINGS.map(|(name, _)| name)).map(str::to_owned);
        MountFault::UnknownSharing { sharing: value.to_owned(), suggestion }
    })
}

fn parse_number(key: &'static str, value: &str, radix: u32) -> Result<u32, MountFault> {
    let number = if value.starts_with('+') { None } else { u32::from_str_radix(value, radix).ok() };
    number.ok_or_else(|| MountFault::Number { key, value: value.to_owned() })
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub(crate) fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Cuts comma-separated values; a value may stand in double quotes, with `""` for one inside.
fn split_csv(text: &str) -> Result<Vec<String>, MountFault> {
    let fault = || MountFault::Quotes(text.to_owned());
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (part, after) = quoted.split_once('"').ok_or_else(fault)?;
                field.push_str(part);
                quoted = after;
                let Some(after) = quoted.strip_prefix('"') else { break };
                field.push('"');
                quoted = after;
            }
            rest = quoted;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return Err(fault());
            }
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(fault()),
        }
    }
}
