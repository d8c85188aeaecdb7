//! The parts of the command line that can be used and tested without it.
//!
//! **Invariant.** Nothing here starts by itself: `main` composes.
//!
//! **Deliberately absent.** The engine, the server, the sites: their crates.
//!
//! **Crash.** See each module.

pub mod apart;
pub mod check;
pub mod compose;
pub mod config;
pub mod control;
pub mod exposure;
pub mod import;
pub mod oversight;
pub mod parties;
pub mod rehearse;
pub mod rules;
pub mod seize;
pub mod statement;
