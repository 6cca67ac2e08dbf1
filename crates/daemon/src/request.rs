//! A request, taken apart: the version, the path, the query, the headers.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use shale_engine_api::ApiVersion;

use crate::body::RequestBody;
use crate::failure::Failure;

/// Most bytes of a body that is read whole; archives are streams and not counted here.
const DOCUMENT_SIZE_MAX: usize = 1 << 20;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) version: ApiVersion,
    pub(crate) method: Method,
    /// Without the version, decoded.
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// The connection itself, where the client asked for it.
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

impl Call {
    /// Takes the head of a request apart.
    pub(crate) fn parse(mut head: http::request::Parts) -> Result<Call, Failure> {
        let (version, path) = split_version(head.uri.path())?;
        let path = percent_decode(path, false).ok_or_else(|| Failure::invalid("invalid URL escape"))?;
        let query = Query::parse(head.uri.query().unwrap_or_default())?;
        let upgrade = head.extensions.remove().filter(|_| head.headers.contains_key(UPGRADE));
        Ok(Call { version, method: head.method, path, query, headers: head.headers, upgrade })
    }

    /// Returns the header `name` as text; what is no text counts as missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads a JSON body; an empty one is the default.
    pub(crate) async fn document<T: DeserializeOwned + Default>(
        &self,
        body: RequestBody,
    ) -> Result<T, Failure> {
        let has_body = self.headers.contains_key(TRANSFER_ENCODING)
            || self.header(CONTENT_LENGTH.as_str()).is_some_and(|length| length != "0");
        if has_body {
            let given = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
            if given.split(';').next().map(str::trim) != Some("application/json") {
                return Err(Failure::invalid(format!(
                    "unsupported Content-Type header ({given}): must be 'application/json'"
                )));
            }
        }
        let bytes = read_whole(body).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::invalid(format!("invalid JSON in the request body: {error}")))
    }
}

/// Reads a body of bounded length.
async fn read_whole(mut body: RequestBody) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Failure::invalid(format!("the request body broke off: {error}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if bytes.len() + piece.len() > DOCUMENT_SIZE_MAX {
            let message = format!("the request body is larger than {DOCUMENT_SIZE_MAX} bytes");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// Whether a client asks in a version of the API in which errors were plain text.
///
/// Source: moby `api/server/httputils/httputils.go` at v20.10.24, where JSON begins after 1.23.
pub(crate) fn is_before_json_errors(path: &str) -> bool {
    let version = path.strip_prefix("/v").and_then(|rest| rest.split('/').next()?.parse::<ApiVersion>().ok());
    version.is_some_and(|version| version <= ApiVersion::one(23))
}

/// Splits `/v1.41` off a path; a path without it is of the newest version.
fn split_version(path: &str) -> Result<(ApiVersion, &str), Failure> {
    let bare = (ApiVersion::NEWEST, path);
    let Some(rest) = path.strip_prefix("/v") else { return Ok(bare) };
    let Some(slash) = rest.find('/') else { return Ok(bare) };
    let (text, rest) = rest.split_at(slash);
    // `/volumes` begins with a v as well.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok(bare);
    }
    let version: ApiVersion = text.parse().map_err(|_| Failure::missing("page not found"))?;
    if version < ApiVersion::OLDEST {
        return Err(Failure::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
            ApiVersion::OLDEST
        )));
    }
    if version > ApiVersion::NEWEST {
        return Err(Failure::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {}",
            ApiVersion::NEWEST
        )));
    }
    Ok((version, rest))
}

/// The parameters behind the `?`, in order; a name may come several times.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// The `filters` parameter: names and their values.
pub(crate) type Filters = BTreeMap<String, Vec<String>>;

impl Query {
    fn parse(text: &str) -> Result<Query, Failure> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode(name, true)?, percent_decode(value, true)?))
        });
        let pairs = pairs.collect::<Option<Vec<_>>>();
        pairs.map(Query).ok_or_else(|| Failure::invalid("invalid URL escape in the query"))
    }

    /// Returns the first value of `name`; an empty one counts as missing.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns all values of `name`.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Returns whether `name` is there, even if it is empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Returns a switch: a few words are off, everything else is on.
    ///
    /// Source: moby api/server/httputils/form.go `BoolValue` at v20.10.24.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Returns a switch, or `default` where it is missing.
    pub(crate) fn is_on_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.is_on(name) } else { default }
    }

    /// Returns the whole number `name`; a missing or empty one is `None`. The refusal is in Go's words, as dockerd's.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse();
        number
            .map(Some)
            .map_err(|_| Failure::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
    }

    /// Parses `filters` in either of its forms: `{"k":{"v":true}}` or `{"k":["v"]}`.
    pub(crate) fn filters(&self) -> Result<Filters, Failure> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        let Some(text) = self.text("filters") else { return Ok(Filters::new()) };
        let parsed: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|_| Failure::invalid(format!("invalid filter {text:?}")))?;
        let values = |values| match values {
            Values::Set(set) => set.into_keys().collect(),
            Values::List(list) => list,
        };
        Ok(parsed.into_iter().map(|(name, found)| (name, values(found))).collect())
    }

    /// Parses the platform of a JSON parameter such as `{"os":"linux","architecture":"arm64"}`.
    pub(crate) fn json_platform(&self, name: &str) -> Result<Option<shale_oci::Platform>, Failure> {
        self.text(name)
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| Failure::invalid(format!("failed to parse platform: {error}")))
    }
}

/// Decodes `%41`, and `+` in queries; `None` for a broken escape, or for what is then no UTF-8.
fn percent_decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?), char::from(rest.next()?));
                bytes.push((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8);
            }
            b'+' if plus_is_blank => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn version(path: &str) -> Result<(String, String), String> {
        split_version(path)
            .map(|(version, path)| (version.to_string(), path.to_owned()))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn the_version_is_split_off_and_bounded() {
        let ok = |version: &str, path: &str| Ok((version.to_owned(), path.to_owned()));
        assert_eq!(version("/v1.41/images/json"), ok("1.41", "/images/json"));
        assert_eq!(version("/volumes/x"), ok("1.51", "/volumes/x"));
        assert_eq!(version("/_ping"), ok("1.51", "/_ping"));
        // Both texts are dockerd's; clients and test suites look for them.
        assert_eq!(
            version("/v1.23/version").unwrap_err(),
            "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
        assert_eq!(
            version("/v1.99/images/json").unwrap_err(),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert_eq!(version("/v1..2/x").unwrap_err(), "page not found");
    }

    #[test]
    fn both_forms_of_filters_are_read() {
        let filters = |text: &str| Query::parse(text).unwrap().filters();
        let wanted = Filters::from([("dangling".to_owned(), vec!["true".to_owned()])]);
        assert_eq!(filters("filters=%7B%22dangling%22%3A%7B%22true%22%3Atrue%7D%7D").unwrap(), wanted);
        assert_eq!(filters("filters={\"dangling\":[\"true\"]}").unwrap(), wanted);
        assert_eq!(filters("filters=").unwrap(), Filters::new());
        assert_eq!(filters("filters=[]").unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn switches_are_on_but_for_a_few_words() {
        let query = Query::parse("a=1&b=0&c=True&d=False&e=&f=None&g=anything").unwrap();
        let on: Vec<bool> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| query.is_on(name)).to_vec();
        assert_eq!(on, [true, false, true, false, false, false, true, false]);
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        assert_eq!(percent_decode("a%2Fb%3A1", false).as_deref(), Some("a/b:1"));
    }
}
