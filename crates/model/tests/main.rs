//! The records from outside.
//!
//! All tests are one program: each program would link the whole stack anew.

mod formats;
