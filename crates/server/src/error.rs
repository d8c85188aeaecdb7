//! S3's error codes: the one place that maps what the engine says.
//!
//! **Invariant.** No message carries a key, a bucket name, a plaintext or a reason from the inside
//! (I3); wrong key and damaged data look the same from outside (A21).
//!
//! **Deliberately absent.** XML: `s3s` writes it, `error_document` adds what else is known.
//!
//! **Crash.** Values only.

use havre_engine::{BodyError, BucketError, CompleteError, EngineError, PutError};
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};

/// An error with a code that `s3s` has no name for.
pub(crate) fn custom(status: StatusCode, code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(status);
    error
}

/// 501 for a header, parameter or value that would change what the request does.
pub(crate) fn not_implemented(what: &str) -> S3Error {
    s3_error!(NotImplemented, "{what} implies functionality that is not implemented.")
}

/// 503 with the message that S3 gives.
pub(crate) fn unavailable() -> S3Error {
    s3_error!(ServiceUnavailable, "Reduce your request rate.")
}

/// 503 for a request that waited for its turn in vain.
pub(crate) fn slow_down() -> S3Error {
    s3_error!(SlowDown, "Please reduce your request rate.")
}

/// 500 for what should not happen.
pub(crate) fn bug() -> S3Error {
    s3_error!(InternalError, "We encountered an internal error. Please try again.")
}

fn internal(error: &dyn std::error::Error) -> S3Error {
    tracing::error!(error = %error, "answer a request");
    bug()
}

fn refused(error: &dyn std::error::Error) -> S3Error {
    tracing::warn!(error = %error, "answer a request");
    unavailable()
}

/// What a client is told when a question has no answer.
pub(crate) fn of_engine(error: &EngineError) -> S3Error {
    refused(error)
}

/// What a client is told when its body was not taken, unless the body itself knows better.
pub(crate) fn of_body(error: &BodyError) -> S3Error {
    match error {
        BodyError::BadDigest | BodyError::BadChecksum => s3_error!(BadDigest),
        BodyError::BadSha256 => sha256_mismatch(),
        BodyError::Incomplete => s3_error!(IncompleteBody),
        BodyError::TooLarge => s3_error!(EntityTooLarge),
        BodyError::Client(_) => s3_error!(RequestTimeout),
        // The source of a copy could not be read: nothing that the client sent is wrong.
        _ => unavailable(),
    }
}

/// The body is not what was signed.
pub(crate) fn sha256_mismatch() -> S3Error {
    custom(
        StatusCode::BAD_REQUEST,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

/// What a client is told when a write did not happen.
pub(crate) fn of_put(error: &PutError) -> S3Error {
    match error {
        PutError::PreconditionFailed => s3_error!(PreconditionFailed),
        PutError::Conflict => s3_error!(ConditionalRequestConflict),
        PutError::NoSuchKey => s3_error!(NoSuchKey),
        PutError::NoSuchUpload => s3_error!(NoSuchUpload),
        PutError::NoSuchBucket => s3_error!(NoSuchBucket),
        PutError::TooLarge => s3_error!(EntityTooLarge),
        PutError::Body(error) => of_body(error),
        PutError::SlowDown => slow_down(),
        PutError::Unavailable(_) | PutError::Catalog(_) => refused(error),
        _ => internal(error),
    }
}

/// What a client is told when a bucket was not made or removed.
pub(crate) fn of_bucket(error: &BucketError) -> S3Error {
    match error {
        BucketError::Exists { owned_by_you: true } => s3_error!(BucketAlreadyOwnedByYou),
        BucketError::Exists { owned_by_you: false } => s3_error!(BucketAlreadyExists),
        BucketError::UnknownPolicy => s3_error!(InvalidLocationConstraint),
        BucketError::TooMany => s3_error!(TooManyBuckets),
        BucketError::NotEmpty => s3_error!(BucketNotEmpty),
        BucketError::NoSuchBucket => s3_error!(NoSuchBucket),
        BucketError::Put(error) => of_put(error),
        _ => internal(error),
    }
}

/// What a client is told when an upload was not completed.
pub(crate) fn of_complete(error: &CompleteError) -> S3Error {
    match error {
        CompleteError::InvalidPart(_) => s3_error!(InvalidPart),
        CompleteError::InvalidPartOrder => s3_error!(InvalidPartOrder),
        CompleteError::EntityTooSmall { .. } => s3_error!(EntityTooSmall),
        CompleteError::NoParts => s3_error!(MalformedXML),
        CompleteError::Mismatch => s3_error!(BadDigest),
        CompleteError::Put(error) => of_put(error),
        _ => internal(error),
    }
}
