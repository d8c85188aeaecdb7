//! The declared facts, and which sites each party can reach by them.
//!
//! **Invariant.** The exposure of a site has its operator, whoever owns that operator by the
//! threshold, the jurisdiction of its location and the jurisdictions of all of those; spelling
//! cannot split a party in two (case, a repeated LEI or legal name, `US-VA` without `US`).
//!
//! **Deliberately absent.** Whether the facts are true. Control rules other than one threshold, and
//! alliances, which widen exposure when they come; the trust domain's own host, key service and
//! administrators, which come as further parties.
//!
//! **Crash.** Built anew from the configuration at each start.

use crate::{FactsError, Party, PartyId, PartyKind};
use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::fmt;
use havre_model::{SiteId, SiteSet, limits::SITES_MAX};
use sha2::{Digest, Sha256};

/// Parties of one configuration.
pub(crate) const PARTIES_MAX: usize = 4096;

/// One declared site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its name: permanent, because its id is derived from it.
    pub name: String,
    /// The name of the operator that runs it.
    pub operator: String,
    /// The jurisdiction of its location: an ISO 3166 code, such as `DE` or `US-VA`.
    pub location: String,
}

/// One declared operator: a legal entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorFacts {
    /// Its name in the configuration.
    pub name: String,
    /// Its registered name.
    pub legal_name: Option<String>,
    /// Its Legal Entity Identifier (ISO 17442).
    pub lei: Option<String>,
    /// The jurisdiction under whose law it exists.
    pub incorporation: Option<String>,
    /// The jurisdiction it is led from.
    pub headquarters: Option<String>,
    /// Its declared owners.
    pub owners: Vec<Ownership>,
}

/// What one owner holds of an operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ownership {
    /// The owner. When this is the name of a declared operator, that one's owners count as well.
    pub owner: String,
    /// Fraction of the capital, 0 to 1.
    pub capital: Option<f64>,
    /// Fraction of the votes, 0 to 1.
    pub votes: Option<f64>,
    /// The jurisdiction that the owner answers to.
    pub jurisdiction: Option<String>,
    /// Where the fact comes from.
    pub source: Option<String>,
    /// When it was true.
    pub date: Option<String>,
}

/// Why a party can reach a site.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Link {
    /// It operates the site.
    Operates,
    /// It owns this operator by the threshold, or its shares are not declared.
    Owns {
        /// The operator owned.
        operator: String,
        /// Fraction of the capital.
        capital: Option<f64>,
        /// Fraction of the votes.
        votes: Option<f64>,
    },
    /// The site lies there.
    Location,
    /// This operator exists under its law.
    Incorporation {
        /// The operator.
        operator: String,
    },
    /// This operator is led from there.
    Headquarters {
        /// The operator.
        operator: String,
    },
    /// This owner answers to it.
    OwnerJurisdiction {
        /// The owner.
        owner: String,
    },
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operates => f.write_str("operates it"),
            Self::Owns { operator, capital, votes } => {
                let percent = |share: f64| share * 100.0;
                match (capital, votes) {
                    (None, None) => write!(f, "owns {operator} (share not declared)"),
                    (Some(c), None) => write!(f, "owns {:.1} % of {operator}", percent(*c)),
                    (None, Some(v)) => {
                        write!(f, "has {:.1} % of the votes in {operator}", percent(*v))
                    }
                    (Some(c), Some(v)) => write!(
                        f,
                        "owns {:.1} % of {operator} with {:.1} % of the votes",
                        percent(*c),
                        percent(*v)
                    ),
                }
            }
            Self::Location => f.write_str("it lies there"),
            Self::Incorporation { operator } => write!(f, "{operator} is incorporated there"),
            Self::Headquarters { operator } => write!(f, "{operator} has its headquarters there"),
            Self::OwnerJurisdiction { owner } => write!(f, "{owner} answers to it"),
        }
    }
}

/// The id of the site with this name: the first 8 bytes of SHA-256 over `havre site`, a zero byte
/// and the name. Stored with every blob, which is why a site's name is permanent.
#[must_use]
pub fn site_id(name: &str) -> SiteId {
    let digest = Sha256::new().chain_update(b"havre site\0").chain_update(name).finalize();
    let mut bytes = [0; SiteId::LEN];
    bytes.copy_from_slice(&digest[..SiteId::LEN]);
    SiteId::from_bytes(bytes)
}

/// The declared facts, checked, with the reach of every party.
#[derive(Clone, Debug)]
pub struct Facts {
    sites: Vec<SiteFacts>,
    site_ids: Vec<SiteId>,
    operators: Vec<OperatorFacts>,
    parties: Vec<Party>,
    exposure: Vec<BTreeSet<PartyId>>,
    links: Vec<Vec<(PartyId, Link)>>,
    reach: Vec<SiteSet>,
}

