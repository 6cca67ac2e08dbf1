//! Wildcards of COPY and ADD, as Go's `filepath.Match` reads them.

/// Whether `path` holds a wildcard that is not escaped.
pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A malformed pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether `pattern`, one name of a path, matches `name`.
///
/// `*` and `?` stand for any characters, `[a-z]` and `[^a-z]` for one of some, `\` takes the next one literally.
pub(crate) fn matches(pattern: &str, name: &str) -> Result<bool, Malformed> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check(&pattern)?;
    // One place to go back to is enough: a later star takes over from an earlier one.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(_) => match_one(&pattern, p, name[n])?,
            None => None,
        };
        match (step, star) {
            (Some(next), _) => (p, n) = (next, n + 1),
            (None, Some((star_p, star_n))) => {
                star = Some((star_p, star_n + 1));
                (p, n) = (star_p + 1, star_n + 1);
            }
            (None, None) => return Ok(false),
        }
    }
    Ok(pattern[p..].iter().all(|c| *c == '*'))
}

/// Returns where the pattern goes on when its element at `at` matches `character`.
fn match_one(pattern: &[char], at: usize, character: char) -> Result<Option<usize>, Malformed> {
    match pattern[at] {
        '?' => Ok(Some(at + 1)),
        '\\' => Ok((*pattern.get(at + 1).ok_or(Malformed)? == character).then_some(at + 2)),
        '[' => {
            let mut p = at + 1;
            let is_negated = pattern.get(p) == Some(&'^');
            p += usize::from(is_negated);
            let mut is_in = false;
            let mut is_first = true;
            while is_first || pattern.get(p) != Some(&']') {
                is_first = false;
                let low = bound(pattern, &mut p)?;
                let mut high = low;
                if pattern.get(p) == Some(&'-') {
                    p += 1;
                    high = bound(pattern, &mut p)?;
                }
                is_in |= (low..=high).contains(&character);
            }
            Ok((is_in != is_negated).then_some(p + 1))
        }
        literal => Ok((literal == character).then_some(at + 1)),
    }
}

fn bound(pattern: &[char], p: &mut usize) -> Result<char, Malformed> {
    let mut bound = *pattern.get(*p).ok_or(Malformed)?;
    if bound == '-' || bound == ']' {
        return Err(Malformed);
    }
    if bound == '\\' {
        *p += 1;
        bound = *pattern.get(*p).ok_or(Malformed)?;
    }
    *p += 1;
    if *p >= pattern.len() { Err(Malformed) } else { Ok(bound) }
}

fn check(pattern: &[char]) -> Result<(), Malformed> {
    let mut p = 0;
    while p < pattern.len() {
        p = match pattern[p] {
            '*' => p + 1,
            '[' => {
                // Any character will do: only whether the brackets close counts.
                let mut end = p + 1 + usize::from(pattern.get(p + 1) == Some(&'^'));
                let mut is_first = true;
                while is_first || pattern.get(end) != Some(&']') {
                    is_first = false;
                    bound(pattern, &mut end)?;
                    if pattern.get(end) == Some(&'-') {
                        end += 1;
                        bound(pattern, &mut end)?;
                    }
                }
                end + 1
            }
            '\\' if p + 1 == pattern.len() => return Err(Malformed),
            '\\' => p + 2,
            _ => p + 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The cases are those of the tests of Go's path/filepath, match_test.go, as far as no slash is in them.
    #[test]
    fn wildcards_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "a", Ok(true)),
            ("a*b*c*d*e*", "axbxcxdxe", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[e-g]", "abc", Ok(false)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a[^a]b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("*[a-ζ]", "A", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-x]", "-", Ok(true)),
            ("[x\\-]", "z", Ok(false)),
            ("[]a]", "]", Err(Malformed)),
            ("[-]", "-", Err(Malformed)),
            ("[x-]", "x", Err(Malformed)),
            ("[a-b-c]", "a", Err(Malformed)),
            ("[", "a", Err(Malformed)),
            ("[^bc", "a", Err(Malformed)),
            ("*x", "xxx", Ok(true)),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
