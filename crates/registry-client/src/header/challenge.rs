//! `WWW-Authenticate`.

/// Longest header value that is read, in bytes; a longer one counts as malformed.
pub const CHALLENGE_LENGTH_MAX: usize = 16 << 10;
/// Most challenges that are read out of one answer.
pub const CHALLENGES_MAX: usize = 8;
/// Most parameters that one challenge may have.
const PARAMETERS_MAX: usize = 16;

/// What the registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password in each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// Where the token server is, as the registry wrote it; nothing about it was checked.
        realm: String,
        /// The service to name to the token server.
        service: Option<String>,
        /// The scopes, separated by spaces, that the refused request needs.
        scope: Option<String>,
        /// Why the token of the refused request was not enough: `invalid_token`, `insufficient_scope`.
        error: Option<String>,
    },
}

/// Why a header is no usable challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Longer than [`CHALLENGE_LENGTH_MAX`].
    #[error("the challenge is too long")]
    TooLong,
    /// A quote is not closed, a parameter has no value, or a control character stands in it.
    #[error("the challenge is malformed")]
    Malformed,
    /// A Bearer challenge without a realm.
    #[error("the Bearer challenge names no realm")]
    NoRealm,
}

/// Returns the challenges in the values of `WWW-Authenticate` that have a known scheme, in their order.
///
/// Reads at most [`CHALLENGES_MAX`] challenges; what follows them is ignored.
///
/// # Errors
/// When a value is malformed as far as it was read.
///
/// Source: RFC 9110, section 11.6.1; parameters as docker-registry, Harbor, GitLab and Docker Hub send them.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Challenge>, ChallengeError> {
    let mut challenges = Vec::new();
    let mut seen = 0;
    for value in values {
        if value.len() > CHALLENGE_LENGTH_MAX {
            return Err(ChallengeError::TooLong);
        }
        let text = std::str::from_utf8(value).map_err(|_| ChallengeError::Malformed)?;
        let mut rest = Cursor { text };
        while seen < CHALLENGES_MAX {
            rest.skip_separators();
            if rest.text.is_empty() {
                break;
            }
            seen += 1;
            challenges.extend(challenge(&mut rest)?);
        }
    }
    Ok(challenges)
}

fn challenge(rest: &mut Cursor<'_>) -> Result<Option<Challenge>, ChallengeError> {
    let scheme = rest.token()?;
    let mut realm = None;
    let mut service = None;
    let mut scope = None;
    let mut error = None;
    let mut count = 0;
    while let Some((name, value)) = rest.parameter()? {
        count += 1;
        if count > PARAMETERS_MAX {
            return Err(ChallengeError::Malformed);
        }
        let slot = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut realm,
            "service" => &mut service,
            "scope" => &mut scope,
            "error" => &mut error,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(ChallengeError::Malformed);
        }
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return Ok(Some(Challenge::Basic));
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        let realm = realm.filter(|realm| !realm.is_empty()).ok_or(ChallengeError::NoRealm)?;
        return Ok(Some(Challenge::Bearer { realm, service, scope, error }));
    }
    Ok(None)
}

