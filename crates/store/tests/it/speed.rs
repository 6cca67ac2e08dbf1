//! How long looking takes; run with `cargo test --release -p shale-store --test it speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use shale_store::{Access, OpenOptions, Store};

use crate::fixture::{Tar, config, open};

fn median(mut measure: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..31)
        .map(|_| {
            let start = Instant::now();
            measure();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[15]
}

#[test]
#[ignore = "a measurement"]
fn looking_at_two_hundred_images() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root);
    for number in 0..200 {
        // Six layers each, three of them shared by ten images.
        let layers = [
            Tar::of("base"),
            Tar::of(&format!("group{}", number / 10)),
            Tar::of(&format!("tool{}", number / 10)),
            Tar::of(&format!("x{number}")),
            Tar::of(&format!("y{number}")),
            Tar::of(&format!("z{number}")),
        ];
        let mut base = None;
        let mut held = Vec::new();
        let mut new = Vec::new();
        for (tar, chain) in layers.iter().zip(crate::fixture::chains(&layers)) {
            match store.hold_layer(chain).unwrap() {
                Some(layer) => {
                    base = Some(chain);
                    held.push(layer);
                }
                None => new.push(tar.finish(&store)),
            }
        }
        let published = store.publish_layers(base, new).unwrap();
        let id = store.put_image(config(&layers).as_bytes(), Default::default()).unwrap();
        drop((published, held));
        store.tag(&format!("app{number}"), &format!("app{number}:1"), id).unwrap();
    }
    let read = OpenOptions { create: false, access: Access::Read };
    let write = OpenOptions { create: false, access: Access::Write };
    let id = store.image_ids().unwrap()[100];
    drop(store);
    let layers = Store::open(root, read).unwrap().layers().unwrap().len();
    println!("{layers} layers");
    println!("open for reading      {:?}", median(|| drop(Store::open(root, read).unwrap())));
    println!("open for writing      {:?}", median(|| drop(Store::open(root, write).unwrap())));
    println!(
        "open, names, images   {:?}",
        median(|| {
            let store = Store::open(root, read).unwrap();
            assert_eq!(store.references().unwrap().by_image().len(), 200);
            assert_eq!(store.images().unwrap().iter().filter(|stored| stored.image.is_ok()).count(), 200);
        })
    );
    println!(
        "open, names, inspect  {:?}",
        median(|| {
            let store = Store::open(root, read).unwrap();
            let id = store.resolve_prefix(&id.hex()[..12]).unwrap().unwrap();
            store.references().unwrap().of_image(id);
            let image = store.image(id).unwrap().unwrap();
            store.overlay_paths(image.layers.last().unwrap()).unwrap();
        })
    );
}
