//! The way from a command to the gateway that runs: a Unix socket beside the catalog.
//!
//! A command sends one line of JSON, an [`Order`], and gets lines of JSON back: [`Line::Progress`]
//! any number of times, then one [`Line::Done`] or [`Line::Failed`]. Whoever gives the order stays
//! connected: when they go away, what is being done for them ends.
//!
//! **Invariant.** Only the gateway's own user and root can give orders: the socket comes into being
//! in a directory that nobody else can enter, has mode 0600 when it gets its name, and each peer's
//! user is asked of the kernel besides. Requests, connections and waits are bounded (I8).
//!
//! **Deliberately absent.** A credential: who may read the catalog's directory has the catalog. The
//! network. What an order does: [`GatewayDesk`] and the parts that it asks.
//!
//! **Crash.** The socket's file stays behind; the next gateway of this catalog replaces it. Nothing
//! that an order changes in the process outlives it.

mod client;
mod cut;
mod desk;
mod drain;
mod redisperse;
mod serve;
mod socket;

pub(crate) use client::connect_keeper;
pub use client::{ControlError, send};
pub use cut::{
    Cut, CutDone, CutProgress, CutReport, Fared, Measured, PolicyUnderCut, WritesUnderCut,
    policies_under_cut,
};
pub use desk::{CompactionStatus, GatewayDesk, ScrubStatus, SiteStatus, Status};
pub use drain::{
    ClosedSite, Drains, DrainsStated, Exclusion, ExclusionReport, Plan, RetiredReport,
    RetiredStated, Subject, Traffic,
};
pub use redisperse::{PolicyPlan, RedispersalStatus};
pub use serve::{CONNECTIONS_MAX, Desk, ORDER_DEADLINE, Outcome, Reporter, WRITE_DEADLINE, serve};
pub(crate) use socket::check_peer;
pub use socket::{Socket, keeper_socket_path, socket_path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of the line that an order comes in, its end included.
pub const ORDER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a line that a command takes from the gateway.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// What a command asks of the gateway that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Order {
    /// How the gateway and its sites do: answered with a [`Status`].
    Status {},
    /// What excluding somebody would take: answered with a [`Plan`].
    PlanExclusion {
        /// Who.
        subject: Subject,
    },
    /// Excludes somebody: answered with the sites that are closed.
    Exclude {
        /// Who.
        subject: Subject,
        /// Why.
        reason: String,
        /// By when the sites should be empty, in milliseconds since 1970.
        deadline_ms: Option<u64>,
    },
    /// Admits somebody again.
    Admit {
        /// Who.
        subject: Subject,
        /// Why.
        reason: String,
    },
    /// Pauses or resumes moving shards; remembered over restarts.
    PauseMoves {
        /// Which of the two.
        pause: bool,
    },
    /// What giving each site its share would take: answered with a [`Plan`].
    PlanRebalance {},
    /// Moves shards until each site has its share, or ends that; remembered over restarts.
    Rebalance {
        /// Which of the two.
        go_on: bool,
    },
    /// Cuts a party off for a while, as a drill: told by [`CutProgress`], answered with
    /// [`CutDone`].
    DrillCut {
        /// Whom, and for how long.
        cut: Cut,
    },
    /// Who is excluded and how far their sites have drained: answered with [`Drains`].
    Drains {
        /// Whether to list the closed sites as well.
        list: bool,
    },
    /// The same, signed: answered with [`DrainsStated`].
    StateDrains {},
    /// What putting a bucket under another placement policy would take: answered with a
    /// [`PolicyPlan`].
    PlanPolicyChange {
        /// The bucket's name.
        bucket: String,
        /// The policy's name.
        policy: String,
    },
    /// Puts a bucket under another placement policy.
    ChangePolicy {
        /// The bucket's name.
        bucket: String,
        /// The policy's name.
        policy: String,
    },
    /// How far what is under another policy was dispersed anew: answered with
    /// [`RedispersalStatus`].
    Redispersal {},
    /// That a closed site holds nothing: answered with [`RetiredStated`].
    RetireSite {
        /// The site's name.
        site: String,
    },
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Line {
    /// How it goes.
    Progress(Value),
    /// The last line: it is done, with this result.
    Done(Value),
    /// The last line: it is not done, and why.
    Failed(String),
}
