//! The second lock itself: one AES-256-GCM key for each shard of a blob. Format:
//! `docs/formats/shard.md`.
//!
//! **Invariant.** A (key, nonce) pair seals one plaintext only: keys follow from a secret that is
//! drawn for one blob (I5), nonces count the stripes and flag the last. Everything that says what a
//! chunk is stands in the key's derivation and in the associated data.
//!
//! **Deliberately absent.** Drawing the secret: whoever disperses does it, anew for each attempt,
//! and never resumes a half-written blob with other bytes (attack A10).
//!
//! **Crash.** Keys die with the process; the secret is in the catalog, the record and the headers.

use crate::erasure::ErasureCode;
use crate::layout::{CHUNK_BYTES_MAX, LAST_CHUNK_EXTRA_BYTES};
use crate::shard::{SHARD_VERSION, SUITE, ShardHeader};
use crate::sharing::{Polynomial, Share};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hkdf, hmac};
use bytes::Bytes;
use havre_model::limits::{SHARDS_PER_BLOB_MAX, TAG_BYTES};
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry, ShardIndex};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// Separates these keys from everything else that may ever be derived from 32 bytes.
const SALT: &[u8] = b"havre second lock 1";

/// Bytes that say which blob, cut how: version, suite, blob, k, m, chunk length (`u32`
/// little-endian).
pub(crate) const CONTEXT_BYTES: usize = 1 + 1 + BlobId::LEN + 1 + 1 + 4;
/// Associated data of a chunk: the context, shard index, stripe (`u64` big-endian), 1 for the last.
const CHUNK_CONTEXT_BYTES: usize = CONTEXT_BYTES + 1 + 8 + 1;

/// A sealed chunk is not what it should be: treat it as an erasure, quarantine it, repair. Nothing
/// more is told, whatever was wrong (attack A21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunk is not authentic")]
pub struct CorruptChunk;

/// What stands in a chunk that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedChunk {
    /// Bytes of the chunk, from the slot's begin.
    pub chunk_len: usize,
    /// For the last chunk of a shard: bytes of the blob in its stripe, which tell the blob's end.
    pub stripe_data_len: Option<u32>,
}

/// What a derived value is for; the label is part of the derivation.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// The commitment to `S` in every header.
    Commitment,
    /// The key of the headers' MACs.
    Header,
    /// The AEAD key of one shard's chunks.
    Chunk,
    /// A coefficient of the polynomial that shares `S`.
    Coefficient,
}

impl Purpose {
    /// Labels have one length, so no label with what follows it reads as another.
    const fn label(self) -> &'static [u8; 16] {
        match self {
            Self::Commitment => b"havre commitment",
            Self::Header => b"havre header mac",
            Self::Chunk => b"havre chunk key\0",
            Self::Coefficient => b"havre share term",
        }
    }
}

/// HKDF-SHA256 of a blob's secret.
pub(crate) struct Derivation {
    key: hkdf::Prk,
    context: [u8; CONTEXT_BYTES],
}

struct DerivedLen;

impl hkdf::KeyType for DerivedLen {
    fn len(&self) -> usize {
        32
    }
}

impl Derivation {
    pub(crate) fn new(
        secret: &BlobSecret,
        blob: BlobId,
        geometry: Geometry,
        chunk_bytes: usize,
    ) -> Self {
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.as_bytes());
        Self { key, context: context(blob, geometry, chunk_bytes) }
    }

    /// The 32 bytes for this purpose and number, wiped when dropped.
    pub(crate) fn expand(&self, purpose: Purpose, number: u8) -> Share {
        let mut out = Zeroizing::new([0; 32]);
        self.key
            .expand(&[purpose.label(), &self.context, &[number]], DerivedLen)
            .and_then(|derived| derived.fill(out.as_mut_slice()))
            .expect("32 bytes are within what HKDF-SHA256 gives");
        out
    }
}

fn context(blob: BlobId, geometry: Geometry, chunk_bytes: usize) -> [u8; CONTEXT_BYTES] {
    let chunk_bytes = u32::try_from(chunk_bytes).expect("a chunk has CHUNK_BYTES_MAX at most");
    let mut context = [0; CONTEXT_BYTES];
    context[0] = SHARD_VERSION;
    context[1] = SUITE;
    context[2..18].copy_from_slice(blob.as_bytes());
    (context[18], context[19]) = geometry.into();
    context[20..].copy_from_slice(&chunk_bytes.to_le_bytes());
    context
}

/// The keys of all shards of one blob. Sealing and opening take `&self` and may run in parallel.
///
/// Each key is derived when it is first used: a read of one chunk needs one of them, and a
/// derivation costs as much as sealing several KiB.
pub struct BlobKeys {
    blob: BlobId,
    geometry: Geometry,
    chunk_bytes: usize,
    derivation: Derivation,
    commitment: OnceLock<[u8; 32]>,
    header: OnceLock<hmac::Key>,
    chunks: Vec<OnceLock<LessSafeKey>>,
}

