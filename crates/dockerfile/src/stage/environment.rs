//! Variables in the order in which they were first set.

use std::collections::HashMap;

use crate::expansion::{ExpandFault, Lookup};

/// Largest set of variables, in bytes, names and values together.
pub const ENVIRONMENT_SIZE_MAX: usize = 1 << 20;

/// Variables with their values; setting one again keeps its place.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
    size_bytes: usize,
}

impl Environment {
    /// Reads a list of `NAME=value` words, as an image's config holds them; a word without `=` has an empty value.
    ///
    /// The list may be larger than [`ENVIRONMENT_SIZE_MAX`]; then nothing can be added.
    pub fn from_list<'a>(words: impl IntoIterator<Item = &'a str>) -> Environment {
        let mut environment = Environment::default();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            environment.put(name, value);
        }
        environment
    }

    /// Sets `name`.
    ///
    /// # Errors
    /// [`ExpandFault::TooLarge`] when the set would grow beyond [`ENVIRONMENT_SIZE_MAX`]; nothing was changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ExpandFault> {
        let freed = self.get(name).map_or(0, |old| name.len() + old.len());
        if self.size_bytes - freed + name.len() + value.len() > ENVIRONMENT_SIZE_MAX {
            return Err(ExpandFault::TooLarge);
        }
        self.put(name, value);
        Ok(())
    }

    fn put(&mut self, name: &str, value: &str) {
        self.size_bytes += name.len() + value.len();
        match self.places.get(name) {
            Some(&place) => {
                self.size_bytes -= name.len() + self.variables[place].1.len();
                self.variables[place].1 = value.to_owned();
            }
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Returns the value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.variables[place].1.as_str())
    }

    /// Returns names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns `NAME=value` words in order.
    pub fn to_list(&self) -> Vec<String> {
        self.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Lookup for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        Environment::get(self, name)
    }
}
