//! The variables that hold at one point of a stage.

use std::collections::{BTreeMap, HashMap};

use super::environment::Environment;
use super::plan::{BuildArguments, Plan};
use crate::dialect::{Dialect, Precedence};
use crate::expansion::{ExpandFault, Expander, Lookup};
use crate::instruction::Argument;

/// The search path of an image that has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Arguments that BuildKit reads and keeps out of the environment.
const HIDDEN_ARGUMENTS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Whether `name` may be given by `--build-arg` without an `ARG`: the proxies.
pub(super) fn is_predefined(name: &str, dialect: Dialect) -> bool {
    let known = if dialect == Dialect::Classic { &PROXIES[..4] } else { &PROXIES[..] };
    known.iter().any(|proxy| *proxy == name || proxy.to_lowercase() == name)
}

/// An `ARG` of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// The value, if it has one.
    pub value: Option<String>,
}

/// Walks the steps of one stage and keeps its variables.
///
/// A scope starts from the variables of the base image, which only the builder knows; [`StageScope::resolve`] then
/// takes each step once, in order, and applies what `ENV` and `ARG` change. It keeps nothing else of the image.
#[derive(Debug, Clone)]
pub struct StageScope {
    pub(super) dialect: Dialect,
    pub(super) escape: char,
    globals: Environment,
    build_arguments: BuildArguments,
    /// What the image keeps: `ENV`.
    environment: Environment,
    /// What words see, when the later of `ENV` and `ARG` wins: both, in the order in which they were set.
    both: Environment,
    /// What was declared by `ARG`, in order.
    arguments: Vec<Variable>,
    argument_places: HashMap<String, usize>,
    /// Variables that the last step used and nobody has set.
    pub(crate) unmatched: Vec<String>,
}

