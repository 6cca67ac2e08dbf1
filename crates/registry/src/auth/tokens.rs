//! Tokens: issued by the server built in, and verified, ours and those of another token server.
//!
//! Source: distribution, docs/content/spec/auth (token, jwt, oauth), read 2026-11.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use super::chain::Roots;
use super::{Action, SetupError};
use crate::config::TokenServer;

/// The name of the registry in our own tokens.
pub const SERVICE: &str = "shale-registry";
/// Largest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How long a token is good for: as long as somebody whose rights were taken away keeps them at most.
pub const ACCESS_SECONDS: u64 = 300;
const REFRESH_SECONDS: u64 = 30 * 24 * 3600;
/// Clocks differ.
const LEEWAY_SECONDS: u64 = 60;

/// What a token lets somebody do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the repository, or `catalog`.
    pub name: String,
    /// What may be done.
    pub actions: Vec<String>,
}

impl Grant {
    /// Returns whether the grant lets `action` be done with `repository`.
    pub fn covers(&self, repository: &str, action: Action) -> bool {
        let named = |word: &String| word == action.name() || word == "*";
        self.kind == "repository" && self.name == repository && self.actions.iter().any(named)
    }

    /// Returns whether the grant lets the repositories be listed.
    pub fn covers_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog" && self.actions.iter().any(|word| word == "*")
    }
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user, empty for nobody.
    pub subject: String,
    /// What they may do.
    pub grants: Vec<Grant>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too long, not a token, signed by somebody else, for somebody else, not yet or no more good.
    #[error("the token is invalid")]
    Invalid,
}

#[derive(Serialize, Deserialize)]
struct Body {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    #[serde(default)]
    jti: String,
    #[serde(default)]
    access: Vec<Grant>,
    /// Set in refresh tokens only: the mark of the password that it was given for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    /// Set in the cookies of browsers only, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

/// What a token is issued for.
enum Use {
    Access(Vec<Grant>),
    Refresh(String),
    Session(String),
}

/// The claims of a token that somebody else issued.
#[derive(Deserialize)]
struct ForeignBody {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    access: Option<Vec<Grant>>,
}

/// The token server built in. Only it verifies what it signs, so one secret is enough.
pub struct Authority {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Authority {
    /// Opens the authority whose secret is at `path`, making one when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn open(path: &Path) -> io::Result<Authority> {
        let secret = match fs::read(path) {
            Ok(secret) if secret.len() >= 32 => secret,
            Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = vec![0; 64];
                getrandom::fill(&mut secret).map_err(io::Error::other)?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(&secret)?;
                file.sync_all()?;
                secret
            }
            Err(error) => return Err(error),
        };
        Ok(Authority {
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
        })
    }

    fn sign(&self, user: &str, seconds: u64, use_for: Use) -> Option<String> {
        let now = unix_now();
        let jti = crate::name::UploadId::random().to_string();
        let (iss, aud, sub) = (SERVICE.to_owned(), SERVICE.to_owned(), user.to_owned());
        let (mut access, mut refresh, mut session) = (Vec::new(), None, None);
        match use_for {
            Use::Access(grants) => access = grants,
            Use::Refresh(mark) => refresh = Some(mark),
            Use::Session(mark) => session = Some(mark),
        }
        let body =
            Body { iss, sub, aud, exp: now + seconds, nbf: now, iat: now, jti, access, refresh, session };
        encode(&Header::new(Algorithm::HS256), &body, &self.encoding).ok()
    }

    /// Issues a token for `user` (empty for nobody) that lets them do what `grants` say.
    pub fn issue(&self, user: &str, grants: Vec<Grant>) -> Option<String> {
        self.sign(user, ACCESS_SECONDS, Use::Access(grants))
    }

    /// Issues a token with which `user` gets others, as long as the mark of their password is `mark`.
    pub fn issue_refresh(&self, user: &str, mark: String) -> Option<String> {
        self.sign(user, REFRESH_SECONDS, Use::Refresh(mark))
    }

    /// Issues what a browser keeps for `user` while they are logged in.
    pub fn issue_session(&self, user: &str, mark: String, seconds: u64) -> Option<String> {
        self.sign(user, seconds, Use::Session(mark))
    }

