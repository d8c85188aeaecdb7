//! Replays packs into the catalog: the last few after a crash, all of them on a blank machine.
//!
//! **Invariant.** A chain is followed by the hashes in its packs. A pack that the next one does not
//! name was never acknowledged and stays out; one that is named and cannot be read is a gap, which
//! is told, never passed over (A8).
//!
//! **Deliberately absent.** What a record does to the catalog (`catalog`), and deleting what is off
//! the chain (`keeper::gc`).
//!
//! **Crash.** Packs are applied in the order of their chain; a replay that dies goes on behind the
//! last one applied.

use crate::blob::delete_shards;
use crate::mend::{End, mend_end};
use crate::read_pack::ReadPack;
use crate::retired::{Retired, repeated};
use crate::shared::Shared;
use crate::survey::Survey;
use bytes::BytesMut;
use futures::StreamExt;
use futures::stream::{self, FuturesOrdered};
use havre_catalog::{AppliedPack, AppliedRecord, BlobState, CatalogError, PackLink};
use havre_codec::pack;
use havre_model::record::{self, Record};
use havre_model::{BlobName, ChainId, Geometry, Seq, SiteId, SiteSet};
use havre_policy::{Acknowledgement, Harm};
use havre_seal::{Keyring, OpenError, RecordScope};
use havre_sites::{SiteError, SiteErrorKind};
use std::sync::Arc;

/// Packs that are read at a time.
const PACKS_AHEAD: usize = 8;
/// Packs that wait for the catalog at a time.
const APPLIES_MAX: usize = 16;
/// Packs off a chain that are removed at a start; a site may invent more.
const REMOVALS_MAX: usize = 1024;
/// Hears how a replay goes.
pub trait Progress: Sync {
    /// Called after the sites were listed.
    fn found(&self, packs: u64);
    /// Called after each pack.
    fn replayed(&self, packs: u64, records: u64);
}

/// Hears nothing.
pub struct Silent;

impl Progress for Silent {
    fn found(&self, _: u64) {}
    fn replayed(&self, _: u64, _: u64) {}
}

/// Acknowledged packs that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The chain.
    pub chain: ChainId,
    /// The last pack before the gap.
    pub after: u64,
    /// The first pack behind it.
    pub before: u64,
}

/// What a replay did.
#[derive(Debug, Clone, Default)]
pub struct ReplayReport {
    /// Packs that were applied.
    pub packs: u64,
    /// Their records.
    pub records: u64,
    /// Packs found at sites that are on no chain: never acknowledged.
    pub off_chain: u64,
    /// Acknowledged packs that cannot be read.
    pub gaps: Vec<Gap>,
    /// Records that no installed key opens, and that were therefore left out.
    pub unreadable_records: u64,
    /// Names of sites that did not answer.
    pub unreachable: Vec<String>,
}

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The catalog failed.
    #[error("the catalog is not available: {0}")]
    Catalog(#[from] CatalogError),
    /// So many sites are unreachable that acknowledged packs might be overlooked.
    #[error(
        "sites {} cannot be reached, more than the guarantee of policy {policy} allows for: \
         acknowledged writes might be overlooked; bring a site back and try again",
        sites.join(", ")
    )]
    TooManyUnreachable {
        /// The sites.
        sites: Vec<String>,
        /// The policy.
        policy: String,
    },
    /// Acknowledged packs cannot be read.
    #[error(
        "packs {} to {} of chain {} were acknowledged and cannot be read from the sites; bring \
         more sites back, or rebuild what is left with `havre recover --accept-loss`",
        .0.after + 1, .0.before - 1, .0.chain
    )]
    Gap(Gap),
    /// A pack at the end of a chain may have been acknowledged, and cannot be read now.
    #[error(
        "pack {number} of chain {chain} may have been acknowledged and cannot be read from the \
         sites; bring more sites back, or rebuild what is left with `havre recover --accept-loss`"
    )]
    Uncertain {
        /// The chain.
        chain: ChainId,
        /// The pack.
        number: u64,
    },
    /// Records cannot be opened with this root key.
    #[error("{0} records cannot be opened: is this the root key that they were sealed under?")]
    WrongKey(u64),
}

