//! `shale registry serve` under the clients that people have: over HTTP, over TLS, with a password, with tokens.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use shale_tests::image::storage;
use shale_tests::peer::{
    Access, DockerRegistry, Dockerd, Guard, Options, PASSWORD, ShaleRegistry, TokenServer, USER,
};
use shale_tests::program::{Finished, require, run};
use shale_tests::scratch::Scratch;
use shale_tests::{http, sha256_hex};

const GUARDS: [Guard; 4] = [Guard::Open, Guard::Tls, Guard::Password, Guard::Tokens];

/// A client of the containers family with storage and passwords of its own.
struct Client<'a> {
    program: &'static str,
    folder: PathBuf,
    registry: &'a ShaleRegistry,
}

impl<'a> Client<'a> {
    fn new(program: &'static str, scratch: &Scratch, registry: &'a ShaleRegistry) -> Self {
        let folder = scratch.folder(&format!("{program}-{}", registry.pid()));
        // podman and buildah take a named file only when it exists.
        fs::write(folder.join("auth.json"), "{}").expect("the scratch directory is ours");
        Self { program, folder, registry }
    }

    /// Runs `words`; in them `CERTS` stands for what the client needs to trust the registry, which it does not else.
    #[track_caller]
    fn run(&self, words: &str, more: &[&str]) -> Finished {
        let mut command = Command::new(require(self.program, self.program));
        if self.program != "skopeo" {
            command.arg("--root").arg(self.folder.join("root"));
            command.arg("--runroot").arg(self.folder.join("run")).args(["--storage-driver", "vfs"]);
        }
        for word in words.split(' ') {
            match word.strip_suffix("CERTS") {
                Some("") if self.registry.has_tls() => {
                    command.arg("--cert-dir").arg(self.registry.authority());
                }
                Some("") => {
                    command.arg("--tls-verify=false");
                }
                // skopeo copy trusts its source and its destination one by one: --src-CERTS.
                Some(side) if self.registry.has_tls() => {
                    command.arg(format!("{side}cert-dir")).arg(self.registry.authority());
                }
                Some(side) => {
                    command.arg(format!("{side}tls-verify=false"));
                }
                None => {
                    command.arg(word.replace("HOST", &self.registry.host()));
                }
            }
        }
        run(command.args(more).env("REGISTRY_AUTH_FILE", self.folder.join("auth.json")))
    }

    #[track_caller]
    fn ok(&self, words: &str) -> String {
        self.run(words, &[]).success()
    }

    /// Logs in, first with a wrong password; where nobody has a name, there is nothing to do.
    fn login(&self) {
        if self.registry.is_guarded() {
            let wrong = self.run(&format!("login CERTS -u {USER} -p wrong HOST"), &[]).refusal();
            assert!(wrong.contains("invalid username/password"), "{wrong}");
            let greeting = self.ok(&format!("login CERTS -u {USER} -p {PASSWORD} HOST"));
            assert!(greeting.contains("Login Succeeded!"), "{greeting}");
        }
    }

    /// Logs out; `words` must not succeed after that.
    fn logout(&self, words: &str) {
        if self.registry.is_guarded() {
            self.ok("logout HOST");
            let refused = self.run(words, &[]).refusal();
            let known = ["unauthorized", "authentication required", "denied"];
            assert!(known.iter().any(|word| refused.to_lowercase().contains(word)), "{refused}");
        }
    }
}

fn tags(listed: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(listed).expect("skopeo lists as JSON");
    let tags = document["Tags"].as_array().expect("there are tags");
    tags.iter().map(|tag| tag.as_str().expect("a tag is a text").to_owned()).collect()
}

