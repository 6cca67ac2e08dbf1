//! A real dockerd on the roots that the store wrote.
//!
//! Needs `dockerd` and `docker` 20.10 and root; each test has its own directories and ends its daemon by its pid.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use shale_store::{Access, AccessError, OpenError, OpenOptions, Store};

use crate::fixture::{Tar, config, open, store_image};

struct Docker {
    daemon: Child,
    root: PathBuf,
    scratch: PathBuf,
}

impl Docker {
    /// Starts a daemon on `root`.
    ///
    /// # Errors
    /// The daemon's log, when it ended by itself.
    fn start(root: &Path, scratch: &Path) -> Result<Docker, String> {
        fs::create_dir_all(scratch).unwrap();
        let log = scratch.join("log");
        let daemon = Command::new("dockerd")
            .arg("--data-root")
            .arg(root)
            .arg("--exec-root")
            .arg(scratch.join("exec"))
            .arg("-H")
            .arg(format!("unix://{}", scratch.join("sock").display()))
            .arg("--pidfile")
            .arg(scratch.join("pid"))
            .args(["--iptables=false", "--bridge=none", "--storage-driver", "overlay2"])
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("dockerd is installed");
        let mut docker = Docker { daemon, root: root.to_owned(), scratch: scratch.to_owned() };
        let started = Instant::now();
        while !docker.run(&["version"]).status.success() {
            if docker.daemon.try_wait().unwrap().is_some() {
                return Err(fs::read_to_string(log).unwrap());
            }
            assert!(started.elapsed() < Duration::from_secs(120), "dockerd does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(docker)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("docker")
            .arg("-H")
            .arg(format!("unix://{}", self.scratch.join("sock").display()))
            .args(arguments)
            .output()
            .expect("docker is installed")
    }

    #[track_caller]
    fn output(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // SIGTERM, so that the daemon takes its containerd with it and unmounts what it mounted.
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.daemon.wait();
        let _ = rustix::mount::unmount(&self.root, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn dockerd_uses_a_root_that_only_the_store_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let layers = ["a", "b", "c"].map(Tar::of);
    let id = {
        let store = open(&root);
        let id = store_image(&store, &layers, "app", "app:1");
        store.tag("localhost:5000/app", "localhost:5000/app:latest", id).unwrap();
        id
    };
    {
        let docker = Docker::start(&root, &directory.path().join("docker")).unwrap();
        let listed = docker.output(&[
            "images",
            "--no-trunc",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}",
        ]);
        let mut listed: Vec<_> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(listed, [format!("app:1 {id} 18B"), format!("localhost:5000/app:latest {id} 18B")]);
        let diff_ids = docker.output(&["inspect", "app:1", "--format", "{{join .RootFS.Layers \" \"}}"]);
        assert_eq!(diff_ids, layers.each_ref().map(|tar| tar.diff_id().to_string()).join(" "));
        assert_eq!(docker.output(&["history", "-q", "app:1"]).lines().count(), 3);

        // A container mounts all layers through their links; export reads through the mount.
        docker.output(&["create", "--name", "box", "--network", "none", "app:1"]);
        let export = directory.path().join("export.tar");
        docker.output(&["export", "-o", export.to_str().unwrap(), "box"]);
        let names = Command::new("tar").arg("-tf").arg(&export).output().unwrap().stdout;
        let names = String::from_utf8(names).unwrap();
        for name in ["a", "b", "c"] {
            assert!(names.lines().any(|line| line == name), "{names}");
        }
        // Save rebuilds each tar from its tar-split record and compares the digest.
        let save = directory.path().join("save.tar");
        docker.output(&["save", "-o", save.to_str().unwrap(), "app:1"]);
        docker.output(&["tag", "app:1", "by/docker:1"]);
    }
    // The daemon's own changes are read in turn, and what its container needs stays.
    let store = open(&root);
    assert_eq!(store.references().unwrap().image("by/docker", "by/docker:1"), Some(id));
    assert_eq!(store.mounts().unwrap().len(), 1);
    for (repository, key) in
        [("app", "app:1"), ("by/docker", "by/docker:1"), ("localhost:5000/app", "localhost:5000/app:latest")]
    {
        store.remove_reference(repository, key).unwrap();
    }
    assert_eq!(store.remove_image(id).unwrap().layers, [], "the container stands on them");
    assert_eq!(store.layers().unwrap().len(), 3);
    assert!(store.fsck().unwrap().is_empty(), "{:#?}", store.fsck().unwrap());
    store.put_image(config(&layers).as_bytes(), Default::default()).unwrap();
    store.tag("app", "app:1", id).unwrap();
    drop(store);
    let docker = Docker::start(&root, &directory.path().join("docker")).unwrap();
    assert_eq!(docker.output(&["images", "-q", "--no-trunc"]), id.to_string());
    docker.output(&["rm", "box"]);
    let removed = docker.output(&["rmi", "app:1"]);
    assert_eq!(removed.lines().filter(|line| line.starts_with("Deleted: ")).count(), 4, "{removed}");
}

#[test]
fn a_root_is_either_dockerd_s_or_ours() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let store = open(&root);
    {
        let _docker = Docker::start(&root, &directory.path().join("docker")).unwrap();
        for access in [Access::Read, Access::Write] {
            let error = Store::open(&root, OpenOptions { create: false, access }).unwrap_err();
            assert!(matches!(error, OpenError::Access(AccessError::HeldByDocker)), "{error}");
        }
        // A store that was open before the daemon's first start.
        let error = store.tag("a", "a:1", any_image()).unwrap_err();
        assert!(error.to_string().contains("a running dockerd holds this data root"), "{error}");
    }
    drop(store);
    let store = open(&root);
    let log = Docker::start(&root, &directory.path().join("docker")).map(|_| ()).unwrap_err();
    assert!(log.contains("timeout"), "{log}");
    drop(store);
    Docker::start(&root, &directory.path().join("docker")).map(|_| ()).unwrap();
}

fn any_image() -> shale_oci::ImageId {
    shale_oci::ImageId::new(shale_oci::Digest::sha256(b""))
}
