//! The second lock: what stands between a blob's bytes and the shards that the sites hold.
//!
//! A blob is cut into stripes of `k` data chunks, each stripe gets `m` parity chunks ([`erasure`]),
//! and every chunk is sealed under a key that follows from the blob's secret `S` and the shard's
//! number ([`keys`]). `S` itself is shared k-of-n into the shard headers ([`shard`]), so fewer than
//! `k` sites learn nothing, and each chunk is authentic and in its place by itself: a lying site is
//! an erasure, found at the first read. [`gather()`] puts a small blob together again from nothing
//! but shard files. [`pack`] is the frame inside a pack blob.
//!
//! **Invariant.** What [`BlobKeys::open_chunk`] returns was sealed for this blob, geometry, chunk
//! length, shard and stripe (I4); nothing of two generations is ever decoded together (I5).
//!
//! **Deliberately absent.** Customer keys, segments, records' contents (a blob is bytes here), I/O,
//! clocks and randomness: whoever disperses draws `S` and the blob's id.
//!
//! **Crash.** Nothing outlives a process but the two frames, `docs/formats/shard.md` and `pack.md`.

pub mod erasure;
mod field;
pub mod gather;
pub mod keys;
pub mod layout;
pub mod pack;
pub mod shard;
mod sharing;

pub use erasure::ErasureCode;
pub use gather::{GatherError, Gathered, disperse, gather, gather_each};
pub use keys::{BlobKeys, CorruptChunk, OpenedChunk};
pub use layout::{ChunkPlace, Layout};
pub use shard::SHARD_HEADER_BYTES;
