//! What an all-knowing observer has seen: which site ever held a shard of which blob, which
//! confirmed it, which was told to delete it; and every rule that was broken.
//!
//! **Invariant.** The sites and the catalog write here, at the moment at which a thing happens; no
//! part of the engine reads it.
//!
//! **Deliberately absent.** What clients saw ([`crate::history`]).
//!
//! **Crash.** It outlives every simulated process.

use havre_catalog::AppliedPack;
use havre_model::record::{Body, Part, Record};
use havre_model::{BlobId, BlobName, Geometry, Seq, SiteSet};
use havre_policy::{Acknowledgement, Harm, OnOutage, PlacementPolicy};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A rule that the simulation checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// What was acknowledged is readable while enough honest sites are there.
    AcknowledgedIsReadable,
    /// Bytes are those that were written, or there is an error.
    NeverWrongBytes,
    /// Operations on one key happen in one order, each between its begin and its end; a write that
    /// was not acknowledged is wholly there or wholly not.
    Linearizable,
    /// No coalition that must not read ever holds `k` shards of a blob (I2).
    NoCoalitionHoldsK,
    /// When a write is acknowledged, `k` shards are stored outside every coalition that must not
    /// cut off (I1).
    AcknowledgedWithinGuarantee,
    /// Nothing that a record needs is deleted (I6).
    NothingNeededIsCollected,
    /// Once all sites are well, garbage collection leaves no shard that nothing needs.
    NoOrphanStays,
    /// A name is used once (I5).
    NamesAreUsedOnce,
    /// The gateway starts, takes writes and answers whenever enough sites are well.
    Available,
    /// Nothing panics.
    NoPanic,
}

impl Rule {
    /// Whether it holds whatever the sites do. The others hold as long as those that lie, lose or
    /// stay away are within reach of one coalition at a time, and none of them lies.
    const fn holds_always(self) -> bool {
        !matches!(
            self,
            Self::AcknowledgedIsReadable
                | Self::Linearizable
                | Self::NoOrphanStays
                | Self::Available
        )
    }
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// How it was broken.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

/// What is known of a blob's shards.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// By the headers of its shards.
    pub geometry: Option<Geometry>,
    /// Sites that ever saw a byte of a shard of it.
    pub ever: SiteSet,
    /// Sites that said that they stored it.
    pub confirmed: SiteSet,
    /// Sites that deleted it.
    pub deleted: SiteSet,
    /// Sites that hold other bytes than they were given.
    pub damaged: SiteSet,
    /// Which shards each site was ever sent.
    pub indices: BTreeMap<usize, BTreeSet<u8>>,
}

impl Holding {
    /// How many different shards these sites have.
    #[must_use]
    pub fn shards_at(&self, sites: SiteSet) -> usize {
        let held = self.indices.iter().filter(|(site, _)| sites.contains(**site));
        held.flat_map(|(_, indices)| indices).collect::<BTreeSet<_>>().len()
    }
}

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<BlobName, Holding>,
    acknowledged: BTreeSet<BlobName>,
    below: BTreeSet<BlobName>,
    replayed: BTreeSet<BlobName>,
    violations: Vec<Violation>,
    is_beyond: bool,
}

/// The ledger of a run. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
    policies: Arc<Vec<PlacementPolicy>>,
}

impl Ledger {
    /// An empty ledger under these policies, whose geometries differ.
    #[must_use]
    pub fn new(policies: Vec<PlacementPolicy>) -> Self {
        Self { inner: Arc::default(), policies: Arc::new(policies) }
    }

    /// The policies.
    #[must_use]
    pub fn policies(&self) -> &[PlacementPolicy] {
        &self.policies
    }

    /// The policy of a blob, by its geometry.
    #[must_use]
    pub fn policy_of(&self, geometry: Geometry) -> Option<&PlacementPolicy> {
        self.policies.iter().find(|policy| policy.geometry() == geometry)
    }

    /// From now on the sites do more than the guarantee allows for.
    pub fn go_beyond(&self) {
        self.inner.lock().is_beyond = true;
    }

    /// Notes a broken rule.
    pub fn breach(&self, rule: Rule, detail: String) {
        let mut inner = self.inner.lock();
        if rule.holds_always() || !inner.is_beyond {
            inner.violations.push(Violation { rule, detail });
        }
    }

