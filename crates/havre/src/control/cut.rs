//! A drill: a party refuses us, under whatever load there is, and it is measured what that does.
//!
//! **Invariant.** A drill that the guarantee does not cover is refused, unless it is asked for in
//! so many words. The sites are asked again when its time is over, when who gave the order goes
//! away, and when the gateway starts anew, whichever comes first.
//!
//! **Deliberately absent.** Load: what clients do meanwhile is what is measured. Proof that nothing
//! is lost: reads that clients make say it, and `havre drill recover`.
//!
//! **Crash.** A new process begins without bars.

use super::desk::GatewayDesk;
use super::serve::Reporter;
use crate::statement::{Envelope, rfc3339};
use anyhow::{Context, Result, bail, ensure};
use havre_model::SiteSet;
use havre_policy::{Acknowledgement, Facts, Harm, OnOutage, PartyId, PlacementPolicy};
use havre_server::{Class, Snapshot};
use havre_sites::{Bar, Guarded, Health};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest that a drill cuts off.
const CUT_SECONDS_MAX: u64 = 24 * 3600;
/// The longest that is measured before.
const BEFORE_SECONDS_MAX: u64 = 600;
/// Between two lines of progress.
const TICK: Duration = Duration::from_secs(1);
/// How much later than the drill the bar ends by itself: only a drill that hangs gets there.
const BAR_MARGIN: Duration = Duration::from_secs(10);

/// Whom to cut off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// The party, as `kind:name` or by a name that is one party's.
    pub party: String,
    /// For so many seconds.
    pub seconds: u64,
    /// So many seconds are measured before.
    pub before_seconds: u64,
    /// Also when the guarantee does not cover it.
    pub beyond_guarantee: bool,
}

/// What becomes of writes while a party is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WritesUnderCut {
    /// They are acknowledged within the guarantee.
    GoOn,
    /// They are refused with 503: what is left is too little for the guarantee.
    AreRefused,
    /// They are acknowledged below the guarantee, and marked.
    AreMarked,
}

/// What a cut means to one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyUnderCut {
    /// The policy.
    pub policy: String,
    /// Its sites that are cut off.
    pub sites: Vec<String>,
    /// The coalition of its guarantee that covers the party; `None` when none does and the policy
    /// has sites among them.
    pub covered_by: Option<String>,
    /// What becomes of writes.
    pub writes: WritesUnderCut,
}

/// How requests fared in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fared {
    /// Answered as asked.
    pub served: u64,
    /// Answered that the client is wrong.
    pub refused: u64,
    /// Answered 5xx, or broken off.
    pub failed: u64,
    /// Milliseconds within which half of them ended, to a quarter.
    pub p50_ms: Option<f64>,
    /// The same for 99 of 100.
    pub p99_ms: Option<f64>,
    /// The same for all.
    pub longest_ms: Option<f64>,
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How long it was.
    pub seconds: u64,
    /// Get, head and list.
    pub reads: Fared,
    /// All others.
    pub writes: Fared,
}

/// A line of progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutProgress {
    /// `before`, or `cut`.
    pub phase: String,
    /// Seconds left of the whole drill.
    pub seconds_left: u64,
    /// What was measured in this phase so far.
    pub measured: Measured,
}

/// What the drill was and did: the body of the statement `drill-cut`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutReport {
    /// The party, as `kind:name`.
    pub party: String,
    /// The sites that answer to it.
    pub sites: Vec<String>,
    /// What it meant to each policy, by what is declared.
    pub policies: Vec<PolicyUnderCut>,
    /// Whether it was asked for although the guarantee does not cover it, or too much was away.
    pub beyond_guarantee: bool,
    /// When the sites were cut off: RFC 3339.
    pub began: String,
    /// When they were asked again.
    pub ended: String,
    /// Before they were.
    pub before: Measured,
    /// While they were.
    pub during: Measured,
    /// Blobs that were acknowledged below their guarantee and still incomplete, before.
    pub below_guarantee_before: u64,
    /// The most of them that were seen meanwhile.
    pub below_guarantee_most: u64,
    /// Blobs that miss a shard at the end: what repair has to do.
    pub incomplete_after: u64,
}

