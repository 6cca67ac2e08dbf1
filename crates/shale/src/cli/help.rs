//! Help and complaints in the layout of docker's command line.

use super::{
    spec::{Flag, Place, Spec},
    suggest,
};

/// A command line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UsageError {
    /// What to write to standard error, without the last line break.
    pub text: String,
    /// Exit code of the program.
    pub exit_code: u8,
}

/// Exit code for a wrong flag.
const EXIT_FLAG: u8 = 125;

const PROGRAM: &str = "shale";

/// Names are padded to this width at least.
const NAME_WIDTH_MIN: usize = 11;

/// Returns the help of the command that `path` leads to; the last of `path` is the command, the first the program.
///
/// `columns` is the width of the terminal, 80 where there is none.
///
/// Source: docker CLI 28.2 `cli/cobra.go` (usage template).
pub fn help(path: &[&Spec], columns: usize) -> String {
    let spec = path[path.len() - 1];
    let is_program = path.len() == 1;
    let is_group = !spec.commands.is_empty();
    let mut text = format!(
        "Usage:  {}\n\n",
        if is_program { format!("{PROGRAM} [OPTIONS] COMMAND") } else { usage_line(path) }
    );
    text.push_str(if spec.long.is_empty() { spec.about } else { spec.long });
    text.push('\n');
    if !spec.paths.is_empty() {
        let paths: Vec<String> = spec.paths.iter().map(|path| format!("{PROGRAM} {path}")).collect();
        text.push_str(&format!("\nAliases:\n  {}\n", paths.join(", ")));
    }
    if !is_program && !spec.flags.is_empty() {
        text.push_str(&format!("\nOptions:\n{}", flag_table(spec.flags, columns)));
    }
    let width = spec.commands.iter().map(|command| command.name.len()).max().unwrap_or(0).max(NAME_WIDTH_MIN);
    for (title, place) in [
        ("Common Commands", Place::Common),
        ("Management Commands", Place::Management),
        ("Commands", Place::Plain),
    ] {
        let mut commands: Vec<&Spec> =
            spec.commands.iter().filter(|command| !is_program || command.place == place).collect();
        if commands.is_empty() || (!is_program && place != Place::Plain) {
            continue;
        }
        if place != Place::Common {
            commands.sort_unstable_by_key(|command| command.name);
        }
        text.push_str(&format!("\n{title}:\n"));
        for command in commands {
            text.push_str(&format!("  {:width$} {}\n", command.name, command.about));
        }
    }
    if is_program {
        text.push_str(&format!("\nGlobal Options:\n{}", flag_table(spec.flags, columns)));
    }
    if is_group {
        text.push_str(&format!(
            "\nRun '{} COMMAND --help' for more information on a command.\n",
            words(path)
        ));
    }
    if is_program {
        text.push_str("\nTo see the whole story without network or root, run 'shale tour'.\n");
    }
    text
}

/// Says that a flag is wrong.
pub fn flag_error(path: &[&Spec], reason: &str) -> UsageError {
    let guess = reason
        .strip_prefix("unknown flag: --")
        .and_then(|flag| {
            let flags = path.iter().flat_map(|spec| spec.flags).map(|flag| flag.long);
            suggest::closest(flag, flags)
        })
        .map(|flag| format!("\n\nDid you mean '--{flag}'?"))
        .unwrap_or_default();
    UsageError {
        text: format!("{reason}{guess}\n\nUsage:  {}\n\n{}", usage_line(path), hint(path)),
        exit_code: EXIT_FLAG,
    }
}

/// Says that a command does not exist, and which may have been meant.
pub fn unknown_command(path: &[&Spec], word: &str) -> UsageError {
    let group = path[path.len() - 1];
    let mut text = format!("{PROGRAM}: unknown command: {} {word}\n\n", words(path));
    if let Some(guess) = suggest::command(path, word) {
        text.push_str(&format!("Did you mean '{guess}'?\n\n"));
    }
    if path.len() > 1 {
        text.push_str(&format!("Usage:  {} {}\n\n", words(path), group.usage));
    }
    UsageError { text: text + &hint(path), exit_code: 1 }
}