struct Cursor<'a> {
    text: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip_separators(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t', ',']);
    }

    fn skip_blanks(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t']);
    }

    fn token(&mut self) -> Result<&'a str, ChallengeError> {
        let end = self.text.bytes().position(|byte| !is_token(byte)).unwrap_or(self.text.len());
        let (token, rest) = self.text.split_at(end);
        if token.is_empty() {
            return Err(ChallengeError::Malformed);
        }
        self.text = rest;
        Ok(token)
    }

    /// Reads `name = value`; returns none at the end and where the next challenge begins.
    fn parameter(&mut self) -> Result<Option<(&'a str, String)>, ChallengeError> {
        let mut ahead = Cursor { text: self.text };
        ahead.skip_separators();
        if ahead.text.is_empty() {
            self.text = ahead.text;
            return Ok(None);
        }
        let name = ahead.token()?;
        ahead.skip_blanks();
        let Some(after) = ahead.text.strip_prefix('=') else {
            // A name without `=` is the scheme of the next challenge.
            return Ok(None);
        };
        ahead.text = after;
        ahead.skip_blanks();
        let value = match ahead.text.strip_prefix('"') {
            Some(quoted) => {
                ahead.text = quoted;
                ahead.quoted()?
            }
            None => ahead.bare()?,
        };
        if !ahead.text.is_empty() && !ahead.text.starts_with([',', ' ', '\t']) {
            return Err(ChallengeError::Malformed);
        }
        self.text = ahead.text;
        Ok(Some((name, value)))
    }

    fn quoted(&mut self) -> Result<String, ChallengeError> {
        let mut value = String::new();
        let mut characters = self.text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.text = &self.text[at + 1..];
                    return Ok(value);
                }
                '\\' => {
                    let (_, escaped) = characters.next().ok_or(ChallengeError::Malformed)?;
                    push(&mut value, escaped)?;
                }
                other => push(&mut value, other)?,
            }
        }
        Err(ChallengeError::Malformed)
    }

    /// Reads an unquoted value. Some registries leave the quotes off, also around a URL.
    fn bare(&mut self) -> Result<String, ChallengeError> {
        let end = self.text.find([',', ' ', '\t']).unwrap_or(self.text.len());
        let (value, rest) = self.text.split_at(end);
        if value.is_empty() || value.contains(|c: char| c.is_control() || c == '"') {
            return Err(ChallengeError::Malformed);
        }
        self.text = rest;
        Ok(value.to_owned())
    }
}

fn push(value: &mut String, character: char) -> Result<(), ChallengeError> {
    if character.is_control() {
        return Err(ChallengeError::Malformed);
    }
    value.push(character);
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Vec<Challenge>, ChallengeError> {
        parse([text.as_bytes()])
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        }
    }

    #[test]
    fn the_challenge_of_docker_hub_is_read() {
        let text = concat!(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io","#,
            r#"scope="repository:library/alpine:pull,push""#
        );
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/alpine:pull,push"),
        );
        assert_eq!(one(text), Ok(vec![expected]));
    }

    #[test]
    fn several_challenges_and_loose_spelling_are_read() {
        let text =
            r#"Negotiate, basic realm="a \"b\"" , BEARER  Realm = https://h/t , error="invalid_token""#;
        let challenges = one(text).unwrap();
        let [Challenge::Basic, Challenge::Bearer { realm, error, .. }] = challenges.as_slice() else {
            panic!("{challenges:?}")
        };
        assert_eq!((realm.as_str(), error.as_deref()), ("https://h/t", Some("invalid_token")));
    }

    #[test]
    fn malformed_challenges_are_refused() {
        for text in [
            r#"Bearer realm="https://h"#,
            r#"Bearer realm="#,
            "Bearer realm=\"a\u{1}b\"",
            r#"Bearer realm="a",realm="b""#,
            r#"="a""#,
            r#"Bearer realm="a\"#,
            r#"Bearer realm="a,service="b"#,
        ] {
            assert_eq!(one(text), Err(ChallengeError::Malformed), "{text}");
        }
        assert_eq!(one("Bearer service=x"), Err(ChallengeError::NoRealm));
        assert_eq!(one(&format!("Bearer realm={}", "x".repeat(20_000))), Err(ChallengeError::TooLong));
    }

    #[test]
    fn challenges_beyond_the_cap_are_ignored() {
        let text = "Basic realm=x, ".repeat(900);
        assert_eq!(one(&text).map(|challenges| challenges.len()), Ok(CHALLENGES_MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse([bytes.as_slice()]);
        }

        #[test]
        fn what_was_quoted_is_read_back(realm in "[ -~]{1,60}", scope in "[ -~]{0,60}") {
            let quote = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"");
            let text = format!(r#"Bearer realm="{}",scope="{}""#, quote(&realm), quote(&scope));
            prop_assert_eq!(one(&text), Ok(vec![bearer(&realm, None, Some(&scope))]));
        }
    }
}
