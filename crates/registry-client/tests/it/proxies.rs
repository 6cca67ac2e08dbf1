//! Requests pass through the proxy that is configured, and through none on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use shale_oci::Repository;
use shale_registry_client::{
    Client, InsecureRegistry, ManifestError, ManifestResponse, Proxies, RequestError,
};
use shale_testkit::bad_registry::BadRegistry;

use crate::support::{is_alone, latest, options};

/// Gets a manifest of a registry whose name nobody can resolve; only a proxy can serve it.
async fn get(proxies: Proxies) -> bool {
    ask(proxies).await.is_ok()
}

async fn ask(proxies: Proxies) -> Result<ManifestResponse, ManifestError> {
    let mut options = options();
    options.proxies = proxies;
    options.insecure.push(InsecureRegistry::parse("10.0.0.0/8").unwrap());
    options.lookup = Arc::new(|_| Ok(vec!["10.1.2.3".parse().unwrap()]));
    let client = Client::new(options).unwrap();
    let repository = Repository::parse("reg.invalid:5000/b/img").unwrap();
    client.manifest(&repository, &latest()).await
}

#[tokio::test]
async fn a_configured_proxy_is_used() {
    let proxy = BadRegistry::start("good");
    let url = format!("http://{}", proxy.host());
    let configured = |except: Option<&str>| Proxies::Configured {
        http: Some(url.clone()),
        https: Some(url.clone()),
        except: except.map(str::to_owned),
    };
    assert!(get(configured(None)).await);
    let asked = proxy.requests_for("/manifests/");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "http://reg.invalid:5000/v2/b/img/manifests/latest");
    assert!(!get(configured(Some("reg.invalid"))).await);
    assert!(!get(Proxies::None).await);
    assert_eq!(proxy.requests_for("/manifests/").len(), 1);
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_without_its_password() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in refusing.incoming().flatten() {
            let mut reader = BufReader::new(connection);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|count| count > 0) {}
            let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    for (host, reason) in
        [("127.0.0.1:1", "Connection refused"), (&address.to_string(), "proxy authentication required")]
    {
        let url = Some(format!("http://eve:secret@{host}"));
        let error =
            ask(Proxies::Configured { http: url.clone(), https: url, except: None }).await.unwrap_err();
        let ManifestError::Request(RequestError::Network { source, .. }) = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), format!("no connection through the proxy http://{host}"));
        assert!(source.source.to_string().starts_with(reason), "{source:?}");
    }
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used_in_either_case() {
    for name in ["http_proxy", "HTTP_PROXY"] {
        let proxy = BadRegistry::start("good");
        let url = format!("http://{}", proxy.host());
        let variables = [(name, url.as_str())];
        if is_alone("proxies::the_proxy_of_the_environment_is_used_in_either_case", &variables) {
            assert!(get(Proxies::Environment).await);
            let home = BadRegistry::start("good");
            let repository = Repository::parse(&format!("{}/b/img", home.host())).unwrap();
            let client = Client::new(shale_registry_client::ClientOptions {
                proxies: Proxies::Environment,
                ..options()
            });
            assert!(client.unwrap().manifest(&repository, &latest()).await.is_ok());
            return;
        }
        // One for the name that cannot be resolved, none for loopback.
        assert_eq!(proxy.requests_for("/manifests/").len(), 1, "{name}");
    }
}
