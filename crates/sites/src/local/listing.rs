//! Names in a directory tree, in order, page by page.
//!
//! **Invariant.** A page holds the smallest names after the cursor; memory is bounded by
//! [`WINDOW_NAMES`], however many names a directory has.
//!
//! **Deliberately absent.** An index: packs of a chain and extents of a prefix are one directory
//! each.
//!
//! **Crash.** Nothing is kept.

use super::tree::Tree;
use crate::{Operation, SiteEntry, SiteError, SitePage};
use havre_model::{BlobName, limits::SITE_LIST_PAGE_MAX};
use std::{
    collections::BinaryHeap,
    fs::{DirEntry, FileType},
    io,
    sync::Arc,
};

/// Names of one directory that are held at once (3 MB); a bigger directory is read once for each so
/// many names of it: 65 pages of a scan cost one reading. In tests, less than a page.
const WINDOW_NAMES: usize = if cfg!(test) { 700 } else { 64 * 1024 };

/// The window that the last page ended in, so that the next page need not read the directory again.
#[derive(Default)]
pub(super) struct Scan {
    directory: String,
    /// The last name of the page; only the very next page goes on from here.
    cursor: Option<BlobName>,
    window: Arc<Window>,
}

/// The smallest names of a directory after some name, in order.
#[derive(Default)]
struct Window {
    names: Vec<BlobName>,
    /// Whether no name follows the last.
    is_last: bool,
}

impl Tree {
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let limit = limit.min(SITE_LIST_PAGE_MAX);
        let text = after.map(ToString::to_string).unwrap_or_default();
        let after = after.copied();
        let mut listing =
            Listing { tree: self, prefix, after, text, limit, page: SitePage::default() };
        listing.fill().map_err(|error| self.io_error(Operation::List, error))?;
        Ok(listing.page)
    }
}

struct Listing<'a> {
    tree: &'a Tree,
    prefix: &'a str,
    after: Option<BlobName>,
    /// The text of `after`, or nothing.
    text: String,
    limit: usize,
    page: SitePage,
}

impl Listing<'_> {
    fn fill(&mut self) -> io::Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        for top in [BlobName::EXTENTS, BlobName::PACKS] {
            if !self.may_hold(top) {
                continue;
            }
            for directory in self.directories(top)? {
                if self.may_hold(&directory) {
                    self.fill_from(&directory)?;
                }
                if self.page.more {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether names below `directory` can begin with the prefix and come after the cursor.
    fn may_hold(&self, directory: &str) -> bool {
        let on_prefix = directory.starts_with(self.prefix) || self.prefix.starts_with(directory);
        on_prefix && (self.text.as_str() < directory || self.text.starts_with(directory))
    }

    /// Adds the names of one directory until the page is full.
    fn fill_from(&mut self, directory: &str) -> io::Result<()> {
        // Within one directory the names' order is that of their text.
        let mut after = self.after.filter(|_| self.text.starts_with(directory));
        let mut window = match after.and_then(|after| self.take_scan(directory, after)) {
            Some(window) => window,
            None => Arc::new(self.read_window(directory, after)?),
        };
        loop {
            let start = window.names.partition_point(|name| Some(*name) <= after);
            for name in &window.names[start..] {
                let text = name.to_string();
                if !text.starts_with(self.prefix) {
                    continue;
                }
                if self.page.entries.len() == self.limit {
                    self.page.more = true;
                    let (directory, cursor) = (directory.to_owned(), after);
                    *self.tree.scan.lock() = Scan { directory, cursor, window };
                    return Ok(());
                }
                let meta = self.tree.root.join(text).symlink_metadata();
                let bytes = meta.ok().map(|meta| meta.len());
                self.page.entries.push(SiteEntry { name: *name, bytes });
                after = Some(*name);
            }
            if window.is_last {
                return Ok(());
            }
            after = window.names.last().copied();
            window = Arc::new(self.read_window(directory, after)?);
        }
    }

    fn take_scan(&self, directory: &str, after: BlobName) -> Option<Arc<Window>> {
        let kept = std::mem::take(&mut *self.tree.scan.lock());
        (kept.directory == directory && kept.cursor == Some(after)).then_some(kept.window)
    }

    /// Reads a directory for its smallest names after `after`.
    fn read_window(&mut self, directory: &str, after: Option<BlobName>) -> io::Result<Window> {
        let mut names = BinaryHeap::new();
        let mut is_last = true;
        self.each_entry(directory, |entry| {
            let text = format!("{directory}{}", entry.file_name().to_str()?);
            let name: BlobName = text.parse().ok().filter(|_| is_kind(entry, FileType::is_file))?;
            if Some(name) > after {
                names.push(name);
            }
            if names.len() > WINDOW_NAMES {
                names.pop();
                is_last = false;
            }
            Some(())
        })?;
        Ok(Window { names: names.into_sorted_vec(), is_last })
    }

    /// The sorted paths of the directories in `top`, each with a slash at its end.
    fn directories(&mut self, top: &str) -> io::Result<Vec<String>> {
        let mut directories = Vec::new();
        self.each_entry(top, |entry| {
            let name = entry.file_name();
            let name = name.to_str().filter(|_| is_kind(entry, FileType::is_dir))?;
            directories.push(format!("{top}{name}/"));
            Some(())
        })?;
        directories.sort_unstable();
        Ok(directories)
    }

    /// Shows every entry of a directory to `take`; what it does not take is counted.
    fn each_entry(
        &mut self,
        directory: &str,
        mut take: impl FnMut(&DirEntry) -> Option<()>,
    ) -> io::Result<()> {
        let entries = match std::fs::read_dir(self.tree.root.join(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.tree.root.is_dir() => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            if take(&entry?).is_none() {
                self.page.skipped += 1;
            }
        }
        Ok(())
    }
}

fn is_kind(entry: &DirEntry, kind: fn(&FileType) -> bool) -> bool {
    entry.file_type().is_ok_and(|of| kind(&of))
}
