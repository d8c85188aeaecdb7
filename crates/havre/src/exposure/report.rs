//! The exposure of a configuration, as data.
//!
//! **Invariant.** Names instead of ids throughout, so that it can be kept and compared.
//!
//! **Deliberately absent.** Layout: `table` and `svg`.
//!
//! **Crash.** Values only.

use crate::config::Config;
use havre_model::SiteSet;
use havre_policy::{
    Change, ChangeError, Evidence, Exposed, ExposedList, Facts, FactsError, Holds, Link, PartyId,
    PlacementPolicy, PolicyError, PolicyExposure, PolicySpec, SeatKind, Step, Word, exposure,
};
use serde::Serialize;

/// A bucket and the policy that it was made with; empty for the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPolicy {
    /// The bucket.
    pub bucket: String,
    /// The policy's name.
    pub policy: String,
}

/// Why what would be cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A change is about what is not declared.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The facts would not be sound.
    #[error("the facts would be refused: {0}")]
    Facts(#[from] FactsError),
}

/// Who could read and who could cut off.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was changed before the answer, in the words it was asked in.
    pub what_if: Vec<String>,
    /// Which owners are obeyed.
    pub control: String,
    /// Per policy.
    pub policies: Vec<PolicyReport>,
    /// The seats of the trust domain.
    pub trust_domain: Vec<SeatReport>,
    /// The sites.
    pub sites: Vec<SiteReport>,
    /// What stands above the other facts.
    pub overrides: Vec<OverrideReport>,
    /// All other facts.
    pub facts: Vec<FactReport>,
    /// What the reader should know of the answer.
    pub warnings: Vec<String>,
}

/// A site and whom it is exposed to.
#[derive(Debug, Clone, Serialize)]
pub struct SiteReport {
    /// Its name.
    pub site: String,
    /// Its operator.
    pub operator: String,
    /// Where it lies.
    pub location: String,
    /// Every party that can reach it.
    pub parties: Vec<PartyReport>,
}

/// A seat and whom it is exposed to.
#[derive(Debug, Clone, Serialize)]
pub struct SeatReport {
    /// What it is.
    pub seat: String,
    /// What it gives: `gateway` or `key`.
    pub holds: &'static str,
    /// Every party that can reach it.
    pub parties: Vec<PartyReport>,
}

/// A party that can reach a place, and why.
#[derive(Debug, Clone, Serialize)]
pub struct PartyReport {
    /// As `kind:name`.
    pub party: String,
    /// One link for each reason.
    pub because: Vec<LinkReport>,
}

/// One reason: facts that lead from the place to the party.
#[derive(Debug, Clone, Serialize)]
pub struct LinkReport {
    /// All of it in words.
    pub text: String,
    /// The facts, those nearest to the place first.
    pub steps: Vec<StepReport>,
}

/// One fact of a link.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// In words.
    pub text: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// When it was true.
    pub date: Option<String>,
}

/// Who could do what with what one policy stores.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyReport {
    /// The policy.
    pub policy: String,
    /// Its buckets.
    pub buckets: Vec<String>,
    /// Why it would be refused; then there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What is stored under it already; none where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredReport>,
    /// The rest.
    #[serde(flatten)]
    pub exposure: Option<PolicyLists>,
}

/// How what is stored lies, by the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StoredReport {
    /// Blobs: packs of small objects, and extents of large ones.
    pub blobs: u64,
    /// Those of them that may not lie as they do, and are to be moved.
    pub misplaced: u64,
    /// Of these: a shard is at a site that is configured no longer, or takes none.
    pub at_other_sites: u64,
    /// A coalition of the guarantee could read them.
    pub could_read: u64,
    /// A coalition of the guarantee could cut them off.
    pub could_cut_off: u64,
}

/// The coalitions of one policy.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyLists {
    /// `k+m`.
    pub geometry: String,
    /// Shards of a blob.
    pub shards: usize,
    /// Shards that are stored when a write is acknowledged, at least.
    pub stored_enough: usize,
    /// Who could read with what they have.
    pub could_read: ListReport,
    /// Who could read if a key came to them from elsewhere.
    pub could_read_with_key: ListReport,
    /// Who could cut off.
    pub could_cut_off: ListReport,
}

/// The least coalitions that could do one thing.
#[derive(Debug, Clone, Serialize)]
pub struct ListReport {
    /// All of up to so many members are listed; nothing when all there are.
    pub complete_up_to_members: Option<usize>,
    /// Those with a seat of the trust domain first.
    pub coalitions: Vec<CoalitionReport>,
}

