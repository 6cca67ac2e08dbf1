//! Pushes to registries that lose something on the way, and of layers that are damaged.

use std::io::Cursor;
use std::sync::{Arc, Once, mpsc};
use std::time::{Duration, SystemTime};

use jiff::Zoned;
use shale_engine::Engine;
use shale_engine::archive::import::Import;
use shale_engine::images::remove::Remove;
use shale_engine::progress::{Progress, Silent, Status};
use shale_engine::push::{PushError, Pushed};
use shale_oci::{Platform, Reference};
use shale_registry_client::Client;
use shale_store::GcOptions;
use shale_testkit::bad_registry::BadRegistry;
use shale_testkit::image::{LayerBuilder, noise};
use tempfile::TempDir;

use crate::archive::engine;
use crate::copy::client;

/// A bad registry, and an engine with an image of one layer that has its name.
struct Case {
    _root: TempDir,
    engine: Engine,
    client: Client,
    registry: BadRegistry,
    reference: Reference,
}

impl Case {
    fn new(behaviour: &str) -> Case {
        let registry = BadRegistry::start(behaviour);
        let (root, engine) = engine();
        let reference = Reference::parse(&format!("{}/b/img:1", registry.host())).unwrap();
        let import = Import {
            changes: Vec::new(),
            message: String::new(),
            platform: Platform::new("linux", "amd64", None),
            reference: Some(reference.clone()),
        };
        let archive = LayerBuilder::new().file("noise", 0o644, &noise(3, 3 << 20)).tar();
        let now: Zoned = "2026-11-22T03:00:00+00:00[UTC]".parse().unwrap();
        engine.import(Box::new(Cursor::new(archive)), &import, &now).unwrap();
        Case { _root: root, engine, client: client(), registry, reference }
    }

    async fn push(&self) -> Result<Pushed, PushError> {
        self.push_watched(Silent).await
    }

    async fn push_watched(&self, watcher: impl Progress + 'static) -> Result<Pushed, PushError> {
        let watcher: Arc<dyn Progress> = Arc::new(watcher);
        self.engine.push(&self.client, &self.reference, &watcher).await
    }

    fn requests(&self, method: &str) -> usize {
        self.registry.requests().iter().filter(|(_, request)| request.method == method).count()
    }
}

#[tokio::test]
async fn a_layer_gets_there_although_the_registry_loses_the_upload_or_is_busy() {
    for behaviour in
        ["p-good", "p-patch-forgotten-once", "p-patch-busy-1s", "p-patch-wrong-range", "p-put-500-twice"]
    {
        let case = Case::new(behaviour);
        let pushed = case.push().await.unwrap_or_else(|error| panic!("{behaviour}: {error:?}"));
        let manifest = case.registry.pushed(&pushed.digest.to_string()).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layer = &manifest["layers"][0];
        let blob = case.registry.pushed(layer["digest"].as_str().unwrap()).unwrap();
        assert_eq!(layer["size"], blob.len(), "{behaviour}");
    }
}

#[tokio::test]
async fn a_busy_registry_is_left_alone_for_as_long_as_it_asks() {
    let case = Case::new("p-patch-busy-1s");
    case.push().await.unwrap();
    assert_eq!(case.requests("PATCH"), 2, "one is refused, one is taken");
}

#[tokio::test]
async fn a_damaged_layer_is_told_and_its_upload_given_back() {
    let case = Case::new("p-good");
    let layers = case.engine.store().layers().unwrap();
    let diff = case.engine.store().layer_diff_path(&layers[0]);
    std::fs::write(diff.join("noise"), noise(4, 3 << 20)).unwrap();
    let Err(PushError::Layer { source, .. }) = case.push().await else { panic!("the layer is damaged") };
    assert!(source.to_string().contains("is damaged"), "{source:?}");
    assert_eq!(case.requests("DELETE"), 1);
}

/// Does what another process might as soon as a layer is told of.
struct Meanwhile<F>(Once, F);

impl<F: Fn() + Send + Sync> Progress for Meanwhile<F> {
    fn layer(&self, _id: &str, _status: &Status) {
        self.0.call_once(&self.1);
    }

    fn message(&self, _text: &str) {}
}

fn meanwhile<F: Fn() + Send + Sync>(act: F) -> Meanwhile<F> {
    Meanwhile(Once::new(), act)
}

#[tokio::test]
async fn an_image_that_is_removed_meanwhile_is_pushed_to_its_end() {
    let case = Case::new("p-good");
    let other = Engine::open(case.engine.store().root()).unwrap();
    let name = case.reference.familiar();
    let remove = move || drop(other.remove(&name, Remove { force: false, prune: true }).unwrap());
    let pushed = case.push_watched(meanwhile(remove)).await.unwrap();
    assert!(case.registry.pushed(&pushed.digest.to_string()).is_some());
    assert_eq!(case.engine.store().image_ids().unwrap(), []);
    let options = GcOptions { dry_run: false, downloads_before: SystemTime::UNIX_EPOCH };
    case.engine.store().gc(options).unwrap();
    assert_eq!(case.engine.store().layers().unwrap(), [], "the hold is gone");
}

#[tokio::test]
async fn the_runtime_goes_on_while_somebody_holds_the_lock_of_the_store() {
    let case = Case::new("p-good");
    let lock = Arc::new(std::fs::File::open(case.engine.store().root().join("shale/lock")).unwrap());
    let held = Arc::clone(&lock);
    let (release, released) = mpsc::channel();
    // Lets go in the end even of a runtime that stands still.
    let holder = std::thread::spawn(move || {
        let is_asked = released.recv_timeout(Duration::from_secs(10)).is_ok();
        lock.unlock().unwrap();
        is_asked
    });
    let other_work = async {
        while case.registry.requests_for("digest=").len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The push is at the lock by now; were it not, nothing would fail here.
        tokio::time::sleep(Duration::from_millis(50)).await;
        release.send(()).is_ok()
    };
    let pushing = case.push_watched(meanwhile(move || held.lock().unwrap()));
    let (pushed, was_in_time) = tokio::join!(pushing, other_work);
    assert!(pushed.is_ok(), "{pushed:?}");
    assert!(was_in_time && holder.join().unwrap(), "the runtime stood still");
}
