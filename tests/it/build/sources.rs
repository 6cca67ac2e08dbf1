//! Where a build's files come from and where its result goes: git, web servers, other directories, archives.

use std::fs;
use std::path::Path;
use std::time::Duration;

use shale_tests::build::{BASE, base_tar};
use shale_tests::http::free_port;
use shale_tests::peer::Shale;
use shale_tests::program::{Server, require, shell};
use shale_tests::scratch::Scratch;
use shale_tests::sha256_hex;

struct Bench {
    scratch: Scratch,
    shale: Shale,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new("sources");
        let shale = Shale::new(&scratch.folder("shale"));
        let tar = base_tar(&scratch);
        shale.shale(&["import", "-c", "ENV PATH=/bin", tar.to_str().expect("scratch paths are text"), BASE]);
        Self { scratch, shale }
    }

    /// Starts a server of the scratch directory `folder` and returns it with its port.
    fn serve(&self, program: &Path, arguments: impl Fn(u16) -> Vec<String>) -> (Server, u16) {
        let port = free_port();
        let log = self.scratch.path().join("server.log");
        let mut server = Server::start(program, &arguments(port), &[], &log);
        let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(server.wait_until(Duration::from_secs(30), answers), "{}", server.log());
        (server, port)
    }

    /// What a command prints in the root of an image, which is written to a directory for that.
    fn files(&self, context: &str, flags: &[&str], script: &str) -> String {
        let out = self.scratch.path().join("out");
        let _ = fs::remove_dir_all(&out);
        let output = format!("type=local,dest={}", out.display());
        let mut arguments = vec!["build", "-q", "-o", &output];
        arguments.extend(flags);
        arguments.push(context);
        self.shale.shale(&arguments);
        shell(&out, script)
    }
}

/// A repository with a branch, a tag and a directory, and a hook that must not run.
const REPOSITORY: &str = "
git init -q -b main . ; git config user.email a@b; git config user.name n
mkdir sub; echo one > sub/f; printf 'FROM base:1\\nCOPY sub/f /f\\n' > Dockerfile
printf 'FROM base:1\\nCOPY f /in-sub\\n' > sub/Dockerfile
git add .; git commit -q -m one; git tag v1
git checkout -q -b other; echo two > sub/f; git commit -q -a -m two; git checkout -q main";

