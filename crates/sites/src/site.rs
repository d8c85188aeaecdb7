//! The trait that every place for shards implements.
//!
//! **Invariant.** When `put` or `finish` returns `Ok` the whole shard is at the site under its
//! name, durably as far as the site can promise, and a read gives exactly the bytes asked for or an
//! error.
//!
//! **Deliberately absent.** Deadlines, retries, caps on concurrency and health: [`crate::Guarded`]
//! wraps any site with them, and nothing in production talks to a site without it.
//!
//! **Crash.** A shard is there whole under its name or not at all; leftovers without a name
//! are taken by [`Site::sweep`].

use crate::{SiteError, SiteErrorKind};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use havre_model::{BlobName, SiteId};
use havre_policy::Permit;
use std::{fmt, ops::Range};

/// What a site is asked for: labels of metrics and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Store a shard that is in memory.
    Put,
    /// Begin a streamed shard.
    Create,
    /// Send the next bytes of a streamed shard.
    Write,
    /// Make a streamed shard durable under its name.
    Finish,
    /// Read a range of a shard.
    Read,
    /// Read a whole shard.
    ReadAll,
    /// Remove a shard.
    Delete,
    /// List names.
    List,
    /// Read the site's marker.
    Marker,
    /// Write the site's marker.
    SetMarker,
    /// Remove leftovers.
    Sweep,
}

impl Operation {
    /// Operations there are.
    pub const COUNT: usize = 11;

    /// All of them, each at the position that is its `as usize` value.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Put,
        Self::Create,
        Self::Write,
        Self::Finish,
        Self::Read,
        Self::ReadAll,
        Self::Delete,
        Self::List,
        Self::Marker,
        Self::SetMarker,
        Self::Sweep,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Create => "create",
            Self::Write => "write",
            Self::Finish => "finish",
            Self::Read => "read",
            Self::ReadAll => "read_all",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Marker => "marker",
            Self::SetMarker => "set_marker",
            Self::Sweep => "sweep",
        }
    }

    /// The verb phrase in errors.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Put => "put shard",
            Self::Create => "begin shard",
            Self::Write => "write shard",
            Self::Finish => "finish shard",
            Self::Read => "read range",
            Self::ReadAll => "read shard",
            Self::Delete => "delete shard",
            Self::List => "list shards",
            Self::Marker => "read marker",
            Self::SetMarker => "write marker",
            Self::Sweep => "sweep leftovers",
        }
    }

    /// Whether the operation changes the site.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::ReadAll | Self::List | Self::Marker)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One shard in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteEntry {
    /// The blob's name.
    pub name: BlobName,
    /// Bytes of the shard by the site's word, which nothing may rest on.
    pub bytes: Option<u64>,
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SitePage {
    /// Shards in ascending order of their names' text.
    pub entries: Vec<SiteEntry>,
    /// Whether names follow the last entry. A page without entries has none after it.
    pub more: bool,
    /// Names seen on the way that are no blob's: not ours, or a site's invention.
    pub skipped: usize,
}

/// What a site has cost since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteCounts {
    /// Calls of `fsync` and `fdatasync`.
    pub fsyncs: u64,
    /// Requests sent over the network.
    pub requests: u64,
}

