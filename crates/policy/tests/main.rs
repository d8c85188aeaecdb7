//! The policy from outside: graphs, coalitions, guarantees, imports.
//!
//! All tests are one program: each program would link the whole stack anew.

mod common;
mod exposure;
mod facts;
mod graph;
mod graph_properties;
mod hand_computed;
mod imports;
mod properties;
mod what_if;
