//! The cache: images that were built upon the same image by the same step.
//!
//! As Docker's: of the images whose `parent` is the current one, the newest whose container config says the same. So
//! a step that dockerd made is found, and dockerd finds those made here.

use std::collections::HashMap;

use shale_oci::{ImageConfig, ImageId, RunConfig};
use shale_store::Store;

use crate::error::BuildError;

/// The images of a store by what they were built upon.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    children: Option<HashMap<Option<ImageId>, Vec<Candidate>>>,
}

#[derive(Debug)]
struct Candidate {
    image: ImageId,
    created: Option<jiff::Timestamp>,
    step: RunConfig,
}

impl Cache {
    /// Returns the newest image that was built upon `parent` by `step`.
    pub fn find(
        &mut self,
        store: &Store,
        parent: Option<ImageId>,
        step: &RunConfig,
    ) -> Result<Option<ImageId>, BuildError> {
        let candidates = self.children(store)?.get(&parent).map(Vec::as_slice).unwrap_or_default();
        let same = candidates.iter().filter(|candidate| is_same_step(&candidate.step, step));
        Ok(same.max_by_key(|candidate| candidate.created).map(|candidate| candidate.image))
    }

    /// Returns the steps that were done upon `parent` before, newest first.
    pub fn steps_upon(
        &mut self,
        store: &Store,
        parent: Option<ImageId>,
    ) -> Result<Vec<&RunConfig>, BuildError> {
        let mut candidates: Vec<&Candidate> =
            self.children(store)?.get(&parent).map(|list| list.iter().collect()).unwrap_or_default();
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.created));
        Ok(candidates.into_iter().map(|candidate| &candidate.step).collect())
    }

    /// Adds an image that this build made.
    pub fn add(&mut self, parent: Option<ImageId>, image: ImageId, created: &str, step: RunConfig) {
        if let Some(children) = &mut self.children {
            let created = created.parse().ok();
            children.entry(parent).or_default().push(Candidate { image, created, step });
        }
    }

    fn children(
        &mut self,
        store: &Store,
    ) -> Result<&mut HashMap<Option<ImageId>, Vec<Candidate>>, BuildError> {
        if self.children.is_none() {
            let mut children: HashMap<Option<ImageId>, Vec<Candidate>> = HashMap::new();
            for stored in store.images()? {
                let Ok(image) = stored.image else { continue };
                // An image without a parent was built upon nothing only if it was built here: otherwise it was pulled,
                // and what it says about its making is its maker's word.
                if image.parent.is_none() && !image.built_locally {
                    continue;
                }
                let Ok(config) = ImageConfig::parse(&image.config) else { continue };
                let created = config.created_at();
                let Some(step) = config.container_config else { continue };
                let candidate = Candidate { image: image.id, created, step };
                children.entry(image.parent).or_default().push(candidate);
            }
            self.children = Some(children);
        }
        Ok(self.children.as_mut().expect("filled above"))
    }
}

/// Whether two container configs describe one step; absent and empty lists are the same.
fn is_same_step(one: &RunConfig, other: &RunConfig) -> bool {
    key_parts(one) == key_parts(other)
}

/// Returns the parts of a step's key, by name.
///
/// Docker 20.10 compares a part of these, 25.0.2 most. The host name and the image are of the container alone, and the
/// numbers of a health check depend on whether its own step was cached.
pub(crate) fn key_parts(step: &RunConfig) -> Vec<(&'static str, String)> {
    let words = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join("\0")).unwrap_or_default();
    let keys = |map: &Option<std::collections::BTreeMap<String, shale_oci::Empty>>| {
        map.iter().flat_map(|map| map.keys().cloned()).collect::<Vec<_>>().join("\0")
    };
    let labels = step.labels.iter().flatten().map(|(name, value)| format!("{name}={value}"));
    vec![
        ("step", words(&step.cmd)),
        ("environment", words(&step.env)),
        ("user", step.user.clone()),
        ("working directory", step.working_dir.clone()),
        ("entrypoint", words(&step.entrypoint)),
        ("labels", labels.collect::<Vec<_>>().join("\0")),
        ("ports", keys(&step.exposed_ports)),
        ("volumes", keys(&step.volumes)),
        ("triggers", words(&step.on_build)),
        ("shell", words(&step.shell)),
        ("stop signal", step.stop_signal.clone()),
        ("domain", step.domainname.clone()),
        (
            "streams",
            format!(
                "{:?}",
                [
                    step.attach_stdin,
                    step.attach_stdout,
                    step.attach_stderr,
                    step.tty,
                    step.open_stdin,
                    step.stdin_once,
                    step.network_disabled,
                ]
            ),
        ),
    ]
}
