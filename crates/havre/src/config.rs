//! The gateway's configuration: one TOML file, secrets by reference. See `docs/configuration.md`.
//!
//! **Invariant.** A [`Config`] is sound: names are unique and known, every policy's guarantee holds
//! for some placement, no two sites are one storage, the admin listener is on loopback unless said
//! otherwise. Whatever is not is refused with its line.
//!
//! **Deliberately absent.** Reload, defaults that depend on the machine, secrets' values
//! ([`SecretRef`] is resolved where it is used), and anything read from the sites.
//!
//! **Crash.** Nothing is written but by [`write_local`], which overwrites nothing, and [`replace`],
//! which leaves the old file or the new one.

mod added;
mod declared;
mod error;
mod local;
mod overlay;
mod parties;
mod raw;
mod resolve;
mod secret;
mod storage;
#[cfg(test)]
mod tests;
mod wire;

pub use added::{NewSite, replace};
pub use error::ConfigError;
pub use local::{LocalError, local_example, write_local};
pub use overlay::{load_changes, parse_changes};
pub use secret::{Secret, SecretError, SecretRef};

use error::Source;
use havre_policy::spread::Room;
use havre_policy::{Facts, PlacementPolicy, PolicySpec};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use storage::Storage;

/// What the keeper reads from all sites together in a second, where nothing is said.
const KEEPER_BYTES_PER_SECOND: u64 = 128 << 20;
/// The same of scrub, which nobody waits for.
const SCRUB_BYTES_PER_SECOND: u64 = 4 << 20;
/// A week.
const SCRUB_CYCLE_HOURS: u64 = 168;

/// A sound configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The gateway itself.
    pub gateway: Gateway,
    /// Where S3 is served; at least one.
    pub listeners: Vec<Listener>,
    /// Where health and metrics are served.
    pub admin: Admin,
    /// The sites, in the order that gives them their positions.
    pub sites: Vec<Site>,
    /// The policies, as declared.
    pub policies: Vec<PolicySpec>,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The credentials.
    pub credentials: Vec<Credential>,
    /// Where the keeper's work is done.
    pub keeper: Keeper,
    /// Limits on clients; what is not set is the server's default.
    pub limits: Limits,
    facts: Facts,
    digest: [u8; 32],
}

/// The gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The directory of what it keeps and could rebuild.
    pub data: PathBuf,
    /// The catalog's file.
    pub catalog: PathBuf,
    /// Where the root key is.
    pub root_key: SecretRef,
    /// The policy of buckets that name none; settings and tenants are kept by the strictest.
    pub default_policy: String,
    /// The region that signatures must name.
    pub region: String,
    /// Base domains of virtual-host style.
    pub domains: Vec<String>,
}

/// An address that S3 is served at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// Present when connections are encrypted.
    pub tls: Option<Tls>,
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// PEM files.
    Files {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made at start, for trial.
    SelfSigned {
        /// Names and addresses that it is for.
        names: Vec<String>,
    },
}

/// Where health and metrics are served, in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// The address.
    pub address: SocketAddr,
    /// Whether it may be other than loopback.
    pub allow_remote: bool,
}

/// Where the keeper's work is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeper {
    /// In which process.
    pub runs: KeeperRuns,
    /// Where a process of its own serves health and metrics, if anywhere.
    pub admin: Option<Admin>,
}

/// In which process the keeper's work is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeeperRuns {
    /// In the gateway's.
    #[default]
    Inside,
    /// In one of its own, without the root key: `havre keeper`.
    Apart,
}

/// One site: where, and with what. Who stands behind it is in [`Config::facts`].
#[derive(Debug, Clone)]
pub struct Site {
    /// Its permanent name.
    pub name: String,
    /// Its URL; a plain path and a `file:` URL are absolute here.
    pub url: String,
    /// Options of its backend.
    pub options: BTreeMap<String, OptionValue>,
    /// What it may cost.
    pub limits: SiteLimits,
    /// How much may be stored there (`capacity_gb`, in 10^9 bytes) and what that costs (`price`, a
    /// GB and month): how much it gets against other sites. Nothing is used yet.
    pub room: Room,
    storage: Storage,
}

/// A backend's option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionValue {
    /// As it stands in the file.
    Plain(String),
    /// A secret, elsewhere.
    Secret(SecretRef),
}

