//! Looks at a gateway that has come to rest, and at what the sites really hold.
//!
//! **Invariant.** Nothing is asserted that the weather does not allow: what is away, damaged or
//! below its guarantee may be missed, with an error; everything else must be there, byte for byte.
//!
//! **Deliberately absent.** The order of operations ([`crate::linear`]).
//!
//! **Crash.** Nothing is written but a probe.

use crate::client::{Client, Put, ReadFailure, Trouble, Wanted, key_of};
use crate::history::Place;
use crate::ledger::{Holding, Ledger, Rule, blobs_of};
use crate::rng::Rng;
use crate::site::SimSite;
use crate::world::Oracle;
use havre_catalog::{BlobState, Catalog};
use havre_engine::{EngineError, ListEntry, ListQuery};
use havre_model::{BlobId, BlobName, ChainId, Geometry, SiteId, SiteSet};
use havre_policy::{Acknowledgement, Arrangement, Harm};
use havre_sites::Fleet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Keys of a bucket that clients use.
pub const KEYS: usize = 7;
/// The key of the probe that writes are taken.
const PROBE: usize = KEYS;
/// Attempts of a client that was told to try again.
const ATTEMPTS: usize = 3;
/// The pause between them: longer than any probe of a site that was down.
const PAUSE: Duration = Duration::from_secs(45);
/// Rows of the catalog that are looked at together.
const PAGE: usize = 200;

/// Looks at a gateway at rest.
pub struct Inspector {
    /// The gateway.
    pub client: Client,
    /// Its catalog.
    pub catalog: Arc<dyn Catalog>,
    /// What can be expected.
    pub oracle: Oracle,
    /// Chance for the probes.
    pub rng: Rng,
}

impl Inspector {
    /// Every key of every bucket, the listings, the uploads, a probe write, and the catalog's
    /// blobs.
    pub async fn inspect(mut self) {
        for bucket in 0..self.client.buckets.len() {
            let mut present = BTreeSet::new();
            for key in 0..=PROBE {
                let place = Place { bucket, key };
                if self.check_object(place).await {
                    present.insert(key_of(place).as_str().to_owned());
                }
            }
            self.check_listing(bucket, &present).await;
        }
        if self.client.is_strict() {
            self.client.check_uploads().await;
            check_needed(&*self.catalog, &self.client.ledger).await;
        }
        for bucket in 0..self.client.buckets.len() {
            self.check_writes(bucket).await;
        }
    }

