//! Moves a bucket from any provider that speaks S3, or OSS, into Havre.
//!
//! An import is a client of the gateway: it reads the source with signed requests and writes
//! through the front door, so that all that is true of a PUT is true of it: placement, the
//! guarantee, turns, what is counted and noted. It can run on any host, and a gateway that restarts
//! in its midst is a request that is tried again. As an order within the gateway it would survive
//! its client, and would bring a provider's credentials and a foreign server's answers into the
//! process that holds the keys.
//!
//! It has a client of its own, of a few hundred lines. The one in `sites` (opendal) turns keys into
//! paths, so that `a//b`, `./a` and `a/` become other objects, and its writes carry neither
//! digests nor all of the metadata; an SDK is a hundred crates.
//!
//! **Invariant.** The source is only read. What was copied is there with the source's bytes and
//! metadata; what was not is counted, with its reason. Run again, it goes on: killed at any moment,
//! it ends where it would have ended.
//!
//! **Deliberately absent.** Deleting, at either side. ACLs, tags, storage classes, older versions.
//! Going on in the middle of an object: the object is the unit.
//!
//! **Crash.** The destination and the journal are the state; see [`journal`].

mod bucket;
mod copy;
mod decide;
mod journal;
mod metadata;
mod pace;
mod run;
mod sign;
mod sums;
mod tally;
mod wire;
mod xml;

pub use bucket::{Place, Refusal, RequestError};
pub use copy::{CopyError, Rules};
pub use journal::JournalError;
pub use metadata::LeftBehind;
pub use run::{Import, ImportError, Mode, Side, WORKERS_MAX, run};
pub use sign::{Credential, Dialect};
pub use tally::{End, Failure, Progress, Report, Tally};

/// Memory for objects' bytes on their way, all workers together.
const BUDGET_BYTES: u64 = 768 << 20;
