//! What can go wrong with a catalog, one variant per reaction.
//!
//! **Invariant.** No text here carries a name of a bucket, an object or a tenant, or a secret (I3).
//!
//! **Deliberately absent.** "Not found": that is `None`, an answer and no error.
//!
//! **Crash.** Values only.

use havre_model::ChainId;
use std::io;

/// Why the catalog did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The catalog is shutting down, or its writer has ended: nothing more will succeed.
    #[error("the catalog is closed")]
    Closed,
    /// The file is not consistent: move it aside and rebuild it from the packs.
    #[error("the catalog is damaged and has to be rebuilt from the packs: {0}")]
    Damaged(String),
    /// The storage below did not do its work (full, read-only, I/O error). Nothing was changed; the
    /// same call may succeed later.
    #[error("the catalog's storage failed: {0}")]
    Storage(String),
    /// A pack came that does not refer to the last one applied; nothing was applied. Apply the
    /// packs in between first.
    #[error("pack {number} of chain {chain} does not refer to {applied}, the last one applied")]
    Gap {
        /// The chain.
        chain: ChainId,
        /// The number of the last pack applied.
        applied: u64,
        /// The number that was offered.
        number: u64,
    },
    /// The chain is known under another gateway or policy than the one that opens it.
    #[error("chain {0} belongs to another gateway or policy")]
    ForeignChain(ChainId),
    /// A recovery may begin only in a catalog that has applied nothing: one in use has already
    /// forgotten the ends that keep old records from coming back.
    #[error("a recovery needs an empty catalog; move this one aside first")]
    NotEmpty,
    /// The call makes sense only between the begin and the finish of a recovery.
    #[error("no recovery is in progress")]
    NotRecovering,
    /// A value is outside what the catalog can store.
    #[error("a value is out of the catalog's range: {0}")]
    OutOfRange(&'static str),
    /// The catalog was opened for reading only.
    #[error("the catalog was opened read-only")]
    ReadOnly,
}

/// Why a catalog could not be opened, although moving the file aside would be wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer release wrote the file: use that release, or move the file aside and rebuild.
    #[error(
        "the catalog has schema {found}, this release knows up to {known}: use a newer release"
    )]
    NewerSchema {
        /// The schema version of the file.
        found: i64,
        /// The newest that this release knows.
        known: i64,
    },
    /// Another process holds the catalog.
    #[error("the catalog is in use by another process")]
    InUse,
    /// The file is a database of something else: the configured path is wrong.
    #[error("the file is a database of another program, not a catalog")]
    NotACatalog,
    /// The file or its directory cannot be read or written.
    #[error("open the catalog: {0}")]
    Io(#[from] io::Error),
    /// The database below failed for a reason that is not damage.
    #[error("open the catalog: {0}")]
    Storage(String),
}
