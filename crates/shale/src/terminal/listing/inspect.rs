//! `shale inspect`: whole documents.

mod docker_structs;

use serde_json::Value;

pub use self::docker_structs::{CONTAINER, IMAGE};
use crate::terminal::{
    json::{self, Escape},
    template::{Subject, Template, TemplateError, shape::Shape},
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
    /// The struct that docker decodes it into, [`CONTAINER`] or [`IMAGE`].
    pub shape: Shape,
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
        // docker asks the struct first, and the JSON when that fails; only the second failure shows.
        let line = template
            .render(&object.document, Subject::Typed(object.shape))
            .or_else(|_| template.render(&object.document, Subject::Document));
        match line {
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
        Object { document, shape: IMAGE, escape: Escape::Nothing }
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

    #[derive(serde::Deserialize)]
    struct Answer {
        name: String,
        template: String,
        #[serde(default)]
        output: String,
        error: Option<String>,
    }

    /// What docker answered for each template: CLI 28.2.2 before dockerd 20.10.24, with images and containers of busybox.
    #[test]
    fn every_template_gives_what_docker_gives() {
        const INSPECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/inspect");
        let read = |name: &str| std::fs::read_to_string(format!("{INSPECT}/{name}")).unwrap();
        let recorded: Value = serde_json::from_str(&read("documents.json")).unwrap();
        let mut differences = Vec::new();
        for line in read("answers.jsonl").lines() {
            let answer: Answer = serde_json::from_str(line).unwrap();
            let recorded = &recorded[&answer.name];
            let shape = if recorded["kind"] == "container" { CONTAINER } else { IMAGE };
            let object = Object { document: recorded["document"].clone(), shape, escape: Escape::Nothing };
            let shown = shown(&[object], Some(&answer.template));
            let expected = answer.error.as_ref().unwrap_or(&answer.output);
            let actual = shown.error.map_or(shown.text, |error| error.to_string());
            if *expected != actual {
                differences.push(format!(
                    "{} {}\n  docker: {expected}\n  us: {actual}",
                    answer.name, answer.template
                ));
            }
        }
        assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    }

    #[test]
    fn a_document_without_the_fields_of_older_versions_answers_for_them() {
        // From version 1.50 of the API on an image has no Config.Tty, from 1.44 on no VirtualSize.
        let objects = [json!({"Id": "a", "Size": 7, "Config": {"Cmd": null}})].map(plain);
        let template = "{{.VirtualSize}} {{.Config.Tty}} {{.Config.Cmd}} {{.Config}} {{json .}}";
        assert_eq!(
            shown(&objects, Some(template)).text,
            "7 false [] {{ map[] [] [] [] map[]  map[]  false} {<nil> [] []}} \
             {\"Id\":\"a\",\"Size\":7,\"Config\":{\"Cmd\":null}}\n"
        );
    }
}
