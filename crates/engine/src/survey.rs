//! Surveys: which packs the sites show, and who shows them.
//!
//! **Invariant.** What a site shows is noted, nothing is concluded from it here. A site that does
//! not end its list is left behind after one that does not go on (I9).
//!
//! **Deliberately absent.** Reading packs, and which of them count ([`crate::replay`]).
//!
//! **Crash.** Memory only.

use crate::shared::Shared;
use havre_model::limits::SITE_LIST_PAGE_MAX;
use havre_model::{BlobId, BlobName, ChainId, SiteSet};
use havre_sites::SiteError;
use std::collections::BTreeMap;

/// Where the shards of packs were seen.
pub(crate) struct Survey {
    pub(crate) packs: BTreeMap<ChainId, BTreeMap<(u64, BlobId), SiteSet>>,
    pub(crate) unreachable: SiteSet,
}

impl Survey {
    pub(crate) fn packs(&self) -> u64 {
        self.packs.values().map(|chain| chain.len() as u64).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// The packs of a chain behind a number, with the sites that have a shard of each.
    pub(crate) fn behind(&self, chain: ChainId, number: u64) -> Vec<(BlobName, SiteSet)> {
        let mut behind = Vec::new();
        for ((candidate, blob), holders) in self.packs.get(&chain).into_iter().flatten() {
            if *candidate > number {
                let name = BlobName::Pack { chain, number: *candidate, blob: *blob };
                behind.push((name, *holders));
            }
        }
        behind
    }

    /// All packs, those with the highest numbers of each chain first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (BlobName, SiteSet)> + '_ {
        let mut chains: Vec<_> =
            self.packs.iter().map(|(chain, packs)| (*chain, packs.iter().rev())).collect();
        let mut at = 0;
        std::iter::from_fn(move || {
            while !chains.is_empty() {
                at %= chains.len();
                let (chain, packs) = &mut chains[at];
                if let Some(((number, blob), holders)) = packs.next() {
                    at += 1;
                    let name = BlobName::Pack { chain: *chain, number: *number, blob: *blob };
                    return Some((name, *holders));
                }
                drop(chains.swap_remove(at));
            }
            None
        })
    }

    /// The highest number that any site has for the chain, whatever it is worth.
    pub(crate) fn number_seen(&self, chain: ChainId) -> u64 {
        let last = self.packs.get(&chain).and_then(|packs| packs.keys().next_back());
        last.map_or(0, |(number, _)| *number)
    }
}

impl Shared {
    /// Lists the packs at all sites: everything, or of the given chains what comes after a number.
    pub(crate) async fn survey(&self, behind: Option<&[(ChainId, u64)]>) -> Survey {
        let lists = (0..self.fleet.len()).map(|position| self.list_packs(position, behind));
        let lists = futures::future::join_all(lists).await;
        let mut survey = Survey { packs: BTreeMap::new(), unreachable: SiteSet::EMPTY };
        for (position, list) in lists.into_iter().enumerate() {
            match list {
                Ok(names) => {
                    for (chain, number, blob) in names {
                        let sites: &mut SiteSet = survey
                            .packs
                            .entry(chain)
                            .or_default()
                            .entry((number, blob))
                            .or_default();
                        *sites = sites.with(position);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a site cannot be listed");
                    survey.unreachable = survey.unreachable.with(position);
                }
            }
        }
        survey
    }

    async fn list_packs(
        &self,
        position: usize,
        behind: Option<&[(ChainId, u64)]>,
    ) -> Result<Vec<(ChainId, u64, BlobId)>, SiteError> {
        let mut found = Vec::new();
        let Some(behind) = behind else {
            self.list_prefix(position, BlobName::PACKS, None, &mut found).await?;
            return Ok(found);
        };
        for (chain, number) in behind {
            let blob = BlobId::from_bytes([0xff; 16]);
            let after = BlobName::Pack { chain: *chain, number: *number, blob };
            let prefix = format!("{}{chain}/", BlobName::PACKS);
            self.list_prefix(position, &prefix, Some(after), &mut found).await?;
        }
        Ok(found)
    }

    async fn list_prefix(
        &self,
        position: usize,
        prefix: &str,
        mut after: Option<BlobName>,
        found: &mut Vec<(ChainId, u64, BlobId)>,
    ) -> Result<(), SiteError> {
        let site = self.fleet.site(position);
        loop {
            let page = site.list(prefix, after.as_ref(), SITE_LIST_PAGE_MAX).await?;
            for entry in &page.entries {
                if let BlobName::Pack { chain, number, blob } = entry.name {
                    found.push((chain, number, blob));
                }
            }
            let last = page.entries.last().map(|entry| entry.name);
            // A site that says "more" without going on is a site that lies.
            if !page.more || last.is_none() || last <= after {
                return Ok(());
            }
            after = last;
        }
    }
}
