//! Wrapped keys: a key sealed under the key above it. Format: `docs/formats/keys.md`.
//!
//! **Invariant.** An envelope opens under exactly one wrapping key and in exactly one place; both
//! are committed to in the bytes, and the commitment is compared before the wrapping key is used.
//!
//! **Deliberately absent.** Any way to learn from an envelope which key to use: the caller knows
//! the place, and the epoch in the envelope only chooses among the keys that are installed for it.
//!
//! **Crash.** Each envelope is sealed under a key of its own, from a random salt: there is no nonce
//! to repeat after a restored snapshot, and no limit on how many keys one key wraps.

use crate::OpenError;
use crate::binding::{Binding, BindingBuilder, Purpose, Suite};
use crate::key::{Bucket, COMMITMENT_BYTES, KEY_BYTES, Key, Part, Record, Root, Tenant};
use crate::{PartContext, RecordScope};
use core::marker::PhantomData;
use havre_model::limits::TAG_BYTES;
use havre_model::ports::Entropy;
use havre_model::{BucketId, TenantId};
use zeroize::Zeroizing;

const SALT_BYTES: usize = 32;
const SEALED_KEY_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// Bytes of a wrapped key.
pub const WRAPPED_KEY_BYTES: usize =
    Suite::LEN + 4 + COMMITMENT_BYTES + SALT_BYTES + SEALED_KEY_BYTES;

/// Where a wrapped key belongs: it names the level of the key above and of the key inside, so that
/// wrapping a key under the wrong one does not compile.
pub(crate) trait Place {
    /// Level of the wrapping key.
    type Wrapper;
    /// Level of the wrapped key.
    type Content;

    /// The place's own fields, behind the suite.
    fn bind(&self, suite: Suite) -> BindingBuilder;
}

/// The place of a tenant's key.
pub(crate) struct TenantPlace(pub(crate) TenantId);

impl Place for TenantPlace {
    type Wrapper = Root;
    type Content = Tenant;

    fn bind(&self, suite: Suite) -> BindingBuilder {
        BindingBuilder::new(suite, Purpose::TenantKey).tenant(self.0)
    }
}

/// The place of one epoch of a bucket's key.
pub(crate) struct BucketPlace {
    pub(crate) tenant: TenantId,
    pub(crate) bucket: BucketId,
    pub(crate) epoch: u32,
}

impl Place for BucketPlace {
    type Wrapper = Tenant;
    type Content = Bucket;

    fn bind(&self, suite: Suite) -> BindingBuilder {
        BindingBuilder::new(suite, Purpose::BucketKey)
            .tenant(self.tenant)
            .bucket(self.bucket)
            .epoch(self.epoch)
    }
}

impl Place for PartContext<'_> {
    type Wrapper = Bucket;
    type Content = Part;

    fn bind(&self, suite: Suite) -> BindingBuilder {
        self.bind_fields(BindingBuilder::new(suite, Purpose::PartKey))
    }
}

/// The place of a record's data key, wrapped by a key of level `L`.
pub(crate) struct RecordPlace<L> {
    scope: RecordScope,
    wrapper: PhantomData<fn() -> L>,
}

impl<L> RecordPlace<L> {
    const fn new(scope: RecordScope) -> Self {
        Self { scope, wrapper: PhantomData }
    }
}

impl RecordPlace<Root> {
    pub(crate) const fn system() -> Self {
        Self::new(RecordScope::System)
    }
}

impl RecordPlace<Tenant> {
    pub(crate) const fn tenant(tenant: TenantId) -> Self {
        Self::new(RecordScope::Tenant(tenant))
    }
}

impl RecordPlace<Bucket> {
    pub(crate) const fn bucket(tenant: TenantId, bucket: BucketId) -> Self {
        Self::new(RecordScope::Bucket(tenant, bucket))
    }
}

impl<L> Place for RecordPlace<L> {
    type Wrapper = L;
    type Content = Record;

    fn bind(&self, suite: Suite) -> BindingBuilder {
        BindingBuilder::new(suite, Purpose::RecordKey).scope(self.scope)
    }
}

/// An envelope's fields. Parsing authenticates nothing: [`unwrap`] does.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) suite: Suite,
    /// Epoch of the wrapping key; 0 for keys without epochs.
    pub(crate) epoch: u32,
    commitment: [u8; COMMITMENT_BYTES],
    salt: [u8; SALT_BYTES],
    sealed_key: [u8; SEALED_KEY_BYTES],
}

impl Envelope {
    /// The fields of exactly [`WRAPPED_KEY_BYTES`] bytes of a known suite.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let (suite, rest) = take(bytes)?;
        let suite = Suite::parse(suite)?;
        let (epoch, rest) = take(rest)?;
        let (commitment, rest) = take(rest)?;
        let (salt, rest) = take(rest)?;
        let (sealed_key, rest) = take(rest)?;
        if !rest.is_empty() {
            return Err(OpenError::Rejected);
        }
        Ok(Self { suite, epoch: u32::from_be_bytes(epoch), commitment, salt, sealed_key })
    }

    /// The bytes that [`Envelope::parse`] reads.
    pub(crate) fn encode(&self) -> [u8; WRAPPED_KEY_BYTES] {
        let mut bytes = [0; WRAPPED_KEY_BYTES];
        let fields: [&[u8]; 5] = [
            &self.suite.as_bytes(),
            &self.epoch.to_be_bytes(),
            &self.commitment,
            &self.salt,
            &self.sealed_key,
        ];
        let mut at = 0;
        for field in fields {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        bytes
    }

    fn binding(&self, place: &impl Place) -> Binding {
        place.bind(self.suite).envelope(self.epoch, &self.salt).finish()
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), OpenError> {
    bytes.split_first_chunk().map(|(field, rest)| (*field, rest)).ok_or(OpenError::Rejected)
}

/// Wraps `content` under `wrapper`, whose epoch is `epoch`, for `place`.
pub(crate) fn wrap<P: Place>(
    wrapper: &Key<P::Wrapper>,
    epoch: u32,
    content: &Key<P::Content>,
    place: &P,
    entropy: &dyn Entropy,
) -> Envelope {
    let mut envelope = Envelope {
        suite: Suite::V1,
        epoch,
        commitment: [0; COMMITMENT_BYTES],
        salt: [0; SALT_BYTES],
        sealed_key: [0; SEALED_KEY_BYTES],
    };
    entropy.fill(&mut envelope.salt);
    let binding = envelope.binding(place);
    let (cipher, commitment) = wrapper.derive(&binding).commit();
    envelope.commitment = commitment;
    envelope.sealed_key[..KEY_BYTES].copy_from_slice(content.expose());
    cipher.seal_only(&binding, &mut envelope.sealed_key);
    envelope
}

/// The key in `envelope`, if it was wrapped under `wrapper` for `place`.
pub(crate) fn unwrap<P: Place>(
    wrapper: &Key<P::Wrapper>,
    envelope: &Envelope,
    place: &P,
) -> Result<Key<P::Content>, OpenError> {
    let binding = envelope.binding(place);
    let cipher = wrapper.derive(&binding).check(&envelope.commitment).ok_or(OpenError::Rejected)?;
    let mut slot = Zeroizing::new(envelope.sealed_key);
    cipher.open_only(&binding, slot.as_mut_slice())?;
    let key = slot.first_chunk().expect("a sealed key begins with a key");
    Ok(Key::copied(key))
}

#[cfg(test)]
mod tests;
