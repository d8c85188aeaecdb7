//! The lists of several sites as one, by name.
//!
//! **Invariant.** One page of each site is in memory at a time; each name comes once, with the
//! sites that show it, as long as the sites list in order (which [`havre_sites::Guarded`] makes
//! sure of).
//!
//! **Deliberately absent.** Trust: a site may show names that it has nothing of.
//!
//! **Crash.** Nothing is kept.

use havre_model::limits::SITE_LIST_PAGE_MAX;
use havre_model::{BlobName, SiteSet};
use havre_sites::{Fleet, Guarded, SiteEntry};
use std::collections::VecDeque;

/// A blob and the sites that show a shard of it, with the bytes that they say it has.
pub(super) struct Found {
    pub(super) name: BlobName,
    pub(super) holders: Vec<(usize, Option<u64>)>,
}

struct Cursor<'a> {
    position: usize,
    site: &'a Guarded,
    page: VecDeque<SiteEntry>,
    after: Option<BlobName>,
    more: bool,
    failed: bool,
}

impl Cursor<'_> {
    async fn fill(&mut self, prefix: &str) {
        while self.page.is_empty() && self.more {
            match self.site.list(prefix, self.after.as_ref(), SITE_LIST_PAGE_MAX).await {
                Ok(page) => {
                    self.more = page.more;
                    self.after = page.entries.last().map(|entry| entry.name).or(self.after);
                    self.page = page.entries.into();
                }
                Err(error) => {
                    tracing::warn!(%error, "a site cannot be listed to its end");
                    (self.more, self.failed) = (false, true);
                }
            }
        }
    }
}

pub(super) struct Listing<'a> {
    prefix: &'static str,
    cursors: Vec<Cursor<'a>>,
}

impl<'a> Listing<'a> {
    pub(super) fn new(fleet: &'a Fleet, sites: SiteSet, prefix: &'static str) -> Self {
        let cursor = |position| Cursor {
            position,
            site: fleet.site(position),
            page: VecDeque::new(),
            after: None,
            more: true,
            failed: false,
        };
        Self { prefix, cursors: sites.iter().map(cursor).collect() }
    }

    /// The next blob by name; `None` behind the last.
    pub(super) async fn next(&mut self) -> Option<Found> {
        let prefix = self.prefix;
        futures::future::join_all(self.cursors.iter_mut().map(|cursor| cursor.fill(prefix))).await;
        let fronts = self.cursors.iter().filter_map(|cursor| cursor.page.front());
        let name = fronts.map(|entry| entry.name).min_by_key(ToString::to_string)?;
        let mut holders = Vec::new();
        for cursor in &mut self.cursors {
            if let Some(entry) = cursor.page.pop_front_if(|entry| entry.name == name) {
                holders.push((cursor.position, entry.bytes));
            }
        }
        Some(Found { name, holders })
    }

    /// The next blobs, `count` at most.
    pub(super) async fn batch(&mut self, count: usize) -> Vec<Found> {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count
            && let Some(found) = self.next().await
        {
            batch.push(found);
        }
        batch
    }

    /// The sites that did not list all that they have.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = String> {
        self.cursors
            .iter()
            .filter(|cursor| cursor.failed)
            .map(|cursor| cursor.site.name().to_owned())
    }
}