/// A coalition that could, and could not without any one of its members.
#[derive(Debug, Clone, Serialize)]
pub struct CoalitionReport {
    /// In words.
    pub coalition: String,
    /// Each member: parties that reach the same, any of which does.
    pub members: Vec<Vec<String>>,
    /// Shards of one blob that it gets at most.
    pub shards: usize,
    /// Eligible sites within its reach.
    pub sites: Vec<String>,
    /// Those of them that no member reaches alone: several hold the operator between them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_together: Vec<String>,
    /// Seats of the trust domain within its reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<String>,
    /// `void`, `silent_of_all_together` or `silent`.
    pub guarantee: &'static str,
    /// The same in words.
    pub guarantee_says: &'static str,
}

/// A declared fact.
#[derive(Debug, Clone, Serialize)]
pub struct FactReport {
    /// In words.
    pub fact: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// When it was true.
    pub date: Option<String>,
}

/// An override.
#[derive(Debug, Clone, Serialize)]
pub struct OverrideReport {
    /// In words.
    pub says: String,
    /// Why.
    pub reason: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// When it was true.
    pub date: Option<String>,
    /// Whether the other facts say otherwise.
    pub changes_the_answer: bool,
}

/// A policy's name, with the policy or why it would be refused.
pub type Supposed = (String, Result<PlacementPolicy, PolicyError>);

/// The facts and policies of a configuration, with the `changes` made.
///
/// # Errors
/// As [`report`].
pub fn suppose(config: &Config, changes: &[Change]) -> Result<(Facts, Vec<Supposed>), AskError> {
    let mut specs = config.policies.clone();
    let facts = if changes.is_empty() {
        config.facts().clone()
    } else {
        let mut declared = config.facts().declared().clone();
        for change in changes {
            change.apply(&mut declared, &mut specs)?;
        }
        Facts::declare(declared)?
    };
    let policy = |spec: PolicySpec| (spec.name.clone(), PlacementPolicy::new(&facts, spec));
    let policies = specs.into_iter().map(policy).collect();
    Ok((facts, policies))
}

/// The exposure of a configuration, with the `changes` made first; `asked` are their words.
///
/// # Errors
/// When a change is about what is not declared, or the facts would not be sound with it.
pub fn report(
    config: &Config,
    asked: &[String],
    changes: &[Change],
    buckets: &[BucketPolicy],
) -> Result<Report, AskError> {
    let (facts, policies) = suppose(config, changes)?;
    let strictest = policies
        .iter()
        .filter_map(|(name, policy)| Some((name, policy.as_ref().ok()?.strictness())))
        .max_by_key(|(_, strictness)| *strictness)
        .map_or(config.gateway.default_policy.as_str(), |(name, _)| name);
    let policy_of = |bucket: &BucketPolicy| match bucket.policy.as_str() {
        "" => config.gateway.default_policy.clone(),
        named if policies.iter().any(|(name, _)| name == named) => named.to_owned(),
        // As the gateway does with a policy that is gone.
        _ => strictest.to_owned(),
    };
    let policies: Vec<PolicyReport> = policies
        .iter()
        .map(|(name, policy)| {
            let of_policy = buckets.iter().filter(|bucket| policy_of(bucket) == *name);
            let buckets = of_policy.map(|bucket| bucket.bucket.clone()).collect();
            let (refused, exposure) = match policy {
                Ok(policy) => (None, Some(lists(&facts, &exposure(&facts, policy)))),
                Err(error) => (Some(error.to_string()), None),
            };
            PolicyReport { policy: name.clone(), buckets, refused, stored: None, exposure }
        })
        .collect();
    let warnings = warnings(&facts, &policies);
    Ok(Report {
        what_if: asked.to_vec(),
        control: facts.rule().to_string(),
        policies,
        trust_domain: (0..facts.seats().len()).map(|seat| seat_report(&facts, seat)).collect(),
        sites: (0..facts.sites().len()).map(|position| site_report(&facts, position)).collect(),
        overrides: overrides(&facts),
        facts: fact_reports(&facts),
        warnings,
    })
}

fn warnings(facts: &Facts, policies: &[PolicyReport]) -> Vec<String> {
    let mut warnings = Vec::new();
    if !facts.seats().iter().any(|seat| seat.kind == SeatKind::Host) {
        warnings.push(
            "the gateway's host is not declared: who runs it could read and cut off, and is not \
             among the coalitions; add [gateway.host]"
                .to_owned(),
        );
    }
    for policy in policies {
        let lists = policy.exposure.iter();
        let lists = lists.flat_map(|lists| [&lists.could_read, &lists.could_cut_off]);
        let void = lists.flat_map(|list| &list.coalitions).filter(|c| c.guarantee == "void");
        let mut names: Vec<&str> = void.map(|coalition| coalition.coalition.as_str()).collect();
        names.dedup();
        for name in names {
            warnings.push(format!(
                "policy {}: the guarantee names {name}, which has the gateway or the key; it holds \
                 for the sites only",
                policy.policy
            ));
        }
    }
    warnings.dedup();
    for entry in facts.listed_overrides().iter().filter(|entry| !entry.tells) {
        warnings.push(format!("the override that {} changes nothing", entry.text));
    }
    let listed = facts.listed();
    let bare = listed.iter().filter(|fact| fact.evidence.source.is_none()).count();
    if bare > 0 {
        warnings.push(format!("{bare} of {} facts have no source", listed.len()));
    }
    warnings
}

