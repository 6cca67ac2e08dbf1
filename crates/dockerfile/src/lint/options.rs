//! `# check=skip=A,B;error=true;experimental=all`.

use std::collections::BTreeSet;

use super::Rule;
use crate::instruction::parse_bool;
use crate::text::read_check_comment;

/// Which rules run.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    skips_all: bool,
    skipped: BTreeSet<String>,
    with_all_experimental: bool,
    experimental: BTreeSet<String>,
    pub findings_are_errors: bool,
}

impl Options {
    /// Reads the text behind `check=`.
    ///
    /// # Errors
    /// The part that is malformed.
    pub fn parse(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(options);
        }
        for part in text.splitn(3, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| part.to_owned())?;
            let value = value.trim();
            match key.trim() {
                "skip" if value == "all" => options.skips_all = true,
                "skip" => options.skipped.extend(value.split(',').map(|name| name.trim().to_owned())),
                "experimental" if value == "all" => options.with_all_experimental = true,
                "experimental" => {
                    options.experimental.extend(value.split(',').map(|name| name.trim().to_owned()));
                }
                "error" => options.findings_are_errors = parse_bool(value).ok_or_else(|| part.to_owned())?,
                key => return Err(key.to_owned()),
            }
        }
        Ok(options)
    }

    /// Returns the options that hold below the comment lines `comments`: the first `check=` among them adds to these.
    pub fn below(&self, comments: &[String]) -> Options {
        let mut merged = self.clone();
        if let Some(own) = comments.iter().find_map(|comment| read_check_comment(comment))
            && let Ok(own) = Options::parse(own)
        {
            merged.skips_all |= own.skips_all;
            merged.with_all_experimental |= own.with_all_experimental;
            merged.skipped.extend(own.skipped);
            merged.experimental.extend(own.experimental);
        }
        merged
    }

    pub fn runs(&self, rule: Rule) -> bool {
        if rule.is_experimental() {
            return self.with_all_experimental || self.experimental.contains(rule.name());
        }
        !self.skips_all && !self.skipped.contains(rule.name())
    }
}
