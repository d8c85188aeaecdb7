//! A drill: some parties show all that their sites hold, and we try to read it.
//!
//! **Invariant.** What is reported was read from these sites just now, and each attempt was really
//! made: shares were combined, chunks opened, and with the root key records and segments too.
//! Memory does not grow with what there is.
//!
//! **Deliberately absent.** The catalog, which the sites have not. What the sites know by their own
//! clocks and logs: it is said, not measured. Any plaintext: what opens is counted and dropped.
//!
//! **Crash.** Sites are only read.

mod list;
mod open;

pub use open::{Kind, WithKey};

use crate::config::Config;
use crate::statement::rfc3339;
use anyhow::{Result, bail, ensure};
use havre_model::ports::Clock;
use havre_model::{BlobName, SiteSet, Timestamp};
use havre_policy::{Facts, Harm, PartyId, PlacementPolicy};
use havre_seal::Keyring;
use havre_sites::Fleet;
use list::Listing;
use open::Opener;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Passes over the packs to find the keys in them, at most: tenants' and buckets' keys may stand
/// behind what needs them.
const KEY_PASSES_MAX: u32 = 8;
/// Extents that are tried at a time.
const EXTENTS_AT_ONCE: usize = 16;
/// Chains that are told apart.
const CHAINS_MAX: usize = 4096;

/// What was gathered and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seized {
    /// Blobs of records.
    pub packs: Kind,
    /// Blobs of large objects' bytes.
    pub extents: Kind,
    /// Chains of packs that the names tell apart.
    pub chains: u64,
    /// What the root key opened; absent when it was not tried.
    pub with_root_key: Option<WithKey>,
    /// Sites of the coalition that could not be listed to their end: what they hold is not counted.
    pub unlisted: Vec<String>,
}

/// The body of the statement `drill-seize`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeizeReport {
    /// The parties, as `kind:name`.
    pub coalition: Vec<String>,
    /// The sites that answer to them together.
    pub sites: Vec<String>,
    /// When the reading began and ended: RFC 3339.
    pub began: String,
    /// See `began`.
    pub ended: String,
    /// For each policy, the coalition of its guarantee under *cannot read* that covers these
    /// parties; `None` where there is none.
    pub promised: Vec<(String, Option<String>)>,
    /// Whether it went as promised; absent when some policy promised nothing.
    pub held: Option<bool>,
    /// What was gathered.
    pub seized: Seized,
    /// What the sites learn all the same.
    pub learnt: Vec<String>,
}

/// The whole drill: whom it is about, what they hold, what was promised.
///
/// # Errors
/// When no party, or more than one, is called so, or no site answers to them.
pub async fn drill(
    config: &Config,
    coalition: &[String],
    fleet: &Fleet,
    keyring: Option<&Keyring>,
    clock: &dyn Clock,
    hear: impl FnMut(u64, u64),
) -> Result<SeizeReport> {
    let facts = config.facts();
    let mut parties = Vec::with_capacity(coalition.len());
    for name in coalition {
        match facts.named(name)[..] {
            [party] => parties.push(party),
            [] => bail!("no party is called {name:?}; havre exposure lists them"),
            _ => bail!("several parties are called {name:?}: write kind:name"),
        }
    }
    let reach = facts.reach_together(&parties);
    ensure!(!reach.is_empty(), "no site answers to them");
    let promised = promises(facts, &config.placement_policies(), &parties);
    let began = rfc3339(clock.now());
    let seized = seize(fleet, reach, keyring, hear).await;
    Ok(SeizeReport {
        coalition: parties.iter().map(|party| facts.party(*party).to_string()).collect(),
        sites: reach.iter().map(|at| fleet.site(at).name().to_owned()).collect(),
        began,
        ended: rfc3339(clock.now()),
        held: held(&promised, &seized),
        promised,
        learnt: learnt(&seized),
        seized,
    })
}

/// What each policy promises of these parties: the coalition that covers them.
#[must_use]
pub fn promises(
    facts: &Facts,
    policies: &[PlacementPolicy],
    parties: &[PartyId],
) -> Vec<(String, Option<String>)> {
    let reach = facts.reach_together(parties);
    let promise = |policy: &PlacementPolicy| {
        let held = reach.intersection(policy.eligible());
        let mut coalitions = policy.coalitions().iter();
        let covers = coalitions.find(|it| it.harm == Harm::Read && held.is_subset(it.reach));
        let covered = match held.len() < policy.geometry().data() {
            true => Some("they have fewer sites than it takes".to_owned()),
            false => covers.map(|coalition| coalition.label.clone()),
        };
        (policy.name().to_owned(), covered)
    };
    policies.iter().map(promise).collect()
}

