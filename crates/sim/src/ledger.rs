//! What an all-knowing observer has seen: which site ever held a shard of which blob, which
//! confirmed it, which was told to delete it; and every rule that was broken.
//!
//! **Invariant.** The sites and the catalog write here, at the moment at which a thing happens; no
//! part of the engine reads it.
//!
//! **Deliberately absent.** What clients saw ([`crate::history`]).
//!
//! **Crash.** It outlives every simulated process.

use crate::facts::Setting;
pub use crate::holding::Holding;
use futures::FutureExt;
use havre_catalog::{AppliedPack, BlobState, Catalog, SqliteCatalog};
use havre_model::record::{Body, Excluded, Part, Record};
use havre_model::{BlobId, BlobName, Geometry, Seq, ShardIndex, SiteId, SiteSet};
use havre_policy::{Acknowledgement, Harm, OnOutage};
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
    /// No coalition that must not read comes to hold `k` shards of a blob, by a write, a repair or
    /// a move, and by the facts that whoever sends the shard was started with (I2).
    NoCoalitionHoldsK,
    /// When a write is acknowledged, `k` shards are stored outside every coalition that must not
    /// cut off (I1).
    AcknowledgedWithinGuarantee,
    /// From then on it is so at every moment, whatever is moved, repaired and collected (I1).
    StaysWithinGuarantee,
    /// Once an exclusion was answered, no shard is sent to its sites, by whatever process (I29).
    ClosedSitesGetNothing,
    /// Once all sites are well, closed sites are left without a shard.
    ClosedSitesDrain,
    /// Once all sites are well, every shard that is needed is where it may be, and no other is
    /// anywhere.
    EverythingIsWhole,
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
    /// stay away are within reach of one coalition at a time, and none of them lies. An exclusion
    /// that a catalog forgot is found in the packs, as long as those are; and a pack that liars
    /// beside an outage make unreadable looks like one that was never acknowledged: it goes (I12).
    const fn holds_always(self) -> bool {
        !matches!(
            self,
            Self::AcknowledgedIsReadable
                | Self::Linearizable
                | Self::NoOrphanStays
                | Self::StaysWithinGuarantee
                | Self::ClosedSitesGetNothing
                | Self::ClosedSitesDrain
                | Self::EverythingIsWhole
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

/// Whether an exclusion is in force.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    /// It was answered.
    Certain,
    /// It was asked for, or ended, and nobody heard the answer.
    Doubtful,
}

#[derive(Default)]
struct Inner {
    blobs: BTreeMap<BlobName, Holding>,
    settings: Vec<Arc<Setting>>,
    acknowledged: BTreeSet<BlobName>,
    below: BTreeSet<BlobName>,
    replayed: BTreeSet<BlobName>,
    /// Who was excluded: whether an answer said so, or it may be.
    exclusions: BTreeMap<Excluded, Force>,
    /// Counts what is sent and what is deleted.
    moments: u64,
    /// What the catalog's disk has now.
    catalog: Option<Arc<SqliteCatalog>>,
    /// The reach of the coalition whose sites lie and lose.
    hostile: Option<SiteSet>,
    checks: u64,
    violations: Vec<Violation>,
    is_beyond: bool,
    notes: Option<Notes>,
}

/// The ledger of a run. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

/// Notes what is broken.
pub type Notes = Box<dyn Fn(fmt::Arguments<'_>) + Send>;

/// A shard on its way to a site: by whom it was sent, and when.
#[derive(Clone)]
pub struct Sent {
    /// What the sender's process was started with.
    pub setting: Arc<Setting>,
    /// See [`Ledger::moment`].
    pub moment: u64,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(setting: Arc<Setting>, notes: Notes) -> Self {
        let inner = Inner { settings: vec![setting], notes: Some(notes), ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The facts and policies in force: those of the gateway that runs, or of the next one.
    #[must_use]
    pub fn setting(&self) -> Arc<Setting> {
        let inner = self.inner.lock();
        Arc::clone(inner.settings.last().expect("there is a first"))
    }

    /// From now on other facts are in force.
    pub fn change_setting(&self, setting: Arc<Setting>) {
        self.inner.lock().settings.push(setting);
    }

    /// The catalog's disk is this one.
    pub fn watch(&self, catalog: Arc<SqliteCatalog>) {
        self.inner.lock().catalog = Some(catalog);
    }

    /// From now on the sites do more than the guarantee allows for.
    pub fn go_beyond(&self) {
        self.inner.lock().is_beyond = true;
    }

    /// Sites within this reach lie and lose: nothing counts on them.
    pub fn distrust(&self, reach: SiteSet) {
        self.inner.lock().hostile = Some(reach);
    }

    /// Notes an event.
    pub fn note(&self, text: fmt::Arguments<'_>) {
        if let Some(note) = &self.inner.lock().notes {
            note(text);
        }
    }

    /// Notes a broken rule.
    pub fn breach(&self, rule: Rule, detail: String) {
        self.inner.lock().breach(rule, detail);
    }

    /// The rules broken so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.inner.lock().violations.clone()
    }

    /// How often a blob's shards were held against its guarantee.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.inner.lock().checks
    }

    /// The next moment: what was sent before a deletion is told from what was sent after it.
    #[must_use]
    pub fn moment(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.moments += 1;
        inner.moments
    }

    /// A site sees the first bytes of a shard; which one it is.
    pub fn seen(&self, name: BlobName, site: usize, shard: &[u8], sent: &Sent) -> Option<u8> {
        let header = havre_codec::shard::parse_header(shard, name.blob());
        let mut inner = self.inner.lock();
        let Ok(header) = header else {
            let detail = format!("site {site} was sent a shard of {name} without a header");
            inner.breach(Rule::NamesAreUsedOnce, detail);
            return None;
        };
        let (geometry, index) = (header.geometry(), header.index().raw());
        let holding = inner.blobs.entry(name).or_default();
        holding.geometry = Some(geometry);
        let before = holding.held.clone();
        holding.seen(site, index, sent.moment);
        let holding = holding.clone();
        inner.checks += 1;
        // By the facts that the sender was started with; and a coalition that does not come to hold
        // more by this shard does not come to `k` by it.
        for reach in sent.setting.reaches(geometry, Harm::Read) {
            let new = !before
                .iter()
                .any(|(site, indices)| reach.contains(*site) && indices.contains(&index));
            let within = holding.held_within(reach);
            if new && within.contains(&index) && within.len() >= geometry.data() {
                let held = &holding.held;
                let detail = format!(
                    "those who reach {reach:?} come to hold k shards of {name} by shard {index} at \
                     site {site}: {held:?}"
                );
                inner.breach(Rule::NoCoalitionHoldsK, detail);
            }
        }
        Some(index)
    }

    /// A site says that it stored a shard.
    pub fn confirmed(&self, name: BlobName, site: usize, index: u8) {
        let mut inner = self.inner.lock();
        inner.blobs.entry(name).or_default().confirm(site, index);
        inner.promote(name);
    }

    /// A hostile site says that it stored a shard.
    pub fn claimed(&self, name: BlobName, site: usize) {
        self.inner.lock().blobs.entry(name).or_default().claim(site);
    }

    /// The catalog is lost: what hostile sites hold of what was written before, only they know. A
    /// site that denies it may get another shard of the blob (`docs/INVARIANTS.md`, I2).
    pub fn lose_catalog(&self) {
        let mut inner = self.inner.lock();
        let Some(hostile) = inner.hostile else { return };
        for holding in inner.blobs.values_mut() {
            holding.deny(hostile);
        }
    }

    /// Somebody asks a site to delete a shard. What the catalog calls garbage by then, nothing
    /// needs, nor what it does not know: it was garbage before the catalog was lost, and no record
    /// of it was left. Whether the catalog knows all that it should, clients find out.
    pub fn deleting(&self, name: BlobName, site: SiteId) {
        let catalog = self.inner.lock().catalog.clone();
        let row = catalog.and_then(|catalog| catalog.blob(name.blob()).now_or_never());
        let Some(Ok(row)) = row else { return };
        let mut inner = self.inner.lock();
        let holding = inner.blobs.entry(name).or_default();
        let Some(row) = row else {
            holding.is_released = true;
            return;
        };
        match row.state {
            BlobState::Garbage => holding.is_released = true,
            _ => {
                let mut places = row.geometry.indices().zip(&row.sites);
                let is_here = |(index, at): (ShardIndex, &SiteId)| {
                    *at == site && row.stored & 1 << index.get() != 0
                };
                holding.is_needed = places.any(is_here);
            }
        }
    }

    /// A site that lost power has this shard still, or again.
    pub fn survived(&self, name: BlobName, site: usize, index: u8) {
        let mut inner = self.inner.lock();
        inner.blobs.entry(name).or_default().stored.insert(site, index);
    }

    /// A site carries out a deletion.
    pub fn deleted(&self, name: BlobName, site: usize) {
        let mut inner = self.inner.lock();
        inner.moments += 1;
        let now = inner.moments;
        inner.blobs.entry(name).or_default().delete(site, now);
        inner.check_standing(name);
    }

    /// A site's bytes are no longer what they were.
    pub fn damaged(&self, name: BlobName, site: usize) {
        let mut inner = self.inner.lock();
        inner.blobs.entry(name).or_default().damage(site);
        inner.check_standing(name);
    }

    /// A blob's shards.
    #[must_use]
    pub fn holding(&self, name: &BlobName) -> Holding {
        self.inner.lock().blobs.get(name).cloned().unwrap_or_default()
    }

    /// The shards of the blob of this id.
    #[must_use]
    pub fn holding_of(&self, blob: BlobId) -> Holding {
        let inner = self.inner.lock();
        let found = inner.blobs.iter().find(|(name, _)| name.blob() == blob);
        found.map(|(_, holding)| holding.clone()).unwrap_or_default()
    }

    /// Every blob that was acknowledged and is needed, as far as is known.
    #[must_use]
    pub fn needed(&self) -> Vec<BlobName> {
        let inner = self.inner.lock();
        let needed = inner.blobs.iter().filter(|(_, it)| it.promised.is_some() && !it.is_released);
        needed.map(|(name, _)| *name).collect()
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
        let mut inner = self.inner.lock();
        // A replay cannot tell what is settled.
        if pack.settled == Seq::default() {
            inner.replayed.insert(pack.pack.name);
            for (name, _) in extents(pack) {
                inner.blobs.entry(name).or_default().was_named = true;
            }
            return;
        }
        let setting = inner.settings.last().cloned().expect("there is a first");
        let blobs = std::iter::once((pack.pack.name, pack.pack.geometry)).chain(extents(pack));
        for (name, geometry) in blobs {
            let Some(policy) = setting.policy_of(geometry) else { continue };
            let holding = inner.blobs.entry(name).or_default();
            let confirmed = holding.confirmed;
            let verdict = policy.acknowledges(confirmed);
            // Parts of an upload were acknowledged before, by the facts of then; and a record that
            // an earlier process wrote and nobody heard of is carried as it is.
            let was_said = holding.promised.is_some() || holding.was_named;
            if holding.promised.is_none() {
                holding.promised = Some(setting.number);
                holding.is_below = verdict != Acknowledgement::Within;
            }
            if was_said && matches!(name, BlobName::Extent(_)) {
                continue;
            }
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
                inner.breach(Rule::AcknowledgedWithinGuarantee, detail);
            }
            inner.check_standing(name);
        }
        match pack.below_guarantee {
            true => inner.below.insert(pack.pack.name),
            false => inner.acknowledged.insert(pack.pack.name),
        };
    }

    /// Somebody is about to be excluded; whether that is new.
    #[must_use]
    pub fn excluding(&self, subject: &Excluded) -> bool {
        let mut inner = self.inner.lock();
        let is_new = !inner.exclusions.contains_key(subject);
        if is_new {
            inner.exclusions.insert(subject.clone(), Force::Doubtful);
        }
        is_new
    }

    /// An exclusion was answered: no shard goes to its sites from now on.
    pub fn excluded(&self, subject: Excluded) {
        self.inner.lock().exclusions.insert(subject, Force::Certain);
    }

    /// Somebody may be admitted again from now on.
    pub fn admitting(&self, subject: &Excluded) {
        self.inner.lock().exclusions.insert(subject.clone(), Force::Doubtful);
    }

    /// Somebody is not excluded.
    pub fn admitted(&self, subject: &Excluded) {
        self.inner.lock().exclusions.remove(subject);
    }

    /// Who is excluded, or may be.
    #[must_use]
    pub fn exclusions(&self) -> Vec<Excluded> {
        self.inner.lock().exclusions.keys().cloned().collect()
    }

    /// The sites that must get no new shard, by these facts.
    #[must_use]
    pub fn closed(&self, setting: &Setting) -> SiteSet {
        let inner = self.inner.lock();
        let certain = inner.exclusions.iter().filter(|(_, force)| **force == Force::Certain);
        let reaches = certain.filter_map(|(subject, _)| setting.reach(subject));
        reaches.fold(SiteSet::EMPTY, SiteSet::union)
    }
}

impl Inner {
    fn breach(&mut self, rule: Rule, detail: String) {
        if let Some(note) = &self.notes {
            note(format_args!("BREACH of {rule:?}: {detail}"));
        }
        if rule.holds_always() || !self.is_beyond {
            self.violations.push(Violation { rule, detail });
        }
    }

    /// Whether the blob decodes after the loss of any coalition, by the facts of its
    /// acknowledgement or by others since: a blob that lies as facts of before allowed is moved.
    /// Where sites are hostile, those are the loss.
    fn stands(&self, holding: &Holding) -> bool {
        let (Some(geometry), Some(promised)) = (holding.geometry, holding.promised) else {
            return true;
        };
        let survives =
            |reach: SiteSet| holding.stored_at(|site| !reach.contains(site)) >= geometry.data();
        match self.hostile {
            Some(reach) => survives(reach),
            None => self.settings[promised..]
                .iter()
                .any(|setting| setting.reaches(geometry, Harm::CutOff).all(survives)),
        }
    }

    /// What lost a shard, or is acknowledged, is still within its guarantee.
    fn check_standing(&mut self, name: BlobName) {
        self.checks += 1;
        let Some(holding) = self.blobs.get(&name) else { return };
        if holding.promised.is_none() || holding.is_below || holding.is_released {
            return;
        }
        if !self.stands(holding) {
            let detail = format!(
                "{name}, promised by setting {:?}, is left with {:?} of {:?}",
                holding.promised, holding.stored, holding.geometry
            );
            self.breach(Rule::StaysWithinGuarantee, detail);
        }
    }

    /// What was acknowledged below its guarantee and is within it by now has to stay there.
    fn promote(&mut self, name: BlobName) {
        let Some(holding) = self.blobs.get(&name) else { return };
        if holding.is_below && self.stands(holding) {
            let holding = self.blobs.get_mut(&name).expect("it was there");
            holding.is_below = false;
        }
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
