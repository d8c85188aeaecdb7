//! Eight sites in memory, two in each of four jurisdictions, under 3+3; a catalog in memory, and
//! blobs that are dispersed over the first six.
use async_trait::async_trait;
use bytes::Bytes;
use havre_catalog::{
    AppliedPack, AppliedRecord, BlobRow, BlobState, Catalog, PackLink, SqliteCatalog, stored_whole,
};
use havre_codec::{BlobKeys, ErasureCode, disperse};
use havre_keeper::{Busy, Collector, Depth, HeldBlobs, Relocator, Repairer, Scrubber, Throttle};
use havre_model::limits::{EXTENT_CHUNK_BYTES, PACK_CHUNK_BYTES};
use havre_model::record::{
    BlobSecret, Body, Extent, Metadata, ObjectKey, ObjectRecord, Part, Record, SequencedRecord,
    TombstoneRecord, WrappedKey,
};
use havre_model::{
    BlobId, BlobName, BucketId, ChainId, Geometry, Seq, ShardIndex, SiteId, SiteSet, TenantId,
    Timestamp, VersionId,
};
use havre_policy::{
    CoalitionSpec, Facts, GuaranteeSpec, OnOutage, OperatorFacts, PartyKind, PlacementPolicy,
    PolicySpec, SiteFacts, site_id,
};
use havre_sites::fault::{Faults, FaultySite};
use havre_sites::memory::MemorySite;
use havre_sites::{Fleet, Guarded, Site, SiteLimits, system};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) const SITES: usize = 8;
pub(crate) const ALL: u32 = 0b11_1111;
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const BUCKET: BucketId = BucketId::from_bytes([2; 16]);
pub(crate) const CHAIN: ChainId = ChainId::from_bytes([3; 16]);

pub(crate) struct World {
    pub(crate) sites: Vec<Arc<MemorySite>>,
    pub(crate) faults: Vec<Faults>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) held: Arc<Held>,
    pub(crate) busy: Busy,
    number: u64,
    link: PackLink,
    seq: u64,
}

#[derive(Default)]
pub(crate) struct Held(pub(crate) Mutex<HashSet<BlobId>>);

#[async_trait]
impl HeldBlobs for Held {
    async fn holds(&self, blob: BlobId) -> bool {
        self.0.lock().contains(&blob)
    }

    async fn moved(&self, _: BlobId) {}
}

pub(crate) fn geometry() -> Geometry {
    Geometry::new(3, 3).expect("a geometry")
}

pub(crate) fn policy() -> PlacementPolicy {
    policy_by(["CH", "JP", "CA", "BR"])
}

/// The policy, where each two sites lie in one of these jurisdictions.
pub(crate) fn policy_by(codes: [&str; 4]) -> PlacementPolicy {
    let site = |number: usize| SiteFacts {
        name: format!("s{number}"),
        operator: format!("o{}", number / 2),
        location: codes[number / 2].to_owned(),
    };
    let operator =
        |number| OperatorFacts { name: format!("o{number}"), ..OperatorFacts::default() };
    let facts = Facts::new((0..SITES).map(site).collect(), (0..4).map(operator).collect(), 0.5)
        .expect("valid facts");
    let any_one = || vec![CoalitionSpec::AnyOne(PartyKind::Jurisdiction)];
    let spec = PolicySpec {
        name: "default".to_owned(),
        k: 3,
        m: 3,
        sites: None,
        exclude: Vec::new(),
        guarantee: GuaranteeSpec { cannot_read: any_one(), cannot_cut_off: any_one() },
        on_outage: OnOutage::Refuse,
    };
    PlacementPolicy::new(&facts, spec).expect("the guarantee holds")
}

/// Bytes that differ everywhere.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).to_le_bytes()[0])
        .collect()
}

