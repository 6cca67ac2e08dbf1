//! image prune: what it takes away, and what it leaves to others.

use crate::archive::engine;
use crate::import::{NOW, import, options, tar};

#[test]
fn an_image_without_a_name_stays_while_a_process_holds_its_layers() {
    let (_root, engine) = engine();
    let image = import(&engine, tar(), &options(None), NOW).unwrap();
    let top = engine.store().image(image).unwrap().unwrap().top().unwrap();
    let held = engine.store().hold_layer(top).unwrap().unwrap();
    assert_eq!(engine.prune_images(false, &[]).unwrap().removed, []);
    assert_eq!(engine.store().image_ids().unwrap(), [image]);
    drop(held);
    assert_eq!(engine.prune_images(false, &[]).unwrap().removed.len(), 2, "the image and its layer");
    assert_eq!(engine.store().image_ids().unwrap(), []);
}

#[test]
fn a_name_goes_although_a_process_holds_the_layers() {
    let (_root, engine) = engine();
    let image = import(&engine, tar(), &options(Some("a:1")), NOW).unwrap();
    let top = engine.store().image(image).unwrap().unwrap().top().unwrap();
    let _held = engine.store().hold_layer(top).unwrap().unwrap();
    assert_eq!(engine.prune_images(false, &[]).unwrap().removed, []);
    engine.prune_images(true, &[]).unwrap();
    assert_eq!(engine.store().image_ids().unwrap(), []);
}
