//! GLEIF's files, row by row: who is who (level 1) and who consolidates whom (level 2).
//!
//! **Invariant.** A row is taken only if it is of a known column, of an active relationship, and
//! names two LEIs; a consolidation means control and never a share.
//!
//! **Deliberately absent.** Files and CSV: the caller reads. Fund management and branches, which
//! are no ownership; reporting exceptions.
//!
//! **Crash.** Pure.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

/// Legal Entity Identifiers that one import follows: those of the configuration and everybody above
/// them.
pub const LEIS_MAX: usize = 4096;

/// A Legal Entity Identifier of the right form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lei([u8; 20]);

impl Lei {
    /// Reads an LEI: 20 capitals and digits whose check digits agree (ISO 17442: letters count from
    /// 10, and the number is 1 modulo 97).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let digit = |rest: u64, byte: u8| match byte {
            b'0'..=b'9' => Some((rest * 10 + u64::from(byte - b'0')) % 97),
            b'A'..=b'Z' => Some((rest * 100 + u64::from(byte - b'A') + 10) % 97),
            _ => None,
        };
        let bytes: [u8; 20] = text.trim().as_bytes().try_into().ok()?;
        (bytes.iter().copied().try_fold(0, digit) == Some(1)).then_some(Self(bytes))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("capitals and digits")
    }
}

impl core::fmt::Display for Lei {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::fmt::Debug for Lei {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns of a file are not those of GLEIF's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file has no column {missing:?}: GLEIF's level 1 has \"LEI\" and \"Entity.LegalName\", its \
     level 2 \"Relationship.StartNode.NodeID\""
)]
pub struct ColumnError {
    /// A column that is not there.
    pub missing: &'static str,
}

/// Which of GLEIF's files one is, with the places of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GleifColumns {
    /// Level 1: entities.
    Entities(EntityColumns),
    /// Level 2: relationships.
    Relationships(RelationshipColumns),
}

/// Places of the columns of level 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityColumns {
    lei: usize,
    name: usize,
    jurisdiction: Option<usize>,
    headquarters: Option<usize>,
    status: Option<usize>,
    updated: Option<usize>,
}

/// Places of the columns of level 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationshipColumns {
    child: usize,
    parent: usize,
    kind: usize,
    status: usize,
    /// Amount and unit of each quantifier.
    quantifiers: Vec<(usize, Option<usize>)>,
    updated: Option<usize>,
}

impl GleifColumns {
    /// Finds out by its header which file it is.
    ///
    /// # Errors
    /// When it is neither.
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Result<Self, ColumnError> {
        let places: BTreeMap<&str, usize> = header
            .into_iter()
            .enumerate()
            .map(|(place, name)| (name.trim().trim_start_matches('\u{feff}'), place))
            .collect();
        let find = |name: &'static str| places.get(name).copied();
        let need = |missing: &'static str| find(missing).ok_or(ColumnError { missing });
        if let Some(child) = find("Relationship.StartNode.NodeID") {
            let amounts = places.iter().filter_map(|(name, place)| {
                let base = name.strip_suffix("QuantifierAmount")?;
                base.starts_with("Relationship.Quantifiers").then_some((base, *place))
            });
            let unit = |base: &str| places.get((base.to_owned() + "QuantifierUnits").as_str());
            let quantifiers = amounts.map(|(base, place)| (place, unit(base).copied())).collect();
            return Ok(Self::Relationships(RelationshipColumns {
                child,
                parent: need("Relationship.EndNode.NodeID")?,
                kind: need("Relationship.RelationshipType")?,
                status: need("Relationship.RelationshipStatus")?,
                quantifiers,
                updated: find("Registration.LastUpdateDate"),
            }));
        }
        Ok(Self::Entities(EntityColumns {
            lei: need("LEI")?,
            name: need("Entity.LegalName")?,
            jurisdiction: find("Entity.LegalJurisdiction"),
            headquarters: find("Entity.HeadquartersAddress.Country"),
            status: find("Entity.EntityStatus"),
            updated: find("Registration.LastUpdateDate"),
        }))
    }
}

/// An entity of level 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GleifEntity {
    /// Its identifier.
    pub lei: Lei,
    /// Its registered name.
    pub name: String,
    /// Under whose law it exists.
    pub jurisdiction: Option<String>,
    /// The state that it is led from.
    pub headquarters: Option<String>,
    /// Whether it is in existence; `true` when the file does not say.
    pub active: bool,
    /// The day of the record, as `2026-01-31`.
    pub date: Option<String>,
}

impl EntityColumns {
    /// The identifier of a row: all that is looked at of most.
    #[must_use]
    pub fn lei<'a>(&self, field: impl Fn(usize) -> Option<&'a str>) -> Option<Lei> {
        Lei::new(field(self.lei)?)
    }

    /// The name of a row.
    #[must_use]
    pub fn name<'a>(&self, field: impl Fn(usize) -> Option<&'a str>) -> Option<&'a str> {
        field(self.name)
    }

    /// The entity of a row; `None` when it has no identifier or no name.
    #[must_use]
    pub fn entity<'a>(&self, field: impl Fn(usize) -> Option<&'a str>) -> Option<GleifEntity> {
        let text = |place: Option<usize>| place.and_then(&field).map(str::trim);
        let code = |place| text(place).filter(|code| is_code(code)).map(str::to_ascii_uppercase);
        let name = text(Some(self.name)).filter(|name| !name.is_empty())?;
        Some(GleifEntity {
            lei: self.lei(&field)?,
            name: name.to_string(),
            jurisdiction: code(self.jurisdiction),
            headquarters: code(self.headquarters),
            active: text(self.status).is_none_or(|status| status.is_empty() || status == "ACTIVE"),
            date: day(text(self.updated)),
        })
    }
}

