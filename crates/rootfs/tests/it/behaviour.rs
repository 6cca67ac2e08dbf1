//! What the fixtures do not show: flat trees, replacement, limits, damage, deletion, compression.

use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use shale_rootfs::tar_split::FaultKind;
use shale_rootfs::{
    Compression, GzipPool, GzipWriter, LimitReached, Limits, Pack, Rootfs, TarEntry, TarWriter, Unpack,
    UnpackError, Unpacked, Whiteouts, decompress, pack, tar_split, unpack,
};

use crate::{fixture, tree};

fn tar(write: impl FnOnce(&mut TarWriter<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TarWriter::new(&mut bytes);
    write(&mut writer);
    writer.finish().unwrap();
    bytes
}

fn file(writer: &mut TarWriter<'_>, name: &str, content: &str) {
    writer.header(&TarEntry::file(name.as_bytes(), content.len() as u64, 1_600_000_000)).unwrap();
    writer.content(content.as_bytes()).unwrap();
}

fn unpack_into(directory: &Path, tar: &[u8], options: &Unpack<'_>) -> Result<Unpacked, UnpackError> {
    let root = Rootfs::open(directory).unwrap();
    unpack(&root, &mut &tar[..], &mut std::io::sink(), options)
}

fn unpack_flat(directory: &Path, case: &str) {
    for layer in ["1", "2"] {
        let blob = fs::File::open(fixture("hostile/layers").join(format!("{case}.{layer}.tar.gz"))).unwrap();
        let mut tar = Vec::new();
        decompress(Box::new(blob)).unwrap().read_to_end(&mut tar).unwrap();
        unpack_into(directory, &tar, &Unpack { whiteouts: Whiteouts::Apply, ..Unpack::default() }).unwrap();
    }
}

#[test]
fn flat_trees_lose_what_whiteouts_name_and_keep_what_the_same_layer_adds() {
    let names = |case: &str| {
        let directory = tempfile::tempdir().unwrap();
        unpack_flat(directory.path(), case);
        let names: Vec<String> = tree::list(directory.path()).into_keys().collect();
        (directory, names)
    };
    // The expected trees are what the corpus calls right.
    let (directory, _) = names("W08-wh-then-add");
    assert_eq!(fs::read_to_string(directory.path().join("foo")).unwrap(), "new!");
    let (directory, _) = names("W09-add-then-wh");
    assert_eq!(fs::read_to_string(directory.path().join("foo")).unwrap(), "new!");
    let (_directory, found) = names("W10-opq-after");
    assert!(found.contains(&"d/new".into()) && !found.contains(&"d/old".into()), "{found:?}");
    let (_directory, found) = names("W11-wh-dirtype");
    assert!(!found.iter().any(|name| name.contains("foo")), "{found:?}");
    let (directory, found) = names("R10-dir-replaced-in-upper");
    assert!(
        fs::symlink_metadata(directory.path().join("a")).unwrap().is_file() && !found.contains(&"a/x".into())
    );
    let directory = tempfile::tempdir().unwrap();
    unpack_flat(directory.path(), "W13-wh-data");
    assert!(!directory.path().join("foo").exists());
}

#[test]
fn a_layer_that_hides_everything_says_so() {
    let bytes = tar(|writer| file(writer, ".wh..wh..opq", ""));
    let directory = tempfile::tempdir().unwrap();
    assert!(unpack_into(directory.path(), &bytes, &Unpack::default()).unwrap().root_opaque);
}

#[test]
fn overlay_attributes_for_user_namespaces_are_user_attributes_both_ways() {
    let bytes = tar(|writer| {
        writer.header(&TarEntry::directory(b"d/", 1_600_000_000)).unwrap();
        let marker = TarEntry { mode: 0o755, mtime_seconds: 0, ..TarEntry::file(b"d/.wh..wh..opq", 0, 0) };
        writer.header(&marker).unwrap();
    });
    let directory = tempfile::tempdir().unwrap();
    let options = Unpack { whiteouts: Whiteouts::OverlayUser, ..Unpack::default() };
    unpack_into(directory.path(), &bytes, &options).unwrap();
    let lines = tree::list(directory.path());
    assert!(lines["d"].contains("user.overlay.opaque=79"), "{lines:?}");
    let root = Rootfs::open(directory.path()).unwrap();
    let mut packed = Vec::new();
    pack(&root, &mut packed, &Pack { whiteouts: Whiteouts::OverlayUser, ..Pack::default() }).unwrap();
    assert!(packed == bytes);
}

#[test]
fn literal_trees_keep_whiteout_names_as_files() {
    let bytes = tar(|writer| file(writer, ".wh.a", "x"));
    let directory = tempfile::tempdir().unwrap();
    unpack_into(directory.path(), &bytes, &Unpack { whiteouts: Whiteouts::Literal, ..Unpack::default() })
        .unwrap();
    assert_eq!(fs::read_to_string(directory.path().join(".wh.a")).unwrap(), "x");
}

#[test]
fn a_second_layer_replaces_files_directories_and_links_but_merges_directories() {
    let first = tar(|writer| {
        writer.header(&TarEntry::directory(b"dir/", 1)).unwrap();
        file(writer, "dir/kept", "1");
        writer.header(&TarEntry::directory(b"tree/", 1)).unwrap();
        file(writer, "tree/x", "1");
        file(writer, "file", "1");
        let link = TarEntry { type_byte: b'2', link_name: b"dir", ..TarEntry::file(b"link", 0, 1) };
        writer.header(&link).unwrap();
    });
    let second = tar(|writer| {
        writer.header(&TarEntry { mode: 0o700, ..TarEntry::directory(b"dir/", 2) }).unwrap();
        file(writer, "tree", "now a file");
        writer.header(&TarEntry::directory(b"file/", 2)).unwrap();
        file(writer, "file/y", "2");
        writer.header(&TarEntry::directory(b"link/", 2)).unwrap();
        file(writer, "link/z", "2");
    });
    let directory = tempfile::tempdir().unwrap();
    let options = Unpack { whiteouts: Whiteouts::Apply, ..Unpack::default() };
    unpack_into(directory.path(), &first, &options).unwrap();
    unpack_into(directory.path(), &second, &options).unwrap();
    let lines = tree::list(directory.path());
    let names: Vec<_> = lines.keys().map(String::as_str).collect();
    assert_eq!(names, ["dir", "dir/kept", "file", "file/y", "link", "link/z", "tree"]);
    assert!(lines["dir"].starts_with("d 700 ") && lines["dir"].contains("mtime=2."), "{lines:?}");
    assert!(lines["link"].starts_with("d 755 "));
}

#[test]
fn limits_and_cancellation_stop_the_work() {
    let bytes = tar(|writer| {
        file(writer, "a", "1");
        file(writer, "b", "1");
    });
    let attempt = |options: Unpack<'_>| {
        let directory = tempfile::tempdir().unwrap();
        unpack_into(directory.path(), &bytes, &options).unwrap_err()
    };
    let limits = Limits { entries_max: 1, ..Limits::default() };
    let error = attempt(Unpack { limits, ..Unpack::default() });
    assert!(matches!(error, UnpackError::Limit(LimitReached::Entries(1))), "{error}");
    let limits = Limits { tar_bytes_max: 100, ..Limits::default() };
    let error = attempt(Unpack { limits, ..Unpack::default() });
    assert!(matches!(error, UnpackError::Limit(LimitReached::TarBytes(100))), "{error}");
    let error = attempt(Unpack { progress: &|_| ControlFlow::Break(()), ..Unpack::default() });
    assert!(matches!(error, UnpackError::Cancelled), "{error}");
}

