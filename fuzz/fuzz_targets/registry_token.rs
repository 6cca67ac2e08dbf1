//! Any text as a token, as a scope and as a pattern of a rule. Nothing may panic, and no token counts that nobody signed.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use shale_registry::auth::Action;
use shale_registry::auth::rules::Rules;
use shale_registry::auth::tokens::{Authority, parse_scope};
use shale_registry::config::Rule;

static AUTHORITY: OnceLock<(tempfile::TempDir, Authority)> = OnceLock::new();

fuzz_target!(|text: &str| {
    let (_, authority) = AUTHORITY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("there is room");
        let authority = Authority::open(&folder.path().join("secret")).expect("a secret is made");
        (folder, authority)
    });
    assert!(authority.verify(text).is_err());
    assert!(authority.verify_refresh(text).is_err() && authority.verify_session(text).is_err());
    if let Some(grant) = parse_scope(text) {
        assert!(text.contains(&grant.name));
        let _ = grant.covers("a/b", Action::Pull);
    }
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "a/b"));
    let rule = Rule {
        repositories: vec![pattern.to_owned()],
        users: vec!["*".to_owned()],
        actions: vec![Action::Pull],
    };
    let rules = Rules::new(vec![rule], true);
    assert!(!rules.allow(None, name, Action::Pull));
    if !pattern.contains(['*', '$']) {
        assert_eq!(rules.allow(Some("ann"), name, Action::Pull), pattern == name);
    }
});
