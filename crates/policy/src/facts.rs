//! The declared facts, and which sites each party can reach by them.
//!
//! **Invariant.** The exposure of a site has its operator, whoever that operator answers to by the
//! control rule, the jurisdiction of its location, the jurisdictions of all of those, the alliances
//! of all these jurisdictions, and nobody whom an override denies; spelling cannot split a party in
//! two (case, a repeated LEI or legal name, `US-VA` without `US`).
//!
//! **Deliberately absent.** Whether the facts are true. Holdings of parties that are not declared.
//!
//! **Crash.** Built anew from the configuration at each start.

use crate::{
    AllianceFacts, ControlRule, Declared, FactsError, OperatorFacts, Override, Party, PartyId,
    PartyKind, SeatFacts, Share, SiteFacts,
    builder::build,
    graph::{Entities, Graph},
    share::Chains,
};
use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec::Vec,
};
use havre_model::{SiteId, SiteSet};
use sha2::{Digest, Sha256};

/// Parties of one configuration.
pub(crate) const PARTIES_MAX: usize = 4096;
/// Seats of one configuration: host, key service and administrators.
pub(crate) const SEATS_MAX: usize = 64;

/// The id of the site with this name: the first 8 bytes of SHA-256 over `havre site`, a zero byte
/// and the name. Stored with every blob, which is why a site's name is permanent.
#[must_use]
pub fn site_id(name: &str) -> SiteId {
    let digest = Sha256::new().chain_update(b"havre site\0").chain_update(name).finalize();
    let mut bytes = [0; SiteId::LEN];
    bytes.copy_from_slice(&digest[..SiteId::LEN]);
    SiteId::from_bytes(bytes)
}

/// The seats of the trust domain that a party can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeatSet(pub(crate) u64);

const _: () = assert!(SEATS_MAX <= 64, "a SeatSet has 64 bits");

impl SeatSet {
    /// No seat.
    pub const EMPTY: Self = Self(0);

    pub(crate) const fn with(self, seat: usize) -> Self {
        Self(self.0 | 1 << seat)
    }

    /// Whether no seat is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Seats in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Seats in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Places in [`Facts::seats`], lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..SEATS_MAX).filter(move |seat| self.0 & 1 << seat != 0)
    }
}

/// A legal entity: a declared operator, an owner, or both.
#[derive(Clone, Debug)]
pub(crate) struct Entity {
    pub(crate) name: String,
    /// Its place among the declared operators.
    pub(crate) operator: Option<usize>,
    /// The jurisdictions that it answers to by itself, and by what.
    pub(crate) seats: Vec<(String, Origin)>,
}

/// What ties an entity to a jurisdiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It exists under its law.
    Incorporation,
    /// It is led from there.
    Headquarters,
    /// It is declared so as an owner: of this operator, at this place.
    Owner(usize, usize),
}

/// What a party's reach follows from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Basis {
    /// Entities that are the party, or answer to it by themselves.
    pub(crate) roots: Entities,
    /// Entities that do not answer to it whatever they are held by.
    pub(crate) denied: Entities,
    /// Entities that answer to it.
    pub(crate) members: Entities,
    /// Codes of jurisdictions that are the party, parts of it or members.
    pub(crate) codes: BTreeSet<String>,
    /// Whether it has a share of an entity that does not answer to it, so that others may hold that
    /// one together with it.
    pub(crate) has_stakes: bool,
}

/// Where shards or keys are: what a site and a seat have in common.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) operator: Option<usize>,
    pub(crate) locations: Vec<String>,
}

/// The declared facts, checked, with the reach of every party.
#[derive(Clone, Debug)]
pub struct Facts {
    pub(crate) declared: Declared,
    /// Those that are declared and those that the control rule presumes.
    pub(crate) alliances: Vec<AllianceFacts>,
    pub(crate) site_ids: Vec<SiteId>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) graph: Graph,
    pub(crate) sites: Vec<Place>,
    pub(crate) seats: Vec<Place>,
    pub(crate) parties: Vec<Party>,
    /// By party.
    pub(crate) bases: Vec<Basis>,
    /// By party.
    pub(crate) reach: Vec<SiteSet>,
    /// By party.
    pub(crate) seats_held: Vec<SeatSet>,
    pub(crate) exposure: Vec<BTreeSet<PartyId>>,
    /// By override: whether the facts say otherwise without it.
    pub(crate) telling: Vec<bool>,
}

impl Facts {
    /// Checks sites and operators and computes exposure. An owner counts when its capital or its
    /// votes reach `ownership_threshold` (a fraction, 0 to 1), alone or with others that answer to
    /// the same jurisdiction, or when neither is declared.
    ///
    /// # Errors
    /// See [`FactsError`]: names repeated or unknown, a threshold outside 0 to 1, codes that are
    /// none.
    pub fn new(
        sites: Vec<SiteFacts>,
        operators: Vec<OperatorFacts>,
        ownership_threshold: f64,
    ) -> Result<Self, FactsError> {
        let rule = Share::from_fraction(ownership_threshold)
            .and_then(|share| ControlRule::own(share, share, Chains::Whole))
            .ok_or(FactsError::Threshold { threshold: ownership_threshold })?;
        Self::declare(Declared::new(sites, operators, rule))
    }

    /// Checks all that is declared and computes exposure.
    ///
    /// # Errors
    /// See [`FactsError`]: whatever is repeated, unknown or ambiguous.
    pub fn declare(declared: Declared) -> Result<Self, FactsError> {
        build(declared)
    }

