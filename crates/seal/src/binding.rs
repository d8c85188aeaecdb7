//! What a ciphertext is and where it belongs, as 32 bytes. Format: `docs/formats/keys.md`.
//!
//! **Invariant.** Two places, purposes, versions or algorithms never have the same binding, short
//! of a SHA-256 collision: the encoding that is hashed has fixed widths and a length before the one
//! text.
//!
//! **Deliberately absent.** Keys: a binding is public. It enters the derivation of the key *and*
//! the associated data, so that either alone refuses a ciphertext that was moved.
//!
//! **Crash.** Values only.

use crate::{OpenError, RecordScope};
use aws_lc_rs::digest::{Context, SHA256};
use havre_model::{BucketId, TenantId, VersionId};

/// Bytes of a binding.
pub(crate) const BINDING_BYTES: usize = 32;

/// Sets these hashes apart from every other use of SHA-256.
const DOMAIN: &[u8] = b"havre seal binding\0";

/// A format version with its algorithm, as the first two bytes of a frame name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite([u8; 2]);

impl Suite {
    /// Bytes of a suite in a frame.
    pub(crate) const LEN: usize = 2;
    /// Version 1 with algorithm 1: AES-256-GCM, HKDF-SHA256. The only one there has ever been.
    pub(crate) const V1: Self = Self([1, 1]);

    /// The allow-list. What is not on it is not opened, whatever it authenticates to (attack A2).
    pub(crate) fn parse(bytes: [u8; 2]) -> Result<Self, OpenError> {
        let suite = Self(bytes);
        if suite == Self::V1 {
            return Ok(suite);
        }
        Err(OpenError::UnknownVersion { version: bytes[0], algorithm: bytes[1] })
    }

    pub(crate) const fn as_bytes(self) -> [u8; 2] {
        self.0
    }

    /// A suite that is not on the allow-list, to show that the binding alone refuses it.
    #[cfg(test)]
    pub(crate) const fn unchecked(bytes: [u8; 2]) -> Self {
        Self(bytes)
    }
}

/// What a derived key is for. The numbers are part of the format.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Wraps a tenant's key.
    TenantKey = 1,
    /// Wraps one epoch of a bucket's key.
    BucketKey = 2,
    /// Wraps the data key of a part.
    PartKey = 3,
    /// Wraps the data key of a record.
    RecordKey = 4,
    /// Seals the segments of a part.
    Segments = 5,
    /// Seals the payload of a record.
    Record = 6,
}

/// What a ciphertext is and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding([u8; BINDING_BYTES]);

impl Binding {
    pub(crate) const fn as_bytes(&self) -> &[u8; BINDING_BYTES] {
        &self.0
    }
}

/// A binding in the making: fields in the order of the format.
pub(crate) struct BindingBuilder(Context);

impl BindingBuilder {
    /// Every binding starts with its suite, as it was read, and its purpose.
    pub(crate) fn new(suite: Suite, purpose: Purpose) -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(DOMAIN);
        hash.update(&suite.as_bytes());
        hash.update(&[purpose as u8]);
        Self(hash)
    }

    fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    pub(crate) fn tenant(self, tenant: TenantId) -> Self {
        self.field(tenant.as_bytes())
    }

    pub(crate) fn bucket(self, bucket: BucketId) -> Self {
        self.field(bucket.as_bytes())
    }

    pub(crate) fn version(self, version: VersionId) -> Self {
        self.field(version.as_bytes())
    }

    pub(crate) fn scope(self, scope: RecordScope) -> Self {
        self.field(&scope.to_frame())
    }

    pub(crate) fn epoch(self, epoch: u32) -> Self {
        self.field(&epoch.to_be_bytes())
    }

    pub(crate) fn part(self, part: u16) -> Self {
        self.field(&part.to_be_bytes())
    }

    /// The one field without a fixed width, behind its length.
    pub(crate) fn text(self, text: &str) -> Self {
        self.field(&(text.len() as u64).to_be_bytes()).field(text.as_bytes())
    }

    /// The salt and the epoch of the wrapping key: what sets one envelope apart from all others.
    pub(crate) fn envelope(self, epoch: u32, salt: &[u8; 32]) -> Self {
        self.epoch(epoch).field(salt)
    }

    pub(crate) fn finish(self) -> Binding {
        let mut bytes = [0; BINDING_BYTES];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Binding(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn start() -> BindingBuilder {
        BindingBuilder::new(Suite::V1, Purpose::PartKey)
    }

    #[test]
    fn no_text_runs_into_the_field_behind_it() {
        let one = start().text("a").text("bc").finish();
        let other = start().text("ab").text("c").finish();
        assert_ne!(one, other);
        assert_ne!(start().text("").finish(), start().finish());
    }

    // The fields of different purposes have different widths today; this does not rest on it.
    #[test]
    fn no_two_purposes_share_a_binding() {
        let purposes = [
            Purpose::TenantKey,
            Purpose::BucketKey,
            Purpose::PartKey,
            Purpose::RecordKey,
            Purpose::Segments,
            Purpose::Record,
        ];
        let bindings =
            purposes.map(|purpose| *BindingBuilder::new(Suite::V1, purpose).finish().as_bytes());
        assert_eq!(HashSet::from(bindings).len(), purposes.len());
    }
}