#[test]
fn a_hard_link_to_a_deletion_is_refused() {
    let bytes = tar(|writer| {
        file(writer, ".wh.a", "");
        let link = TarEntry { type_byte: b'1', link_name: b"a", ..TarEntry::file(b"b", 0, 1) };
        writer.header(&link).unwrap();
    });
    let directory = tempfile::tempdir().unwrap();
    let error = unpack_into(directory.path(), &bytes, &Unpack::default()).unwrap_err();
    assert_eq!(error.to_string(), "\"b\" has the device number 0:0, which no layer may have");
    assert!(!directory.path().join("b").exists());

    // What looks like a deletion is none where names are taken as they are.
    let bytes = tar(|writer| {
        writer.header(&TarEntry { type_byte: b'3', ..TarEntry::file(b"a", 0, 1) }).unwrap();
        let link = TarEntry { type_byte: b'1', link_name: b"a", ..TarEntry::file(b"b", 0, 1) };
        writer.header(&link).unwrap();
    });
    let options = Unpack { whiteouts: Whiteouts::Literal, ..Unpack::default() };
    unpack_into(directory.path(), &bytes, &options).unwrap();
    assert_eq!(fs::metadata(directory.path().join("b")).unwrap().nlink(), 2);
}

#[test]
fn directories_that_no_entry_names_count_as_entries() {
    let bytes = tar(|writer| {
        file(writer, "a/b/c/file", "1");
        file(writer, "a/b/d/file", "1");
        writer.header(&TarEntry::directory(b"a", 1_600_000_000)).unwrap();
    });
    let attempt = |entries_max| {
        let limits = Limits { entries_max, ..Limits::default() };
        let directory = tempfile::tempdir().unwrap();
        unpack_into(directory.path(), &bytes, &Unpack { limits, ..Unpack::default() })
    };
    // Three entries, and a, a/b, a/b/c and a/b/d.
    assert_eq!(attempt(7).unwrap().entries, 3);
    let error = attempt(6).unwrap_err();
    assert!(matches!(error, UnpackError::Limit(LimitReached::Entries(6))), "{error}");
    assert_eq!(error.to_string(), "the layer has more than 6 files and directories");
}

