//! `diff`, held against the Dockerfile that made the second image of the first.

use shale_engine::compare::{Aspect, Change, Comparison};

use crate::golden::Golden;

fn paths(comparison: &Comparison, change: Change) -> Vec<&str> {
    let of_change = comparison.differences.iter().filter(|difference| difference.change == change);
    of_change.map(|difference| difference.path.as_str()).filter(|path| !path.starts_with("/app")).collect()
}

#[test]
fn what_a_dockerfile_changed_is_what_differs() {
    for version in ["20.10.24", "28.5.2"] {
        let golden = Golden::of(version);
        let comparison = golden.engine.compare("fx/base:1", "fx/app:1").unwrap();
        assert_eq!(comparison.shared_layers, 1);
        // By hand from inputs/Dockerfile.app.
        let removed = ["/data/gone", "/opq/a", "/opq/sub", "/opq/sub/b"];
        assert_eq!(paths(&comparison, Change::Removed), removed, "{version}");
        let added = [
            "/opq/new",
            "/srv",
            "/srv/a",
            "/srv/a/one",
            "/srv/b",
            "/srv/b/hard",
            "/srv/fifo",
            "/srv/suid",
            "/srv/sym",
        ];
        assert_eq!(paths(&comparison, Change::Added), added, "{version}");
        assert_eq!(paths(&comparison, Change::Changed), ["/bin/capfile", "/data", "/opq"], "{version}");
        let of =
            |path: &str| comparison.differences.iter().find(|difference| difference.path == path).unwrap();
        // Copied up by chmod: the content and the capability stayed.
        let capfile = of("/bin/capfile");
        assert_eq!(capfile.aspects, [Aspect::Mode]);
        let (from, to) = (capfile.from.as_ref().unwrap(), capfile.to.as_ref().unwrap());
        assert_eq!((from.mode.as_str(), to.mode.as_str()), ("0755", "0711"));
        assert_eq!(to.xattrs, ["security.capability"]);
        // A hard link has the content of its file; both are "one\n".
        let (one, hard) = (of("/srv/a/one").to.as_ref().unwrap(), of("/srv/b/hard").to.as_ref().unwrap());
        assert_eq!((hard.size_bytes, hard.kind), (4, "file"));
        assert_eq!(one.checksum, hard.checksum);
        assert!(one.checksum.is_some());
        assert_eq!(of("/srv/suid").to.as_ref().unwrap().mode, "4755");
        assert_eq!(of("/srv/fifo").to.as_ref().unwrap().kind, "fifo");
        assert_eq!(of("/srv/sym").to.as_ref().unwrap().target.as_deref(), Some("../app/copied.txt"));

        let back = golden.engine.compare("fx/app:1", "fx/base:1").unwrap();
        assert_eq!(paths(&back, Change::Added), removed, "{version}");
        assert_eq!(paths(&back, Change::Removed), added, "{version}");
        let same = golden.engine.compare("fx/app:1", "127.0.0.1:5918/fx/app:1").unwrap();
        assert_eq!((same.shared_layers, same.differences.len()), (4, 0));
    }
}

#[test]
fn images_without_a_common_layer_are_compared_too() {
    let golden = Golden::of("20.10.24");
    let other = golden.engine.find_image("204a8746149a").unwrap().id.to_string();
    let comparison = golden.engine.compare(&other, "fx/base:1").unwrap();
    assert_eq!(comparison.shared_layers, 0);
    // The small image holds one file, which the base has not.
    let removed: Vec<_> = paths(&comparison, Change::Removed);
    assert_eq!(removed, ["/hello"]);
    assert!(paths(&comparison, Change::Added).contains(&"/bin/capfile"));
}
