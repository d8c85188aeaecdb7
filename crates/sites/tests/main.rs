//! Sites from outside: every backend, every fault.
//!
//! All tests are one program: each program would link the whole stack anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bars;
mod conformance;
mod hostile;
mod power_cut;
mod support;
