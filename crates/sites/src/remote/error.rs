//! From a backend's errors to ours.
//!
//! **Invariant.** "Missing" is said only of a shard, never of a bucket; what no honest site answers
//! is `Invalid`, and what may be gone tomorrow is `Unreachable`.
//!
//! **Deliberately absent.** The backend's error as a source: its context holds URLs.
//!
//! **Crash.** Values only.

use super::transport::Refusal;
use crate::{Operation, SiteError, SiteErrorKind};
use havre_model::SiteId;
use opendal::{Error, ErrorKind};
use std::error::Error as _;

/// Words by which stores say that the whole bucket is not there.
const NO_BUCKET: [&str; 4] =
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist", "NoSuchContainer"];

pub(super) fn site_error(site: SiteId, operation: Operation, error: &Error) -> SiteError {
    let detail = match error.message() {
        "" => error.kind().to_string(),
        message => message.to_owned(),
    };
    SiteError::new(kind_of(error), site, operation, detail)
}

pub(super) fn kind_of(error: &Error) -> SiteErrorKind {
    if NO_BUCKET.iter().any(|words| error.message().contains(words)) {
        return SiteErrorKind::Refused;
    }
    match error.kind() {
        ErrorKind::NotFound => SiteErrorKind::Missing,
        ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch => SiteErrorKind::Exists,
        ErrorKind::PermissionDenied | ErrorKind::ConfigInvalid | ErrorKind::Unsupported => {
            SiteErrorKind::Refused
        }
        ErrorKind::RateLimited => SiteErrorKind::Unreachable,
        ErrorKind::RangeNotSatisfied | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            SiteErrorKind::Invalid
        }
        _ if refusal(error) => SiteErrorKind::Invalid,
        _ if error.is_temporary() => SiteErrorKind::Unreachable,
        _ => SiteErrorKind::Invalid,
    }
}

fn refusal(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<Refusal>() {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bucket_is_no_missing_shard() {
        let error = Error::new(ErrorKind::NotFound, "S3Error { code: \"NoSuchBucket\" }");
        assert_eq!(kind_of(&error), SiteErrorKind::Refused);
        assert_eq!(kind_of(&Error::new(ErrorKind::NotFound, "NoSuchKey")), SiteErrorKind::Missing);
    }

    #[test]
    fn a_refused_answer_is_invalid_and_a_lost_one_unreachable() {
        assert_eq!(kind_of(&Refusal::Redirect.into()), SiteErrorKind::Invalid);
        let lost = Error::new(ErrorKind::Unexpected, "connection reset").set_temporary();
        assert_eq!(kind_of(&lost), SiteErrorKind::Unreachable);
    }
}