/// Says how many arguments a command takes, where `given` is not among them.
pub fn check_argument_count(path: &[&Spec], given: usize) -> Result<(), UsageError> {
    let (least, most) = path[path.len() - 1].arguments;
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let wanted = match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, most) if least == most => format!("requires {least} {}", plural(least)),
        (least, usize::MAX) => format!("requires at least {least} {}", plural(least)),
        (0, most) => format!("requires at most {most} {}", plural(most)),
        (least, most) => format!("requires at least {least} and at most {most} {}", plural(most)),
    };
    let text =
        format!("{PROGRAM}: '{}' {wanted}\n\nUsage:  {}\n\n{}", words(path), usage_line(path), hint(path));
    Err(UsageError { text, exit_code: 1 })
}

/// Says that `help WORDS` names no command.
pub fn unknown_topic(topic: &[String]) -> UsageError {
    UsageError { text: format!("unknown help topic: {}", topic.join(" ")), exit_code: 1 }
}

/// Returns the words that call the last command of `path`.
pub(super) fn words(path: &[&Spec]) -> String {
    path.iter().map(|spec| spec.name).collect::<Vec<_>>().join(" ")
}

fn usage_line(path: &[&Spec]) -> String {
    let usage = path[path.len() - 1].usage;
    if usage.is_empty() { words(path) } else { format!("{} {usage}", words(path)) }
}

fn hint(path: &[&Spec]) -> String {
    format!("Run '{} --help' for more information", words(path))
}

fn flag_table(flags: &[Flag], columns: usize) -> String {
    let mut flags: Vec<&Flag> = flags.iter().collect();
    flags.sort_unstable_by_key(|flag| flag.long);
    let names: Vec<String> = flags.iter().map(|flag| flag_names(flag)).collect();
    let indent = names.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut table = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let default =
            if flag.default.is_empty() { String::new() } else { format!(" (default {})", flag.default) };
        let help = wrapped(indent, columns.saturating_sub(1), &format!("{}{default}", flag.help));
        table.push_str(format!("{name:indent$}{help}").trim_end());
        table.push('\n');
    }
    table
}

fn flag_names(flag: &Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let word = flag.kind.word();
    format!("  {short}--{}{}{word}", flag.long, if word.is_empty() { "" } else { " " })
}

/// Wraps `text` to `columns`; lines after the first are indented.
///
/// A line may be five columns longer where that takes in the last words of the text.
/// Source: pflag `FlagUsagesWrapped`, held against docker's own help in the tests.
fn wrapped(mut indent: usize, columns: usize, text: &str) -> String {
    const ROOM_MIN: usize = 24;
    const SLACK: usize = 5;
    let mut output = String::new();
    if columns < indent + ROOM_MIN {
        // The names leave no room: the text starts below them.
        indent = 16;
        output.push_str(&format!("\n{}", " ".repeat(indent)));
    }
    if columns < indent + ROOM_MIN {
        return text.replace('\n', &output);
    }
    let room = columns - indent - SLACK;
    let line_break = format!("\n{}", " ".repeat(indent));
    let mut rest = text;
    loop {
        let (line, after) = first_line(room, SLACK, rest);
        output.push_str(&line.replace('\n', &line_break));
        if after.is_empty() {
            return output;
        }
        output.push_str(&line_break);
        rest = after;
    }
}

fn first_line(room: usize, slack: usize, text: &str) -> (&str, &str) {
    if room + slack > text.len() {
        return (text, "");
    }
    let mut end = room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let Some(last_space) = text[..end].rfind([' ', '\t', '\n']).filter(|&at| at > 0) else {
        return (text, "");
    };
    match text[..end].rfind('\n') {
        Some(line_break) if line_break > 0 && line_break < last_space => {
            (&text[..line_break], &text[line_break + 1..])
        }
        _ => (&text[..last_space], &text[last_space + 1..]),
    }
}