    /// Reads an object; whether there is one.
    async fn check_object(&self, place: Place) -> bool {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match self.client.read(place, None).await {
                Ok(found) => return found.is_some(),
                Err(ReadFailure::Head(error)) => last = error,
                Err(ReadFailure::Bytes(number, error)) => {
                    let blobs = self.blobs_at(place).await;
                    if !blobs.iter().all(|name| self.oracle.is_obtainable(name)) {
                        return true;
                    }
                    last = format!("write {number}, in {blobs:?}: {error}");
                }
            }
            if !self.client.is_strict() {
                return true;
            }
            self.client.executor.sleep(PAUSE).await;
        }
        let detail = format!("{place:?} cannot be read although enough sites are well: {last}");
        self.client.ledger.breach(Rule::AcknowledgedIsReadable, detail);
        true
    }

    /// The blobs that hold the bytes of the object at a place.
    async fn blobs_at(&self, place: Place) -> Vec<BlobName> {
        let Ok(bucket) = self.client.bucket(place).await else { return Vec::new() };
        let latest = self.catalog.latest(bucket.id(), &key_of(place)).await;
        let Ok(Some(row)) = latest else { return Vec::new() };
        let Some(object) = row.object() else { return Vec::new() };
        let mut names = Vec::new();
        for blob in blobs_of(&object.body, row.place.blob) {
            match self.catalog.blob(blob).await {
                Ok(Some(row)) => names.push(row.name),
                _ => {
                    let detail = format!("{place:?} is in blob {blob}, which the catalog lacks");
                    self.client.ledger.breach(Rule::AcknowledgedIsReadable, detail);
                }
            }
        }
        names
    }

    /// A listing in small pages shows the objects that are there, and no others.
    async fn check_listing(&self, bucket: usize, present: &BTreeSet<String>) {
        let Ok(found) = self.client.bucket(Place { bucket, key: 0 }).await else { return };
        let mut listed = BTreeSet::new();
        let mut after = None;
        loop {
            let query = ListQuery {
                bucket: found.id(),
                prefix: "key ".to_owned(),
                delimiter: None,
                after: after.clone(),
                after_prefix: false,
                limit: 3,
            };
            let Ok(page) = self.client.engine.list(query).await else { return };
            for entry in page.entries {
                if let ListEntry::Object(object) = entry {
                    after = Some(object.key.clone());
                    listed.insert(object.key);
                }
            }
            if !page.more {
                break;
            }
        }
        if listed != *present {
            let detail = format!("bucket {bucket} lists {listed:?} and has {present:?}");
            self.client.ledger.breach(Rule::Linearizable, detail);
        }
    }

    /// A write is taken when enough sites take shards.
    async fn check_writes(&mut self, bucket: usize) {
        // A pack that a start found at the end of a chain, which nobody acknowledged, stops writes
        // for as long as too few of the sites that have it are there.
        if !self.client.engine.takes_writes() || !self.oracle.ends_can_be_settled() {
            return;
        }
        let setting = self.client.ledger.setting();
        let Ok(name) = self.policy_name(bucket).await else { return };
        let Some(policy) = setting.policies.iter().find(|it| it.name() == name) else { return };
        let open = policy.eligible().minus(self.oracle.closed());
        let taking = self.oracle.taking().intersection(open);
        // Where a blob needs every site that is open, some may miss theirs; where there is a
        // choice, it falls on those that are well.
        let suffices = match open.len() == policy.geometry().total() {
            true => policy.acknowledges(taking) == Acknowledgement::Within,
            false => policy.can_place_without(policy.eligible().minus(taking)),
        };
        if !suffices {
            return;
        }
        let place = Place { bucket, key: PROBE };
        for _ in 0..ATTEMPTS {
            let bytes = *self.rng.pick(&[17, 300_000]);
            let (wanted, trouble) = (Wanted::Nothing, Trouble::None);
            let put = Put { bytes, wanted, trouble, is_declared: true };
            let rng = self.rng.fork();
            if self.client.put(place, put, rng).await {
                return;
            }
            self.client.executor.sleep(PAUSE).await;
        }
        // Under another policy meanwhile, other sites suffice.
        if self.policy_name(bucket).await.is_ok_and(|now| now == name) {
            let detail = format!("bucket {bucket} takes no write although {taking:?} take shards");
            self.client.ledger.breach(Rule::Available, detail);
        }
    }

    /// The policy that the bucket is under now; of one that is gone, which is a breach, the
    /// default.
    async fn policy_name(&self, bucket: usize) -> Result<String, EngineError> {
        let Some(found) = self.client.engine.bucket(&self.client.buckets[bucket]).await? else {
            self.client.ledger.breach(Rule::Available, format!("bucket {bucket} is gone"));
            return Ok("default".to_owned());
        };
        let name = found.policy();
        Ok(if name.is_empty() { "default" } else { name }.to_owned())
    }
}

/// Of nothing that the catalog needs the last copy of a shard was deleted.
pub async fn check_needed(catalog: &dyn Catalog, ledger: &Ledger) {
    let mut after: Option<BlobId> = None;
    loop {
        let Ok(page) = catalog.blobs(after, PAGE).await else { return };
        let Some(last) = page.last() else { return };
        after = Some(last.blob());
        for row in page.iter().filter(|row| row.state != BlobState::Garbage) {
            let gone = ledger.holding(&row.name).gone;
            if !gone.is_empty() {
                let detail = format!("{} is needed and its shards {gone:?} were deleted", row.name);
                ledger.breach(Rule::NothingNeededIsCollected, detail);
            }
        }
    }
}

/// A site's position, and a shard that it holds.
type Held = (usize, u8);

/// What is not as it should be: the rule, and how it is broken.
type Found = Vec<(Rule, String)>;

/// With everybody well and collected, no site holds what nothing needs. Chains of packs from before
/// a recovery are history, and not judged.
pub async fn check_orphans(catalog: &dyn Catalog, sites: &[SimSite]) -> Found {
    let mut broken = Vec::new();
    let Ok(chains) = catalog.chains().await else { return broken };
    let own = chains.iter().filter(|state| state.gateway.is_some()).map(|state| state.chain);
    let own: BTreeSet<ChainId> = own.collect();
    for (position, site) in sites.iter().enumerate() {
        for text in site.contents().shards().keys() {
            let Ok(name) = text.parse::<BlobName>() else { continue };
            if matches!(name, BlobName::Pack { chain, .. } if !own.contains(&chain)) {
                continue;
            }
            let Ok(row) = catalog.blob(name.blob()).await else { return broken };
            if row.is_none_or(|row| row.state == BlobState::Garbage) {
                let detail = format!("site {position} still holds {name}, which nothing needs");
                broken.push((Rule::NoOrphanStays, detail));
            }
        }
    }
    broken
}

