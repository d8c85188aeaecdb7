//! What is known of one blob's shards, by what the sites saw and said.
//!
//! **Invariant.** A site *holds* a shard from its first byte on, until it carries out a deletion
//! that was asked for later; and it *has* one from the moment it confirmed it, intact, until then.
//! Requests that overtake each other change nothing about that: what was sent before a deletion
//! was told to go.
//!
//! **Deliberately absent.** What that means for a guarantee ([`crate::ledger`]).
//!
//! **Crash.** It outlives every simulated process.

use havre_model::{Geometry, SiteSet};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a blob's shards.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// By the headers of its shards.
    pub geometry: Option<Geometry>,
    /// Which shards each site was ever sent.
    pub ever: BTreeMap<usize, BTreeSet<u8>>,
    /// Which of them it was not told to delete since.
    pub held: BTreeMap<usize, BTreeSet<u8>>,
    /// Sites that said that they stored a shard, and did not delete it since.
    pub confirmed: SiteSet,
    /// The shard that each of them has, as far as it is intact.
    pub stored: BTreeMap<usize, u8>,
    /// Shards of which the last copy was deleted, as somebody asked, and none was made since.
    pub gone: BTreeSet<u8>,
    /// Sites that hold other bytes than they were given.
    pub damaged: SiteSet,
    /// When each site last carried out a deletion.
    pub told: BTreeMap<usize, u64>,
    /// The first setting whose guarantee it may be under; none until it was acknowledged.
    pub promised: Option<usize>,
    /// A replay found it named by a record, acknowledged or not.
    pub was_named: bool,
    /// It was acknowledged below its guarantee, and not within it since.
    pub is_below: bool,
    /// The catalog had the shard there, and needed it, when somebody last asked for a deletion.
    pub is_needed: bool,
    /// Nothing needs it any more.
    pub is_released: bool,
}

impl Holding {
    /// How many different shards these sites have.
    #[must_use]
    pub fn stored_at(&self, sites: impl Fn(usize) -> bool) -> usize {
        let there = self.stored.iter().filter(|(site, _)| sites(**site));
        there.map(|(_, index)| index).collect::<BTreeSet<_>>().len()
    }

    /// The different shards that these sites hold.
    #[must_use]
    pub fn held_within(&self, reach: SiteSet) -> BTreeSet<u8> {
        let within = self.held.iter().filter(|(site, _)| reach.contains(**site));
        within.flat_map(|(_, indices)| indices).copied().collect()
    }

    /// A site sees the first bytes of a shard that was sent at a moment.
    pub fn seen(&mut self, site: usize, index: u8, sent: u64) {
        self.ever.entry(site).or_default().insert(index);
        if self.told.get(&site).is_none_or(|told| *told < sent) {
            self.held.entry(site).or_default().insert(index);
        }
    }

    /// A site says that it stored a shard.
    pub fn confirm(&mut self, site: usize, index: u8) {
        let here = SiteSet::EMPTY.with(site);
        self.confirmed = self.confirmed.union(here);
        self.stored.insert(site, index);
        self.gone.remove(&index);
        // A spoilt shard was replaced.
        self.damaged = self.damaged.minus(here);
    }

    /// A site says that it stored a shard, and threw it away; what it had before it still has.
    pub fn claim(&mut self, site: usize) {
        self.confirmed = self.confirmed.with(site);
        if !self.stored.contains_key(&site) {
            self.damage(site);
        }
    }

    /// Nobody knows any more what these sites hold, and they do not tell.
    pub fn deny(&mut self, sites: SiteSet) {
        self.held.retain(|site, _| !sites.contains(*site));
    }

    /// A site carries out a deletion.
    pub fn delete(&mut self, site: usize, now: u64) {
        let here = SiteSet::EMPTY.with(site);
        self.told.insert(site, now);
        self.held.remove(&site);
        // A spoilt shard is no loss: one that is mended is deleted first.
        if let Some(index) = self.stored.remove(&site)
            && self.is_needed
            && self.stored.values().all(|other| *other != index)
        {
            self.gone.insert(index);
        }
        self.confirmed = self.confirmed.minus(here);
    }

    /// A site's bytes are no longer what they were.
    pub fn damage(&mut self, site: usize) {
        self.stored.remove(&site);
        self.damaged = self.damaged.union(SiteSet::EMPTY.with(site));
    }
}
