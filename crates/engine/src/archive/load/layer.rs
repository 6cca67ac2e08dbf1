//! Members of an archive made into layers, as many at once as there are processors.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use shale_oci::{DiffId, Digest, Digester};
use shale_rootfs::{EarlySync, Limits, Rootfs, Unpack, UnpackError, Unpacked, decompress, unpack};
use shale_store::{BeginLayerError, FinishLayerError, FinishedLayer, LayerWriter};

use super::Content;
use super::plan::PlannedLayer;
use crate::Engine;
use crate::pipe::pipe;
use crate::progress::{Progress, Status};

/// Why a member became no layer.
#[derive(Debug, thiserror::Error)]
pub enum LoadLayerError {
    /// The member holds another layer than the config says. The message is Docker's.
    #[error("invalid diffID for layer {member:?}: expected {expected}, got {actual}")]
    DiffId {
        /// The member.
        member: String,
        /// What the config says.
        expected: DiffId,
        /// What it is.
        actual: DiffId,
    },
    /// The blob's bytes are not those of its name.
    #[error("layer {expected} does not match its digest: found {actual}")]
    Digest {
        /// Its name.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The archive in the member cannot be unpacked.
    #[error("could not unpack layer {member:?}")]
    Unpack {
        /// The member.
        member: String,
        /// Why.
        source: UnpackError,
    },
    /// The compressed member is damaged, or cannot be read.
    #[error("could not read layer {member:?}")]
    Read {
        /// The member.
        member: String,
        /// Why.
        source: io::Error,
    },
    /// The directory of a new layer cannot be opened.
    #[error("could not open the directory of a new layer")]
    Open(#[source] io::Error),
    /// The store has no place for a new layer.
    #[error(transparent)]
    Begin(#[from] BeginLayerError),
    /// The store did not take the layer.
    #[error(transparent)]
    Finish(#[from] FinishLayerError),
}

impl Engine {
    /// Unpacks `contents`, which are those of `layers`, and checks them; the first error stops the others.
    pub(super) fn unpack_members(
        &self,
        layers: &[PlannedLayer],
        contents: Vec<Content>,
        progress: &dyn Progress,
    ) -> Result<Vec<FinishedLayer>, LoadLayerError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
        let failed = AtomicBool::new(false);
        let early_sync = self.early_sync();
        let jobs = Mutex::new(layers.iter().zip(contents).enumerate());
        let next = || jobs.lock().expect("a job is taken without panic").next();
        let work = || {
            let mut finished = Vec::new();
            while !failed.load(Ordering::Relaxed)
                && let Some((index, (layer, content))) = next()
            {
                match self.unpack_member(layer, content, progress, &failed, &early_sync) {
                    Ok(layer) => finished.push((index, layer)),
                    Err(error) => {
                        // Only the first error is worth telling: the others were stopped by it.
                        return if failed.swap(true, Ordering::Relaxed) { Ok(finished) } else { Err(error) };
                    }
                }
            }
            Ok(finished)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("unpacking does not panic")).collect()
        });
        let mut finished = Vec::with_capacity(layers.len());
        for result in results {
            finished.extend(result?);
        }
        finished.sort_by_key(|(index, _)| *index);
        Ok(finished.into_iter().map(|(_, layer)| layer).collect())
    }

    fn unpack_member(
        &self,
        layer: &PlannedLayer,
        content: Content,
        progress: &dyn Progress,
        failed: &AtomicBool,
        early_sync: &EarlySync,
    ) -> Result<FinishedLayer, LoadLayerError> {
        let id = layer.diff_id.short();
        let total = content.left_bytes();
        let options = Unpack {
            limits: Limits::for_blob(total),
            early_sync: Some(early_sync),
            progress: &|_| match failed.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
            ..self.privileges.unpack()
        };
        let mut bytes = 0;
        let on_read = |count: usize| {
            bytes += count as u64;
            progress.layer(&id, &Status::Loading { bytes, total });
        };
        // Plain tars are named by the digest that the unpacker takes anyway.
        let blob = layer.blob.filter(|blob| *blob != layer.diff_id.digest());
        let content =
            Watched { content, digester: blob.map(|blob| Digester::new(blob.algorithm())), on_read };
        let mut writer = self.store.begin_layer()?;
        let unpacked = unpack_into(&mut writer, content, layer, blob, &options)?;
        if unpacked.diff_id != layer.diff_id {
            let (member, expected) = (layer.member.clone(), layer.diff_id);
            return Err(LoadLayerError::DiffId { member, expected, actual: unpacked.diff_id });
        }
        Ok(writer.finish(unpacked.diff_id, unpacked.size_bytes)?)
    }
}

fn unpack_into<F: FnMut(usize) + Send>(
    writer: &mut LayerWriter,
    mut content: Watched<F>,
    layer: &PlannedLayer,
    blob: Option<Digest>,
    options: &Unpack<'_>,
) -> Result<Unpacked, LoadLayerError> {
    let root = Rootfs::open(&writer.diff_path()).map_err(LoadLayerError::Open)?;
    let read = |source| LoadLayerError::Read { member: layer.member.clone(), source };
    let unpack_error = |source| LoadLayerError::Unpack { member: layer.member.clone(), source };
    if blob.is_none() && content.is_plain().map_err(read)? {
        return unpack(&root, &mut content, writer.tar_split(), options).map_err(unpack_error);
    }
    let (pipe_writer, mut pipe_reader) = pipe();
    let (unpacked, arrived) = std::thread::scope(|scope| {
        let inflating = scope.spawn(move || {
            match decompress(Box::new(&mut content)) {
                Ok(tar) => drop(pipe_writer.fill_from(tar)),
                Err(error) => drop(pipe_writer.finish(Err(error))),
            }
            content.finish()
        });
        let unpacked = unpack(&root, &mut pipe_reader, writer.tar_split(), options);
        drop(pipe_reader);
        (unpacked, inflating.join().expect("the inflating thread does not panic"))
    });
    // Wrong bytes explain any trouble with the archive in them, so they are reported first.
    let actual = arrived.map_err(read)?;
    match (blob, actual) {
        (Some(expected), Some(actual)) if actual != expected => {
            Err(LoadLayerError::Digest { expected, actual })
        }
        _ => unpacked.map_err(unpack_error),
    }
}

/// A member that is hashed, where its digest is known, and watched while it is read.
struct Watched<F> {
    content: Content,
    digester: Option<Digester>,
    on_read: F,
}

impl<F: FnMut(usize)> Watched<F> {
    fn is_plain(&self) -> io::Result<bool> {
        let mut prefix = Vec::new();
        self.content.clone().take(512).read_to_end(&mut prefix)?;
        Ok(shale_rootfs::Compression::detect(&prefix) == shale_rootfs::Compression::None)
    }

    /// Reads what nobody asked for and returns the digest of the whole.
    fn finish(mut self) -> io::Result<Option<Digest>> {
        if self.digester.is_some() {
            io::copy(&mut self, &mut io::sink())?;
        }
        Ok(self.digester.map(Digester::finish))
    }
}

impl<F: FnMut(usize)> Read for Watched<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(into)?;
        if let Some(digester) = &mut self.digester {
            digester.update(&into[..count]);
        }
        (self.on_read)(count);
        Ok(count)
    }
}
