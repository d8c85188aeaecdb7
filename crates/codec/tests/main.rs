//! The codec from outside: formats, erasures, and bytes that nobody wrote.
//!
//! All tests are one program: each program would link the whole stack anew.

#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "tests cut patterns to bytes and unwrap in their helpers too"
)]

mod attacks;
mod blob;
mod common;
mod erasure;
mod formats;
mod parsers;
