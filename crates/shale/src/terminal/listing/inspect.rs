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

/// Renders `objects`: an array indented by four spaces, with `json` the same on one line, with a template a line each.
///
/// As in docker, an array without objects is `[]`, and a template without objects gives an empty line.
///
/// Source: docker CLI 28.2 `cli/command/inspect`.
pub fn render(objects: &[Value], format: Option<&str>) -> Inspection {
    let array = || Value::Array(objects.to_vec());
    match format {
        None | Some("") => Inspection { text: json::indented(&array(), Escape::Nothing) + "\n", error: None },
        Some("json") => Inspection { text: json::compact(&array(), Escape::Nothing) + "\n", error: None },
        Some(template) => render_each(objects, template),
    }
}

fn render_each(objects: &[Value], template: &str) -> Inspection {
    let template = match Template::parse(template) {
        Ok(template) => template,
        Err(error) => return Inspection { text: String::new(), error: Some(error) },
    };
    let mut text = String::new();
    let mut error = None;
    for object in objects {
        match template.render(object, Subject::Document) {
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
    use super::{super::images::tests::golden, *};

    fn recorded() -> Value {
        serde_json::from_str(&golden("20.10.24/cli-28.2/inspect-app.json")).unwrap()
    }

    #[test]
    fn a_recorded_document_comes_out_byte_for_byte() {
        let objects = recorded();
        let inspection = render(objects.as_array().unwrap(), None);
        assert_eq!(
            inspection,
            Inspection { text: golden("20.10.24/cli-28.2/inspect-app.json"), error: None }
        );
        assert_eq!(render(&[], None).text, "[]\n");
    }

    #[test]
    fn a_template_gives_a_line_for_each_object_until_one_does_not_fit() {
        let objects = [serde_json::json!({"Id": "a", "Only": 1}), serde_json::json!({"Id": "b"})];
        assert_eq!(render(&objects, Some("{{.Id}}")).text, "a\nb\n");
        let broken = render(&objects, Some("{{.Only}}"));
        assert_eq!(broken.text, "1\n");
        assert_eq!(
            broken.error.unwrap().to_string(),
            "template parsing error: template: :1:2: executing \"\" at <.Only>: map has no entry for key \"Only\""
        );
        assert_eq!(render(&[], Some("{{.Id}}")).text, "\n");
    }

    #[test]
    fn the_recorded_template_comes_out() {
        // inspect-06-format of the transcripts asks for these fields.
        let objects = recorded();
        let template = "{{json .Config.Cmd}} {{.Architecture}}/{{.Os}} {{index .RepoTags 1}}";
        let shown = render(objects.as_array().unwrap(), Some(template)).text;
        assert_eq!(shown, "[\"/bin/sh\",\"-c\",\"cat /app/copied.txt\"] amd64/linux fx/app:1\n");
    }
}