impl core::fmt::Debug for BlobKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BlobKeys({}, {}, <keys redacted>)", self.blob, self.geometry)
    }
}

impl BlobKeys {
    /// The keys that follow from a blob's secret.
    ///
    /// # Panics
    /// When `chunk_bytes` is not in `1..=`[`CHUNK_BYTES_MAX`].
    #[must_use]
    pub fn new(secret: &BlobSecret, blob: BlobId, geometry: Geometry, chunk_bytes: usize) -> Self {
        assert!((1..=CHUNK_BYTES_MAX).contains(&chunk_bytes), "a chunk of {chunk_bytes} bytes");
        Self {
            blob,
            geometry,
            chunk_bytes,
            derivation: Derivation::new(secret, blob, geometry, chunk_bytes),
            commitment: OnceLock::new(),
            header: OnceLock::new(),
            chunks: geometry.indices().map(|_| OnceLock::new()).collect(),
        }
    }

    /// The blob.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        self.blob
    }

    /// Its geometry.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of its chunks before sealing, those of the last stripe excepted.
    #[must_use]
    pub const fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The commitment to the secret. Public: it stands in every header.
    pub(crate) fn commitment(&self) -> &[u8; 32] {
        self.commitment.get_or_init(|| *self.derivation.expand(Purpose::Commitment, 0))
    }

    /// The key of the headers' MACs.
    pub(crate) fn header_key(&self) -> &hmac::Key {
        self.header.get_or_init(|| {
            let key = self.derivation.expand(Purpose::Header, 0);
            hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())
        })
    }

    /// The key of a shard's chunks; `None` when the geometry has no such shard.
    fn chunk_key(&self, index: ShardIndex) -> Option<&LessSafeKey> {
        let derive = || {
            let key = self.derivation.expand(Purpose::Chunk, index.raw());
            let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
            LessSafeKey::new(key.expect("the key has 32 bytes"))
        };
        self.chunks.get(index.get()).map(|key| key.get_or_init(derive))
    }

    /// The headers of all shards, by index: what each shard file begins with.
    ///
    /// # Panics
    /// When the keys do not follow from `secret`.
    #[must_use]
    pub fn headers(&self, secret: &BlobSecret) -> Vec<Bytes> {
        let polynomial = self.polynomial(secret);
        self.geometry.indices().map(|index| self.header(&polynomial, index)).collect()
    }

    /// The header of one shard, the same as in [`BlobKeys::headers`]: for a repair.
    ///
    /// # Panics
    /// When the keys do not follow from `secret`, or the index is of another geometry.
    #[must_use]
    pub fn header_for(&self, secret: &BlobSecret, index: ShardIndex) -> Bytes {
        assert!(index.get() < self.geometry.total(), "an index of another geometry");
        self.header(&self.polynomial(secret), index)
    }

    fn polynomial(&self, secret: &BlobSecret) -> Polynomial {
        let derivation = Derivation::new(secret, self.blob, self.geometry, self.chunk_bytes);
        let commitment = derivation.expand(Purpose::Commitment, 0);
        assert!(equal(self.commitment(), &commitment), "the keys follow from another secret");
        Polynomial::of(secret, &derivation, self.geometry)
    }

    fn header(&self, polynomial: &Polynomial, index: ShardIndex) -> Bytes {
        let header = ShardHeader::seal(self, index, polynomial.share(index));
        Bytes::copy_from_slice(header.to_bytes().as_slice())
    }

    /// Computes the parity of a stripe and seals its `n` chunks, all in place and without
    /// allocating once the keys were used.
    ///
    /// The first `k` slots begin with the stripe's data, padded with zeros to the chunk's length.
    /// Each slot has room for the tag and, in the last stripe, for 4 bytes before it, and nothing
    /// more: [`crate::Layout::sealed_chunk_len`]. `last` is [`crate::Layout::last`]: for the last
    /// stripe the bytes of the blob in it. On return each slot is the sealed chunk as it goes to
    /// its site.
    ///
    /// # Panics
    /// When the number or length of the slots, or the coder's geometry, does not fit.
    pub fn seal_stripe(
        &self,
        coder: &ErasureCode,
        stripe: u64,
        last: Option<u32>,
        slots: &mut [&mut [u8]],
    ) {
        assert_eq!(coder.geometry(), self.geometry, "the coder is of another geometry");
        assert_eq!(slots.len(), self.geometry.total(), "one slot for each shard");
        let chunk_len = self.chunk_len(last);
        let mut data: [&[u8]; SHARDS_PER_BLOB_MAX] = [&[]; SHARDS_PER_BLOB_MAX];
        let mut parity: [&mut [u8]; SHARDS_PER_BLOB_MAX] = Default::default();
        let (data_slots, parity_slots) = slots.split_at_mut(self.geometry.data());
        for (chunk, slot) in data.iter_mut().zip(data_slots.iter()) {
            *chunk = &slot[..chunk_len];
        }
        for (chunk, slot) in parity.iter_mut().zip(parity_slots.iter_mut()) {
            *chunk = &mut slot[..chunk_len];
        }
        coder.encode(&data[..self.geometry.data()], &mut parity[..self.geometry.parity()]);
        for (index, slot) in self.geometry.indices().zip(slots) {
            self.seal_chunk(index, stripe, last, slot);
        }
    }

    /// Seals one chunk in place: for a repair, which has its bytes from
    /// [`ErasureCode::reconstruct`]. The slot is as in [`BlobKeys::seal_stripe`]. The bytes must be
    /// the ones that were sealed at this place before, or none were: sealing others would use a
    /// nonce twice.
    ///
    /// # Panics
    /// When the slot's length does not fit.
    pub fn seal_chunk(&self, index: ShardIndex, stripe: u64, last: Option<u32>, slot: &mut [u8]) {
        let chunk_len = self.chunk_len(last);
        let plain_len = match last {
            None => chunk_len,
            Some(stripe_data_len) => {
                let end = chunk_len + LAST_CHUNK_EXTRA_BYTES;
                slot[chunk_len..end].copy_from_slice(&stripe_data_len.to_le_bytes());
                end
            }
        };
        assert_eq!(slot.len(), plain_len + TAG_BYTES, "the slot has room for the tag and no more");
        let (plain, room) = slot.split_at_mut(plain_len);
        let aad = Aad::from(self.chunk_context(index, stripe, last.is_some()));
        let tag = self
            .chunk_key(index)
            .expect("an index of this geometry")
            .seal_in_place_separate_tag(nonce(stripe, last.is_some()), aad, plain)
            .expect("a chunk is within what AES-GCM seals");
        room.copy_from_slice(tag.as_ref());
    }

    /// Opens a chunk in place, without allocating once the shard's key was used; `last` says that
    /// it is the last of its shard. The chunk's bytes then stand at the slot's begin. The slot is
    /// worthless after an error.
    ///
    /// # Errors
    /// [`CorruptChunk`] when the bytes were not sealed for this blob, geometry, shard, stripe and
    /// end.
    pub fn open_chunk(
        &self,
        index: ShardIndex,
        stripe: u64,
        last: bool,
        sealed: &mut [u8],
    ) -> Result<OpenedChunk, CorruptChunk> {
        let key = self.chunk_key(index).ok_or(CorruptChunk)?;
        let aad = Aad::from(self.chunk_context(index, stripe, last));
        let plain =
            key.open_in_place(nonce(stripe, last), aad, sealed).map_err(|_| CorruptChunk)?;
        if !last {
            let whole = plain.len() == self.chunk_bytes;
            let opened = OpenedChunk { chunk_len: plain.len(), stripe_data_len: None };
            return whole.then_some(opened).ok_or(CorruptChunk);
        }
        let (chunk, length) =
            plain.split_last_chunk::<LAST_CHUNK_EXTRA_BYTES>().ok_or(CorruptChunk)?;
        let stripe_data_len = u32::from_le_bytes(*length);
        let data_len = usize::try_from(stripe_data_len).map_err(|_| CorruptChunk)?;
        let fits = (1..=self.chunk_bytes).contains(&chunk.len())
            && data_len.div_ceil(self.geometry.data()) == chunk.len();
        let opened = OpenedChunk { chunk_len: chunk.len(), stripe_data_len: Some(stripe_data_len) };
        fits.then_some(opened).ok_or(CorruptChunk)
    }

    /// Bytes of the chunks of a stripe, before sealing.
    fn chunk_len(&self, last: Option<u32>) -> usize {
        let Some(stripe_data_len) = last else { return self.chunk_bytes };
        let chunk_len = (stripe_data_len as usize).div_ceil(self.geometry.data());
        assert!(
            (1..=self.chunk_bytes).contains(&chunk_len),
            "{stripe_data_len} bytes are no last stripe"
        );
        chunk_len
    }

    fn chunk_context(
        &self,
        index: ShardIndex,
        stripe: u64,
        last: bool,
    ) -> [u8; CHUNK_CONTEXT_BYTES] {
        let mut context = [0; CHUNK_CONTEXT_BYTES];
        context[..CONTEXT_BYTES].copy_from_slice(&self.derivation.context);
        context[CONTEXT_BYTES] = index.raw();
        context[CONTEXT_BYTES + 1..][..8].copy_from_slice(&stripe.to_be_bytes());
        context[CONTEXT_BYTES + 9] = u8::from(last);
        context
    }
}

/// Equality in constant time.
pub(crate) fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// The stripe and whether it is the last: never the same twice under one shard's key.
fn nonce(stripe: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&stripe.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}
