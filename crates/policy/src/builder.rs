//! From what is declared to the parties and their reach.
//!
//! **Invariant.** Each party's members are the closure of its roots under the control rule, less
//! those that an override denies to it, to its state or, for an alliance, to the member that they
//! would answer to.
//!
//! **Deliberately absent.** Reasons: `why` computes them anew from the same roots.
//!
//! **Crash.** Pure.

use crate::{
    AllianceFacts, Declared, Evidence, Facts, FactsError, Members, Override, Party, PartyId,
    PartyKind, SeatFacts, SeatKind, Share,
    checks::{check, code},
    facts::{
        Basis, Entity, Origin, PARTIES_MAX, Place, SeatSet, fold, is_code, join, site_id, state_of,
    },
    graph::{Entities, Graph, Holding, Knot},
};
use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};
use havre_model::SiteSet;

/// The party that all owners outside the European Union are under
/// [`crate::ControlRule::SECNUMCLOUD`].
pub const OUTSIDE_EU: &str = "outside-eu";

/// Member states of the European Union, by ISO 3166 code.
pub const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

pub(crate) fn build(declared: Declared) -> Result<Facts, FactsError> {
    check(&declared)?;
    let mut alliances = declared.alliances.clone();
    if declared.rule.joins_outside_eu() {
        alliances.push(outside_eu());
    }
    let mut nodes = Nodes::default();
    nodes.read(&declared)?;
    let places = Places::read(&declared, &nodes)?;
    let overrides = overrides(&declared.overrides, &alliances, &nodes)?;
    let graph = Graph::new(nodes.holdings.clone(), declared.rule);
    let codes = codes(&nodes, &places, &overrides);
    let builder = Builder { nodes: &nodes, graph: &graph, overrides: &overrides, codes: &codes };
    let candidates = builder.candidates(&declared.seats, &alliances, &places)?;
    let telling = overrides.iter().map(|entry| builder.tells(entry, &alliances)).collect();
    let site_ids = declared.sites.iter().map(|site| site_id(&site.name)).collect();
    let mut facts = Facts {
        site_ids,
        entities: nodes.entities,
        graph,
        sites: places.sites,
        seats: places.seats,
        parties: Vec::new(),
        bases: Vec::new(),
        reach: Vec::new(),
        seats_held: Vec::new(),
        exposure: alloc::vec![BTreeSet::new(); declared.sites.len()],
        telling,
        alliances,
        declared,
    };
    for (party, basis) in candidates {
        add(&mut facts, party, basis)?;
    }
    Ok(facts)
}

fn outside_eu() -> AllianceFacts {
    AllianceFacts {
        name: OUTSIDE_EU.to_owned(),
        members: Members::AllBut(EU.iter().map(|code| (*code).to_owned()).collect()),
        evidence: Evidence {
            source: Some("presumed by the control rule: SecNumCloud 3.2, 19.6".to_owned()),
            date: None,
        },
    }
}

/// Takes the party in if it reaches anything.
fn add(facts: &mut Facts, party: Party, basis: Basis) -> Result<(), FactsError> {
    let touches = |place: &Place| {
        place.operator.is_some_and(|entity| basis.members.contains(&entity))
            || place.locations.iter().any(|code| basis.codes.contains(code))
    };
    let sites = facts.sites.iter().enumerate().filter(|(_, place)| touches(place));
    let reach: SiteSet = sites.map(|(position, _)| position).collect();
    let is_seat = |seat: &SeatFacts| {
        party.kind == PartyKind::Administrator
            && seat.kind == SeatKind::Administrator
            && fold(&seat.name) == fold(&party.name)
    };
    let seats = facts.seats.iter().zip(&facts.declared.seats).enumerate();
    let seats = seats.filter(|(_, (place, seat))| is_seat(seat) || touches(place));
    let seats_held = seats.fold(SeatSet::EMPTY, |all, (seat, _)| all.with(seat));
    if reach.is_empty() && seats_held.is_empty() {
        return Ok(());
    }
    if facts.parties.len() >= PARTIES_MAX {
        return Err(FactsError::TooManyParties);
    }
    let id = PartyId::new(u16::try_from(facts.parties.len()).expect("below PARTIES_MAX"));
    for position in reach.iter() {
        facts.exposure[position].insert(id);
    }
    facts.parties.push(party);
    facts.bases.push(basis);
    facts.reach.push(reach);
    facts.seats_held.push(seats_held);
    Ok(())
}

