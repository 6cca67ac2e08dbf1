//! The tar of a layer in the store, made again byte for byte.

use std::io::{self, Write};

use shale_oci::DiffId;
use shale_rootfs::Rootfs;
use shale_rootfs::tar_split::{AssembleError, assemble};
use shale_store::{DiskError, Layer, Store};

/// Why a layer's tar was not made; part of it may have been written.
#[derive(Debug, thiserror::Error)]
pub enum LayerTarError {
    /// A file changed or is gone, or the record of the tar is damaged.
    #[error("layer {layer} is damaged; shale fsck tells more")]
    Damaged {
        /// The layer's diff ID.
        layer: DiffId,
        /// What is wrong.
        source: AssembleError,
    },
    /// Every part is there, but the whole is another tar.
    #[error(
        "could not verify layer data for: {0}. This may be because internal files in the layer store were modified. Re-pulling or rebuilding this image may resolve the issue"
    )]
    Digest(DiffId),
    /// The receiver does not take more.
    #[error("could not write the tar")]
    Receiver(#[source] io::Error),
    /// The layer cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The layer's directory cannot be opened.
    #[error("could not open the directory of layer {layer}")]
    Open {
        /// The layer's diff ID.
        layer: DiffId,
        /// Why.
        source: io::Error,
    },
}

impl LayerTarError {
    /// Whether the receiver went away, so that the layer is not to blame.
    pub fn is_receiver_gone(&self) -> bool {
        matches!(self, LayerTarError::Receiver(_))
            || matches!(self, LayerTarError::Damaged { source: AssembleError::Write(_), .. })
    }
}

/// Writes the tar of `layer`, checks it against the diff ID, and reports the bytes so far on the way.
pub fn write_layer_tar(
    store: &Store,
    layer: &Layer,
    out: &mut dyn Write,
    on_progress: &dyn Fn(u64),
) -> Result<(), LayerTarError> {
    let diff_id = layer.diff_id;
    let root = Rootfs::open(&store.layer_diff_path(layer))
        .map_err(|source| LayerTarError::Open { layer: diff_id, source })?;
    let mut tar_split = store.open_tar_split(layer)?;
    let mut out = Counted { out, bytes: 0, on_progress };
    let assembled = assemble(&mut tar_split, &root, &mut out).map_err(|error| match error {
        AssembleError::Write(source) => LayerTarError::Receiver(source),
        source => LayerTarError::Damaged { layer: diff_id, source },
    })?;
    if assembled.diff_id == diff_id { Ok(()) } else { Err(LayerTarError::Digest(diff_id)) }
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
    on_progress: &'a dyn Fn(u64),
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        (self.on_progress)(self.bytes);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
