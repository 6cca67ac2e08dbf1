//! import: the layer, the config and the name of an image from a bare file system.

use std::io::{Cursor, Write};

use jiff::Zoned;
use shale_engine::Engine;
use shale_engine::archive::import::{Import, ImportError};
use shale_oci::{ImageConfig, ImageId, Platform, Reference};
use shale_testkit::image::{LayerBuilder, sha256};

use crate::archive::engine;

pub fn options(reference: Option<&str>) -> Import {
    Import {
        changes: vec!["CMD [\"/x\"]".to_owned()],
        message: "Imported from -".to_owned(),
        platform: Platform::new("linux", "arm", Some("v7")),
        reference: reference.map(|name| Reference::parse(name).unwrap()),
    }
}

pub fn import(engine: &Engine, archive: Vec<u8>, import: &Import, now: &str) -> Result<ImageId, ImportError> {
    engine.import(Box::new(Cursor::new(archive)), import, &now.parse::<Zoned>().unwrap())
}

pub fn tar() -> Vec<u8> {
    LayerBuilder::new().directory("etc", 0o755).file("etc/x", 0o600, &[1; 70_000]).tar()
}

pub const NOW: &str = "2026-11-22T03:00:00.5+01:00[+01:00]";

#[test]
fn every_compression_gives_the_same_layer() {
    let tar = tar();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let (_root, engine) = engine();
    let forms = [tar.clone(), gzip.finish().unwrap(), zstd::stream::encode_all(tar.as_slice(), 1).unwrap()];
    let ids = forms.map(|form| import(&engine, form, &options(None), NOW).unwrap());
    // The same bytes at the same moment are the same image.
    assert_eq!(ids, [ids[0]; 3]);
    let image = engine.store().image(ids[0]).unwrap().unwrap();
    let diff_ids: Vec<String> = image.diff_ids.iter().map(ToString::to_string).collect();
    assert_eq!(diff_ids, [sha256(&tar)]);
    let config = ImageConfig::parse(&image.config).unwrap();
    assert_eq!(config.created.as_deref(), Some("2026-11-22T02:00:00.5Z"));
    assert_eq!((config.architecture.as_str(), config.variant.as_str()), ("arm", "v7"));
    assert_eq!(config.config.unwrap().cmd, Some(vec!["/x".to_owned()]));
    assert_eq!(image.last_updated, None);
}

#[test]
fn a_name_is_set_and_the_time_noted() {
    let (_root, engine) = engine();
    let first = import(&engine, tar(), &options(Some("a:1")), NOW).unwrap();
    let second = import(&engine, tar(), &options(Some("a:1")), "2026-11-22T03:00:01+01:00[+01:00]").unwrap();
    assert_ne!(first, second);
    assert_eq!(engine.store().references().unwrap().image("a", "a:1"), Some(second));
    let updated = engine.store().image(second).unwrap().unwrap().last_updated;
    assert_eq!(updated.as_deref(), Some("2026-11-22T03:00:01+01:00"));
}

#[test]
fn what_cannot_be_imported_leaves_nothing() {
    let (_root, engine) = engine();
    let refused = |archive: Vec<u8>, options: Import| {
        assert!(import(&engine, archive, &options, NOW).is_err());
        assert_eq!(engine.store().image_ids().unwrap(), []);
        assert_eq!(engine.store().layers().unwrap(), []);
    };
    refused(tar(), Import { changes: vec!["RUN true".to_owned()], ..options(None) });
    refused(tar(), Import { platform: Platform::new("windows", "amd64", None), ..options(None) });
    refused(tar()[..40_000].to_vec(), options(None));
    refused(vec![b'x'; 5000], options(None));
    refused(LayerBuilder::new().file("../out", 0o644, b"").tar(), options(None));
}