impl ReplayError {
    /// Whether it may pass when sites come back.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::TooManyUnreachable { .. } | Self::Uncertain { .. })
    }
}

impl Shared {
    /// Whether every acknowledged pack can be read without these sites.
    pub(crate) fn check_reachable(&self, unreachable: SiteSet) -> Result<(), ReplayError> {
        for placement in &self.placements {
            let missing = unreachable.intersection(placement.policy.eligible());
            let tolerated = |coalition: &havre_policy::Coalition| {
                coalition.harm == Harm::CutOff && missing.is_subset(coalition.reach)
            };
            if !missing.is_empty() && !placement.policy.coalitions().iter().any(tolerated) {
                let policy = placement.policy.name().to_owned();
                return Err(ReplayError::TooManyUnreachable { sites: self.names(missing), policy });
            }
        }
        Ok(())
    }

    /// Whether a pack of one of these geometries (of any when none is known) with shards at these
    /// sites may have been acknowledged within the guarantee of its policy.
    fn may_be_acknowledged(&self, geometries: &[Geometry], sites: SiteSet) -> bool {
        let mut policies = self.placements.iter().map(|placement| &placement.policy);
        policies.any(|policy| {
            (geometries.is_empty() || geometries.contains(&policy.geometry()))
                && policy.acknowledges(sites) == Acknowledgement::Within
        })
    }

    pub(crate) fn names(&self, sites: SiteSet) -> Vec<String> {
        sites.iter().map(|position| self.fleet.site(position).name().to_owned()).collect()
    }

    /// The pack that an applied one follows; `None` when that cannot be read.
    async fn before(&self, link: PackLink) -> Option<PackLink> {
        let blob = self.blob(link.blob).await.ok()?;
        let frame = self.blob_bytes(&blob, 0..blob.row.bytes).await.ok()?;
        let previous = pack::parse(&frame).ok()?.header.previous;
        Some(PackLink { blob: previous.blob, hash: previous.hash })
    }

    /// Removes packs that are off the end of a chain, before anything of it is served: a later
    /// replay, which other sites answer, would find another of them to be the last. At those that
    /// do not answer now there are too few shards to read one.
    async fn remove(&self, names: &[BlobName]) {
        let sites: Vec<SiteId> = self.fleet.iter().map(|site| site.id()).collect();
        let names = &names[..names.len().min(REMOVALS_MAX)];
        for names in names.chunks(PACKS_AHEAD) {
            let removals = names.iter().map(|name| delete_shards(&self.fleet, name, &sites));
            futures::future::join_all(removals).await;
        }
    }
}

/// A pack that cannot be read, the sites that show it, and the geometries that its shards claim.
type Unread = (BlobName, SiteSet, Vec<Geometry>);

/// How a chain's replay ended.
#[derive(PartialEq, Eq)]
enum ChainEnd {
    Done,
    /// A record needs a key that another chain may bring.
    NeedsKey,
}

/// One replay of one or more chains.
pub(crate) struct Replay<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) progress: &'a dyn Progress,
    /// Go on behind gaps and leave unreadable records out; they are in the report.
    pub(crate) accept_loss: bool,
    pub(crate) report: ReplayReport,
    /// Whether all sites answered, but for some that one coalition reaches: then what is off the
    /// end of a chain is removed.
    removes: bool,
    /// A pack at the end of a chain that may have been acknowledged and cannot be read.
    uncertain: Option<(ChainId, u64)>,
    /// Retired packs, as far as the replay has come across them.
    retired: Retired,
    /// How often keys may still be looked for in all packs.
    looks_for_keys: u8,
    /// What the chains end with.
    ends: Vec<End>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        progress: &'a dyn Progress,
        accept_loss: bool,
        removes: bool,
    ) -> Self {
        let (report, uncertain, ends) = (ReplayReport::default(), None, Vec::new());
        let (retired, looks_for_keys) = (Retired::default(), 2);
        Self {
            shared,
            progress,
            accept_loss,
            report,
            removes,
            uncertain,
            retired,
            looks_for_keys,
            ends,
        }
    }
}

