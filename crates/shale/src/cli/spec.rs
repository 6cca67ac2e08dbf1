//! What a command is: its name, its flags, what it takes. Parsing, help and completion all read the same table.

use super::{Command, flags::Matches};

/// A command or a group of commands.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The word that calls it.
    pub name: &'static str,
    /// Other words for it at the same place.
    pub aliases: &'static [&'static str],
    /// What stands after the name on the usage line.
    pub usage: &'static str,
    /// One line.
    pub about: &'static str,
    /// The description in the command's own help; empty where `about` says it all.
    pub long: &'static str,
    /// Every path that leads here, without the program's name; empty where there is one.
    pub paths: &'static [&'static str],
    /// Fewest and most arguments.
    pub arguments: (usize, usize),
    /// Flags in alphabetical order.
    pub flags: &'static [Flag],
    /// Whether everything from the first argument on is arguments: the command to run in a container.
    pub flags_first: bool,
    /// Where the command stands in the help of the program.
    pub place: Place,
    /// Commands of a group; empty for a command.
    pub commands: &'static [Spec],
    /// Makes the command of what was typed; none for a group.
    pub make: Option<fn(&Matches) -> Command>,
    /// What completes its arguments.
    pub completes: Completes,
}

/// A part of the program's help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// "Common Commands", in the order of the table.
    Common,
    /// "Management Commands".
    Management,
    /// "Commands", by name.
    Plain,
}

/// What a shell offers for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completes {
    /// Nothing.
    Nothing,
    /// Files.
    Files,
    /// Names of images in the store.
    Images,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// A flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Name after `--`.
    pub long: &'static str,
    /// Letter after `-`.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// Description, with line breaks where docker has them.
    pub help: &'static str,
    /// Shown default, quotes included; empty for none.
    pub default: &'static str,
    /// What completes its value.
    pub completes: Completes,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true` and `=false`.
    Bool,
    /// A text; the last one counts.
    Text,
    /// A text each time, shown with this word.
    List(&'static str),
    /// `name=value` each time.
    Filter,
    /// Texts with commas between them.
    Strings,
    /// A number.
    Int,
    /// A number that is not below zero, shown with Go's word for its size.
    Unsigned(&'static str),
    /// A span of time as Go writes it, `1m30s`.
    Duration,
    /// A text shown with this word; the last one counts.
    Word(&'static str),
}

impl Kind {
    /// Returns the word that help shows after the flag.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Bool => "",
            Kind::Text => "string",
            Kind::List(word) | Kind::Word(word) | Kind::Unsigned(word) => word,
            Kind::Filter => "filter",
            Kind::Strings => "strings",
            Kind::Int => "int",
            Kind::Duration => "duration",
        }
    }
}

impl Spec {
    /// A command with nothing set; the tables fill it.
    pub const EMPTY: Spec = Spec {
        name: "",
        aliases: &[],
        usage: "",
        about: "",
        long: "",
        paths: &[],
        arguments: (0, 0),
        flags: &[],
        flags_first: false,
        place: Place::Plain,
        commands: &[],
        make: None,
        completes: Completes::Nothing,
    };

    /// Returns whether `word` calls this command.
    pub fn answers_to(&self, word: &str) -> bool {
        self.name == word || self.aliases.contains(&word)
    }

    /// Finds the command of a group that `word` calls.
    pub fn find(&self, word: &str) -> Option<&'static Spec> {
        self.commands.iter().find(|command| command.answers_to(word))
    }
}

impl Flag {
    /// A switch.
    pub const fn switch(long: &'static str, short: Option<char>, help: &'static str) -> Flag {
        Flag { long, short, kind: Kind::Bool, help, default: "", completes: Completes::Nothing }
    }

    /// A flag with a value.
    pub const fn value(long: &'static str, short: Option<char>, kind: Kind, help: &'static str) -> Flag {
        Flag { long, short, kind, help, default: "", completes: Completes::Nothing }
    }

    /// The same flag, with a default to show.
    pub const fn or(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    /// The same flag, with what completes its value.
    pub const fn completed_by(self, completes: Completes) -> Flag {
        Flag { completes, ..self }
    }
}