/// What a relationship of level 2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consolidation {
    /// By the parent next to it.
    Direct,
    /// By the last parent of the chain.
    Ultimate,
}

impl Consolidation {
    /// GLEIF's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Direct => "IS_DIRECTLY_CONSOLIDATED_BY",
            Self::Ultimate => "IS_ULTIMATELY_CONSOLIDATED_BY",
        }
    }
}

/// An active relationship of level 2: the parent controls the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relationship {
    /// Who is consolidated.
    pub child: Lei,
    /// By whom.
    pub parent: Lei,
    /// How.
    pub kind: Consolidation,
    /// Quantifiers as the file has them, such as `100 PERCENTAGE`: shown, and never taken for the
    /// share, because a consolidated company is controlled whatever is held of it.
    pub quantifiers: Vec<String>,
    /// The day of the record.
    pub date: Option<String>,
}

impl RelationshipColumns {
    /// The relationship of a row; `None` when it is not active or no consolidation.
    #[must_use]
    pub fn relationship<'a>(
        &self,
        field: impl Fn(usize) -> Option<&'a str>,
    ) -> Option<Relationship> {
        let text = |place: usize| field(place).map(str::trim);
        if text(self.status)? != "ACTIVE" {
            return None;
        }
        let kinds = [Consolidation::Direct, Consolidation::Ultimate];
        let kind = text(self.kind)?;
        let kind = kinds.into_iter().find(|known| known.word() == kind)?;
        let (child, parent) = (Lei::new(text(self.child)?)?, Lei::new(text(self.parent)?)?);
        let quantifier = |(amount, unit): &(usize, Option<usize>)| {
            let amount = text(*amount).filter(|amount| !amount.is_empty())?;
            let unit = unit.and_then(text).unwrap_or_default();
            let cut = |text: &str| text.chars().take(32).collect::<String>();
            Some((cut(amount) + " " + &cut(unit)).trim_end().to_string())
        };
        (child != parent).then(|| Relationship {
            child,
            parent,
            kind,
            quantifiers: self.quantifiers.iter().filter_map(quantifier).collect(),
            date: day(self.updated.and_then(text)),
        })
    }
}

/// Follows relationships upwards, one pass over the file after the other: a parent found in one
/// pass is a child to look for in the next.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    wanted: BTreeSet<Lei>,
    /// By child and parent: the direct one stands for both.
    found: BTreeMap<(Lei, Lei), Relationship>,
    grew: bool,
    full: bool,
}

impl Chain {
    /// Begins with these entities.
    #[must_use]
    pub fn new(from: impl IntoIterator<Item = Lei>) -> Self {
        let wanted: BTreeSet<Lei> = from.into_iter().take(LEIS_MAX).collect();
        Self { wanted, ..Self::default() }
    }

    /// Takes the relationship if its child is one of those looked for.
    pub fn take(&mut self, relationship: Relationship) {
        if !self.wanted.contains(&relationship.child) {
            return;
        }
        if !self.wanted.contains(&relationship.parent) {
            if self.wanted.len() >= LEIS_MAX {
                self.full = true;
                return;
            }
            self.wanted.insert(relationship.parent);
            self.grew = true;
        }
        let key = (relationship.child, relationship.parent);
        let known = self.found.get(&key);
        if known.is_none_or(|known| known.kind > relationship.kind) {
            self.found.insert(key, relationship);
        }
    }

    /// Whether the pass that has ended found somebody new, so that another has to follow.
    pub fn next_pass(&mut self) -> bool {
        core::mem::take(&mut self.grew)
    }

    /// The entities that were begun with, and everybody above them.
    #[must_use]
    pub const fn entities(&self) -> &BTreeSet<Lei> {
        &self.wanted
    }

    /// Whether there were more than [`LEIS_MAX`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// What was found above an entity. An ultimate parent that is reached over direct ones is left
    /// out: the chain says it.
    pub fn parents(&self, child: Lei) -> impl Iterator<Item = &Relationship> {
        let of_child = self.found.values().filter(move |found| found.child == child);
        of_child.filter(move |found| {
            found.kind == Consolidation::Direct || !self.is_reached_directly(child, found.parent)
        })
    }

    fn is_reached_directly(&self, child: Lei, ultimate: Lei) -> bool {
        let mut seen = BTreeSet::from([child]);
        let mut queue = alloc::vec![child];
        while let Some(next) = queue.pop() {
            let direct = self
                .found
                .values()
                .filter(|found| found.child == next && found.kind == Consolidation::Direct);
            for found in direct {
                if found.parent == ultimate {
                    return true;
                }
                if seen.insert(found.parent) {
                    queue.push(found.parent);
                }
            }
        }
        false
    }
}

/// A state or a part of it, as the configuration takes them.
pub(crate) fn is_code(code: &str) -> bool {
    let (state, part) = code.split_once('-').map_or((code, None), |(s, p)| (s, Some(p)));
    state.len() == 2
        && state.bytes().all(|byte| byte.is_ascii_alphabetic())
        && part.is_none_or(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// The day of a time, as `2026-01-31`.
pub(crate) fn day(text: Option<&str>) -> Option<String> {
    let day = text?.get(..10)?;
    let digits = day.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    digits.then(|| day.to_string())
}
