//! A store with a busybox image, a context, and a builder that remembers what it was told.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use shale_build::{BuildError, BuildOptions, Built, Context, Images, Output, RunNetwork, build};
use shale_dockerfile::{Dialect, Dockerfile};
use shale_oci::{ImageConfig, ImageId, Platform};
use shale_rootfs::{Pack, Rootfs, pack_with_tar_split};
use shale_store::{Access, OpenOptions, PutImage, Store};
use tempfile::TempDir;

pub struct Machine {
    pub directory: TempDir,
    pub store: Store,
    base: ImageId,
}

/// What a build said and made.
pub struct Outcome {
    pub result: Result<Built, BuildError>,
    pub text: String,
}

impl Machine {
    /// `None` where the tests cannot run: not root, no runtime, no busybox.
    pub fn new() -> Option<Machine> {
        let busybox = Path::new("/usr/bin/busybox");
        if !rustix::process::geteuid().is_root() || !busybox.exists() || !Path::new("/usr/sbin/runc").exists()
        {
            eprintln!("not run: this test needs root, runc and busybox");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions { create: true, access: Access::Write };
        let store = Store::open(&directory.path().join("root"), options).unwrap();
        std::fs::create_dir(directory.path().join("context")).unwrap();
        let base = base_image(&store, busybox);
        Some(Machine { directory, store, base })
    }

    pub fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    /// Writes a file of the context, mode 0644.
    pub fn file(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.context().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub fn build(&self, dockerfile: &str, dialect: Dialect) -> Outcome {
        self.build_with(dockerfile, dialect, &BuildOptions::default())
    }

    pub fn build_with(&self, dockerfile: &str, dialect: Dialect, options: &BuildOptions) -> Outcome {
        let options = BuildOptions { network: RunNetwork::None, ..options.clone() };
        let told = Told(Mutex::new(String::new()));
        let parsed = Dockerfile::parse(dockerfile.as_bytes(), "Dockerfile", dialect);
        let result = parsed.map_err(BuildError::from).and_then(|parsed| {
            let context = Context::open(&self.context(), None, dialect).map_err(BuildError::from)?;
            build(&self.store, &parsed, &context, &options, &Base(self.base), &told)
                .map_err(|failed| failed.error)
        });
        Outcome { result, text: told.0.into_inner().unwrap() }
    }

    pub fn config(&self, image: ImageId) -> ImageConfig {
        ImageConfig::parse(&self.store.image(image).unwrap().unwrap().config).unwrap()
    }

    /// Returns what a shell command prints in a container of `image`, through one more build step that is not cached.
    pub fn shell(&self, image: &ImageId, script: &str) -> String {
        let dockerfile =
            format!("FROM {image}\nENTRYPOINT []\nUSER 0\nSHELL [\"/bin/sh\", \"-c\"]\nRUN {script}\n");
        let options = BuildOptions { no_cache: true, network: RunNetwork::None, ..BuildOptions::default() };
        let told = Told(Mutex::new(String::new()));
        let parsed = Dockerfile::parse(dockerfile.as_bytes(), "Dockerfile", Dialect::Shale).unwrap();
        let built = build(&self.store, &parsed, &Context::empty(), &options, &Base(*image), &told);
        let text = told.0.into_inner().unwrap();
        drop(built.unwrap_or_else(|failed| panic!("{failed}\n{text}")));
        let from = text.rfind("Running in ").unwrap();
        let to = text.rfind("Removing intermediate").unwrap();
        text[from..to].split_once('\n').unwrap().1.to_owned()
    }
}

impl Outcome {
    #[track_caller]
    pub fn image(&self) -> ImageId {
        match &self.result {
            Ok(built) => built.image,
            Err(error) => panic!("{error}\n{}", self.text),
        }
    }

    #[track_caller]
    pub fn error(&self, dialect: Dialect) -> String {
        match &self.result {
            Ok(_) => panic!("it was built:\n{}", self.text),
            Err(error) => error.docker_message(dialect),
        }
    }
}

struct Told(Mutex<String>);

impl Output for Told {
    fn text(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

/// Every name is the base, except those that begin with `missing-`.
struct Base(ImageId);

impl Images for Base {
    fn resolve(
        &self,
        name: &str,
        _: Option<&Platform>,
        _: bool,
    ) -> Result<ImageId, Box<dyn std::error::Error + Send + Sync>> {
        if name.starts_with("missing-") {
            return Err("there is no such image".into());
        }
        Ok(self.0)
    }
}

fn base_image(store: &Store, busybox: &Path) -> ImageId {
    let mut layer = store.begin_layer().unwrap();
    let root = layer.diff_path();
    for directory in ["bin", "etc", "tmp"] {
        std::fs::create_dir(root.join(directory)).unwrap();
    }
    std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for name in [
        "sh", "cat", "echo", "ls", "mkdir", "rm", "stat", "test", "touch", "true", "id", "wc", "readlink",
        "find", "sort",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001:u:/home/user:/bin/sh\nnogroup:x:1002:1003::/:/bin/sh\n";
    std::fs::write(root.join("etc/passwd"), passwd).unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1001:\n").unwrap();
    let tree = Rootfs::open(&root).unwrap();
    let packed =
        pack_with_tar_split(&tree, &mut std::io::sink(), layer.tar_split(), &Pack::default()).unwrap();
    let finished = layer.finish(packed.diff_id, packed.size_bytes).unwrap();
    let _published = store.publish_layers(None, vec![finished]).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","config":{{"Cmd":["sh"]}},"os":"linux","created":"2026-01-01T00:00:00Z","history":[{{"created":"2026-01-01T00:00:00Z"}}],"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        packed.diff_id
    );
    store.put_image(config.as_bytes(), PutImage::default()).unwrap()
}
