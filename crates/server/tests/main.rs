//! The S3 surface on the wire.
//!
//! All tests are one program: each program would link the whole stack anew.

mod attacks;
mod attacks_bodies;
mod attacks_core;
mod buckets;
mod listener;
mod multipart;
mod objects;
mod support;
mod tally;
mod turns;
