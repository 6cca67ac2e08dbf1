//! `shale inspect`: whole documents.

use serde_json::Value;

use crate::terminal::{
    json::{self, Escape},
    template::{Subject, Template, TemplateError},
};

/// What an inspection prints, and the error that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// For standard output, even where there is an error.
    pub text: String,
    /// For standard error.
    pub error: Option<TemplateError>,
}

/// An object and the escapes that docker prints it with.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// As the daemon would send it.
    pub document: Value,
    /// What is escaped in its strings, unless a template takes them apart.
    pub escape: Escape,
}

/// Renders `objects`: an array indented by four spaces, with `json` the same on one line, with a template a line each.
///
/// As in docker, an array without objects is `[]`, and a template without objects gives an empty line.
///
/// Source: docker CLI 28.2 `cli/command/inspect`.
pub fn render(objects: &[Object], format: &Format) -> Inspection {
    let list = |is_indented| {
        let items: Vec<(&Value, Escape)> =
            objects.iter().map(|object| (&object.document, object.escape)).collect();
        Inspection { text: json::list(&items, is_indented) + "\n", error: None }
    };
    match format {
        Format::Indented => list(true),
        Format::OneLine => list(false),
        Format::Template(template) => render_each(objects, template),
    }
}

/// How objects are shown.
#[derive(Debug)]
pub enum Format {
    /// A list, indented by four spaces.
    Indented,
    /// A list on one line.
    OneLine,
    /// A line for each.
    Template(Template),
}

impl Format {
    /// Takes what stands behind `--format`.
    ///
    /// # Errors
    /// [`TemplateError`] when it is no template.
    pub fn parse(format: Option<&str>) -> Result<Format, TemplateError> {
        match format {
            None | Some("") => Ok(Format::Indented),
            Some("json") => Ok(Format::OneLine),
            Some(template) => Ok(Format::Template(Template::parse(template)?)),
        }
    }
}

fn render_each(objects: &[Object], template: &Template) -> Inspection {
    let mut text = String::new();
    let mut error = None;
    for object in objects {
        match template.render(&object.document, Subject::Document) {
            Ok(line) => text.push_str(&(line + "\n")),
            Err(first) => {
                error = Some(first);
                break;
            }
        }
    }
    if text.is_empty() {
        text.push('\n');
    }
    Inspection { text, error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::images::tests::golden, *};

    fn plain(document: Value) -> Object {
        Object { document, escape: Escape::Nothing }
    }

    fn recorded() -> Vec<Object> {
        let recorded = golden("20.10.24/cli-28.2/inspect-app.json");
        serde_json::from_str::<Vec<Value>>(&recorded).unwrap().into_iter().map(plain).collect()
    }

    fn shown(objects: &[Object], format: Option<&str>) -> Inspection {
        render(objects, &Format::parse(format).unwrap())
    }

    #[test]
    fn a_recorded_document_comes_out_byte_for_byte() {
        let inspection = shown(&recorded(), None);
        assert_eq!(
            inspection,
            Inspection { text: golden("20.10.24/cli-28.2/inspect-app.json"), error: None }
        );
        assert_eq!(shown(&[], None).text, "[]\n");
    }

    #[test]
    fn a_template_gives_a_line_for_each_object_until_one_does_not_fit() {
        let objects = [json!({"Id": "a", "Only": 1}), json!({"Id": "b"})].map(plain);
        assert_eq!(shown(&objects, Some("{{.Id}}")).text, "a\nb\n");
        let broken = shown(&objects, Some("{{.Only}}"));
        assert_eq!(broken.text, "1\n");
        assert_eq!(
            broken.error.unwrap().to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Only>: map has no entry for key \"Only\""
        );
        assert_eq!(shown(&[], Some("{{.Id}}")).text, "\n");
    }

    #[test]
    fn the_recorded_template_comes_out() {
        // inspect-06-format of the transcripts asks for these fields.
        let template = "{{json .Config.Cmd}} {{.Architecture}}/{{.Os}} {{index .RepoTags 1}}";
        let shown = shown(&recorded(), Some(template)).text;
        assert_eq!(shown, "[\"/bin/sh\",\"-c\",\"cat /app/copied.txt\"] amd64/linux fx/app:1\n");
    }
}