#[test]
fn directories_cost_their_last_names_and_no_more_than_the_limit() {
    let long = vec!["n".repeat(250); 15].join("/");
    let unpack_some = |number: usize| {
        let bytes = tar(|writer| {
            for number in 0..number {
                let name = format!("{long}/{number}");
                writer.header(&TarEntry::directory(name.as_bytes(), 1_600_000_000)).unwrap();
            }
        });
        let limits = Limits { names_bytes_max: 100_000, ..Limits::default() };
        let directory = tempfile::tempdir().unwrap();
        unpack_into(directory.path(), &bytes, &Unpack { limits, ..Unpack::default() }).map(|_| {
            let last = directory.path().join(&long).join((number - 1).to_string());
            fs::metadata(last).unwrap().mtime()
        })
    };
    // Their whole paths are 1,128,000 bytes.
    assert_eq!(unpack_some(300).unwrap(), 1_600_000_000);
    let error = unpack_some(1000).unwrap_err();
    assert!(matches!(error, UnpackError::Limit(LimitReached::NamesBytes(100_000))), "{error}");
}

#[test]
fn damage_is_found_and_named() {
    let bytes = tar(|writer| {
        for name in ["good", "gone", "long", "other", "type"] {
            file(writer, name, "content\n");
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let root = Rootfs::open(directory.path()).unwrap();
    let mut lines = Vec::new();
    unpack(&root, &mut &bytes[..], &mut lines, &Unpack::default()).unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::remove_file(path("gone")).unwrap();
    fs::write(path("long"), "content and more\n").unwrap();
    fs::write(path("other"), "Content\n").unwrap();
    fs::remove_file(path("type")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path("type")).unwrap();

    let faults = tar_split::verify(&mut &lines[..], &root).unwrap().unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| fault.to_string()).collect();
    let expected = [
        "no such file or directory for \"gone\"",
        "file size 17 instead of 8 for \"long\"",
        "file integrity checksum failed for \"other\"",
        "wrong file type for \"type\"",
    ];
    assert_eq!(found, expected);
    let quick = tar_split::quick_check(&mut &lines[..], &root).unwrap();
    assert_eq!(quick.len(), 3, "content is not read: {quick:?}");
    assert!(matches!(quick[0].kind, FaultKind::Missing));
    let error = tar_split::assemble(&mut &lines[..], &root, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), expected[0]);
}

#[test]
fn what_is_unpacked_packs_into_what_unpacks_alike() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/big"), vec![7; 3 << 20]).unwrap();
    fs::write(at("a/b/setuid"), "x").unwrap();
    fs::set_permissions(at("a/b/setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at("a/big"), at("a/b/c/linked")).unwrap();
    std::os::unix::fs::symlink("/etc", at("a/absolute")).unwrap();
    fs::write(at(&format!("a/{}", "é".repeat(90))), "long").unwrap();
    std::os::unix::fs::chown(at("a/b"), Some(12), Some(70_000)).unwrap();

    let mut first = Vec::new();
    let packed = pack(&Rootfs::open(directory.path()).unwrap(), &mut first, &Pack::default()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let unpacked = unpack_into(copy.path(), &first, &Unpack::default()).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.size_bytes), (packed.diff_id, packed.size_bytes));
    let mut second = Vec::new();
    pack(&Rootfs::open(copy.path()).unwrap(), &mut second, &Pack::default()).unwrap();
    assert!(first == second);
}

#[test]
fn gzip_is_read_by_gzip_whatever_the_length_and_the_threads() {
    let mut state = 1_u64;
    let text: Vec<u8> = (0..3_000_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b"shale layers are hashed "[(state >> 59) as usize % 24]
        })
        .collect();
    for length in [0, 1, 524_287, 524_288, 524_289, 1_048_576, 3_000_000] {
        for threads in [1, 3] {
            let mut writer = GzipWriter::new(Vec::new(), &Arc::new(GzipPool::new(threads)));
            for piece in text[..length].chunks(100_003) {
                writer.write_all(piece).unwrap();
            }
            let compressed = writer.finish().unwrap();
            let mut peer =
                Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut input = peer.stdin.take().unwrap();
            let sent = compressed.clone();
            let feeder = std::thread::spawn(move || input.write_all(&sent).unwrap());
            let output = peer.wait_with_output().unwrap();
            feeder.join().unwrap();
            assert!(
                output.status.success() && output.stdout == text[..length],
                "{length} bytes, {threads} threads"
            );
            assert_eq!(Compression::detect(&compressed), Compression::Gzip);
            let mut ours = Vec::new();
            decompress(Box::new(&compressed[..])).unwrap().read_to_end(&mut ours).unwrap();
            assert!(ours == text[..length]);
        }
    }
}

