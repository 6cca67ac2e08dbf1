//! `shale images --tree`.
//!
//! A store of this kind has one platform of an image, so there is nothing below an image, and no compressed content.
//!
//! Source: output of docker CLI 28.2 without a terminal; `cli/command/image/tree.go`.

use super::images::Image;
use super::{cell, short_id};
use crate::terminal::units::table_size;

const WARNING: &str =
    "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
const LEGEND: &str = "Info ->  U In Use ";
const SPACING: usize = 3;
const UNTAGGED: &str = "<untagged>";

/// Below this the names get no narrower; columns go instead, the last one first.
const NAME_WIDTH_MIN: usize = 12;

/// Titles and widths of the columns beside the names.
const COLUMNS: [(&str, usize); 4] = [("ID", 12), ("DISK USAGE", 10), ("CONTENT SIZE", 12), ("EXTRA", 5)];

/// Renders `images` for a screen of `width` columns, the newest first; those without a name only with `all`.
pub fn render(images: &[Image], all: bool, width: usize) -> String {
    let mut images: Vec<(Vec<String>, &Image)> = images
        .iter()
        .filter(|image| all || !image.tags.is_empty())
        .map(|image| (names(image), image))
        .collect();
    images.sort_by_key(|(_, image)| std::cmp::Reverse(image.created_seconds));
    let mut columns = 0;
    let mut name_width = width.max(20);
    while let Some((_, column)) = COLUMNS.get(columns)
        && name_width >= column + SPACING + NAME_WIDTH_MIN
    {
        name_width -= column + SPACING;
        columns += 1;
    }
    let longest = images.iter().flat_map(|(names, _)| names).map(|name| name.chars().count()).max();
    name_width = name_width.min(longest.unwrap_or_default().max("IMAGE".len()));

    let mut text = format!("{WARNING}\n{LEGEND:>width$}\n\nIMAGE{:1$}", "", name_width - "IMAGE".len());
    for (title, column) in &COLUMNS[..columns] {
        let left = if *title == "ID" { *column } else { 0 };
        text.push_str(&format!("{:SPACING$}{title:left$}", ""));
    }
    text.push('\n');
    for (names, image) in &images {
        let (last, others) = names.split_last().expect("an image without a name has a word for that");
        others.iter().for_each(|name| text.extend([name.as_str(), "\n"]));
        text.push_str(&shortened(last, name_width));
        let values =
            [short_id(&image.id).to_owned(), table_size(image.size_bytes), "0B".to_owned(), String::new()];
        for (value, (title, column)) in values.iter().zip(&COLUMNS[..columns]) {
            text.push_str(&match *title {
                "ID" | "EXTRA" => format!("{:SPACING$}{value:column$}", ""),
                _ => format!("{:SPACING$}{value:>column$}", ""),
            });
        }
        text.push('\n');
    }
    text
}

fn names(image: &Image) -> Vec<String> {
    match image.tags.as_slice() {
        [] => vec![UNTAGGED.to_owned()],
        tags => tags.iter().map(|(repository, tag)| cell(&format!("{repository}:{tag}"))).collect(),
    }
}

/// Fills or cuts a name to `width`.
fn shortened(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return format!("{name:width$}");
    }
    let kept: String = name.chars().take(width - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, names: &[(&str, &str)], created_seconds: i64, size_bytes: u64) -> Image {
        let tags = names.iter().map(|(name, tag)| ((*name).to_owned(), (*tag).to_owned())).collect();
        let id = format!("sha256:{id}{}", "0".repeat(64 - id.len()));
        let (digests, shared_size_bytes, containers) = (Vec::new(), None, None);
        Image { id, tags, digests, created_seconds, size_bytes, shared_size_bytes, containers }
    }

    fn images() -> Vec<Image> {
        let names = [
            ("another/name-that-is-rather-long", "with-a-long-tag-2024"),
            ("127.0.0.1:5811/bench/b", "1"),
            ("short", "1"),
        ];
        vec![
            image("44ccc1d048a1", &names, 1_700_000_000, 301_000_000),
            image("842db4747a16", &[], 1_735_689_600, 3),
        ]
    }

    #[test]
    fn the_tree_is_that_of_docker() {
        // Printed by docker CLI 28.2 into a pipe, without its escapes for bold letters.
        let expected =
            "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.
                                                              Info ->  U In Use \n
IMAGE                           ID             DISK USAGE   CONTENT SIZE   EXTRA
another/name-that-is-rather-long:with-a-long-tag-2024
127.0.0.1:5811/bench/b:1
short:1                         44ccc1d048a1        301MB             0B        \n";
        assert_eq!(render(&images(), false, 80), expected);
        let all = render(&images(), true, 80);
        let untagged = "<untagged>                      842db4747a16           3B             0B        \n";
        assert_eq!(all, expected.replacen("another", &format!("{untagged}another"), 1));
        let empty = render(&[], true, 80);
        assert!(empty.ends_with("\nIMAGE   ID             DISK USAGE   CONTENT SIZE   EXTRA\n"), "{empty}");
    }

    #[test]
    fn a_narrow_screen_loses_columns_and_ends_of_names() {
        // Printed by docker CLI 28.2 on a terminal of 60 columns.
        let mut images = images();
        images[0].tags.truncate(2);
        let text = render(&images, false, 60);
        let expected = "\nIMAGE               ID             DISK USAGE   CONTENT SIZE
another/name-that-is-rather-long:with-a-long-tag-2024
127.0.0.1:5811/b…   44ccc1d048a1        301MB             0B\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