/// The entities, as they are found.
#[derive(Default)]
struct Nodes {
    entities: Vec<Entity>,
    holdings: Vec<Vec<Holding>>,
    index: BTreeMap<String, usize>,
}

impl Nodes {
    fn read(&mut self, declared: &Declared) -> Result<(), FactsError> {
        for (place, operator) in declared.operators.iter().enumerate() {
            let entity = self.intern(&operator.name);
            self.entities[entity].operator = Some(place);
            let codes = [
                (&operator.incorporation, Origin::Incorporation),
                (&operator.headquarters, Origin::Headquarters),
            ];
            for (text, origin) in codes {
                let Some(text) = text else { continue };
                self.entities[entity].seats.push((code(text, &operator.name)?, origin));
            }
        }
        for (operator, facts) in declared.operators.iter().enumerate() {
            let entity = self.index[&fold(&facts.name)];
            for (place, holding) in facts.owners.iter().enumerate() {
                let owner = self.intern(&holding.owner);
                if let Some(text) = &holding.jurisdiction {
                    let code = code(text, &holding.owner)?;
                    self.entities[owner].seats.push((code, Origin::Owner(operator, place)));
                }
                let one_of = |mine: Option<Share>, other: Option<Share>| mine.or(other);
                let (capital, votes) = (holding.capital, holding.votes);
                self.holdings[entity].push(Holding {
                    owner,
                    // What is not known must be presumed.
                    capital: one_of(capital, votes).unwrap_or(Share::WHOLE),
                    votes: one_of(votes, capital).unwrap_or(Share::WHOLE),
                });
            }
        }
        Ok(())
    }

    fn intern(&mut self, name: &str) -> usize {
        let next = self.entities.len();
        let entity = *self.index.entry(fold(name)).or_insert(next);
        if entity == next {
            let name = name.trim().to_owned();
            self.entities.push(Entity { name, operator: None, seats: Vec::new() });
            self.holdings.push(Vec::new());
        }
        entity
    }

    /// The declared operator of this name.
    fn operator(&self, name: &str) -> Option<usize> {
        let entity = *self.index.get(&fold(name))?;
        self.entities[entity].operator.map(|_| entity)
    }
}

struct Places {
    sites: Vec<Place>,
    seats: Vec<Place>,
}

impl Places {
    fn read(declared: &Declared, nodes: &Nodes) -> Result<Self, FactsError> {
        let mut sites = Vec::with_capacity(declared.sites.len());
        for site in &declared.sites {
            let unknown = || FactsError::UnknownOperator {
                site: site.name.clone(),
                operator: site.operator.clone(),
            };
            let operator = nodes.operator(&site.operator).ok_or_else(unknown)?;
            let locations = alloc::vec![code(&site.location, &site.name)?];
            sites.push(Place { operator: Some(operator), locations });
        }
        let mut seats = Vec::with_capacity(declared.seats.len());
        for seat in &declared.seats {
            let unknown = |operator: &String| FactsError::SeatOperator {
                seat: seat.to_string(),
                operator: operator.clone(),
            };
            let find = |name: &String| nodes.operator(name).ok_or_else(|| unknown(name));
            let operator = seat.operator.as_ref().map(find).transpose()?;
            let codes = seat.locations.iter().map(|text| code(text, &seat.to_string()));
            seats.push(Place { operator, locations: codes.collect::<Result<_, _>>()? });
        }
        Ok(Self { sites, seats })
    }
}

/// An override, resolved.
struct Resolved {
    entity: usize,
    target: Target,
    answers: bool,
}

#[derive(PartialEq, Eq)]
enum Target {
    /// An owner or an operator: one entity may be both.
    Entity(usize),
    Jurisdiction(String),
    Alliance(String),
}

fn overrides(
    declared: &[Override],
    alliances: &[AllianceFacts],
    nodes: &Nodes,
) -> Result<Vec<Resolved>, FactsError> {
    let resolve = |entry: &Override| {
        let unknown = || FactsError::OverrideOperator { operator: entry.operator.clone() };
        let entity = nodes.operator(&entry.operator).ok_or_else(unknown)?;
        let target = target(entry, alliances, nodes).ok_or_else(|| FactsError::OverrideParty {
            operator: entry.operator.clone(),
            party: entry.party.clone(),
        })?;
        Ok(Resolved { entity, target, answers: entry.answers })
    };
    declared.iter().map(resolve).collect()
}

