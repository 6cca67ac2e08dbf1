//! `shale images --tree`: every image with its platforms below it.

use super::{cell, short_id};
use crate::terminal::{screen, units::table_size};

/// An image with all its names, and what it holds for each platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Familiar names with tags; empty for an untagged image.
    pub names: Vec<String>,
    /// The image as a whole.
    pub whole: Part,
    /// Platform (`linux/amd64`) and what is there for it.
    pub platforms: Vec<(String, Part)>,
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `sha256:…`.
    pub id: String,
    /// Bytes on the disk.
    pub disk_usage_bytes: u64,
    /// Bytes in the registry, compressed; `None` where nobody knows.
    pub content_bytes: Option<u64>,
    /// Whether a container uses it.
    pub in_use: bool,
}

const NAME_COLUMNS_MIN: usize = 18;

/// Renders `images` as a tree, in docker's columns, without docker's colours.
///
/// Source: transcript images-15-tree of the docker CLI 28.2.
pub fn render(images: &[Image]) -> String {
    let branches: Vec<Vec<String>> = images.iter().map(branch_names).collect();
    let names = images.iter().flat_map(|image| &image.names).chain(branches.iter().flatten());
    let width = names.map(|name| screen::columns(name)).max().unwrap_or(0).max(NAME_COLUMNS_MIN) + 3;
    let mut text = line(width, "IMAGE", ["ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"]);
    for (at, (image, branches)) in images.iter().zip(&branches).enumerate() {
        if at > 0 {
            text.push('\n');
        }
        let (last, before) = match image.names.split_last() {
            Some((last, before)) => (last.as_str(), before),
            None => ("<untagged>", &[][..]),
        };
        for name in before {
            text.push_str(&format!("{}\n", cell(name)));
        }
        text.push_str(&part_line(width, last, &image.whole));
        for (name, (_, part)) in branches.iter().zip(&image.platforms) {
            text.push_str(&part_line(width, name, part));
        }
    }
    text
}

fn branch_names(image: &Image) -> Vec<String> {
    let count = image.platforms.len();
    let sign = |at: usize| if at + 1 == count { "└─" } else { "├─" };
    image.platforms.iter().enumerate().map(|(at, (platform, _))| format!("{} {platform}", sign(at))).collect()
}

fn part_line(width: usize, name: &str, part: &Part) -> String {
    let content = part.content_bytes.map(table_size).unwrap_or_default();
    let usage = table_size(part.disk_usage_bytes);
    let extra = if part.in_use { "U" } else { "" };
    line(width, name, [short_id(&part.id), &format!("{usage:>10}"), &format!("{content:>12}"), extra])
}

fn line(width: usize, name: &str, [id, usage, content, extra]: [&str; 4]) -> String {
    let name = cell(name);
    let blanks = " ".repeat(width - screen::columns(&name).min(width));
    let line = format!("{name}{blanks}{id:<15}{usage:<13}{content:<12}   {extra}");
    line.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_tree_comes_out() {
        let part = |id: &str, disk, content, in_use| Part {
            id: format!("sha256:{id}{}", "0".repeat(52)),
            disk_usage_bytes: disk,
            content_bytes: Some(content),
            in_use,
        };
        let image = |names: &[&str], part: Part| Image {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            platforms: vec![("linux/amd64".to_owned(), part.clone())],
            whole: part,
        };
        let images = [
            image(&["big:1"], part("8468c3450a9a", 154_000_000, 76_600_000, false)),
            image(&["fl:1", "fl:2"], part("6f9c6409052d", 3_190_000, 1_090_000, false)),
            image(&["busybox:latest"], part("866ce2ec0057", 3_140_000, 1_080_000, true)),
        ];
        // From the transcript, without colours and without the blanks at the ends of lines.
        let expected = "\
IMAGE                ID             DISK USAGE   CONTENT SIZE   EXTRA
big:1                8468c3450a9a        154MB         76.6MB
└─ linux/amd64       8468c3450a9a        154MB         76.6MB

fl:1
fl:2                 6f9c6409052d       3.19MB         1.09MB
└─ linux/amd64       6f9c6409052d       3.19MB         1.09MB

busybox:latest       866ce2ec0057       3.14MB         1.08MB   U
└─ linux/amd64       866ce2ec0057       3.14MB         1.08MB   U
";
        assert_eq!(render(&images), expected);
    }

    #[test]
    fn several_platforms_and_no_name() {
        let part = Part {
            id: "sha256:0123456789abcdef".into(),
            disk_usage_bytes: 0,
            content_bytes: None,
            in_use: false,
        };
        let platforms =
            vec![("linux/amd64".to_owned(), part.clone()), ("linux/arm64".to_owned(), part.clone())];
        let shown = render(&[Image { names: vec![], whole: part, platforms }]);
        let starts: Vec<&str> = shown.lines().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(starts, ["IMAGE", "<untagged>", "├─ linux/amd64", "└─ linux/arm64"]);
    }
}
