//! config.json and credential helpers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::is_alone;
use shale_registry_client::Secret;
use shale_registry_client::credentials::{
    ConfigFile, Credential, Credentials as _, CredentialsError, DOCKER_HUB_KEY, HelperError, StoredIn,
    registry_key,
};

fn config(text: &str) -> (tempfile::TempDir, ConfigFile) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    let file = ConfigFile::open(folder.path()).unwrap();
    (folder, file)
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.to_owned(), password: Secret::new(password) }
}

#[test]
fn entries_are_found_for_exactly_their_host() {
    // "YWxpY2U6cHc=" is `printf alice:pw | base64`.
    let (_folder, file) = config(
        r#"{"auths":{"reg.example:5000":{"auth":"YWxpY2U6cHc="},"https://index.docker.io/v1/":{"auth":"YWxpY2U6cHc="},
            "https://old.example/v1/":{"auth":"YWxpY2U6cHc="},"id.example":{"auth":"YWxpY2U6","identitytoken":"t"}}}"#,
    );
    let find = |key: &str| file.find(key).unwrap();
    assert_eq!(find("reg.example:5000"), Some(basic("alice", "pw")));
    assert_eq!(find(&registry_key("docker.io")), Some(basic("alice", "pw")));
    assert_eq!(find("old.example"), Some(basic("alice", "pw")));
    let identity = Credential::IdentityToken { username: Some("alice".to_owned()), token: Secret::new("t") };
    assert_eq!(find("id.example"), Some(identity));
    for stranger in
        ["reg.example", "reg.example:5001", "x.reg.example:5000", "reg.example:5000.evil", "ample:5000"]
    {
        assert_eq!(find(stranger), None, "{stranger}");
    }
}

#[test]
fn a_login_keeps_every_other_key_in_its_place() {
    let (folder, file) =
        config("{\"zeta\":1,\"auths\":{\"b\":{\"auth\":\"YWxpY2U6cHc=\"}},\"alpha\":{\"x\":[1]}}");
    let stored = file.store("reg:5000", &basic("bob", "secret")).unwrap();
    let path = folder.path().join("config.json");
    assert_eq!(stored, StoredIn::File(path.clone()));
    let text = std::fs::read_to_string(&path).unwrap();
    // "Ym9iOnNlY3JldA==" is `printf bob:secret | base64`.
    let expected = "{\n\t\"zeta\": 1,\n\t\"auths\": {\n\t\t\"b\": {\n\t\t\t\"auth\": \"YWxpY2U6cHc=\"\n\t\t},\n\t\t\"reg:5000\": \
                    {\n\t\t\t\"auth\": \"Ym9iOnNlY3JldA==\"\n\t\t}\n\t},\n\t\"alpha\": {\n\t\t\"x\": [\n\t\t\t1\n\t\t]\n\t}\n}";
    assert_eq!(text, expected);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.find("reg:5000").unwrap(), Some(basic("bob", "secret")));
    assert!(file.erase("reg:5000").unwrap());
    assert!(!file.erase("reg:5000").unwrap());
    assert_eq!(file.find("reg:5000").unwrap(), None);
    assert_eq!(file.keys().unwrap(), ["b"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
}

#[test]
fn the_environment_goes_before_the_file() {
    let (_folder, file) = config(r#"{"auths":{"a":{"auth":"YWxpY2U6cHc="},"b":{"auth":"YWxpY2U6cHc="}}}"#);
    // "Ym9iOnNlY3JldA==" is `printf bob:secret | base64`.
    let file = file.with_environment(r#"{"auths":{"a":{"auth":"Ym9iOnNlY3JldA=="}}}"#).unwrap();
    assert_eq!(file.find("a").unwrap(), Some(basic("bob", "secret")));
    assert_eq!(file.find("b").unwrap(), Some(basic("alice", "pw")));
}

#[test]
fn broken_files_are_errors_and_missing_ones_are_empty() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ConfigFile::open(folder.path()).unwrap().find("x").unwrap(), None);
    std::fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(ConfigFile::open(folder.path()).is_err());
    assert!(ConfigFile::unread(folder.path()).find("x").is_err());
    let (_folder, file) = config(r#"{"auths":{"a":{"auth":"!!"},"b":{"auth":"YWxpY2U="}}}"#);
    assert!(file.find("a").is_err());
    assert!(file.find("b").is_err(), "no colon");
}

#[test]
fn a_missing_helper_is_told_and_a_name_with_a_slash_is_refused() {
    let (_folder, file) = config(r#"{"credsStore":"nobody-has-this","credHelpers":{"evil":"../../bin/sh"}}"#);
    let error = file.find("reg").unwrap_err();
    assert!(matches!(error, CredentialsError::Helper(HelperError::Start { .. })), "{error:?}");
    let error = file.find("evil").unwrap_err();
    assert!(matches!(error, CredentialsError::Helper(HelperError::Name { .. })), "{error:?}");
}

#[test]
fn a_helper_is_asked_told_and_made_to_forget() {
    let helpers = tempfile::tempdir().unwrap();
    write_helper(helpers.path());
    let path = format!("{}:{}", helpers.path().display(), std::env::var("PATH").unwrap());
    let variables = [("PATH", path.as_str()), ("SHALE_TEST_HELPER_DIR", helpers.path().to_str().unwrap())];
    if !is_alone("credentials::a_helper_is_asked_told_and_made_to_forget", &variables) {
        return;
    }
    let dir = std::env::var("SHALE_TEST_HELPER_DIR").unwrap();
    let (folder, file) = config(r#"{"credsStore":"test"}"#);
    assert_eq!(file.find(DOCKER_HUB_KEY).unwrap(), None);
    assert_eq!(file.store("reg", &basic("bob", "secret")).unwrap(), StoredIn::Helper("test".to_owned()));
    let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    assert!(!text.contains("Ym9i") && text.contains("\"reg\": {}"), "{text}");
    assert_eq!(file.find("reg").unwrap(), Some(basic("bob", "secret")));
    let identity = Credential::IdentityToken { username: None, token: Secret::new("tok") };
    file.store("id", &identity).unwrap();
    assert_eq!(file.find("id").unwrap(), Some(identity));
    file.erase("reg").unwrap();
    assert_eq!(file.find("reg").unwrap(), None);
    assert!(Path::new(&dir).join("store-id").exists());
}

/// A helper that keeps each entry in a file, in the shell.
fn write_helper(folder: &Path) {
    let path = folder.join("docker-credential-test");
    let script = r#"#!/bin/sh
dir=$(dirname "$0")
input=$(cat)
key() { printf %s "$1" | tr -c 'a-z0-9' _; }
case $1 in
store) url=$(printf %s "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf %s "$input" > "$dir/store-$(key "$url")";;
get) f="$dir/store-$(key "$input")"; [ -f "$f" ] && cat "$f" && exit; echo "credentials not found in native keychain"; exit 1;;
erase) rm -f "$dir/store-$(key "$input")";;
esac
"#;
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
