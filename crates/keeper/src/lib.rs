//! Works on blobs at the sites without being able to read them: repair and garbage collection.
//!
//! **Invariant.** This crate reaches no customer key: `layers.toml` proves that it links neither
//! `seal` nor `engine`. A blob is deleted only when no version, part, writer or reader needs it
//! (I6).
//!
//! **Deliberately absent.** Scrub, drain and compaction of packs, until their issue.
//!
//! **Crash.** A pass that dies is begun again; deleting twice is deleting once.

pub mod execute;
pub mod plan;
mod rebuild;
pub mod repair;

pub use execute::{Collector, GcReport, HeldBlobs};
pub use repair::{RepairReport, Repairer};