impl Replay<'_> {
    /// Whether every acknowledged pack was seen, as far as the sites that answered tell.
    ///
    /// # Errors
    /// [`ReplayError::Uncertain`].
    pub(crate) const fn certain(&self) -> Result<(), ReplayError> {
        match self.uncertain {
            Some((chain, number)) => Err(ReplayError::Uncertain { chain, number }),
            None => Ok(()),
        }
    }

    /// Replays every chain of the survey behind what the catalog has applied.
    pub(crate) async fn run(&mut self, survey: &Survey) -> Result<(), ReplayError> {
        self.report.unreachable = self.shared.names(survey.unreachable);
        self.progress.found(survey.packs());
        self.chains(survey).await?;
        // Not before all are known: who is excluded may stand in any of them.
        self.shared.close_excluded().await?;
        for end in std::mem::take(&mut self.ends) {
            mend_end(self.shared, end).await?;
        }
        Ok(())
    }

    async fn chains(&mut self, survey: &Survey) -> Result<(), ReplayError> {
        let mut waiting: Vec<ChainId> = survey.packs.keys().copied().collect();
        // Tenants' and buckets' keys may stand in another chain than their objects: chains that
        // wait for a key go on after the others. Each round must bring one to its end.
        loop {
            let mut still_waiting = Vec::new();
            let applied = self.report.packs;
            for chain in &waiting {
                if self.chain(survey, *chain, false).await? == ChainEnd::NeedsKey {
                    still_waiting.push(*chain);
                }
            }
            if still_waiting.is_empty() {
                return Ok(());
            }
            if self.report.packs == applied {
                // Compaction may have put keys behind what they open. Buckets' come with the
                // second look, where their tenant's were found by the first.
                if self.looks_for_keys == 0 {
                    return self.without_keys(survey, &still_waiting).await;
                }
                self.looks_for_keys -= 1;
                self.look_through(survey.newest_first().collect(), |_| false).await;
            }
            waiting = still_waiting;
        }
    }

    /// Looks through packs for keys and for retired packs, the newest first because it tells the
    /// most, until it is enough.
    async fn look_through(
        &mut self,
        packs: Vec<(BlobName, SiteSet)>,
        is_enough: impl Fn(&Retired) -> bool,
    ) {
        let shared = self.shared;
        let reads = packs
            .into_iter()
            .map(|(name, holders)| async move { (name, shared.read_pack(name, holders).await) });
        let mut packs = Box::pin(stream::iter(reads).buffered(PACKS_AHEAD));
        while let Some((name, read)) = packs.next().await {
            self.retired.see(name.blob());
            if let (BlobName::Pack { chain, .. }, Ok(pack)) = (name, read) {
                self.retired.look(&shared.keyring, chain, &pack);
            }
            if is_enough(&self.retired) {
                return;
            }
        }
    }

    /// No chain brings the missing keys.
    async fn without_keys(
        &mut self,
        survey: &Survey,
        chains: &[ChainId],
    ) -> Result<(), ReplayError> {
        if !self.accept_loss {
            return Err(ReplayError::WrongKey(chains.len() as u64));
        }
        for chain in chains {
            self.chain(survey, *chain, true).await?;
        }
        Ok(())
    }

    async fn chain(
        &mut self,
        survey: &Survey,
        chain: ChainId,
        leave_unreadable: bool,
    ) -> Result<ChainEnd, ReplayError> {
        let states = self.shared.catalog.chains().await?;
        let state = states.into_iter().find(|state| state.chain == chain);
        let (number, link) = state.map_or((0, PackLink::NONE), |state| (state.number, state.link));
        let shared = self.shared;
        self.retired.add(shared.catalog.retired(chain).await?);
        let mut behind = survey.behind(chain, number);
        behind.retain(|(name, _)| !self.retired.covers(chain, number_of(name)));
        let before = if behind.is_empty() { None } else { shared.before(link).await };
        let mut cursor =
            Cursor { chain, number, link, before, pending: Vec::new(), off: Vec::new() };
        let reads = behind.into_iter().map(|(name, holders)| async move {
            (name, holders, shared.read_pack(name, holders).await)
        });
        let mut packs = Box::pin(stream::iter(reads).buffered(PACKS_AHEAD));
        // Futures that run side by side may reach the catalog in another order than they were made
        // in. Only a recovery takes packs in any order.
        let at_once = if self.shared.catalog.is_recovering().await? { APPLIES_MAX } else { 1 };
        let mut applies = FuturesOrdered::new();
        let mut unread = Vec::new();
        let mut end = None;
        while end.is_none() {
            let next = match packs.next().await {
                // Too few shards to be a pack that was acknowledged, or a gap that the next one
                // shows.
                Some((name, holders, Err(geometries))) => {
                    self.report.off_chain += 1;
                    unread.push((name, holders, geometries));
                    continue;
                }
                // The record of its retirement came before it.
                Some((_, _, Ok(pack))) if self.retired.covers(chain, pack.number) => continue,
                Some((_, _, Ok(pack))) => Some(self.bridge(survey, &cursor, chain, pack).await),
                None => {
                    end = Some(ChainEnd::Done);
                    // If one of these was acknowledged, the pack that waits for its word may not
                    // have been.
                    if self.is_uncertain(&mut cursor, &unread, survey.unreachable) {
                        break;
                    }
                    None
                }
            };
            let is_end = next.is_none();
            let Some(pack) = cursor.step(next, self)? else { continue };
            let end_of_chain =
                is_end.then(|| End { row: pack.row.clone(), bytes: pack.bytes.clone() });
            // Each pack names the last acknowledged one before it: what lies between was never
            // that.
            unread.retain(|(name, ..)| number_of(name) > pack.number);
            if !is_end {
                cursor.off.clear();
            }
            match self.open(chain, pack, leave_unreadable) {
                Some(applied) => {
                    self.ends.extend(end_of_chain);
                    self.report.packs += 1;
                    self.report.records += applied.records.len() as u64;
                    applies.push_back(shared.catalog.apply(applied));
                }
                None => end = Some(ChainEnd::NeedsKey),
            }
            while applies.len() >= at_once {
                applies.next().await.unwrap_or(Ok(()))?;
            }
            self.progress.replayed(self.report.packs, self.report.records);
        }
        while let Some(result) = applies.next().await {
            result?;
        }
        if end == Some(ChainEnd::Done) && self.removes && self.certain().is_ok() {
            shared.remove(&cursor.off).await;
        }
        Ok(end.unwrap_or(ChainEnd::Done))
    }

    /// At the end of a chain: whether a pack that cannot be read, behind all that can, may have
    /// been acknowledged. Those that were not are off the chain.
    fn is_uncertain(&mut self, cursor: &mut Cursor, unread: &[Unread], away: SiteSet) -> bool {
        let last = cursor.pending.last().map_or(cursor.number, |pack| pack.number);
        let may_count = |(name, holders, geometries): &&Unread| {
            number_of(name) > last
                && self.shared.may_be_acknowledged(geometries, holders.union(away))
        };
        let found = unread.iter().find(may_count).map(|(name, ..)| number_of(name));
        cursor.off.extend(unread.iter().map(|(name, ..)| *name));
        if let Some(number) = found {
            self.uncertain = Some((cursor.chain, number));
        }
        found.is_some() && !self.accept_loss
    }

    /// A pack with the one before it that is there: those that it names in between are retired.
    /// Where that is not known yet, a later pack says it: they are looked through for it, the
    /// newest first, because it tells the most.
    async fn bridge(
        &mut self,
        survey: &Survey,
        cursor: &Cursor,
        chain: ChainId,
        mut pack: ReadPack,
    ) -> ReadPack {
        let last = (cursor.number, cursor.link);
        let before =
            |retired: &Retired, link| retired.before(chain, link, last, |link| cursor.knows(link));
        if let Some(link) = before(&self.retired, pack.previous) {
            pack.previous = link;
            return pack;
        }
        let repeats = repeated(&self.shared.keyring, chain, &pack);
        let links = [Some(pack.previous), repeats].into_iter().flatten();
        let find = |retired: &Retired| links.clone().find_map(|link| before(retired, link));
        if find(&self.retired).is_none() {
            let packs = survey.newest_first();
            let unseen = packs.filter(|(name, _)| !self.retired.has_seen(name.blob())).collect();
            self.look_through(unseen, |retired| find(retired).is_some()).await;
        }
        if let Some(link) = find(&self.retired) {
            pack.previous = link;
        }
        pack
    }

    fn gap(&mut self, chain: ChainId, after: u64, before: u64) -> Result<(), ReplayError> {
        let gap = Gap { chain, after, before };
        if !self.accept_loss {
            return Err(ReplayError::Gap(gap));
        }
        self.report.gaps.push(gap);
        Ok(())
    }

    /// Opens the records of a pack; `None` when a key is missing that may still come.
    fn open(
        &mut self,
        chain: ChainId,
        pack: ReadPack,
        leave_unreadable: bool,
    ) -> Option<AppliedPack> {
        let keyring = &self.shared.keyring;
        let mut records = Vec::with_capacity(pack.slots.len());
        for slot in &pack.slots {
            let from = usize::try_from(slot.offset).ok()?;
            let sealed = &pack.bytes[from..from + slot.len as usize];
            match open_record(keyring, sealed) {
                Ok(record) => {
                    if let Record::Retired(retired) = &record.record {
                        self.retired.add(retired.runs.clone());
                    }
                    records.push(AppliedRecord { record, offset: slot.offset, len: slot.len });
                }
                Err(OpenError::UnknownKey { .. }) if !leave_unreadable => return None,
                Err(error) => {
                    tracing::error!(%error, number = pack.number, "a record cannot be opened");
                    self.report.unreadable_records += 1;
                }
            }
        }
        Some(AppliedPack {
            chain,
            number: pack.number,
            link: pack.link,
            previous: pack.previous,
            below_guarantee: pack.row.state != BlobState::Whole,
            pack: pack.row,
            settled: Seq::default(),
            order: pack.order,
            records,
        })
    }
}

