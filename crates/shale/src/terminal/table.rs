//! Rows → text: `table`, `table TEMPLATE`, `json` and bare templates, as docker's `--format` has them.

use serde_json::{Map, Value};

use super::{
    json, screen,
    template::{Subject, Template, TemplateError},
};

/// What a listing is: docker's type behind its rows, and a heading for every field.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    /// The Go type that docker names when a field is missing.
    pub type_name: &'static str,
    /// Field and heading.
    pub headings: &'static [(&'static str, &'static str)],
}

impl Listing {
    /// Renders `rows` as `format` says; each row is an object with the fields of [`Listing::headings`].
    ///
    /// `format` is `table TEMPLATE`, `json`, or a template. The result ends in a line break unless it is empty.
    ///
    /// # Errors
    /// When the template is wrong or names a field that is not there.
    ///
    /// Source: docker CLI 28.2 `formatter.Context`.
    pub fn render(&self, format: &str, rows: &[Value]) -> Result<String, TemplateError> {
        if format == "json" {
            return Ok(rows.iter().map(|row| json::compact(row, json::Escape::Html) + "\n").collect());
        }
        let table = format.strip_prefix("table");
        let source = table.unwrap_or(format).trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&source)?;
        let mut lines = String::new();
        for row in rows {
            lines.push_str(&self.render_row(&source, &template, row)?);
            lines.push('\n');
        }
        match table {
            None => Ok(lines),
            Some(_) => Ok(align(&format!("{}\n{lines}", template.render_header(&self.heading_values())))),
        }
    }

    fn render_row(&self, source: &str, template: &Template, row: &Value) -> Result<String, TemplateError> {
        // `{{json .}}` of a row is the escaped form: docker marshals the row before `json` sees it.
        if source == "{{json .}}" {
            return Ok(json::compact(row, json::Escape::Html));
        }
        template.render(row, Subject::Row(self.type_name))
    }

    fn heading_values(&self) -> Value {
        let headings = self.headings.iter().map(|&(field, heading)| (field.to_owned(), Value::from(heading)));
        Value::Object(headings.collect::<Map<_, _>>())
    }
}

/// Aligns tab-separated cells: a column is as wide as its longest cell and three blanks, and at least ten.
///
/// A column is a run of neighbouring lines that have the cell; the last cell of a line belongs to none.
///
/// Source: Go `text/tabwriter` as docker sets it up (minimum 10, padding 3, blanks).
pub fn align(text: &str) -> String {
    const WIDTH_MIN: usize = 10;
    const PADDING: usize = 3;
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let mut runs = vec![(0, lines.len(), 0)];
    while let Some((start, end, column)) = runs.pop() {
        let mut line = start;
        while line < end {
            if lines[line].len() <= column + 1 {
                line += 1;
                continue;
            }
            let run_end = (line..end).find(|&line| lines[line].len() <= column + 1).unwrap_or(end);
            let longest = lines[line..run_end].iter().map(|cells| screen::columns(cells[column])).max();
            let width = (longest.unwrap_or(0) + PADDING).max(WIDTH_MIN);
            widths[line..run_end].iter_mut().for_each(|widths| widths[column] = width);
            runs.push((line, run_end, column + 1));
            line = run_end;
        }
    }
    let mut output = String::with_capacity(text.len() * 2);
    for (at, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            output.push('\n');
        }
        for (cell, width) in cells.iter().zip(widths) {
            output.push_str(cell);
            output.extend(std::iter::repeat_n(' ', width - screen::columns(cell)));
        }
        output.push_str(cells[cells.len() - 1]);
    }
    output
}

/// Makes a row of texts; the fields come in the alphabetical order in which docker prints them as JSON.
pub(super) fn row(fields: impl IntoIterator<Item = (&'static str, String)>) -> Value {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_unstable_by_key(|&(field, _)| field);
    Value::Object(fields.into_iter().map(|(field, text)| (field.to_owned(), Value::from(text))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_or_the_longest_cell_and_three() {
        assert_eq!(align("A\tB\nlonger than ten\tb\n"), "A                 B\nlonger than ten   b\n");
        assert_eq!(align("A\tB\na\tb\n"), "A         B\na         b\n");
    }

    #[test]
    fn a_line_without_the_cell_ends_the_column() {
        // Go's tabwriter aligns each run of lines for itself.
        assert_eq!(align("0123456789ab\tx\nalone\na\tb\n"), "0123456789ab   x\nalone\na         b\n");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(align("世界世界世界\tx\na\ty\n"), "世界世界世界   x\na              y\n");
    }

    #[test]
    fn an_empty_last_cell_leaves_the_blanks_before_it() {
        // As in the recorded history: a row without a comment ends in blanks.
        assert_eq!(align("SIZE\tCOMMENT\n0B\t\n"), "SIZE      COMMENT\n0B        \n");
    }
}