#[test]
fn docker_logs_in_pushes_pulls_and_makes_lists() {
    let scratch = Scratch::new("rd");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    for name in ["busybox", "whiteouts"] {
        docker.docker(&["pull", "--quiet", &format!("{}/images/{name}:1", source.host())]);
    }
    for (number, guard) in GUARDS.into_iter().enumerate() {
        let registry = ShaleRegistry::start(&scratch.folder(&format!("r{number}")), guard);
        let host = registry.host();
        let name = |rest: &str| format!("{host}/team/{rest}");
        for (local, remote) in [("whiteouts", "app:1"), ("busybox", "app:2"), ("whiteouts", "other:1")] {
            docker.docker(&["tag", &format!("{}/images/{local}:1", source.host()), &name(remote)]);
        }
        if registry.is_guarded() {
            docker.run(&["push", &name("app:1")]).refusal();
            let wrong = docker.run(&["login", "-u", USER, "-p", "wrong", &host]).refusal();
            assert!(wrong.to_lowercase().contains("unauthorized"), "{wrong}");
            let greeting = docker.docker(&["login", "-u", USER, "-p", PASSWORD, &host]);
            assert!(greeting.contains("Login Succeeded"), "{greeting}");
        }
        let mut digests = Vec::new();
        for remote in ["app:1", "app:2", "other:1"] {
            let printed = docker.docker(&["push", &name(remote)]);
            let digest = printed.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next());
            digests.push(digest.unwrap_or_else(|| panic!("no digest in {printed}")).to_owned());
        }
        // The same image under two names: the second push finds every layer.
        assert_eq!(digests[0], digests[2]);
        let format = ["inspect", "-f", "{{.Id}}"];
        let id = docker.docker(&[&format[..], &[&name("app:1")]].concat());
        for remote in ["app:1", "app:2", "other:1"] {
            docker.docker(&["rmi", &name(remote)]);
        }
        let pulled = docker.docker(&["pull", &name("app:1")]);
        assert!(pulled.contains(&format!("Digest: {}", digests[0])), "{pulled}");
        assert_eq!(docker.docker(&[&format[..], &[&name("app:1")]].concat()), id);
        let by_digest = name(&format!("app@{}", digests[1]));
        docker.docker(&["pull", "--quiet", &by_digest]);

        // `docker manifest` speaks plain HTTP to every registry on loopback.
        if !registry.has_tls() {
            let list = name("app:list");
            docker.docker(&["manifest", "create", "--insecure", &list, &name("app:1"), &by_digest]);
            let pushed = docker.docker(&["manifest", "push", "--purge", "--insecure", &list]);
            assert!(pushed.trim().starts_with("sha256:"), "{pushed}");
            let inspected = docker.docker(&["manifest", "inspect", "--insecure", &list]);
            let document: Value = serde_json::from_str(&inspected).expect("it is JSON");
            assert_eq!(document["manifests"].as_array().map(Vec::len), Some(2), "{inspected}");
        }
        if registry.is_guarded() {
            docker.docker(&["logout", &host]);
            docker.run(&["pull", &name("app:2")]).refusal();
        }
        docker.docker(&["rmi", &name("app:1"), &by_digest]);
    }
}

#[test]
fn skopeo_logs_in_copies_lists_inspects_and_deletes() {
    let scratch = Scratch::new("rs");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    for (number, guard) in GUARDS.into_iter().enumerate() {
        let registry = ShaleRegistry::start(&scratch.folder(&format!("r{number}")), guard);
        let client = Client::new("skopeo", &scratch, &registry);
        let from = format!("docker://{}/images", source.host());
        let push = format!(
            "copy --quiet --preserve-digests --src-tls-verify=false --dest-CERTS {from}/whiteouts:1 docker://HOST/a/app:1"
        );
        if registry.is_guarded() {
            client.run(&push, &[]).refusal();
        }
        if registry.has_tls() {
            let stranger = client.run("inspect docker://HOST/a/app:1", &[]).refusal();
            assert!(stranger.contains("x509"), "{stranger}");
        }
        client.login();
        client.ok(&push);
        client.ok(&push.replace("whiteouts", "zstd").replace("app:1", "app:z"));
        client.ok("copy --quiet --src-CERTS --dest-CERTS docker://HOST/a/app:1 docker://HOST/b/copy:1");
        assert_eq!(tags(&client.ok("list-tags CERTS docker://HOST/a/app")), ["1", "z"]);
        for (mine, theirs) in [("a/app:1", "whiteouts"), ("b/copy:1", "whiteouts"), ("a/app:z", "zstd")] {
            let raw = client.ok(&format!("inspect --raw CERTS docker://HOST/{mine}"));
            let expected = source.digest(&format!("images/{theirs}"), "1");
            assert_eq!(format!("sha256:{}", sha256_hex(raw.as_bytes())), expected, "{mine}");
        }
        // skopeo checks every digest on its way to the disk.
        let layout = scratch.path().join(format!("layout{number}"));
        client.ok(&format!("copy --quiet --src-CERTS docker://HOST/b/copy:1 oci:{}:1", layout.display()));
        client.ok("delete CERTS docker://HOST/b/copy:1");
        client.run("inspect CERTS docker://HOST/b/copy:1", &[]).refusal();
        client.ok("inspect CERTS docker://HOST/a/app:1");
        client.logout("inspect CERTS docker://HOST/a/app:1");
    }
}

