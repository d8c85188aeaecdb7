//! The configuration file's shape, key for key, each value with its place.
//!
//! **Invariant.** Unknown keys are refused everywhere; whatever may be wrong later is a
//! [`Spanned`], so that the error can name its line.
//!
//! **Deliberately absent.** Meaning: `resolve` checks and converts.
//!
//! **Crash.** Values only.

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::{collections::BTreeMap, fmt};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) gateway: Spanned<RawGateway>,
    #[serde(default)]
    pub(super) exposure: RawExposure,
    #[serde(default)]
    pub(super) listen: Vec<RawListen>,
    #[serde(default)]
    pub(super) admin: RawAdmin,
    #[serde(default)]
    pub(super) keeper: RawKeeper,
    #[serde(default)]
    pub(super) site: Vec<RawSite>,
    #[serde(default)]
    pub(super) operator: Vec<RawOperator>,
    #[serde(default)]
    pub(super) alliance: Vec<RawAlliance>,
    #[serde(default, rename = "override")]
    pub(super) overrides: Vec<RawOverride>,
    #[serde(default)]
    pub(super) administrator: Vec<RawAdministrator>,
    #[serde(default)]
    pub(super) policy: Vec<RawPolicy>,
    #[serde(default)]
    pub(super) tenant: Vec<RawTenant>,
    #[serde(default)]
    pub(super) credential: Vec<RawCredential>,
    #[serde(default)]
    pub(super) limits: RawLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGateway {
    pub(super) data: String,
    pub(super) catalog: Option<String>,
    pub(super) root_key_file: Option<Spanned<String>>,
    pub(super) root_key_env: Option<Spanned<String>>,
    pub(super) default_policy: Spanned<String>,
    pub(super) region: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) domains: Vec<Spanned<String>>,
    pub(super) host: Option<Spanned<RawSeat>>,
    pub(super) key_service: Option<Spanned<RawSeat>>,
}

