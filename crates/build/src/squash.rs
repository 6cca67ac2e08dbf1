//! `--squash`: all layers that a stage added become one.
//!
//! Promise: the tree is the same; the base's layers are those of the base; the steps stay in the history, and one line more
//! says what was done.
//!
//! Source: moby `daemon/images/image_squash.go` at v20.10.24.

use std::io::{self, BufReader, BufWriter};

use shale_oci::{ChainId, HistoryEntry, ImageConfig, ImageId};
use shale_rootfs::{Pack, Rootfs, Unpack, Whiteouts, pack, unpack};
use shale_store::{NewLayer, PutImage};

use crate::build::Builder;
use crate::container::disk;
use crate::error::BuildError;

const BUFFER_BYTES: usize = 256 << 10;

impl Builder<'_> {
    /// Makes an image of `image` that has one layer upon those of `base`.
    pub(crate) fn squash(&mut self, image: ImageId, base: Option<ImageId>) -> Result<ImageId, BuildError> {
        let mut config = self.config_of(image)?;
        let below = match base {
            Some(base) => self.config_of(base)?,
            None => ImageConfig::default(),
        };
        let bottom = below.rootfs.diff_ids.len();
        let chains = ChainId::stack(&config.rootfs.diff_ids);
        let top = bottom.checked_sub(1).map(|at| chains[at]);
        let mut new = None;
        if chains.len() > bottom {
            let mut layer = self.store.begin_layer()?;
            let mounted = self.store.mount_layer(&layer, None, top)?;
            for chain in &chains[bottom..] {
                self.lay(*chain, mounted.path())?;
            }
            mounted.unmount()?;
            let diff = layer.diff_path();
            let root = Rootfs::open(&diff).map_err(|source| disk("open", &diff, source))?;
            let options = Pack { whiteouts: self.whiteouts, ..Pack::default() };
            let packed =
                shale_rootfs::pack_with_tar_split(&root, &mut io::sink(), layer.tar_split(), &options)?;
            let layer = layer.finish(packed.diff_id, packed.size_bytes)?;
            new = Some(NewLayer { parent: top, layer });
            config.rootfs.diff_ids.truncate(bottom);
            config.rootfs.diff_ids.push(packed.diff_id);
        }
        config.history.iter_mut().skip(below.history.len()).for_each(|entry| entry.empty_layer = true);
        let comment = match base {
            Some(base) => format!("merge {image} to {base}"),
            None => format!("create new from {image}"),
        };
        let created = Some(self.now());
        // The line of the one layer that there is now; without any, it made none.
        let empty_layer = chains.len() == bottom;
        config.history.push(HistoryEntry {
            created: created.clone(),
            comment,
            empty_layer,
            ..HistoryEntry::default()
        });
        config.created = created;
        self.store(&config, PutImage::default(), new)
    }

    /// Does to the tree at `place` what a layer does to those below it.
    fn lay(&self, chain: ChainId, place: &std::path::Path) -> Result<(), BuildError> {
        let layer = self.store.find_layer(chain).map_err(shale_store::MountError::from)?;
        let layer = layer.ok_or(shale_store::MountError::BaseMissing(chain))?;
        let diff = self.store.layer_diff_path(&layer);
        let from = Rootfs::open(&diff).map_err(|source| disk("open", &diff, source))?;
        let to = Rootfs::open(place).map_err(|source| disk("open", place, source))?;
        let (reader, writer) =
            io::pipe().map_err(|source| disk("make", std::path::Path::new("a pipe"), source))?;
        let whiteouts = self.whiteouts;
        let options = Unpack { whiteouts: Whiteouts::Apply, ..Unpack::default() };
        std::thread::scope(|scope| {
            let packed = scope.spawn(move || {
                let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
                let options = Pack { whiteouts, ..Pack::default() };
                let packed = pack(&from, &mut writer, &options).map(drop);
                io::Write::flush(&mut writer)
                    .map_err(|source| disk("write", std::path::Path::new("a pipe"), source))?;
                packed.map_err(BuildError::from)
            });
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
            let unpacked = unpack(&to, &mut reader, &mut io::sink(), &options);
            drop(reader);
            let packed = packed.join().expect("packing does not panic");
            // When unpacking fails the other end sees a broken pipe, which is not the cause.
            unpacked.map_err(BuildError::Unpack)?;
            packed
        })
    }
}