impl Facts {
    /// Checks the facts and computes exposure. An owner counts when its capital or its votes reach
    /// `ownership_threshold` (a fraction, 0 to 1), or when neither is declared.
    ///
    /// # Errors
    /// See [`FactsError`]: names repeated or unknown, fractions outside 0 to 1, codes that are
    /// none.
    pub fn new(
        sites: Vec<SiteFacts>,
        operators: Vec<OperatorFacts>,
        ownership_threshold: f64,
    ) -> Result<Self, FactsError> {
        if !(0.0..=1.0).contains(&ownership_threshold) {
            return Err(FactsError::Threshold { threshold: ownership_threshold });
        }
        check_sites(&sites)?;
        check_operators(&operators)?;
        let by_name: BTreeMap<String, &OperatorFacts> =
            operators.iter().map(|operator| (fold(&operator.name), operator)).collect();
        let mut builder = Builder {
            by_name: &by_name,
            threshold: ownership_threshold,
            parties: Vec::new(),
            index: BTreeMap::new(),
        };
        let mut links = Vec::with_capacity(sites.len());
        for site in &sites {
            links.push(builder.links_of(site)?);
        }
        let parties = builder.parties;
        let mut reach = alloc::vec![SiteSet::EMPTY; parties.len()];
        for (position, links) in links.iter().enumerate() {
            for (party, _) in links {
                reach[party.get()] = reach[party.get()].with(position);
            }
        }
        let exposure = links.iter().map(|l| l.iter().map(|(party, _)| *party).collect()).collect();
        let site_ids = sites.iter().map(|site| site_id(&site.name)).collect();
        Ok(Self { sites, site_ids, operators, parties, exposure, links, reach })
    }

    /// The sites, by position.
    #[must_use]
    pub fn sites(&self) -> &[SiteFacts] {
        &self.sites
    }

    /// The sites' ids, by position.
    #[must_use]
    pub fn site_ids(&self) -> &[SiteId] {
        &self.site_ids
    }

    /// The operators as declared.
    #[must_use]
    pub fn operators(&self) -> &[OperatorFacts] {
        &self.operators
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

    /// The parties that can reach any site, by [`PartyId::get`].
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

    /// Why each party can reach the site at `position`; a party may have several reasons.
    #[must_use]
    pub fn links(&self, position: usize) -> &[(PartyId, Link)] {
        &self.links[position]
    }

    /// The sites that the party can reach.
    #[must_use]
    pub fn reach(&self, party: PartyId) -> SiteSet {
        self.reach[party.get()]
    }

    /// The parties that `text` names: `kind:name`, or a name alone.
    pub(crate) fn named(&self, text: &str) -> Vec<PartyId> {
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

fn check_sites(sites: &[SiteFacts]) -> Result<(), FactsError> {
    if sites.is_empty() || sites.len() > SITES_MAX {
        return Err(FactsError::SiteCount { count: sites.len() });
    }
    let mut names = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for site in sites {
        if site.name.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "site" });
        }
        let other = names.insert(fold(&site.name), &site.name);
        if let Some(other) = other.or_else(|| ids.insert(site_id(&site.name), &site.name)) {
            return Err(FactsError::DuplicateSite {
                name: site.name.clone(),
                other: other.clone(),
            });
        }
    }
    Ok(())
}

fn check_operators(operators: &[OperatorFacts]) -> Result<(), FactsError> {
    let mut names = BTreeMap::new();
    let mut entities: BTreeMap<(&str, String), &String> = BTreeMap::new();
    for operator in operators {
        if operator.name.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "operator" });
        }
        if names.insert(fold(&operator.name), ()).is_some() {
            return Err(FactsError::DuplicateOperator { name: operator.name.clone() });
        }
        let marks = [("LEI", &operator.lei), ("legal name", &operator.legal_name)];
        for (mark, value) in marks {
            let Some(value) = value else { continue };
            if let Some(other) = entities.insert((mark, fold(value)), &operator.name) {
                return Err(FactsError::SameEntity {
                    name: operator.name.clone(),
                    other: other.clone(),
                    mark,
                });
            }
        }
        check_owners(operator)?;
    }
    Ok(())
}

fn check_owners(operator: &OperatorFacts) -> Result<(), FactsError> {
    let mut owners = BTreeSet::new();
    let (mut capital, mut votes) = (0.0, 0.0);
    for owner in &operator.owners {
        if owner.owner.trim().is_empty() {
            return Err(FactsError::EmptyName { what: "owner" });
        }
        if !owners.insert(fold(&owner.owner)) {
            return Err(FactsError::DuplicateOwner {
                operator: operator.name.clone(),
                owner: owner.owner.clone(),
            });
        }
        for fraction in [owner.capital, owner.votes].into_iter().flatten() {
            if !(0.0..=1.0).contains(&fraction) {
                return Err(FactsError::Fraction {
                    operator: operator.name.clone(),
                    owner: owner.owner.clone(),
                    fraction,
                });
            }
        }
        capital += owner.capital.unwrap_or(0.0);
        votes += owner.votes.unwrap_or(0.0);
    }
    // Declared fractions are rounded; a thousandth over the whole is no contradiction.
    if capital > 1.001 || votes > 1.001 {
        return Err(FactsError::OverOwned { operator: operator.name.clone() });
    }
    Ok(())
}

