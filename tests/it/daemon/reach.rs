//! Where the daemon can be reached, and by whom: TLS on both sides, and sockets that systemd opened.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shale_tests::http;
use shale_tests::peer::Shale;
use shale_tests::program::{Finished, Server, require, run, shell};
use shale_tests::scratch::Scratch;

const START_LIMIT: Duration = Duration::from_secs(60);

/// Two authorities, a server's certificate of the first, and a client's of each.
fn make_certificates(directory: &Path) {
    require("openssl", "openssl");
    shell(
        directory,
        "curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > server.ext
         printf 'extendedKeyUsage=clientAuth\\n' > client.ext
         for ca in ca other; do
             openssl req -x509 $curve -days 2 -subj \"/CN=$ca\" -keyout $ca.key -out $ca.crt 2>/dev/null
             openssl req $curve -subj /CN=client -keyout $ca-client.key -out $ca-client.csr 2>/dev/null
             openssl x509 -req -in $ca-client.csr -CA $ca.crt -CAkey $ca.key -CAcreateserial -days 2 \
                 -extfile client.ext -out $ca-client.crt 2>/dev/null
         done
         openssl req $curve -subj /CN=localhost -keyout server.key -out server.csr 2>/dev/null
         openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
             -extfile server.ext -out server.crt 2>/dev/null",
    );
}

fn docker(host: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new("timeout");
    command.arg("60").arg(require("docker", "docker.io")).arg("--host").arg(host).args(arguments);
    command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY");
    run(&mut command)
}

#[test]
fn tcp_needs_certificates_on_both_sides() {
    let scratch = Scratch::new("mtls");
    make_certificates(scratch.path());
    let shale = Shale::new(scratch.path());
    let file = |name: &str| scratch.path().join(name).display().to_string();
    let port = http::free_port();
    let root = shale.data_root().display().to_string();
    let host = format!("tcp://127.0.0.1:{port}");

    // Without certificates nothing is listened on, nor on other addresses than loopback with a word of leave.
    for (host, more) in
        [(host.as_str(), None), ("tcp://0.0.0.0:0", None), ("tcp://0.0.0.0:0", Some("--plain-loopback"))]
    {
        let mut arguments = vec!["daemon", "--host", host];
        arguments.extend(more);
        let refused = shale.run(&arguments).refusal();
        assert!(refused.contains("without TLS"), "{refused}");
    }

    let (authority, certificate, key) = (file("ca.crt"), file("server.crt"), file("server.key"));
    let arguments = [
        "--data-root",
        &root,
        "daemon",
        "--host",
        &host,
        "--tlscacert",
        &authority,
        "--tlscert",
        &certificate,
        "--tlskey",
        &key,
    ];
    let mut server = Server::start(shale.program(), &arguments, &[], &scratch.path().join("log"));
    let listens = server.wait_until(START_LIMIT, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    assert!(listens, "{}", server.log());
    let with = |client: &str| {
        let (certificate, key) =
            (file(&format!("{client}-client.crt")), file(&format!("{client}-client.key")));
        let tls = ["--tlsverify", "--tlscacert", &authority, "--tlscert", &certificate, "--tlskey", &key];
        docker(&host, &[&tls[..], &["images", "-q"]].concat())
    };
    assert_eq!(with("ca").success(), "");
    with("other").refusal();
    docker(&host, &["--tlsverify", "--tlscacert", &authority, "images"]).refusal();
    docker(&host, &["images"]).refusal();
    assert_eq!(with("ca").success(), "", "those that were turned away did no harm");
}

#[test]
fn sockets_that_systemd_opened_are_served() {
    let scratch = Scratch::new("sd");
    let shale = Shale::new(scratch.path());
    let socket = scratch.path().join("sock");
    let activate = require("systemd-socket-activate", "systemd");
    let (listen, root) = (socket.display().to_string(), shale.data_root().display().to_string());
    let program = shale.program().display().to_string();
    let arguments =
        ["--listen", &listen, &program, "--data-root", &root, "daemon", "--host", "fd://"].map(str::to_owned);
    let mut server = Server::start(&activate, &arguments, &[], &scratch.path().join("log"));
    assert!(server.wait_until(START_LIMIT, || socket.exists()), "{}", server.log());
    // The first connection starts the daemon, and is answered by it.
    let host = format!("unix://{listen}");
    assert_eq!(docker(&host, &["images", "-q"]).success(), "", "{}", server.log());
    let log = server.log();
    assert!(log.contains("Serving the Engine API on fd://"), "{log}");
    server.stop(START_LIMIT);
    assert!(socket.exists(), "the socket is systemd's, and stays");

    let refused = shale.run(&["daemon", "--host", "fd://"]).refusal();
    assert!(refused.contains("systemd"), "{refused}");
}

#[test]
fn metrics_and_the_log_are_for_programs() {
    let scratch = Scratch::new("metrics");
    let shale = Shale::new(scratch.path());
    let socket = scratch.path().join("sock");
    let (listen, root) = (format!("unix://{}", socket.display()), shale.data_root().display().to_string());
    let metrics = format!("127.0.0.1:{}", http::free_port());
    let arguments = [
        "--data-root",
        &root,
        "--log-level",
        "info",
        "daemon",
        "--host",
        &listen,
        "--metrics-addr",
        &metrics,
        "--log-format",
        "json",
    ];
    let mut server = Server::start(shale.program(), &arguments, &[], &scratch.path().join("log"));
    assert!(server.wait_until(START_LIMIT, || http::unix_answers(&socket, "/_ping")), "{}", server.log());
    docker(&listen, &["images"]).success();
    let answer = http::get(&metrics, "/metrics").expect("it is served");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("shale_daemon_requests_total{method=\"GET\",status=\"2xx\"}"), "{text}");
    assert_eq!(
        http::get(&metrics, "/images/json").expect("it answers").status,
        404,
        "metrics alone are served"
    );
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let asked = lines
        .filter(|line| line["fields"]["path"].as_str().is_some_and(|path| path.ends_with("/images/json")));
    assert_eq!(asked.map(|line| line["fields"]["status"].clone()).collect::<Vec<_>>(), [200], "{log}");

    let refused = shale.run(&["daemon", "--log-format", "xml", "--host", &listen]).refusal();
    assert!(refused.contains("text or json"), "{refused}");
}
