//! Havre's words as types: ids, geometry, limits, names, records and ports.
//!
//! **Invariant.** A value of one of these types is valid: whatever could be wrong with it was
//! refused by its one constructor, and the limits agree with each other or the crate does not
//! build.
//!
//! **Deliberately absent.** I/O, clocks, randomness, keys, and every decision.
//!
//! **Crash.** Nothing here outlives a process but the encodings in [`record`], which are versioned.
#![no_std]

extern crate alloc;

pub mod geometry;
pub mod ids;
pub mod limits;
pub mod name;
pub mod pace;
pub mod ports;
pub mod record;
pub mod sites;
pub mod time;

pub use geometry::{Geometry, GeometryError, ShardIndex};
pub use ids::{
    BlobId, BucketId, ChainId, ParseIdError, Seq, SiteId, TenantId, UploadId, VersionId,
};
pub use name::{BlobName, ParseBlobNameError};
pub use pace::Pace;
pub use sites::SiteSet;
pub use time::Timestamp;
