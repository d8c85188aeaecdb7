//! Sequence numbers, and which of them are still on their way to the catalog.
//!
//! **Invariant.** A number is handed out once, ever; `settled` never passes one whose record may
//! still be applied.
//!
//! **Deliberately absent.** Durability of the numbers: the catalog reserves them in blocks.
//!
//! **Crash.** The rest of a block is lost; numbers only have to rise.

use crate::error::EngineError;
use havre_catalog::Catalog;
use havre_model::Seq;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Sequence numbers reserved at a time.
const BLOCK: u64 = 1 << 16;

/// The gateway's sequence numbers.
#[derive(Default)]
pub(crate) struct Seqs {
    reserved: tokio::sync::Mutex<Range<u64>>,
    on_the_way: OnTheWay,
}

/// Numbers, and whether what a record of each says may still come to end what another one says.
type OnTheWay = Arc<Mutex<BTreeMap<u64, bool>>>;

/// A number on its way to the catalog; dropped when its record is applied or given up.
pub(crate) struct Ticket {
    seq: u64,
    on_the_way: OnTheWay,
}

impl Ticket {
    pub(crate) const fn seq(&self) -> Seq {
        Seq::new(self.seq)
    }

    /// Its record ends nothing that another one says: it was given up, or is of that kind.
    pub(crate) fn disarm(&self) {
        self.on_the_way.lock().insert(self.seq, false);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.on_the_way.lock().remove(&self.seq);
    }
}

impl Seqs {
    /// The next number.
    pub(crate) async fn next(&self, catalog: &dyn Catalog) -> Result<Ticket, EngineError> {
        let mut reserved = self.reserved.lock().await;
        if reserved.is_empty() {
            *reserved = catalog.reserve_seqs(BLOCK).await?;
        }
        let seq = reserved.next().expect("a reserved range is not empty");
        // Entered before the lock is given up: a higher number is never alone on the way.
        self.on_the_way.lock().insert(seq, true);
        Ok(Ticket { seq, on_the_way: Arc::clone(&self.on_the_way) })
    }

    /// No number below this is on its way.
    pub(crate) fn settled(&self) -> Seq {
        Seq::new(self.on_the_way.lock().keys().next().copied().unwrap_or_default())
    }

    /// Whether every record below this number that may end what another one says is applied.
    pub(crate) fn is_quiet_below(&self, seq: Seq) -> bool {
        self.on_the_way.lock().range(..seq.value()).all(|(_, may_end)| !may_end)
    }
}