/// Interns parties while it walks the links of each site.
struct Builder<'a> {
    by_name: &'a BTreeMap<String, &'a OperatorFacts>,
    threshold: f64,
    parties: Vec<Party>,
    index: BTreeMap<(PartyKind, String), PartyId>,
}

impl Builder<'_> {
    fn links_of(&mut self, site: &SiteFacts) -> Result<Vec<(PartyId, Link)>, FactsError> {
        let unknown = || FactsError::UnknownOperator {
            site: site.name.clone(),
            operator: site.operator.clone(),
        };
        let operator = *self.by_name.get(&fold(&site.operator)).ok_or_else(unknown)?;
        let mut links = Vec::new();
        links.push((self.intern(PartyKind::Operator, &operator.name)?, Link::Operates));
        self.jurisdiction(&site.location, &site.name, &Link::Location, &mut links)?;
        let mut seen = BTreeSet::from([fold(&operator.name)]);
        let mut queue = alloc::vec![operator];
        while let Some(operator) = queue.pop() {
            self.entity(operator, &mut links)?;
            for owner in &operator.owners {
                if !self.counts(owner) {
                    continue;
                }
                self.owner(operator, owner, &mut links)?;
                let key = fold(&owner.owner);
                if let Some(parent) = self.by_name.get(&key).copied()
                    && seen.insert(key)
                {
                    let link = Link::Owns {
                        operator: operator.name.clone(),
                        capital: owner.capital,
                        votes: owner.votes,
                    };
                    links.push((self.intern(PartyKind::Operator, &parent.name)?, link));
                    queue.push(parent);
                }
            }
        }
        Ok(links)
    }

    /// Undeclared shares count: what is not known must be presumed.
    fn counts(&self, owner: &Ownership) -> bool {
        let reaches = |share: Option<f64>| share.is_some_and(|share| share >= self.threshold);
        (owner.capital.is_none() && owner.votes.is_none())
            || reaches(owner.capital)
            || reaches(owner.votes)
    }

    fn entity(
        &mut self,
        operator: &OperatorFacts,
        links: &mut Vec<(PartyId, Link)>,
    ) -> Result<(), FactsError> {
        let name = || operator.name.clone();
        if let Some(code) = &operator.incorporation {
            let link = Link::Incorporation { operator: name() };
            self.jurisdiction(code, &operator.name, &link, links)?;
        }
        if let Some(code) = &operator.headquarters {
            let link = Link::Headquarters { operator: name() };
            self.jurisdiction(code, &operator.name, &link, links)?;
        }
        Ok(())
    }

    fn owner(
        &mut self,
        operator: &OperatorFacts,
        owner: &Ownership,
        links: &mut Vec<(PartyId, Link)>,
    ) -> Result<(), FactsError> {
        let link = Link::Owns {
            operator: operator.name.clone(),
            capital: owner.capital,
            votes: owner.votes,
        };
        links.push((self.intern(PartyKind::Owner, &owner.owner)?, link));
        if let Some(code) = &owner.jurisdiction {
            let link = Link::OwnerJurisdiction { owner: owner.owner.clone() };
            self.jurisdiction(code, &owner.owner, &link, links)?;
        }
        Ok(())
    }

    /// A part of a state answers to the state: `US-VA` is `US` too.
    fn jurisdiction(
        &mut self,
        code: &str,
        of: &str,
        link: &Link,
        links: &mut Vec<(PartyId, Link)>,
    ) -> Result<(), FactsError> {
        if !is_code(code) {
            return Err(FactsError::Jurisdiction { of: of.to_owned(), code: code.to_owned() });
        }
        let code = code.trim().to_ascii_uppercase();
        if let Some((state, _)) = code.split_once('-')
            && state.len() == 2
        {
            links.push((self.intern(PartyKind::Jurisdiction, state)?, link.clone()));
        }
        links.push((self.intern(PartyKind::Jurisdiction, &code)?, link.clone()));
        Ok(())
    }

    fn intern(&mut self, kind: PartyKind, name: &str) -> Result<PartyId, FactsError> {
        let key = (kind, fold(name));
        if let Some(id) = self.index.get(&key) {
            return Ok(*id);
        }
        let next = u16::try_from(self.parties.len()).ok();
        let Some(next) = next.filter(|_| self.parties.len() < PARTIES_MAX) else {
            return Err(FactsError::TooManyParties);
        };
        let id = PartyId::new(next);
        self.parties.push(Party { kind, name: name.trim().to_owned() });
        self.index.insert(key, id);
        Ok(id)
    }
}
