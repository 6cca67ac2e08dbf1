//! `--format` templates: Go's `text/template` with Docker's functions, over ordered JSON values.
//!
//! Promise: what `docker … --format` prints for a template, this prints, error texts included. The differential corpus in
//! `tests/templates/` holds it against Go itself.
//! Not here: tables and the `json` and `table` keywords, which are [`super::table`]'s.

mod compare;
mod functions;
mod lex;
mod parse;
mod print;
mod printf;
mod run;
pub mod shape;

use std::collections::HashMap;

use serde_json::Value;

use self::{parse::Node, shape::Shape};

/// A parsed template; one can render many values.
#[derive(Debug)]
pub struct Template {
    /// The text, to find the line and column of an error.
    source: String,
    main: Vec<Node>,
    defined: HashMap<String, Vec<Node>>,
}

/// What stands behind the dot at the start, which decides what a name that is not there means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A JSON document: a missing key is an error, as in `docker inspect`.
    Document,
    /// A JSON document as Go decodes it into a struct of this type: a field that it leaves out has its zero value.
    Typed(Shape),
    /// A map: a missing key prints `<no value>`.
    Map,
    /// A row of a listing: a missing field is an error that names this Go type, as in `docker images`.
    Row(&'static str),
}

/// A template that Go would not accept, or that does not fit the value.
///
/// The text is docker's, `template parsing error: ` included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template parsing error: template: {0}")]
pub struct TemplateError(String);

impl Template {
    /// Parses `source`; escapes such as `\t` outside strings are not touched.
    ///
    /// # Errors
    /// With Go's words for what is wrong and the line it is in.
    pub fn parse(source: &str) -> Result<Template, TemplateError> {
        let parsed = parse::parse(source).map_err(TemplateError)?;
        Ok(Template { source: source.to_owned(), main: parsed.main, defined: parsed.defined })
    }

    /// Renders `value`, the dot, to text.
    ///
    /// # Errors
    /// With Go's words, line and column, when a field is missing or a function does not accept its arguments.
    pub fn render(&self, value: &Value, subject: Subject) -> Result<String, TemplateError> {
        let mut output = String::new();
        run::run(self, value, subject, run::Functions::OfRows, &mut output).map_err(TemplateError)?;
        Ok(output)
    }

    /// Renders the header line of a table: fields give their headings, and functions such as `upper` or `json` give them
    /// back unchanged. An error ends the line where it happens, as in docker.
    pub fn render_header(&self, headings: &Value) -> String {
        let mut output = String::new();
        // docker ignores the error too: the rows have shown it already.
        let _ = run::run(self, headings, Subject::Map, run::Functions::OfHeadings, &mut output);
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/templates");

    fn render(source: &str, value: &Value, subject: Subject) -> Result<String, TemplateError> {
        Template::parse(source)?.render(value, subject)
    }

    /// What Go's text/template made of each template; `tests/templates/oracle.go` wrote the file.
    #[test]
    fn every_template_of_the_corpus_gives_what_go_gives() {
        let value =
            serde_json::from_str(&std::fs::read_to_string(format!("{TEMPLATES}/value.json")).unwrap())
                .unwrap();
        let corpus = std::fs::read_to_string(format!("{TEMPLATES}/expected.jsonl")).unwrap();
        let mut differences = Vec::new();
        for line in corpus.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| case[key].as_str().unwrap_or_default();
            let subject = if text("missing") == "error" { Subject::Document } else { Subject::Map };
            let (expected, actual) = match render(text("template"), &value, subject) {
                Ok(output) if text("error").is_empty() => (text("output").to_owned(), output),
                Ok(output) => (text("error").to_owned(), output),
                Err(error) => (format!("template parsing error: {}", text("error")), error.to_string()),
            };
            if expected != actual {
                differences.push(format!(
                    "{:?} ({})\n  Go: {expected}\n  us: {actual}",
                    text("template"),
                    text("missing")
                ));
            }
        }
        assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    }

    #[test]
    fn a_missing_field_of_a_row_names_docker_s_type() {
        // Recorded: docker images --format '{{.Nope}}'.
        let row = serde_json::json!({"ID": "x"});
        let error = render("{{.Nope}}", &row, Subject::Row("*formatter.imageContext")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.imageContext"
        );
    }

    #[test]
    fn json_keeps_the_order_of_keys() {
        let value: Value = serde_json::from_str(r#"{"z":1,"a":{"y":"<&>","b":null}}"#).unwrap();
        assert_eq!(
            render("{{json .}}", &value, Subject::Document).unwrap(),
            r#"{"z":1,"a":{"y":"<&>","b":null}}"#
        );
    }

    #[test]
    fn headings_pass_through_functions() {
        // docker images --format 'table {{upper .Repository}}|{{json .Tag}}|{{truncate .ID 3}}|{{pad .Size 1 1}}'
        let headings =
            serde_json::json!({"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Size": "SIZE"});
        let template =
            Template::parse("{{lower .Repository}}|{{json .Tag}}|{{truncate .ID 3}}|{{pad .Size 1 1}}")
                .unwrap();
        assert_eq!(template.render_header(&headings), "REPOSITORY|TAG|IMAGE ID| SIZE ");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let source = format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(Template::parse(&source).is_err());
        let source = "{{define \"x\"}}{{template \"x\" .}}{{end}}{{template \"x\" .}}";
        assert!(
            render(source, &Value::Null, Subject::Map)
                .unwrap_err()
                .to_string()
                .contains("maximum template depth")
        );
    }
}
