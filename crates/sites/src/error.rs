//! Why a site did not do what it was asked.
//!
//! **Invariant.** A kind exists only where the caller acts differently, and no text holds a secret,
//! a credential or a path of this machine: what a site says is cut short and cleaned.
//!
//! **Deliberately absent.** Retries and their conditions ([`crate::Guarded`]).
//!
//! **Crash.** Values only.

use crate::Operation;
use havre_model::SiteId;
use rustix::io::Errno;
use std::{error::Error, io};

/// Bytes of a site's own words that an error keeps.
const DETAIL_BYTES_MAX: usize = 200;

/// What a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SiteErrorKind {
    /// The site holds no such shard: use another one, then repair.
    Missing,
    /// No answer, or none in time: conclude nothing about the data, use another site.
    Unreachable,
    /// The site answered and will not (credentials, read-only, full): somebody has to act.
    Refused,
    /// Another content has this name. Nothing was changed.
    Exists,
    /// The answer is none that an honest site gives (length, redirect, garbage): an erasure.
    Invalid,
}

/// A failed operation at a site.
#[derive(Debug, thiserror::Error)]
#[error("{} at site {site}: {detail}", operation.verb())]
pub struct SiteError {
    /// What the caller does next.
    pub kind: SiteErrorKind,
    /// The site that was asked.
    pub site: SiteId,
    /// What it was asked for.
    pub operation: Operation,
    /// What happened, in words that hold no secret.
    pub detail: String,
    /// The cause, where it says more than the detail.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl SiteError {
    /// An error without a cause below it. `detail` may be a site's own words: control characters
    /// and all but the beginning are dropped, so that a log line stays one line.
    #[must_use]
    pub fn new(
        kind: SiteErrorKind,
        site: SiteId,
        operation: Operation,
        detail: impl AsRef<str>,
    ) -> Self {
        Self { kind, site, operation, detail: clean(detail.as_ref()), source: None }
    }

    /// An error of the operating system, with the kind that its code implies.
    #[must_use]
    pub fn from_io(site: SiteId, operation: Operation, error: io::Error) -> Self {
        let kind = kind_of(&error);
        let detail = clean(&error.to_string());
        Self { kind, site, operation, detail, source: Some(Box::new(error)) }
    }

    /// Whether the site may never have seen the request, or may have done what it was asked.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.kind == SiteErrorKind::Unreachable
    }
}

fn clean(text: &str) -> String {
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn kind_of(error: &io::Error) -> SiteErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => SiteErrorKind::Missing,
        io::ErrorKind::AlreadyExists => SiteErrorKind::Exists,
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::Unsupported => SiteErrorKind::Refused,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory => {
            SiteErrorKind::Invalid
        }
        // A symbolic link where a shard should be.
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => SiteErrorKind::Invalid,
        // EIO, ENFILE, ESTALE and what else a dying disk or a full table says.
        _ => SiteErrorKind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sites_words_are_cut_short_and_kept_on_one_line() {
        let site = SiteId::from_bytes([1; 8]);
        let words = format!("a\r\nb\u{1b}[31m{}", "é".repeat(300));
        let error = SiteError::new(SiteErrorKind::Invalid, site, Operation::Read, words);
        assert!(error.detail.len() <= DETAIL_BYTES_MAX);
        assert!(!error.detail.chars().any(char::is_control));
        assert_eq!(error.to_string().lines().count(), 1);
    }

    #[test]
    fn a_full_disk_is_refused_and_a_dying_one_unreachable() {
        for (code, kind) in [
            (28, SiteErrorKind::Refused),
            (30, SiteErrorKind::Refused),
            (13, SiteErrorKind::Refused),
            (2, SiteErrorKind::Missing),
            (5, SiteErrorKind::Unreachable),
            (24, SiteErrorKind::Unreachable),
        ] {
            assert_eq!(kind_of(&io::Error::from_raw_os_error(code)), kind, "errno {code}");
        }
    }
}
