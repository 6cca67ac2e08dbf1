//! What is fetched from elsewhere than a registry: archives by URL, and the search of a hub.

use std::fs;

use shale_testkit::bad_registry::BadRegistry;
use shale_tests::data_root::DataRoot;
use shale_tests::peer::Shale;
use shale_tests::scratch::Scratch;
use shale_tests::tree;

/// URL of the image's second layer, as the registry serves it.
fn layer_url(registry: &BadRegistry) -> String {
    let layer = registry.image().layers.last().expect("the image has layers");
    format!("http://{}/v2/b/img/blobs/{}", registry.host(), layer.blob.digest)
}

#[test]
fn an_archive_is_imported_while_it_arrives_from_a_url() {
    for behaviour in ["good", "blob-redir-chain", "blob-redir-evilhost", "blob-no-length"] {
        let scratch = Scratch::new("url");
        let registry = BadRegistry::start(behaviour);
        let shale = Shale::new(scratch.path());
        let url = layer_url(&registry);
        let printed = shale.shale(&["import", &url, "from/url:1"]);
        // dockerd 20.10 prints these two lines, and notes the place in the image.
        let id = shale.shale(&["images", "--quiet", "--no-trunc", "from/url"]);
        assert_eq!(printed, format!("Downloading from {url}\n{id}"), "{behaviour}");
        let comment = shale.shale(&["inspect", "--format", "{{.Comment}}", "from/url:1"]);
        assert_eq!(comment.trim_end(), format!("Imported from {url}"), "{behaviour}");
        let diff_ids = shale.shale(&["inspect", "--format", "{{join .RootFS.Layers \" \"}}", "from/url:1"]);
        let layer = registry.image().layers.last().expect("the image has layers");
        assert_eq!(diff_ids.trim_end(), layer.diff_id, "{behaviour}");
    }
}

#[test]
fn an_archive_that_does_not_come_whole_leaves_nothing() {
    for (behaviour, reason) in [
        ("blob-204", "HTTP 204"),
        ("blob-503-always", "HTTP 503"),
        ("blob-short-close", "the connection broke"),
        ("blob-reset-always", "the connection broke"),
        ("blob-redir-loop", "more than 10 redirects"),
        ("blob-redir-file", "not a URL of http or https"),
        ("blob-html", "unexpected EOF"),
    ] {
        let scratch = Scratch::new("url");
        let registry = BadRegistry::start(behaviour);
        let shale = Shale::new(scratch.path());
        let message = shale.run(&["import", &layer_url(&registry), "from/url:1"]).refusal();
        assert!(message.contains(reason), "{behaviour}: {message}");
        let root = DataRoot::read(shale.data_root());
        assert!(root.configs.is_empty() && root.layers.is_empty(), "{behaviour}: something stays");
        assert_eq!(root.leftovers, Vec::<String>::new(), "{behaviour}");
        assert!(tree::size_bytes(shale.data_root()) < 64 * 1024, "{behaviour}: bytes stay");
    }
}

/// The program with `registry` as the server of the hub's search.
fn with_index(scratch: &Scratch, registry: &BadRegistry) -> Shale {
    let system = scratch.folder("etc-docker");
    let settings = serde_json::json!({"shale": {"index-server": format!("http://{}", registry.host())}});
    fs::write(system.join("daemon.json"), settings.to_string()).expect("the scratch directory is ours");
    Shale::new(scratch.path()).with_system_config(&system)
}

#[test]
fn a_search_shows_what_the_hub_says_in_docker_s_table() {
    let scratch = Scratch::new("search");
    let registry = BadRegistry::start("good");
    let shale = with_index(&scratch, &registry);
    let columns = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let printed = shale.shale(&["search", "busybox"]);
    let expected = [
        "NAME DESCRIPTION STARS OFFICIAL",
        "busybox Busybox base image. 3161 [OK]",
        "someone/busybox two lines \\u{1b}[31m 2",
    ];
    assert_eq!(columns(&printed), expected);
    let asked = registry.requests_for("/v1/search").pop().expect("it was asked");
    assert!(asked.path.contains("q=busybox") && asked.path.contains("n=25"), "{}", asked.path);
    let official =
        shale.shale(&["search", "--filter", "is-official=true", "--format", "{{.Name}}", "busybox"]);
    assert_eq!(official, "busybox\n");
    let liked =
        shale.shale(&["search", "--filter", "stars=3", "--limit", "5", "--format", "{{.Name}}", "busybox"]);
    assert_eq!(liked, "busybox\n");
}

#[test]
fn a_hub_that_errs_gives_a_clear_error() {
    for (behaviour, reason) in [
        ("index-500", Some("HTTP 500")),
        ("index-html", Some("malformed")),
        ("index-infinite", Some("larger than")),
        ("index-null", None),
    ] {
        let scratch = Scratch::new("search");
        let registry = BadRegistry::start(behaviour);
        let finished = with_index(&scratch, &registry).run(&["search", "busybox"]);
        match reason {
            None => assert_eq!(finished.success().trim(), "NAME      DESCRIPTION   STARS     OFFICIAL"),
            Some(reason) => {
                let message = finished.refusal();
                assert!(message.contains(reason), "{behaviour}: {message}");
            }
        }
    }
}
