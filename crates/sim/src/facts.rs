//! The facts of a run: which sites there are, who is behind them, and the policies that follow.
//!
//! **Invariant.** A [`Setting`] is one configuration of the gateway: facts under which every policy
//! of the layout can be kept. Sites, policies' names and geometries are those of the layout;
//! operators are bought and sold from one setting to the next.
//!
//! **Deliberately absent.** When facts change ([`crate::scenario`]), and what is judged by which
//! ([`crate::ledger`]).
//!
//! **Crash.** Settings outlive every gateway; each process has the one it was started with.

use crate::rng::Rng;
use havre_model::record::Excluded;
use havre_model::{Geometry, SiteSet};
use havre_policy::{
    CoalitionSpec, Facts, GuaranteeSpec, Harm, OnOutage, OperatorFacts, Ownership, PartyKind,
    PlacementPolicy, PolicySpec, SiteFacts,
};

/// Groups that buy operators.
const GROUPS: usize = 2;
/// Jurisdictions, in the order in which sites lie there.
const PLACES: [&str; 5] = ["CH", "JP", "CA", "BR", "IN"];

/// How the sites and policies of a run look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Six sites in three jurisdictions, 3+3.
    Six,
    /// The same, and a second bucket under 4+2.
    Thrifty,
    /// The same as six, acknowledging below the guarantee rather than not.
    Degrading,
    /// Eight sites in four jurisdictions, 5+3.
    Eight,
    /// Nine sites in three jurisdictions, 3+3: each could come to hold `k`.
    Nine,
    /// Ten sites in five jurisdictions, 3+3, and a second bucket under 4+2: whole jurisdictions can
    /// be left.
    Ten,
}

impl Layout {
    /// Sites, and sites of one jurisdiction.
    const fn sites(self) -> (usize, usize) {
        match self {
            Self::Six | Self::Thrifty | Self::Degrading => (6, 2),
            Self::Eight => (8, 2),
            Self::Nine => (9, 3),
            Self::Ten => (10, 2),
        }
    }

    /// Sites there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.sites().0
    }

    /// Whether there are more sites than a blob has shards: some can be closed, and blobs move.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::Nine | Self::Ten)
    }

    /// The policies' names and geometries, the default's first.
    fn policies(self) -> &'static [(&'static str, u8, u8)] {
        match self {
            Self::Six | Self::Degrading | Self::Nine => &[("default", 3, 3)],
            Self::Thrifty | Self::Ten => &[("default", 3, 3), ("thrifty", 4, 2)],
            Self::Eight => &[("default", 5, 3)],
        }
    }
}

/// The owner of an operator: a group, and the jurisdiction that it answers to, if that is declared.
pub type Owner = Option<(usize, Option<usize>)>;

/// One configuration of the gateway.
pub struct Setting {
    /// Counts up from zero.
    pub number: usize,
    /// Who is behind which site.
    pub facts: Facts,
    /// The policies, in the layout's order; no two have one geometry.
    pub policies: Vec<PlacementPolicy>,
    layout: Layout,
    owners: Vec<Owner>,
}

impl Setting {
    /// The first of a run: nobody owns an operator.
    ///
    /// # Panics
    /// When the layout cannot keep its guarantee.
    #[must_use]
    pub fn first(layout: Layout) -> Self {
        let owners = vec![None; layout.count().div_ceil(2)];
        Self::new(0, layout, owners).expect("the guarantee holds")
    }

    /// The next one: operators are bought and sold. `None` when these facts allow no placement.
    #[must_use]
    pub fn next(&self, rng: &mut Rng) -> Option<Self> {
        let mut owners = self.owners.clone();
        for owner in &mut owners {
            if rng.chance(400) {
                let place = rng.chance(300).then(|| rng.index(PLACES.len()));
                *owner = rng.chance(600).then(|| (rng.index(GROUPS), place));
            }
        }
        if owners == self.owners {
            return None;
        }
        Self::new(self.number + 1, self.layout, owners)
    }

    fn new(number: usize, layout: Layout, owners: Vec<Owner>) -> Option<Self> {
        let facts = facts(layout, &owners)?;
        let policies = policies(layout, &facts)?;
        Some(Self { number, facts, policies, layout, owners })
    }

    /// Who owns each operator.
    #[must_use]
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// The policies once more, for a process that owns them.
    ///
    /// # Panics
    /// Never: they were made of these facts before.
    #[must_use]
    pub fn policies_again(&self) -> Vec<PlacementPolicy> {
        policies(self.layout, &self.facts).expect("they were made before")
    }

    /// The policies without any guarantee: for a keeper that must be found out.
    #[must_use]
    pub fn policies_without_guarantee(&self) -> Vec<PlacementPolicy> {
        let spec = |it: &PlacementPolicy| PolicySpec {
            guarantee: GuaranteeSpec::default(),
            ..spec(self.layout, it.name(), it.geometry())
        };
        let made = |it| PlacementPolicy::new(&self.facts, spec(it)).expect("nothing is asked");
        self.policies.iter().map(made).collect()
    }

    /// The policy of a blob, by its geometry.
    #[must_use]
    pub fn policy_of(&self, geometry: Geometry) -> Option<&PlacementPolicy> {
        self.policies.iter().find(|policy| policy.geometry() == geometry)
    }