    /// Everything as it was declared.
    #[must_use]
    pub const fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The sites, by position.
    #[must_use]
    pub fn sites(&self) -> &[SiteFacts] {
        &self.declared.sites
    }

    /// The sites' ids, by position.
    #[must_use]
    pub fn site_ids(&self) -> &[SiteId] {
        &self.site_ids
    }

    /// The operators as declared.
    #[must_use]
    pub fn operators(&self) -> &[OperatorFacts] {
        &self.declared.operators
    }

    /// The seats of the trust domain as declared.
    #[must_use]
    pub fn seats(&self) -> &[SeatFacts] {
        &self.declared.seats
    }

    /// The overrides, each with whether the facts say otherwise without it.
    pub fn overrides(&self) -> impl Iterator<Item = (&Override, bool)> {
        self.declared.overrides.iter().zip(self.telling.iter().copied())
    }

    /// The alliances as declared, with those that the control rule presumes.
    #[must_use]
    pub fn alliances(&self) -> &[AllianceFacts] {
        &self.alliances
    }

    /// Which owners are obeyed.
    #[must_use]
    pub const fn rule(&self) -> ControlRule {
        self.declared.rule
    }

    /// Where the site stands in the configuration; `None` when it is not declared (any more).
    #[must_use]
    pub fn position(&self, site: SiteId) -> Option<usize> {
        self.site_ids.iter().position(|id| *id == site)
    }

    /// All sites.
    #[must_use]
    pub fn all(&self) -> SiteSet {
        (0..self.sites.len()).collect()
    }

    /// The parties that can reach any site or seat, by [`PartyId::get`].
    #[must_use]
    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// Every id of [`Self::parties`].
    pub fn party_ids(&self) -> impl Iterator<Item = PartyId> + use<> {
        let count = u16::try_from(self.parties.len()).expect("at most PARTIES_MAX parties");
        (0..count).map(PartyId::new)
    }

    /// The party with this id.
    #[must_use]
    pub fn party(&self, id: PartyId) -> &Party {
        &self.parties[id.get()]
    }

    /// Every party that can reach the site at `position`.
    #[must_use]
    pub fn exposure(&self, position: usize) -> &BTreeSet<PartyId> {
        &self.exposure[position]
    }

    /// The sites that the party can reach.
    #[must_use]
    pub fn reach(&self, party: PartyId) -> SiteSet {
        self.reach[party.get()]
    }

    /// The sites that the parties can reach when they act together: those of each, and those of
    /// operators that only all of them hold between them.
    #[must_use]
    pub fn reach_together(&self, parties: &[PartyId]) -> SiteSet {
        let each = parties.iter().fold(SiteSet::EMPTY, |all, id| all.union(self.reach(*id)));
        let with_stakes = parties.iter().filter(|id| self.has_stakes(**id)).count();
        if with_stakes < 2 {
            return each;
        }
        let bases: Vec<&Basis> = parties.iter().map(|id| &self.bases[id.get()]).collect();
        let (roots, denied) = join(&bases);
        match self.graph.closure(&roots, &denied) {
            Ok(closure) => each.union(self.sites_of(&closure.members)),
            // Each of them settled alone, so this does not happen; if it does, all is presumed.
            Err(_) => self.all(),
        }
    }

    /// Whether the party has a share of somebody who does not answer to it: only such parties reach
    /// more together than each for itself.
    pub(crate) fn has_stakes(&self, party: PartyId) -> bool {
        self.bases[party.get()].has_stakes
    }

    /// The sites that these entities run.
    fn sites_of(&self, members: &Entities) -> SiteSet {
        let run = |place: &Place| place.operator.is_some_and(|entity| members.contains(&entity));
        let sites = self.sites.iter().enumerate().filter(|(_, place)| run(place));
        sites.map(|(position, _)| position).collect()
    }

    /// The seats of the trust domain that the party can reach.
    #[must_use]
    pub fn seats_held(&self, party: PartyId) -> SeatSet {
        self.seats_held[party.get()]
    }

    /// The parties that `text` names: `kind:name`, or a name alone.
    #[must_use]
    pub fn named(&self, text: &str) -> Vec<PartyId> {
        let (kind, name) = match text.split_once(':') {
            Some((word, name)) => match PartyKind::from_word(&fold(word)) {
                Some(kind) => (Some(kind), fold(name)),
                None => (None, fold(text)),
            },
            None => (None, fold(text)),
        };
        self.party_ids()
            .filter(|id| {
                let party = self.party(*id);
                kind.is_none_or(|kind| kind == party.kind) && fold(&party.name) == name
            })
            .collect()
    }
}

/// What several parties' reach together follows from.
pub(crate) fn join(bases: &[&Basis]) -> (Entities, Entities) {
    let all = |part: fn(&Basis) -> &Entities| -> Entities {
        bases.iter().flat_map(|basis| part(basis).iter().copied()).collect()
    };
    let members = all(|basis| &basis.members);
    // Who is denied to one of them and answers to another answers to them.
    let denied = all(|basis| &basis.denied).difference(&members).copied().collect();
    (all(|basis| &basis.roots), denied)
}

/// What makes two spellings one name.
pub(crate) fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Whether the text has the form of a jurisdiction's code: `DE`, `US-VA`, or a longer word of a
/// trial's own, of letters, digits and hyphens.
pub(crate) fn is_code(text: &str) -> bool {
    let text = text.trim();
    text.len() <= 32
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The state that a code is of: itself, or `US` for `US-VA`.
pub(crate) fn state_of(code: &str) -> String {
    match code.split_once('-') {
        Some((state, _)) if state.len() == 2 => state.to_string(),
        _ => code.to_string(),
    }
}
