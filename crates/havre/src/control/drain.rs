//! Closing sites: who is excluded, what that would take, how far it got.
//!
//! **Invariant.** An exclusion that has begun is carried to its end, whoever goes away meanwhile.
//! It is answered when a keeper in a process of its own stores nothing there any more, either
//! (I29).
//!
//! **Deliberately absent.** Moving shards (`keeper`) and closing sites (`engine`).
//!
//! **Crash.** What was answered holds after the next start; see `engine::exclude`.

use super::desk::GatewayDesk;
use crate::compose::{MOVES_PAUSED, REBALANCES, set_flag};
use crate::statement::{Envelope, rfc3339};
use anyhow::{Context, Result};
use havre_catalog::ExclusionRow;
use havre_engine::ExcludeError;
use havre_keeper::estimate::{self, noted_at};
use havre_keeper::{Relocation, Relocator, shards_listed};
use havre_model::record::Excluded;
use havre_model::{SiteSet, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Shards that are counted at a closed site, at most: it is empty or it is not.
const LISTED_MAX: u64 = 100_000;
/// Shards still to be deleted that are looked up at a time.
const LEFTOVERS_PAGE: usize = 4096;

/// Who is to be excluded or admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Subject {
    /// Whatever answers to this party: its name, or `kind:name` where several have one name.
    Party(String),
    /// One site.
    Site(String),
}

impl From<Subject> for Excluded {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Party(name) => Self::Party(name),
            Subject::Site(name) => Self::Site(name),
        }
    }
}

/// An exclusion in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Who: `kind:name`, or `site:name`.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Milliseconds since 1970.
    pub decided_ms: u64,
    /// Milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// The sites that it closes, by the facts of today.
    pub sites: Vec<String>,
}

/// What an exclusion would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Who.
    pub subject: String,
    /// The sites that would be closed.
    pub sites: Vec<String>,
    /// Policies that would have nowhere to write: the exclusion would be refused.
    pub refused_by: Vec<String>,
    /// Blobs there are.
    pub blobs: u64,
    /// Those of which shards would move.
    pub blobs_to_move: u64,
    /// Shards that would move.
    pub shards: u64,
    /// Seconds it takes at least, at the rate that the configuration sets.
    pub seconds: u64,
    /// Blobs that could not be moved.
    pub stuck: u64,
    /// Why, of one of those.
    pub reason: String,
    /// By site.
    pub traffic: Vec<Traffic>,
}

/// What a site would be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The site.
    pub site: String,
    /// Bytes read from it.
    pub bytes_read: u64,
    /// Bytes stored at it.
    pub bytes_stored: u64,
}

/// How far closed sites have drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    /// Who is excluded.
    pub exclusions: Vec<Exclusion>,
    /// Whether moving shards is paused.
    pub paused: bool,
    /// Whether shards also move until each site has its share.
    pub rebalances: bool,
    /// Whether everything is in its place and nothing is left over.
    pub done: bool,
    /// Blobs that the pass under way has looked at, and all there are.
    pub examined: u64,
    /// See `examined`.
    pub blobs: u64,
    /// Shards moved, since there was nothing to do.
    pub shards_moved: u64,
    /// Bytes read for it.
    pub bytes_read: u64,
    /// Bytes stored for it.
    pub bytes_stored: u64,
    /// Shards deleted where they were.
    pub shards_deleted: u64,
    /// Shards that were moved and are still to be deleted.
    pub shards_left: u64,
    /// Those of them that their sites did not delete when they were last asked to.
    pub shards_refused: u64,
    /// Blobs that have to wait: for a site that is away.
    pub waiting: u64,
    /// Blobs that cannot be moved.
    pub stuck: u64,
    /// Why, of one of those.
    pub reason: String,
    /// Seconds since it began.
    pub seconds: u64,
    /// Seconds until all blobs were looked at, as it went so far.
    pub seconds_left: Option<u64>,
    /// What the closed sites list: shards by site; none where a site cannot be listed.
    pub listed: Vec<(String, Option<u64>)>,
}

