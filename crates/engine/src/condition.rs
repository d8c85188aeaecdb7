//! Conditional writes: `If-Match` and `If-None-Match` on the state that the write replaces.
//!
//! **Invariant.** A condition is decided while the key is reserved, so that decision and write are
//! one step for every other writer of the key.
//!
//! **Deliberately absent.** Conditions of reads and of copy sources: the server decides those on
//! what it read.
//!
//! **Crash.** Reservations die with the process, and so do the writes that held them.

use crate::error::PutError;

/// One list of ETags of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ETagMatch {
    /// `*`: any object.
    Any,
    /// One of these, without quotes.
    OneOf(Vec<String>),
}

impl ETagMatch {
    /// Whether an object with this ETag (without quotes) matches.
    #[must_use]
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(etags) => etags.iter().any(|candidate| candidate == etag),
        }
    }
}

/// What must hold of the object that a write replaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// The object must be there with one of these ETags.
    pub if_match: Option<ETagMatch>,
    /// No object with one of these ETags may be there.
    pub if_none_match: Option<ETagMatch>,
}

impl Condition {
    /// Whether there is nothing to check, so that writers of one key need not wait for one another.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Decides the condition against the ETag of the object that is there now.
    ///
    /// # Errors
    /// [`PutError::NoSuchKey`] for an `If-Match` on nothing (as S3 answers), otherwise
    /// [`PutError::PreconditionFailed`].
    pub fn check(&self, present: Option<&str>) -> Result<(), PutError> {
        if let Some(wanted) = &self.if_match {
            let etag = present.ok_or(PutError::NoSuchKey)?;
            if !wanted.matches(etag) {
                return Err(PutError::PreconditionFailed);
            }
        }
        match (&self.if_none_match, present) {
            (Some(unwanted), Some(etag)) if unwanted.matches(etag) => {
                Err(PutError::PreconditionFailed)
            }
            _ => Ok(()),
        }
    }
}
