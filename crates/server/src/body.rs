//! The bodies of uploads and copies, as the engine takes them.
//!
//! **Invariant.** The engine is told `Ok` by `verified` only when length, signature, digests and
//! trailers all held; the error that the client gets is the precise one ([`Upload::error`]).
//!
//! **Deliberately absent.** Buffers and copies: every `Bytes` goes on as it came.
//!
//! **Crash.** Nothing of a body is kept here.

use crate::checksum::{Hasher, Verifier};
use crate::error::{of_body, sha256_mismatch};
use crate::framing::FramingError;
use crate::incoming::IncomingError;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use havre_engine::{Body, BodyError, BodyFacts, ReadError};
use havre_model::record::{Checksum, ChecksumAlgorithm, ChecksumKind};
use s3s::dto::StreamingBlob;
use s3s::stream::aws_chunked_stream::AwsChunkedStreamError;
use s3s::stream::upload_stream::UploadStreamError;
use s3s::{BodySizeLimitExceeded, S3Error, s3_error};
use std::error::Error as StdError;

/// What a failed body means to the engine, and to the client.
pub(crate) fn failure(error: &(dyn StdError + 'static)) -> (BodyError, S3Error) {
    if let Some(error) = error.downcast_ref::<AwsChunkedStreamError>() {
        return match error {
            AwsChunkedStreamError::Underlying(source) => failure(&**source),
            AwsChunkedStreamError::SignatureMismatch => {
                (BodyError::BadSha256, s3_error!(SignatureDoesNotMatch))
            }
            AwsChunkedStreamError::ChunkDataTooLarge(..) => (
                BodyError::TooLarge,
                s3_error!(InvalidRequest, "A signed chunk of the body is too large."),
            ),
            _ => (BodyError::Incomplete, s3_error!(IncompleteBody)),
        };
    }
    if let Some(error) = error.downcast_ref::<UploadStreamError>() {
        return match error {
            UploadStreamError::Underlying(source) => failure(&**source),
            UploadStreamError::Sha256Mismatch => (BodyError::BadSha256, sha256_mismatch()),
            _ => (BodyError::Incomplete, s3_error!(IncompleteBody)),
        };
    }
    if let Some(error) = error.downcast_ref::<IncomingError>() {
        return match error {
            IncomingError::Idle => {
                (BodyError::Client("it stopped sending".to_owned()), s3_error!(RequestTimeout))
            }
            IncomingError::Framing(FramingError::Incomplete | FramingError::Malformed) => {
                (BodyError::Incomplete, s3_error!(IncompleteBody))
            }
            IncomingError::Connection(_) => {
                (BodyError::Client("its connection broke".to_owned()), s3_error!(IncompleteBody))
            }
        };
    }
    if error.is::<BodySizeLimitExceeded>() {
        return (BodyError::TooLarge, s3_error!(EntityTooLarge));
    }
    match error.source() {
        Some(source) => failure(source),
        None => (BodyError::Client("it could not be read".to_owned()), s3_error!(IncompleteBody)),
    }
}

/// An upload from a client.
pub(crate) struct Upload {
    stream: Option<StreamingBlob>,
    verifier: Option<Verifier>,
    length: Option<u64>,
    taken: u64,
    failed: Option<S3Error>,
}

impl Upload {
    /// The upload of `length` bytes, if the client declared any.
    pub(crate) const fn new(
        stream: Option<StreamingBlob>,
        verifier: Verifier,
        length: Option<u64>,
    ) -> Self {
        Self { stream, verifier: Some(verifier), length, taken: 0, failed: None }
    }

    /// The error that the client is to get for `error`, which the engine returned for this body.
    pub(crate) fn error(&mut self, error: &BodyError) -> S3Error {
        self.failed.take().unwrap_or_else(|| of_body(error))
    }

    fn fail(&mut self, failure: (BodyError, S3Error)) -> BodyError {
        self.stream = None;
        self.verifier = None;
        self.failed = Some(failure.1);
        failure.0
    }

    fn incomplete(&mut self) -> BodyError {
        self.fail((BodyError::Incomplete, s3_error!(IncompleteBody)))
    }
}

#[async_trait]
impl Body for Upload {
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        let bytes = match self.stream.as_mut()?.next().await? {
            Ok(bytes) => bytes,
            Err(error) => return Some(Err(self.fail(failure(&*error)))),
        };
        self.taken += bytes.len() as u64;
        if self.length.is_some_and(|length| self.taken > length) {
            return Some(Err(self.incomplete()));
        }
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&bytes);
        }
        Some(Ok(bytes))
    }

    fn verified(&mut self) -> Result<BodyFacts, BodyError> {
        if self.length.is_some_and(|length| self.taken != length) {
            return Err(self.incomplete());
        }
        let Some(verifier) = self.verifier.take() else { return Err(self.incomplete()) };
        verifier.verified().map_err(|error| {
            let kind = if error.code().as_str() == "BadDigest" {
                BodyError::BadDigest
            } else {
                BodyError::Incomplete
            };
            self.fail((kind, error))
        })
    }
}

/// The bytes of an object on their way into another one.
pub(crate) struct Copy {
    stream: BoxStream<'static, Result<Bytes, ReadError>>,
    hasher: Option<Hasher>,
    facts: BodyFacts,
    left: u64,
}

impl Copy {
    /// A copy of `length` bytes that computes a checksum.
    pub(crate) fn hashing(
        stream: BoxStream<'static, Result<Bytes, ReadError>>,
        length: u64,
        algorithm: ChecksumAlgorithm,
        md5: Option<[u8; 16]>,
    ) -> Self {
        let facts = BodyFacts { md5, checksum: None };
        Self { stream, hasher: Some(Hasher::new(algorithm)), facts, left: length }
    }

    /// A copy whose checksum is known: the same bytes have the same one.
    pub(crate) const fn known(
        stream: BoxStream<'static, Result<Bytes, ReadError>>,
        length: u64,
        facts: BodyFacts,
    ) -> Self {
        Self { stream, hasher: None, facts, left: length }
    }
}

#[async_trait]
impl Body for Copy {
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        let bytes = match self.stream.next().await? {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(error = %error, "read the source of a copy");
                return Some(Err(BodyError::Source));
            }
        };
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Some(Err(BodyError::Source));
        };
        self.left = left;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        Some(Ok(bytes))
    }

    fn verified(&mut self) -> Result<BodyFacts, BodyError> {
        if self.left != 0 {
            return Err(BodyError::Source);
        }
        let mut facts = std::mem::take(&mut self.facts);
        if let Some(hasher) = self.hasher.take() {
            let algorithm = hasher.algorithm();
            let value = hasher.finish();
            facts.checksum = Some(Checksum { algorithm, kind: ChecksumKind::FullObject, value });
        }
        Ok(facts)
    }
}
