//! What `docker info` tells of the machine that is not the store's.

use std::path::Path;

/// Returns Docker's name for the file system that holds `path`.
///
/// Source: statfs(2) and moby `daemon/graphdriver/driver_linux.go` at v28.5.2.
pub fn file_system(path: &Path) -> &'static str {
    match rustix::fs::statfs(path).map(|status| status.f_type as u32) {
        Ok(0xef53) => "extfs",
        Ok(0x5846_5342) => "xfs",
        Ok(0x9123_683e) => "btrfs",
        Ok(0x0102_1994) => "tmpfs",
        Ok(0x2fc1_2fc1) => "zfs",
        Ok(0x794c_7630) => "overlayfs",
        Ok(0xf2f5_2010) => "f2fs",
        Ok(0x6969) => "nfs",
        _ => "<unknown>",
    }
}

/// Returns a value of `/etc/os-release` without its quotes, `<unknown>` where there is none.
pub fn os_release(key: &str) -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.map_or_else(|| "<unknown>".to_owned(), |value| value.trim_matches('"').to_owned())
}

/// Returns the bytes of memory that the kernel manages.
pub fn memory_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram as u64 * u64::from(machine.mem_unit)
}
