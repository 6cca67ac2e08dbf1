//! How findings about a registry's files are told to people.

use shale_registry::maintenance::check::Finding;
use shale_registry::takeover::DamageKind;

/// Says what is wrong and what became of it.
pub fn finding(finding: &Finding) -> String {
    match finding {
        Finding::Damaged { digest, repaired: true } => {
            format!("{digest}: damaged; moved to the quarantine, push it again")
        }
        Finding::Damaged { digest, repaired: false } => {
            format!("{digest}: damaged; --repair moves it away, so that it can be pushed again")
        }
        Finding::Missing { digest, repaired: true } => {
            format!("{digest}: its file was missing; forgotten, push it again")
        }
        Finding::Missing { digest, repaired: false } => {
            format!("{digest}: its file is missing; --repair forgets it, so that it can be pushed again")
        }
        Finding::ManifestDamaged { digest } => {
            format!("{digest}: the manifest is damaged; push its image again")
        }
        Finding::TagWithoutManifest { repository, tag } => {
            format!("{repository}:{tag}: the tag leads to no manifest; push it again")
        }
    }
}

/// Says why a part of a Docker registry's volume was left out.
pub fn damage(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::Name => "no repository or tag can have this name",
        DamageKind::EmptyLink => "the link is empty",
        DamageKind::GarbageLink => "the link holds no digest",
        DamageKind::MissingBlob => "the blob that it links to is not there",
        DamageKind::EmptyBlob => "the blob is empty, which its digest is not",
        DamageKind::LostTag => "the tag is on a manifest that the repository does not have",
        DamageKind::DamagedManifest => "the manifest's bytes are not those of its digest",
        DamageKind::SchemaOne => "the manifest is of schema version 1",
        DamageKind::NoManifest => "the manifest is none",
        DamageKind::Unreadable => "it cannot be read",
    }
}
