//! Sealed records: one durable change, opaque and self-contained. Format:
//! `docs/formats/sealed-record.md`.
//!
//! **Invariant.** A sealed record opens only under a key of the scope that stands in its header,
//! whole and unchanged. What the record is (object, version, sequence number) is inside the
//! plaintext.
//!
//! **Deliberately absent.** The place in a pack: a record may be moved between packs without a key.
//! Keys: [`crate::Keyring`] finds them.
//!
//! **Crash.** A value only; it is durable with its pack.

use crate::OpenError;
use crate::binding::{Binding, BindingBuilder, Purpose, Suite};
use crate::envelope::{Envelope, WRAPPED_KEY_BYTES};
use crate::key::{Key, Record};
use bytes::Bytes;
use core::fmt;
use havre_model::limits::{RECORD_BYTES_MAX, TAG_BYTES};
use havre_model::{BucketId, TenantId};

const SCOPE_BYTES: usize = 1 + TenantId::LEN + BucketId::LEN;
const HEADER_BYTES: usize = Suite::LEN + SCOPE_BYTES + WRAPPED_KEY_BYTES;

/// Bytes that sealing adds to a record.
pub const SEALED_RECORD_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// Bytes of a sealed record, at most.
pub const SEALED_RECORD_BYTES_MAX: usize = RECORD_BYTES_MAX + SEALED_RECORD_OVERHEAD_BYTES;

/// Whose key a record is sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordScope {
    /// The root key's: tenants, and what concerns no tenant.
    System,
    /// A tenant's: its buckets.
    Tenant(TenantId),
    /// A bucket's: its objects, uploads and tombstones.
    Bucket(TenantId, BucketId),
}

impl RecordScope {
    /// The scope as the header has it: a kind, then both ids, zero where there is none.
    pub(crate) fn to_frame(self) -> [u8; SCOPE_BYTES] {
        let (kind, tenant, bucket) = match self {
            Self::System => (0, None, None),
            Self::Tenant(tenant) => (1, Some(tenant), None),
            Self::Bucket(tenant, bucket) => (2, Some(tenant), Some(bucket)),
        };
        let mut bytes = [0; SCOPE_BYTES];
        bytes[0] = kind;
        if let Some(tenant) = tenant {
            bytes[1..1 + TenantId::LEN].copy_from_slice(tenant.as_bytes());
        }
        if let Some(bucket) = bucket {
            bytes[1 + TenantId::LEN..].copy_from_slice(bucket.as_bytes());
        }
        bytes
    }

    /// The scope in a header; `None` when the bytes are no scope's only form.
    fn from_frame(bytes: &[u8; SCOPE_BYTES]) -> Option<Self> {
        let (tenant, bucket) = bytes[1..].split_at(TenantId::LEN);
        let (tenant, bucket) = (TenantId::from_slice(tenant)?, BucketId::from_slice(bucket)?);
        let scope = match bytes[0] {
            0 => Self::System,
            1 => Self::Tenant(tenant),
            2 => Self::Bucket(tenant, bucket),
            _ => return None,
        };
        (scope.to_frame() == *bytes).then_some(scope)
    }
}

impl fmt::Display for RecordScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Bucket(tenant, bucket) => write!(f, "bucket {bucket} of tenant {tenant}"),
        }
    }
}

/// A record that was opened.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedRecord {
    /// Whose key it was sealed under, now authenticated. That the record inside belongs to this
    /// scope is for the reader to compare.
    pub scope: RecordScope,
    /// The record, as it was before sealing; shares the memory of the sealed one.
    pub bytes: Bytes,
}

impl fmt::Debug for OpenedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedRecord({}, <{} bytes>)", self.scope, self.bytes.len())
    }
}

/// A header's fields. Parsing authenticates nothing.
pub(crate) struct Header {
    suite: Suite,
    pub(crate) scope: RecordScope,
    pub(crate) envelope: Envelope,
}

impl Header {
    /// The header of a sealed record, and that the record's length is possible.
    pub(crate) fn parse(sealed: &[u8]) -> Result<Self, OpenError> {
        let (header, _) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or(OpenError::Rejected)?;
        let (suite, rest) = header.split_first_chunk().ok_or(OpenError::Rejected)?;
        let suite = Suite::parse(*suite)?;
        let (scope, envelope) = rest.split_first_chunk().ok_or(OpenError::Rejected)?;
        let scope = RecordScope::from_frame(scope).ok_or(OpenError::Rejected)?;
        let envelope = Envelope::parse(envelope)?;
        let possible = SEALED_RECORD_OVERHEAD_BYTES..=SEALED_RECORD_BYTES_MAX;
        if !possible.contains(&sealed.len()) {
            return Err(OpenError::Rejected);
        }
        Ok(Self { suite, scope, envelope })
    }
}

