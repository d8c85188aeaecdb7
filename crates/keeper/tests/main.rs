//! The keeper over an engine with sites in memory.
//!
//! All tests are one program: each program would link the whole stack anew.

mod collect;
mod relocate;
mod repair;
mod scrub;
mod support;