/// What one site may cost; what is not set is the default of `havre_sites::SiteLimits`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteLimits {
    /// The longest that any operation takes, its bytes aside.
    pub deadline: Option<Duration>,
    /// The slowest transfer that is waited for.
    pub bytes_per_second_min: Option<u64>,
    /// Operations under way at once.
    pub concurrency: Option<usize>,
    /// The longest that an operation waits for its turn.
    pub wait_max: Option<Duration>,
    /// Attempts of one operation, the first included.
    pub attempts_max: Option<u32>,
    /// The longest pause before the first retry.
    pub backoff: Option<Duration>,
    /// The longest answer that is read into memory.
    pub answer_bytes_max: Option<u64>,
    /// Unanswered calls in a row after which the site counts as down.
    pub silent_calls_max: Option<u32>,
    /// The first pause before a site that is down is probed.
    pub probe_pause_min: Option<Duration>,
    /// The longest such pause.
    pub probe_pause_max: Option<Duration>,
    /// Bytes of one part of a multipart upload to the site.
    pub part_bytes: Option<usize>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
}

/// A credential: an access key that acts for a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The access key.
    pub access_key: String,
    /// The tenant's name.
    pub tenant: String,
    /// Where its secret key is.
    pub secret: SecretRef,
}

/// Limits on clients, and on what the keeper may read; what is not set is the default of
/// `havre_server::LimitsConfig` and of the keeper.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are worked on at once.
    pub requests_max: Option<usize>,
    /// Connections of one listener.
    pub connections_max: Option<usize>,
    /// A TLS handshake must be done within this.
    pub handshake_timeout: Option<Duration>,
    /// A request's headers must be there within this.
    pub header_timeout: Option<Duration>,
    /// The next bytes of a request's body must come within this.
    pub body_timeout: Option<Duration>,
    /// The client must take the next bytes of a response within this.
    pub write_timeout: Option<Duration>,
    /// Requests under way have this long to end when the gateway stops.
    pub shutdown_timeout: Option<Duration>,
    /// Bytes of XML documents in memory at once.
    pub documents_bytes_max: Option<usize>,
    /// Bytes a second that repair, and moving shards, read from all sites together.
    pub repair_bytes_per_second: Option<u64>,
    /// Bytes a second that scrub reads from all sites together.
    pub scrub_bytes_per_second: Option<u64>,
    /// From the begin of one cycle of scrub to the begin of the next, at least.
    pub scrub_cycle_hours: Option<u64>,
    /// Whether scrub reads every byte, and not one chunk of each shard.
    pub scrub_whole: bool,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Whatever is wrong with it, with the line and what to do.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::whole(file, format!("cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    /// Checks the text of a configuration; relative paths in it start at the folder of `file`.
    ///
    /// # Errors
    /// Whatever is wrong with it, with the line and what to do.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { file, text };
        let raw = toml::from_str(text).map_err(|error| source.syntax(&error))?;
        let digest = Sha256::digest(text).into();
        Ok(Self { digest, ..resolve::resolve(&source, raw)? })
    }

    /// The declared facts. A site's position there is its position in [`Self::sites`].
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Bytes a second that the keeper reads from all sites together.
    #[must_use]
    pub fn keeper_bytes_per_second(&self) -> u64 {
        self.limits.repair_bytes_per_second.unwrap_or(KEEPER_BYTES_PER_SECOND).max(1)
    }

    /// Bytes a second that scrub reads from all sites together.
    #[must_use]
    pub fn scrub_bytes_per_second(&self) -> u64 {
        self.limits.scrub_bytes_per_second.unwrap_or(SCRUB_BYTES_PER_SECOND)
    }

    /// From the begin of one cycle of scrub to the begin of the next, at least.
    #[must_use]
    pub fn scrub_cycle(&self) -> Duration {
        let hours = self.limits.scrub_cycle_hours.unwrap_or(SCRUB_CYCLE_HOURS);
        Duration::from_secs(hours.saturating_mul(3600))
    }

    /// SHA-256 of its text, as `sha256:` and hex: which configuration a statement speaks of.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.digest))
    }

    /// The placement policies, in the order of [`Self::policies`].
    #[must_use]
    pub fn placement_policies(&self) -> Vec<PlacementPolicy> {
        let policy = |spec: &PolicySpec| {
            PlacementPolicy::new(&self.facts, spec.clone()).expect("it was checked when loaded")
        };
        self.policies.iter().map(policy).collect()
    }
}

impl Site {
    /// The device of a directory that exists: two sites on one disk are lost together.
    #[must_use]
    pub const fn device(&self) -> Option<u64> {
        self.storage.device()
    }
}