/// How an exclusion ended, or how far it got: the body of the statement `exclusion`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExclusionReport {
    /// Whether no shard that the catalog knows is left at a closed site, and the closed sites list
    /// none.
    pub complete: bool,
    /// Who is excluded.
    pub exclusions: Vec<Exclusion>,
    /// The subjects whose deadline had passed before it was complete, or has passed now.
    pub late: Vec<String>,
    /// The closed sites.
    pub sites: Vec<ClosedSite>,
    /// When the first shard was about to be moved: RFC 3339. None before.
    pub began: Option<String>,
    /// When everything had been found moved and deleted. None before.
    pub ended: Option<String>,
    /// Shards that were made anew elsewhere, read back there, and then given up here.
    pub shards_moved: u64,
    /// Bytes of them.
    pub bytes_stored: u64,
    /// Bytes that were read for it, at all sites.
    pub bytes_read: u64,
    /// Those of them that closed sites had to give, because too few others had the blob.
    pub bytes_read_from_closed: u64,
    /// Shards that were moved and then deleted where they were. Garbage that went, too, is not
    /// counted.
    pub shards_deleted: u64,
    /// Shards that were moved and are still to be deleted.
    pub shards_left: u64,
    /// Those of them that their sites did not delete when they were last asked to.
    pub shards_refused: u64,
    /// Blobs that have to wait: for a site that is away.
    pub blobs_waiting: u64,
    /// Blobs that cannot be moved: the open sites allow no placement.
    pub blobs_stuck: u64,
}

/// What a closed site still has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedSite {
    /// Its name.
    pub site: String,
    /// Shards that it lists, 100,000 at most; none when it cannot be listed.
    pub lists: Option<u64>,
    /// Shards that were moved away and are still to be deleted there, by the catalog.
    pub to_be_deleted: u64,
}

/// What a retired site holds: the body of the statement `site-retired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiredReport {
    /// The site.
    pub site: String,
    /// Its operator.
    pub operator: String,
    /// Where it lies.
    pub location: String,
    /// Who excludes it: why it was drained.
    pub exclusions: Vec<Exclusion>,
    /// Shards that it lists: 0.
    pub lists: u64,
    /// Shards that the catalog notes to be there: 0.
    pub noted: u64,
}

/// The answer to [`Order::RetireSite`](super::Order::RetireSite).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetiredStated {
    /// What it holds.
    pub report: RetiredReport,
    /// The same, signed.
    pub statement: Envelope,
}

/// The answer to [`Order::StateDrains`](super::Order::StateDrains).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainsStated {
    /// How it ended, or how far it got.
    pub report: ExclusionReport,
    /// The same, signed.
    pub statement: Envelope,
}

impl Drains {
    /// Whether everything was moved and the closed sites, which were listed, have nothing left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.done && self.listed.iter().all(|(_, shards)| *shards == Some(0))
    }
}

impl GatewayDesk {
    fn site_names(&self, sites: SiteSet) -> Vec<String> {
        sites.iter().map(|at| self.fleet.site(at).name().to_owned()).collect()
    }

    /// The party by the one name that it goes by in the packs.
    fn canonical(&self, subject: Subject) -> Result<Excluded> {
        let Subject::Party(text) = subject else { return Ok(subject.into()) };
        let found = self.facts.named(&text);
        match found[..] {
            [party] => Ok(Excluded::Party(self.facts.party(party).to_string())),
            [] => Err(ExcludeError::Unknown(text).into()),
            _ => {
                let names: Vec<String> =
                    found.iter().map(|id| self.facts.party(*id).to_string()).collect();
                anyhow::bail!("{text} may be {}; say which", names.join(" or "))
            }
        }
    }

    fn exclusion(&self, row: &ExclusionRow) -> Exclusion {
        let sites = self.engine.sites_of(&row.record.subject).unwrap_or(SiteSet::EMPTY);
        Exclusion {
            subject: row.record.subject.to_string(),
            reason: row.record.reason.clone(),
            decided_ms: row.record.decided.millis(),
            deadline_ms: row.record.deadline.map(Timestamp::millis),
            sites: self.site_names(sites),
        }
    }

    pub(super) async fn plan(&self, subject: Subject) -> Result<Plan> {
        let subject = self.canonical(subject)?;
        let sites = self.engine.sites_of(&subject).filter(|sites| !sites.is_empty());
        let sites = sites.ok_or_else(|| ExcludeError::Unknown(subject.to_string()))?;
        self.plan_for(subject.to_string(), sites, false).await
    }

