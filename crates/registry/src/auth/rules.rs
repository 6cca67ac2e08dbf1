//! Which users may do what with which repositories.

use crate::auth::Action;
use crate::config::Rule;

/// The rules in force.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    guarded: bool,
}

impl Rules {
    /// Takes rules; `guarded` tells whether anybody can have a name.
    pub fn new(rules: Vec<Rule>, guarded: bool) -> Rules {
        Rules { rules, guarded }
    }

    /// Returns whether `user` may do `action` with `repository`. Without rules, everybody with a name may do everything,
    /// and where nobody can have one, everybody may.
    pub fn allow(&self, user: Option<&str>, repository: &str, action: Action) -> bool {
        if self.rules.is_empty() {
            return user.is_some() || !self.guarded;
        }
        self.rules.iter().any(|rule| {
            rule.actions.contains(&action)
                && rule.users.iter().any(|name| is_user(name, user))
                && rule.repositories.iter().any(|pattern| matches(pattern, user, repository))
        })
    }

    /// Returns whether somebody without a name may do something.
    pub fn anybody_may_something(&self) -> bool {
        self.rules.iter().any(|rule| rule.users.iter().any(|name| name == "anonymous"))
    }

    /// Returns whether `user` may pull everything.
    pub fn see_everything(&self, user: Option<&str>) -> bool {
        if self.rules.is_empty() {
            return user.is_some() || !self.guarded;
        }
        self.rules.iter().any(|rule| {
            rule.actions.contains(&Action::Pull)
                && rule.users.iter().any(|name| is_user(name, user))
                && rule.repositories.iter().any(|pattern| pattern == "**")
        })
    }
}

fn is_user(name: &str, user: Option<&str>) -> bool {
    match name {
        "anonymous" => true,
        "*" => user.is_some(),
        name => user == Some(name),
    }
}

fn matches(pattern: &str, user: Option<&str>, repository: &str) -> bool {
    if !pattern.contains("${user}") {
        return glob(pattern.as_bytes(), repository.as_bytes());
    }
    // A name with a pattern's signs in it must not widen the rule.
    match user {
        Some(user) if !user.contains(['*', '/', '$']) => {
            glob(pattern.replace("${user}", user).as_bytes(), repository.as_bytes())
        }
        _ => false,
    }
}

/// `*` stands for any bytes but slashes, `**` for any bytes. Linear in the text for each star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when a byte does not fit: after the last `**`, and after the last `*` since.
    let mut wide: Option<(usize, usize)> = None;
    let mut narrow: Option<(usize, usize)> = None;
    loop {
        if pattern[at_pattern..].starts_with(b"**") {
            at_pattern += 2;
            (wide, narrow) = (Some((at_pattern, at_text)), None);
            continue;
        }
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            narrow = Some((at_pattern, at_text));
            continue;
        }
        if at_text == text.len() && at_pattern == pattern.len() {
            return true;
        }
        if at_text < text.len() && pattern.get(at_pattern) == Some(&text[at_text]) {
            at_pattern += 1;
            at_text += 1;
            continue;
        }
        match (narrow, wide) {
            (Some((after, start)), _) if start < text.len() && text[start] != b'/' => {
                narrow = Some((after, start + 1));
                (at_pattern, at_text) = (after, start + 1);
            }
            (_, Some((after, start))) if start < text.len() => {
                (wide, narrow) = (Some((after, start + 1)), None);
                (at_pattern, at_text) = (after, start + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("a/**/z", "a/b/c/z", true),
            ("*/b", "a/b", true),
            ("a*b*c", "axbybzc", true),
            ("a*b*c", "axbyb", false),
            ("**/x*y/**", "a/b/xzy/c", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn rules_grant_and_nothing_else_does() {
        let rule = |repository: &str, user: &str, actions: &[Action]| Rule {
            repositories: vec![repository.to_owned()],
            users: vec![user.to_owned()],
            actions: actions.to_vec(),
        };
        let rules = Rules::new(
            vec![
                rule("public/**", "anonymous", &[Action::Pull]),
                rule("${user}/**", "*", &[Action::Pull, Action::Push]),
                rule("**", "root", &[Action::Pull, Action::Push, Action::Delete]),
            ],
            true,
        );
        for (user, repository, action, allowed) in [
            (None, "public/a", Action::Pull, true),
            (None, "public/a", Action::Push, false),
            (None, "ann/a", Action::Pull, false),
            (Some("ann"), "public/a", Action::Pull, true),
            (Some("ann"), "ann/a", Action::Push, true),
            (Some("ann"), "ann/a", Action::Delete, false),
            (Some("ann"), "bob/a", Action::Pull, false),
            (Some("**"), "bob/a", Action::Pull, false),
            (Some("root"), "bob/a", Action::Delete, true),
        ] {
            assert_eq!(rules.allow(user, repository, action), allowed, "{user:?} {repository} {action:?}");
        }
        assert!(Rules::new(Vec::new(), false).allow(None, "a", Action::Delete));
        assert!(!Rules::new(Vec::new(), true).allow(None, "a", Action::Pull));
    }
}
