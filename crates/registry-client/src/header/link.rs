//! `Link` of a paged list.

/// Longest header value that is read, in bytes.
pub const LINK_LENGTH_MAX: usize = 8 << 10;

/// Returns the target of the link with `rel=next`, as it was written; none when there is none or it is malformed.
///
/// Source: RFC 8288, section 3; distribution-spec v1.1, "Listing Tags".
pub fn next(value: &str) -> Option<&str> {
    if value.len() > LINK_LENGTH_MAX {
        return None;
    }
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (parameters, following) = parameters(after)?;
        if parameters {
            return (!target.is_empty() && !target.contains(char::is_control)).then_some(target);
        }
        rest = following;
    }
}

/// Reads `; name=value` up to the next link; returns whether one of them is `rel=next`, and what follows.
fn parameters(text: &str) -> Option<(bool, &str)> {
    let mut next = false;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(after) = rest.strip_prefix(';') else {
            return (rest.is_empty() || rest.starts_with(',')).then_some((next, rest));
        };
        let after = after.trim_start_matches([' ', '\t']);
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let name = after[..end].trim();
        let Some(value) = after[end..].strip_prefix('=') else {
            rest = &after[end..];
            continue;
        };
        let value = value.trim_start_matches([' ', '\t']);
        let (value, following) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find([';', ',']).unwrap_or(value.len())),
        };
        if name.eq_ignore_ascii_case("rel") {
            next |= value.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        rest = following;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_found() {
        assert_eq!(next("</v2/x/tags/list?n=1&last=a>; rel=\"next\""), Some("/v2/x/tags/list?n=1&last=a"));
        assert_eq!(
            next("<a,b>;rel=prev, <http://h/c> ; title=\"x;y\"; rel=\"last next\""),
            Some("http://h/c")
        );
    }

    #[test]
    fn other_headers_have_no_next_page() {
        for text in
            ["", "<", "<a", "a; rel=next", "<a>; rel=prev", "<>; rel=next", "<a>; rel=\"next", "<a> x"]
        {
            assert_eq!(next(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,120}") {
            let _ = next(&text);
        }

        #[test]
        fn what_was_written_is_read_back(target in "[!-=?-~]{1,60}") {
            let header = format!("<{target}>; rel=\"next\"");
            prop_assert_eq!(next(&header), Some(target.as_str()));
        }
    }
}
