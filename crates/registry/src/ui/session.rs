//! Browsers: the cookie that tells one from another, the token that proves a form is ours, the session of a user.

use http::{HeaderName, HeaderValue, header};
use shale_oci::Digest;

use crate::api::dispatch::Call;
use crate::name::UploadId;
use crate::registry::Registry;

const BROWSER: &str = "shale_browser";
const SESSION: &str = "shale_session";
const SESSION_SECONDS: u64 = 12 * 3600;

/// A browser, known by its cookie.
pub(super) struct Browser {
    id: UploadId,
    is_new: bool,
}

fn cookie<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let cookies = call.header(header::COOKIE)?.split(';');
    cookies
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

impl Browser {
    pub(super) fn of(call: &Call) -> Browser {
        match cookie(call, BROWSER).and_then(UploadId::parse) {
            Some(id) => Browser { id, is_new: false },
            None => Browser { id: UploadId::random(), is_new: true },
        }
    }

    /// Returns the cookie that a new browser must be given.
    pub(super) fn fresh_cookie(&self, encrypted: bool) -> Option<HeaderValue> {
        let secure = if encrypted { "; Secure" } else { "" };
        let text = format!("{BROWSER}={}; Path=/ui/; HttpOnly; SameSite=Strict{secure}", self.id);
        self.is_new.then(|| HeaderValue::try_from(text).expect("plain text"))
    }

    /// Returns the token that forms of pages for this browser carry.
    pub(super) fn token(&self, registry: &Registry) -> String {
        Digest::sha256(&[&registry.form_key[..], self.id.to_string().as_bytes()].concat()).hex()
    }

    /// Whether a form with this token came from a page that we made for this browser.
    pub(super) fn sent(&self, call: &Call, token: &str) -> bool {
        let site = call.header(HeaderName::from_static("sec-fetch-site"));
        let ours = matches!(site, None | Some("same-origin" | "none"));
        // Compared as hashes, so that the time tells nothing of where they differ.
        let same = Digest::sha256(token.as_bytes()) == Digest::sha256(self.token(&call.registry).as_bytes());
        ours && same && !self.is_new
    }

    /// Returns the user who logged in with this browser.
    pub(super) fn user(&self, call: &Call) -> Option<String> {
        let access = &call.registry.access;
        let (user, mark) = access.authority()?.verify_session(cookie(call, SESSION)?).ok()?;
        // Another password, or no such user any more, ends the session.
        (access.password_mark(&user)? == mark).then_some(user)
    }
}

/// Returns the cookie that keeps `user` logged in.
pub(super) fn log_in(call: &Call, user: &str) -> Option<HeaderValue> {
    let access = &call.registry.access;
    let token = access.authority()?.issue_session(user, access.password_mark(user)?, SESSION_SECONDS)?;
    let secure = if call.peer.encrypted { "; Secure" } else { "" };
    let text =
        format!("{SESSION}={token}; Path=/ui/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).ok()
}

/// Returns the cookie that ends a session.
pub(super) fn log_out() -> HeaderValue {
    HeaderValue::from_static("shale_session=; Path=/ui/; Max-Age=0; HttpOnly; SameSite=Strict")
}
