//! What somebody meant who typed something else.

use super::spec::Spec;

/// Returns the command that `word` may have meant, as it is typed in full.
///
/// A command of that very name in another group comes first (`shale prune` means `shale image prune`), then the one whose
/// name needs the fewest changes.
pub fn command(path: &[&Spec], word: &str) -> Option<String> {
    let group = path[path.len() - 1];
    let prefix = super::help::words(path);
    let nested = group.commands.iter().find_map(|inner| inner.find(word).map(|found| (inner, found)));
    if let Some((inner, found)) = nested {
        return Some(format!("{prefix} {} {}", inner.name, found.name));
    }
    if let Some(name) = closest(word, group.commands.iter().map(|command| command.name)) {
        return Some(format!("{prefix} {name}"));
    }
    let program = path[0];
    program.find(word).filter(|_| path.len() > 1).map(|found| format!("{} {}", program.name, found.name))
}

/// Returns the name that is nearest to `word`: at most a third of its letters differ.
pub fn closest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let allowed = (word.chars().count() / 3).max(1);
    let is_start = |name: &str| word.len() >= 3 && name.starts_with(word);
    names
        .map(|name| (if is_start(name) { 1 } else { distance(word, name) }, name))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Returns how many letters must be changed, added, removed or swapped with their neighbour to get from one to the other.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in right.iter().enumerate() {
            let mut cost = (last[column] + usize::from(letter != other))
                .min(last[column + 1] + 1)
                .min(current[column] + 1);
            if row > 0 && column > 0 && letter == right[column - 1] && left[row - 1] == other {
                cost = cost.min(before_last[column - 1] + 1);
            }
            current.push(cost);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        for (left, right, expected) in [
            ("pul", "pull", 1),
            ("imgaes", "images", 1),
            ("histroy", "history", 1),
            ("", "abc", 3),
            ("tag", "tag", 0),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["pull", "push", "images", "history"];
        assert_eq!(closest("pul", names.into_iter()), Some("pull"));
        assert_eq!(closest("imgs", names.into_iter()), None);
        assert_eq!(closest("hist", names.into_iter()), Some("history"));
        assert_eq!(closest("frob", names.into_iter()), None);
    }
}
