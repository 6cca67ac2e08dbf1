//! The gate of the registry, and its token server.

use std::time::Duration;

use super::http::{Connection, Request, base64};
use super::{PASSWORD, Shared, TOKEN, USERNAME};

/// Answers 401 where credentials are wanted and missing; `has_answered` tells whether it did.
pub(super) fn gate(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let behaviour = shared.behaviour.as_str();
    let given = request.header("authorization").unwrap_or_default();
    let basic = format!("Basic {}", base64(&format!("{USERNAME}:{PASSWORD}")));
    let bearer = format!("Bearer {TOKEN}");
    let wanted = if behaviour.starts_with("cred-basic-") {
        &basic
    } else if behaviour.starts_with("cred-ok-") || behaviour.starts_with("auth-") {
        &bearer
    } else {
        return Some(());
    };
    if given == wanted && !matches!(behaviour, "auth-loop" | "auth-basicloop" | "auth-insufficient") {
        return Some(());
    }
    // A token of the stranger opens the door too: what matters is who was asked for it.
    if given == "Bearer evil-token" && behaviour != "auth-loop" {
        return Some(());
    }
    let home = shared.home;
    let realm = match behaviour {
        "auth-evilport" => format!("http://{}/token", shared.other_port),
        "auth-evilhost" => format!("http://{}/token", shared.other_host),
        "auth-userinfo" => format!("http://{home}@{}/token", shared.other_host),
        "auth-loopback9" => "http://169.254.169.254/latest/meta-data/token".to_owned(),
        "auth-file" => "file:///etc/passwd".to_owned(),
        "auth-rel" => "/token".to_owned(),
        "auth-ctlrealm" => format!("http://{home}/token\t\u{7f}x"),
        "auth-downgrade" => format!("http://{home}/token"),
        _ => format!("{}/token", shared.home_url()),
    };
    let one = format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:b/img:pull\"");
    let value = match behaviour {
        "auth-nohdr" => return connection.answer(401, &[], b"{}"),
        "auth-basicloop" => "Basic realm=\"x\"".to_owned(),
        _ if behaviour.starts_with("cred-basic-") => "Basic realm=\"x\"".to_owned(),
        "auth-insufficient" => format!("{one},error=\"insufficient_scope\""),
        "auth-unclosed" => format!("Bearer realm=\"{realm},service=\"test"),
        "auth-huge" => format!("{one},x=\"{}\"", "y".repeat(900_000)),
        "auth-many" => {
            let mut many = one.clone();
            many.extend(std::iter::repeat_n(", Basic realm=x", 2_000 / 2));
            many.truncate(15_000);
            many.truncate(many.rfind(',').unwrap_or(0));
            many
        }
        _ => one,
    };
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}"#;
    connection.answer(401, &[("WWW-Authenticate", &value), ("Content-Type", "application/json")], body)
}

/// Answers at the token server.
pub(super) fn token(shared: &Shared, connection: &mut Connection, request: &Request) -> Option<()> {
    let json = [("Content-Type", "application/json")];
    let good = format!("{{\"token\":\"{TOKEN}\",\"expires_in\":300}}");
    match shared.behaviour.as_str() {
        "auth-500" => connection.answer(500, &json, b"{}"),
        "auth-badjson" => connection.answer(200, &json, b"{\"token\":\"go"),
        "auth-empty" => connection.answer(200, &json, b"{}"),
        "auth-crlf" => connection.answer(200, &json, br#"{"token":"good\r\nX-Evil: 1"}"#),
        "auth-big" => {
            let big = format!("{{\"token\":\"{}\"}}", "a".repeat(10 << 20));
            connection.answer(200, &json, big.as_bytes())
        }
        "auth-infinite" => {
            connection.head_of(200, &json, None)?;
            connection.raw(b"{\"token\":\"")?;
            loop {
                connection.raw(&[b'a'; 65536])?;
            }
        }
        "auth-neg" => {
            connection.answer(200, &json, format!("{{\"token\":\"{TOKEN}\",\"expires_in\":-5}}").as_bytes())
        }
        "auth-slow" => {
            shared.sleep(Duration::from_secs(45));
            None
        }
        "auth-html" => connection.answer(200, &[("Content-Type", "text/html")], b"<html>portal</html>"),
        "auth-redirect" => {
            let location = format!("http://{}{}", shared.other_host, request.path);
            connection.answer(307, &[("Location", &location)], b"")
        }
        "auth-403" => {
            let body =
                br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
            connection.answer(403, &json, body)
        }
        "auth-identity" => {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            let refreshed =
                form.contains("grant_type=refresh_token") && form.contains("refresh_token=identity-of-alice");
            if request.method == "POST" && refreshed {
                return connection.answer(200, &json, format!("{{\"access_token\":\"{TOKEN}\"}}").as_bytes());
            }
            if request.path.contains("offline_token=true") {
                let both = format!("{{\"token\":\"{TOKEN}\",\"refresh_token\":\"identity-of-alice\"}}");
                return connection.answer(200, &json, both.as_bytes());
            }
            connection.answer(401, &json, b"{}")
        }
        _ => connection.answer(200, &json, good.as_bytes()),
    }
}