/// How far a chain has been followed. A pack counts once a later one names it, or nothing comes
/// after it.
struct Cursor {
    chain: ChainId,
    /// The last pack that counts.
    number: u64,
    link: PackLink,
    /// The one before it, where that is known.
    before: Option<PackLink>,
    /// Packs that follow the last one that counts, and wait for a later one's word.
    pending: Vec<ReadPack>,
    /// Packs behind the last one that a later pack names which do not count.
    off: Vec<BlobName>,
}

impl Cursor {
    /// Whether a pack that names this one follows one that counts or may count, or is another try
    /// of the last that counts.
    fn knows(&self, link: PackLink) -> bool {
        link == self.link
            || self.before == Some(link)
            || self.pending.iter().any(|held| held.link == link)
    }

    /// Takes the next readable pack, `None` behind the last, and returns the one that now counts.
    fn step(
        &mut self,
        next: Option<ReadPack>,
        replay: &mut Replay<'_>,
    ) -> Result<Option<ReadPack>, ReplayError> {
        let Some(next) = next else { return Ok(self.count(self.last_pending(), replay)) };
        if next.previous == self.link {
            self.pending.push(next);
            return Ok(None);
        }
        let named = self.pending.iter().position(|held| held.link == next.previous);
        if named.is_none() {
            if self.before == Some(next.previous) {
                // It follows what the last pack that counts follows: another try, never
                // acknowledged.
                replay.report.off_chain += 1;
                self.off.push(next.row.name);
                return Ok(None);
            }
            let last = self.pending.last().map_or(self.number, |held| held.number);
            replay.gap(self.chain, last, next.number)?;
        }
        let counts = self.count(named.or_else(|| self.last_pending()), replay);
        self.pending.push(next);
        Ok(counts)
    }