#[test]
fn repositories_are_contexts_and_sources_of_add() {
    let bench = Bench::new();
    shell(&bench.scratch.folder("git/repo.git"), REPOSITORY);
    let base = bench.scratch.path().join("git").display().to_string();
    let (_server, port) = bench.serve(&require("git", "git"), |port| {
        ["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]
            .into_iter()
            .map(str::to_owned)
            .chain([format!("--port={port}"), format!("--base-path={base}"), base.clone()])
            .collect()
    });
    let url = format!("git://127.0.0.1:{port}/repo.git");
    assert_eq!(bench.files(&url, &[], "cat f"), "one\n");
    assert_eq!(bench.files(&format!("{url}#other"), &[], "cat f"), "two\n");
    assert_eq!(bench.files(&format!("{url}#v1:sub"), &[], "cat in-sub"), "one\n");
    let commit = shell(&bench.scratch.folder("git/repo.git"), "git rev-parse other");
    assert_eq!(bench.files(&format!("{url}#{}", commit.trim()), &[], "cat f"), "two\n");
    let context = bench.scratch.folder("add");
    let dockerfile = format!(
        "FROM base:1\nADD {url}#other /all\nADD --keep-git-dir=true {url} /with\nADD {url}#:sub /sub/\n"
    );
    fs::write(context.join("Dockerfile"), dockerfile).expect("ours");
    let found = bench.files(
        context.to_str().expect("text"),
        &[],
        "cat all/sub/f sub/f; ls -d all/.git with/.git || true",
    );
    assert_eq!(found, "two\none\nwith/.git\n");
    for wrong in
        [format!("{url}#nosuch"), format!("git://127.0.0.1:{port}/none.git"), format!("{url}#main:../..")]
    {
        let told = bench.shale.run(&["build", wrong.as_str()]).refusal();
        assert!(told.contains("git") || told.contains("directory"), "{wrong}: {told}");
    }
}

#[test]
fn files_of_web_servers_are_added_and_checked() {
    let bench = Bench::new();
    let www = bench.scratch.folder("www");
    let script = "printf content > file.txt; touch -d @1500000000 file.txt
        mkdir c; printf 'FROM base:1\\nCOPY in /in\\n' > c/Dockerfile; echo in > c/in; tar -C c -czf context.tar.gz .
        tar -C c -cf plain.tar in; printf 'FROM base:1\\nLABEL from=url\\n' > Dockerfile";
    shell(&www, script);
    let (_server, port) = bench.serve(&require("busybox", "busybox-static"), |port| {
        ["httpd", "-f", "-h"]
            .into_iter()
            .map(str::to_owned)
            .chain([www.display().to_string(), "-p".to_owned(), format!("127.0.0.1:{port}")])
            .collect()
    });
    let url = format!("http://127.0.0.1:{port}");
    let context = bench.scratch.folder("add");
    let sum = sha256_hex(b"content");
    let write =
        |text: &str| fs::write(context.join("Dockerfile"), format!("FROM base:1\n{text}\n")).expect("ours");
    let path = context.to_str().expect("text");
    write(&format!(
        "ADD --checksum=sha256:{sum} {url}/file.txt /x/\nADD {url}/plain.tar /tt/\nADD --unpack=true {url}/plain.tar /u/"
    ));
    let found = bench.files(path, &[], "cat x/file.txt; stat -c ' %a %Y' x/file.txt; ls tt u");
    assert_eq!(found, "content 600 1500000000\ntt:\nplain.tar\n\nu:\nin\n");
    write(&format!("ADD --checksum=sha256:{} {url}/file.txt /x", "0".repeat(64)));
    let told = bench.shale.run(&["build", path]).refusal();
    assert!(told.contains("digest mismatch") && told.contains(&sum), "{told}");
    write(&format!("ADD {url}/missing /x"));
    let told = bench.shale.run(&["build", path]).refusal();
    assert!(told.contains("404"), "{told}");
    write(&format!("ADD {url}/ /x/"));
    let told = bench.shale.run(&["build", path]).refusal();
    assert!(told.contains("cannot determine filename from url"), "{told}");
    assert_eq!(bench.files(&format!("{url}/context.tar.gz"), &[], "cat in"), "in\n");
    bench.shale.shale(&["build", "-q", "-t", "alone:1", &format!("{url}/Dockerfile")]);
    let label = bench.shale.shale(&["inspect", "--format", "{{.Config.Labels.from}}", "alone:1"]);
    assert_eq!(label.trim(), "url");
}

#[test]
fn results_go_where_they_are_sent() {
    let bench = Bench::new();
    let context = bench.scratch.folder("context");
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /d/f\n").expect("ours");
    let path = context.to_str().expect("text");
    let place = |name: &str| bench.scratch.path().join(name).display().to_string();
    assert_eq!(bench.files(path, &[], "find . | sort"), ".\n./d\n./d/f\n");
    let (tar, oci) = (place("x.tar"), place("y.tar"));
    bench.shale.shale(&["build", "-o", &format!("type=tar,dest={tar}"), path]);
    assert_eq!(shell(&context, &format!("tar -tf {tar} | sort")), "d/\nd/f\n");
    bench.shale.shale(&["build", "-t", "out:1", "-o", &format!("type=oci,dest={oci}"), path]);
    let inspected = shell(&context, &format!("skopeo inspect oci-archive:{oci}"));
    assert!(inspected.contains("\"Layers\""), "{inspected}");
    // Nothing but the tar is on standard output.
    let piped = place("piped.tar");
    let program = bench.shale.program().display();
    let root = bench.shale.data_root().display();
    shell(
        &context,
        &format!("{program} --data-root {root} build -o - {path} > {piped} 2>/dev/null; cmp {piped} {tar}"),
    );
    for wrong in ["type=local", "type=nosuch,dest=x", "type=tar,dest=x,compression=zstd"] {
        let refused = bench.shale.run(&["build", "-o", wrong, path]);
        assert_eq!(refused.code(), 125, "{}", refused.describe());
    }
    // Two builds of what depends on no time are equal; of what does, the line is named.
    bench.shale.shale(&["build", "--verify", path]);
    fs::write(context.join("Dockerfile"), "FROM base:1\nRUN cat /proc/sys/kernel/random/uuid > /u\n")
        .expect("ours");
    let told = bench.shale.run(&["build", "--verify", path]).refusal();
    assert!(told.contains("line 2"), "{told}");
}
