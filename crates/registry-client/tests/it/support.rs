//! A client with short times, and what every test looks at.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use shale_oci::{Descriptor, Digest, Digester, Repository, Tag, Target};
use shale_registry_client::credentials::{Credential, Fixed};
use shale_registry_client::{
    BlobError, BlobSource, ByteStream, Client, ClientOptions, Event, MadeBlob, Proxies, Retries, Secret,
    Timeouts,
};
use shale_testkit::bad_registry::{BadRegistry, PASSWORD, USERNAME};
use shale_testkit::image::Blob;

/// Options under which nothing takes long.
pub fn options() -> ClientOptions {
    ClientOptions {
        certs_d: Vec::new(),
        proxies: Proxies::None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            response: Duration::from_millis(1500),
            upload_response: Duration::from_millis(3000),
            stall: Duration::from_millis(1500),
            token: Duration::from_millis(1500),
            rate_window: Duration::from_millis(500),
            rate_bytes_min: 1 << 10,
        },
        retries: Retries {
            attempts_max: 5,
            delay_first: Duration::from_millis(1),
            delay_max: Duration::from_millis(10),
            retry_after_max: Duration::from_secs(5),
        },
        ..ClientOptions::default()
    }
}

/// A bad registry, a client of it that has the password, and what the client told.
pub struct Case {
    pub registry: BadRegistry,
    pub client: Client,
    pub repository: Repository,
    pub events: Arc<Mutex<Vec<Event>>>,
}

impl Case {
    pub fn new(behaviour: &str) -> Case {
        Case::with(behaviour, |_| ())
    }

    pub fn with(behaviour: &str, change: impl FnOnce(&mut ClientOptions)) -> Case {
        let registry = BadRegistry::start(behaviour);
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        let credential = Credential::Basic { username: USERNAME.to_owned(), password: Secret::new(PASSWORD) };
        let mut options = ClientOptions {
            credentials: Arc::new(Fixed { key: registry.host(), credential }),
            observer: Arc::new(move |event| heard.lock().unwrap().push(event.clone())),
            ..options()
        };
        change(&mut options);
        let repository = Repository::parse(&format!("{}/b/img", registry.host())).unwrap();
        Case { client: Client::new(options).unwrap(), registry, repository, events }
    }

    pub fn layer(&self) -> Descriptor {
        descriptor(&self.registry.image().layers.last().unwrap().blob)
    }

    pub async fn read_layer(&self) -> Result<Bytes, BlobError> {
        read(&self.client, &self.repository, &self.layer()).await
    }

    /// Checks that no stranger learnt a secret.
    #[track_caller]
    pub fn assert_nothing_leaked(&self, behaviour: &str) {
        assert_eq!(self.registry.leaks(), Vec::<String>::new(), "{behaviour}");
    }
}

pub fn descriptor(blob: &Blob) -> Descriptor {
    Descriptor::new(blob.media_type.as_str(), blob.digest.parse().unwrap(), blob.bytes.len() as u64)
}

pub fn latest() -> Target {
    Target::Tag(Tag::latest())
}

/// Reads a whole blob and checks its digest.
pub async fn read(
    client: &Client,
    repository: &Repository,
    descriptor: &Descriptor,
) -> Result<Bytes, BlobError> {
    let mut blob = client.blob(repository, descriptor, 0)?.hashed(Digester::sha256());
    let mut whole = Vec::new();
    while let Some(chunk) = blob.chunk().await? {
        whole.extend_from_slice(&chunk);
    }
    assert_eq!(Digest::sha256(&whole), descriptor.digest);
    Ok(whole.into())
}

/// A blob in pieces; what it is is told when a stream of it has ended.
pub struct Made {
    bytes: Bytes,
    descriptor: Descriptor,
    has_ended: Arc<AtomicBool>,
}

impl Made {
    pub fn new(bytes: Bytes, descriptor: Descriptor) -> Made {
        Made { bytes, descriptor, has_ended: Arc::default() }
    }
}

impl BlobSource for Made {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        let rest = self.bytes.slice(offset as usize..);
        let has_ended = Arc::clone(&self.has_ended);
        let pieces = (0..rest.len()).step_by(100_000);
        let pieces: Vec<_> =
            pieces.map(|from| Ok(rest.slice(from..rest.len().min(from + 100_000)))).collect();
        let end = futures_util::stream::poll_fn(move |_| {
            has_ended.store(true, Ordering::Relaxed);
            Poll::Ready(None)
        });
        let stream: ByteStream = Box::pin(futures_util::stream::iter(pieces).chain(end));
        Box::pin(async move { Ok(stream) })
    }
}

impl MadeBlob for Made {
    fn descriptor(&self) -> Option<Descriptor> {
        self.has_ended.load(Ordering::Relaxed).then(|| self.descriptor.clone())
    }
}

/// The most memory that this process ever used, in bytes.
pub fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

/// Runs the test with this name again, alone in a process with these variables; true there.
///
/// # Panics
/// When the test fails there.
pub fn is_alone(test: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "SHALE_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let variables = variables.iter().copied();
    let again = std::process::Command::new(program)
        .args(["--exact", test])
        .env(MARK, "1")
        .envs(variables)
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
    assert!(String::from_utf8_lossy(&again.stdout).contains("1 passed"), "no test has the name {test}");
    false
}
