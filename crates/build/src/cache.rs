//! The cache: images that were built upon the same image by the same step.
//!
//! As Docker's: of the images whose `parent` is the current one, the newest whose container config says the same. So
//! a step that dockerd made is found, and dockerd finds those made here.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use shale_oci::{ImageConfig, ImageId, RunConfig};
use shale_store::Store;

use crate::error::BuildError;

/// How long a stage waits for another one that does the same step.
const CLAIM_WAIT_MAX: Duration = Duration::from_secs(600);

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
    /// Returns the newest image that was built upon `parent` by `step`; only one of the time `made`, if that is given: a
    /// build whose times are fixed has no use for an image with others.
    pub fn find(
        &mut self,
        store: &Store,
        parent: Option<ImageId>,
        step: &RunConfig,
        made: Option<jiff::Timestamp>,
    ) -> Result<Option<ImageId>, BuildError> {
        let candidates = self.children(store)?.get(&parent).map(Vec::as_slice).unwrap_or_default();
        let same = candidates.iter().filter(|candidate| {
            is_same_step(&candidate.step, step) && (made.is_none() || candidate.created == made)
        });
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

/// Steps that are being done, so that two stages that have one in common do it once.
///
/// Two images of one step would be worse than work done twice: the next build finds only the newer one, and so not what
/// was built upon the other.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claimed: Mutex<HashSet<StepKey>>,
    freed: Condvar,
}

/// What a step is built upon, and the parts of its key.
type StepKey = (Option<ImageId>, Vec<(&'static str, String)>);

/// A step that this stage does; dropping it lets others look for the result.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Arc<Claims>,
    key: StepKey,
}

impl Claims {
    /// Claims a step; `None` when another stage had it meanwhile, which is worth a look into the cache.
    pub fn claim(self: &Arc<Claims>, parent: Option<ImageId>, step: &RunConfig) -> Option<Claim> {
        let key = (parent, key_parts(step));
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.insert(key.clone()) {
            return Some(Claim { claims: Arc::clone(self), key });
        }
        let is_claimed = |claimed: &mut HashSet<StepKey>| claimed.contains(&key);
        let waited = self.freed.wait_timeout_while(claimed, CLAIM_WAIT_MAX, is_claimed);
        let (claimed, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(claimed);
        // After so long a time the other stage may be waiting for this one to speak: then it is done twice.
        timeout.timed_out().then(|| Claim { claims: Arc::clone(self), key: (None, Vec::new()) })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.claims.freed.notify_all();
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
