//! The engine over sites in memory.
//!
//! All tests are one program: each program would link the whole stack anew.

mod doubt;
mod exclude;
mod path;
mod support;
mod transfers;
mod vital;