/// Whether it went as promised: `None` when some policy promises nothing, since a blob does not say
/// whose it is.
#[must_use]
pub fn held(promised: &[(String, Option<String>)], seized: &Seized) -> Option<bool> {
    let all = promised.iter().all(|(_, covered)| covered.is_some());
    all.then(|| [&seized.packs, &seized.extents].iter().all(|kind| kind.enough_shards == 0))
}

/// Gathers what these sites hold and tries to open it; `hear` gets how many blobs of how many were
/// tried.
pub async fn seize(
    fleet: &Fleet,
    sites: SiteSet,
    keyring: Option<&Keyring>,
    mut hear: impl FnMut(u64, u64),
) -> Seized {
    let mut seized = Seized::default();
    let opener = Opener { fleet, keyring, moved: Mutex::default() };
    let mut unlisted = BTreeSet::new();
    let mut chains = BTreeSet::new();
    let mut total = 0;
    for prefix in [BlobName::PACKS, BlobName::EXTENTS] {
        let mut listing = Listing::new(fleet, sites, prefix);
        while let Some(found) = listing.next().await {
            if let BlobName::Pack { chain, .. } = found.name
                && chains.len() < CHAINS_MAX
            {
                chains.insert(*chain.as_bytes());
            }
            total += 1;
        }
        unlisted.extend(listing.unlisted());
    }
    let mut packs = opener.packs(sites, false, |tried| hear(tried, total)).await;
    if keyring.is_some() && packs.kind.opened > 0 {
        for _ in 0..KEY_PASSES_MAX {
            let before = packs.missing_keys;
            packs = opener.packs(sites, false, |tried| hear(tried, total)).await;
            if packs.missing_keys == 0 || packs.missing_keys == before {
                break;
            }
        }
        packs = opener.packs(sites, true, |tried| hear(tried, total)).await;
    }
    let mut done = packs.kind.blobs;
    seized.packs = packs.kind;
    seized.with_root_key = keyring.map(|_| packs.with_key);
    let mut listing = Listing::new(fleet, sites, BlobName::EXTENTS);
    loop {
        let batch = listing.batch(EXTENTS_AT_ONCE).await;
        if batch.is_empty() {
            break;
        }
        let tries = batch.iter().map(|found| opener.extent(found));
        for (found, attempt) in batch.iter().zip(futures::future::join_all(tries).await) {
            seized.extents.count(found, &attempt);
            done += 1;
        }
        hear(done, total);
    }
    seized.chains = chains.len() as u64;
    seized.unlisted = unlisted.into_iter().collect();
    seized
}

/// What sites learn although nothing opens, as sentences with the figures that were seen.
#[must_use]
pub fn learnt(seized: &Seized) -> Vec<String> {
    let Seized { packs, extents, chains, .. } = seized;
    let lengths = |kind: &Kind| match (kind.shard_bytes_least, kind.shard_bytes_most) {
        (Some(least), Some(most)) => format!("shards of {least} to {most} bytes"),
        _ => "no shard".to_owned(),
    };
    let mut learnt = vec![
        format!(
            "{} packs on {chains} chains: {}, {} bytes",
            packs.blobs,
            lengths(packs),
            packs.bytes
        ),
        format!("{} extents: {}, {} bytes", extents.blobs, lengths(extents), extents.bytes),
        "the random ids, numbers and chains in their names, the geometry in their headers"
            .to_owned(),
        "by their own clocks, which nobody here can read: when each shard was written, read and \
         deleted, and from where"
            .to_owned(),
    ];
    if let (Some(first), Some(last)) = (packs.written_first, packs.written_last) {
        let time = |millis| rfc3339(Timestamp::from_millis(millis));
        learnt.push(format!("packs were written from {} to {}", time(first), time(last)));
    }
    if packs.records > 0 {
        learnt.push(format!("the lengths and scopes of {} records", packs.records));
    }
    learnt
}