/// The answer to a drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutDone {
    /// What it was and did.
    pub report: CutReport,
    /// The same, signed.
    pub statement: Envelope,
}

/// What cutting these sites off means to each policy, for a party whose reach they are; `closed`
/// take no new shards anyway.
#[must_use]
pub fn policies_under_cut(
    facts: &Facts,
    policies: &[PlacementPolicy],
    reach: SiteSet,
    closed: SiteSet,
) -> Vec<PolicyUnderCut> {
    let name = |position: usize| facts.sites()[position].name.clone();
    let of = |policy: &PlacementPolicy| {
        let cut = reach.intersection(policy.eligible());
        let mut coalitions = policy.coalitions().iter();
        let covers = coalitions.find(|it| it.harm == Harm::CutOff && cut.is_subset(it.reach));
        let covered_by = match cut.is_empty() {
            true => Some("it has none of the sites".to_owned()),
            false => covers.map(|coalition| coalition.label.clone()),
        };
        PolicyUnderCut {
            policy: policy.name().to_owned(),
            sites: cut.iter().map(name).collect(),
            covered_by,
            writes: writes_without(policy, cut, closed),
        }
    };
    policies.iter().map(of).collect()
}

fn writes_without(policy: &PlacementPolicy, cut: SiteSet, closed: SiteSet) -> WritesUnderCut {
    let gone = cut.union(closed);
    let stored = policy.acknowledges(policy.eligible().minus(gone)) == Acknowledgement::Within;
    match (policy.can_place_without(gone) || stored, policy.on_outage()) {
        (true, _) => WritesUnderCut::GoOn,
        (false, OnOutage::Refuse) => WritesUnderCut::AreRefused,
        (false, OnOutage::Degrade) => WritesUnderCut::AreMarked,
    }
}

/// Sites that are cut off. Dropped, they are asked again.
struct CutOff(Vec<Guarded>);

impl CutOff {
    fn begin(sites: Vec<Guarded>, at_most: Duration) -> Self {
        for site in &sites {
            site.bar(Bar::Drill, Some(at_most));
        }
        tracing::warn!(sites = sites.len(), "a drill cuts sites off");
        Self(sites)
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        for site in &self.0 {
            site.lift(Bar::Drill);
        }
        tracing::warn!(sites = self.0.len(), "the drill is over: the sites are asked again");
    }
}

/// Counts of both classes at a time.
struct Mark {
    at: Duration,
    counts: [Snapshot; 2],
}

impl GatewayDesk {
    pub(super) async fn cut(&self, cut: Cut, reporter: &Reporter) -> Result<CutDone> {
        let Ok(_alone) = self.drill.try_lock() else { bail!("another drill is under way") };
        ensure!(
            (1..=CUT_SECONDS_MAX).contains(&cut.seconds)
                && cut.before_seconds <= BEFORE_SECONDS_MAX,
            "a drill takes 1 second to 24 hours, and 10 minutes before it at most"
        );
        let party = self.one_party(&cut.party)?;
        let reach = self.facts.reach(party);
        let party = self.facts.party(party).to_string();
        ensure!(!reach.is_empty(), "no site answers to {party}");
        let policies = policies_under_cut(&self.facts, &self.policies, reach, self.fleet.closed());
        let counts = self.catalog.counts().await.context("count what there is")?;
        if !cut.beyond_guarantee {
            self.check_covered(&party, &policies, reach, counts.below_guarantee)?;
        }
        reporter.tell(&policies).await?;
        let whole = cut.before_seconds + cut.seconds;
        let (before, _) = self.watch("before", (cut.before_seconds, whole), reporter).await?;
        let began = self.ports.clock.now();
        let sites: Vec<Guarded> = reach.iter().map(|at| self.fleet.site(at).clone()).collect();
        let names = sites.iter().map(|site| site.name().to_owned()).collect();
        let at_most = Duration::from_secs(cut.seconds) + BAR_MARGIN;
        let cut_off = CutOff::begin(sites, at_most);
        let watched = self.watch("cut", (cut.seconds, cut.seconds), reporter).await;
        drop(cut_off);
        let (during, most) = watched?;
        let (ended, after) = (self.ports.clock.now(), self.catalog.counts().await?);
        let report = CutReport {
            party,
            sites: names,
            policies,
            beyond_guarantee: cut.beyond_guarantee,
            began: rfc3339(began),
            ended: rfc3339(ended),
            before,
            during,
            below_guarantee_before: counts.below_guarantee,
            below_guarantee_most: most.max(after.below_guarantee),
            incomplete_after: after.incomplete,
        };
        let statement = self.signer.sign("drill-cut", ended, &report)?;
        Ok(CutDone { report, statement })
    }