    async fn plan_for(&self, subject: String, sites: SiteSet, rebalances: bool) -> Result<Plan> {
        let closed = self.fleet.closed().union(sites);
        let without = self.policies.iter().filter(|policy| !policy.can_place_without(closed));
        let refused_by = without.map(|policy| policy.name().to_owned()).collect();
        let (catalog, fleet) = (&*self.catalog, &*self.fleet);
        let policies = &self.policies;
        let sum = estimate::estimate(catalog, fleet, policies, closed, rebalances).await?;
        let read: u64 = sum.bytes_read.iter().sum();
        Ok(Plan {
            subject,
            sites: self.site_names(sites),
            refused_by,
            blobs: sum.blobs,
            blobs_to_move: sum.blobs_to_move,
            shards: sum.shards,
            seconds: read.div_ceil(self.keeper_bytes_per_second),
            stuck: sum.stuck,
            reason: sum.reason,
            traffic: self.traffic(&sum.bytes_read, &sum.bytes_stored),
        })
    }

    /// What each site would be asked for, from counts by position.
    pub(super) fn traffic(&self, bytes_read: &[u64], bytes_stored: &[u64]) -> Vec<Traffic> {
        let counts = bytes_read.iter().zip(bytes_stored).enumerate();
        let traffic = counts.map(|(at, (read, stored))| Traffic {
            site: self.fleet.site(at).name().to_owned(),
            bytes_read: *read,
            bytes_stored: *stored,
        });
        traffic.collect()
    }

    pub(super) async fn exclude(
        &self,
        subject: Subject,
        reason: String,
        deadline_ms: Option<u64>,
    ) -> Result<Vec<String>> {
        let subject = self.canonical(subject)?;
        let engine = Arc::clone(&self.engine);
        let deadline = deadline_ms.map(Timestamp::from_millis);
        let post = self.post.clone();
        let sites = self.to_its_end(async move {
            let sites = engine.exclude(subject, reason, deadline).await?;
            if let Some(post) = post {
                post.knows(sites).await;
            }
            Ok::<_, ExcludeError>(sites)
        });
        Ok(self.site_names(sites.await??))
    }

    pub(super) async fn admit(&self, subject: Subject, reason: String) -> Result<()> {
        // A party that is declared no longer can be admitted by the name that it went by.
        let named = self.canonical(subject.clone()).unwrap_or_else(|_| subject.into());
        let engine = Arc::clone(&self.engine);
        let admitted = self.to_its_end(async move { engine.admit(named, reason).await });
        Ok(admitted.await??)
    }

