//! Docker's data root on disk: layers, images, their names, and what is known about their blobs.
//!
//! Promise: a root that this crate wrote opens in dockerd 20.10 to 29, and a root that dockerd wrote opens here. Things
//! are created bottom up and deleted top down; a name appears only when all that it names is durable. Any number of
//! processes may use one root at once, and be killed at any moment; what they leave behind is found.
//! Not here: tar, HTTP, async, the meaning of a config beyond its layers.
//!
//! Long work holds leases, short commits take one exclusive lock, and nothing is remembered between two calls but the
//! names, which are read again when their file is another one.

mod containers;
mod distribution;
mod downloads;
mod durable;
mod fsck;
mod gc;
mod images;
mod layers;
mod layout;
mod lease;
mod lock;
mod mounts;
mod networks;
mod open;
mod random;
mod reach;
mod references;
mod staging;
mod sweep;

pub use containers::{Container, ContainerState, Volume};
pub use distribution::{DistributionError, PushCredentials, V2Metadata, parse_v2_metadata};
pub use downloads::{BlobClaim, ClaimError, Download};
pub use durable::DiskError;
pub use fsck::{Finding, Severity};
pub use gc::{Garbage, GcError, GcItem, GcOptions, GcReport};
pub use images::{
    Image, ImageError, ImageMetadataError, NewImage, Publication, PublishImagesError, Published, PutImage,
    PutImageError, RemoveImageError, RemovedImage, ResolveError, StoredImage, UnsyncedNames,
};
pub use layers::{
    BeginLayerError, FinishLayerError, FinishedLayer, HeldLayer, HeldLayers, HoldError, LAYERS_MAX, Layer,
    LayerDamage, LayerError, LayerWriter, MendError, MountError, MountedLayer, NewLayer, OverlayPaths,
    PublishError, PublishedLayers,
};
pub use lock::AccessError;
pub use mounts::{
    BeginMountError, ContainerLock, Durability, Mount, NewMount, PublishContainerError, RecordError,
    RecordFiles,
};
pub use open::{Access, OpenError, OpenOptions};
pub use references::{ChangeReferencesError, Name, ReferenceChange, References, ReferencesError};

/// An open data root. Methods may be called from several threads at once.
#[derive(Debug)]
pub struct Store {
    layout: layout::Layout,
    access: Access,
    docker: lock::DockerGuard,
    names: references::Known,
}
