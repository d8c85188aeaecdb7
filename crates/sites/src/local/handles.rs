//! Open files of shards that are read again and again.
//!
//! **Invariant.** At most [`HANDLES_MAX`] files stay open, and none of a shard that this process
//! deleted.
//!
//! **Deliberately absent.** Writing handles: a shard is written once.
//!
//! **Crash.** Nothing is kept.

use havre_model::BlobName;
use parking_lot::Mutex;
use std::{collections::HashMap, fs::File, sync::Arc};

/// Files that one site keeps open where a process may have many, and where it may have few.
const HANDLES_MAX: usize = 512;
const HANDLES_MIN: usize = 32;

pub(super) struct Handles {
    inner: Mutex<Inner>,
    files_max: usize,
}

impl Default for Handles {
    /// Room for a 64th of the files that the process may have open.
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let share = limit.map_or(HANDLES_MAX, |limit| usize::try_from(limit / 64).unwrap_or(0));
        Self { inner: Mutex::default(), files_max: share.clamp(HANDLES_MIN, HANDLES_MAX) }
    }
}

#[derive(Default)]
struct Inner {
    files: HashMap<BlobName, (Arc<File>, u64)>,
    uses: u64,
    deletions: u64,
}

impl Handles {
    /// The open file of `name`, if there is one.
    pub(super) fn find(&self, name: &BlobName) -> Option<Arc<File>> {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let now = inner.uses;
        inner.files.get_mut(name).map(|(file, used)| {
            *used = now;
            Arc::clone(file)
        })
    }

    /// What to show at [`Handles::keep`]: read before the file is opened.
    pub(super) fn deletions(&self) -> u64 {
        self.inner.lock().deletions
    }

    /// Keeps a file open, unless something was deleted since `deletions` was read: it may have been
    /// this one.
    pub(super) fn keep(&self, name: &BlobName, file: &Arc<File>, deletions: u64) {
        let mut inner = self.inner.lock();
        if inner.deletions != deletions {
            return;
        }
        if inner.files.len() >= self.files_max
            && let Some(oldest) =
                inner.files.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| *name)
        {
            inner.files.remove(&oldest);
        }
        inner.uses += 1;
        let now = inner.uses;
        inner.files.insert(*name, (Arc::clone(file), now));
    }

    /// Closes the file of a shard that is deleted or was replaced.
    pub(super) fn forget(&self, name: &BlobName) {
        let mut inner = self.inner.lock();
        inner.deletions += 1;
        inner.files.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use havre_model::BlobId;

    fn name(n: u8) -> BlobName {
        BlobName::Extent(BlobId::from_bytes([n; 16]))
    }

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    #[test]
    fn the_least_recently_used_file_is_closed_first() {
        let handles = Handles { files_max: 3, ..Handles::default() };
        for n in 0..3 {
            handles.keep(&name(n), &file(), 0);
        }
        assert!(handles.find(&name(0)).is_some());
        handles.keep(&name(200), &file(), 0);
        assert!(handles.find(&name(0)).is_some());
        assert!(handles.find(&name(1)).is_none());
        assert_eq!(handles.inner.lock().files.len(), 3);
    }

    #[test]
    fn a_file_opened_before_a_deletion_is_not_kept_after_it() {
        let handles = Handles::default();
        let before = handles.deletions();
        handles.forget(&name(1));
        handles.keep(&name(1), &file(), before);
        assert!(handles.find(&name(1)).is_none());
    }
}
