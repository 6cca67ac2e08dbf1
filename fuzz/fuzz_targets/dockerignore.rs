//! The first line of the input as a path, the rest as an ignore file. Nothing may panic, and a directory that may be
//! skipped must not hold a path that is wanted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_dockerfile::IgnoreFile;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (path, rules) = input.split_at(end);
    let Ok(path) = std::str::from_utf8(path) else { return };
    let Ok(file) = IgnoreFile::parse(rules) else { return };
    let is_ignored = file.matches(path);
    if let Some((directory, name)) = path.rsplit_once('/')
        && !directory.is_empty()
        && !name.is_empty()
        && file.matches(directory)
        && !file.may_readmit_below(directory)
    {
        assert!(is_ignored, "{path:?} is wanted inside a directory that may be skipped");
    }
});
