//! The gateway as a program.
//!
//! All tests are one program: each program would link the whole stack anew.

mod apart;
mod compact;
mod control;
mod drill;
mod import;
mod keeper;
mod redisperse;
mod repeat;
mod secrecy;
mod statement;
mod support;