    /// The rules broken so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.inner.lock().violations.clone()
    }

    /// A site sees the first bytes of a shard.
    pub fn seen(&self, name: BlobName, site: usize, shard: &[u8]) {
        let header = havre_codec::shard::parse_header(shard, name.blob());
        let mut inner = self.inner.lock();
        let holding = inner.blobs.entry(name).or_default();
        holding.ever = holding.ever.with(site);
        let Ok(header) = header else {
            let detail = format!("site {site} was sent a shard of {name} without a header");
            return inner.violations.push(Violation { rule: Rule::NamesAreUsedOnce, detail });
        };
        holding.geometry = Some(header.geometry());
        holding.indices.entry(site).or_default().insert(header.index().raw());
        let holding = holding.clone();
        drop(inner);
        self.check_coalitions(name, header.geometry(), &holding);
    }

    /// Whether a coalition that must not read was ever sent `k` different shards.
    fn check_coalitions(&self, name: BlobName, geometry: Geometry, holding: &Holding) {
        let Some(policy) = self.policy_of(geometry) else { return };
        let readers = policy.coalitions().iter().filter(|it| it.harm == Harm::Read);
        for coalition in readers {
            if holding.shards_at(coalition.reach) >= geometry.data() {
                let (label, sent) = (&coalition.label, &holding.indices);
                let detail = format!("{label} was sent k shards of {name} ({sent:?})");
                self.breach(Rule::NoCoalitionHoldsK, detail);
            }
        }
    }

    /// A site says that it stored a shard.
    pub fn confirmed(&self, name: BlobName, site: usize) {
        let mut inner = self.inner.lock();
        let holding = inner.blobs.entry(name).or_default();
        holding.confirmed = holding.confirmed.with(site);
        // A spoilt shard was replaced.
        holding.deleted = holding.deleted.minus(SiteSet::EMPTY.with(site));
    }

    /// A site deletes a shard.
    pub fn deleted(&self, name: BlobName, site: usize) {
        let mut inner = self.inner.lock();
        let holding = inner.blobs.entry(name).or_default();
        holding.deleted = holding.deleted.with(site);
    }

    /// A site's bytes are no longer what they were.
    pub fn damaged(&self, name: BlobName, site: usize) {
        let mut inner = self.inner.lock();
        let holding = inner.blobs.entry(name).or_default();
        holding.damaged = holding.damaged.with(site);
    }

    /// A blob's shards.
    #[must_use]
    pub fn holding(&self, name: &BlobName) -> Holding {
        self.inner.lock().blobs.get(name).cloned().unwrap_or_default()
    }

    /// The packs that were acknowledged within their guarantee.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<BlobName> {
        self.inner.lock().acknowledged.iter().copied().collect()
    }

    /// The packs that were acknowledged below their guarantee.
    #[must_use]
    pub fn below(&self) -> Vec<BlobName> {
        self.inner.lock().below.iter().copied().collect()
    }

    /// The packs that a replay took for acknowledged.
    #[must_use]
    pub fn replayed(&self) -> Vec<BlobName> {
        self.inner.lock().replayed.iter().copied().collect()
    }

    /// The catalog is about to apply a pack. While the gateway runs, its writes are acknowledged
    /// next.
    pub fn applied(&self, pack: &AppliedPack) {
        // A replay cannot tell what is settled.
        if pack.settled == Seq::default() {
            self.inner.lock().replayed.insert(pack.pack.name);
            return;
        }
        let blobs = std::iter::once((pack.pack.name, pack.pack.geometry)).chain(extents(pack));
        for (name, geometry) in blobs {
            let Some(policy) = self.policy_of(geometry) else { continue };
            let confirmed = self.holding(&name).confirmed;
            let verdict = policy.acknowledges(confirmed);
            // Parts of an upload were marked when they were acknowledged, not when it is completed.
            let is_marked = pack.below_guarantee || matches!(name, BlobName::Extent(_));
            let allowed = match verdict {
                Acknowledgement::Within => true,
                Acknowledgement::Below { .. } => {
                    is_marked && policy.on_outage() == OnOutage::Degrade
                }
                Acknowledgement::Undecodable => false,
            };
            if !allowed {
                let detail = format!(
                    "{name} is acknowledged with shards confirmed by {confirmed:?}: {verdict:?}"
                );
                self.breach(Rule::AcknowledgedWithinGuarantee, detail);
            }
        }
        let mut inner = self.inner.lock();
        match pack.below_guarantee {
            true => inner.below.insert(pack.pack.name),
            false => inner.acknowledged.insert(pack.pack.name),
        };
    }
}

/// The extents that a pack's records name.
fn extents(pack: &AppliedPack) -> impl Iterator<Item = (BlobName, Geometry)> + '_ {
    pack.records.iter().flat_map(|applied| parts_of(&applied.record.record)).flat_map(|part| {
        part.extents.iter().map(|extent| (BlobName::Extent(extent.blob), extent.geometry))
    })
}

fn parts_of(record: &Record) -> &[Part] {
    match record {
        Record::Object(object) => match &object.body {
            Body::Parts(parts) => parts,
            Body::Inline => &[],
        },
        Record::Part(part) => std::slice::from_ref(&part.part),
        _ => &[],
    }
}

/// The blobs that the bytes of a version are in: its extents, or its pack.
#[must_use]
pub fn blobs_of(body: &Body, pack: BlobId) -> Vec<BlobId> {
    match body {
        Body::Inline => vec![pack],
        Body::Parts(parts) => {
            parts.iter().flat_map(|part| &part.extents).map(|extent| extent.blob).collect()
        }
    }
}
