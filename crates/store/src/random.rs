//! Names that nobody else has: cache ids, link ids, staging names.

/// Returns `bytes` random bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fill(&mut random);
    hex::encode(random)
}

/// Returns a number for a write set.
pub(crate) fn number() -> u64 {
    let mut random = [0; 8];
    fill(&mut random);
    u64::from_le_bytes(random)
}

/// Returns the name of a new `overlay2` directory: 64 digits whose first 12 are not all decimal.
///
/// Source: moby `pkg/stringid/stringid.go` at v20.10.24; a short id that looks like a number was refused as a name.
pub(crate) fn cache_id() -> String {
    loop {
        let id = hex(32);
        if id.as_bytes()[..12].iter().any(|digit| !digit.is_ascii_digit()) {
            return id;
        }
    }
}

/// Returns the name of a new symlink below `l/`: 26 base32 digits.
pub(crate) fn link() -> String {
    let mut random = [0; 26];
    fill(&mut random);
    random
        .iter()
        .map(|byte| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)]))
        .collect()
}

fn fill(random: &mut [u8]) {
    getrandom::fill(random).expect("Linux gives random bytes to every process once it has booted");
}