impl World {
    pub(crate) fn new() -> Self {
        let ports = system::ports();
        let site = |number| {
            let name = format!("s{number}");
            Arc::new(MemorySite::new(site_id(&name), &name))
        };
        let sites: Vec<_> = (0..SITES).map(site).collect();
        let faults: Vec<_> = sites.iter().map(|_| Faults::default()).collect();
        let guarded = sites.iter().zip(&faults).map(|(site, faults)| {
            let site = Arc::clone(site) as Arc<dyn Site>;
            let faulty = FaultySite::new(site, Arc::clone(&ports.runtime), faults.clone());
            Guarded::new(Arc::new(faulty), SiteLimits::default(), ports.clone())
        });
        Self {
            fleet: Arc::new(Fleet::new(guarded.collect())),
            faults,
            sites,
            catalog: Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory")),
            held: Arc::default(),
            busy: Busy::default(),
            number: 0,
            link: PackLink::NONE,
            seq: 0,
        }
    }

    pub(crate) async fn open_chain(&self) {
        self.catalog.open_chain("gateway", "default", CHAIN).await.expect("a chain");
    }

    pub(crate) fn collector(&self) -> Collector {
        Collector {
            catalog: Arc::new(Arc::clone(&self.catalog)),
            fleet: Arc::clone(&self.fleet),
            held: Arc::clone(&self.held) as Arc<dyn HeldBlobs>,
            busy: self.busy.clone(),
        }
    }

    pub(crate) fn repairer(&self) -> Repairer {
        let (catalog, fleet) = (Arc::new(Arc::clone(&self.catalog)), Arc::clone(&self.fleet));
        let policies = Arc::from([policy()]);
        Repairer::new(catalog, fleet, policies, self.busy.clone(), u64::MAX, system::ports())
    }

    pub(crate) fn scrubber(&self, depth: Depth) -> Scrubber {
        Scrubber {
            catalog: Arc::new(Arc::clone(&self.catalog)),
            fleet: Arc::clone(&self.fleet),
            depth,
            ports: system::ports(),
            throttle: Throttle::new(u64::MAX),
        }
    }

    pub(crate) fn relocator(&self) -> Relocator {
        Relocator {
            catalog: Arc::new(Arc::clone(&self.catalog)),
            fleet: Arc::clone(&self.fleet),
            policies: Arc::from([policy()]),
            held: Arc::clone(&self.held) as Arc<dyn HeldBlobs>,
            busy: self.busy.clone(),
            ports: system::ports(),
            throttle: Throttle::new(u64::MAX),
            rebalances: false,
            waiting: HashMap::new(),
        }
    }

    /// Disperses a blob and stores the shards of the bits in `stored`.
    pub(crate) async fn disperse(&self, name: BlobName, bytes: &[u8], stored: u32) -> BlobRow {
        let chunk_bytes = match name {
            BlobName::Pack { .. } => PACK_CHUNK_BYTES,
            BlobName::Extent(_) => EXTENT_CHUNK_BYTES,
        };
        let secret = BlobSecret::from_bytes([9; 32]);
        let keys = BlobKeys::new(&secret, name.blob(), geometry(), chunk_bytes);
        let shards = disperse(&ErasureCode::new(geometry()), &keys, &secret, bytes);
        let permits = policy().place(&[], SiteSet::EMPTY, name.blob()).expect("a placement");
        let sites: Vec<SiteId> = permits.iter().map(havre_policy::Permit::site).collect();
        for ((permit, shard), index) in permits.into_iter().zip(shards).zip(0..) {
            if stored & 1 << index != 0 {
                let (_, site) = self.fleet.by_id(permit.site()).expect("a site of the fleet");
                site.put(permit, &name, shard).await.expect("a shard is put");
            }
        }
        let state = match stored_whole(geometry(), stored) {
            true => BlobState::Whole,
            false => BlobState::Incomplete,
        };
        let bytes = bytes.len() as u64;
        let (geometry, policy) = (geometry(), None);
        let (extent, bucket) = (None, None);
        BlobRow {
            name,
            secret,
            geometry,
            chunk_bytes,
            bytes,
            sites,
            stored,
            state,
            policy,
            extent,
            bucket,
        }
    }

