//! Names at a remote store, in order, page by page.
//!
//! **Invariant.** Names come in ascending order or the listing is `Invalid`; what is kept between
//! two pages is the store's own cursor, or one directory's names up to [`DIRECTORY_NAMES_MAX`].
//!
//! **Deliberately absent.** Trust in sizes, and listings that must be complete: a site may omit
//! what it likes, and who lists several sites finds out.
//!
//! **Crash.** Nothing is kept.

use super::RemoteSite;
use crate::{Operation, SiteEntry, SiteError, SiteErrorKind, SitePage};
use futures::TryStreamExt as _;
use havre_model::BlobName;
use opendal::{Entry, Lister};
use parking_lot::Mutex;
use std::sync::Arc;

/// Names that one directory may have, at stores that list a directory at once.
const DIRECTORY_NAMES_MAX: usize = 1 << 18;

/// Entries that are no names which one page passes over before it gives up.
const SKIPPED_MAX: usize = 100_000;

/// What the next page of a scan goes on from.
#[derive(Default)]
pub(super) struct ScanCell(Mutex<Option<Scan>>);

struct Scan {
    prefix: String,
    /// The last name of the page: only the very next page takes this scan over.
    cursor: String,
    rest: Rest,
}

enum Rest {
    /// The store's cursor, and the entry that showed that there is more.
    Flat(Lister, SiteEntry),
    /// The sorted names of a directory.
    Directory(String, Arc<Vec<SiteEntry>>),
}