/// One place that stores shards. Never trusted.
///
/// The permit is lent, not consumed: [`crate::Guarded`] repeats an attempt for the same shard at
/// the same site. Its own `put` and `create`, which the engine calls, consume the permit.
#[async_trait]
pub trait Site: Send + Sync + 'static {
    /// The site, as permits name it.
    fn id(&self) -> SiteId;

    /// The configured name, for logs and metrics.
    fn name(&self) -> &str;

    /// Stores a whole shard under `name`, durable (bytes and name) when it returns.
    ///
    /// # Errors
    /// `Exists` when another content has the name; the same content is `Ok`, so that an attempt
    /// whose answer was lost can be repeated. `Refused` when the permit is for another site or
    /// blob.
    async fn put(&self, permit: &Permit, name: &BlobName, shard: Bytes) -> Result<(), SiteError>;

    /// Begins a shard that is sent piece by piece; `shard_bytes` is its length where it is known.
    ///
    /// # Errors
    /// As [`Site::put`]; whether the name is taken may show only when the shard is finished.
    async fn create(
        &self,
        permit: &Permit,
        name: &BlobName,
        shard_bytes: Option<u64>,
    ) -> Result<Box<dyn ShardWriter>, SiteError>;

    /// Exactly the bytes of `range`.
    ///
    /// # Errors
    /// `Missing`, or `Invalid` when the shard ends before the range does.
    async fn read(&self, name: &BlobName, range: Range<u64>) -> Result<BytesMut, SiteError>;

    /// The whole shard.
    ///
    /// # Errors
    /// `Missing`, or `Invalid` when it is longer than `bytes_max`.
    async fn read_all(&self, name: &BlobName, bytes_max: u64) -> Result<BytesMut, SiteError>;

    /// Removes a shard; one that is not there is removed. Not durable: a shard that comes back
    /// after a power cut is an orphan.
    ///
    /// # Errors
    /// `Unreachable` or `Refused`.
    async fn delete(&self, name: &BlobName) -> Result<(), SiteError>;

    /// At most `limit` names (and never more than `SITE_LIST_PAGE_MAX`) that begin with `prefix`
    /// and come after `after`, ascending.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, or `Invalid` when the listing makes no sense.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<SitePage, SiteError>;

    /// The marker: 16 random bytes that tell one storage from another.
    ///
    /// # Errors
    /// `Invalid` when there is a marker that is none.
    async fn marker(&self) -> Result<Option<[u8; 16]>, SiteError>;

    /// Leaves the marker, once and for all.
    ///
    /// # Errors
    /// `Exists` when another marker is there: two configured sites are one storage.
    async fn set_marker(&self, marker: [u8; 16]) -> Result<(), SiteError>;

    /// Removes what writers left behind that died before this process began, and counts it.
    ///
    /// # Errors
    /// `Unreachable` or `Refused`.
    async fn sweep(&self) -> Result<u64, SiteError>;

    /// What the site has cost so far.
    fn counts(&self) -> SiteCounts {
        SiteCounts::default()
    }
}

/// A shard on its way to a site. Dropped without `finish` it leaves nothing under the name.
#[async_trait]
pub trait ShardWriter: Send {
    /// Takes the next bytes; memory stays bounded, so this waits while the site is slow.
    ///
    /// # Errors
    /// As [`Site::put`]. After an error the writer is of no use.
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError>;

    /// Makes the shard durable under its name.
    ///
    /// # Errors
    /// As [`Site::put`].
    async fn finish(self: Box<Self>) -> Result<(), SiteError>;

    /// Gives the shard up and removes what was sent, as far as the site lets us.
    async fn abort(self: Box<Self>);
}

/// Refuses a write whose permit is for another site or another blob (I2).
pub(crate) fn check_permit(
    permit: &Permit,
    site: SiteId,
    name: &BlobName,
    operation: Operation,
) -> Result<(), SiteError> {
    if permit.site() == site && permit.blob() == name.blob() {
        return Ok(());
    }
    let detail = "the permit is for another site or another blob";
    Err(SiteError::new(SiteErrorKind::Refused, site, operation, detail))
}

/// Length of a range, as memory has it; `None` for a reversed or absurd one.
pub(crate) fn range_len(range: &Range<u64>) -> Option<usize> {
    usize::try_from(range.end.checked_sub(range.start)?).ok()
}

/// The name of the marker's file at every kind of site.
pub(crate) const MARKER_NAME: &str = "havre-site";

/// The marker's text: a line that tells a human what it is.
pub(crate) fn marker_text(marker: [u8; 16]) -> String {
    let hex: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("havre-site-1:{hex}\n")
}

/// Longest text that may be a marker.
pub(crate) const MARKER_BYTES_MAX: usize = 64;

/// The marker in its text; `None` when it is none.
pub(crate) fn parse_marker(text: &[u8]) -> Option<[u8; 16]> {
    let hex = std::str::from_utf8(text).ok()?.strip_prefix("havre-site-1:")?.strip_suffix('\n')?;
    // The ids' parser is strict about length and case.
    hex.parse::<havre_model::BlobId>().ok().map(|id| *id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_other_text_does_not() {
        let marker = [0xa5; 16];
        let text = marker_text(marker);
        assert!(text.len() <= MARKER_BYTES_MAX);
        assert_eq!(parse_marker(text.as_bytes()), Some(marker));
        for other in ["", "\n", "havre-site-1:\n", "havre-site-2:00\n", text.trim_end()] {
            assert_eq!(parse_marker(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn every_operation_stands_at_its_own_position() {
        for (position, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, position);
        }
    }
}