    fn one_party(&self, name: &str) -> Result<PartyId> {
        match self.facts.named(name)[..] {
            [party] => Ok(party),
            [] => bail!("no party is called {name:?}; havre exposure lists them"),
            _ => bail!("several parties are called {name:?}: write kind:name"),
        }
    }

    /// Refuses what the guarantee does not promise to outlast.
    fn check_covered(
        &self,
        party: &str,
        policies: &[PolicyUnderCut],
        reach: SiteSet,
        below_guarantee: u64,
    ) -> Result<()> {
        let hint = "(--beyond-guarantee does it all the same)";
        if let Some(policy) = policies.iter().find(|policy| policy.covered_by.is_none()) {
            bail!(
                "the guarantee of policy {} does not say that {party} cannot cut off: it reaches \
                 {} {hint}",
                policy.policy,
                policy.sites.join(", ")
            );
        }
        let is_down =
            |(at, site): &(usize, &Guarded)| !reach.contains(*at) && site.health() == Health::Down;
        if let Some((_, site)) = self.fleet.iter().enumerate().find(is_down) {
            bail!(
                "site {} is down and does not answer to {party}: with both away more is gone than \
                 the guarantee names {hint}",
                site.name()
            );
        }
        ensure!(
            below_guarantee == 0,
            "{below_guarantee} blobs were acknowledged below their guarantee and are not repaired \
             yet: {party} may cut them off {hint}"
        );
        Ok(())
    }

    /// Measures for some seconds and tells how it goes; with the most blobs below their guarantee.
    async fn watch(
        &self,
        phase: &str,
        (seconds, whole): (u64, u64),
        reporter: &Reporter,
    ) -> Result<(Measured, u64)> {
        let (start, mut most) = (self.mark(), 0);
        let end = start.at + Duration::from_secs(seconds);
        loop {
            let left = end.saturating_sub(self.ports.clock.elapsed());
            if left.is_zero() {
                return Ok((self.since(&start), most));
            }
            self.ports.runtime.sleep(left.min(TICK)).await;
            most = most.max(self.catalog.counts().await?.below_guarantee);
            let measured = self.since(&start);
            let seconds_left = whole.saturating_sub(measured.seconds);
            let progress = CutProgress { phase: phase.to_owned(), seconds_left, measured };
            reporter.tell(&progress).await?;
        }
    }

    fn mark(&self) -> Mark {
        let counts = [Class::Read, Class::Write].map(|class| self.tally.snapshot(class));
        Mark { at: self.ports.clock.elapsed(), counts }
    }

    fn since(&self, start: &Mark) -> Measured {
        let now = self.mark();
        let fared =
            |class: Class| fared(&now.counts[class as usize], &start.counts[class as usize]);
        Measured {
            seconds: now.at.saturating_sub(start.at).as_secs(),
            reads: fared(Class::Read),
            writes: fared(Class::Write),
        }
    }
}

fn fared(now: &Snapshot, start: &Snapshot) -> Fared {
    let between = now.since(start);
    let millis = |permille| between.quantile(permille).map(|it| it.as_secs_f64() * 1000.0);
    Fared {
        served: between.served,
        refused: between.refused,
        failed: between.failed,
        p50_ms: millis(500),
        p99_ms: millis(990),
        longest_ms: millis(1000),
    }
}
