//! A rich tree through `docker import` and through this crate: the same files, the same size, the same tar-split.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shale_rootfs::{Rootfs, Unpack, unpack};

use crate::golden::meaning;
use crate::tree;

struct Daemon {
    process: Child,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let directory = tempfile::Builder::new().prefix("shale-rootfs-dockerd-").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let log = fs::File::create(path("log")).unwrap();
        let process = Command::new("dockerd")
            .args(["--iptables=false", "--bridge=none", "--storage-driver=overlay2"])
            .arg("--data-root")
            .arg(path("root"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("-H")
            .arg(format!("unix://{}", path("sock").display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the peer dockerd is installed");
        let daemon = Daemon { process, directory };
        let started = Instant::now();
        while !daemon.docker(&["version"]).status().unwrap().success() {
            assert!(started.elapsed() < Duration::from_secs(120), "dockerd does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        daemon
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let socket = format!("unix://{}", self.directory.path().join("sock").display());
        command.arg("-H").arg(socket).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn layer(&self, diff_id: &str) -> PathBuf {
        let layers = self.directory.path().join("root/image/overlay2/layerdb/sha256");
        // A bottom layer's chain ID is its diff ID.
        layers.join(diff_id.strip_prefix("sha256:").unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

fn shell(directory: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

const TREE: &str = r#"
umask 022
mkdir -p t/bin t/etc t/var/lib t/tmp t/dev t/home/user t/sparse
chmod 1777 t/tmp
printf '#!/bin/sh\n' > t/bin/sh; chmod 4755 t/bin/sh
cp t/bin/sh t/bin/ping; setcap cap_net_raw+ep t/bin/ping
echo one > t/etc/a; ln t/etc/a t/etc/b; ln t/etc/a t/var/a-too
echo "setuid through a link" > t/bin/su; chmod 6755 t/bin/su; ln t/bin/su t/var/su
ln -s /etc t/var/etc; ln -s ../nowhere t/dangling; ln t/dangling t/dangling-too
mknod t/dev/null c 1 3; chmod 666 t/dev/null; mknod t/dev/loop b 7 0; mkfifo -m 640 t/dev/fifo
long=$(printf 'n%.0s' $(seq 1 120)); mkdir -p "t/var/$long/$long"; echo deep > "t/var/$long/$long/$long"
ln -s "$long$long" t/var/long-target
printf x > "$(printf 't/home/latin\351')"; echo y > "t/home/é <&> \\ \""; printf z > "$(printf 't/home/new\nline')"
setfattr -n user.note -v text t/home/user; setfattr -n trusted.note -v text t/etc/a
setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff02000700d204000004000400ffffffff080004000500000010000700ffffffff20000400ffffffff t/etc/a
setfattr -n system.posix_acl_default -v 0x0200000001000700ffffffff02000700d204000004000500ffffffff10000700ffffffff20000500ffffffff t/home/user; echo inherits > t/home/user/file; chmod 640 t/home/user/file
chown 1000:100 t/home/user; chmod 2775 t/home/user; echo in-setgid > t/home/user/in; mkdir t/home/user/dir
chown 4294967294:3000000 t/tmp; chown -h 77:88 t/dangling
head -c 3000000 /dev/urandom > t/var/lib/big
touch -d @-5 t/etc/old; touch -d @1700000000.123456789 t/etc/precise; touch -h -d @1500000000.5 t/var/etc
find t -type d -exec touch -d @1600000000 {} +
"#;

fn check(daemon: &Daemon, tar: &Path, same_tar_split: bool) {
    let imported = daemon.docker(&["import"]).arg(tar).stderr(Stdio::inherit()).status().unwrap();
    assert!(imported.success(), "{}", tar.display());
    let directory = tempfile::tempdir().unwrap();
    let root = Rootfs::open(directory.path()).unwrap();
    let mut lines = Vec::new();
    let unpacked = unpack(&root, &mut fs::File::open(tar).unwrap(), &mut lines, &Unpack::default()).unwrap();
    let layer = daemon.layer(&unpacked.diff_id.to_string());
    let text = |name: &str| fs::read_to_string(layer.join(name)).unwrap();
    let theirs = daemon.directory.path().join("root/overlay2").join(text("cache-id")).join("diff");
    tree::assert_same(&tree::list(directory.path()), &tree::list(&theirs), &tar.display().to_string());
    assert_eq!(unpacked.size_bytes.to_string(), text("size"), "{}", tar.display());
    if same_tar_split {
        let mut their_lines = Vec::new();
        let compressed = fs::read(layer.join("tar-split.json.gz")).unwrap();
        flate2::read::MultiGzDecoder::new(&compressed[..]).read_to_end(&mut their_lines).unwrap();
        let (ours, theirs) = (meaning(&lines), meaning(&their_lines));
        assert_eq!(ours.0, theirs.0, "{}", tar.display());
        assert!(ours.1 == theirs.1, "{}", tar.display());
    }
}

#[test]
fn a_rich_tree_becomes_what_dockerd_makes_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    shell(scratch.path(), TREE);
    shell(
        scratch.path(),
        "tar --xattrs --xattrs-include='*' --acls -C t --format=posix -cf posix.tar .
         tar -C t --format=gnu --numeric-owner -cf gnu.tar bin etc var home dev tmp dangling dangling-too
         truncate -s 1M t/sparse/holes; echo middle | dd of=t/sparse/holes bs=1 seek=500000 conv=notrunc status=none
         tar -C t --format=posix -S -cf sparse.tar sparse
         tar -C t --format=posix --pax-option=globexthdr.name=pax_global_header,comment=x -cf global.tar etc",
    );
    let daemon = Daemon::start();
    check(&daemon, &scratch.path().join("posix.tar"), true);
    check(&daemon, &scratch.path().join("gnu.tar"), true);
    check(&daemon, &scratch.path().join("sparse.tar"), false);
    check(&daemon, &scratch.path().join("global.tar"), true);
}
