//! Blobs that are being written or read: what garbage collection must leave alone.
//!
//! **Invariant.** A blob is held before its first byte is at a site and until the catalog knows it
//! or the write was given up; and while a reader still may ask for its shards (I6).
//!
//! **Deliberately absent.** Other gateways' blobs: one process owns the sites until catalogs are
//! shared.
//!
//! **Crash.** The register is gone, and with it the writers and readers it stood for.

use havre_model::BlobId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The register of held blobs.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    held: Arc<Mutex<HashMap<BlobId, usize>>>,
}

/// Keeps a blob from garbage collection until it is dropped.
pub(crate) struct Hold {
    register: InFlight,
    blob: BlobId,
}

impl InFlight {
    /// Holds `blob`.
    pub(crate) fn hold(&self, blob: BlobId) -> Hold {
        *self.held.lock().entry(blob).or_insert(0) += 1;
        Hold { register: self.clone(), blob }
    }

    /// Whether somebody holds `blob`.
    pub(crate) fn holds(&self, blob: BlobId) -> bool {
        self.held.lock().contains_key(&blob)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.register.held.lock();
        if let Some(count) = held.get_mut(&self.blob) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.blob);
            }
        }
    }
}
