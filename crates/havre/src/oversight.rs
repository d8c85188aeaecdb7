//! What the keeper's workers ask of the gateway beside the index: who holds a blob, whether garbage
//! may be judged now, what was ordered.
//!
//! **Invariant.** An answer that cannot be had is the careful one: held, no fence, no moves.
//!
//! **Deliberately absent.** Blobs and jobs: [`havre_keeper::Index`]. Which sites are closed: the
//! fleet knows.
//!
//! **Crash.** As the engine's and the catalog's.

use crate::compose::{Gateway, REBALANCES, set_flag};
use anyhow::Result;
use async_trait::async_trait;
use havre_catalog::{Catalog, PackedRecord};
use havre_engine::Engine;
use havre_keeper::{HeldBlobs, Rewriter};
use havre_model::BlobId;
use havre_model::record::{Extent, RetiredRun};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The gateway, as the keeper's workers see it: in the same process ([`Inside`]) or from another
/// ([`crate::apart::Session`]).
#[async_trait]
pub trait Oversight: HeldBlobs + 'static {
    /// See [`Engine::fence`]: asked before anything is taken for garbage.
    async fn fence(&self) -> bool;

    /// Whether the gateway knows every acknowledged write.
    fn takes_writes(&self) -> bool;

    /// Whether moving shards is paused.
    fn moves_paused(&self) -> bool;

    /// Whether shards move until each site has its share.
    fn rebalances(&self) -> bool;

    /// Notes that each site has its share.
    ///
    /// # Errors
    /// When that cannot be noted: the next pass finds the same.
    async fn end_rebalance(&self) -> Result<()>;
}

/// The gateway of this process.
pub struct Inside {
    engine: Arc<Engine>,
    catalog: Arc<dyn Catalog>,
    moves_paused: Arc<AtomicBool>,
    rebalances: Arc<AtomicBool>,
}

impl Inside {
    /// Of this gateway.
    #[must_use]
    pub fn new(gateway: &Gateway) -> Self {
        Self {
            engine: Arc::clone(&gateway.engine),
            catalog: Arc::clone(&gateway.catalog),
            moves_paused: Arc::clone(&gateway.moves_paused),
            rebalances: Arc::clone(&gateway.rebalances),
        }
    }
}

#[async_trait]
impl HeldBlobs for Inside {
    async fn holds(&self, blob: BlobId) -> bool {
        self.engine.holds(blob)
    }

    async fn moved(&self, blob: BlobId) {
        self.engine.shards_moved(blob);
    }
}

#[async_trait]
impl Oversight for Inside {
    async fn fence(&self) -> bool {
        self.engine.fence().await
    }

    fn takes_writes(&self) -> bool {
        self.engine.takes_writes()
    }

    fn moves_paused(&self) -> bool {
        self.moves_paused.load(Ordering::Acquire)
    }

    fn rebalances(&self) -> bool {
        self.rebalances.load(Ordering::Acquire)
    }

    async fn end_rebalance(&self) -> Result<()> {
        set_flag(&*self.catalog, REBALANCES, &self.rebalances, false).await
    }
}

/// Writes for the keeper: the engine of this process, which writes the chains. Whoever uses it is
/// where the keys are, and gets none.
pub struct Pen(pub Arc<Engine>);

#[async_trait]
impl Rewriter for Pen {
    async fn carry(
        &self,
        from: BlobId,
        records: Vec<(PackedRecord, Vec<u8>)>,
        staying: Option<&str>,
    ) -> Result<u64, String> {
        self.0.carry(from, records, staying).await.map_err(|error| error.to_string())
    }

    async fn retire(&self, packs: Vec<RetiredRun>) -> Result<(), String> {
        self.0.retire(packs).await.map_err(|error| error.to_string())
    }

    async fn redisperse(&self, extent: BlobId, to: Extent, policy: String) -> Result<(), String> {
        self.0.redisperse(extent, to, policy).await.map_err(|error| error.to_string())
    }

    fn hold(&self, blob: BlobId) -> Box<dyn Send + Sync> {
        self.0.hold(blob)
    }

    async fn drop_ends(&self) -> Result<u64, String> {
        self.0.drop_ends().await.map_err(|error| error.to_string())
    }
}
