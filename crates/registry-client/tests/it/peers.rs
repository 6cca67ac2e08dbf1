//! The client against docker-registry; skopeo as a witness of what was pushed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SigningKey as _,
};
use shale_oci::{Descriptor, Digest, Repository, Tag, Target};
use shale_registry_client::credentials::{Credential, Fixed};
use shale_registry_client::{
    Client, ClientOptions, ListError, LoginError, ManifestError, Mount, NetworkFault, Origin, RequestError,
    Scheme, Secret,
};
use shale_testkit::docker_registry::{DockerRegistry, Setup, TokenAuth, write_htpasswd};
use shale_testkit::image::{Flavour, Image, ImageBuilder, LayerBuilder, noise};

use crate::support::{Made, descriptor, latest, options, read};

fn image() -> Image {
    ImageBuilder::new(Flavour::Oci)
        .layer(LayerBuilder::new().file("small", 0o644, b"small"))
        .layer(LayerBuilder::new().file("large", 0o644, &noise(3, 3 << 20)))
        .build()
}

fn with_password(host: &str, change: impl FnOnce(&mut ClientOptions)) -> Client {
    let credential = Credential::Basic { username: "bob".to_owned(), password: Secret::new("builder") };
    let mut options = options();
    options.credentials = Arc::new(Fixed { key: host.to_owned(), credential });
    // A machine under load may take a while to check a bcrypt hash.
    options.timeouts.response = std::time::Duration::from_secs(20);
    options.timeouts.token = std::time::Duration::from_secs(20);
    change(&mut options);
    Client::new(options).unwrap()
}

async fn push(client: &Client, repository: &Repository, image: &Image) {
    for blob in image.blobs() {
        let descriptor = descriptor(blob);
        assert_eq!(client.blob_exists(repository, descriptor.digest).await.unwrap(), None);
        client.upload_blob(repository, &descriptor, &Bytes::from(blob.bytes.clone())).await.unwrap();
        assert_eq!(
            client.blob_exists(repository, descriptor.digest).await.unwrap(),
            Some(descriptor.size_bytes)
        );
    }
    let body = Bytes::from(image.manifest.bytes.clone());
    let digest = client.put_manifest(repository, &latest(), &image.manifest.media_type, body).await.unwrap();
    assert_eq!(digest.to_string(), image.manifest.digest);
}

async fn pull(client: &Client, repository: &Repository, image: &Image) {
    let manifest = client.manifest(repository, &latest()).await.unwrap();
    assert_eq!(manifest.body, image.manifest.bytes);
    assert_eq!(manifest.content_type, image.manifest.media_type);
    for blob in image.blobs() {
        assert_eq!(read(client, repository, &descriptor(blob)).await.unwrap(), blob.bytes);
    }
}

