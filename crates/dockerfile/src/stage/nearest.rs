//! Which stage an unknown name was meant to be.

use super::Plan;
use crate::suggest;

impl Plan {
    /// Returns the name of the stage that is nearest to `name`; `None` when none is near, or it is one.
    pub fn nearest_stage(&self, name: &str) -> Option<&str> {
        suggest::nearest(&name.to_lowercase(), self.stages.iter().filter_map(|stage| stage.name.as_deref()))
    }
}
