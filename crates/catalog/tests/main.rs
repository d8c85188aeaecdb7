//! The catalog from outside: what it says, what survives, in which order.
//!
//! All tests are one program: each program would link the whole stack anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compaction;
mod durability;
mod listing;
mod order;
mod semantics;
mod support;