    /// Verifies what a browser kept; returns the user and the mark of the password that they logged in with.
    ///
    /// # Errors
    /// [`TokenError::Invalid`].
    pub fn verify_session(&self, token: &str) -> Result<(String, String), TokenError> {
        let body = self.read(token)?;
        body.session.map(|mark| (body.sub, mark)).ok_or(TokenError::Invalid)
    }

    /// Verifies a token that lets things be done.
    ///
    /// # Errors
    /// [`TokenError::Invalid`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let body = self.read(token)?;
        // A refresh token gets tokens and nothing else, and a browser's is for pages.
        if body.refresh.is_some() || body.session.is_some() {
            return Err(TokenError::Invalid);
        }
        Ok(Claims { subject: body.sub, grants: body.access })
    }

    /// Verifies a refresh token; returns its user and the mark of the password that it was given for.
    ///
    /// # Errors
    /// [`TokenError::Invalid`].
    pub fn verify_refresh(&self, token: &str) -> Result<(String, String), TokenError> {
        let body = self.read(token)?;
        body.refresh.map(|mark| (body.sub, mark)).ok_or(TokenError::Invalid)
    }

    fn read(&self, token: &str) -> Result<Body, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let validation = validation(&[Algorithm::HS256], SERVICE, SERVICE);
        decode::<Body>(token, &self.decoding, &validation)
            .map(|token| token.claims)
            .map_err(|_| TokenError::Invalid)
    }
}

fn validation(algorithms: &[Algorithm], issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(algorithms[0]);
    validation.algorithms = algorithms.to_vec();
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    validation
}

fn unix_now() -> u64 {
    u64::try_from(crate::registry::now() / 1000).unwrap_or(0)
}

/// A token server that is not ours: its keys come from our configuration; a token's own certificate counts only when it
/// leads to one that is configured.
pub struct ExternalAuthority {
    pub(super) realm: String,
    pub(super) service: String,
    issuer: String,
    keys: Vec<Key>,
    roots: Option<Roots>,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

impl ExternalAuthority {
    /// Reads the keys that `server` names.
    ///
    /// # Errors
    /// [`SetupError::File`] when a file cannot be read or holds no key.
    pub fn open(server: &TokenServer) -> Result<ExternalAuthority, SetupError> {
        let (mut keys, mut roots) = (Vec::new(), None);
        if let Some(path) = &server.certificates {
            keys.extend(read(path, pem_keys)?);
            roots = fs::read(path).ok().map(|pem| Roots::read(&pem));
        }
        if let Some(path) = &server.jwks {
            keys.extend(read(path, jwks_keys)?);
        }
        Ok(ExternalAuthority {
            realm: server.realm.clone(),
            service: server.service.clone(),
            issuer: server.issuer.clone(),
            keys,
            roots,
        })
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`TokenError::Invalid`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let brought = self.brought_keys(&header);
        for key in self.keys.iter().chain(&brought).filter(|key| key.algorithms.contains(&header.alg)) {
            if key.id.is_some() && header.kid.is_some() && key.id != header.kid {
                continue;
            }
            let validation = validation(&[header.alg], &self.issuer, &self.service);
            if let Ok(token) = decode::<ForeignBody>(token, &key.key, &validation) {
                let ForeignBody { sub, access } = token.claims;
                return Ok(Claims { subject: sub, grants: access.unwrap_or_default() });
            }
        }
        Err(TokenError::Invalid)
    }

    /// Returns the key of the certificate that a token brought, when it leads to one of ours.
    fn brought_keys(&self, header: &Header) -> Vec<Key> {
        let leaf = self.roots.as_ref().and_then(|roots| roots.trusted_leaf(header.x5c_der().ok()??));
        leaf.and_then(|pem| pem_keys(pem.as_bytes())).unwrap_or_default()
    }
}

fn read(path: &Path, parse: fn(&[u8]) -> Option<Vec<Key>>) -> Result<Vec<Key>, SetupError> {
    let failed = |source| SetupError::File { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    parse(&bytes).filter(|keys| !keys.is_empty()).ok_or_else(|| {
        failed(io::Error::new(io::ErrorKind::InvalidData, "no key that tokens can be verified with"))
    })
}

fn pem_keys(bytes: &[u8]) -> Option<Vec<Key>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let pem = format!("-----BEGIN {block}");
        let pem = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .map(|key| (RSA, key))
            .or_else(|_| {
                DecodingKey::from_ec_pem(pem).map(|key| (&[Algorithm::ES256, Algorithm::ES384][..], key))
            })
            .or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (&[Algorithm::EdDSA][..], key)));
        keys.extend(key.ok().map(|(algorithms, key)| Key { id: None, algorithms: algorithms.to_vec(), key }));
    }
    Some(keys)
}