#[test]
fn podman_logs_in_pushes_pulls_lists_and_makes_lists() {
    let scratch = Scratch::new("rp");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    for (number, guard) in GUARDS.into_iter().enumerate() {
        let registry = ShaleRegistry::start(&scratch.folder(&format!("r{number}")), guard);
        let client = Client::new("podman", &scratch, &registry);
        let image = format!("{}/images/busybox:1", source.host());
        client.ok(&format!("pull --quiet --tls-verify=false {image}"));
        let id = client.ok(&format!("images --quiet --no-trunc {image}"));
        client.login();
        client.ok(&format!("push --quiet CERTS {image} HOST/team/app:1"));
        client.ok(&format!("push --quiet CERTS --format oci {image} HOST/team/app:oci"));
        client.ok(&format!("rmi --force {image}"));
        let pulled = client.ok("pull --quiet CERTS HOST/team/app:1");
        assert_eq!(format!("sha256:{}", pulled.trim()), id.trim(), "the image came back as another");
        // This command knows no folder of certificates.
        let listed = client.ok("search --list-tags --tls-verify=false --format json HOST/team/app");
        let listed: Value = serde_json::from_str(&listed).expect("podman lists as JSON");
        assert_eq!(listed[0]["Tags"], json!(["1", "oci"]));
        client.ok("manifest create list");
        client.ok("manifest add CERTS list docker://HOST/team/app:oci");
        client.ok("manifest push --all CERTS list docker://HOST/team/app:list");
        client.ok("pull --quiet CERTS HOST/team/app:list");
        client.logout("pull --quiet CERTS HOST/team/app:oci");
    }
}

#[test]
fn buildah_logs_in_builds_pushes_and_pulls() {
    let scratch = Scratch::new("rb");
    let file = scratch.file("hello", "made by buildah\n");
    for (number, guard) in GUARDS.into_iter().enumerate() {
        let registry = ShaleRegistry::start(&scratch.folder(&format!("r{number}")), guard);
        let client = Client::new("buildah", &scratch, &registry);
        let container = client.ok("from scratch");
        client.ok(&format!("copy {} {} /hello", container.trim(), file.display()));
        let id = client.ok(&format!("commit --quiet --rm {} built:1", container.trim()));
        client.login();
        let digest_file = scratch.path().join(format!("digest{number}"));
        client.ok(&format!(
            "push --quiet CERTS --digestfile {} built:1 docker://HOST/buildah/app:1",
            digest_file.display()
        ));
        let digest = fs::read_to_string(&digest_file).expect("buildah wrote it");
        client.ok("rmi --all --force");
        let pulled = client.ok(&format!("pull --quiet CERTS docker://HOST/buildah/app@{}", digest.trim()));
        assert_eq!(pulled.trim(), id.trim());
        let by_id = pulled.trim();
        client.ok(&format!("push --quiet CERTS --format v2s2 {by_id} docker://HOST/buildah/docker:1"));
        client.logout("pull --quiet CERTS docker://HOST/buildah/docker:1");
    }
}

