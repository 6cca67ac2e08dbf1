//! `shale search`.

use super::cell;
use crate::terminal::{
    screen,
    table::{Listing, row},
    template::TemplateError,
};

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
const DESCRIPTION_COLUMNS: usize = 45;

const LISTING: Listing = Listing {
    type_name: "*registry.searchContext",
    headings: &[
        ("Description", "DESCRIPTION"),
        ("IsOfficial", "OFFICIAL"),
        ("Name", "NAME"),
        ("StarCount", "STARS"),
    ],
};

/// A repository that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The repository.
    pub name: String,
    /// What its owner says about it.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// Whether Docker keeps it.
    pub is_official: bool,
}

/// Renders what was found; `format` empty means `table`.
///
/// # Errors
/// When `format` does not fit.
///
/// Source: docker CLI 28.2 `formatter_search.go`.
pub fn render(found: &[Found], format: &str, no_trunc: bool) -> Result<String, TemplateError> {
    let format = if matches!(format, "" | "table") { TABLE } else { format };
    let is_json = matches!(format, "json" | "{{json .}}");
    let official = |is_official: bool| match (is_json, is_official) {
        (true, is_official) => is_official.to_string(),
        (false, true) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    let rows: Vec<_> = found
        .iter()
        .map(|found| {
            let description = cell(&found.description.replace(['\n', '\r'], " "));
            let description = match no_trunc {
                true => description,
                false => screen::ellipsis(&description, DESCRIPTION_COLUMNS).into_owned(),
            };
            row([
                ("Description", description),
                ("IsOfficial", official(found.is_official)),
                ("Name", cell(&found.name)),
                ("StarCount", found.stars.to_string()),
            ])
        })
        .collect();
    LISTING.render(format, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_and_json() {
        let found = [
            Found {
                name: "busybox".into(),
                description: "Busybox base image.".into(),
                stars: 316,
                is_official: true,
            },
            Found {
                name: "me/busybox".into(),
                description: "x".repeat(50) + "\n",
                stars: 0,
                is_official: false,
            },
        ];
        // The layout that docker's documentation of `docker search` shows, in docker's column rule.
        assert_eq!(
            render(&found, "", false).unwrap(),
            "NAME         DESCRIPTION                                     STARS     OFFICIAL\n\
             busybox      Busybox base image.                             316       [OK]\n\
             me/busybox   xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…   0         \n"
        );
        assert_eq!(
            render(&found[..1], "json", false).unwrap(),
            "{\"Description\":\"Busybox base image.\",\"IsOfficial\":\"true\",\"Name\":\"busybox\",\"StarCount\":\"316\"}\n"
        );
    }
}
