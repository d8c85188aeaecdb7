//! Retired packs, as a replay comes across them.
//!
//! **Invariant.** A chain is followed over retired packs by the hashes in the records of their
//! retirement, as it is by those in packs: none can be left out unseen (A8).
//!
//! **Deliberately absent.** Retiring ([`crate::carry`]), and what is taken back of a pack that was
//! applied before its retirement (`catalog`).
//!
//! **Crash.** Memory only: found again with the packs.

use crate::read_pack::ReadPack;
use crate::replay::open_record;
use havre_catalog::PackLink;
use havre_model::record::{PackEnd, Record, RetiredRun};
use havre_model::{BlobId, ChainId};
use havre_seal::{Keyring, RecordScope};
use std::collections::HashSet;

/// Packs that are retired, as far as a replay has come across them.
#[derive(Default)]
pub(crate) struct Retired {
    runs: Vec<RetiredRun>,
    /// Packs that were looked through.
    seen: HashSet<BlobId>,
}

impl Retired {
    /// Takes runs, the wider for the narrower.
    pub(crate) fn add(&mut self, runs: Vec<RetiredRun>) {
        for run in runs {
            let is_wider = |other: &RetiredRun| {
                other.covers(run.chain, run.first) && other.covers(run.chain, run.last)
            };
            if !self.runs.iter().any(is_wider) {
                self.runs.retain(|other| {
                    !(run.covers(other.chain, other.first) && run.covers(other.chain, other.last))
                });
                self.runs.push(run);
            }
        }
    }

    /// Whether the pack of this number is retired.
    pub(crate) fn covers(&self, chain: ChainId, number: u64) -> bool {
        self.runs.iter().any(|run| run.covers(chain, number))
    }

    /// Whether the pack was looked through.
    pub(crate) fn has_seen(&self, blob: BlobId) -> bool {
        self.seen.contains(&blob)
    }

    /// Takes what a pack says of retired ones, but for the one that it repeats: whether it counts
    /// itself is not known here. Its other records wait for their turn, but for keys: those of
    /// tenants are installed on the way, and those of buckets where their tenant's is.
    pub(crate) fn look(&mut self, keyring: &Keyring, chain: ChainId, pack: &ReadPack) {
        let previous = pack.previous.blob;
        let runs = told(keyring, pack).filter(|run| !run.is_repeated_by(chain, previous));
        self.add(runs.collect());
    }

    /// Notes that a pack was looked through, or cannot be.
    pub(crate) fn see(&mut self, blob: BlobId) {
        self.seen.insert(blob);
    }

    /// The last pack before `link`, or that itself, of which `knows` is true, over retired ones
    /// only; `last` where that one is among the retired, because a site still shows it.
    pub(crate) fn before(
        &self,
        chain: ChainId,
        link: PackLink,
        last: (u64, PackLink),
        knows: impl Fn(PackLink) -> bool,
    ) -> Option<PackLink> {
        let mut link = link;
        for _ in 0..=self.runs.len() {
            if knows(link) {
                return Some(link);
            }
            let ends = |run: &&RetiredRun| run.chain == chain && link_of(run.end) == link;
            let run = self.runs.iter().find(ends)?;
            if run.covers(chain, last.0) {
                return Some(last.1);
            }
            link = link_of(run.before);
        }
        None
    }
}

/// Of a pack that repeats the one before it, the one before that.
pub(crate) fn repeated(keyring: &Keyring, chain: ChainId, pack: &ReadPack) -> Option<PackLink> {
    let mut runs = told(keyring, pack);
    let run = runs.find(|run| run.is_repeated_by(chain, pack.previous.blob))?;
    (run.end.hash == pack.previous.hash).then(|| link_of(run.before))
}

/// The runs of retired packs in a pack.
fn told<'a>(keyring: &'a Keyring, pack: &'a ReadPack) -> impl Iterator<Item = RetiredRun> + 'a {
    let settings = pack.records().filter(|sealed| {
        !matches!(Keyring::record_scope(sealed), Ok(RecordScope::Bucket(..)) | Err(_))
    });
    let opened = settings.filter_map(|sealed| open_record(keyring, sealed).ok());
    opened.flat_map(|record| match record.record {
        Record::Retired(retired) => retired.runs,
        _ => Vec::new(),
    })
}

const fn link_of(end: PackEnd) -> PackLink {
    PackLink { blob: end.blob, hash: end.hash }
}
