//! The data path: what a PUT, a GET, a listing, a delete and a recovery do between the S3 surface
//! and the sites.
//!
//! **Invariant.** Acknowledged means decodable after the loss of any coalition of the guarantee
//! (I1), and applied to the catalog; returned means authentic, of the right object, in order and
//! complete (I4).
//!
//! **Deliberately absent.** HTTP and S3's documents (`server`); repair, scrub and garbage
//! collection (`keeper`); cryptography (`seal`, `codec`); decisions about parties (`policy`).
//!
//! **Crash.** The truth is the packs on the sites. What the catalog misses after a crash is
//! replayed from them ([`replay`]); blobs that no record names are orphans, and `keeper::gc` takes
//! them.

mod blob;
mod body;
mod bucket;
mod cache;
mod carry;
mod checksum;
mod condition;
mod delete;
mod error;
mod exclude;
mod extent;
mod fanout;
mod gather;
mod inflight;
mod inspect;
mod journal;
mod list;
mod mend;
mod multipart;
mod object;
mod put;
mod read;
mod read_pack;
mod repeat;
pub mod replay;
mod reservations;
mod retired;
mod seqs;
mod shared;
mod start;
mod survey;
mod transfers;
mod vital;

pub use body::{Body, BodyError, BodyFacts, WholeBody};
pub use condition::{Condition, ETagMatch};
pub use error::{BucketError, CompleteError, EngineError, PutError, ReadError};
pub use exclude::ExcludeError;
pub use havre_catalog::{
    Counts, ListEntry, ListPage, ListQuery, ListedObject, UploadEntry, UploadsPage, UploadsQuery,
};
pub use inspect::{BlobInspection, ObjectInspection, ShardInspection, ShardState};
pub use object::{
    Bucket, CompleteRequest, CompletedPart, Object, ObjectInfo, PartInfo, PartSummary, PutRequest,
    UploadInfo, UploadRequest,
};
pub use shared::{Parts, Reach};
pub use start::{StartError, StartReport};

use journal::Journal;
use shared::Shared;
use std::sync::{Arc, OnceLock};

/// The data path of one gateway.
pub struct Engine {
    shared: Arc<Shared>,
    /// Empty until every acknowledged pack is known to be in the catalog: nothing may be written
    /// before.
    journals: OnceLock<Journals>,
}

/// The journals of a gateway that writes.
struct Journals {
    /// One a policy, in the order of the policies.
    by_policy: Vec<Journal>,
    /// Those of chains from before a recovery, whose end is settled and which take no more.
    closing: Vec<Journal>,
}

impl Engine {
    fn journals(&self) -> Result<&Journals, PutError> {
        self.journals.get().ok_or_else(|| {
            let reason = "too many sites are unreachable to know the last acknowledged writes";
            PutError::Unavailable(reason.to_owned())
        })
    }

    /// The journal of a placement policy.
    fn journal(&self, placement: usize) -> Result<&Journal, PutError> {
        Ok(&self.journals()?.by_policy[placement])
    }

    /// Makes sure that no pack which was not acknowledged can turn out to be the last of its chain:
    /// by one that follows the last acknowledged pack, wherever none has since the start or since
    /// one was given up. Garbage collection asks for it first, lest it deletes what a replay would
    /// find. False when it cannot be done now.
    pub async fn fence(&self) -> bool {
        let Some(journals) = self.journals.get() else { return false };
        for journal in journals.by_policy.iter().chain(&journals.closing) {
            if journal.in_doubt() && journal.fence().await.is_err() {
                return false;
            }
        }
        true
    }

    /// Whether writes are taken: false while too many sites are unreachable since the start, and
    /// once the engine is broken.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.journals.get().is_some() && !self.is_broken()
    }

    /// Whether a bug has ended what the engine cannot do without. It reads and never writes again:
    /// the process is to end, and another one to start.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.shared.vital.is_missed()
    }

    /// Waits until [`Engine::is_broken`].
    pub async fn broken(&self) {
        self.shared.vital.missed().await;
    }
}
