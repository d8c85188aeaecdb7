//! The keeper in a process of its own: what it asks of the gateway that runs, over a second Unix
//! socket beside the catalog (`keeper.sock`), for the gateway's user and root only.
//!
//! The keeper process has the sites' credentials and nothing else. Which blobs there are, who holds
//! one and what was ordered, it asks: [`Session`] is the index and the oversight that the keeper's
//! workers see, and [`serve()`] answers it out of the gateway's catalog and engine. A frame is its
//! length in four bytes and then its content, least byte first; a question is a number and a `Call`
//! in postcard, an answer the same number and a result. Answers come in whatever order.
//!
//! **A further call** is a variant at the end of `Call` (and a higher [`FORMAT`]), an arm in
//! `serve` and a method in `client`. What needs a customer key is done by the arm: the keys stay in
//! the gateway.
//!
//! **No shard to a closed site (I29).** Every second the keeper looks what the gateway says and
//! tells which sites it has closed. Its sites take shards for [`LEASE`] from when it asked, and no
//! longer (`Guarded::take_shards_until`). [`Post::knows`] lets the order that closes a site be
//! answered once the keeper has said that it closed it, or is gone, or has not looked for a lease:
//! then it was told nothing older that still lets it store. A gateway that has just started waits a
//! lease for keepers of the one before.
//!
//! **Invariant.** One keeper at a time: the connection is the post, and it is free again only when
//! its far end is closed and every call of it has ended; a keeper closes it after its workers have
//! ended. A worker's pass lies within one connection, and so within one gateway process: what a
//! fence said of one is never used with another (I6). Frames, pages, calls and waits are bounded
//! (I8). Both have one configuration, byte for byte: positions and policies are the same.
//!
//! **Deliberately absent.** A credential: who may read the catalog's directory has the catalog. The
//! network: a lease rests on one clock. What the workers do (`keeper`).
//!
//! **Crash.** Who is left notices at once: the system closes a dead process's end. What was asked
//! is carried out or not; the catalog's notes are made for that.

mod client;
mod frame;
mod post;
mod proof;
mod serve;
mod wire;

pub use client::{BeginError, Line, Session};
pub use post::{KeeperStatus, Post};
pub use serve::{Clerk, serve};

use havre_model::{BlobId, SiteId, SiteSet};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::{WireLeftover, WireMove};

/// The form of what is said; another release's keeper is turned away.
pub const FORMAT: u32 = 1;
/// Bytes of a frame.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Calls of a keeper that are carried out at a time.
pub const CALLS_MAX: usize = 64;
/// Rows in an answer; who asks for more gets so many.
const PAGE_MAX: usize = 1024;
/// A keeper says who it is, and is answered, within this.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// An answer has to be there within this: a fence writes to the sites.
const CALL_DEADLINE: Duration = Duration::from_secs(120);
/// A frame has to be taken within this.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// For how long a look lets the keeper store shards.
pub const LEASE: Duration = Duration::from_secs(15);

/// What a keeper asks.
#[derive(Debug, Serialize, Deserialize)]
enum Call {
    /// The first, and only then; its form never changes. Answered with a [`Standing`].
    Hello {
        format: u32,
        config: String,
    },
    /// The keeper has closed these sites; answered with a [`Standing`].
    Look {
        applied: u64,
    },
    Fence,
    EndRebalance,
    Markers,
    Holds {
        blob: BlobId,
    },
    OwnChains,
    BlobCount,
    Blob {
        blob: BlobId,
    },
    Blobs {
        after: Option<BlobId>,
        limit: usize,
    },
    BelowGuarantee {
        after: Option<BlobId>,
        limit: usize,
    },
    Garbage {
        after: Option<BlobId>,
        limit: usize,
    },
    ForgetBlob {
        blob: BlobId,
    },
    NoteShards {
        blob: BlobId,
        sites: Vec<SiteId>,
        stored: u32,
        lost: u32,
    },
    IntendShards {
        blob: BlobId,
        sites: Vec<SiteId>,
    },
    MoveShards {
        blob: BlobId,
        moves: Vec<WireMove>,
    },
    LeftoversOf {
        blob: BlobId,
    },
    Leftovers {
        after: Option<BlobId>,
        limit: usize,
    },
    ForgetLeftover {
        leftover: WireLeftover,
    },
    Job {
        name: String,
    },
    PutJob {
        name: String,
        state: Vec<u8>,
    },
}

/// What the gateway says now. Sites are bits by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    takes_writes: bool,
    moves_paused: bool,
    rebalances: bool,
    /// Those that take no shards.
    closed: u64,
    /// Those that a drill cuts off.
    cut_off: u64,
    /// Those that are not the storage that they were.
    other_storage: u64,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Refusal {
    /// The catalog is closed: the gateway ends.
    Closed,
    /// It failed; in words.
    Failed(String),
    /// This keeper may not work for this gateway; in words.
    TurnedAway(String),
}

/// The sites of these bits, of a fleet of so many.
fn sites_of(bits: u64, count: usize) -> SiteSet {
    (0..count).filter(|at| bits & 1 << at != 0).collect()
}