    /// Runs a task that a client's going away does not stop half way.
    async fn to_its_end<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.ports.runtime.spawn(Box::pin(async move {
            // Nobody may want to know any more.
            let _ = reply.send(task.await);
        }));
        answer.await.context("the gateway is stopping")
    }

    pub(super) async fn pause_moves(&self, pause: bool) -> Result<()> {
        set_flag(&*self.catalog, MOVES_PAUSED, &self.moves_paused, pause).await
    }

    pub(super) async fn rebalance(&self, go_on: bool) -> Result<()> {
        set_flag(&*self.catalog, REBALANCES, &self.rebalances, go_on).await
    }

    pub(super) async fn plan_rebalance(&self) -> Result<Plan> {
        self.plan_for("rebalance".to_owned(), SiteSet::EMPTY, true).await
    }

    /// How far it got; with `list`, by what the closed sites themselves say.
    pub(super) async fn drains(&self, list: bool) -> Result<Drains> {
        let rows = self.engine.exclusions().await?;
        let progress: Relocation = Relocator::progress(&self.catalog).await?;
        let now = self.ports.clock.now().millis();
        let seconds = match progress.began_ms {
            0 => 0,
            began => now.saturating_sub(began) / 1000,
        };
        let left = progress.total.saturating_sub(progress.examined);
        let seconds_left = (progress.examined > 0 && !progress.done)
            .then(|| seconds.saturating_mul(left) / progress.examined);
        let mut listed = Vec::new();
        for at in self.fleet.closed().iter().filter(|_| list) {
            let site = self.fleet.site(at);
            listed.push((site.name().to_owned(), shards_listed(site, LISTED_MAX).await.ok()));
        }
        Ok(Drains {
            exclusions: rows.iter().map(|row| self.exclusion(row)).collect(),
            paused: self.moves_paused.load(Ordering::Acquire),
            rebalances: self.rebalances.load(Ordering::Acquire),
            done: progress.done && progress.closed == self.fleet.closed().bits(),
            examined: progress.examined,
            blobs: progress.total,
            shards_moved: progress.shards,
            bytes_read: progress.bytes_read,
            bytes_stored: progress.bytes_stored,
            shards_deleted: progress.deleted,
            shards_left: progress.left,
            shards_refused: progress.refused,
            waiting: progress.waiting,
            stuck: progress.stuck,
            reason: progress.reason,
            seconds,
            seconds_left,
            listed,
        })
    }

    /// Says, signed, how far it got, by what the closed sites list now.
    pub(super) async fn state_drains(&self) -> Result<DrainsStated> {
        let drains = self.drains(true).await?;
        anyhow::ensure!(!drains.exclusions.is_empty(), "nobody is excluded: nothing is to be said");
        let progress: Relocation = Relocator::progress(&self.catalog).await?;
        let undeleted = self.undeleted().await?;
        let time = |millis| (millis > 0).then(|| rfc3339(Timestamp::from_millis(millis)));
        let ended_ms = if drains.is_empty() { progress.ended_ms } else { 0 };
        let now = self.ports.clock.now();
        let by = if ended_ms > 0 { ended_ms } else { now.millis() };
        let is_late = |it: &&Exclusion| it.deadline_ms.is_some_and(|deadline| deadline < by);
        let late = drains.exclusions.iter().filter(is_late).map(|it| it.subject.clone()).collect();
        let site = |(site, lists): &(String, Option<u64>)| ClosedSite {
            site: site.clone(),
            lists: *lists,
            to_be_deleted: undeleted.get(site).copied().unwrap_or_default(),
        };
        let report = ExclusionReport {
            complete: drains.is_empty(),
            late,
            sites: drains.listed.iter().map(site).collect(),
            exclusions: drains.exclusions,
            began: time(progress.began_ms),
            ended: time(ended_ms),
            shards_moved: progress.shards,
            bytes_stored: progress.bytes_stored,
            bytes_read: progress.bytes_read,
            bytes_read_from_closed: progress.bytes_read_closed,
            shards_deleted: progress.deleted,
            shards_left: progress.left,
            shards_refused: progress.refused,
            blobs_waiting: progress.waiting,
            blobs_stuck: progress.stuck,
        };
        let statement = self.signer.sign("exclusion", now, &report)?;
        Ok(DrainsStated { report, statement })
    }

    /// Says, signed, that a closed site holds nothing.
    pub(super) async fn retire(&self, name: &str) -> Result<RetiredStated> {
        let at = self.facts.sites().iter().position(|site| site.name == name);
        let at = at.with_context(|| format!("no site is called {name:?}"))?;
        anyhow::ensure!(
            self.fleet.closed().contains(at),
            "site {name} takes shards: empty it first (havre site drain {name} --follow)"
        );
        let site = self.fleet.site(at);
        let noted = noted_at(&*self.catalog, site.id()).await?;
        let lists = shards_listed(site, LISTED_MAX).await.context("list the site")?;
        anyhow::ensure!(
            (noted, lists) == (0, 0),
            "site {name} still lists {lists} shards, and {noted} are noted to be there: wait until \
             it is empty (havre drains --follow)"
        );
        let exclusions = self.engine.exclusions().await?;
        let exclusions = exclusions.iter().map(|row| self.exclusion(row));
        let declared = &self.facts.sites()[at];
        let report = RetiredReport {
            site: name.to_owned(),
            operator: declared.operator.clone(),
            location: declared.location.clone(),
            exclusions: exclusions.filter(|it| it.sites.iter().any(|it| it == name)).collect(),
            lists,
            noted,
        };
        let statement = self.signer.sign("site-retired", self.ports.clock.now(), &report)?;
        Ok(RetiredStated { report, statement })
    }

    /// Shards that were moved away and are still to be deleted, by the name of their site.
    async fn undeleted(&self) -> Result<BTreeMap<String, u64>> {
        let (mut counts, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.catalog.leftovers(after, LEFTOVERS_PAGE).await?;
            let Some(last) = page.last() else { return Ok(counts) };
            after = Some(last.name.blob());
            for leftover in &page {
                if let Some((_, site)) = self.fleet.by_id(leftover.site) {
                    *counts.entry(site.name().to_owned()).or_default() += 1;
                }
            }
        }
    }
}
