//! What a policy means, in words and figures, for `havre check`.
//!
//! **Invariant.** Every figure is computed by the code that enforces it.
//!
//! **Deliberately absent.** Layout for machines, and what may be read beyond shards (sizes, times).
//!
//! **Crash.** Values only.

use crate::{Facts, Harm, OnOutage, PlacementPolicy};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use havre_model::Geometry;

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
        let names = |set: havre_model::SiteSet| {
            set.iter().map(|position| facts.sites()[position].name.clone()).collect::<Vec<_>>()
        };
        let coalitions =
            self.coalitions().iter().zip(0..).map(|(coalition, id)| CoalitionExplanation {
                coalition: coalition.label.clone(),
                harm: coalition.harm,
                reach: names(coalition.reach.intersection(self.eligible())),
                shards_held: self.shards_max(crate::CoalitionId(id)),
                shards_max: match coalition.harm {
                    Harm::Read => geometry.data() - 1,
                    Harm::CutOff => geometry.parity(),
                },
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

    fn explain_site(&self, facts: &Facts, position: usize) -> SiteExplanation {
        let party = |id: &crate::PartyId| {
            let links = facts.links(position).iter().filter(|(party, _)| party == id);
            (facts.party(*id).to_string(), links.map(|(_, link)| link.to_string()).collect())
        };
        SiteExplanation {
            name: facts.sites()[position].name.clone(),
            eligible: self.eligible().contains(position),
            parties: facts.exposure(position).iter().map(party).collect(),
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
            warnings.push(
                "no slack: a write waits for every site, and one that is down holds up all writes"
                    .to_string(),
            );
        }
        for party in self.unmatched() {
            warnings.push(format!("{party} reaches no declared site: check the spelling"));
        }
        warnings
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, geometry, overhead, stored_enough, slack, .. } = self;
        let total = geometry.total();
        let eligible = self.sites.iter().filter(|site| site.eligible).count();
        writeln!(
            f,
            "policy {policy}: {geometry} on {eligible} sites, {overhead:.2} times the bytes"
        )?;
        writeln!(
            f,
            "  a write is acknowledged with any {stored_enough} of {total} shards stored; slack \
             {slack}; below that it is {}",
            match self.on_outage {
                OnOutage::Refuse => "refused",
                OnOutage::Degrade => "acknowledged and marked",
            }
        )?;
        for coalition in &self.coalitions {
            writeln!(
                f,
                "  {} cannot {}: at most {} shards of the {} it may hold (reaches {})",
                coalition.coalition,
                coalition.harm,
                coalition.shards_held,
                coalition.shards_max,
                if coalition.reach.is_empty() {
                    "no eligible site".to_string()
                } else {
                    coalition.reach.join(", ")
                }
            )?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        Ok(())
    }
}