#[test]
fn a_stream_that_waits_holds_up_no_other_of_its_pool() {
    let pool = Arc::new(GzipPool::new(2));
    let (one, two) = (b"one layer ".repeat(300_000), b"another ".repeat(400_000));
    let mut first = GzipWriter::new(Vec::new(), &pool);
    let mut second = GzipWriter::new(Vec::new(), &pool);
    let (begin, rest) = one.split_at(2_000_000);
    first.write_all(begin).unwrap();
    second.write_all(&two).unwrap();
    let second = second.finish().unwrap();
    first.write_all(rest).unwrap();
    drop(pool);
    let first = first.finish().unwrap();
    for (compressed, expected) in [(first, one), (second, two)] {
        let mut content = Vec::new();
        decompress(Box::new(&compressed[..])).unwrap().read_to_end(&mut content).unwrap();
        assert!(content == expected);
    }
}

#[test]
fn every_compression_of_the_peers_is_read_and_its_damage_found() {
    let content = b"a layer\n".repeat(10_000);
    for (program, expected) in
        [("gzip", Compression::Gzip), ("bzip2", Compression::Bzip2), ("xz", Compression::Xz)]
    {
        let mut peer = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(program);
        peer.stdin.take().unwrap().write_all(&content).unwrap();
        let compressed = peer.wait_with_output().unwrap().stdout;
        assert_eq!(Compression::detect(&compressed), expected);
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            decompress(Box::new(bytes)).and_then(|mut reader| reader.read_to_end(&mut out)).map(|_| out)
        };
        assert!(read(&compressed).unwrap() == content);
        let twice = [&compressed[..], &compressed[..]].concat();
        assert!(
            read(&twice).unwrap() == [&content[..], &content[..]].concat(),
            "{program}: two members are one stream"
        );
        assert!(read(&compressed[..compressed.len() - 1]).is_err(), "{program}: truncated");
        assert!(read(&[&compressed[..], b"garbage"].concat()).is_err(), "{program}: garbage behind");
    }
}

#[test]
fn implied_directories_and_modes_do_not_depend_on_the_umask() {
    let bytes = tar(|writer| {
        let mut entry = TarEntry::file(b"x/y/file", 0, 1);
        entry.mode = 0o666;
        writer.header(&entry).unwrap();
    });
    let directory = tempfile::tempdir().unwrap();
    // The umask belongs to the process, so the unpacking is done in one of its own.
    let path = directory.path().to_path_buf();
    let archive = path.join("layer.tar");
    fs::write(&archive, bytes).unwrap();
    let status = Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" behaviour::umask_child --exact --ignored --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .env("SHALE_UMASK_DIRECTORY", &path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("x"), mode("x/y"), mode("x/y/file")), (0o755, 0o755, 0o666));
}

#[test]
#[ignore = "runs only as a child of the test above"]
fn umask_child() {
    let Ok(path) = std::env::var("SHALE_UMASK_DIRECTORY") else { return };
    let bytes = fs::read(Path::new(&path).join("layer.tar")).unwrap();
    unpack_into(Path::new(&path), &bytes, &Unpack::default()).unwrap();
}
