//! Which blobs the keeper works on now: no two of its workers touch one blob's shards at once.
//!
//! **Invariant.** A blob is claimed by one worker at most.
//!
//! **Deliberately absent.** Writers and readers: [`crate::HeldBlobs`] knows those.
//!
//! **Crash.** Memory only; the workers are gone too.

use havre_model::BlobId;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The register of claims, shared by all workers of a keeper.
#[derive(Clone, Default)]
pub struct Busy {
    claims: Arc<Mutex<HashSet<BlobId>>>,
    is_reconciled: Arc<AtomicBool>,
}

impl Busy {
    /// Whether the catalog is known to have every shard that the sites have: all of them were
    /// listed since this process began. Before that, what was moved in a catalog's last moments, or
    /// since a lost one's records were written, is anywhere.
    pub(crate) fn is_reconciled(&self) -> bool {
        self.is_reconciled.load(Ordering::Acquire)
    }

    /// Notes that all sites were listed, and nothing that they showed is in doubt.
    pub(crate) fn reconciled(&self) {
        self.is_reconciled.store(true, Ordering::Release);
    }

    /// Claims the blob, unless somebody has.
    pub(crate) fn claim(&self, blob: BlobId) -> Option<Claim> {
        self.claims.lock().insert(blob).then(|| Claim { busy: self.clone(), blob })
    }
}

/// Ends when it is dropped.
pub(crate) struct Claim {
    busy: Busy,
    blob: BlobId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.claims.lock().remove(&self.blob);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_claimed_once_at_a_time() {
        let busy = Busy::default();
        let blob = BlobId::from_bytes([1; 16]);
        let claim = busy.claim(blob).expect("it is free");
        assert!(busy.clone().claim(blob).is_none());
        assert!(busy.claim(BlobId::from_bytes([2; 16])).is_some());
        drop(claim);
        assert!(busy.claim(blob).is_some());
    }
}