fn jwks_keys(bytes: &[u8]) -> Option<Vec<Key>> {
    let set: JwkSet = serde_json::from_slice(bytes).ok()?;
    let keys = set.keys.iter().filter_map(|jwk| {
        let key = DecodingKey::from_jwk(jwk).ok()?;
        use jsonwebtoken::jwk::AlgorithmParameters as Kind;
        let algorithms = match &jwk.algorithm {
            Kind::RSA(_) => RSA.to_vec(),
            Kind::EllipticCurve(_) => vec![Algorithm::ES256, Algorithm::ES384],
            Kind::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            // A shared secret in a set of public keys is a mistake.
            _ => return None,
        };
        Some(Key { id: jwk.common.key_id.clone(), algorithms, key })
    });
    Some(keys.collect())
}

/// Parses `repository:a/b:pull,push` and `registry:catalog:*`; the name may hold a port's colon.
pub fn parse_scope(scope: &str) -> Option<Grant> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
    Some(Grant { kind: kind.to_owned(), name: name.to_owned(), actions })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn our_tokens_are_verified_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(&directory.path().join("key")).unwrap();
        let again = Authority::open(&directory.path().join("key")).unwrap();
        let other = Authority::open(&directory.path().join("other")).unwrap();
        let grant = parse_scope("repository:a/b:pull,push").unwrap();
        assert!(
            grant.covers("a/b", Action::Push)
                && !grant.covers("a/b", Action::Delete)
                && !grant.covers("a", Action::Pull)
        );
        let token = authority.issue("ann", vec![grant.clone()]).unwrap();
        assert_eq!(again.verify(&token), Ok(Claims { subject: "ann".to_owned(), grants: vec![grant] }));
        assert!(other.verify(&token).is_err());
        let refresh = authority.issue_refresh("ann", "mark".to_owned()).unwrap();
        assert!(authority.verify(&refresh).is_err());
        assert_eq!(authority.verify_refresh(&refresh), Ok(("ann".to_owned(), "mark".to_owned())));
        assert!(authority.verify_refresh(&token).is_err());
        let (head, rest) = token.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        // {"typ":"JWT","alg":"none"} by hand.
        let none = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{body}.");
        for bad in [
            "",
            "a.b.c",
            &none,
            &format!("{head}.{body}."),
            &format!("{head}.{body}.{signature}x"),
            &"x".repeat(10_000),
        ] {
            assert!(authority.verify(bad).is_err(), "{bad}");
        }
    }

    fn sign(key: &EncodingKey, header: &Header, change: impl FnOnce(&mut serde_json::Value)) -> String {
        let now = unix_now();
        let mut claims = serde_json::json!({
            "iss": "issuer", "sub": "ann", "aud": "registry.example", "exp": now + 300, "nbf": now, "iat": now,
            "access": [{"type": "repository", "name": "a/b", "actions": ["pull"]}],
        });
        change(&mut claims);
        encode(header, &claims, key).unwrap()
    }

    #[test]
    fn tokens_of_another_server_need_its_key_and_our_name() {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["auth".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let path = directory.path().join("bundle.pem");
        // A bare public key before the certificate: every key of the bundle counts.
        fs::write(&path, format!("{}\n{}", pair.public_key_pem(), certificate.pem())).unwrap();
        let server = TokenServer {
            realm: "https://auth.example/token".to_owned(),
            service: "registry.example".to_owned(),
            issuer: "issuer".to_owned(),
            certificates: Some(path.clone()),
            jwks: None,
        };
        let external = ExternalAuthority::open(&server).unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let other = EncodingKey::from_ec_pem(other.serialize_pem().as_bytes()).unwrap();
        let header = Header::new(Algorithm::ES256);
        let named = Header { kid: Some("../../etc/passwd".to_owned()), ..header.clone() };
        let list =
            |claims: &mut serde_json::Value| claims["aud"] = serde_json::json!(["x", "registry.example"]);
        for good in [sign(&key, &header, |_| {}), sign(&key, &named, |_| {}), sign(&key, &header, list)] {
            let claims = external.verify(&good).unwrap();
            assert!(claims.subject == "ann" && claims.grants[0].covers("a/b", Action::Pull));
        }
        let past = unix_now() - 3600;
        let set = |key: &'static str, value: serde_json::Value| {
            move |claims: &mut serde_json::Value| claims[key] = value
        };
        let without = |key: &'static str| {
            move |claims: &mut serde_json::Value| {
                claims.as_object_mut().unwrap().remove(key);
            }
        };
        let public = fs::read(&path).unwrap();
        let symmetric = EncodingKey::from_secret(&public);
        for (why, bad) in [
            ("another key", sign(&other, &header, |_| {})),
            ("the public key as a secret", sign(&symmetric, &Header::new(Algorithm::HS256), |_| {})),
            ("for another", sign(&key, &header, set("aud", "other".into()))),
            ("for a part of our name", sign(&key, &header, set("aud", "registry".into()))),
            ("for nobody", sign(&key, &header, without("aud"))),
            ("from another", sign(&key, &header, set("iss", "other".into()))),
            ("from nobody", sign(&key, &header, without("iss"))),
            ("no more good", sign(&key, &header, set("exp", past.into()))),
            ("good for ever", sign(&key, &header, without("exp"))),
            ("not yet good", sign(&key, &header, set("nbf", (unix_now() + 3600).into()))),
            ("access is a text", sign(&key, &header, set("access", "all".into()))),
            ("too large", sign(&key, &header, set("x", "x".repeat(TOKEN_BYTES_MAX).into()))),
        ] {
            assert_eq!(external.verify(&bad), Err(TokenError::Invalid), "{why}");
        }
    }

    #[test]
    fn a_certificate_that_a_token_brings_counts_when_ours_signed_it() {
        let directory = tempfile::tempdir().unwrap();
        let pair = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let authority = || {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            rcgen::CertifiedIssuer::self_signed(params, pair()).unwrap()
        };
        let (ours, stranger) = (authority(), authority());
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let between = rcgen::CertifiedIssuer::signed_by(params, pair(), &ours).unwrap();
        let leaf = pair();
        let signed = |issuer: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>| {
            rcgen::CertificateParams::new(vec!["auth".to_owned()]).unwrap().signed_by(&leaf, issuer).unwrap()
        };
        let path = directory.path().join("bundle.pem");
        fs::write(&path, ours.pem()).unwrap();
        let server = TokenServer {
            service: "registry.example".to_owned(),
            issuer: "issuer".to_owned(),
            certificates: Some(path),
            ..TokenServer::default()
        };
        let external = ExternalAuthority::open(&server).unwrap();
        let key = EncodingKey::from_ec_pem(leaf.serialize_pem().as_bytes()).unwrap();
        let token = |chain: &[&[u8]]| {
            let encode = |der: &&[u8]| base64::engine::general_purpose::STANDARD.encode(der);
            let x5c = Some(chain.iter().map(encode).collect());
            sign(&key, &Header { x5c, ..Header::new(Algorithm::ES256) }, |_| {})
        };
        let direct = signed(&ours);
        assert_eq!(external.verify(&token(&[direct.der()])).unwrap().subject, "ann");
        let (indirect, foreign) = (signed(&between), signed(&stranger));
        assert!(external.verify(&token(&[indirect.der(), between.der()])).is_ok());
        for (why, bad) in [
            ("none", token(&[])),
            ("a link is missing", token(&[indirect.der()])),
            ("a stranger's", token(&[foreign.der()])),
            ("a stranger's, with its root", token(&[foreign.der(), stranger.der()])),
            ("ours, but another key signed", token(&[ours.der()])),
            ("not a certificate", token(&[b"certificate"])),
            ("too many", token(&[direct.der().as_ref(); 9])),
        ] {
            assert_eq!(external.verify(&bad), Err(TokenError::Invalid), "{why}");
        }
    }
}
