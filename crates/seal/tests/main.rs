//! The seal from outside: formats, keys, and bytes that nobody wrote.
//!
//! All tests are one program: each program would link the whole stack anew.

mod arbitrary_bytes;
mod attacks;
mod core_dumps;
mod formats;
mod root_key_file;
mod support;
