//! The pack frame: what a pack blob's bytes are, inside the second lock. Format:
//! `docs/formats/pack.md`.
//!
//! **Invariant.** [`parse`] accepts exactly what [`PackBuilder::finish`] makes, byte for byte; a
//! pack names its predecessor by blob and hash, so no pack can be left out, replaced or moved
//! unseen (A6, A8).
//!
//! **Deliberately absent.** What a record says and whose it is: records come sealed one by one, so
//! that the keeper can move them without a customer key. Following the chain: the reader compares
//! [`PackHeader::previous`] with what it has.
//!
//! **Crash.** A pack is durable with its shards or does not exist; one that is written again under
//! the same number gets a new blob.

use aws_lc_rs::digest;
use havre_model::limits::{PACK_BYTES_MAX, PACK_RECORDS_MAX, RECORD_BYTES_MAX};
use havre_model::{BlobId, ChainId, Seq, Timestamp};

/// The version of the frame that [`PackBuilder`] writes.
pub const PACK_VERSION: u8 = 1;
/// Bytes of a pack before its first record.
pub const PACK_HEADER_BYTES: usize = 104;
/// Bytes that each record takes beside itself.
pub const SLOT_HEADER_BYTES: usize = 4;
/// Largest sealed record: the largest record and what sealing adds.
pub const SEALED_RECORD_BYTES_MAX: usize = RECORD_BYTES_MAX + 64 * 1024;
/// Largest pack: [`PACK_BYTES_MAX`] counts the records with their slots' headers.
pub const PACK_FRAME_BYTES_MAX: usize = PACK_HEADER_BYTES + PACK_BYTES_MAX;

const _: () = assert!(SEALED_RECORD_BYTES_MAX + SLOT_HEADER_BYTES <= PACK_BYTES_MAX);
const _: () = assert!(PACK_FRAME_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(PACK_RECORDS_MAX <= u32::MAX as usize);

const MAGIC: &[u8; 4] = b"HVPK";

/// Why bytes are no pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorruptPack {
    /// Not a frame of this version.
    #[error("the bytes are not a pack")]
    Malformed,
    /// A version that this release does not know: use a newer release.
    #[error("pack version {0} is not known to this release; use a newer one")]
    UnknownVersion(u8),
}

/// How a pack is known to its successor: by its blob and by the hash of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackLink {
    /// The pack's blob.
    pub blob: BlobId,
    /// [`hash`] of the pack's frame.
    pub hash: [u8; 32],
}

impl PackLink {
    /// What the first pack of a chain has for a predecessor.
    pub const NONE: Self = Self { blob: BlobId::from_bytes([0; 16]), hash: [0; 32] };
}

/// What a pack says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackHeader {
    /// The version of the frame.
    pub version: u8,
    /// The chain of packs that it belongs to.
    pub chain: ChainId,
    /// Its place in the chain, from 1.
    pub number: u64,
    /// The last acknowledged pack before it; [`PackLink::NONE`] when there is none.
    pub previous: PackLink,
    /// When it was closed, by the clock of the gateway that wrote it.
    pub written: Timestamp,
    /// Its place in the order of all packs of the gateway, of whatever chain: of two copies of a
    /// record the one in the pack with the higher order counts.
    pub order: Seq,
    /// Its records.
    pub records: u32,
}

/// Where a sealed record stands in the frame, its slot's header not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// From the frame's begin.
    pub offset: u64,
    /// Bytes of the sealed record.
    pub len: u32,
}

/// A pack that was parsed: its header and where its records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// The header.
    pub header: PackHeader,
    /// The records' places, in order.
    pub slots: Vec<Slot>,
}

impl Pack {
    /// The sealed records, in order, in the bytes that this pack was parsed from.
    pub fn records<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.slots.iter().map(|slot| {
            let start = usize::try_from(slot.offset).expect("a pack fits memory");
            &bytes[start..start + slot.len as usize]
        })
    }
}

/// Makes the frame of one pack.
#[derive(Debug)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    records: u32,
}

impl PackBuilder {
    /// A pack without records. An empty pack is a valid one.
    ///
    /// # Panics
    /// When the number is 0, or it is 1 and there is a previous pack.
    #[must_use]
    pub fn new(
        chain: ChainId,
        number: u64,
        previous: PackLink,
        written: Timestamp,
        order: Seq,
    ) -> Self {
        assert!(number > 0, "packs are numbered from 1");
        // A higher number without a predecessor is the first pack that could be stored: the numbers
        // of those that could not are never used again.
        assert!(number > 1 || previous == PackLink::NONE, "nothing comes before the first pack");
        let mut bytes = Vec::with_capacity(PACK_HEADER_BYTES + 64 * 1024);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[PACK_VERSION, 0, 0, 0]);
        bytes.extend_from_slice(chain.as_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(previous.blob.as_bytes());
        bytes.extend_from_slice(&previous.hash);
        bytes.extend_from_slice(&written.millis().to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&order.value().to_le_bytes());
        debug_assert_eq!(bytes.len(), PACK_HEADER_BYTES);
        Self { bytes, records: 0 }
    }

