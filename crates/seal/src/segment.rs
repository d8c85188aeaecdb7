//! Segments: the bytes of one part, sealed piece by piece. Format: `docs/formats/segment.md`.
//!
//! **Invariant.** A segment opens only at its index, as final or not, in its part of its version of
//! its object (I4); reordered, repeated, dropped, cut, extended or spliced segments are refused
//! (attack A4).
//!
//! **Deliberately absent.** Buffers and allocation: both ends work in the caller's memory.
//!
//! **Crash.** A part has a fresh key and is never continued: sealing starts again with another key.

use crate::OpenError;
use crate::binding::{Binding, BindingBuilder, Purpose, Suite};
use crate::cipher::{Cipher, Position};
use crate::key::{Key, Part};
use core::fmt;
use havre_model::limits::{SEALED_SEGMENT_BYTES, SEGMENT_BYTES, TAG_BYTES};
use havre_model::{BucketId, TenantId, VersionId};

/// Segments of one part, at most: 2^44 AES blocks, well inside AES-GCM's bound. No part comes near
/// ([`havre_model::limits::PART_BYTES_MAX`] is 81,920 segments).
const SEGMENTS_MAX: u64 = 1 << 32;

/// Segments of a part of `plain_bytes`: at least one, because the final one says that the part
/// ends.
#[must_use]
pub const fn segments(plain_bytes: u64) -> u64 {
    let full = plain_bytes.div_ceil(SEGMENT_BYTES as u64);
    if full == 0 { 1 } else { full }
}

/// Sealed bytes of a part of `plain_bytes`, which is at most `OBJECT_BYTES_MAX`.
#[must_use]
pub const fn sealed_bytes(plain_bytes: u64) -> u64 {
    plain_bytes + segments(plain_bytes) * TAG_BYTES as u64
}

/// The place of a part: what its segments and its data key are bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PartContext<'a> {
    /// The tenant of the bucket.
    pub tenant: TenantId,
    /// The bucket of the object.
    pub bucket: BucketId,
    /// The object's key.
    pub key: &'a str,
    /// The version; for a part of a multipart upload, the upload's id.
    pub version: VersionId,
    /// The part's number; 0 for an object that is written in one PUT.
    pub part: u16,
}

impl PartContext<'_> {
    pub(crate) fn bind_fields(&self, builder: BindingBuilder) -> BindingBuilder {
        builder
            .tenant(self.tenant)
            .bucket(self.bucket)
            .version(self.version)
            .part(self.part)
            .text(self.key)
    }

    fn segments_binding(&self, suite: Suite) -> Binding {
        self.bind_fields(BindingBuilder::new(suite, Purpose::Segments)).finish()
    }
}

impl fmt::Debug for PartContext<'_> {
    /// Names stay out of logs (I3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartContext")
            .field("tenant", &self.tenant)
            .field("bucket", &self.bucket)
            .field("version", &self.version)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// Seals the segments of one part, in order. Made by [`crate::Keyring::seal_part`] with a fresh
/// key.
pub struct PartSealer {
    cipher: Cipher,
    binding: Binding,
    next: u64,
    finished: bool,
}

impl PartSealer {
    pub(crate) fn new(key: &Key<Part>, context: &PartContext<'_>) -> Self {
        let binding = context.segments_binding(Suite::V1);
        Self { cipher: key.derive(&binding).cipher(), binding, next: 0, finished: false }
    }

    /// Seals the next segment in place. `slot` is the plaintext followed by 16 bytes of room for
    /// the tag. Every segment but the last is full: [`SEALED_SEGMENT_BYTES`]; the last may have any
    /// length up to that and may be empty.
    ///
    /// # Panics
    /// After the last segment, or with a slot of another length: the caller's invariant is broken.
    pub fn seal_segment(&mut self, last: bool, slot: &mut [u8]) {
        assert!(!self.finished, "no segment follows the last one of a part");
        assert!(self.next < SEGMENTS_MAX, "a part is far below the limit of its segments");
        assert!(is_segment_length(slot.len(), last), "only the last segment may be short");
        self.cipher.seal(Position::new(self.next, last), &self.binding, slot);
        self.next += 1;
        self.finished = last;
    }

    /// Segments sealed so far.
    #[must_use]
    pub const fn segments(&self) -> u64 {
        self.next
    }
}

impl fmt::Debug for PartSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartSealer").field("segments", &self.next).finish_non_exhaustive()
    }
}

/// Opens the segments of one part, in any order and from any thread.
pub struct PartOpener {
    cipher: Cipher,
    binding: Binding,
}

impl PartOpener {
    pub(crate) fn new(key: &Key<Part>, suite: Suite, context: &PartContext<'_>) -> Self {
        let binding = context.segments_binding(suite);
        Self { cipher: key.derive(&binding).cipher(), binding }
    }

    /// Opens segment `index` in place and returns the length of the plaintext at the front of
    /// `slot`. The caller knows from the part's length which segment is the last: a reply that ends
    /// before the last segment was opened as such is not complete.
    ///
    /// # Errors
    /// [`OpenError::Rejected`] when the slot is not that segment; it then holds no plaintext.
    pub fn open_segment(
        &self,
        index: u64,
        last: bool,
        slot: &mut [u8],
    ) -> Result<usize, OpenError> {
        if index >= SEGMENTS_MAX || !is_segment_length(slot.len(), last) {
            return Err(OpenError::Rejected);
        }
        self.cipher.open(Position::new(index, last), &self.binding, slot)
    }
}

impl fmt::Debug for PartOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartOpener(<redacted>)")
    }
}

/// Whether a sealed segment may have this length.
fn is_segment_length(bytes: usize, last: bool) -> bool {
    if last {
        (TAG_BYTES..=SEALED_SEGMENT_BYTES).contains(&bytes)
    } else {
        bytes == SEALED_SEGMENT_BYTES
    }
}

#[cfg(test)]
mod tests;
