//! Reads what the fuzzer makes as tar-split lines: assembling, verifying and listing end, and never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_rootfs::{Rootfs, tar_split};

fuzz_target!(|lines: &[u8]| {
    let directory = tempfile::tempdir().expect("a scratch directory");
    std::fs::write(directory.path().join("hello"), "hello\n").expect("an empty scratch directory");
    let root = Rootfs::open(directory.path()).expect("it was just made");
    let mut tar = Vec::new();
    let assembled = tar_split::assemble(&mut &lines[..], &root, &mut tar);
    let verified = tar_split::verify(&mut &lines[..], &root);
    if let Ok(assembled) = assembled {
        assert_eq!(assembled.tar_bytes, tar.len() as u64);
        assert_eq!(verified.expect("it was readable").expect("it had no fault"), assembled);
    }
    let _ = tar_split::quick_check(&mut &lines[..], &root);
    // Files that claim exabytes are not read, only counted; a bounded number of entries is enough.
    for entry in tar_split::entries(&mut &lines[..]).take(100) {
        if entry.is_err() {
            break;
        }
    }
});
