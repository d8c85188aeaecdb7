//! Where shards lie: the trait every site implements, the backends, and what guards them.
//!
//! **Invariant.** A site is an attacker (I9): whatever it answers, a call through [`Guarded`] ends
//! within one deadline, with bounded memory, and says in its error what the caller should do next.
//! No write reaches a site without a `Permit`, and no name is ever written twice with other content
//! (I5).
//!
//! **Deliberately absent.** Keys, erasure codes and the meaning of a shard's bytes: this crate
//! reaches neither `seal` nor `codec`. Hedging and the choice of sites are the engine's;
//! [`Fleet::ranking`] helps.
//!
//! **Crash.** What a `put` or a `finish` acknowledged is durable at the site; anything else is
//! unnamed or an orphan, and [`Site::sweep`] and the keeper take it.

mod error;
mod fleet;
mod guarded;
mod site;

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod fault;
pub mod local;
pub mod memory;
pub mod open;
mod read_only;
pub mod remote;
pub mod system;

pub use error::{SiteError, SiteErrorKind};
pub use fleet::{Fleet, Share};
pub use guarded::{Bar, Barred, Counters, Guarded, GuardedWriter, Health, SiteLimits};
pub use local::LocalSite;
pub use memory::MemorySite;
pub use open::{OpenError, SiteSpec, open};
pub use remote::RemoteSite;
pub use site::{Operation, ShardWriter, Site, SiteCounts, SiteEntry, SitePage};
