//! Why the engine could not do what it was asked: one enum per question, one variant per reaction.
//!
//! **Invariant.** No variant carries a key, a name or a plaintext; all of them may be logged (I3).
//!
//! **Deliberately absent.** HTTP status and S3 codes: one `match` in `server` maps them.
//!
//! **Crash.** Nothing is stored here.

use crate::body::BodyError;
use havre_catalog::CatalogError;

/// Why a question about stored data has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The catalog failed: try again later.
    #[error("the catalog is not available: {0}")]
    Catalog(#[from] CatalogError),
    /// The gateway stopped taking requests of this kind; the operator has to act.
    #[error("the gateway is not available: {0}")]
    Unavailable(String),
}

/// Why bytes of an object do not come (any further). The connection must fail (I4).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too few honest sites answered: try again later.
    #[error("fewer sites than needed answered with authentic shards ({found} of {needed})")]
    TooFewShards {
        /// Shards that were authentic.
        found: usize,
        /// Shards that are needed.
        needed: usize,
    },
    /// What was read is not the object: wrong key or altered data, which look the same on purpose.
    #[error("the object's bytes were rejected")]
    Rejected,
    /// The object was deleted while it was read and its bytes are gone.
    #[error("the object is gone")]
    Gone,
    /// The catalog failed.
    #[error("the catalog is not available: {0}")]
    Catalog(#[from] CatalogError),
}

/// Why a write did not happen, or may not have happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The condition does not hold: 412.
    #[error("the condition does not hold")]
    PreconditionFailed,
    /// Another conditional write of the key is under way and did not end in time: 409.
    #[error("a conflicting conditional operation is in progress for this key")]
    Conflict,
    /// `If-Match` on an object that is not there: 404.
    #[error("there is no such object")]
    NoSuchKey,
    /// There is no such upload, or it ended.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// The bucket was deleted meanwhile.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// Larger than allowed.
    #[error("the object is larger than allowed")]
    TooLarge,
    /// The body could not be taken.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The guarantee cannot be met now: 503. The write may turn out to have happened only if it was
    /// sent to the sites when the process died.
    #[error("the write cannot be made durable within its guarantee now: {0}")]
    Unavailable(String),
    /// Too much is waiting already: 503 Slow Down.
    #[error("too many writes are waiting")]
    SlowDown,
    /// The catalog failed.
    #[error("the catalog is not available: {0}")]
    Catalog(#[from] CatalogError),
    /// A broken expectation inside the gateway; the log has more.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<EngineError> for PutError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Catalog(error) => Self::Catalog(error),
            EngineError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// Why a bucket could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// The name is taken.
    #[error("the bucket exists")]
    Exists {
        /// By the same tenant.
        owned_by_you: bool,
    },
    /// No placement policy has this name.
    #[error("there is no placement policy of this name")]
    UnknownPolicy,
    /// The tenant has as many buckets as it may have.
    #[error("the tenant has as many buckets as it may have")]
    TooMany,
    /// Objects are left in it.
    #[error("the bucket is not empty")]
    NotEmpty,
    /// It is gone already.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// The record could not be made durable.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl From<EngineError> for BucketError {
    fn from(error: EngineError) -> Self {
        Self::Put(error.into())
    }
}

impl From<CatalogError> for BucketError {
    fn from(error: CatalogError) -> Self {
        Self::Put(error.into())
    }
}

/// Why an upload could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompleteError {
    /// A part is not there, or its ETag or checksum is another.
    #[error("part {0} could not be found, or its entity tag does not match")]
    InvalidPart(u16),
    /// The list is not in ascending order.
    #[error("the list of parts is not in ascending order")]
    InvalidPartOrder,
    /// A part that is not the last is below the minimum.
    #[error("part {number} of {bytes} bytes is smaller than the minimum")]
    EntityTooSmall {
        /// The part.
        number: u16,
        /// Its size.
        bytes: u64,
        /// Its ETag.
        etag: String,
    },
    /// The list is empty.
    #[error("the list of parts is empty")]
    NoParts,
    /// The checksum or size given for the whole object is another.
    #[error("the checksum or size of the object does not match")]
    Mismatch,
    /// The write itself failed.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl From<CatalogError> for CompleteError {
    fn from(error: CatalogError) -> Self {
        Self::Put(error.into())
    }
}
