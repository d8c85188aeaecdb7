//! Six sites in memory, two in each of three jurisdictions, under 3+3 by default.
use futures::TryStreamExt;
use havre_catalog::{Catalog, SqliteCatalog};
use havre_engine::replay::Silent;
use havre_engine::{Bucket, Engine, Object, Parts, PutRequest, ReadError, StartReport, WholeBody};
use havre_model::SiteSet;
use havre_model::record::{Excluded, ObjectKey};
use havre_policy::{
    CoalitionSpec, Facts, GuaranteeSpec, OnOutage, OperatorFacts, PartyKind, PlacementPolicy,
    PolicySpec, SiteFacts, site_id,
};
use havre_seal::{Keyring, RootKey};
use havre_sites::memory::MemorySite;
use havre_sites::{Fleet, Guarded, SiteLimits, system};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) const SITES: usize = 6;
/// Sites of a wide world: two more, in a fourth jurisdiction.
pub(crate) const SITES_WIDE: usize = 8;

/// The sites and the root key outlive any engine.
pub(crate) struct World {
    pub(crate) sites: Vec<Arc<MemorySite>>,
    root: [u8; 32],
    pub(crate) geometry: (u8, u8),
    pub(crate) on_outage: OnOutage,
    /// Sites that a newly started engine is given; the others are as if they never answered.
    pub(crate) up: Vec<bool>,
    /// Sites that refuse everything from now on, under a running engine too.
    pub(crate) cut: Arc<[AtomicBool; SITES_WIDE]>,
    /// How long a read of a part of a shard takes, at each site, in milliseconds.
    pub(crate) part_millis: Arc<[AtomicU64; SITES_WIDE]>,
    /// Sites that give a shard as a whole, deny that they have it when asked for a part, and delete
    /// nothing.
    pub(crate) denies: Arc<[AtomicBool; SITES_WIDE]>,
    /// Sites that show another marker than they have.
    pub(crate) foreign: Arc<[AtomicBool; SITES_WIDE]>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(SITES)
    }

    pub(crate) fn wide() -> Self {
        Self::of(SITES_WIDE)
    }

    fn of(sites: usize) -> Self {
        let site = |number| {
            let name = format!("s{number}");
            Arc::new(MemorySite::new(site_id(&name), &name))
        };
        Self {
            sites: (0..sites).map(site).collect(),
            root: [7; 32],
            geometry: (3, 3),
            on_outage: OnOutage::Refuse,
            up: vec![true; sites],
            cut: Arc::default(),
            part_millis: Arc::default(),
            denies: Arc::default(),
            foreign: Arc::default(),
        }
    }

    /// From now on these sites show another marker than they have, and the others their own.
    pub(crate) fn foreign(&self, sites: &[usize]) {
        for (number, foreign) in self.foreign.iter().enumerate() {
            foreign.store(sites.contains(&number), Ordering::SeqCst);
        }
    }

    /// From now on these sites refuse everything, and the others do not.
    pub(crate) fn cut(&self, sites: &[usize]) {
        for (number, cut) in self.cut.iter().enumerate() {
            cut.store(sites.contains(&number), Ordering::SeqCst);
        }
    }

    fn facts(&self) -> Facts {
        let sites = (0..self.sites.len())
            .map(|number| SiteFacts {
                name: format!("s{number}"),
                operator: format!("o{}", number / 2),
                location: ["CH", "JP", "CA", "BR"][number / 2].to_owned(),
            })
            .collect();
        let operators = (0..self.sites.len() / 2)
            .map(|number| OperatorFacts { name: format!("o{number}"), ..OperatorFacts::default() })
            .collect();
        Facts::new(sites, operators, 0.5).expect("valid facts")
    }

    pub(crate) fn policy(&self) -> PlacementPolicy {
        let any_one = || vec![CoalitionSpec::AnyOne(PartyKind::Jurisdiction)];
        let spec = PolicySpec {
            name: "default".to_owned(),
            k: self.geometry.0,
            m: self.geometry.1,
            sites: None,
            exclude: Vec::new(),
            guarantee: GuaranteeSpec {
                cannot_read: any_one(),
                // 5+1 and 3+2 leave too few behind when two sites go.
                cannot_cut_off: if self.geometry.1 > 1 && self.geometry.0 + self.geometry.1 == 6 {
                    any_one()
                } else {
                    Vec::new()
                },
            },
            on_outage: self.on_outage,
        };
        PlacementPolicy::new(&self.facts(), spec).expect("the guarantee holds")
    }

    pub(crate) fn parts(&self, catalog: Arc<dyn Catalog>) -> Parts {
        let ports = system::ports();
        let guard = |(number, site): (usize, &Arc<MemorySite>)| {
            let site = Switched {
                site: Arc::clone(site),
                name: format!("s{number}"),
                number,
                up: self.up[number],
                cut: Arc::clone(&self.cut),
                part_millis: Arc::clone(&self.part_millis),
                denies: Arc::clone(&self.denies),
                foreign: Arc::clone(&self.foreign),
            };
            Guarded::new(Arc::new(site), SiteLimits::default(), system::ports())
        };
        let fleet = Fleet::new(self.sites.iter().enumerate().map(guard).collect());
        let root = RootKey::generate(&Fixed(self.root));
        Parts {
            keyring: Keyring::new(root, Arc::clone(&ports.entropy)),
            ports,
            catalog,
            fleet: Arc::new(fleet),
            policies: vec![self.policy()],
            default_policy: "default".to_owned(),
            gateway: "gateway".to_owned(),
            reach: Arc::new(reach),
        }
    }

    /// An engine with an empty catalog: it rebuilds whatever the sites have.
    pub(crate) async fn start_blank(&self) -> (Arc<Engine>, StartReport) {
        let catalog = Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory"));
        self.start(catalog).await
    }

    pub(crate) async fn start(&self, catalog: Arc<dyn Catalog>) -> (Arc<Engine>, StartReport) {
        Engine::start(self.parts(catalog), &Silent).await.expect("the engine starts")
    }
}

