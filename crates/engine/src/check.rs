//! Whether a store is sound, making it so, and freeing what nothing needs.
//!
//! Promise: checking changes nothing; a repair takes nothing away that is not replaced or useless.

pub mod collect;
pub mod content;
pub mod problem;
pub mod repair;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use shale_oci::ChainId;
use shale_store::{
    Access, DiskError, Finding, Layer, LayerDamage, LayerError, OpenError, OpenOptions, Store,
};

use crate::{Engine, Privileges};
pub use content::Checked;
pub use problem::{Problem, Severity};

/// How often a finding is looked for again before it is told.
const CONFIRMATIONS: usize = 3;

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// What is not as it should be, in the order of names, images, layers, containers, content, leftovers.
    pub problems: Vec<Problem>,
    /// Images that are there.
    pub images: usize,
    /// Layers whose files were read.
    pub layers: usize,
    /// Bytes of those files.
    pub content_bytes: u64,
}

impl CheckReport {
    /// Whether everything can be used as it should; leftovers only take space.
    pub fn is_sound(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Leftover)
    }
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A directory could not be listed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The layers could not be listed.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

impl Engine {
    /// Opens the data root `root` also if its names are damaged; for [`Engine::check`] and [`Engine::repair`].
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub fn open_to_check(root: &Path, access: Access) -> Result<Engine, OpenError> {
        let store = Arc::new(Store::open_damaged(root, OpenOptions { create: false, access })?);
        Ok(Engine { store, privileges: Privileges::of_process(), restarts_are_callers: false })
    }

    /// Checks names, images, layers and containers, reads every file of every layer on all processors, and lists what
    /// nothing needs. `on_checked` is called after each layer.
    ///
    /// Other processes may pull and remove images meanwhile: what they are in the middle of is no damage.
    ///
    /// # Errors
    /// [`CheckError`]; damage is no error but in the report.
    pub fn check(&self, on_checked: &(dyn Fn(Checked) + Sync)) -> Result<CheckReport, CheckError> {
        let findings = self.lasting_findings()?;
        // What is known to be unreadable is not read a second time.
        let skipped: HashSet<ChainId> = findings.iter().filter_map(unreadable_layer).collect();
        let mut layers = self.store.layers()?;
        layers.retain(|layer| !skipped.contains(&layer.chain_id));
        let mut damages = content::check_layers(&self.store, &layers, on_checked);
        // A layer loses its record before its first file.
        damages.retain(|damage| self.has_still(&layers, damage.chain()));
        let users = problem::Users::find(&self.store)?;
        let (leftovers, findings): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| matches!(finding, Finding::Leftover(_)));
        let mut problems: Vec<_> =
            findings.iter().map(|finding| Problem::of_finding(finding, &users)).collect();
        problems.extend(damages.iter().map(|damage| Problem::of_content(damage, &users)));
        problems.extend(leftovers.iter().map(|finding| Problem::of_finding(finding, &users)));
        Ok(CheckReport {
            problems,
            images: self.store.image_ids()?.len(),
            layers: layers.len(),
            content_bytes: layers.iter().map(|layer| layer.size_bytes).sum(),
        })
    }

    /// Returns what is found each time, for a change of another process is found half-made only once.
    fn lasting_findings(&self) -> Result<Vec<Finding>, DiskError> {
        let mut findings = self.store.fsck()?;
        for _ in 0..CONFIRMATIONS {
            if findings.is_empty() {
                break;
            }
            let again: HashSet<String> =
                self.store.fsck()?.iter().map(|found| format!("{found:?}")).collect();
            findings.retain(|finding| again.contains(&format!("{finding:?}")));
        }
        Ok(findings)
    }

    /// Whether the layer `chain` is the one that `layers` has, and not removed or replaced since.
    fn has_still(&self, layers: &[Layer], chain: ChainId) -> bool {
        let before = layers.iter().find(|layer| layer.chain_id == chain);
        match self.store.find_layer(chain) {
            Ok(now) => now.as_ref() == before,
            Err(_) => true,
        }
    }
}

fn unreadable_layer(finding: &Finding) -> Option<ChainId> {
    match finding {
        Finding::TarSplit { chain, .. }
        | Finding::LayerDamage(LayerDamage::Diff { chain, .. } | LayerDamage::TarSplit { chain }) => {
            Some(*chain)
        }
        _ => None,
    }
}
