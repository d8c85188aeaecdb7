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
use crate::ledger::{Ledger, Rule, blobs_of};
use crate::rng::Rng;
use crate::site::SimSite;
use crate::world::Oracle;
use havre_catalog::{BlobState, Catalog};
use havre_engine::{ListEntry, ListQuery};
use havre_model::{BlobId, BlobName, ChainId};
use havre_policy::{Acknowledgement, Harm};
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
        if !self.client.engine.takes_writes() || !self.oracle.all_replayed_are_obtainable() {
            return;
        }
        let policy = &self.client.ledger.policies()[bucket];
        let taking = self.oracle.taking().intersection(policy.eligible());
        if policy.acknowledges(taking) != Acknowledgement::Within {
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
        let detail = format!("bucket {bucket} takes no write although {taking:?} take shards");
        self.client.ledger.breach(Rule::Available, detail);
    }
}

/// Nothing that the catalog needs was ever deleted.
pub async fn check_needed(catalog: &dyn Catalog, ledger: &Ledger) {
    let mut after: Option<BlobId> = None;
    loop {
        let Ok(page) = catalog.blobs(after, PAGE).await else { return };
        let Some(last) = page.last() else { return };
        after = Some(last.blob());
        for row in page.iter().filter(|row| row.state != BlobState::Garbage) {
            let holding = ledger.holding(&row.name);
            // A spoilt shard is no loss: one that is mended is deleted first.
            let deleted = holding.deleted.minus(holding.damaged);
            if !deleted.is_empty() {
                let detail = format!("{} is needed and was deleted at {deleted:?}", row.name);
                ledger.breach(Rule::NothingNeededIsCollected, detail);
            }
        }
    }
}

/// With everybody well and collected, no site holds what nothing needs. Chains of packs from before
/// a recovery are history, and not judged.
pub async fn check_orphans(catalog: &dyn Catalog, sites: &[SimSite], ledger: &Ledger) {
    let Ok(chains) = catalog.chains().await else { return };
    let own = chains.iter().filter(|state| state.gateway.is_some()).map(|state| state.chain);
    let own: BTreeSet<ChainId> = own.collect();
    for (position, site) in sites.iter().enumerate() {
        for text in site.contents().shards().keys() {
            let Ok(name) = text.parse::<BlobName>() else { continue };
            if matches!(name, BlobName::Pack { chain, .. } if !own.contains(&chain)) {
                continue;
            }
            let Ok(row) = catalog.blob(name.blob()).await else { return };
            if row.is_none_or(|row| row.state == BlobState::Garbage) {
                let detail = format!("site {position} still holds {name}, which nothing needs");
                ledger.breach(Rule::NoOrphanStays, detail);
            }
        }
    }
}

/// Which shards of which blobs the sites hold, by the headers in their files, under whatever name;
/// and no coalition that must not read reaches `k` of any blob.
pub fn check_contents(sites: &[SimSite], ledger: &Ledger) {
    let mut held: BTreeMap<(BlobId, u8, u8), BTreeMap<u8, BTreeSet<usize>>> = BTreeMap::new();
    for (position, site) in sites.iter().enumerate() {
        for shard in site.contents().shards().values() {
            // The blob stands in bytes 16 to 32 of a shard's header.
            let Some(id) = shard.get(16..32).and_then(|id| id.try_into().ok()) else { continue };
            let blob = BlobId::from_bytes(id);
            let Ok(header) = havre_codec::shard::parse_header(shard, blob) else { continue };
            let (k, m) = header.geometry().into();
            let holders = held.entry((blob, k, m)).or_default();
            holders.entry(header.index().raw()).or_default().insert(position);
        }
    }
    for ((blob, k, m), shards) in held {
        let policies = ledger.policies().iter();
        let of_geometry = policies.filter(|policy| (k, m) == policy.geometry().into());
        for coalition in of_geometry.flat_map(|policy| policy.coalitions()) {
            let reached =
                |sites: &&BTreeSet<usize>| sites.iter().any(|site| coalition.reach.contains(*site));
            let count = shards.values().filter(reached).count();
            if coalition.harm == Harm::Read && count >= usize::from(k) {
                let detail = format!("{} holds {count} shards of {blob}", coalition.label);
                ledger.breach(Rule::NoCoalitionHoldsK, detail);
            }
        }
    }
}