    /// Of several tries the last: none but that one can have been acknowledged.
    fn last_pending(&self) -> Option<usize> {
        self.pending.len().checked_sub(1)
    }

    /// The pending pack at `at` counts, and the others do not.
    fn count(&mut self, at: Option<usize>, replay: &mut Replay<'_>) -> Option<ReadPack> {
        let counts = self.pending.swap_remove(at?);
        replay.report.off_chain += self.pending.len() as u64;
        self.off.extend(self.pending.drain(..).map(|pack| pack.row.name));
        self.before = Some(std::mem::replace(&mut self.link, counts.link));
        self.number = counts.number;
        Some(counts)
    }
}

pub(crate) fn open_record(
    keyring: &Keyring,
    sealed: &[u8],
) -> Result<havre_model::record::SequencedRecord, OpenError> {
    let opened = keyring.open_record(BytesMut::from(sealed))?;
    let (sequenced, _) = record::decode(&opened.bytes).map_err(|_| OpenError::Rejected)?;
    // A bucket's key must not vouch for another bucket's or tenant's record (A5).
    if scope_of(&sequenced.record) != opened.scope {
        return Err(OpenError::Rejected);
    }
    match &sequenced.record {
        Record::Tenant(tenant) => keyring.install_tenant(tenant.tenant, &tenant.key)?,
        Record::Bucket(bucket) => {
            keyring.install_bucket(bucket.tenant, bucket.bucket, &bucket.keys)?;
        }
        _ => {}
    }
    Ok(sequenced)
}

