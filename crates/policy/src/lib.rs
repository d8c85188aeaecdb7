//! Who could read, who could cut off, and where a shard may therefore go.
//!
//! Declared [`Facts`] say which parties stand behind each site: who owns its operator, how much of
//! it is enough by a [`ControlRule`], and whom each of them answers to. A [`PlacementPolicy`] holds
//! a [`GuaranteeSpec`] against them: it refuses a configuration whose guarantee cannot hold, places
//! the shards of each blob so that it does, and tells when enough of them are stored to say so.
//! [`exposure()`] names the least coalitions that could read or cut off all the same.
//!
//! **Invariant.** No coalition that a guarantee names is ever permitted `k` shards of one blob
//! (I2), and a write is acknowledged only when the stored shards outside each coalition's reach
//! decode (I1). What is computed rests on the declared facts alone (I10).
//!
//! **Deliberately absent.** I/O, health and latency: the caller ranks the sites. Keys,
//! names and contents: this crate knows blobs by id.
//!
//! **Crash.** Everything here is recomputed from the configuration at each start.
#![no_std]

extern crate alloc;

mod acknowledge;
mod builder;
mod checks;
mod coalition;
pub mod csl;
mod declared;
mod error;
mod explain;
mod exposure;
mod facts;
pub mod gleif;
mod graph;
mod guarantee;
mod listed;
mod minimal;
pub mod names;
mod party;
mod permit;
mod placement;
mod rearrange;
mod search;
mod share;
pub mod spread;
mod what_if;
mod why;

pub use acknowledge::{Acknowledgement, CoalitionId};
pub use builder::{EU, OUTSIDE_EU};
pub use coalition::{Coalition, Harm};
pub use declared::{
    AllianceFacts, Declared, Evidence, Holds, Members, OperatorFacts, Override, Ownership,
    SeatFacts, SeatKind, SiteFacts,
};
pub use error::{Conflict, FactsError, PlaceError, PolicyError};
pub use explain::{CoalitionExplanation, Explanation, SiteExplanation};
pub use exposure::{Exposed, ExposedList, PolicyExposure, Word, exposure};
pub use facts::{Facts, SeatSet, site_id};
pub use guarantee::{CoalitionSpec, GuaranteeSpec, ParseCoalitionError};
pub use listed::{ListedFact, ListedOverride};
pub use party::{Party, PartyId, PartyKind};
pub use permit::Permit;
#[cfg(feature = "testing")]
pub use permit::testing;
pub use placement::{OnOutage, PlacementPolicy, PolicySpec, Strictness};
pub use rearrange::{Arrangement, Misplaced};
pub use share::{Bound, Chains, ControlRule, Share};
pub use what_if::{Change, ChangeError};
pub use why::{Holder, Link, Step, Tie};
