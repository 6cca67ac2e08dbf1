//! A hint for who mistyped the name of an image.

use crate::cli::suggest::closest;
use crate::context::Context;

/// How errors begin that say that a name leads to no image.
const REFUSALS: [&str; 4] = [
    "No such image: ",
    "No such object: ",
    "An image does not exist locally with the tag: ",
    "tag does not exist: ",
];

/// Returns a line with the name of the store that is nearest to the one that the error `message` has not found.
pub fn for_error(context: &Context, message: &str) -> Option<String> {
    let typed = REFUSALS.iter().find_map(|refusal| message.split_once(refusal))?.1;
    let name = nearest(typed.lines().next()?.trim(), &context.image_names())?;
    Some(format!("Did you mean '{name}'?"))
}

/// Returns another tag of the same repository, else a tag of the repository that is spelt most like it.
///
/// A digest and an ID are not mistyped but gone.
fn nearest(typed: &str, names: &[String]) -> Option<String> {
    if typed.contains('@') || typed.starts_with("sha256:") {
        return None;
    }
    let repository = repository(typed);
    let tags_of = |wanted: &str| -> Vec<&str> {
        let names = names.iter().map(String::as_str);
        names.filter(|name| self::repository(name) == wanted && *name != typed).collect()
    };
    let mut tags = tags_of(repository);
    if tags.is_empty() {
        let others =
            names.iter().map(|name| self::repository(name)).filter(|other| is_like(repository, other));
        tags = tags_of(closest(repository, others)?);
    }
    let same_tag = tags.iter().find(|name| name.rsplit(':').next() == typed.rsplit(':').next());
    let found = same_tag.copied().or_else(|| closest(typed, tags.iter().copied()));
    found.or_else(|| tags.first().copied()).map(str::to_owned)
}

/// Whether two repositories are spelt alike where they part: a registry and a folder that they share say nothing.
fn is_like(left: &str, right: &str) -> bool {
    let shared = left.split('/').zip(right.split('/')).take_while(|(left, right)| left == right);
    let shared: usize = shared.map(|(part, _)| part.len() + 1).sum();
    let rest = |name: &str| name.get(shared..).unwrap_or_default().to_owned();
    closest(&rest(left), std::iter::once(rest(right).as_str())).is_some()
}

/// The name without its tag: a colon before the last slash belongs to a port.
fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_by_repository_then_tag() {
        let names = ["alpine:3.18", "alpine:3.19", "debian:12", "debian:latest", "localhost:5000/app:1"];
        let names = names.map(str::to_owned);
        for (typed, expected) in [
            ("alpine:latest", Some("alpine:3.18")),
            ("alpine:3.20", Some("alpine:3.18")),
            ("alpine:3.9", Some("alpine:3.19")),
            ("debain:latest", Some("debian:latest")),
            ("debain:12", Some("debian:12")),
            ("localhost:5000/ap:1", Some("localhost:5000/app:1")),
            ("localhost:5000/app:2", Some("localhost:5000/app:1")),
            ("postgres:latest", None),
            ("deadbeef", None),
            // The registry alone is no likeness, and a digest is not mistyped.
            ("localhost:5000/web:1", None),
            ("localhots:5000/app:1", Some("localhost:5000/app:1")),
            ("localhost:5000/app@sha256:0000", None),
            ("sha256:0000", None),
        ] {
            assert_eq!(nearest(typed, &names).as_deref(), expected, "{typed}");
        }
        assert_eq!(nearest("alpine:latest", &[]), None);
    }
}
