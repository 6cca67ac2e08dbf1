//! "Did you mean": the nearest of the names that would have been right.

/// A name that differs in more places than this is no suggestion.
const DISTANCE_MAX: usize = 2;

/// Longest name that is compared, in characters.
const LENGTH_MAX: usize = 100;

/// Returns the option that is nearest to `name`, unless `name` is one of them.
///
/// Of equally near options the first in order is taken.
pub(crate) fn nearest<'a>(name: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    let mut best_distance = DISTANCE_MAX + 1;
    for option in options {
        if option == name {
            return None;
        }
        let distance = distance(name, option);
        if distance < best_distance {
            best = Some(option);
            best_distance = distance;
        }
    }
    best
}

/// Returns how many characters must be inserted, removed or replaced to turn one name into the other.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(LENGTH_MAX).collect();
    let right: Vec<char> = right.chars().take(LENGTH_MAX).collect();
    if left.len().abs_diff(right.len()) > DISTANCE_MAX {
        return DISTANCE_MAX + 1;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// Returns ` (did you mean x?)`, or nothing without a suggestion.
pub(crate) fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}
