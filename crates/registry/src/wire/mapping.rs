//! Parts of files as `Bytes` that nobody reads: the connection recognises their addresses and calls sendfile.
//!
//! hyper sends only what it is given as bytes. A mapping gives it bytes that cost nothing, and when one of them reaches
//! the socket, [`Mappings::find`] tells which part of which file it stands for. Should anything read the mapping after
//! all, it reads the file. Blobs are never written again, so a mapping cannot lose its file under it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// What offsets of a mapping are rounded down to: a multiple of every page size in use.
const ALIGNMENT_BYTES: u64 = 64 * 1024;

/// The mappings that are on their way through one connection.
#[derive(Default)]
pub struct Mappings {
    // Most writes carry no mapping; they read this number and nothing else.
    count: AtomicUsize,
    live: Mutex<Vec<Live>>,
}

struct Live {
    address: usize,
    length: usize,
    file: Arc<File>,
    offset: u64,
}

impl Mappings {
    /// Returns the file and the offset that the byte at `address` stands for, when it is in a mapping.
    pub fn find(&self, address: *const u8) -> Option<(Arc<File>, u64)> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let address = address as usize;
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mapping = live
            .iter()
            .find(|mapping| (mapping.address..mapping.address + mapping.length).contains(&address))?;
        Some((Arc::clone(&mapping.file), mapping.offset + (address - mapping.address) as u64))
    }

    /// Maps `length` bytes of `file` from `offset` on, which must lie inside of the file.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn map(self: &Arc<Mappings>, file: &Arc<File>, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = offset - offset % ALIGNMENT_BYTES;
        let lead = usize::try_from(offset - start).expect("below the alignment");
        let mapped_length = lead + length;
        // SAFETY: a fresh shared read-only mapping at an address that the kernel chooses; it overlaps nothing.
        #[allow(unsafe_code)]
        let base = unsafe {
            mmap(std::ptr::null_mut(), mapped_length, ProtFlags::READ, MapFlags::SHARED, file, start)
        }?;
        let mapping =
            Mapping { base: base as usize, mapped_length, lead, length, mappings: Arc::clone(self) };
        let live = Live { address: mapping.base + lead, length, file: Arc::clone(file), offset };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).push(live);
        self.count.fetch_add(1, Ordering::Release);
        Ok(Bytes::from_owner(mapping))
    }
}

struct Mapping {
    base: usize,
    mapped_length: usize,
    lead: usize,
    length: usize,
    mappings: Arc<Mappings>,
}

impl AsRef<[u8]> for Mapping {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`, is readable for `mapped_length` bytes, and its file, a published
        // blob, is neither written nor cut.
        unsafe { std::slice::from_raw_parts((self.base + self.lead) as *const u8, self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let address = self.base + self.lead;
        let mut live = self.mappings.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = live.iter().position(|mapping| mapping.address == address) {
            live.swap_remove(at);
            self.mappings.count.fetch_sub(1, Ordering::Release);
        }
        drop(live);
        // SAFETY: `base` and `mapped_length` are those of the mapping that this value owns; nothing borrows from it any more.
        #[allow(unsafe_code)]
        let unmapped = unsafe { munmap(self.base as *mut std::ffi::c_void, self.mapped_length) };
        debug_assert!(unmapped.is_ok());
    }
}
