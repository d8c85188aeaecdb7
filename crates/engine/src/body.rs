//! What a client uploads, as the engine takes it.
//!
//! **Invariant.** Nothing is committed before [`Body::verified`] returned `Ok`: a body that ends
//! early, is longer than declared or does not match its digests leaves no version behind (I4).
//!
//! **Deliberately absent.** How bytes travel and which digests there are: the server's business.
//!
//! **Crash.** A body that was not committed is gone; its extents are orphans that `keeper::gc`
//! takes.

use async_trait::async_trait;
use bytes::Bytes;
use havre_model::record::Checksum;

/// Why a body cannot be taken. The client is told; nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body does not have the MD5 that the client declared.
    #[error("the Content-MD5 you specified did not match what we received")]
    BadDigest,
    /// The body does not have the checksum that the client declared.
    #[error("the checksum you specified did not match what we received")]
    BadChecksum,
    /// The body does not have the SHA-256 that the client signed.
    #[error("the provided x-amz-content-sha256 does not match what was computed")]
    BadSha256,
    /// The body ended before its declared length, or its trailer is missing.
    #[error("the body ended before the declared length")]
    Incomplete,
    /// The body is longer than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The client stopped sending, or its connection broke.
    #[error("the client's body could not be read: {0}")]
    Client(String),
    /// A source object of a copy could not be read; not the client's fault.
    #[error("the source could not be read")]
    Source,
}

/// What was verified about a body, to be stored with the version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BodyFacts {
    /// The MD5, where the client declared one: it becomes the ETag.
    pub md5: Option<[u8; 16]>,
    /// The checksum to store and return.
    pub checksum: Option<Checksum>,
}

/// A stream of plaintext with an end that is checked.
#[async_trait]
pub trait Body: Send {
    /// The next bytes; `None` at the end.
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>>;

    /// Called once, after the end.
    ///
    /// # Errors
    /// When length, digests or trailers do not match.
    fn verified(&mut self) -> Result<BodyFacts, BodyError>;
}

/// A body that is in memory already: the server's small documents, and tests.
pub struct WholeBody {
    bytes: Option<Bytes>,
    facts: BodyFacts,
}

impl WholeBody {
    /// A body of these bytes, of which nothing is known.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: Some(bytes.into()), facts: BodyFacts::default() }
    }

    /// The same with verified facts.
    #[must_use]
    pub fn with_facts(bytes: impl Into<Bytes>, facts: BodyFacts) -> Self {
        Self { bytes: Some(bytes.into()), facts }
    }
}

#[async_trait]
impl Body for WholeBody {
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok)
    }

    fn verified(&mut self) -> Result<BodyFacts, BodyError> {
        Ok(self.facts.clone())
    }
}
