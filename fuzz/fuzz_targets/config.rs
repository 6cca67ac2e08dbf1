//! Any bytes as an image config. Nothing may panic, and the history never claims a layer that is not there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_oci::{ChainId, ImageConfig};

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = ImageConfig::parse(bytes) else { return };
    let layers = ChainId::stack(&config.rootfs.diff_ids).len();
    assert!(config.history_with_layers().filter_map(|(_, layer)| layer).all(|layer| layer < layers));
    config.platform();
});