#[tokio::test]
async fn a_plain_registry_takes_and_gives_images() {
    let registry = DockerRegistry::start(&Setup::default());
    let client = with_password("nobody", |_| ());
    let repository = Repository::parse(&format!("{}/some/img", registry.host())).unwrap();
    let image = image();
    client.ping(&registry.host()).await.unwrap();
    push(&client, &repository, &image).await;
    pull(&client, &repository, &image).await;

    // Another program reads the same bytes.
    let name = format!("docker://{}/some/img:latest", registry.host());
    let raw =
        Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name]).output().unwrap();
    assert!(raw.status.success(), "{}", String::from_utf8_lossy(&raw.stderr));
    assert_eq!(raw.stdout, image.manifest.bytes);
    let folder = tempfile::tempdir().unwrap();
    let target = format!("dir:{}", folder.path().join("copy").display());
    let copied =
        Command::new("skopeo").args(["copy", "--src-tls-verify=false", &name, &target]).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));

    // What a stream of unknown length leaves, and what a mount does.
    let bytes = Bytes::from(noise(5, 2 << 20));
    let digest = Digest::sha256(&bytes);
    let layer = Descriptor::new("x", digest, bytes.len() as u64);
    let made = Made::new(bytes.clone(), layer.clone());
    client.start_upload(&repository).await.unwrap().send_made(&made).await.unwrap();
    assert_eq!(read(&client, &repository, &layer).await.unwrap(), bytes);
    let other = Repository::parse(&format!("{}/other", registry.host())).unwrap();
    let mounted = client.mount_blob(&other, digest, &repository).await.unwrap();
    assert!(matches!(mounted, Mount::Mounted));
    assert_eq!(client.blob_exists(&other, digest).await.unwrap(), Some(layer.size_bytes));

    // A rest of a blob, by Range.
    let mut rest = client.blob(&repository, &layer, layer.size_bytes - 10).unwrap();
    assert_eq!(rest.chunk().await.unwrap().unwrap(), bytes[bytes.len() - 10..]);
    assert_eq!(rest.chunk().await.unwrap(), None);

    let tags = client.tags(&repository).await.unwrap();
    assert_eq!(tags, [Tag::latest()]);
    assert!(matches!(client.tags(&other).await, Ok(_) | Err(ListError::NotFound { .. })));
    let mut names: Vec<_> = client.catalog(&registry.host()).await.unwrap();
    names.sort();
    assert_eq!(names.iter().map(Repository::path).collect::<Vec<_>>(), ["other", "some/img"]);
    assert_eq!(client.search(&registry.host(), "me/im").await.unwrap(), std::slice::from_ref(&repository));
    let manifest: Digest = image.manifest.digest.parse().unwrap();
    assert!(client.referrers(&repository, manifest).await.unwrap().is_empty());
    client.delete_manifest(&repository, &Target::Digest(manifest)).await.unwrap();
    let gone = client.manifest(&repository, &latest()).await;
    let Err(ManifestError::NotFound { reference, .. }) = gone else { panic!("{gone:?}") };
    assert_eq!(reference, format!("{}/some/img:latest", registry.host()));
}

#[tokio::test]
async fn referrers_are_read_from_the_tag_that_stands_in_for_them() {
    let registry = DockerRegistry::start(&Setup::default());
    let client = with_password("nobody", |_| ());
    let repository = Repository::parse(&format!("{}/img", registry.host())).unwrap();
    let image = image();
    push(&client, &repository, &image).await;
    let subject: Digest = image.manifest.digest.parse().unwrap();
    let index = shale_testkit::image::index(Flavour::Oci, &[(&image, "amd64")]);
    let tag = Target::Tag(Tag::parse(&format!("sha256-{}", subject.hex())).unwrap());
    client.put_manifest(&repository, &tag, &index.media_type, index.bytes.into()).await.unwrap();
    let referrers = client.referrers(&repository, subject).await.unwrap();
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].digest, subject);
}

#[tokio::test]
async fn a_registry_with_htpasswd_lets_in_who_has_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let htpasswd = folder.path().join("htpasswd");
    write_htpasswd(&htpasswd, "bob", "builder");
    let registry = DockerRegistry::start(&Setup { htpasswd: Some(htpasswd), ..Setup::default() });
    let host = registry.host();
    let repository = Repository::parse(&format!("{host}/img")).unwrap();
    let client = with_password(&host, |_| ());
    push(&client, &repository, &image()).await;
    pull(&client, &repository, &image()).await;
    client.ping(&host).await.unwrap();
    let stranger = with_password("elsewhere", |_| ());
    let refused = stranger.manifest(&repository, &latest()).await;
    assert!(matches!(refused, Err(ManifestError::Request(RequestError::Unauthorized { .. }))), "{refused:?}");
    assert!(client.login(&host, "bob", Secret::new("builder")).await.is_ok());
    let wrong = client.login(&host, "bob", Secret::new("baker")).await;
    assert!(matches!(wrong, Err(LoginError::Refused { .. })), "{wrong:?}");
}