/// Who runs a part of the trust domain, and where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSeat {
    pub(super) operator: Option<Spanned<String>>,
    pub(super) location: Option<Spanned<String>>,
    pub(super) source: Option<String>,
    pub(super) date: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdministrator {
    pub(super) name: Spanned<String>,
    pub(super) employer: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) jurisdictions: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) holds: RawHolds,
    pub(super) source: Option<String>,
    pub(super) date: Option<Spanned<String>>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawHolds {
    #[default]
    Gateway,
    Key,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExposure {
    pub(super) ownership_threshold: Option<Spanned<f64>>,
    pub(super) control: Option<Spanned<RawControl>>,
}

/// `"majority"`, or bounds of one's own.
pub(super) enum RawControl {
    Named(String),
    Own(RawBounds),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBounds {
    pub(super) alone: f64,
    pub(super) together: Option<f64>,
    #[serde(default)]
    pub(super) chains: RawChains,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawChains {
    #[default]
    Whole,
    Multiply,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlliance {
    pub(super) name: Spanned<String>,
    pub(super) members: Option<Vec<Spanned<String>>>,
    pub(super) all_but: Option<Vec<Spanned<String>>>,
    pub(super) source: Option<String>,
    pub(super) date: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOverride {
    pub(super) operator: Spanned<String>,
    pub(super) party: Spanned<String>,
    pub(super) answers: bool,
    pub(super) reason: String,
    pub(super) source: String,
    pub(super) date: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListen {
    pub(super) address: Spanned<String>,
    pub(super) tls: Option<Spanned<RawTls>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) certificate_file: Option<String>,
    pub(super) key_file: Option<String>,
    #[serde(default)]
    pub(super) self_signed: bool,
    #[serde(default)]
    pub(super) names: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdmin {
    pub(super) address: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) allow_remote: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeeper {
    #[serde(default)]
    pub(super) runs: RawKeeperRuns,
    pub(super) address: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) allow_remote: bool,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKeeperRuns {
    #[default]
    Inside,
    Apart,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSite {
    pub(super) name: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) operator: Spanned<String>,
    pub(super) location: Spanned<String>,
    pub(super) source: Option<String>,
    pub(super) date: Option<Spanned<String>>,
    pub(super) capacity_gb: Option<Spanned<u64>>,
    pub(super) price: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) options: BTreeMap<String, Spanned<RawOption>>,
    #[serde(default)]
    pub(super) limits: RawSiteLimits,
}

/// Changes to ask about: facts to add or to replace, and what to leave out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOverlay {
    #[serde(default)]
    pub(super) remove: RawRemoved,
    #[serde(default)]
    pub(super) exposure: RawExposure,
    #[serde(default)]
    pub(super) site: Vec<RawPlainSite>,
    #[serde(default)]
    pub(super) operator: Vec<RawOperator>,
    #[serde(default)]
    pub(super) alliance: Vec<RawAlliance>,
    #[serde(default, rename = "override")]
    pub(super) overrides: Vec<RawOverride>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRemoved {
    #[serde(default)]
    pub(super) sites: Vec<String>,
    #[serde(default)]
    pub(super) alliances: Vec<String>,
    #[serde(default)]
    pub(super) owners: Vec<RawRemovedOwner>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRemovedOwner {
    pub(super) operator: String,
    pub(super) owner: String,
}

/// A site as the facts see it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPlainSite {
    pub(super) name: Spanned<String>,
    pub(super) operator: Spanned<String>,
    pub(super) location: Spanned<String>,
}

/// A site's option: a value, or where to find it.
pub(super) enum RawOption {
    Value(String),
    Secret(RawSecret),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    pub(super) env: Option<String>,
    pub(super) file: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSiteLimits {
    pub(super) deadline_ms: Option<Spanned<u64>>,
    pub(super) bytes_per_second_min: Option<Spanned<u64>>,
    pub(super) concurrency: Option<Spanned<u64>>,
    pub(super) wait_max_ms: Option<Spanned<u64>>,
    pub(super) attempts_max: Option<Spanned<u64>>,
    pub(super) backoff_ms: Option<Spanned<u64>>,
    pub(super) answer_bytes_max: Option<Spanned<u64>>,
    pub(super) silent_calls_max: Option<Spanned<u64>>,
    pub(super) probe_pause_min_ms: Option<Spanned<u64>>,
    pub(super) probe_pause_max_ms: Option<Spanned<u64>>,
    pub(super) part_bytes: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOperator {
    pub(super) name: Spanned<String>,
    pub(super) legal_name: Option<String>,
    pub(super) lei: Option<Spanned<String>>,
    pub(super) incorporation: Option<Spanned<String>>,
    pub(super) headquarters: Option<Spanned<String>>,
    pub(super) source: Option<String>,
    pub(super) date: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) owner: Vec<RawOwner>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwner {
    pub(super) name: Spanned<String>,
    pub(super) lei: Option<Spanned<String>>,
    pub(super) capital: Option<f64>,
    pub(super) votes: Option<f64>,
    pub(super) jurisdiction: Option<Spanned<String>>,
    pub(super) source: Option<String>,
    pub(super) date: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) name: Spanned<String>,
    pub(super) k: Spanned<u8>,
    pub(super) m: Spanned<u8>,
    pub(super) sites: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) exclude: Vec<Spanned<String>>,
    pub(super) guarantee: Spanned<RawGuarantee>,
    #[serde(default)]
    pub(super) on_outage: RawOnOutage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGuarantee {
    pub(super) cannot_read: Vec<Spanned<RawCoalition>>,
    pub(super) cannot_cut_off: Vec<Spanned<RawCoalition>>,
}

/// `"any jurisdiction"`, or a list of parties that act together.
pub(super) enum RawCoalition {
    Text(String),
    Parties(Vec<String>),
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawOnOutage {
    #[default]
    Refuse,
    Degrade,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTenant {
    pub(super) name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCredential {
    pub(super) access_key: Spanned<String>,
    pub(super) tenant: Spanned<String>,
    pub(super) secret_env: Option<String>,
    pub(super) secret_file: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) requests_max: Option<Spanned<u64>>,
    pub(super) connections_max: Option<Spanned<u64>>,
    pub(super) handshake_timeout_ms: Option<Spanned<u64>>,
    pub(super) header_timeout_ms: Option<Spanned<u64>>,
    pub(super) body_timeout_ms: Option<Spanned<u64>>,
    pub(super) write_timeout_ms: Option<Spanned<u64>>,
    pub(super) shutdown_timeout_ms: Option<Spanned<u64>>,
    pub(super) documents_bytes_max: Option<Spanned<u64>>,
    pub(super) repair_bytes_per_second: Option<Spanned<u64>>,
    pub(super) scrub_bytes_per_second: Option<Spanned<u64>>,
    pub(super) scrub_cycle_hours: Option<Spanned<u64>>,
    #[serde(default)]
    pub(super) scrub_whole: bool,
}

impl<'de> Deserialize<'de> for RawOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OptionVisitor;

        impl<'de> Visitor<'de> for OptionVisitor {
            type Value = RawOption;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a string, a number, true, false, { env = \"NAME\" } or { file = \"PATH\" }",
                )
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<RawOption, E> {
                Ok(RawOption::Value(value.to_owned()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<RawOption, E> {
                Ok(RawOption::Value(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<RawOption, E> {
                Ok(RawOption::Value(value.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawOption, A::Error> {
                RawSecret::deserialize(MapAccessDeserializer::new(map)).map(RawOption::Secret)
            }
        }

        deserializer.deserialize_any(OptionVisitor)
    }
}

impl<'de> Deserialize<'de> for RawControl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ControlVisitor;

        impl<'de> Visitor<'de> for ControlVisitor {
            type Value = RawControl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"majority\", \"secnumcloud\" or { alone = 0.25, together = 0.5, chains = \
                     \"whole\" }",
                )
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<RawControl, E> {
                Ok(RawControl::Named(value.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawControl, A::Error> {
                RawBounds::deserialize(MapAccessDeserializer::new(map)).map(RawControl::Own)
            }
        }

        deserializer.deserialize_any(ControlVisitor)
    }
}

impl<'de> Deserialize<'de> for RawCoalition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CoalitionVisitor;

        impl<'de> Visitor<'de> for CoalitionVisitor {
            type Value = RawCoalition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"any jurisdiction\", \"any 2 operators\", \"kind:name\", or a list of \
                     parties",
                )
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<RawCoalition, E> {
                Ok(RawCoalition::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawCoalition, A::Error> {
                let mut parties = Vec::new();
                while let Some(party) = seq.next_element()? {
                    parties.push(party);
                }
                Ok(RawCoalition::Parties(parties))
            }
        }

        deserializer.deserialize_any(CoalitionVisitor)
    }
}
