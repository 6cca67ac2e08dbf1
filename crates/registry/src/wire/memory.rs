//! Memory that thousands of connections used and gave up goes back to the system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often it is looked whether much was given up.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Fewer connections than this are not worth the walk through the heap.
const PARKED_MANY: u64 = 500;

/// Connections that gave up their buffers, ever.
static PARKED: AtomicU64 = AtomicU64::new(0);

/// Notes that a connection gave up its buffers.
pub(crate) fn parked() {
    PARKED.fetch_add(1, Ordering::Relaxed);
}

/// Gives free memory back whenever many connections gave up theirs. The allocator of glibc keeps it otherwise, for ever.
pub(crate) async fn give_back_often() {
    let mut seen = PARKED.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = PARKED.load(Ordering::Relaxed);
        if now - seen >= PARKED_MANY {
            seen = now;
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: malloc_trim(3) takes its own locks and touches free memory only; under another global allocator it finds an
    // empty heap of its own.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
