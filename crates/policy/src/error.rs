//! Why facts, a policy or a placement are refused.
//!
//! **Invariant.** Each text says what is wrong and, where it is not plain, what would mend it.
//!
//! **Deliberately absent.** Places in files: the configuration adds the line.
//!
//! **Crash.** Values only.

use crate::Harm;
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use havre_model::{Geometry, GeometryError, SiteId, limits::SITES_MAX};

/// Why the declared facts are refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// No site, or too many.
    #[error("{count} sites are declared; there must be at least 1 and at most {SITES_MAX}")]
    SiteCount {
        /// Sites declared.
        count: usize,
    },
    /// A name is blank.
    #[error("a {what} has an empty name")]
    EmptyName {
        /// What has it.
        what: &'static str,
    },
    /// Two sites are the same by name.
    #[error("site {name:?} has the name of another site, {other:?}; give it one of its own")]
    DuplicateSite {
        /// The later one.
        name: String,
        /// The earlier one.
        other: String,
    },
    /// Two operators have one name.
    #[error("operator {name:?} is declared twice; merge the two entries")]
    DuplicateOperator {
        /// The name.
        name: String,
    },
    /// Two operators are one legal entity.
    #[error(
        "operators {name:?} and {other:?} have the same {mark}: they are one legal entity and \
         must be one operator"
    )]
    SameEntity {
        /// The later one.
        name: String,
        /// The earlier one.
        other: String,
        /// What they share.
        mark: &'static str,
    },
    /// An owner appears twice at one operator.
    #[error("operator {operator:?} names its owner {owner:?} twice; add the two holdings up")]
    DuplicateOwner {
        /// The operator.
        operator: String,
        /// The owner.
        owner: String,
    },
    /// Companies hold next to all of each other.
    #[error(
        "{entity:?} and its owners hold next to all of each other, so that whom it answers to does \
         not follow from the shares; declare who holds the rest"
    )]
    Knot {
        /// One of them.
        entity: String,
    },
    /// Two alliances have one name.
    #[error("alliance {name:?} is declared twice, or is the name of a presumed one")]
    DuplicateAlliance {
        /// The name.
        name: String,
    },
    /// An alliance joins nobody.
    #[error("alliance {name:?} names no jurisdiction")]
    EmptyAlliance {
        /// The alliance.
        name: String,
    },
    /// An override is about an operator that is not declared.
    #[error("an override is about operator {operator:?}, which is not declared")]
    OverrideOperator {
        /// The operator.
        operator: String,
    },
    /// An override names no party that there is.
    #[error(
        "the override for operator {operator:?} names {party:?}, which is no party: write \
         \"jurisdiction:DE\", or \"operator:\", \"owner:\" or \"alliance:\" with a declared name"
    )]
    OverrideParty {
        /// The operator.
        operator: String,
        /// What it names.
        party: String,
    },
    /// An override repeats or contradicts another.
    #[error("operator {operator:?} has two overrides about {party:?}; keep one")]
    DuplicateOverride {
        /// The operator.
        operator: String,
        /// The party.
        party: String,
    },
    /// An override without a reason or a source.
    #[error(
        "the override for operator {operator:?} about {party:?} needs a reason and a source: it \
         stands above all other facts"
    )]
    BareOverride {
        /// The operator.
        operator: String,
        /// The party.
        party: String,
    },
    /// A seat names an operator that is not declared.
    #[error("{seat} names operator {operator:?}, which is not declared")]
    SeatOperator {
        /// The seat.
        seat: String,
        /// The operator.
        operator: String,
    },
    /// Nothing is said of a seat.
    #[error("{seat} needs an operator or a jurisdiction")]
    EmptySeat {
        /// The seat.
        seat: String,
    },
    /// A seat is declared twice.
    #[error("{seat} is declared twice; merge the two entries")]
    DuplicateSeat {
        /// The seat.
        seat: String,
    },
    /// More seats than are supported.
    #[error("more than {} administrators are declared", crate::facts::SEATS_MAX - 2)]
    TooManySeats,
    /// Two names of owners, or an owner's and an operator's, are one legal entity.
    #[error(
        "{owner:?} and {other:?} have the same LEI: they are one legal entity; write one name for \
         it"
    )]
    SameOwner {
        /// The later one.
        owner: String,
        /// The earlier one.
        other: String,
    },
    /// One name stands for two legal entities.
    #[error(
        "{owner:?} is declared with two LEIs, {lei} and {other}: give each entity its own name"
    )]
    TwoLeis {
        /// The owner.
        owner: String,
        /// The later LEI.
        lei: String,
        /// The earlier one.
        other: String,
    },
    /// Fractions sum to more than the whole.
    #[error("the owners of operator {operator:?} have more than the whole of its capital or votes")]
    OverOwned {
        /// The operator.
        operator: String,
    },
    /// The threshold is no fraction.
    #[error("{threshold} is no ownership threshold; 25 % is written 0.25")]
    Threshold {
        /// What was given.
        threshold: f64,
    },
    /// A site names an operator that is not declared.
    #[error("site {site:?} names operator {operator:?}, which is not declared")]
    UnknownOperator {
        /// The site.
        site: String,
        /// The operator.
        operator: String,
    },
    /// A jurisdiction is no code.
    #[error(
        "{code:?}, declared for {of:?}, is no jurisdiction; write an ISO 3166 code such as \"DE\" \
         or \"US-VA\""
    )]
    Jurisdiction {
        /// Whose it is.
        of: String,
        /// What was declared.
        code: String,
    },
    /// More parties than are supported.
    #[error("more than {} parties are declared", crate::facts::PARTIES_MAX)]
    TooManyParties,
}