    /// A pack of these records, with the shards of the bits in `stored`.
    pub(crate) async fn pack(&mut self, stored: u32, records: Vec<Record>) -> BlobRow {
        self.number += 1;
        let blob = BlobId::from_bytes(havre_sites::system::ports().random());
        let name = BlobName::Pack { chain: CHAIN, number: self.number, blob };
        let row = self.disperse(name, &pattern(10_000), stored).await;
        let link = PackLink { blob, hash: [u8::try_from(self.number).expect("few packs"); 32] };
        let records = records
            .into_iter()
            .map(|record| {
                self.seq += 1;
                let seq = Seq::new(self.seq);
                AppliedRecord { record: SequencedRecord { seq, record }, offset: 100, len: 100 }
            })
            .collect();
        let pack = AppliedPack {
            chain: CHAIN,
            number: self.number,
            link,
            previous: self.link,
            pack: row.clone(),
            below_guarantee: false,
            settled: Seq::default(),
            order: Seq::new(self.number),
            records,
        };
        self.link = link;
        self.catalog.apply(pack).await.expect("the pack is applied");
        row
    }

    /// An object of one extent, with the shards of the bits in `stored`.
    pub(crate) async fn object(&mut self, name: &str, bytes: usize, stored: u32) -> BlobRow {
        let blob = BlobId::from_bytes(havre_sites::system::ports().random());
        let row = self.disperse(BlobName::Extent(blob), &pattern(bytes), stored).await;
        let extent = Extent {
            blob,
            secret: row.secret.clone(),
            geometry: row.geometry,
            bytes: row.bytes,
            sites: row.sites.clone(),
            stored,
        };
        let part = Part {
            number: 0,
            bytes: row.bytes,
            etag: "e".to_owned(),
            checksum: None,
            key: WrappedKey::from_bytes(vec![7; 40]),
            extents: vec![extent],
        };
        let record = Record::Object(ObjectRecord {
            tenant: TENANT,
            bucket: BUCKET,
            key: ObjectKey::new(name.to_owned()).expect("a key"),
            version: VersionId::from_bytes(*blob.as_bytes()),
            null_version: true,
            bytes: row.bytes,
            etag: "e".to_owned(),
            modified: Timestamp::from_millis(1),
            metadata: Metadata::default(),
            checksum: None,
            retention: None,
            legal_hold: false,
            completes: None,
            body: Body::Parts(vec![part]),
        });
        self.pack(ALL, vec![record]).await;
        row
    }

    pub(crate) async fn delete(&mut self, name: &str) {
        let key = ObjectKey::new(name.to_owned()).expect("a key");
        let record = TombstoneRecord { tenant: TENANT, bucket: BUCKET, key, version: None };
        self.pack(ALL, vec![Record::Tombstone(record)]).await;
    }

    /// The sites that have a shard of the blob, by the shard's index.
    pub(crate) fn holders(&self, row: &BlobRow) -> u32 {
        let has = |index: &ShardIndex| self.shard(row, index.get()).is_some();
        row.geometry.indices().filter(has).fold(0, |bits, index| bits | 1 << index.get())
    }

    pub(crate) fn shard(&self, row: &BlobRow, index: usize) -> Option<Vec<u8>> {
        self.file(self.position(row, index), row).map(|shard| shard.to_vec())
    }

    /// What a site has under the blob's name.
    pub(crate) fn file(&self, at: usize, row: &BlobRow) -> Option<Bytes> {
        self.sites[at].snapshot().shards().get(&row.name.to_string()).cloned()
    }

    /// The position of the site of a shard.
    pub(crate) fn position(&self, row: &BlobRow, index: usize) -> usize {
        self.fleet.by_id(row.sites[index]).expect("a site of the fleet").0
    }

    pub(crate) async fn row(&self, blob: BlobId) -> Option<BlobRow> {
        self.catalog.blob(blob).await.expect("the catalog answers")
    }
}