fn payload_binding(suite: Suite, scope: RecordScope) -> Binding {
    BindingBuilder::new(suite, Purpose::Record).scope(scope).finish()
}

/// The sealed record: header, ciphertext, tag.
pub(crate) fn seal(
    scope: RecordScope,
    key: &Key<Record>,
    envelope: &Envelope,
    plaintext: &[u8],
) -> Vec<u8> {
    assert!(plaintext.len() <= RECORD_BYTES_MAX, "a record was encoded within its limit");
    let mut sealed = Vec::with_capacity(plaintext.len() + SEALED_RECORD_OVERHEAD_BYTES);
    sealed.extend_from_slice(&Suite::V1.as_bytes());
    sealed.extend_from_slice(&scope.to_frame());
    sealed.extend_from_slice(&envelope.encode());
    sealed.extend_from_slice(plaintext);
    sealed.extend_from_slice(&[0; TAG_BYTES]);
    let binding = payload_binding(Suite::V1, scope);
    key.derive(&binding).cipher().seal_only(&binding, &mut sealed[HEADER_BYTES..]);
    sealed
}

/// Opens the payload in place and returns where in `sealed` the plaintext is.
pub(crate) fn open(
    header: &Header,
    key: &Key<Record>,
    sealed: &mut [u8],
) -> Result<core::ops::Range<usize>, OpenError> {
    let binding = payload_binding(header.suite, header.scope);
    let payload = sealed.get_mut(HEADER_BYTES..).ok_or(OpenError::Rejected)?;
    let plain_bytes = key.derive(&binding).cipher().open_only(&binding, payload)?;
    Ok(HEADER_BYTES..HEADER_BYTES + plain_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sealed record whose wrapped key is all zeros: these tests hand the data key over.
    fn sealed(scope: RecordScope, key: &Key<Record>) -> Vec<u8> {
        let mut frame = [0; WRAPPED_KEY_BYTES];
        frame[..Suite::LEN].copy_from_slice(&Suite::V1.as_bytes());
        let envelope = Envelope::parse(&frame).expect("zeros are well formed");
        seal(scope, key, &envelope, b"plaintext")
    }

    fn scopes() -> [RecordScope; 5] {
        let [one, other] = [1, 2].map(|id| TenantId::from_bytes([id; 16]));
        let bucket = BucketId::from_bytes([1; 16]);
        [
            RecordScope::System,
            RecordScope::Tenant(one),
            RecordScope::Tenant(other),
            RecordScope::Bucket(one, bucket),
            RecordScope::Bucket(other, bucket),
        ]
    }

    // Attack A5, with the wrapped key out of the way.
    #[test]
    fn under_one_data_key_a_payload_still_opens_in_its_own_scope_only() {
        let key = Key::copied(&[5; 32]);
        for sealed_in in scopes() {
            for opened_in in scopes() {
                let mut sealed = sealed(sealed_in, &key);
                sealed[Suite::LEN..Suite::LEN + SCOPE_BYTES].copy_from_slice(&opened_in.to_frame());
                let header = Header::parse(&sealed).expect("well formed");
                let opened = open(&header, &key, &mut sealed);
                assert_eq!(opened.is_ok(), sealed_in == opened_in, "{sealed_in} {opened_in}");
            }
        }
    }

    // Attack A2, with the allow-list out of the way.
    #[test]
    fn under_one_data_key_another_version_or_algorithm_does_not_open() {
        let key = Key::copied(&[5; 32]);
        for byte in 0..=255 {
            for suite in [[byte, 1], [1, byte]] {
                let mut sealed = sealed(RecordScope::System, &key);
                let header = Header::parse(&sealed).expect("well formed");
                let header = Header { suite: Suite::unchecked(suite), ..header };
                let opened = open(&header, &key, &mut sealed);
                assert_eq!(opened.is_ok(), suite == [1, 1], "{suite:?}");
            }
        }
    }

    #[test]
    fn a_scope_reads_back_from_its_one_form() {
        for scope in scopes() {
            assert_eq!(RecordScope::from_frame(&scope.to_frame()), Some(scope));
        }
        assert_eq!(RecordScope::from_frame(&[3; SCOPE_BYTES]), None);
    }
}
