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

/// The register of claims, shared by all workers of a keeper.
#[derive(Clone, Default)]
pub struct Busy(Arc<Mutex<HashSet<BlobId>>>);

impl Busy {
    /// Claims the blob, unless somebody has.
    pub(crate) fn claim(&self, blob: BlobId) -> Option<Claim> {
        self.0.lock().insert(blob).then(|| Claim { busy: self.clone(), blob })
    }
}

/// Ends when it is dropped.
pub(crate) struct Claim {
    busy: Busy,
    blob: BlobId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.0.lock().remove(&self.blob);
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
