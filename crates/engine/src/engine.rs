//! An open store and what the process may do to it.

use std::path::Path;
use std::sync::Arc;

use shale_rootfs::{Devices, EarlySync, Owners, Unpack, Whiteouts};
use shale_store::{Access, OpenError, OpenOptions, Store};

/// The use cases on one data root. Cloning is cheap and shares the store.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) privileges: Privileges,
    pub(crate) restarts_are_callers: bool,
}

/// What the kernel lets this process do to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// Root of the machine: owners, devices and `trusted.` attributes as the layer says.
    Root,
    /// Root of a user namespace: no devices, `user.` attributes, and only the owners that are mapped.
    UserNamespace,
}

impl Privileges {
    /// Returns those of this process.
    pub fn of_process() -> Privileges {
        let maps_everyone = std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        if rustix::process::geteuid().is_root() && maps_everyone {
            Privileges::Root
        } else {
            Privileges::UserNamespace
        }
    }

    /// Returns how layers are unpacked with these privileges.
    pub(crate) fn unpack(self) -> Unpack<'static> {
        match self {
            Privileges::Root => Unpack { whiteouts: Whiteouts::OverlayTrusted, ..Unpack::default() },
            Privileges::UserNamespace => Unpack {
                whiteouts: Whiteouts::OverlayUser,
                owners: Owners::Ignore,
                devices: Devices::Skip,
                ..Unpack::default()
            },
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("privileges", &self.privileges).finish_non_exhaustive()
    }
}

impl Engine {
    /// Returns what syncs the store's file system while layers are unpacked.
    pub(crate) fn early_sync(&self) -> EarlySync {
        EarlySync::at(self.store.root())
    }

    /// Opens the data root `root` for reading and writing; a missing one is made.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub fn open(root: &Path) -> Result<Engine, OpenError> {
        Engine::with(root, OpenOptions { create: true, access: Access::Write })
    }

    /// Opens the data root `root` for looking only.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub fn open_to_look(root: &Path) -> Result<Engine, OpenError> {
        Engine::with(root, OpenOptions { create: false, access: Access::Read })
    }

    fn with(root: &Path, options: OpenOptions) -> Result<Engine, OpenError> {
        let store = Arc::new(Store::open(root, options)?);
        Ok(Engine { store, privileges: Privileges::of_process(), restarts_are_callers: false })
    }

    /// Leaves restart policies to the caller, who is there as long as the containers: their supervisors do not keep them.
    #[must_use]
    pub fn with_restarts_by_caller(mut self) -> Engine {
        self.restarts_are_callers = true;
        self
    }

    /// Runs one operation on the store away from the threads that serve sockets: it may wait for the store's lock.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> T {
        let engine = self.clone();
        let running = tokio::task::spawn_blocking(move || operation(&engine));
        running.await.expect("an operation on the store does not panic")
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
