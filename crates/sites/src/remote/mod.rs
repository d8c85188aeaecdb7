//! A remote store as a site: S3, OSS, GCS, Azure Blob, WebDAV and SFTP.
//!
//! **Invariant.** A shard appears under its name whole or not at all, and never over another: with
//! the store's own create-if-absent, by moving a finished upload into place, or, where a store has
//! neither, by looking first (names are used once, so only a repeated attempt can meet itself).
//! When the name is taken the content is read back and compared (I5).
//!
//! **Deliberately absent.** Deadlines and retries ([`crate::Guarded`]), and any use of a store's
//! checksums, sizes or ETags: they are its word.
//!
//! **Crash.** Uploads that were not finished have no name here. WebDAV and SFTP keep them below
//! `t/`, where [`Site::sweep`] takes them after a day; S3, OSS, GCS and Azure keep parts that only
//! a lifecycle rule of the bucket removes ("abort incomplete multipart uploads").

mod config;
mod error;
mod listing;
mod transport;
mod webdav;
mod writer;

use crate::{
    Operation, ShardWriter, Site, SiteCounts, SiteError, SiteErrorKind, SitePage, SiteSpec,
    site::{MARKER_BYTES_MAX, MARKER_NAME, check_permit, marker_text, parse_marker, range_len},
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use havre_model::{BlobName, SiteId, limits::SITE_LIST_PAGE_MAX, ports::Ports};
use havre_policy::Permit;
use opendal::{BytesRange, Operator};
use std::{ops::Range, sync::Arc, time::Duration};
use transport::Transport;

/// Where unfinished uploads go, at stores that can move.
const TEMP_PREFIX: &str = "t/";

/// Age after which an unfinished upload is nobody's: a day is longer than any stream lives, by
/// either side's clock.
const TEMP_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A remote store as a site. Clones share its connections.
#[derive(Clone)]
pub struct RemoteSite {
    shared: Arc<Shared>,
}

struct Shared {
    id: SiteId,
    name: String,
    store: Store,
    part_bytes: usize,
    ports: Ports,
    scan: listing::ScanCell,
}

/// A backend and what it can do.
struct Store {
    operator: Operator,
    way: Way,
    transport: Transport,
}

/// How a shard comes to its name without replacing another.
enum Way {
    /// The store refuses to overwrite.
    Conditional,
    /// It cannot; we look first.
    Checked,
    /// Write beside, look, rename.
    Renamed,
    /// Write beside, move without overwriting.
    Dav(webdav::Dav),
}

impl Way {
    fn is_tree(&self) -> bool {
        matches!(self, Self::Renamed | Self::Dav(_))
    }
}

impl RemoteSite {
    /// The site that `spec` describes. Nothing is sent yet.
    ///
    /// # Errors
    /// What is wrong with the URL or an option, without any value.
    pub fn open(id: SiteId, spec: &SiteSpec, ports: &Ports) -> Result<Self, String> {
        let store = config::store(spec)?;
        Ok(Self {
            shared: Arc::new(Shared {
                id,
                name: spec.name.clone(),
                store,
                part_bytes: spec.limits.part_bytes,
                ports: ports.clone(),
                scan: listing::ScanCell::default(),
            }),
        })
    }

    fn error(&self, operation: Operation) -> impl Fn(opendal::Error) -> SiteError + use<> {
        let id = self.shared.id;
        move |error| error::site_error(id, operation, &error)
    }

    fn refuse(&self, kind: SiteErrorKind, operation: Operation, detail: &str) -> SiteError {
        SiteError::new(kind, self.shared.id, operation, detail)
    }

    fn operator(&self) -> &Operator {
        &self.shared.store.operator
    }

    fn temp_name(&self) -> String {
        let random: [u8; 16] = self.shared.ports.random();
        format!("{TEMP_PREFIX}{}", havre_model::BlobId::from_bytes(random))
    }

    /// Stores `content` under `path`, or agrees that it is there.
    async fn store(
        &self,
        path: &str,
        content: Bytes,
        operation: Operation,
    ) -> Result<(), SiteError> {
        let fail = self.error(operation);
        let stored = match &self.shared.store.way {
            Way::Conditional => {
                let write = self.operator().write_with(path, content.clone());
                write.if_not_exists(true).await.map(drop)
            }
            Way::Checked => match self.operator().exists(path).await.map_err(&fail)? {
                true => return self.agree(path, Fingerprint::of(&content), operation).await,
                false => self.operator().write(path, content.clone()).await.map(drop),
            },
            Way::Renamed => {
                let temp = self.temp_name();
                self.operator().write(&temp, content.clone()).await.map_err(&fail)?;
                let fingerprint = Fingerprint::of(&content);
                return self.rename(&temp, path, fingerprint, operation).await;
            }
            Way::Dav(dav) => {
                let temp = self.temp_name();
                dav.upload(&temp, content.clone()).await.map_err(&fail)?;
                let fingerprint = Fingerprint::of(&content);
                return self.publish(dav, &temp, path, fingerprint, operation).await;
            }
        };
        match stored.map_err(fail) {
            Err(error) => self.settle(error, path, Fingerprint::of(&content), operation).await,
            Ok(()) => Ok(()),
        }
    }

    /// What a failed attempt to take a name comes to: when the name is taken, or the answer was
    /// lost (a store may refuse and hang up before it has read the whole body), the content
    /// decides.
    async fn settle(
        &self,
        error: SiteError,
        path: &str,
        fingerprint: Fingerprint,
        operation: Operation,
    ) -> Result<(), SiteError> {
        if !matches!(error.kind, SiteErrorKind::Exists | SiteErrorKind::Unreachable) {
            return Err(error);
        }
        match self.agree(path, fingerprint, operation).await {
            Err(other) if other.kind != SiteErrorKind::Exists => Err(error),
            result => result,
        }
    }

    /// Renames a finished upload, after a look.
    async fn rename(
        &self,
        temp: &str,
        path: &str,
        fingerprint: Fingerprint,
        operation: Operation,
    ) -> Result<(), SiteError> {
        let fail = self.error(operation);
        if self.operator().exists(path).await.map_err(&fail)? {
            // The upload is of no use either way; what is left of it is swept.
            drop(self.operator().delete(temp).await);
            return self.agree(path, fingerprint, operation).await;
        }
        self.operator().rename(temp, path).await.map_err(fail)
    }

    /// Moves a finished upload, unless the name is taken.
    async fn publish(
        &self,
        dav: &webdav::Dav,
        temp: &str,
        path: &str,
        fingerprint: Fingerprint,
        operation: Operation,
    ) -> Result<(), SiteError> {
        match dav.publish(temp, path).await.map_err(self.error(operation)) {
            Ok(()) => Ok(()),
            Err(error) => {
                drop(dav.discard(temp).await);
                self.settle(error, path, fingerprint, operation).await
            }
        }
    }

    /// `Ok` when what is under `path` has this fingerprint, `Exists` otherwise.
    async fn agree(
        &self,
        path: &str,
        fingerprint: Fingerprint,
        operation: Operation,
    ) -> Result<(), SiteError> {
        let fail = self.error(operation);
        let reader = self.operator().reader(path).await.map_err(&fail)?;
        let mut stream = reader.into_stream(..).await.map_err(&fail)?;
        let mut there = Fingerprint::default();
        while let Some(buffer) = stream.try_next().await.map_err(&fail)? {
            for piece in buffer {
                there.add(&piece);
            }
            if there.bytes > fingerprint.bytes {
                break;
            }
        }
        if there.same(&fingerprint) {
            return Ok(());
        }
        Err(self.refuse(SiteErrorKind::Exists, operation, "another content has this name"))
    }

    /// The bytes of `range`, or of the whole with a cap of `bytes_max`.
    async fn fetch(
        &self,
        path: &str,
        range: BytesRange,
        bytes_max: usize,
        operation: Operation,
    ) -> Result<BytesMut, SiteError> {
        let fail = self.error(operation);
        let reader = self.operator().reader(path).await.map_err(&fail)?;
        let mut stream = reader.into_stream(range).await.map_err(&fail)?;
        let mut bytes = BytesMut::with_capacity(range.size().map_or(0, |_| bytes_max));
        while let Some(buffer) = stream.try_next().await.map_err(&fail)? {
            if buffer.len() > bytes_max - bytes.len() {
                let detail = "the shard is longer than it may be";
                return Err(self.refuse(SiteErrorKind::Invalid, operation, detail));
            }
            for piece in buffer {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }
}

/// Length and CRC of a content, enough to tell a repeated attempt from a different shard: whether a
/// site lies about what it holds shows when the shard is opened, not here.
#[derive(Clone)]
struct Fingerprint {
    bytes: u64,
    crc: crc_fast::Digest,
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self { bytes: 0, crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme) }
    }
}

impl Fingerprint {
    fn of(content: &[u8]) -> Self {
        let mut fingerprint = Self::default();
        fingerprint.add(content);
        fingerprint
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc.update(bytes);
    }

    fn same(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.crc.finalize() == other.crc.finalize()
    }
}

#[async_trait]
impl Site for RemoteSite {
    fn id(&self) -> SiteId {
        self.shared.id
    }

    fn name(&self) -> &str {
        &self.shared.name
    }

    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError> {
        check_permit(permit, self.shared.id, name, Operation::Put)?;
        self.store(&name.to_string(), shard, Operation::Put).await
    }

    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError> {
        check_permit(permit, self.shared.id, name, Operation::Create)?;
        Ok(Box::new(writer::RemoteWriter::begin(self.clone(), name, shard_bytes).await?))
    }

    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError> {
        let operation = Operation::Read;
        let Some(len) = range_len(&range) else {
            return Err(self.refuse(SiteErrorKind::Invalid, operation, "the range is no range"));
        };
        let wanted = BytesRange::new(range.start, Some(len as u64));
        let bytes = self.fetch(&name.to_string(), wanted, len, operation).await?;
        if bytes.len() != len {
            let detail = "the shard ends before the range";
            return Err(self.refuse(SiteErrorKind::Invalid, operation, detail));
        }
        Ok(bytes)
    }

    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        self.fetch(&name.to_string(), (..).into(), bytes_max, Operation::ReadAll).await
    }

    async fn delete(&self, name: &BlobName) -> Result<(), SiteError> {
        let operation = Operation::Delete;
        match self.operator().delete(&name.to_string()).await.map_err(self.error(operation)) {
            Err(error) if error.kind == SiteErrorKind::Missing => Ok(()),
            result => result,
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        self.page(prefix, &after, limit.min(SITE_LIST_PAGE_MAX)).await
    }

    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError> {
        let (operation, cap) = (Operation::Marker, MARKER_BYTES_MAX);
        match self.fetch(MARKER_NAME, (..).into(), cap, operation).await {
            Ok(text) => parse_marker(&text).map(Some).ok_or_else(|| {
                let detail = format!("the file {MARKER_NAME} is no marker");
                self.refuse(SiteErrorKind::Invalid, operation, &detail)
            }),
            Err(error) if error.kind == SiteErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError> {
        let text = Bytes::from(marker_text(marker));
        self.store(MARKER_NAME, text, Operation::SetMarker).await
    }

    async fn sweep(&self) -> Result<u64, SiteError> {
        if !self.shared.store.way.is_tree() {
            return Ok(0);
        }
        let fail = self.error(Operation::Sweep);
        let mut lister = self.operator().lister(TEMP_PREFIX).await.map_err(&fail)?;
        let now = self.shared.ports.clock.now();
        let mut swept = 0;
        while let Some(entry) = lister.try_next().await.map_err(&fail)? {
            let modified = entry.metadata().last_modified().map(|time| time.into_inner());
            let modified = modified.and_then(|time| u64::try_from(time.as_millisecond()).ok());
            let is_old = modified.is_some_and(|millis| {
                now.since(havre_model::Timestamp::from_millis(millis)) > TEMP_AGE_MAX
            });
            if entry.metadata().is_file() && is_old {
                self.operator().delete(entry.path()).await.map_err(&fail)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn counts(&self) -> SiteCounts {
        SiteCounts { fsyncs: 0, requests: self.shared.store.transport.requests() }
    }
}