#[test]
fn tokens_of_another_server_open_the_registry() {
    let scratch = Scratch::new("rt");
    let service = TokenServer::start(&scratch.folder("t"));
    let guard = Guard::OtherTokens { realm: service.realm(), certificate: service.certificate() };
    let registry = ShaleRegistry::start(&scratch.folder("r"), guard);
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let client = Client::new("skopeo", &scratch, &registry);
    let copy = format!(
        "copy --quiet --src-tls-verify=false --dest-CERTS docker://{}/images/busybox:1 docker://HOST/a/app:1",
        source.host()
    );
    client.run(&copy, &[]).refusal();
    client.ok(&format!("login CERTS -u {USER} -p {PASSWORD} HOST"));
    client.ok(&copy);
    client.ok("inspect CERTS docker://HOST/a/app:1");
    let asked: Vec<String> = service.requests();
    assert!(asked.iter().any(|line| line.contains("a%2Fapp") && line.ends_with("as bob")), "{asked:?}");
    // A token of another key is none.
    let stranger = TokenServer::start(&scratch.folder("stranger"));
    let header = format!("Bearer {}", stranger_token(&stranger));
    let answer = http::request(&registry.host(), "GET", "/v2/", &[("Authorization", &header)], b"");
    assert_eq!(answer.expect("the registry answers").status, 401);
    let log = registry.log();
    assert!(!log.contains(PASSWORD), "the registry saw the password");
}

/// A token for everything, signed by a service that the registry does not trust.
fn stranger_token(service: &TokenServer) -> String {
    let host = service.realm().trim_start_matches("http://").trim_end_matches("/token").to_owned();
    let basic = [("Authorization", "Basic Ym9iOnMzY3JldA==")];
    let answer = http::request(&host, "GET", "/token?scope=repository:a/app:pull", &basic, b"");
    let body = answer.expect("the service answers").body;
    let document: Value = serde_json::from_slice(&body).expect("it answers in JSON");
    document["token"].as_str().expect("it has a token").to_owned()
}

#[test]
fn what_skopeo_attaches_is_listed_as_a_referrer() {
    let scratch = Scratch::new("ra");
    let registry = ShaleRegistry::start(&scratch.folder("r"), Guard::Open);
    let client = Client::new("skopeo", &scratch, &registry);
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    client.ok(&format!(
        "copy --quiet --preserve-digests --src-tls-verify=false --dest-CERTS docker://{}/images/busybox:1 docker://HOST/a/app:1",
        source.host()
    ));
    let subject = source.digest("images/busybox", "1");
    let manifest = signature_layout(&scratch, &subject);
    let layout = scratch.path().join("layout");
    client.ok(&format!(
        "copy --quiet --preserve-digests --dest-CERTS oci:{}:signature docker://HOST/a/app:signature",
        layout.display()
    ));
    let path = format!("/v2/a/app/referrers/{subject}");
    let answer = http::get(&registry.host(), &path).expect("the registry answers");
    let index: Value = serde_json::from_slice(&answer.body).expect("it is an index");
    let expected = json!([{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", sha256_hex(manifest.as_bytes())),
        "size": manifest.len(),
        "artifactType": "application/vnd.example.signature",
        "annotations": {"signer": "tests"},
    }]);
    assert_eq!(index["manifests"], expected);
    client.ok("delete CERTS docker://HOST/a/app:signature");
}

/// Writes an OCI layout `layout:signature` whose manifest names `subject`; returns the manifest.
fn signature_layout(scratch: &Scratch, subject: &str) -> String {
    let blob = |content: &str| {
        let digest = sha256_hex(content.as_bytes());
        scratch.file(&format!("layout/blobs/sha256/{digest}"), content);
        (format!("sha256:{digest}"), content.len())
    };
    let (config, config_size) =
        blob(r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.signature",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
        "layers": [],
        "subject": {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": subject, "size": 1},
        "annotations": {"signer": "tests"},
    })
    .to_string();
    let (digest, size) = blob(&manifest);
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": size,
        "annotations": {"org.opencontainers.image.ref.name": "signature"},
    }]});
    scratch.file("layout/index.json", index.to_string());
    scratch.file("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    manifest
}