impl StageScope {
    /// Returns the scope at the start of a stage whose base image has the variables `environment` (`NAME=value` words).
    ///
    /// Without a `PATH` the usual one is added, for the image too. For `FROM scratch` the list is empty.
    pub fn from_image<'a>(plan: &Plan, environment: impl IntoIterator<Item = &'a str>) -> StageScope {
        let mut environment = Environment::from_list(environment);
        if environment.get("PATH").is_none() {
            // A base that already fills the set gets no path, and no other variable either.
            let _ = environment.set("PATH", DEFAULT_PATH);
        }
        StageScope {
            dialect: plan.dialect,
            escape: plan.escape,
            globals: plan.globals.clone(),
            build_arguments: plan.build_arguments.clone(),
            both: environment.clone(),
            environment,
            arguments: Vec::new(),
            argument_places: HashMap::new(),
            unmatched: Vec::new(),
        }
    }

    /// Returns the scope at the start of a stage that is built from the stage which ended with `parent`.
    pub fn from_stage(parent: &StageScope) -> StageScope {
        let mut scope = parent.clone();
        scope.unmatched.clear();
        if !scope.dialect.inherits_arguments() {
            scope.arguments.clear();
            scope.argument_places.clear();
            scope.both = scope.environment.clone();
        }
        scope
    }

    /// Returns the variables that the image keeps, in order: those of the base and of `ENV`.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the arguments that were declared so far, in order, with the values that hold now.
    ///
    /// BuildKit writes all of them into the history of a `RUN`; the classic builder those that have a value and that no
    /// `ENV` hides, in the order of their names ([`StageScope::classic_arguments`]).
    pub fn arguments(&self) -> Vec<Variable> {
        let current = |variable: &Variable| Variable {
            name: variable.name.clone(),
            value: self.value(&variable.name).map(str::to_owned).or_else(|| variable.value.clone()),
        };
        self.arguments.iter().map(current).collect()
    }

    /// Returns the arguments with a value that no `ENV` hides, in the order of their names.
    pub fn classic_arguments(&self) -> BTreeMap<&str, &str> {
        let visible = self.arguments.iter().filter(|variable| self.environment.get(&variable.name).is_none());
        visible.filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?))).collect()
    }

    /// Returns the variables of a `RUN`'s process: those of the image and the arguments, without proxies.
    pub fn run_environment(&self) -> Vec<(String, String)> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        match self.dialect.precedence() {
            Precedence::Later => self.both.iter().map(owned).collect(),
            Precedence::Environment => {
                self.environment.iter().chain(self.classic_arguments()).map(owned).collect()
            }
        }
    }

    /// Returns the proxies of `--build-arg` that no `ARG` declares: for a `RUN`'s process, but neither for the history
    /// nor for the cache.
    pub fn proxy_environment(&self) -> Vec<(String, String)> {
        let mut proxies = BTreeMap::new();
        for (name, value) in &self.build_arguments {
            if !is_predefined(name, self.dialect) || self.is_declared(name) {
                continue;
            }
            proxies.insert(name.clone(), value.clone());
            if self.dialect.sets_both_proxy_spellings() {
                for other in [name.to_uppercase(), name.to_lowercase()] {
                    if !self.build_arguments.contains_key(&other) {
                        proxies.insert(other, value.clone());
                    }
                }
            }
        }
        proxies.into_iter().filter(|(name, _)| self.environment.get(name).is_none()).collect()
    }

    fn is_declared(&self, name: &str) -> bool {
        self.argument_places.contains_key(name)
    }

    /// Returns the value that a word sees under `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.dialect.precedence() {
            Precedence::Later => self.both.get(name),
            Precedence::Environment => self.environment.get(name).or_else(|| {
                let declared = self.argument_places.get(name).map(|&place| &self.arguments[place]);
                let predefined =
                    || self.build_arguments.get(name).filter(|_| is_predefined(name, self.dialect));
                match declared {
                    Some(variable) => variable.value.as_deref(),
                    None => predefined().map(String::as_str),
                }
            }),
        }
    }

    /// Returns the names that a word sees.
    pub(crate) fn names(&self) -> Vec<&str> {
        let arguments = self.arguments.iter().map(|variable| variable.name.as_str());
        self.both.iter().map(|(name, _)| name).chain(arguments).collect()
    }

    pub(super) fn expander(&self) -> Expander {
        Expander::new(self.escape, self.dialect)
    }

    /// Keeps the names that are neither set nor declared.
    pub(super) fn note_unmatched(&mut self, names: Vec<String>) {
        for name in names {
            let is_known = self.is_declared(&name) || HIDDEN_ARGUMENTS.contains(&name.as_str());
            if !is_known && !self.unmatched.contains(&name) {
                self.unmatched.push(name);
            }
        }
    }

    pub(super) fn set_environment(&mut self, name: &str, value: &str) -> Result<(), ExpandFault> {
        self.environment.set(name, value)?;
        self.both.set(name, value)
    }

    /// Returns the value of an `ARG`, whose default is `default` with its variables replaced.
    pub(super) fn argument_value(&self, name: &str, default: Option<String>) -> Option<String> {
        let given = self.build_arguments.get(name).cloned();
        given.or(default).or_else(|| self.globals.get(name).map(str::to_owned))
    }

    /// Whether `--build-arg` names the argument, so that its default does not matter.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.build_arguments.contains_key(name)
    }

    pub(super) fn declare(&mut self, argument: &Argument) -> Result<(), ExpandFault> {
        if let Some(value) = &argument.value
            && !HIDDEN_ARGUMENTS.contains(&argument.name.as_str())
        {
            // The limit counts arguments also where `ENV` hides them.
            self.both.set(&argument.name, value)?;
        }
        let variable = Variable { name: argument.name.clone(), value: argument.value.clone() };
        match self.argument_places.get(&variable.name) {
            Some(&place) => self.arguments[place] = variable,
            None => {
                self.argument_places.insert(variable.name.clone(), self.arguments.len());
                self.arguments.push(variable);
            }
        }
        Ok(())
    }
}

impl Lookup for StageScope {
    fn get(&self, name: &str) -> Option<&str> {
        self.value(name)
    }
}