    /// Records so far.
    #[must_use]
    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Bytes of the frame so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of the frame with one more sealed record of `len` bytes.
    #[must_use]
    pub fn size_with(&self, len: usize) -> usize {
        self.bytes.len() + SLOT_HEADER_BYTES + len
    }

    /// Whether one more sealed record of `len` bytes is within the limits.
    #[must_use]
    pub fn fits(&self, len: usize) -> bool {
        (1..=SEALED_RECORD_BYTES_MAX).contains(&len)
            && self.size_with(len) <= PACK_FRAME_BYTES_MAX
            && (self.records as usize) < PACK_RECORDS_MAX
    }

    /// Adds a sealed record and says where it stands.
    ///
    /// # Panics
    /// When it does not [fit](PackBuilder::fits).
    pub fn push(&mut self, sealed: &[u8]) -> Slot {
        assert!(self.fits(sealed.len()), "a pack that is full is closed first");
        let len = u32::try_from(sealed.len()).expect("at most SEALED_RECORD_BYTES_MAX");
        self.bytes.extend_from_slice(&len.to_le_bytes());
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(sealed);
        self.records += 1;
        Slot { offset, len }
    }

    /// The frame.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes[RECORDS_AT..RECORDS_AT + 4].copy_from_slice(&self.records.to_le_bytes());
        self.bytes
    }
}

const RECORDS_AT: usize = 88;

/// The pack in these bytes, which have to be exactly one frame.
///
/// # Errors
/// When they are not what [`PackBuilder::finish`] makes. See [`CorruptPack`].
pub fn parse(bytes: &[u8]) -> Result<Pack, CorruptPack> {
    use CorruptPack::Malformed;
    let mut rest = Fields(bytes);
    if rest.take::<4>()? != MAGIC {
        return Err(Malformed);
    }
    let [version] = *rest.take::<1>()?;
    if version != PACK_VERSION {
        return Err(CorruptPack::UnknownVersion(version));
    }
    let reserved = *rest.take::<3>()?;
    let chain = ChainId::from_bytes(*rest.take()?);
    let number = u64::from_le_bytes(*rest.take()?);
    let blob = BlobId::from_bytes(*rest.take()?);
    let previous = PackLink { blob, hash: *rest.take()? };
    let written = Timestamp::from_millis(u64::from_le_bytes(*rest.take()?));
    let records = u32::from_le_bytes(*rest.take()?);
    let reserved_too = *rest.take::<4>()?;
    let order = Seq::new(u64::from_le_bytes(*rest.take()?));
    let count = usize::try_from(records).map_err(|_| Malformed)?;
    if (reserved, reserved_too) != ([0; 3], [0; 4])
        || number == 0
        || (number == 1 && previous != PackLink::NONE)
        || count > PACK_RECORDS_MAX
        || bytes.len() > PACK_FRAME_BYTES_MAX
    {
        return Err(Malformed);
    }
    let mut slots = Vec::with_capacity(count);
    for _ in 0..count {
        let len = u32::from_le_bytes(*rest.take()?);
        let offset = (bytes.len() - rest.0.len()) as u64;
        let sealed_len = usize::try_from(len).map_err(|_| Malformed)?;
        if !(1..=SEALED_RECORD_BYTES_MAX).contains(&sealed_len) {
            return Err(Malformed);
        }
        rest.skip(sealed_len)?;
        slots.push(Slot { offset, len });
    }
    if !rest.0.is_empty() {
        return Err(Malformed);
    }
    let header = PackHeader { version, chain, number, previous, written, order, records };
    Ok(Pack { header, slots })
}

/// SHA-256 over a pack's whole frame: what the next pack of the chain names it by.
#[must_use]
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Bytes that are not parsed yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], CorruptPack> {
        let (field, rest) = self.0.split_first_chunk().ok_or(CorruptPack::Malformed)?;
        self.0 = rest;
        Ok(field)
    }

    fn skip(&mut self, length: usize) -> Result<(), CorruptPack> {
        self.0 = self.0.get(length..).ok_or(CorruptPack::Malformed)?;
        Ok(())
    }
}
