//! Versions of the Engine API.

use std::fmt;
use std::str::FromStr;

/// A version of the Engine API: `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// What grows.
    pub minor: u16,
}

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an API version such as 1.51")]
pub struct ApiVersionError(String);

impl ApiVersion {
    /// The newest version that is spoken: that of Docker 28.5.
    pub const NEWEST: ApiVersion = ApiVersion::one(51);
    /// The oldest version that is spoken.
    pub const OLDEST: ApiVersion = ApiVersion::one(24);

    /// Returns version `1.minor`.
    pub const fn one(minor: u16) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ApiVersionError;

    fn from_str(text: &str) -> Result<ApiVersion, ApiVersionError> {
        let bad = || ApiVersionError(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        Ok(ApiVersion { major: major.parse().map_err(|_| bad())?, minor: minor.parse().map_err(|_| bad())? })
    }
}