fn lists(facts: &Facts, found: &PolicyExposure) -> PolicyLists {
    PolicyLists {
        geometry: found.geometry.to_string(),
        shards: found.geometry.total(),
        stored_enough: found.stored_enough,
        could_read: list(facts, &found.read),
        could_read_with_key: list(facts, &found.read_with_key),
        could_cut_off: list(facts, &found.cut_off),
    }
}

fn list(facts: &Facts, list: &ExposedList) -> ListReport {
    let coalitions = list.coalitions.iter().map(|exposed| coalition(facts, exposed)).collect();
    ListReport { complete_up_to_members: list.complete, coalitions }
}

fn coalition(facts: &Facts, exposed: &Exposed) -> CoalitionReport {
    let names = |sites: SiteSet| -> Vec<String> {
        sites.iter().map(|site| facts.sites()[site].name.clone()).collect()
    };
    let each = exposed.members.iter().map(|parties| facts.reach(parties[0]));
    let each = each.fold(SiteSet::EMPTY, SiteSet::union);
    let member = |parties: &Vec<PartyId>| {
        parties.iter().map(|id| facts.party(*id).to_string()).collect::<Vec<_>>()
    };
    CoalitionReport {
        coalition: exposed.label(facts),
        members: exposed.members.iter().map(member).collect(),
        shards: exposed.shards,
        sites: names(exposed.reach),
        held_together: names(exposed.reach.minus(each)),
        seats: exposed.seats.iter().map(|seat| facts.seats()[seat].to_string()).collect(),
        guarantee: match exposed.word {
            Word::Void => "void",
            Word::SilentOfAllTogether => "silent_of_all_together",
            Word::Silent => "silent",
        },
        guarantee_says: exposed.word.text(),
    }
}

fn site_report(facts: &Facts, position: usize) -> SiteReport {
    let site = &facts.sites()[position];
    let parties = facts.exposure(position).iter().copied();
    SiteReport {
        site: site.name.clone(),
        operator: site.operator.clone(),
        location: site.location.clone(),
        parties: sorted(facts, parties, |id| facts.why(position, id)),
    }
}

fn seat_report(facts: &Facts, seat: usize) -> SeatReport {
    let parties = facts.party_ids().filter(|id| facts.seats_held(*id).iter().any(|s| s == seat));
    SeatReport {
        seat: facts.seats()[seat].to_string(),
        holds: match facts.holds(seat) {
            Holds::Gateway => "gateway",
            Holds::Key => "key",
        },
        parties: sorted(facts, parties, |id| facts.why_seated(seat, id)),
    }
}

fn sorted(
    facts: &Facts,
    parties: impl Iterator<Item = PartyId>,
    why: impl Fn(PartyId) -> Vec<Link>,
) -> Vec<PartyReport> {
    let mut parties: Vec<PartyId> = parties.collect();
    parties.sort_by_key(|id| {
        let party = facts.party(*id);
        (party.kind, party.name.clone())
    });
    let party = |id: PartyId| PartyReport {
        party: facts.party(id).to_string(),
        because: why(id).iter().map(link).collect(),
    };
    parties.into_iter().map(party).collect()
}

fn link(link: &Link) -> LinkReport {
    let step = |step: &Step| {
        let Evidence { source, date } = step.evidence.clone();
        StepReport { text: step.tie.to_string(), source, date }
    };
    LinkReport { text: link.to_string(), steps: link.steps.iter().map(step).collect() }
}

fn fact_reports(facts: &Facts) -> Vec<FactReport> {
    let listed = facts.listed().into_iter().map(|fact| {
        let Evidence { source, date } = fact.evidence;
        FactReport { fact: fact.text, source, date }
    });
    listed.collect()
}

fn overrides(facts: &Facts) -> Vec<OverrideReport> {
    let listed = facts.listed_overrides().into_iter().map(|entry| {
        let Evidence { source, date } = entry.evidence;
        OverrideReport {
            says: entry.text,
            reason: entry.reason,
            source,
            date,
            changes_the_answer: entry.tells,
        }
    });
    listed.collect()
}