fn target(entry: &Override, alliances: &[AllianceFacts], nodes: &Nodes) -> Option<Target> {
    let (word, name) = entry.party.split_once(':')?;
    match PartyKind::from_word(&fold(word))? {
        PartyKind::Operator => nodes.operator(name).map(Target::Entity),
        PartyKind::Owner => {
            let entity = *nodes.index.get(&fold(name))?;
            let owns = |holdings: &Vec<Holding>| holdings.iter().any(|h| h.owner == entity);
            nodes.holdings.iter().any(owns).then_some(Target::Entity(entity))
        }
        PartyKind::Jurisdiction => {
            is_code(name).then(|| Target::Jurisdiction(name.trim().to_ascii_uppercase()))
        }
        PartyKind::Alliance => {
            let known = alliances.iter().any(|a| fold(&a.name) == fold(name));
            known.then(|| Target::Alliance(fold(name)))
        }
        PartyKind::Administrator => None,
    }
    .filter(|target| *target != Target::Entity(nodes.index[&fold(&entry.operator)]))
}

/// Every code that is declared anywhere, with the states of parts, in order of appearance.
fn codes(nodes: &Nodes, places: &Places, overrides: &[Resolved]) -> Vec<String> {
    let located = places.sites.iter().chain(&places.seats).flat_map(|place| &place.locations);
    let seated = nodes.entities.iter().flat_map(|entity| entity.seats.iter().map(|(c, _)| c));
    let stated = overrides.iter().filter_map(|entry| match &entry.target {
        Target::Jurisdiction(code) => Some(code),
        Target::Entity(_) | Target::Alliance(_) => None,
    });
    let mut codes = Vec::new();
    let mut seen = BTreeSet::new();
    for code in located.chain(seated).chain(stated) {
        for code in [state_of(code), code.clone()] {
            if seen.insert(code.clone()) {
                codes.push(code);
            }
        }
    }
    codes
}

struct Builder<'a> {
    nodes: &'a Nodes,
    graph: &'a Graph,
    overrides: &'a [Resolved],
    codes: &'a [String],
}

