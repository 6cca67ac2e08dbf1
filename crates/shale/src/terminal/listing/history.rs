//! `shale history`.

use jiff::Timestamp;
use serde_json::Value;

use super::{Clock, cell, short_id};
use crate::terminal::{
    age, screen,
    table::{Listing, row},
    template::TemplateError,
    units::table_size,
};

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_FOR_PROGRAMS: &str = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

/// Before this second a build date is a placeholder (reproducible builds use 1970 and 1980), so it has no age.
const YEAR_2000: i64 = 946_684_800;

const CREATED_BY_COLUMNS: usize = 45;

const LISTING: Listing = Listing {
    type_name: "*image.historyContext",
    headings: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
};

/// A step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The image that the step made; `None` prints `<missing>`.
    pub id: Option<String>,
    /// Seconds since 1970.
    pub created_seconds: i64,
    /// The command.
    pub created_by: String,
    /// Bytes that the step's layer adds.
    pub size_bytes: u64,
    /// The comment.
    pub comment: String,
}

/// How to list a history: the flags of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--format`; empty means `table`.
    pub format: String,
    /// `--quiet`.
    pub quiet: bool,
    /// `--human`.
    pub human: bool,
    /// `--no-trunc`.
    pub no_trunc: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { format: String::new(), quiet: false, human: true, no_trunc: false }
    }
}

/// Renders `steps`, newest first as they come.
///
/// # Errors
/// When `--format` does not fit.
///
/// Source: docker CLI 28.2 `HistoryWrite`.
pub fn render(steps: &[Step], options: &Options, clock: &Clock) -> Result<String, TemplateError> {
    let format = match options.format.as_str() {
        "" | "table" if options.quiet => "{{.ID}}",
        "" | "table" if options.human => TABLE,
        "" | "table" => TABLE_FOR_PROGRAMS,
        own => own,
    };
    let text = match format {
        table if table.starts_with("table") => cell,
        // JSON has escapes of its own.
        json if json.contains("json") => str::to_owned,
        _ => |text: &str| screen::escape_lines(text).into_owned(),
    };
    let rows: Vec<Value> = steps.iter().map(|step| step_row(step, options, clock, text)).collect();
    LISTING.render(format, &rows)
}

/// Returns a row; `text` makes safe what the image's maker wrote.
fn step_row(step: &Step, options: &Options, clock: &Clock, text: fn(&str) -> String) -> Value {
    let created = Timestamp::from_second(step.created_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let created_at = age::rfc3339(created, &clock.zone);
    let created_since = match () {
        () if !options.human => created_at.clone(),
        () if step.created_seconds <= YEAR_2000 => "N/A".to_owned(),
        () => age::ago(created, clock.now),
    };
    let created_by = text(&step.created_by.replace('\t', " "));
    let created_by = match options.no_trunc {
        true => created_by,
        false => screen::ellipsis(&created_by, CREATED_BY_COLUMNS).into_owned(),
    };
    let id = match &step.id {
        None => "<missing>",
        Some(id) if options.no_trunc => id,
        Some(id) => short_id(id),
    };
    row([
        ("Comment", text(&step.comment)),
        ("CreatedAt", created_at),
        ("CreatedBy", created_by),
        ("CreatedSince", created_since),
        ("ID", id.to_owned()),
        ("Size", if options.human { table_size(step.size_bytes) } else { step.size_bytes.to_string() }),
    ])
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::{super::images::tests::golden, *};

    fn recorded_steps() -> Vec<Step> {
        let document: Value =
            serde_json::from_str(&golden("28.5.2/api/images_fx_app_1_history.json")).unwrap();
        let step = |value: &Value| Step {
            id: value["Id"].as_str().filter(|&id| id != "<missing>").map(str::to_owned),
            created_seconds: value["Created"].as_i64().unwrap(),
            created_by: value["CreatedBy"].as_str().unwrap().to_owned(),
            size_bytes: value["Size"].as_u64().unwrap(),
            comment: value["Comment"].as_str().unwrap().to_owned(),
        };
        document.as_array().unwrap().iter().map(step).collect()
    }

    #[track_caller]
    fn check(file: &str, options: &Options) {
        let steps = recorded_steps();
        let now = Timestamp::from_second(steps[0].created_seconds + 8).unwrap();
        let actual = render(&steps, options, &Clock { now, zone: TimeZone::UTC }).unwrap();
        assert_eq!(actual, golden(&format!("28.5.2/cli-28.2/{file}")));
    }

    #[test]
    fn the_recorded_tables_come_out() {
        check("history-app-trunc.txt", &Options::default());
        check("history-app.txt", &Options { no_trunc: true, ..Options::default() });
        check("history-app-nohuman.txt", &Options { no_trunc: true, human: false, ..Options::default() });
    }

    #[test]
    fn what_no_image_stands_for_is_missing_and_what_has_no_date_is_not_available() {
        let step = Step {
            id: None,
            created_seconds: 0,
            created_by: "a\tb".into(),
            size_bytes: 0,
            comment: "\u{1b}[2J".into(),
        };
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        let shown = render(&[step], &Options::default(), &clock).unwrap();
        assert_eq!(shown.lines().nth(1), Some("<missing>   N/A       a b          0B        \\x1b[2J"));
    }

    #[test]
    fn programs_get_line_breaks_as_they_are() {
        let step = Step {
            id: None,
            created_seconds: 0,
            created_by: "a\tb\nc".into(),
            size_bytes: 0,
            comment: "\u{1b}[2J".into(),
        };
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        let shown = |format: &str| {
            let options = Options { format: format.to_owned(), ..Options::default() };
            render(std::slice::from_ref(&step), &options, &clock).unwrap()
        };
        // As the CLI 28.2 prints them, but for the escape sequence.
        let json = r#"{"Comment":"\u001b[2J","CreatedAt":"1970-01-01T00:00:00Z","CreatedBy":"a b\nc","CreatedSince":"N/A","ID":"\u003cmissing\u003e","Size":"0B"}"#;
        assert_eq!(shown("{{json .}}").trim_end(), json);
        assert_eq!(shown("json").trim_end(), json);
        assert_eq!(shown("{{.CreatedSince}}|{{.CreatedBy}}|{{.Comment}}"), "N/A|a b\nc|\\x1b[2J\n");
    }
}
