//! Unpacks what the fuzzer makes; whatever is accepted must come out of tar-split again, byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_rootfs::{Limits, Owners, Rootfs, Unpack, Whiteouts, tar_split, unpack};

fuzz_target!(|input: &[u8]| {
    let Some((choice, tar)) = input.split_first() else { return };
    let outer = tempfile::tempdir().expect("a scratch directory");
    let inner = outer.path().join("root");
    std::fs::create_dir(&inner).expect("an empty scratch directory");
    let root = Rootfs::open(&inner).expect("it was just made");
    let whiteouts = [Whiteouts::OverlayTrusted, Whiteouts::OverlayUser, Whiteouts::Apply, Whiteouts::Literal];
    let limits = Limits { tar_bytes_max: 1 << 20, expanded_bytes_base: 1 << 20, entries_max: 1000, ..Limits::default() };
    let options = Unpack {
        whiteouts: whiteouts[usize::from(*choice) % whiteouts.len()],
        owners: Owners::Ignore,
        limits,
        ..Unpack::default()
    };
    let mut lines = Vec::new();
    if let Ok(unpacked) = unpack(&root, &mut &tar[..], &mut lines, &options)
        && options.whiteouts != Whiteouts::Apply
    {
        let mut again = Vec::new();
        let assembled = tar_split::assemble(&mut &lines[..], &root, &mut again).expect("an accepted layer comes out again");
        assert!(again == tar, "the same bytes");
        assert_eq!(assembled.diff_id, unpacked.diff_id);
        assert_eq!(root.size_bytes().expect("the tree is readable"), unpacked.size_bytes);
    }
    let names: Vec<_> = std::fs::read_dir(outer.path()).expect("it is there").collect();
    assert_eq!(names.len(), 1, "nothing lands beside the root");
});
