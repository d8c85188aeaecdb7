//! What a policy means, in words and figures, for `havre check`.
//!
//! **Invariant.** Every figure is computed by the code that enforces it.
//!
//! **Deliberately absent.** Layout for machines, and what may be read beyond shards (sizes, times).
//!
//! **Crash.** Values only.

use crate::{CoalitionId, Facts, Harm, OnOutage, PartyId, PlacementPolicy};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use havre_model::{Geometry, SiteSet};

/// Who can reach one site, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteExplanation {
    /// The site.
    pub name: String,
    /// Whether the policy may use it.
    pub eligible: bool,
    /// Each party as `kind:name`, with its reasons.
    pub parties: Vec<(String, Vec<String>)>,
}

/// What one coalition gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoalitionExplanation {
    /// Its parties as `kind:name`, joined by ` + `.
    pub coalition: String,
    /// What it must be unable to do.
    pub harm: Harm,
    /// Eligible sites within its reach.
    pub reach: Vec<String>,
    /// Shards of one blob it gets at most.
    pub shards_held: usize,
    /// Shards of one blob it may have.
    pub shards_max: usize,
    /// Whether it reaches nothing, or no more than another coalition that must be unable to do the
    /// same.
    pub narrower: bool,
}

/// A policy explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The policy's name.
    pub policy: String,
    /// Its geometry.
    pub geometry: Geometry,
    /// Stored bytes for each byte of a blob.
    pub overhead: f64,
    /// Every declared site.
    pub sites: Vec<SiteExplanation>,
    /// Every coalition that the guarantee stands for.
    pub coalitions: Vec<CoalitionExplanation>,
    /// Stored shards that are enough for a reply, whichever they are.
    pub stored_enough: usize,
    /// Shards that may be late or lost without delaying a reply.
    pub slack: usize,
    /// What happens below that.
    pub on_outage: OnOutage,
    /// What a reader of the configuration should know.
    pub warnings: Vec<String>,
}

impl PlacementPolicy {
    /// What the policy means on these facts, which are those it was made with.
    #[must_use]
    pub fn explain(&self, facts: &Facts) -> Explanation {
        let geometry = self.geometry();
        let names = |set: SiteSet| {
            set.iter().map(|position| facts.sites()[position].name.clone()).collect::<Vec<_>>()
        };
        let coalitions =
            self.coalitions().iter().zip(0..).map(|(coalition, id)| CoalitionExplanation {
                coalition: coalition.label.clone(),
                harm: coalition.harm,
                reach: names(coalition.reach.intersection(self.eligible())),
                shards_held: self.shards_max(CoalitionId(id)),
                shards_max: match coalition.harm {
                    Harm::Read => geometry.data() - 1,
                    Harm::CutOff => geometry.parity(),
                },
                narrower: self.is_narrower(CoalitionId(id)),
            });
        let stored_enough = self.stored_enough();
        #[expect(clippy::cast_precision_loss, reason = "both are at most 32")]
        let overhead = geometry.total() as f64 / geometry.data() as f64;
        Explanation {
            policy: self.name().to_string(),
            geometry,
            overhead,
            sites: (0..facts.sites().len()).map(|site| self.explain_site(facts, site)).collect(),
            coalitions: coalitions.collect(),
            stored_enough,
            slack: geometry.total() - stored_enough,
            on_outage: self.on_outage(),
            warnings: self.warnings(geometry.total() - stored_enough),
        }
    }

    /// Whether the coalition reaches no eligible site, or fewer than another and none besides.
    fn is_narrower(&self, id: CoalitionId) -> bool {
        let eligible = |reach: SiteSet| reach.intersection(self.eligible());
        let reach = eligible(self.coalition(id).reach);
        let wider = |wide: SiteSet| reach != wide && reach.is_subset(wide);
        reach.is_empty()
            || self.widest(self.coalition(id).harm).any(|(wide, _)| wider(eligible(*wide)))
    }

    fn explain_site(&self, facts: &Facts, position: usize) -> SiteExplanation {
        let party = |id: &PartyId| {
            let links = facts.why(position, *id);
            (facts.party(*id).to_string(), links.iter().map(ToString::to_string).collect())
        };
        let mut parties: Vec<&PartyId> = facts.exposure(position).iter().collect();
        parties.sort_by_key(|id| {
            let party = facts.party(**id);
            (party.kind, &party.name)
        });
        SiteExplanation {
            name: facts.sites()[position].name.clone(),
            eligible: self.eligible().contains(position),
            parties: parties.into_iter().map(party).collect(),
        }
    }

    fn warnings(&self, slack: usize) -> Vec<String> {
        let mut warnings = Vec::new();
        let guarantee = self.guarantee();
        if guarantee.cannot_read.is_empty() {
            warnings.push("no coalition is named that must be unable to read".to_string());
        }
        if guarantee.cannot_cut_off.is_empty() {
            warnings.push(format!(
                "no coalition is named that must be unable to cut off: a write is acknowledged as \
                 soon as any {} shards are stored",
                self.geometry().data()
            ));
        } else if slack == 0 {
            let then = match self.on_outage() {
                OnOutage::Refuse => "no write is taken",
                OnOutage::Degrade => "each write is marked as below its guarantee",
            };
            warnings.push(format!(
                "no slack: a write waits for the slowest site, and while one is down {then}"
            ));
        }
        for party in self.unmatched() {
            warnings.push(format!("{party} reaches no declared site: check the spelling"));
        }
        warnings
    }
}

impl fmt::Display for Explanation {
    /// The figures, and of the coalitions those that no other contains.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, geometry, overhead, stored_enough, slack, .. } = self;
        let total = geometry.total();
        let eligible = self.sites.iter().filter(|site| site.eligible).count();
        writeln!(
            f,
            "policy {policy}: {geometry} on {eligible} sites, {overhead:.2} times the bytes"
        )?;
        let below = match self.on_outage {
            OnOutage::Refuse => "refused",
            OnOutage::Degrade => "acknowledged and marked",
        };
        writeln!(
            f,
            "  a write is acknowledged with any {stored_enough} of {total} shards stored; slack \
             {slack}; below that it is {below}"
        )?;
        for harm in [Harm::Read, Harm::CutOff] {
            self.write_coalitions(f, harm)?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        Ok(())
    }
}

impl Explanation {
    fn write_coalitions(&self, f: &mut fmt::Formatter<'_>, harm: Harm) -> fmt::Result {
        let of_harm = || self.coalitions.iter().filter(move |coalition| coalition.harm == harm);
        let Some(shards_max) = of_harm().map(|coalition| coalition.shards_max).next() else {
            return Ok(());
        };
        writeln!(
            f,
            "  cannot {harm}, holding at most {shards_max} of {} shards:",
            self.geometry.total()
        )?;
        let (narrower, widest): (Vec<_>, Vec<_>) = of_harm().partition(|c| c.narrower);
        let width = widest.iter().map(|c| c.coalition.len()).max().unwrap_or_default();
        for CoalitionExplanation { coalition, reach, shards_held, .. } in widest {
            writeln!(f, "    {coalition:width$}  holds {shards_held}: {}", reach.join(", "))?;
        }
        match narrower.len() {
            0 => Ok(()),
            count => writeln!(f, "    and {count} narrower, each within the reach of one of these"),
        }
    }
}