/// The scope that a record is sealed in.
pub(crate) fn scope_of(record: &Record) -> RecordScope {
    let (tenant, bucket) = match record {
        Record::Tenant(_) | Record::Exclusion(_) | Record::Retired(_) | Record::Redispersed(_) => {
            return RecordScope::System;
        }
        Record::Bucket(it) => return RecordScope::Tenant(it.tenant),
        Record::BucketDeleted(it) => return RecordScope::Tenant(it.tenant),
        Record::Object(it) => (it.tenant, it.bucket),
        Record::Tombstone(it) => (it.tenant, it.bucket),
        Record::DeleteMarker(it) => (it.tenant, it.bucket),
        Record::Upload(it) => (it.tenant, it.bucket),
        Record::Part(it) => (it.tenant, it.bucket),
        Record::UploadAborted(it) => (it.tenant, it.bucket),
    };
    RecordScope::Bucket(tenant, bucket)
}

/// The place of a pack in its chain.
const fn number_of(name: &BlobName) -> u64 {
    match name {
        BlobName::Pack { number, .. } => *number,
        BlobName::Extent(_) => 0,
    }
}

/// Whether an error of a site says that the site is away, rather than what it holds.
pub(crate) fn is_away(error: &SiteError) -> bool {
    matches!(error.kind, SiteErrorKind::Unreachable | SiteErrorKind::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use havre_model::record::{BucketKeyEpoch, ObjectKey, SequencedRecord, TombstoneRecord};
    use havre_model::{BucketId, TenantId};
    use havre_seal::RootKey;
    use havre_sites::system;

    /// A5: who has one bucket's key, and nothing else, writes a record of another bucket.
    #[test]
    fn a5_a_replayed_record_is_of_the_scope_that_it_was_sealed_in() {
        let entropy = system::ports().entropy;
        let keyring = Keyring::new(RootKey::generate(&*entropy), Arc::clone(&entropy));
        let [tenant, other] = [1, 2].map(|id| TenantId::from_bytes([id; 16]));
        let [own, sibling, foreign] = [3, 4, 5].map(|id| BucketId::from_bytes([id; 16]));
        for tenant in [tenant, other] {
            keyring.install_tenant(tenant, &keyring.new_tenant_key(tenant)).expect("its key");
        }
        for (tenant, bucket) in [(tenant, own), (tenant, sibling), (other, foreign)] {
            let key = keyring.new_bucket_key(tenant, bucket, 1).expect("the tenant's key is there");
            let keys = [BucketKeyEpoch { epoch: 1, key }];
            keyring.install_bucket(tenant, bucket, &keys).expect("its key");
        }
        let key = ObjectKey::new("k".to_owned()).expect("a valid key");
        let tombstone = TombstoneRecord { tenant, bucket: own, key, version: None };
        let record = SequencedRecord { seq: Seq::new(1), record: Record::Tombstone(tombstone) };
        let plain = record::encode(&record, b"").expect("within the limits");
        let open = |scope| {
            let sealed = keyring.seal_record(scope, &plain).expect("the key is there");
            open_record(&keyring, &sealed)
        };
        assert_eq!(open(RecordScope::Bucket(tenant, own)).ok(), Some(record.clone()));
        for scope in [
            RecordScope::Bucket(tenant, sibling),
            RecordScope::Bucket(other, foreign),
            RecordScope::Tenant(tenant),
            RecordScope::System,
        ] {
            assert!(matches!(open(scope), Err(OpenError::Rejected)), "{scope:?}");
        }
    }
}
