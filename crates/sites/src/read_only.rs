//! A site that is only read, whatever it is asked for.
//!
//! **Invariant.** Nothing that changes a site gets through: it is refused here.
//!
//! **Deliberately absent.** Anything else: the guarded site beneath keeps its deadlines and caps.
//!
//! **Crash.** Nothing is kept.

use crate::{
    Guarded, Operation, ShardWriter, Site, SiteCounts, SiteError, SiteErrorKind, SiteLimits,
    SitePage,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use havre_model::{BlobName, SiteId, ports::Ports};
use havre_policy::Permit;
use std::{ops::Range, sync::Arc, time::Duration};

/// What is added to the inner site's deadlines, so that they come first.
const MARGIN: Duration = Duration::from_secs(1);

struct ReadOnly(Guarded);

impl Guarded {
    /// The same site for a rehearsal, which must not change it: every write is refused.
    #[must_use]
    pub fn read_only(&self, ports: &Ports) -> Self {
        let inner = self.limits();
        let limits = SiteLimits {
            deadline: inner.deadline + inner.wait_max + MARGIN,
            attempts_max: 1,
            ..inner.clone()
        };
        Self::new(Arc::new(ReadOnly(self.clone())), limits, ports.clone())
    }
}

impl ReadOnly {
    fn refused(&self, operation: Operation) -> SiteError {
        let detail = "the site is only read: this is a rehearsal";
        SiteError::new(SiteErrorKind::Refused, self.0.id(), operation, detail)
    }
}

#[async_trait]
impl Site for ReadOnly {
    fn id(&self) -> SiteId {
        self.0.id()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    async fn put(&self, _: &Permit, _: &BlobName, _: Bytes) -> Result<(), SiteError> {
        Err(self.refused(Operation::Put))
    }

    async fn create(
        &self,
        _: &Permit,
        _: &BlobName,
        _: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        Err(self.refused(Operation::Create))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        self.0.read(name, range).await
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        self.0.read_all(name, bytes_max).await
    }

    async fn delete(&self, _: &BlobName) -> Result<(), SiteError> {
        Err(self.refused(Operation::Delete))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        self.0.list(prefix, after, limit).await
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        self.0.marker().await
    }

    async fn set_marker(&self, _: [u8; 16]) -> Result<(), SiteError> {
        Err(self.refused(Operation::SetMarker))
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        Err(self.refused(Operation::Sweep))
    }

    fn counts(&self) -> SiteCounts {
        Site::counts(&self.0)
    }
}