/// What the sites hold, by the headers in their files, under whatever name, is what they were sent;
/// and what somebody else brought there makes no coalition that must not read reach `k`.
pub fn check_contents(sites: &[SimSite], ledger: &Ledger) {
    let mut brought: BTreeMap<(BlobId, (u8, u8)), Vec<Held>> = BTreeMap::new();
    for (position, site) in sites.iter().enumerate() {
        for (text, shard) in site.contents().shards() {
            // The blob stands in bytes 16 to 32 of a shard's header.
            let Some(id) = shard.get(16..32).and_then(|id| id.try_into().ok()) else { continue };
            let blob = BlobId::from_bytes(id);
            let Ok(header) = havre_codec::shard::parse_header(shard, blob) else { continue };
            let index = header.index().raw();
            let own = text.parse().map(|name: BlobName| ledger.holding(&name).ever);
            let sent =
                own.is_ok_and(|ever| ever.get(&position).is_some_and(|it| it.contains(&index)));
            if !sent {
                brought
                    .entry((blob, header.geometry().into()))
                    .or_default()
                    .push((position, index));
            }
        }
    }
    let setting = ledger.setting();
    for ((blob, (k, m)), shards) in brought {
        let Ok(geometry) = Geometry::new(k, m) else { continue };
        let held = ledger.holding_of(blob).held;
        for reach in setting.reaches(geometry, Harm::Read) {
            let sent = held.iter().flat_map(|(site, all)| all.iter().map(|index| (*site, *index)));
            let within = sent.chain(shards.iter().copied()).filter(|(at, _)| reach.contains(*at));
            let indices: BTreeSet<u8> = within.map(|(_, index)| index).collect();
            if indices.len() >= geometry.data() {
                let detail = format!("those who reach {reach:?} hold shards {indices:?} of {blob}");
                ledger.breach(Rule::NoCoalitionHoldsK, detail);
            }
        }
    }
}

/// With everybody well, repaired, moved and collected: every shard that is needed is at the site
/// where the catalog has it, by the facts of today, and nothing of its blob is anywhere else.
pub async fn check_whole(
    catalog: &dyn Catalog,
    sites: &[SimSite],
    ledger: &Ledger,
    fleet: &Fleet,
) -> Found {
    let (mut broken, setting, mut after) = (Vec::new(), ledger.setting(), None);
    let closed = fleet.closed();
    let contents: Vec<_> = sites.iter().map(SimSite::contents).collect();
    let (mut known, mut stuck) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let Ok(page) = catalog.blobs(after, PAGE).await else { return broken };
        let Some(last) = page.last() else { break };
        after = Some(last.blob());
        for row in page.iter().filter(|row| row.state != BlobState::Garbage) {
            known.insert(row.name.to_string());
            let at = |site: &SiteId| setting.facts.position(*site);
            let positions: Vec<Option<usize>> = row.sites.iter().map(at).collect();
            let now = Arrangement { positions: &positions, leftovers: SiteSet::EMPTY };
            let policy = setting.policy_of(row.geometry);
            // What no sound move brings where it may be, the keeper tells as stuck.
            let moves =
                policy.map(|it| it.rearrange(row.blob(), &now, closed, &fleet.placing(row.blob())));
            if moves.is_some_and(|moves| moves.is_err()) {
                stuck.insert(row.name.to_string());
                continue;
            }
            let misplaced = policy.and_then(|it| it.misplaced(&now, closed));
            let Holding { stored, damaged, .. } = ledger.holding(&row.name);
            let mut wanted = row.geometry.indices().zip(&positions);
            let there = wanted
                .all(|(index, at)| at.is_some_and(|at| stored.get(&at) == Some(&index.raw())));
            let name = row.name.to_string();
            let holders = (0..sites.len()).filter(|at| contents[*at].shards().contains_key(&name));
            let holders: SiteSet = holders.collect();
            // Of a copy that was spoilt nobody can say what it is: it is left, and counted.
            let strays = holders.minus(positions.iter().flatten().copied().collect());
            let strays = strays.minus(damaged);
            if !holders.intersection(damaged).is_empty() {
                stuck.insert(name.clone());
            }
            if misplaced.is_some() || !there || row.state != BlobState::Whole || !strays.is_empty()
            {
                let detail = format!(
                    "{name} is {:?} and {misplaced:?} at {positions:?}; sites {holders:?} have \
                     it, of {stored:?}",
                    row.state
                );
                broken.push((Rule::EverythingIsWhole, detail));
            }
        }
    }
    for at in closed.iter() {
        // Nor is anything known of packs that a recovery did not find.
        let held = contents[at].shards().keys();
        let left: Vec<_> = held.filter(|it| known.contains(*it) && !stuck.contains(*it)).collect();
        if !left.is_empty() {
            let detail = format!("site {at} is closed and still has {left:?}");
            broken.push((Rule::ClosedSitesDrain, detail));
        }
    }
    broken
}
