//! Reservations of keys: what makes conditional writes linearizable.
//!
//! **Invariant.** While a conditional write holds a key alone, no other write of that key is
//! between its sequence number and the catalog. Unconditional writes share a key: their sequence
//! numbers order them.
//!
//! **Deliberately absent.** Reads: they see the catalog, which changes in one step.
//!
//! **Crash.** Reservations die with the process, and so do the writes that held them.

use havre_model::BucketId;
use havre_model::record::ObjectKey;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

type Slot = RwLock<()>;

/// Entries after which ended reservations are swept out; the map is then at most twice the live
/// ones.
const SWEEP_MIN: usize = 1024;

/// All reservations of a gateway.
#[derive(Default)]
pub(crate) struct Reservations {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_key: HashMap<(BucketId, ObjectKey), Weak<Slot>>,
    sweep_at: usize,
}

/// Leave to write a key, held until the write is in the catalog or has failed.
pub(crate) enum Reservation {
    /// Beside other unconditional writes.
    Shared { _guard: OwnedRwLockReadGuard<()> },
    /// Alone.
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

impl Reservations {
    fn slot(&self, bucket: BucketId, key: &ObjectKey) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if slots.by_key.len() >= slots.sweep_at {
            slots.by_key.retain(|_, slot| slot.strong_count() > 0);
            slots.sweep_at = SWEEP_MIN.max(slots.by_key.len() * 2);
        }
        let entry = slots.by_key.entry((bucket, key.clone())).or_default();
        if let Some(slot) = entry.upgrade() {
            return slot;
        }
        let slot = Arc::new(Slot::default());
        *entry = Arc::downgrade(&slot);
        slot
    }

    /// Waits for leave to write beside other unconditional writes.
    pub(crate) async fn shared(&self, bucket: BucketId, key: &ObjectKey) -> Reservation {
        let guard = self.slot(bucket, key).read_owned().await;
        Reservation::Shared { _guard: guard }
    }

    /// Waits for leave to write alone.
    pub(crate) async fn alone(&self, bucket: BucketId, key: &ObjectKey) -> Reservation {
        let guard = self.slot(bucket, key).write_owned().await;
        Reservation::Alone { _guard: guard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn key() -> ObjectKey {
        ObjectKey::new("k".to_owned()).expect("a valid key")
    }

    #[test]
    fn a_lone_writer_excludes_all_others_of_its_key_only() {
        let reservations = Reservations::default();
        let bucket = BucketId::from_bytes([1; 16]);
        let other = ObjectKey::new("other".to_owned()).expect("a valid key");
        let alone = reservations.alone(bucket, &key()).now_or_never();
        assert!(alone.is_some());
        assert!(reservations.shared(bucket, &key()).now_or_never().is_none());
        assert!(reservations.alone(bucket, &key()).now_or_never().is_none());
        assert!(reservations.alone(bucket, &other).now_or_never().is_some());
        drop(alone);
        assert!(reservations.alone(bucket, &key()).now_or_never().is_some());
    }

    #[test]
    fn shared_writers_do_not_wait_for_each_other() {
        let reservations = Reservations::default();
        let bucket = BucketId::from_bytes([1; 16]);
        let first = reservations.shared(bucket, &key()).now_or_never();
        let second = reservations.shared(bucket, &key()).now_or_never();
        assert!(first.is_some() && second.is_some());
        assert!(reservations.alone(bucket, &key()).now_or_never().is_none());
    }

    #[test]
    fn ended_reservations_do_not_pile_up() {
        let reservations = Reservations::default();
        let bucket = BucketId::from_bytes([1; 16]);
        for number in 0..10 * SWEEP_MIN {
            let key = ObjectKey::new(number.to_string()).expect("a valid key");
            assert!(reservations.shared(bucket, &key).now_or_never().is_some());
        }
        assert!(reservations.slots.lock().by_key.len() <= SWEEP_MIN + 1);
    }
}