/// A coalition that no allowed placement keeps within its limit, alone or with its fellows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The coalition, as `kind:name` joined by ` + `.
    pub coalition: String,
    /// What it must be unable to do.
    pub harm: Harm,
    /// Eligible sites within its reach.
    pub reach: Vec<String>,
    /// Shards it may be given at most.
    pub shards_max: usize,
    /// Shards it has to be given in every placement, when it alone is the reason; else 0.
    pub shards_forced: usize,
}

impl Conflict {
    fn text(&self, geometry: Geometry) -> String {
        let Self { coalition, reach, shards_max, shards_forced, .. } = self;
        let k = geometry.data();
        let sites = reach.join(", ");
        let (what, bound) = match self.harm {
            Harm::Read => (
                "could read",
                format!("may hold at most {shards_max}, because {k} shards suffice to read"),
            ),
            Harm::CutOff => (
                "could cut off",
                format!("may hold at most {shards_max}, because {k} must be left without it"),
            ),
        };
        if *shards_forced == 0 {
            return format!("{coalition} (it reaches {sites}) {bound}, or it {what}");
        }
        let total = geometry.total();
        format!(
            "{coalition} {what}: it reaches {sites} and would hold at least {shards_forced} of the \
             {total} shards; it {bound}"
        )
    }
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// `k` and `m` are no geometry.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The policy has no name.
    #[error("a policy has an empty name")]
    EmptyName,
    /// An eligible site is not declared.
    #[error("policy {policy:?} names site {site:?}, which is not declared")]
    UnknownSite {
        /// The policy.
        policy: String,
        /// The site.
        site: String,
    },
    /// A party has no reach, and is no jurisdiction's code.
    #[error(
        "policy {policy:?} names {party:?}, but no site answers to a party of that name; known are \
         {known}"
    )]
    UnknownParty {
        /// The policy.
        policy: String,
        /// The party.
        party: String,
        /// The parties there are.
        known: String,
    },
    /// A name alone fits several parties.
    #[error(
        "policy {policy:?} names {party:?}, which may be {}; write one of these",
        .parties.join(" or ")
    )]
    AmbiguousParty {
        /// The policy.
        policy: String,
        /// The name.
        party: String,
        /// The parties it fits.
        parties: Vec<String>,
    },
    /// A coalition of no party.
    #[error("policy {policy:?} names a coalition without a party")]
    EmptyCoalition {
        /// The policy.
        policy: String,
    },
    /// Fewer sites than shards.
    #[error(
        "policy {policy:?} disperses {} shards ({geometry}) but only {eligible} sites are \
         eligible: each shard needs a site of its own",
        .geometry.total()
    )]
    TooFewSites {
        /// The policy.
        policy: String,
        /// Its geometry.
        geometry: Geometry,
        /// Sites that it may use.
        eligible: usize,
    },
    /// The guarantee cannot hold for any placement.
    #[error("{}", unholdable(.policy, *.geometry, .conflicts, .alternatives))]
    Unholdable {
        /// The policy.
        policy: String,
        /// Its geometry.
        geometry: Geometry,
        /// Coalitions that cannot all be kept within their limits.
        conflicts: Vec<Conflict>,
        /// Geometries with which the same guarantee holds on the same sites.
        alternatives: Vec<Geometry>,
    },
    /// More coalitions, or a harder search, than is supported.
    #[error("policy {policy:?}: {what}; name fewer coalitions or fewer eligible sites")]
    TooComplex {
        /// The policy.
        policy: String,
        /// What there is too much of.
        what: &'static str,
    },
}

fn unholdable(
    policy: &str,
    geometry: Geometry,
    conflicts: &[Conflict],
    alternatives: &[Geometry],
) -> String {
    let reasons: Vec<String> = conflicts.iter().map(|conflict| conflict.text(geometry)).collect();
    let mut text = format!(
        "policy {policy:?} cannot keep its guarantee with {geometry} on any {} of its sites: {}",
        geometry.total(),
        reasons.join("; and ")
    );
    if alternatives.is_empty() {
        text.push_str("; add sites out of its reach");
    } else {
        let fit: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
        text.push_str("; on these sites it holds with ");
        text.push_str(&fit.join(" or "));
    }
    text
}

/// Why a shard may not go to a site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The policy does not allow the site: unknown, not listed, or within reach of an excluded
    /// party.
    #[error("policy {policy:?} does not allow site {site}")]
    NotEligible {
        /// The policy.
        policy: String,
        /// The site.
        site: SiteId,
    },
    /// Too few sites are open for a placement within the guarantee.
    #[error(
        "policy {policy:?} cannot place a {geometry} blob within its guarantee on the {open} sites \
         that are open to it; add sites, or admit some again"
    )]
    NoPlacement {
        /// The policy.
        policy: String,
        /// Sites that are eligible and not closed.
        open: usize,
        /// The policy's geometry.
        geometry: Geometry,
    },
    /// The site already has a shard of this blob.
    #[error("site {site} already holds a shard of this blob")]
    AlreadyHolds {
        /// The site.
        site: SiteId,
    },
    /// The index is not of the policy's geometry.
    #[error("shard {index} is not of a {geometry} blob")]
    ForeignIndex {
        /// The index.
        index: u8,
        /// The policy's geometry.
        geometry: Geometry,
    },
    /// With this shard, a coalition would hold enough to read.
    #[error("with a shard at site {site}, {coalition} would hold {shards} shards and could read")]
    CouldRead {
        /// The site.
        site: SiteId,
        /// The coalition.
        coalition: String,
        /// Shards it would hold.
        shards: usize,
    },
}
