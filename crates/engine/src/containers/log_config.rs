//! `--log-driver` and `--log-opt`: what dockerd takes for options when a container is made, and for their values when it starts.
//!
//! Source: answers of dockerd 20.10.24, observed 2026-11-22.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use shale_engine_api::units::parse_human_size;
use shale_runtime::log::{LogFile, LogForm, Rotation};

/// `LogConfig` of a host config.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct LogConfig {
    #[serde(rename = "Type")]
    pub driver: String,
    pub config: Option<BTreeMap<String, String>>,
}

/// Why a container cannot be made with its log options.
#[derive(Debug, thiserror::Error)]
pub enum LogOptionError {
    /// One of dockerd's drivers that is not here.
    #[error("the log driver {0} is not supported: json-file, local and none are")]
    UnsupportedDriver(String),
    /// No driver of dockerd's either.
    #[error("error looking up logging plugin {0}: plugin \"{0}\" not found")]
    UnknownDriver(String),
    /// The driver has no such option.
    #[error("unknown log opt '{option}' for {driver}")]
    UnknownOption {
        /// The option.
        option: String,
        /// The driver, as dockerd writes it here.
        driver: &'static str,
    },
    /// `mode` is neither of the two.
    #[error("logger: logging mode not supported: {0}")]
    Mode(String),
    /// `max-buffer-size` of a log that has no buffer.
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    BufferOfBlocking,
    /// One of dockerd's options that is not here.
    #[error("the log option {0} is not supported: max-size, max-file and compress are")]
    UnsupportedOption(String),
}

/// Why a container cannot start with its log options.
#[derive(Debug, thiserror::Error)]
#[error("failed to initialize logging driver: {0}")]
pub struct LogValueError(String);

/// Drivers that dockerd has and Shale has not.
const OTHER_DRIVERS: [&str; 9] =
    ["awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "logentries", "splunk", "syslog"];
const ROTATION_OPTIONS: [&str; 3] = ["max-size", "max-file", "compress"];
const OTHER_JSON_OPTIONS: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// What the `local` driver does without options.
const LOCAL: Rotation = Rotation { size_bytes_max: 20 << 20, files_max: 5, compress: true };

#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    None,
    File(LogForm),
}

impl LogConfig {
    fn driver(&self) -> Result<Driver, LogOptionError> {
        match self.driver.as_str() {
            "" | "json-file" => Ok(Driver::File(LogForm::JsonFile)),
            "local" => Ok(Driver::File(LogForm::Local)),
            "none" => Ok(Driver::None),
            other if OTHER_DRIVERS.contains(&other) => {
                Err(LogOptionError::UnsupportedDriver(other.to_owned()))
            }
            other => Err(LogOptionError::UnknownDriver(other.to_owned())),
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.config.as_ref()?.get(name).map(String::as_str)
    }

    /// Refuses what dockerd refuses when a container is made: drivers and names of options.
    pub(super) fn check(&self) -> Result<(), LogOptionError> {
        // What is said to a driver that keeps nothing has no effect in dockerd either.
        let Driver::File(form) = self.driver()? else { return Ok(()) };
        match self.option("mode") {
            None | Some("" | "blocking") => {}
            Some("non-blocking") => {
                return Err(LogOptionError::UnsupportedOption("mode=non-blocking".to_owned()));
            }
            Some(other) => return Err(LogOptionError::Mode(other.to_owned())),
        }
        for name in self.config.iter().flat_map(BTreeMap::keys) {
            match name.as_str() {
                "mode" => {}
                name if ROTATION_OPTIONS.contains(&name) => {}
                "max-buffer-size" => return Err(LogOptionError::BufferOfBlocking),
                name if form == LogForm::JsonFile && OTHER_JSON_OPTIONS.contains(&name) => {
                    return Err(LogOptionError::UnsupportedOption(name.to_owned()));
                }
                name => {
                    let driver = match form {
                        LogForm::JsonFile => "json-file log driver",
                        LogForm::Local => "log driver local",
                    };
                    return Err(LogOptionError::UnknownOption { option: name.to_owned(), driver });
                }
            }
        }
        Ok(())
    }

    /// Returns the log of a container, `None` when it has none; `json_file` is where dockerd's default driver writes.
    pub(super) fn file(&self, json_file: &Path, directory: &Path) -> Result<Option<LogFile>, LogValueError> {
        let Ok(Driver::File(form)) = self.driver() else { return Ok(None) };
        let (path, rotation) = match form {
            LogForm::JsonFile => (json_file.to_owned(), self.json_rotation()?),
            LogForm::Local => (directory.join("local-logs/container.log"), Some(self.local_rotation()?)),
        };
        Ok(Some(LogFile { path, form, rotation }))
    }

    fn json_rotation(&self) -> Result<Option<Rotation>, LogValueError> {
        let size = self.option("max-size").map(parse_size).transpose().map_err(LogValueError)?;
        if size == Some(0) {
            return Err(LogValueError("max-size must be a positive number".to_owned()));
        }
        let files = self.option("max-file").map_or(Ok(1), parse_count).map_err(LogValueError)?;
        if files < 1 {
            return Err(LogValueError("max-file cannot be less than 1".to_owned()));
        }
        let compress = self.option("compress").map_or(Ok(false), parse_bool).map_err(LogValueError)?;
        if compress && (files < 2 || size.is_none()) {
            let text = "compress cannot be true when max-file is less than 2 or max-size is not set";
            return Err(LogValueError(text.to_owned()));
        }
        let files_max = files.try_into().unwrap_or(u32::MAX);
        Ok(size.map(|size_bytes_max| Rotation { size_bytes_max, files_max, compress }))
    }

    fn local_rotation(&self) -> Result<Rotation, LogValueError> {
        let value = |name: &str, text: &str| {
            let text = format!("invalid value for {name}: {text}: ");
            move |reason: String| LogValueError(text + &reason)
        };
        let mut rotation = LOCAL;
        if let Some(size) = self.option("max-size") {
            rotation.size_bytes_max = parse_size(size).map_err(value("max-size", size))?;
        }
        if let Some(count) = self.option("max-file") {
            let files = parse_count(count).map_err(value("max-file", count))?;
            if files < 0 {
                return Err(LogValueError("max file count cannot be less than 0".to_owned()));
            }
            rotation.files_max = files.try_into().unwrap_or(u32::MAX);
        }
        if let Some(compress) = self.option("compress") {
            let wrap = |reason| LogValueError(format!("error reading compress log option: {reason}"));
            rotation.compress = parse_bool(compress).map_err(wrap)?;
        }
        if rotation.compress && rotation.files_max <= 1 {
            let text = "compression cannot be enabled when max file count is 1";
            return Err(LogValueError(text.to_owned()));
        }
        Ok(rotation)
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    parse_human_size(text).ok_or_else(|| format!("invalid size: '{text}'"))
}

fn parse_count(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {text:?}: {reason}")
    })
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}
