//! Names of containers: those that people give, and those for who gives none.

/// Why a name is none; Docker's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct NameError(pub String);

/// Returns the name without the slash that it may begin with.
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str) -> Result<&str, NameError> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = bytes.len() > 0 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if starts_well && goes_on { Ok(bare) } else { Err(NameError(name.to_owned())) }
}

const ADJECTIVES: [&str; 48] = [
    "amber", "ancient", "banded", "bright", "broad", "calm", "chalky", "clear", "coastal", "copper", "crisp",
    "dappled", "deep", "eager", "early", "even", "fair", "fine", "flinty", "gentle", "glacial", "golden",
    "grey", "hollow", "humble", "inland", "keen", "layered", "light", "lively", "lucid", "mellow", "mossy",
    "nimble", "patient", "plain", "quiet", "rapid", "sandy", "sharp", "silver", "sober", "steady", "sunny",
    "tidal", "upright", "warm", "wry",
];

/// People who read the earth: geologists, mineralogists, palaeontologists, surveyors.
const SURNAMES: [&str; 48] = [
    "agassiz",
    "agricola",
    "anning",
    "barrell",
    "bascom",
    "bowen",
    "bretz",
    "buckland",
    "cordier",
    "cuvier",
    "dana",
    "darcy",
    "desmarest",
    "dolomieu",
    "elles",
    "ewing",
    "gilbert",
    "goldschmidt",
    "gould",
    "guettard",
    "hall",
    "harker",
    "hauy",
    "hess",
    "holmes",
    "hutton",
    "jeffreys",
    "knopf",
    "lehmann",
    "logan",
    "lonsdale",
    "lyell",
    "mantell",
    "mohs",
    "murchison",
    "ogilvie",
    "owen",
    "playfair",
    "powell",
    "sedgwick",
    "smith",
    "sorby",
    "steno",
    "suess",
    "tharp",
    "wegener",
    "werner",
    "wilson",
];

/// Makes a name; from the second try on it ends in a number.
pub(super) fn random_name(attempt: u32) -> String {
    let mut random = [0; 3];
    getrandom::fill(&mut random).expect("Linux gives random bytes to every process once it has booted");
    let [adjective, surname, number] = random.map(usize::from);
    let name = format!("{}_{}", ADJECTIVES[adjective % ADJECTIVES.len()], SURNAMES[surname % SURNAMES.len()]);
    if attempt == 0 { name } else { format!("{name}{}", number % 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        // moby daemon/names/names.go: the first character and at least one more.
        for (name, is_name) in [
            ("web", true),
            ("/web", true),
            ("a", false),
            ("", false),
            ("_a", false),
            ("a b", false),
            ("a.b-c_d", true),
        ] {
            assert_eq!(check_name(name).is_ok(), is_name, "{name}");
        }
    }

    #[test]
    fn made_names_are_names() {
        for attempt in 0..2 {
            assert!(check_name(&random_name(attempt)).is_ok());
        }
    }
}
