//! The simulation, on a few seeds.
//!
//! All tests are one program: each program would link the whole stack anew.

mod scenario;