impl Builder<'_> {
    /// Every party that may reach something: operators and jurisdictions of sites first, in the
    /// sites' order.
    fn candidates(
        &self,
        seats: &[SeatFacts],
        alliances: &[AllianceFacts],
        places: &Places,
    ) -> Result<Vec<(Party, Basis)>, FactsError> {
        let mut candidates = Vec::new();
        let mut seen = BTreeSet::new();
        let run = places.sites.iter().filter_map(|place| place.operator);
        let all = 0..self.nodes.entities.len();
        for entity in run.chain(all.clone()) {
            if self.nodes.entities[entity].operator.is_some() && seen.insert(entity) {
                let basis = self.entity(entity)?;
                candidates.push((self.party(PartyKind::Operator, entity), basis));
            }
        }
        for entity in all {
            // Who only holds what counts for nothing is no party.
            let basis = self.entity(entity)?;
            if basis.members.len() > 1 {
                candidates.push((self.party(PartyKind::Owner, entity), basis));
            }
        }
        let mut jurisdictions = BTreeMap::new();
        for code in self.codes {
            let basis = self.jurisdiction(code)?;
            jurisdictions.insert(code.clone(), basis.clone());
            candidates.push((Party { kind: PartyKind::Jurisdiction, name: code.clone() }, basis));
        }
        for alliance in alliances {
            let basis = self.alliance(alliance, &jurisdictions)?;
            let name = alliance.name.trim().to_owned();
            candidates.push((Party { kind: PartyKind::Alliance, name }, basis));
        }
        let administrators = seats.iter().filter(|s| s.kind == SeatKind::Administrator);
        for seat in administrators {
            let name = seat.name.trim().to_owned();
            candidates.push((Party { kind: PartyKind::Administrator, name }, Basis::default()));
        }
        Ok(candidates)
    }

    fn party(&self, kind: PartyKind, entity: usize) -> Party {
        Party { kind, name: self.nodes.entities[entity].name.clone() }
    }

    fn entity(&self, entity: usize) -> Result<Basis, FactsError> {
        let is_target = |target: &Target| *target == Target::Entity(entity);
        let mut roots = self.stated(true, is_target);
        roots.insert(entity);
        self.basis(roots, self.stated(false, is_target), BTreeSet::new())
    }

    fn jurisdiction(&self, code: &str) -> Result<Basis, FactsError> {
        let is_of = |part: &str| part == code || state_of(part) == code;
        let parts = self.codes.iter().filter(|part| is_of(part)).cloned().collect();
        let mut roots = self.stated(true, |target| match target {
            Target::Jurisdiction(part) => is_of(part),
            Target::Entity(_) | Target::Alliance(_) => false,
        });
        for (entity, node) in self.nodes.entities.iter().enumerate() {
            if node.seats.iter().any(|(part, _)| is_of(part)) {
                roots.insert(entity);
            }
        }
        // Who does not answer to the state does not answer to a part of it.
        let denied = self.stated(false, |target| match target {
            Target::Jurisdiction(whole) => *whole == code || *whole == state_of(code),
            Target::Entity(_) | Target::Alliance(_) => false,
        });
        self.basis(roots, denied, parts)
    }

    fn alliance(
        &self,
        alliance: &AllianceFacts,
        jurisdictions: &BTreeMap<String, Basis>,
    ) -> Result<Basis, FactsError> {
        let listed: BTreeSet<String> =
            alliance.members.codes().iter().map(|code| code.trim().to_ascii_uppercase()).collect();
        let lists = |code: &String| listed.contains(code) || listed.contains(&state_of(code));
        let is_member = |code: &String| match alliance.members {
            Members::These(_) => lists(code),
            // Of a state of which parts are exempt, the other parts are members, and not the state.
            Members::AllBut(_) => {
                !lists(code) && !listed.iter().any(|part| state_of(part) == *code)
            }
        };
        let members: Vec<&Basis> =
            jurisdictions.iter().filter(|(code, _)| is_member(code)).map(|(_, b)| b).collect();
        let (mut roots, mut denied) = join(&members);
        let is_target = |target: &Target| *target == Target::Alliance(fold(&alliance.name));
        roots.extend(self.stated(true, is_target));
        let denied_here = self.stated(false, is_target);
        denied.extend(&denied_here);
        let codes = self.codes.iter().filter(|code| is_member(code)).cloned().collect();
        let mut basis = self.basis(roots, denied, codes)?;
        let alone = members.iter().flat_map(|member| member.members.iter().copied());
        basis.members.extend(alone.filter(|entity| !denied_here.contains(entity)));
        Ok(basis)
    }

    /// The entities that overrides say to answer, or not to answer, to the party.
    fn stated(&self, answers: bool, is_target: impl Fn(&Target) -> bool) -> Entities {
        let matching = self.overrides.iter().filter(|entry| entry.answers == answers);
        matching.filter(|entry| is_target(&entry.target)).map(|entry| entry.entity).collect()
    }

    fn basis(
        &self,
        roots: Entities,
        denied: Entities,
        codes: BTreeSet<String>,
    ) -> Result<Basis, FactsError> {
        let closure = self.graph.closure(&roots, &denied);
        let closure = closure.map_err(|Knot(entity)| FactsError::Knot {
            entity: self.nodes.entities[entity].name.clone(),
        })?;
        let members = closure.members;
        let roots: Entities = roots.difference(&denied).copied().collect();
        let mut held = members.iter().flat_map(|member| self.graph.held_by(*member));
        let has_stakes = held.any(|(entity, _)| !members.contains(entity));
        Ok(Basis { roots, denied, members, codes, has_stakes })
    }

    /// Whether the facts say otherwise than the override; shares that settle nothing do.
    fn tells(&self, entry: &Resolved, alliances: &[AllianceFacts]) -> bool {
        let without = Builder { overrides: &[], ..*self };
        let basis = match &entry.target {
            Target::Entity(entity) => without.entity(*entity),
            Target::Jurisdiction(code) => without.jurisdiction(code),
            Target::Alliance(name) => {
                let alliance = alliances.iter().find(|alliance| fold(&alliance.name) == *name);
                let alliance = alliance.expect("an override names a declared alliance");
                let each = self.codes.iter();
                let each = each.map(|code| Ok((code.clone(), without.jurisdiction(code)?)));
                let each: Result<_, FactsError> = each.collect();
                each.and_then(|jurisdictions| without.alliance(alliance, &jurisdictions))
            }
        };
        basis.map_or(true, |basis| basis.members.contains(&entry.entity) != entry.answers)
    }
}
