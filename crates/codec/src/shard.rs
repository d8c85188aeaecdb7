//! The head of a shard file: which shard it is, and its share of the secret. Format:
//! `docs/formats/shard.md`.
//!
//! **Invariant.** [`combine`] returns a secret only if the headers' commitment is that of the
//! secret, so no choice of wrong shares yields a second one (attacks A9, A17); shares of two
//! generations never meet, because only headers with the same commitment are combined (I5).
//!
//! **Deliberately absent.** The blob's length: a shard is streamed before it is known, so the last
//! chunk carries it. Any name.
//!
//! **Crash.** A header is durable with its shard; a repair makes the identical one again.

use crate::keys::{BlobKeys, equal};
use crate::layout::CHUNK_BYTES_MAX;
use crate::sharing::{self, SHARE_BYTES, Share};
use aws_lc_rs::hmac;
use havre_model::limits::SITES_MAX;
use havre_model::record::BlobSecret;
use havre_model::{BlobId, Geometry, ShardIndex};
use zeroize::Zeroizing;

/// Bytes of a shard file's header.
pub const SHARD_HEADER_BYTES: usize = 128;
/// The version of the shard format; part of every key derivation and of the associated data.
pub const SHARD_VERSION: u8 = 1;
/// The one suite: AES-256-GCM, HKDF-SHA256, HMAC-SHA256, the Cauchy code and sharing over GF(2^8)
/// with 0x11d. Part of every key derivation and of the associated data.
pub const SUITE: u8 = 1;
/// Subsets of shares that are tried before the headers are given up. All of them for up to 18
/// headers; for 32 still enough to leave any 4 liars out.
pub const COMBINE_TRIES_MAX: u32 = 64 * 1024;

const MAGIC: &[u8; 4] = b"HVSH";
/// What the MAC is over: all that stands before it.
const BODY_BYTES: usize = SHARD_HEADER_BYTES - MAC_BYTES;
const MAC_BYTES: usize = 32;

/// Why bytes are no header of the shard that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptHeader {
    /// Too short, or a field out of its range: an erasure.
    #[error("the bytes are not the header of a shard")]
    Malformed,
    /// A version or suite that this release does not know: use a newer release.
    #[error("shard version {version}, suite {suite}: not known to this release; use a newer one")]
    UnknownVersion {
        /// The version byte.
        version: u8,
        /// The suite byte.
        suite: u8,
    },
    /// The header of another blob's shard: an erasure.
    #[error("the header is of another blob's shard")]
    OtherBlob,
}

/// Why headers do not give a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// Too few headers agree with each other, or too few of those tell the truth: ask more sites.
    #[error("fewer than k of the headers belong together and are true")]
    TooFew,
    /// Each of two secrets has `k` headers that agree: only the first lock can tell which is the
    /// blob.
    #[error("the headers are of more than one generation")]
    Ambiguous,
}

/// What a shard file says of itself. Nothing of it is authentic before [`verify_header`].
#[derive(Clone, PartialEq, Eq)]
pub struct ShardHeader {
    geometry: Geometry,
    chunk_bytes: usize,
    blob: BlobId,
    index: ShardIndex,
    share: Share,
    commitment: [u8; 32],
    mac: [u8; MAC_BYTES],
}

impl core::fmt::Debug for ShardHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ShardHeader")
            .field("blob", &self.blob)
            .field("geometry", &self.geometry)
            .field("chunk_bytes", &self.chunk_bytes)
            .field("index", &self.index.get())
            .finish_non_exhaustive()
    }
}

impl ShardHeader {
    /// The geometry of the blob.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of the blob's chunks before sealing.
    #[must_use]
    pub const fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The blob.
    #[must_use]
    pub const fn blob(&self) -> BlobId {
        self.blob
    }

    /// Which of the blob's shards this is.
    #[must_use]
    pub const fn index(&self) -> ShardIndex {
        self.index
    }

    /// The header of a shard, with its MAC.
    pub(crate) fn seal(keys: &BlobKeys, index: ShardIndex, share: Share) -> Self {
        let commitment = *keys.commitment();
        let (geometry, chunk_bytes, blob) = (keys.geometry(), keys.chunk_bytes(), keys.blob());
        let mac = [0; MAC_BYTES];
        let mut header = Self { geometry, chunk_bytes, blob, index, share, commitment, mac };
        let tag = hmac::sign(keys.header_key(), &header.body()[..]);
        header.mac.copy_from_slice(tag.as_ref());
        header
    }

    fn body(&self) -> Zeroizing<[u8; BODY_BYTES]> {
        let chunk_bytes = u32::try_from(self.chunk_bytes).expect("at most CHUNK_BYTES_MAX");
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        body[..4].copy_from_slice(MAGIC);
        body[4] = SHARD_VERSION;
        body[5] = SUITE;
        (body[6], body[7]) = self.geometry.into();
        body[8] = self.index.raw();
        body[12..16].copy_from_slice(&chunk_bytes.to_le_bytes());
        body[16..32].copy_from_slice(self.blob.as_bytes());
        body[32..64].copy_from_slice(&self.commitment);
        body[64..96].copy_from_slice(self.share.as_slice());
        body
    }

    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; SHARD_HEADER_BYTES]> {
        let mut bytes = Zeroizing::new([0; SHARD_HEADER_BYTES]);
        bytes[..BODY_BYTES].copy_from_slice(&self.body()[..]);
        bytes[BODY_BYTES..].copy_from_slice(&self.mac);
        bytes
    }

    /// Whether two headers may be combined.
    fn agrees_with(&self, other: &Self) -> bool {
        self.blob == other.blob
            && self.geometry == other.geometry
            && self.chunk_bytes == other.chunk_bytes
            && self.commitment == other.commitment
    }
}

