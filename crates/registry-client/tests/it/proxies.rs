//! Requests pass through the proxy that is configured, and through none on loopback.

use std::sync::Arc;

use shale_oci::Repository;
use shale_registry_client::{Client, InsecureRegistry, Proxies};
use shale_testkit::bad_registry::BadRegistry;

use crate::support::{is_alone, latest, options};

/// Gets a manifest of a registry whose name nobody can resolve; only a proxy can serve it.
async fn get(proxies: Proxies) -> bool {
    let mut options = options();
    options.proxies = proxies;
    options.insecure.push(InsecureRegistry::parse("10.0.0.0/8").unwrap());
    options.lookup = Arc::new(|_| Ok(vec!["10.1.2.3".parse().unwrap()]));
    let client = Client::new(options).unwrap();
    let repository = Repository::parse("reg.invalid:5000/b/img").unwrap();
    client.manifest(&repository, &latest()).await.is_ok()
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
