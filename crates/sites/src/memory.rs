//! A site in memory: for tests, trials and the simulation.
//!
//! **Invariant.** It behaves as any other site, deterministically and without a runtime.
//!
//! **Deliberately absent.** Faults ([`crate::fault`] injects them around any site) and any limit of
//! its size.
//!
//! **Crash.** All is gone, unless a [`MemorySite::snapshot`] was kept.

use crate::{
    Operation, ShardWriter, Site, SiteEntry, SiteError, SiteErrorKind, SitePage,
    site::{check_permit, range_len},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use havre_model::{BlobName, SiteId, limits::SITE_LIST_PAGE_MAX};
use havre_policy::Permit;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::Arc,
};

/// All that a site in memory holds, by the names' text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemorySnapshot {
    shards: BTreeMap<String, Bytes>,
    marker: Option<[u8; 16]>,
}

impl MemorySnapshot {
    /// The shards by the text of their names.
    pub fn shards(&self) -> &BTreeMap<String, Bytes> {
        &self.shards
    }
}

/// A site in memory. Clones share their content.
#[derive(Clone)]
pub struct MemorySite {
    id: SiteId,
    name: Arc<str>,
    held: Arc<Mutex<MemorySnapshot>>,
}

impl MemorySite {
    /// An empty site.
    #[must_use]
    pub fn new(id: SiteId, name: &str) -> Self {
        Self { id, name: name.into(), held: Arc::default() }
    }

    /// What the site holds now. Shards are shared, not copied.
    #[must_use]
    pub fn snapshot(&self) -> MemorySnapshot {
        self.held.lock().clone()
    }

    /// Puts an earlier state back: a rollback attack, or a disk that outlived its process.
    pub fn restore(&self, snapshot: MemorySnapshot) {
        *self.held.lock() = snapshot;
    }

    /// Replaces a shard behind everybody's back; `None` removes it.
    pub fn tamper(&self, name: &BlobName, shard: Option<Bytes>) {
        let mut held = self.held.lock();
        match shard {
            Some(shard) => held.shards.insert(name.to_string(), shard),
            None => held.shards.remove(&name.to_string()),
        };
    }

    fn error(&self, kind: SiteErrorKind, operation: Operation, detail: &str) -> SiteError {
        SiteError::new(kind, self.id, operation, detail)
    }

    fn store(&self, name: &BlobName, shard: Bytes, operation: Operation) -> Result<(), SiteError> {
        let mut held = self.held.lock();
        match held.shards.get(&name.to_string()) {
            Some(there) if *there == shard => Ok(()),
            Some(_) => {
                Err(self.error(SiteErrorKind::Exists, operation, "another shard has this name"))
            }
            None => {
                held.shards.insert(name.to_string(), shard);
                Ok(())
            }
        }
    }

    fn find(&self, name: &BlobName, operation: Operation) -> Result<Bytes, SiteError> {
        let held = self.held.lock();
        held.shards
            .get(&name.to_string())
            .cloned()
            .ok_or_else(|| self.error(SiteErrorKind::Missing, operation, "no such shard"))
    }
}

#[async_trait]
impl Site for MemorySite {
    fn id(&self) -> SiteId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError> {
        check_permit(permit, self.id, name, Operation::Put)?;
        self.store(name, shard, Operation::Put)
    }

    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        check_permit(permit, self.id, name, Operation::Create)?;
        let room = shard_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        // A hint is a hint: an absurd one costs nothing.
        let shard = BytesMut::with_capacity(room.min(1 << 20));
        Ok(Box::new(MemoryWriter { site: self.clone(), name: *name, shard }))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        let shard = self.find(name, Operation::Read)?;
        let slice = usize::try_from(range.start)
            .ok()
            .zip(range_len(&range))
            .and_then(|(start, len)| shard.get(start..start.checked_add(len)?));
        slice.map(BytesMut::from).ok_or_else(|| {
            self.error(SiteErrorKind::Invalid, Operation::Read, "the shard ends before the range")
        })
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let shard = self.find(name, Operation::ReadAll)?;
        if shard.len() as u64 > bytes_max {
            let detail = "the shard is longer than it may be";
            return Err(self.error(SiteErrorKind::Invalid, Operation::ReadAll, detail));
        }
        Ok(BytesMut::from(&shard[..]))
    }

    async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        self.held.lock().shards.remove(&name.to_string());
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let limit = limit.min(SITE_LIST_PAGE_MAX);
        let start = match after.map(ToString::to_string) {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.to_owned()),
        };
        let held = self.held.lock();
        let mut page = SitePage::default();
        let names = held.shards.range((start, Bound::Unbounded));
        for (text, shard) in names.take_while(|(text, _)| text.starts_with(prefix)) {
            let Ok(name) = text.parse() else {
                page.skipped += 1;
                continue;
            };
            if page.entries.len() == limit {
                page.more = limit > 0;
                break;
            }
            page.entries.push(SiteEntry { name, bytes: Some(shard.len() as u64) });
        }
        Ok(page)
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        Ok(self.held.lock().marker)
    }

    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        let mut held = self.held.lock();
        if held.marker.is_some_and(|there| there != marker) {
            let detail = "another marker is there";
            return Err(self.error(SiteErrorKind::Exists, Operation::SetMarker, detail));
        }
        held.marker = Some(marker);
        Ok(())
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        Ok(0)
    }
}

struct MemoryWriter {
    site: MemorySite,
    name: BlobName,
    shard: BytesMut,
}

#[async_trait]
impl ShardWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError> {
        self.shard.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), SiteError> {
        self.site.store(&self.name, self.shard.freeze(), Operation::Finish)
    }

    async fn abort(self: Box<Self>) {}
}
