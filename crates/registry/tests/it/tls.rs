//! TLS, over which the bytes of files must pass through us.

use std::time::Duration;

use shale_registry::config::Tls;

use crate::client::Running;

fn certificate(directory: &std::path::Path) -> rcgen::Certificate {
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    std::fs::write(directory.join("key.pem"), pair.serialize_pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    certificate
}

fn client(certificate: &rcgen::Certificate) -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_arrive_whole_and_a_new_certificate_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let first = certificate(root.path());
    let files = Tls { certificate: root.path().join("cert.pem"), key: root.path().join("key.pem") };
    let server = Running::at(root, |config| config.tls = Some(files)).await;
    let url = |rest: &str| format!("https://localhost:{}{rest}", server.address.port());
    let speaks = client(&first);
    for length in [0_usize, 100, 300_000, 3_000_000] {
        let bytes: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
        let digest = crate::client::sha256(&bytes);
        let path = url(&format!("/v2/a/blobs/uploads/?digest={digest}"));
        let answer = speaks.post(path).body(bytes.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let got = speaks.get(url(&format!("/v2/a/blobs/{digest}"))).send().await.unwrap();
        assert!(got.bytes().await.unwrap() == bytes, "{length}");
    }
    let second = certificate(server.root.path());
    let mut taken = false;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        taken = client(&second).get(url("/v2/")).send().await.is_ok();
        if taken {
            break;
        }
    }
    assert!(taken && client(&first).get(url("/v2/")).send().await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_to_speak_tls() {
    let root = tempfile::tempdir().unwrap();
    certificate(root.path());
    let files = Tls { certificate: root.path().join("cert.pem"), key: root.path().join("key.pem") };
    let server = Running::at(root, |config| config.tls = Some(files)).await;
    let answer = server.get("/v2/").await.is(400);
    assert!(String::from_utf8_lossy(&answer.body).contains("use https"), "{answer:?}");
    server.stop().await;
}