    /// The reaches of the coalitions that must be unable to do this to blobs of a geometry.
    pub fn reaches(&self, geometry: Geometry, harm: Harm) -> impl Iterator<Item = SiteSet> {
        let coalitions = self.policy_of(geometry).into_iter().flat_map(PlacementPolicy::coalitions);
        coalitions.filter(move |it| it.harm == harm).map(|it| it.reach)
    }

    /// Whether one coalition that must not cut off, under every policy, reaches all of the sites.
    #[must_use]
    pub fn is_tolerated(&self, sites: SiteSet) -> bool {
        let reaches = |policy: &PlacementPolicy| {
            let mut coalitions = policy.coalitions().iter();
            coalitions.any(|it| it.harm == Harm::CutOff && sites.is_subset(it.reach))
        };
        sites.is_empty() || self.policies.iter().all(reaches)
    }

    /// Whether every policy finds places although these sites are closed.
    #[must_use]
    pub fn can_do_without(&self, closed: SiteSet) -> bool {
        self.policies.iter().all(|policy| policy.can_place_without(closed))
    }

    /// The sites that answer to whom, as `havre` tells the engine.
    #[must_use]
    pub fn reach(&self, subject: &Excluded) -> Option<SiteSet> {
        match subject {
            Excluded::Site(name) => {
                let at = self.facts.sites().iter().position(|site| site.name == *name)?;
                Some(SiteSet::EMPTY.with(at))
            }
            Excluded::Party(text) => match self.facts.named(text).as_slice() {
                [party] => Some(self.facts.reach(*party)),
                _ => None,
            },
        }
    }

    /// Somebody who could be excluded: a party that reaches sites, or a site.
    #[must_use]
    pub fn draw_subject(&self, rng: &mut Rng) -> Excluded {
        let parties: Vec<String> = self
            .facts
            .party_ids()
            .filter(|id| !self.facts.reach(*id).is_empty())
            .map(|id| self.facts.party(id).to_string())
            .collect();
        match rng.chance(400) {
            true => Excluded::Site(rng.pick(self.facts.sites()).name.clone()),
            false => Excluded::Party(rng.pick(&parties).clone()),
        }
    }
}

fn facts(layout: Layout, owners: &[Owner]) -> Option<Facts> {
    let (count, together) = layout.sites();
    let site = |number: usize| SiteFacts {
        name: format!("s{number}"),
        operator: format!("o{}", number / 2),
        location: PLACES[number / together].to_owned(),
    };
    let operator = |(number, owner): (usize, &Owner)| {
        let ownership = |(group, place): (usize, Option<usize>)| Ownership {
            owner: format!("g{group}"),
            jurisdiction: place.map(|place| PLACES[place].to_owned()),
            ..Ownership::default()
        };
        let owners = owner.map(ownership).into_iter().collect();
        OperatorFacts { name: format!("o{number}"), owners, ..OperatorFacts::default() }
    };
    let sites = (0..count).map(site).collect();
    let operators = owners.iter().enumerate().map(operator).collect();
    Facts::new(sites, operators, 0.5).ok()
}

fn spec(layout: Layout, name: &str, geometry: Geometry) -> PolicySpec {
    let any_one =
        |kinds: &[PartyKind]| kinds.iter().map(|kind| CoalitionSpec::AnyOne(*kind)).collect();
    let kinds = [PartyKind::Jurisdiction, PartyKind::Owner];
    let on_outage = if layout == Layout::Degrading { OnOutage::Degrade } else { OnOutage::Refuse };
    let (k, m) = geometry.into();
    PolicySpec {
        name: name.to_owned(),
        k,
        m,
        sites: None,
        exclude: Vec::new(),
        guarantee: GuaranteeSpec { cannot_read: any_one(&kinds), cannot_cut_off: any_one(&kinds) },
        on_outage,
    }
}

fn policies(layout: Layout, facts: &Facts) -> Option<Vec<PlacementPolicy>> {
    let policy = |(name, k, m): &(&str, u8, u8)| {
        let geometry = Geometry::new(*k, *m).expect("a geometry");
        PlacementPolicy::new(facts, spec(layout, name, geometry)).ok()
    };
    layout.policies().iter().map(policy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_change_and_every_policy_can_be_kept() {
        let mut rng = Rng::new(5);
        for layout in [Layout::Nine, Layout::Ten] {
            let mut setting = Setting::first(layout);
            let mut changes = 0;
            for _ in 0..200 {
                if let Some(next) = setting.next(&mut rng) {
                    assert!(next.can_do_without(SiteSet::EMPTY));
                    setting = next;
                    changes += 1;
                }
            }
            assert!(changes > 10, "{layout:?}: {changes}");
        }
    }

    #[test]
    fn one_group_that_buys_two_operators_reaches_the_sites_of_both() {
        let owners = vec![Some((0, None)), Some((0, None)), None, None, None];
        let setting = Setting::new(1, Layout::Ten, owners).expect("three jurisdictions are left");
        let group = Excluded::Party("owner:g0".to_owned());
        assert_eq!(setting.reach(&group), Some((0..4).collect()));
        assert_eq!(Setting::first(Layout::Ten).reach(&group), None);
    }
}