/// The header that a shard file of `blob` begins with; what follows it in `bytes` is not looked at.
///
/// # Errors
/// When it is none, or none of this blob. See [`CorruptHeader`].
pub fn parse_header(bytes: &[u8], blob: BlobId) -> Result<ShardHeader, CorruptHeader> {
    use CorruptHeader::{Malformed, OtherBlob, UnknownVersion};
    let bytes = bytes.first_chunk::<SHARD_HEADER_BYTES>().ok_or(Malformed)?;
    let (version, suite) = (bytes[4], bytes[5]);
    if &bytes[..4] != MAGIC {
        return Err(Malformed);
    }
    if (version, suite) != (SHARD_VERSION, SUITE) {
        return Err(UnknownVersion { version, suite });
    }
    let geometry = Geometry::new(bytes[6], bytes[7]).map_err(|_| Malformed)?;
    let index = ShardIndex::new(bytes[8], geometry).ok_or(Malformed)?;
    let chunk_bytes = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    let chunk_bytes = usize::try_from(chunk_bytes).map_err(|_| Malformed)?;
    if bytes[9..12] != [0; 3] || !(1..=CHUNK_BYTES_MAX).contains(&chunk_bytes) {
        return Err(Malformed);
    }
    if &bytes[16..32] != blob.as_bytes() {
        return Err(OtherBlob);
    }
    let mut share = Zeroizing::new([0; SHARE_BYTES]);
    share.copy_from_slice(&bytes[64..96]);
    let (mut commitment, mut mac) = ([0; 32], [0; MAC_BYTES]);
    commitment.copy_from_slice(&bytes[32..64]);
    mac.copy_from_slice(&bytes[BODY_BYTES..]);
    Ok(ShardHeader { geometry, chunk_bytes, blob, index, share, commitment, mac })
}

/// Whether a header is the one that [`BlobKeys::headers`] made: a liar's is not. In constant time.
#[must_use]
pub fn verify_header(keys: &BlobKeys, header: &ShardHeader) -> bool {
    keys.blob() == header.blob
        && keys.geometry() == header.geometry
        && keys.chunk_bytes() == header.chunk_bytes
        && equal(keys.commitment(), &header.commitment)
        && hmac::verify(keys.header_key(), &header.body()[..], &header.mac).is_ok()
}

/// The secret that any `k` honest headers among these share, however many others lie.
///
/// # Errors
/// See [`CombineError`].
pub fn combine(headers: &[ShardHeader]) -> Result<BlobSecret, CombineError> {
    let mut found = generations(headers).into_iter();
    match (found.next(), found.next()) {
        (Some(generation), None) => Ok(generation.secret),
        (Some(_), Some(_)) => Err(CombineError::Ambiguous),
        (None, _) => Err(CombineError::TooFew),
    }
}

/// Headers that were written together, and what they share.
pub(crate) struct Generation {
    /// The secret.
    pub(crate) secret: BlobSecret,
    /// The keys that follow from it.
    pub(crate) keys: BlobKeys,
    /// Which of the headers are authentic under those keys.
    pub(crate) members: Vec<usize>,
}

/// Every generation among the headers that has `k` of them.
pub(crate) fn generations(headers: &[ShardHeader]) -> Vec<Generation> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, header) in headers.iter().enumerate() {
        match groups.iter_mut().find(|group| headers[group[0]].agrees_with(header)) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    let mut found: Vec<Generation> =
        groups.iter().filter_map(|group| combine_group(headers, group)).collect();
    // Stable: among equals the one that was seen first.
    found.sort_by_key(|generation| core::cmp::Reverse(generation.members.len()));
    found
}

/// Tries the k-subsets of a group in colexicographic order, which leaves any few liars out soon:
/// with `e` of them the right subset is among the first (k + e) choose e.
fn combine_group(headers: &[ShardHeader], group: &[usize]) -> Option<Generation> {
    let first = &headers[group[0]];
    let needed = first.geometry.data();
    let group = &group[..group.len().min(SITES_MAX)];
    if group.len() < needed {
        return None;
    }
    let mut shares: Vec<(ShardIndex, &Share)> = Vec::with_capacity(needed);
    for subset in subsets(group.len(), needed).take(COMBINE_TRIES_MAX as usize) {
        shares.clear();
        let chosen = group.iter().enumerate().filter(|(at, _)| subset & 1 << at != 0);
        shares.extend(chosen.map(|(_, at)| (headers[*at].index, &headers[*at].share)));
        let indices = shares.iter().fold(0_u32, |set, (index, _)| set | 1 << index.get());
        if indices.count_ones() as usize != needed {
            continue;
        }
        let secret = BlobSecret::from_bytes(*sharing::combine(&shares));
        let keys = BlobKeys::new(&secret, first.blob, first.geometry, first.chunk_bytes);
        if !equal(keys.commitment(), &first.commitment) {
            continue;
        }
        let honest = |at: &usize| verify_header(&keys, &headers[*at]);
        let members = group.iter().copied().filter(honest).collect();
        return Some(Generation { secret, keys, members });
    }
    None
}

/// The sets of `size` out of `total` (at most 64) as bits, in ascending order of their value.
fn subsets(total: usize, size: usize) -> impl Iterator<Item = u64> {
    let limit = 1_u128 << total;
    let first = (1_u128 << size) - 1;
    core::iter::successors(Some(first), |set| {
        // Gosper: move the lowest run of ones up by one, its other ones to the bottom.
        let lowest = set & set.wrapping_neg();
        let ripple = set + lowest;
        Some(ripple | (ripple ^ set) >> (2 + set.trailing_zeros()))
    })
    .take_while(move |set| *set < limit)
    .map(|set| u64::try_from(set).expect("below 2^64"))
}