impl RemoteSite {
    pub(super) async fn page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        if limit == 0 {
            return Ok(SitePage::default());
        }
        let kept = self.shared.scan.0.lock().take();
        let kept = kept.filter(|scan| scan.prefix == prefix && scan.cursor == after);
        let rest = kept.filter(|_| !after.is_empty()).map(|scan| scan.rest);
        let (page, rest) = if self.shared.store.way.is_tree() {
            self.tree_page(prefix, after, limit, rest).await?
        } else {
            self.flat_page(prefix, after, limit, rest).await?
        };
        if let (Some(rest), Some(last)) = (rest, page.entries.last()) {
            let (prefix, cursor) = (prefix.to_owned(), last.name.to_string());
            *self.shared.scan.0.lock() = Some(Scan { prefix, cursor, rest });
        }
        Ok(page)
    }

    /// A page of a store that lists all names below a prefix in order.
    async fn flat_page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
        rest: Option<Rest>,
    ) -> Result<(SitePage, Option<Rest>), SiteError> {
        let fail = self.error(Operation::List);
        let mut page = SitePage::default();
        let mut lister = match rest {
            Some(Rest::Flat(lister, first)) => {
                page.entries.push(first);
                lister
            }
            _ => {
                let mut lister = self.operator().lister_with(prefix).recursive(true).limit(limit);
                if !after.is_empty() && self.operator().info().capability().list_with_start_after {
                    lister = lister.start_after(after);
                }
                lister.await.map_err(&fail)?
            }
        };
        let mut last = after.to_owned();
        while let Some(entry) = lister.try_next().await.map_err(&fail)? {
            let path = entry.path();
            // A store without "start after" begins at the beginning; that is no disorder.
            if path <= last.as_str() && page.entries.is_empty() {
                continue;
            }
            let Some(entry) = site_entry(&entry) else {
                page.skipped += 1;
                self.check_skipped(page.skipped)?;
                continue;
            };
            if path <= last.as_str() || !path.starts_with(prefix) {
                let detail = "the listing is out of order";
                return Err(self.refuse(SiteErrorKind::Invalid, Operation::List, detail));
            }
            last = path.to_owned();
            if page.entries.len() == limit {
                page.more = true;
                return Ok((page, Some(Rest::Flat(lister, entry))));
            }
            page.entries.push(entry);
        }
        Ok((page, None))
    }

    /// A page of a store that lists one directory at a time, in no order.
    async fn tree_page(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
        mut rest: Option<Rest>,
    ) -> Result<(SitePage, Option<Rest>), SiteError> {
        // Whether names below `directory` can begin with the prefix and come after the cursor.
        let may_hold = |directory: &str| {
            let on_prefix = directory.starts_with(prefix) || prefix.starts_with(directory);
            on_prefix && (after < directory || after.starts_with(directory))
        };
        let mut page = SitePage::default();
        for top in [BlobName::EXTENTS, BlobName::PACKS] {
            if !may_hold(top) {
                continue;
            }
            for directory in self.directories(top, &mut page).await? {
                if !may_hold(&directory) {
                    continue;
                }
                let entries = match rest.take() {
                    Some(Rest::Directory(of, entries)) if of == directory => entries,
                    other => {
                        rest = other;
                        self.shards(&directory, &mut page).await?
                    }
                };
                for entry in entries.iter() {
                    let text = entry.name.to_string();
                    if text.as_str() <= after || !text.starts_with(prefix) {
                        continue;
                    }
                    if page.entries.len() == limit {
                        page.more = true;
                        return Ok((page, Some(Rest::Directory(directory, entries))));
                    }
                    page.entries.push(*entry);
                }
            }
        }
        Ok((page, None))
    }

    /// The sorted paths of the directories in `top`.
    async fn directories(&self, top: &str, page: &mut SitePage) -> Result<Vec<String>, SiteError> {
        let mut directories = Vec::new();
        self.each_entry(top, |entry| {
            let path = entry.path();
            if path == top {
            } else if entry.metadata().is_dir() && path.starts_with(top) {
                directories.push(path.to_owned());
            } else {
                page.skipped += 1;
            }
            directories.len()
        })
        .await?;
        directories.sort_unstable();
        Ok(directories)
    }

    /// The sorted shards in `directory`.
    async fn shards(
        &self,
        directory: &str,
        page: &mut SitePage,
    ) -> Result<Arc<Vec<SiteEntry>>, SiteError> {
        let mut shards = Vec::new();
        self.each_entry(directory, |entry| {
            match site_entry(entry).filter(|_| entry.path().starts_with(directory)) {
                Some(shard) => shards.push(shard),
                None if entry.path() == directory => {}
                None => page.skipped += 1,
            }
            shards.len() + page.skipped
        })
        .await?;
        shards.sort_unstable_by_key(|entry| entry.name);
        Ok(Arc::new(shards))
    }

    /// Shows every entry of a directory to `take`, which says how many it kept.
    async fn each_entry(
        &self,
        directory: &str,
        mut take: impl FnMut(&Entry) -> usize,
    ) -> Result<(), SiteError> {
        let fail = self.error(Operation::List);
        let ended = |error: opendal::Error| match fail(error) {
            error if error.kind == SiteErrorKind::Missing => None,
            error => Some(error),
        };
        let mut lister = match self.operator().lister(directory).await.map_err(&ended) {
            Ok(lister) => lister,
            Err(error) => return error.map_or(Ok(()), Err),
        };
        loop {
            match lister.try_next().await.map_err(&ended) {
                Ok(None) | Err(None) => return Ok(()),
                Err(Some(error)) => return Err(error),
                Ok(Some(entry)) if take(&entry) <= DIRECTORY_NAMES_MAX => {}
                Ok(Some(_)) => {
                    let detail = "a directory has too many names";
                    return Err(self.refuse(SiteErrorKind::Invalid, Operation::List, detail));
                }
            }
        }
    }

    fn check_skipped(&self, skipped: usize) -> Result<(), SiteError> {
        if skipped <= SKIPPED_MAX {
            return Ok(());
        }
        let detail = "the listing has too many names that are none";
        Err(self.refuse(SiteErrorKind::Invalid, Operation::List, detail))
    }
}

fn site_entry(entry: &Entry) -> Option<SiteEntry> {
    if entry.metadata().is_dir() {
        return None;
    }
    let name = entry.path().parse().ok()?;
    Some(SiteEntry { name, bytes: Some(entry.metadata().content_length()) })
}
