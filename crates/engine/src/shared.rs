//! What all parts of the engine stand on: catalog, sites, keys, policies, registers.
//!
//! **Invariant.** One instance a process. Every list in it is bounded.
//!
//! **Deliberately absent.** What is done with it: the other modules.
//!
//! **Crash.** All of it is rebuilt at start from the configuration, the catalog and the sites.

use crate::blob::BlobHandle;
use crate::cache::Cache;
use crate::error::{EngineError, ReadError};
use crate::inflight::InFlight;
use crate::object::Bucket;
use crate::reservations::Reservations;
use crate::seqs::Seqs;
use crate::transfers::Transfers;
use crate::vital::Vital;
use havre_catalog::Catalog;
use havre_codec::ErasureCode;
use havre_model::ports::Ports;
use havre_model::record::Excluded;
use havre_model::{BlobId, BucketId, Geometry, SiteSet};
use havre_policy::PlacementPolicy;
use havre_seal::Keyring;
use havre_sites::Fleet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Blobs whose keys and places are remembered.
const BLOBS_CACHED_MAX: usize = 4096;
/// Buckets that are remembered.
const BUCKETS_CACHED_MAX: usize = 16 * 1024;

/// A placement policy with what writes under it need.
pub(crate) struct Placement {
    pub(crate) policy: PlacementPolicy,
    pub(crate) code: ErasureCode,
}

pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) keyring: Keyring,
    pub(crate) placements: Vec<Arc<Placement>>,
    /// The policy of buckets that name none.
    pub(crate) default_placement: usize,
    /// The policy whose packs carry tenants and buckets.
    pub(crate) strictest_placement: usize,
    pub(crate) reservations: Reservations,
    pub(crate) in_flight: InFlight,
    pub(crate) blobs: Cache<BlobId, Arc<BlobHandle>>,
    pub(crate) buckets: Cache<String, Arc<Bucket>>,
    pub(crate) transfers: Transfers,
    pub(crate) seqs: Seqs,
    pub(crate) reach: Reach,
    /// When a bucket was put under another policy last, in milliseconds since 1970; when this
    /// started, if none was since.
    pub(crate) policy_changed_ms: AtomicU64,
    /// Those whose end would leave the engine broken.
    pub(crate) vital: Vital,
    /// Held while exclusions change.
    pub(crate) excluding: tokio::sync::Mutex<()>,
}

/// The sites that answer to whom, by the facts of today; `None` when nobody of the name is
/// declared.
pub type Reach = Arc<dyn Fn(&Excluded) -> Option<SiteSet> + Send + Sync>;

/// What the engine is made of; `havre` puts it together.
pub struct Parts {
    /// Clock, randomness, sleep and spawn.
    pub ports: Ports,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The sites.
    pub fleet: Arc<Fleet>,
    /// The keys, with the root key only; tenants' and buckets' are installed from the catalog.
    pub keyring: Keyring,
    /// The placement policies, at least one.
    pub policies: Vec<PlacementPolicy>,
    /// The name of the policy for buckets that name none.
    pub default_policy: String,
    /// The gateway's name: its chains go by it.
    pub gateway: String,
    /// Which sites an exclusion closes.
    pub reach: Reach,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Result<Self, EngineError> {
        let Parts { ports, catalog, fleet, keyring, policies, default_policy, gateway: _, reach } =
            parts;
        let default_placement = policies
            .iter()
            .position(|policy| policy.name() == default_policy)
            .ok_or_else(|| EngineError::Unavailable("the default policy is not defined".into()))?;
        let strictest_placement = (0..policies.len())
            .max_by_key(|&position| policies[position].strictness())
            .expect("the default policy is one");
        let placement = |policy: PlacementPolicy| {
            Arc::new(Placement { code: ErasureCode::new(policy.geometry()), policy })
        };
        let policy_changed_ms = AtomicU64::new(ports.clock.now().millis());
        Ok(Self {
            ports,
            catalog,
            fleet,
            keyring,
            placements: policies.into_iter().map(placement).collect(),
            default_placement,
            strictest_placement,
            reservations: Reservations::default(),
            in_flight: InFlight::default(),
            blobs: Cache::new(BLOBS_CACHED_MAX),
            buckets: Cache::new(BUCKETS_CACHED_MAX),
            transfers: Transfers::default(),
            seqs: Seqs::default(),
            reach,
            policy_changed_ms,
            vital: Vital::default(),
            excluding: tokio::sync::Mutex::default(),
        })
    }

    /// The position of the policy with this name; the default's for an empty one.
    pub(crate) fn placement_named(&self, name: &str) -> Option<usize> {
        if name.is_empty() {
            return Some(self.default_placement);
        }
        self.placements.iter().position(|placement| placement.policy.name() == name)
    }

    /// The policy of a bucket's objects. A bucket whose policy is no longer configured falls under
    /// the strictest: never under less than it was promised.
    pub(crate) fn placement_of(&self, bucket: &Bucket) -> usize {
        self.placement_named(bucket.policy()).unwrap_or(self.strictest_placement)
    }

    /// The erasure code of a geometry: the policies' own where one has it, for they remember the
    /// inverted matrices of losses that were seen before.
    fn code(&self, geometry: Geometry) -> ErasureCode {
        let same = |placement: &&Arc<Placement>| placement.code.geometry() == geometry;
        let known = self.placements.iter().find(same);
        known.map_or_else(|| ErasureCode::new(geometry), |placement| placement.code.clone())
    }

    /// The blob with its keys and the places of its shards, as the catalog has them.
    pub(crate) async fn blob(&self, blob: BlobId) -> Result<Arc<BlobHandle>, ReadError> {
        if let Some(handle) = self.blobs.peek(&blob) {
            return Ok(handle);
        }
        let row = self.catalog.blob(blob).await?.ok_or(ReadError::Gone)?;
        let code = self.code(row.geometry);
        let handle = Arc::new(BlobHandle::new(row, code, &self.fleet));
        self.blobs.insert(blob, Arc::clone(&handle));
        Ok(handle)
    }

    /// The blob that has the bytes of the extent which objects name by `named`.
    pub(crate) async fn extent(&self, named: BlobId) -> Result<Arc<BlobHandle>, ReadError> {
        if let Some(handle) = self.blobs.peek(&named) {
            return Ok(handle);
        }
        let row = self.catalog.extent(named).await?.ok_or(ReadError::Gone)?;
        let code = self.code(row.geometry);
        let handle = Arc::new(BlobHandle::new(row, code, &self.fleet));
        self.blobs.insert(named, Arc::clone(&handle));
        Ok(handle)
    }

    /// Forgets what is remembered of a deleted bucket.
    pub(crate) fn forget_bucket(&self, name: &str, bucket: BucketId) {
        self.buckets.remove(name);
        self.keyring.forget_bucket(bucket);
    }
}