/// An authority and a certificate of it for 127.0.0.1, written as PEM.
struct Pki {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Pki { folder, issuer }
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    fn issue(&self, name: &str) -> (Certificate, KeyPair, PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.folder.path().join("leaf.cert"), self.folder.path().join("leaf.key"));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        (certificate, key, paths.0, paths.1)
    }
}

/// Makes `certs.d` with a folder for one host.
fn certs_d(host: &str, files: &[&Path]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(host);
    std::fs::create_dir(&folder).unwrap();
    for file in files {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    root
}

#[tokio::test]
async fn a_registry_with_its_own_authority_is_verified() {
    let pki = Pki::new();
    let (_, _, certificate, key) = pki.issue("127.0.0.1");
    let registry = DockerRegistry::start(&Setup { tls: Some((certificate, key)), ..Setup::default() });
    let host = registry.host();
    let repository = Repository::parse(&format!("{host}/img")).unwrap();
    let trusting = certs_d(&host, &[&pki.authority()]);
    let client = with_password("nobody", |options| options.certs_d = vec![trusting.path().to_owned()]);
    push(&client, &repository, &image()).await;
    pull(&client, &repository, &image()).await;

    // Another authority: no connection, and no plain one either.
    let other = Pki::new();
    let mistaken = certs_d(&host, &[&other.authority()]);
    let client = with_password("nobody", |options| options.certs_d = vec![mistaken.path().to_owned()]);
    let refused = client.manifest(&repository, &latest()).await;
    let Err(ManifestError::Request(RequestError::Network { source, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(source.kind, NetworkFault::Connect);
    assert!(source.source.to_string().contains("certificate"), "{source:?}");

    // On loopback, as with Docker, no authority is needed.
    let client = with_password("nobody", |_| ());
    pull(&client, &repository, &image()).await;

    // The same server by a name that is not in the certificate and not loopback by the rules.
    let client = with_password("nobody", |options| options.certs_d = vec![trusting.path().to_owned()]);
    let by_name = Repository::parse(&format!("localhost.localdomain:{}/img", registry.port())).unwrap();
    assert!(client.manifest(&by_name, &latest()).await.is_err());
}

/// Makes what `openssl req -x509` makes: a certificate that is its own authority.
fn self_signed(name: &str, expires: i32) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(expires, 1, 1);
    let key = KeyPair::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let paths = (folder.path().join("ca.crt"), folder.path().join("ca.key"));
    std::fs::write(&paths.0, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    (folder, paths.0, paths.1)
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_good_where_it_was_put() {
    let other = Pki::new();
    // As curl --cacert and skopeo --cert-dir decide.
    for (name, expires, is_configured, expected) in [
        ("127.0.0.1", 4000, true, Ok(())),
        ("127.0.0.1", 4000, false, Err("invalid peer certificate")),
        ("other.example", 4000, true, Err("not valid for name")),
        ("127.0.0.1", 2020, true, Err("expired")),
    ] {
        let (_folder, certificate, key) = self_signed(name, expires);
        let setup = Setup { tls: Some((certificate.clone(), key)), ..Setup::default() };
        let registry = DockerRegistry::start(&setup);
        let authority = if is_configured { certificate } else { other.authority() };
        let trusting = certs_d(&registry.host(), &[&authority]);
        let client = with_password("nobody", |options| {
            options.certs_d = vec![trusting.path().to_owned()];
            options.retries.attempts_max = 1;
        });
        let answer = client.ping(&registry.host()).await;
        match (&answer, expected) {
            (Ok(()), Ok(())) => {}
            (Err(RequestError::Network { source, .. }), Err(words)) => {
                let told = source.source.to_string();
                assert!(told.contains(words), "{name} {expires} {is_configured}: {told}");
            }
            _ => panic!("{name} {expires} {is_configured}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_that_is_not_there() {
    let registry = DockerRegistry::start(&Setup::default());
    let host = registry.host();
    // With an authority of its own even a registry on loopback must speak TLS.
    let strict = certs_d(&host, &[&Pki::new().authority()]);
    let client = with_password("nobody", |options| options.certs_d = vec![strict.path().to_owned()]);
    let answer = client.ping(&host).await;
    let Err(RequestError::Network { source, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(source.kind, NetworkFault::Plain);
    assert_eq!(source.source.to_string(), "http: server gave HTTP response to HTTPS client");
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let pki = Pki::new();
    let (_, _, certificate, key) = pki.issue("127.0.0.1");
    let tls = Some((certificate.clone(), key.clone()));
    let setup = Setup { tls, client_authority: Some(pki.authority()), ..Setup::default() };
    let registry = DockerRegistry::start(&setup);
    let host = registry.host();
    let repository = Repository::parse(&format!("{host}/img")).unwrap();
    let full = certs_d(&host, &[&pki.authority(), &certificate, &key]);
    let client = with_password("nobody", |options| options.certs_d = vec![full.path().to_owned()]);
    push(&client, &repository, &image()).await;
    let bare = certs_d(&host, &[&pki.authority()]);
    let client = with_password("nobody", |options| options.certs_d = vec![bare.path().to_owned()]);
    assert!(client.manifest(&repository, &latest()).await.is_err());
    let broken = certs_d(&host, &[&pki.authority(), &certificate]);
    let client = with_password("nobody", |options| options.certs_d = vec![broken.path().to_owned()]);
    let result = client.manifest(&repository, &latest()).await;
    assert!(matches!(result, Err(ManifestError::Request(RequestError::Certificates(_)))), "{result:?}");
}

/// Serves tokens that docker-registry checks, to who has the password.
fn token_server(pki: &Pki) -> u16 {
    let (certificate, key, ..) = pki.issue("token");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let chain = STANDARD.encode(certificate.der());
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut reader = BufReader::new(connection);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|count| count > 0) {}
            let basic = format!("basic {}", STANDARD.encode("bob:builder")).to_lowercase();
            let is_bob = head.to_lowercase().contains(&basic);
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = if is_bob { token(&target, &chain, &key) } else { "{}".to_owned() };
            let status = if is_bob { "200 OK" } else { "401 Unauthorized" };
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    port
}

/// Signs the scopes of a request: an ES256 JSON web token with the certificate in its header.
fn token(target: &str, chain: &str, key: &KeyPair) -> String {
    let scopes = target.split(['?', '&']).filter_map(|pair| pair.strip_prefix("scope="));
    let access: Vec<_> = scopes
        .map(|scope| {
            let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace("%2A", "*");
            let (resource, actions) = scope.rsplit_once(':').unwrap();
            let (kind, name) = resource.split_once(':').unwrap();
            let actions: Vec<_> = actions.split(',').collect();
            serde_json::json!({"type": kind, "name": name, "actions": actions})
        })
        .collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let header = serde_json::json!({"typ": "JWT", "alg": "ES256", "x5c": [chain]});
    let claims = serde_json::json!({"iss": "test-issuer", "sub": "bob", "aud": "test-service", "exp": now + 300,
        "nbf": now - 10, "iat": now - 10, "jti": "1", "access": access});
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let der = key.sign(signed.as_bytes()).unwrap();
    // SEQUENCE { INTEGER r, INTEGER s } to r and s in 32 bytes each (RFC 7518, section 3.4).
    let mut rest = &der[2..];
    let mut raw = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let digits = &rest[2..2 + length];
        let digits = if digits.len() > 32 { &digits[digits.len() - 32..] } else { digits };
        raw.extend(std::iter::repeat_n(0, 32 - digits.len()));
        raw.extend_from_slice(digits);
        rest = &rest[2 + length..];
    }
    serde_json::json!({"token": format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw)), "expires_in": 300})
        .to_string()
}

#[tokio::test]
async fn a_registry_with_a_token_server_is_satisfied() {
    let pki = Pki::new();
    let port = token_server(&pki);
    let token = TokenAuth {
        realm: format!("http://127.0.0.1:{port}/auth"),
        service: "test-service".to_owned(),
        issuer: "test-issuer".to_owned(),
        root_certificate: pki.authority(),
    };
    let registry = DockerRegistry::start(&Setup { token: Some(token), ..Setup::default() });
    let host = registry.host();
    let realm = vec![Origin::new(Scheme::Http, &format!("127.0.0.1:{port}")).unwrap()];
    let allow = |options: &mut ClientOptions| {
        options.token_realms.insert(host.clone(), realm.clone());
    };
    let client = with_password(&host, allow);
    let repository = Repository::parse(&format!("{host}/img")).unwrap();
    let image = image();
    push(&client, &repository, &image).await;
    pull(&client, &repository, &image).await;
    let other = Repository::parse(&format!("{host}/other")).unwrap();
    let layer = descriptor(&image.layers[1].blob);
    assert!(matches!(client.mount_blob(&other, layer.digest, &repository).await.unwrap(), Mount::Mounted));
    let names = client.catalog(&host).await.unwrap();
    assert_eq!(names.len(), 2);
    client.login(&host, "bob", Secret::new("builder")).await.unwrap();
    let wrong = client.login(&host, "bob", Secret::new("baker")).await;
    assert!(matches!(wrong, Err(LoginError::Refused { .. })), "{wrong:?}");
    // The same registry without the realm in the list.
    let strict = with_password(&host, |_| ());
    assert!(strict.manifest(&repository, &latest()).await.is_err());
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_the_registry_when_it_fails() {
    let registry = DockerRegistry::start(&Setup::default());
    let mirror = DockerRegistry::start(&Setup::default());
    let plain = with_password("nobody", |_| ());
    let repository = Repository::parse(&format!("{}/img", registry.host())).unwrap();
    let image = image();
    push(&plain, &repository, &image).await;
    let origin = |host: &str| Origin::new(Scheme::Http, host).unwrap();
    let mirrored = |mirror: Origin| {
        with_password("nobody", |options| {
            options.mirrors.insert(registry.host(), vec![mirror]);
        })
    };
    // A mirror without the image, and one that is not there.
    for host in [mirror.host(), "127.0.0.1:1".to_owned()] {
        let client = mirrored(origin(&host));
        pull(&client, &repository, &image).await;
        let manifest = client.manifest(&repository, &latest()).await.unwrap();
        assert_eq!((manifest.source.host(), manifest.source.is_mirror()), (registry.host().as_str(), false));
        assert_eq!(client.tags(&repository).await.unwrap(), [Tag::parse("latest").unwrap()]);
    }
    let at_mirror = Repository::parse(&format!("{}/img", mirror.host())).unwrap();
    push(&plain, &at_mirror, &image).await;
    let client = mirrored(origin(&mirror.host()));
    let manifest = client.manifest(&repository, &latest()).await.unwrap();
    assert_eq!((manifest.source.host(), manifest.source.is_mirror()), (mirror.host().as_str(), true));
    let layer = descriptor(&image.layers[1].blob);
    let mut blob = client.blob_from(&repository, &layer, 0, Some(&manifest.source)).unwrap();
    while blob.chunk().await.unwrap().is_some() {}
    assert_eq!(blob.host(), mirror.host());
    // A registry that is not there.
    let client = with_password("nobody", |options| {
        options.mirrors.insert("127.0.0.1:1".to_owned(), vec![origin(&mirror.host())]);
    });
    let repository = Repository::parse("127.0.0.1:1/img").unwrap();
    assert_eq!(client.tags(&repository).await.unwrap(), [Tag::parse("latest").unwrap()]);
}
