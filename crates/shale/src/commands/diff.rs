//! `shale diff`.

use shale_engine::compare::{Aspect, Change, Comparison, Difference, Entry};

use super::{Failure, explain};
use crate::context::Context;
use crate::terminal::screen;

/// Prints the files that differ between two images: `A` added, `D` deleted, `C` changed, as `docker diff` marks them.
pub fn run(context: &Context, image: &str, other: &str, format: Option<&str>) -> Result<(), Failure> {
    let comparison = context.engine_to_look()?.compare(image, other)?;
    explain::print(format, &comparison, |_| text(&comparison))
}

fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for difference in &comparison.differences {
        text.push_str(&line(difference));
    }
    text
}

fn line(difference: &Difference) -> String {
    let mark = match difference.change {
        Change::Added => 'A',
        Change::Removed => 'D',
        Change::Changed => 'C',
    };
    let mut details = Vec::new();
    if let (Some(from), Some(to)) = (&difference.from, &difference.to) {
        details.extend(difference.aspects.iter().map(|aspect| detail(*aspect, from, to)));
    }
    let details = if details.is_empty() { String::new() } else { format!("  ({})", details.join(", ")) };
    format!("{mark} {}{}\n", screen::escape(&difference.path), screen::escape(&details))
}

fn detail(aspect: Aspect, from: &Entry, to: &Entry) -> String {
    match aspect {
        Aspect::Kind => format!("{} is now {}", from.kind, to.kind),
        Aspect::Content => "content".to_owned(),
        Aspect::Size => format!("size {} to {}", from.size_bytes, to.size_bytes),
        Aspect::Mode => format!("mode {} to {}", from.mode, to.mode),
        Aspect::Owner => format!("owner {}:{} to {}:{}", from.uid, from.gid, to.uid, to.gid),
        Aspect::Mtime => "mtime".to_owned(),
        Aspect::Target => format!(
            "target {} to {}",
            from.target.as_deref().unwrap_or("none"),
            to.target.as_deref().unwrap_or("none")
        ),
        Aspect::Device => "device".to_owned(),
        Aspect::Xattrs => "xattrs".to_owned(),
    }
}
