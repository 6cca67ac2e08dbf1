//! An explanation as text: a tree that fits a terminal, or plain whole lines for a pipe.

use shale_engine::explain::waste::{Merge, Waste, WastedFile, WastefulLayer};
use shale_engine::explain::{Explanation, ImageLayer, ImageReport, ImageUse, Meaning};

use crate::terminal::listing::short_id;
use crate::terminal::{screen, units::human_size};

/// Columns of the labels.
const LABEL: usize = 10;
/// Images that are named of those that share a layer.
const SHARED_MAX: usize = 5;

/// Lines, for a terminal of `width` columns or, without one, whole and without branches.
struct Lines {
    text: String,
    width: Option<usize>,
}

impl Lines {
    fn new(width: Option<usize>) -> Lines {
        Lines { text: String::new(), width }
    }

    /// Adds a line, cut to the width.
    fn line(&mut self, line: &str) {
        let line = screen::escape(line);
        match self.width {
            Some(width) => self.text.push_str(&screen::ellipsis(&line, width)),
            None => self.text.push_str(&line),
        }
        self.text.push('\n');
    }

    /// Adds sentences, broken between words.
    fn sentence(&mut self, sentence: &str) {
        let Some(width) = self.width else { return self.line(sentence) };
        let mut line = String::new();
        for word in sentence.split(' ') {
            if !line.is_empty() && screen::columns(&line) + 1 + screen::columns(word) > width {
                self.line(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&line);
    }

    /// Adds a label and its value below a branch.
    fn field(&mut self, label: &str, value: &str) {
        let trunk = if self.width.is_some() { "│  " } else { "    " };
        // On a terminal a hash goes without its algorithm, so that the whole of it fits.
        let value = if self.width.is_some() { value.strip_prefix("sha256:").unwrap_or(value) } else { value };
        self.line(&format!("{trunk}{label:<LABEL$}{value}"));
    }

    fn branch(&mut self, text: &str) {
        let branch = if self.width.is_some() { "├─ " } else { "  " };
        self.line(&format!("{branch}{text}"));
    }

    fn end(&mut self) {
        if self.width.is_some() {
            self.line("╵");
        }
    }
}

/// Renders what a subject is and how it connects.
pub fn explanation(explanation: &Explanation, width: Option<usize>) -> String {
    let mut lines = Lines::new(width);
    let subject = &explanation.subject;
    if !explanation.candidates.is_empty() {
        lines.sentence(&format!("{subject} is the begin of {} values:", explanation.candidates.len()));
        for candidate in &explanation.candidates {
            lines.field(word(candidate), &candidate.value);
        }
        lines.sentence("Give more of the one that you mean.");
        return lines.text;
    }
    if explanation.meanings.is_empty() {
        lines.sentence(&format!("{subject} is nothing that this store knows."));
        lines.sentence(&format!("Searched: {}.", explanation.searched.join("; ")));
        for advice in &explanation.advice {
            lines.sentence(&format!("Try: {advice}"));
        }
        return lines.text;
    }
    for (index, meaning) in explanation.meanings.iter().enumerate() {
        let before = &explanation.meanings[..index];
        let also = if before.is_empty() { "is" } else { "is also" };
        if meaning.value != *subject && before.iter().all(|before| before.value != meaning.value) {
            lines.sentence(&format!("{subject} stands for {}", meaning.value));
        }
        let note = if meaning.note.is_empty() { String::new() } else { format!(" ({})", meaning.note) };
        lines.sentence(&format!("{subject} {also} {}{note}.", meaning.kind.describe()));
    }
    let asked: Vec<_> = explanation.meanings.iter().filter_map(|meaning| meaning.layer).collect();
    let is_image = explanation.meanings.iter().any(|meaning| meaning.layer.is_none());
    if !asked.is_empty() && !is_image {
        layers_asked_for(&mut lines, explanation);
    } else {
        for image in &explanation.images {
            lines.line("");
            whole_image(&mut lines, image);
        }
    }
    lines.text
}

/// Returns the name of a kind as it stands in JSON, which is short enough for a label.
fn word(meaning: &Meaning) -> &'static str {
    use shale_engine::explain::Kind;
    match meaning.kind {
        Kind::Tag => "tag",
        Kind::RepositoryDigest | Kind::ManifestDigest => "manifest",
        Kind::ImageId => "image",
        Kind::LayerDigest => "registry",
        Kind::DiffId => "diff ID",
        Kind::ChainId => "chain ID",
        Kind::CacheId => "cache ID",
        Kind::Link => "link",
        Kind::Container | Kind::ContainerLayer | Kind::ContainerInitLayer => "container",
        Kind::Path => "path",
    }
}

/// Shows only the layers that were asked for, once, and the images that have them.
fn layers_asked_for(lines: &mut Lines, explanation: &Explanation) {
    let mut shown = Vec::new();
    for meaning in &explanation.meanings {
        for image in &explanation.images {
            let asked = |layer: &&ImageLayer| {
                Some(layer.chain_id) == meaning.layer && !shown.contains(&layer.chain_id)
            };
            let Some(layer) = image.layers.iter().find(asked) else { continue };
            lines.line("");
            one_layer(lines, layer);
            shown.push(layer.chain_id);
        }
    }
    if explanation.images.is_empty() {
        return;
    }
    lines.line("");
    lines.sentence("In these images:");
    for image in &explanation.images {
        let numbers: Vec<String> = image
            .layers
            .iter()
            .filter(|layer| shown.contains(&layer.chain_id))
            .map(|layer| layer.number.to_string())
            .collect();
        let position = match &numbers[..] {
            [] => String::new(),
            numbers => format!(", layer {} of {}", numbers.join(" and "), image.layers.len()),
        };
        lines.line(&format!(
            "  {}{position}",
            image_names(&image.id.to_string(), &image.tags, &image.manifests)
        ));
    }
}

fn image_names(id: &str, tags: &[String], manifests: &[String]) -> String {
    match tags.iter().chain(manifests).next() {
        Some(_) => {
            let names: Vec<&str> = tags.iter().chain(manifests).map(String::as_str).collect();
            format!("{} {}", short_id(id), names.join(", "))
        }
        None => format!("{} without a name", short_id(id)),
    }
}

fn whole_image(lines: &mut Lines, image: &ImageReport) {
    let id = image.id.to_string();
    let shown = if lines.width.is_some() { id.strip_prefix("sha256:").unwrap_or(&id) } else { &id };
    lines.line(&format!("image {shown}"));
    if let Some(damage) = &image.damage {
        lines.field("damage", damage);
    }
    for tag in &image.tags {
        lines.field("tag", tag);
    }
    for manifest in &image.manifests {
        let (repository, digest) = manifest.split_once('@').unwrap_or((manifest, ""));
        lines.field("manifest", digest);
        lines.field("", &format!("in {repository}"));
    }
    lines.field("platform", &image.platform);
    if let Some(created) = &image.created {
        lines.field("created", created);
    }
    lines.field("size", &stored(image.size_bytes, image.layers.len()));
    for (label, other) in image
        .parent
        .iter()
        .map(|parent| ("built on", parent))
        .chain(image.children.iter().map(|child| ("base of", child)))
    {
        lines.field(label, &use_of(other));
    }
    for container in &image.containers {
        let state = if container.running { "running" } else { "not running" };
        lines.field("container", &format!("{} {}, {state}", short_id(&container.id), container.name));
    }
    for layer in &image.layers {
        one_layer(lines, layer);
    }
    lines.branch("history, newest step first");
    for step in &image.history {
        let made = match step.layer {
            Some(layer) => format!("layer {layer}"),
            None => "config".to_owned(),
        };
        let text = if step.created_by.is_empty() { &step.comment } else { &step.created_by };
        lines.field(&format!("step {}", step.step), &format!("{made:<9} {text}"));
    }
    lines.end();
    if image.missing_steps > 0 {
        lines.sentence(&format!(
            "docker history prints <missing> for {} of these {} steps. Nothing is lost: an image carries the record of each \
             step, but the images that earlier steps ended with exist only where it was built by Docker's classic builder.",
            image.missing_steps,
            image.history.len()
        ));
    }
}

fn stored(size_bytes: u64, layers: usize) -> String {
    format!("{} in {layers} {}", human_size(size_bytes), if layers == 1 { "layer" } else { "layers" })
}

fn use_of(image: &ImageUse) -> String {
    match &image.names[..] {
        [] => short_id(&image.id.to_string()).to_owned(),
        names => format!("{} {}", short_id(&image.id.to_string()), names.join(", ")),
    }
}

fn one_layer(lines: &mut Lines, layer: &ImageLayer) {
    let size = layer.size_bytes.map_or_else(|| "missing or damaged".to_owned(), human_size);
    let step = layer.step.map(|step| format!(", step {step}")).unwrap_or_default();
    let made = if layer.created_by.is_empty() { String::new() } else { format!(": {}", layer.created_by) };
    lines.branch(&format!("layer {}, {size}{step}{made}", layer.number));
    for (index, seen) in layer.seen.iter().enumerate() {
        let is_new = index == 0 || layer.seen[index - 1].digest != seen.digest;
        if is_new {
            lines.field("registry", &seen.digest.to_string());
        }
        let how = if seen.pushed { "pushed" } else { "pulled" };
        lines.field("", &format!("in {} ({how})", seen.repository));
    }
    lines.field("diff ID", &layer.diff_id.to_string());
    lines.field("chain ID", &layer.chain_id.to_string());
    if let Some(cache_id) = &layer.cache_id {
        lines.field("cache ID", cache_id);
    }
    if let (Some(directory), None) = (&layer.directory, lines.width) {
        lines.field("directory", directory);
    } else if let Some(link) = &layer.link {
        lines.field("directory", &format!("overlay2/<cache ID>/diff, or overlay2/l/{link}"));
    }
    if let (Some(link), None) = (&layer.link, lines.width) {
        lines.field("link", link);
    }
    for (index, other) in layer.shared_with.iter().take(SHARED_MAX).enumerate() {
        lines.field(if index == 0 { "shared" } else { "" }, &format!("with {}", use_of(other)));
    }
    if layer.shared_with.len() > SHARED_MAX {
        lines.field("", &format!("and {} more", layer.shared_with.len() - SHARED_MAX));
    }
}

/// Renders what an image wastes.
pub fn waste(waste: &Waste, width: Option<usize>) -> String {
    let mut lines = Lines::new(width);
    let id = waste.image.to_string();
    lines.line(&format!(
        "image {}",
        if width.is_some() { id.strip_prefix("sha256:").unwrap_or(&id) } else { &id }
    ));
    lines.field("stored", &stored(waste.total_bytes, waste.layers.len()));
    lines.field("wasted", &human_size(waste.wasted_bytes));
    lines.field("efficient", &format!("{}%", waste.efficiency_percent));
    for layer in &waste.layers {
        wasteful_layer(&mut lines, layer);
    }
    lines.end();
    if waste.wasted_bytes == 0 {
        lines.sentence("No layer deletes or replaces what an earlier one brought.");
        return lines.text;
    }
    lines.line("");
    lines.sentence("Files that cost most:");
    for file in &waste.files {
        wasted_file(&mut lines, file);
    }
    lines.line("");
    lines.sentence("Steps to merge into one, or to change so that the file is never stored:");
    for merge in &waste.merges {
        one_merge(&mut lines, merge);
    }
    lines.text
}

fn wasteful_layer(lines: &mut Lines, layer: &WastefulLayer) {
    let step = layer.step.map(|step| format!(", step {step}")).unwrap_or_default();
    let made = if layer.created_by.is_empty() { String::new() } else { format!(": {}", layer.created_by) };
    lines.branch(&format!("layer {}, {}{step}{made}", layer.number, human_size(layer.total_bytes)));
    if layer.deleted_bytes > 0 {
        lines.field("deleted", &format!("{} later", human_size(layer.deleted_bytes)));
    }
    if layer.replaced_bytes > 0 {
        lines.field("replaced", &format!("{} later", human_size(layer.replaced_bytes)));
    }
}

fn wasted_file(lines: &mut Lines, file: &WastedFile) {
    let fate = if file.replaced { "replaced" } else { "deleted" };
    let size = human_size(file.size_bytes);
    lines.line(&format!(
        "  {size:>9}  {} (layer {}, {fate} in layer {})",
        file.path, file.layer, file.lost_in_layer
    ));
}

fn one_merge(lines: &mut Lines, merge: &Merge) {
    lines.line(&format!(
        "  {:>9}  layers {} and {}",
        human_size(merge.saves_bytes),
        merge.layers[0],
        merge.layers[1]
    ));
    for (step, created_by) in merge.steps.iter().zip(&merge.created_by) {
        let step = step.map_or_else(|| "step ?".to_owned(), |step| format!("step {step}"));
        lines.line(&format!("             {step}: {created_by}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_into_eighty_columns_and_long_text_is_cut() {
        let mut lines = Lines::new(Some(80));
        lines.field("chain ID", &format!("sha256:{}", "a".repeat(64)));
        lines.branch(&"long ".repeat(40));
        lines.sentence(&"words ".repeat(40));
        assert!(lines.text.lines().all(|line| screen::columns(line) <= 80), "{}", lines.text);
        assert!(lines.text.contains(&"a".repeat(64)));
    }

    #[test]
    fn a_pipe_gets_whole_lines_without_control_characters() {
        let mut lines = Lines::new(None);
        lines.branch(&format!("{}\u{1b}[2J", "long ".repeat(40)));
        lines.field("chain ID", "sha256:aa");
        assert!(lines.text.starts_with("  long long"));
        assert!(lines.text.contains("\\x1b[2J\n    chain ID  sha256:aa\n"), "{}", lines.text);
    }
}
