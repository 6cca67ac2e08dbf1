//! Completion: what could stand at the end of a command line, and the scripts that ask.

use super::{
    command::Shell,
    spec::{Completes, Flag, Kind, Spec},
    tree,
};

/// The words that are there; the last, which may be empty, is to be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    words: Vec<String>,
    last: String,
}

/// What a shell may offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Words and what they mean; the meaning may be empty.
    pub candidates: Vec<(String, String)>,
    /// Whether files may stand there too.
    pub files: bool,
}

impl Request {
    /// Makes a request of the words after `shale __complete`.
    pub fn of(words: &[String]) -> Request {
        match words.split_last() {
            Some((last, words)) => Request { words: words.to_vec(), last: last.clone() },
            None => Request { words: Vec::new(), last: String::new() },
        }
    }

    /// Answers; `image_names` is asked only where the name of an image may stand.
    pub fn answer(&self, image_names: impl FnOnce() -> Vec<String>) -> Answer {
        let root = tree::root();
        let mut spec = root;
        let mut arguments = 0;
        let mut flag_before: Option<&Flag> = None;
        let mut only_arguments = false;
        for word in &self.words {
            if flag_before.take().is_some() {
                continue;
            }
            match word.strip_prefix('-').filter(|name| !name.is_empty() && !only_arguments) {
                Some("-") => only_arguments = true,
                Some(_) => flag_before = flag_that_waits(word, spec, root),
                None => match spec.find(word) {
                    Some(found) if arguments == 0 => spec = found,
                    _ => arguments += 1,
                },
            }
        }
        if let Some(flag) = flag_before {
            return self.select(flag.completes, &self.last, "", image_names);
        }
        if self.last.starts_with('-') && !only_arguments {
            return match self.last.split_once('=') {
                Some((name, value)) => {
                    let flag =
                        known_flags(spec, root).find(|flag| name.strip_prefix("--") == Some(flag.long));
                    let prefix = format!("{name}=");
                    flag.map(|flag| self.select(flag.completes, value, &prefix, image_names))
                        .unwrap_or_default()
                }
                None => self.flags(spec, root),
            };
        }
        if !spec.commands.is_empty() && arguments == 0 {
            let commands = spec.commands.iter().filter(|command| command.name.starts_with(&self.last));
            let candidates = commands.map(|command| (command.name.to_owned(), command.about.to_owned()));
            return Answer { candidates: candidates.collect(), files: false };
        }
        match spec.completes {
            Completes::Files if arguments > 0 => Answer::default(),
            Completes::Images if arguments >= spec.arguments.1 => Answer::default(),
            completes => self.select(completes, &self.last, "", image_names),
        }
    }

    fn flags(&self, spec: &Spec, root: &Spec) -> Answer {
        let own = spec.flags.iter();
        let program = root.flags.iter().filter(|_| std::ptr::eq(spec, root));
        let mut candidates: Vec<(String, String)> = own
            .chain(program)
            .map(|flag| (format!("--{}", flag.long), flag.help.lines().next().unwrap_or_default().to_owned()))
            .chain([("--help".to_owned(), "Print usage".to_owned())])
            .filter(|(name, _)| name.starts_with(&self.last))
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        Answer { candidates, files: false }
    }

    fn select(
        &self,
        completes: Completes,
        start: &str,
        prefix: &str,
        image_names: impl FnOnce() -> Vec<String>,
    ) -> Answer {
        let names = match completes {
            Completes::Nothing => Vec::new(),
            Completes::Files => return Answer { candidates: Vec::new(), files: true },
            Completes::Words(words) => words.iter().map(|&word| word.to_owned()).collect(),
            Completes::Images => image_names(),
        };
        let candidates = names
            .into_iter()
            .filter(|name| name.starts_with(start) && !self.words.contains(name))
            .map(|name| (format!("{prefix}{name}"), String::new()))
            .collect();
        Answer { candidates, files: false }
    }
}

impl Answer {
    /// Returns the answer as the scripts read it: a line for each candidate, then `:4`, or `:0` where files may stand.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (word, meaning) in &self.candidates {
            text.push_str(word);
            if !meaning.is_empty() {
                text.push('\t');
                text.push_str(meaning);
            }
            text.push('\n');
        }
        text.push_str(if self.files { ":0\n" } else { ":4\n" });
        text
    }
}

fn known_flags(spec: &'static Spec, root: &'static Spec) -> impl Iterator<Item = &'static Flag> {
    spec.flags.iter().chain(root.flags)
}

/// Returns the flag of `word` where the next word is its value.
fn flag_that_waits(word: &str, spec: &'static Spec, root: &'static Spec) -> Option<&'static Flag> {
    if word.contains('=') {
        return None;
    }
    let flag = match word.strip_prefix("--") {
        Some(name) => known_flags(spec, root).find(|flag| flag.long == name),
        None => {
            known_flags(spec, root).find(|flag| flag.short.is_some() && flag.short == word.chars().last())
        }
    };
    flag.filter(|flag| flag.kind != Kind::Bool)
}

/// Returns the script that makes `shell` complete `shale`.
pub fn script(shell: Shell, descriptions: bool) -> String {
    let script = match shell {
        Shell::Bash => include_str!("complete/shale.bash"),
        Shell::Fish => include_str!("complete/shale.fish"),
        Shell::Powershell => include_str!("complete/shale.ps1"),
        Shell::Zsh => include_str!("complete/shale.zsh"),
    };
    script.replace("__COMPLETE__", if descriptions { "__complete" } else { "__completeNoDesc" })
}