/// Draws the same bytes each time: the root key outlives the machine.
struct Fixed([u8; 32]);

impl havre_model::ports::Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0[..bytes.len()]);
    }
}

/// A site that refuses everything while it is not up, or cut.
struct Switched {
    site: Arc<MemorySite>,
    name: String,
    number: usize,
    up: bool,
    cut: Arc<[AtomicBool; SITES_WIDE]>,
    part_millis: Arc<[AtomicU64; SITES_WIDE]>,
    denies: Arc<[AtomicBool; SITES_WIDE]>,
    foreign: Arc<[AtomicBool; SITES_WIDE]>,
}

mod switched {
    use super::Switched;
    use async_trait::async_trait;
    use bytes::{Bytes, BytesMut};
    use havre_model::{BlobName, SiteId};
    use havre_policy::Permit;
    use havre_sites::{Operation, ShardWriter, Site, SiteError, SiteErrorKind, SitePage, system};
    use std::ops::Range;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    type Result<T> = std::result::Result<T, SiteError>;

    impl Switched {
        fn check(&self, operation: Operation) -> Result<()> {
            if self.up && !self.cut[self.number].load(Ordering::SeqCst) {
                return Ok(());
            }
            Err(SiteError::new(SiteErrorKind::Refused, self.id(), operation, "away"))
        }
    }

    #[async_trait]
    impl Site for Switched {
        fn id(&self) -> SiteId {
            havre_policy::site_id(&self.name)
        }
        fn name(&self) -> &str {
            &self.name
        }
        async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<()> {
            self.check(Operation::Put)?;
            self.site.put(permit, name, shard).await
        }
        async fn create(
            &self,
            permit: &Permit,
            name: &BlobName,
            bytes: Option<u64>,
        ) -> Result<Box<dyn ShardWriter>> {
            self.check(Operation::Create)?;
            self.site.create(permit, name, bytes).await
        }
        async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut> {
            self.check(Operation::Read)?;
            if self.denies[self.number].load(Ordering::SeqCst) {
                let (kind, detail) = (SiteErrorKind::Missing, "no such shard");
                return Err(SiteError::new(kind, self.id(), Operation::Read, detail));
            }
            let part = self.part_millis[self.number].load(Ordering::SeqCst);
            let whole = self.site.read_all(name, u64::MAX).await?.len() as u64;
            if part > 0 && range.end < whole {
                system::ports().runtime.sleep(Duration::from_millis(part)).await;
            }
            self.site.read(name, range).await
        }
        async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut> {
            self.check(Operation::ReadAll)?;
            self.site.read_all(name, bytes_max).await
        }
        async fn delete(&self, name: &BlobName) -> Result<()> {
            self.check(Operation::Delete)?;
            if self.denies[self.number].load(Ordering::SeqCst) {
                return Ok(());
            }
            self.site.delete(name).await
        }
        async fn list(
            &self,
            prefix: &str,
            after: Option<&BlobName>,
            limit: usize,
        ) -> Result<SitePage> {
            self.check(Operation::List)?;
            self.site.list(prefix, after, limit).await
        }
        async fn marker(&self) -> Result<Option<[u8; 16]>> {
            self.check(Operation::Marker)?;
            if self.foreign[self.number].load(Ordering::SeqCst) {
                return Ok(Some([0xf0; 16]));
            }
            self.site.marker().await
        }
        async fn set_marker(&self, marker: [u8; 16]) -> Result<()> {
            self.check(Operation::SetMarker)?;
            self.site.set_marker(marker).await
        }
        async fn sweep(&self) -> Result<u64> {
            self.check(Operation::Sweep)?;
            self.site.sweep().await
        }
    }
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text.to_owned()).expect("a valid key")
}

/// Bytes that differ everywhere, so that a misplaced chunk shows.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) async fn bucket(engine: &Engine) -> Arc<Bucket> {
    let tenant = engine.ensure_tenant("tenant").await.expect("a tenant");
    engine.create_bucket(tenant, "bucket", None).await.expect("a bucket")
}

pub(crate) async fn put(engine: &Engine, bucket: &Arc<Bucket>, name: &str, bytes: &[u8]) {
    let mut body = WholeBody::new(bytes.to_vec());
    let request = PutRequest { bytes: Some(bytes.len() as u64), ..PutRequest::default() };
    engine.put(bucket, key(name), request, &mut body).await.expect("the put is acknowledged");
}

pub(crate) async fn object(engine: &Engine, bucket: &Bucket, name: &str) -> Object {
    let found = engine.head(bucket, &key(name)).await.expect("the catalog answers");
    found.unwrap_or_else(|| panic!("{name} is there"))
}

pub(crate) async fn read(
    engine: &Engine,
    object: &Object,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, ReadError> {
    let pieces: Vec<_> = engine.read(object, range).try_collect().await?;
    Ok(pieces.concat())
}

pub(crate) async fn assert_reads(engine: &Engine, bucket: &Bucket, name: &str, bytes: &[u8]) {
    let object = object(engine, bucket, name).await;
    let found = read(engine, &object, 0..u64::MAX).await;
    let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(found == bytes, "{name}: {} bytes read, {} written", found.len(), bytes.len());
}

/// Sites can be excluded by name, `s0` and so on.
fn reach(subject: &Excluded) -> Option<SiteSet> {
    match subject {
        Excluded::Site(name) => Some(SiteSet::EMPTY.with(name.strip_prefix('s')?.parse().ok()?)),
        Excluded::Party(_) => None,
    }
}
