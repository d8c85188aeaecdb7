//! Names in a directory tree, in order, page by page.
//!
//! **Invariant.** A page holds the smallest names after the cursor; memory is bounded by the page
//! and by one directory's names.
//!
//! **Deliberately absent.** An index: packs of a chain and extents of a prefix are one directory
//! each.
//!
//! **Crash.** Nothing is kept.

use super::tree::Tree;
use crate::{Operation, SiteEntry, SiteError, SitePage};
use havre_model::{BlobName, limits::SITE_LIST_PAGE_MAX};
use std::{io, path::Path, sync::Arc};

/// Names of a directory that are kept between two pages of one scan; a bigger directory is read
/// again for every page.
const SCAN_NAMES_MAX: usize = 1 << 20;

/// The directory that the last page ended in, so that a scan reads each directory once.
#[derive(Default)]
pub(super) struct Scan {
    directory: String,
    /// The last name of the page; only the very next page goes on from here.
    cursor: String,
    names: Arc<Vec<String>>,
}

impl Tree {
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let limit = limit.min(SITE_LIST_PAGE_MAX);
        let after = after.map(ToString::to_string).unwrap_or_default();
        let listing = Listing { tree: self, prefix, after: &after, limit };
        let mut page = SitePage::default();
        listing.fill(&mut page).map_err(|error| self.io_error(Operation::List, error))?;
        Ok(page)
    }
}

struct Listing<'a> {
    tree: &'a Tree,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
}

impl Listing<'_> {
    fn fill(&self, page: &mut SitePage) -> io::Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        for top in [BlobName::EXTENTS, BlobName::PACKS] {
            if !self.may_hold(top) {
                continue;
            }
            for directory in self.names(top.trim_end_matches('/'), page, true)?.iter() {
                let directory = format!("{top}{directory}/");
                if self.may_hold(&directory) && self.fill_from(&directory, page)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether names below `directory` can begin with the prefix and come after the cursor.
    fn may_hold(&self, directory: &str) -> bool {
        let on_prefix = directory.starts_with(self.prefix) || self.prefix.starts_with(directory);
        on_prefix && (self.after < directory || self.after.starts_with(directory))
    }

    /// Adds the names of one directory; true when the page is full and more follow.
    fn fill_from(&self, directory: &str, page: &mut SitePage) -> io::Result<bool> {
        let names = self.scan(directory, page)?;
        let start = names.partition_point(|name| name.as_str() <= self.after);
        for text in &names[start..] {
            if !text.starts_with(self.prefix) {
                continue;
            }
            let Ok(name) = text.parse() else { continue };
            if page.entries.len() == self.limit {
                page.more = true;
                self.keep_scan(directory, page, &names);
                return Ok(true);
            }
            let bytes = self.tree.root.join(text).symlink_metadata().ok().map(|meta| meta.len());
            page.entries.push(SiteEntry { name, bytes });
        }
        Ok(false)
    }

    /// The full names in `directory`, sorted: from the scan that this page goes on with, or read.
    fn scan(&self, directory: &str, page: &mut SitePage) -> io::Result<Arc<Vec<String>>> {
        let kept = std::mem::take(&mut *self.tree.scan.lock());
        if !self.after.is_empty() && kept.directory == directory && kept.cursor == self.after {
            return Ok(kept.names);
        }
        let names = self.names(directory.trim_end_matches('/'), page, false)?;
        Ok(Arc::new(names.iter().map(|name| format!("{directory}{name}")).collect()))
    }

    fn keep_scan(&self, directory: &str, page: &SitePage, names: &Arc<Vec<String>>) {
        let Some(last) = page.entries.last() else { return };
        if names.len() <= SCAN_NAMES_MAX {
            *self.tree.scan.lock() = Scan {
                directory: directory.to_owned(),
                cursor: last.name.to_string(),
                names: Arc::clone(names),
            };
        }
    }

    /// The sorted names of the directories or files in `directory`; everything else is counted.
    fn names(&self, directory: &str, page: &mut SitePage, dirs: bool) -> io::Result<Vec<String>> {
        let path = self.tree.root.join(directory);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root_is_there() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let wanted = entry.file_type()?;
            let wanted = if dirs { wanted.is_dir() } else { wanted.is_file() };
            match entry.file_name().into_string() {
                Ok(name) if wanted && (dirs || is_name(directory, &name)) => names.push(name),
                _ => page.skipped += 1,
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn root_is_there(&self) -> bool {
        Path::is_dir(&self.tree.root)
    }
}

fn is_name(directory: &str, name: &str) -> bool {
    format!("{directory}/{name}").parse::<BlobName>().is_ok()
}
