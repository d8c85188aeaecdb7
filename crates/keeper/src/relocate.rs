//! Relocation: shards that may not stay where they are go elsewhere, and are deleted where they
//! were. A site that takes no shards any more drains this way; so do placements that the facts of
//! today no longer allow. When asked to, it also moves what may stay to where each site gets its
//! share.
//!
//! **Invariant.** At no moment does a coalition of the guarantee hold `k` shards of a blob because
//! of a move (I2): where a shard is about to be stored, and where one still has to be deleted,
//! both count. A shard is deleted only after its copy elsewhere is stored, was read back, and the
//! catalog has it durably (I6).
//!
//! **Deliberately absent.** Who is excluded (`engine` closes the sites), and customer keys.
//!
//! **Crash.** What was intended or left over stands in the catalog and is deleted by the next
//! pass; a blob that was not moved is found again.

use crate::Pass;
use crate::busy::Busy;
use crate::index::Index;
use crate::plan::missing;
use crate::rebuild::{Rebuilt, Source, Target, bit, reads_back, rebuild, retake};
use crate::throttle::Throttle;
use crate::whereabouts::{Shown, locate, show};
use crate::{HeldBlobs, sources};
use futures::future;
use havre_catalog::{BlobRow, BlobState, CatalogError, JobRow, Leftover, ShardMove, stored_whole};
use havre_codec::Layout;
use havre_model::ports::Ports;
use havre_model::{BlobId, ShardIndex, SiteId, SiteSet};
use havre_policy::{Acknowledgement, Arrangement, Permit, PlaceError, PlacementPolicy};
use havre_sites::{Fleet, Guarded, Health};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Blobs read from the catalog at a time, moved, and made durable together.
const PAGE: usize = 512;
/// Blobs moved at once.
const MOVES_MAX: usize = 8;
/// Leftovers looked up at a time, and deleted at once.
const LEFTOVERS_PAGE: usize = 512;
const DELETES_MAX: usize = 16;
/// How long a shard that was moved waits to be deleted while somebody reads its blob: readers that
/// began before the move look for it where it was. Those that take longer find the new place by
/// asking all sites.
const READERS_WAIT_MAX: Duration = Duration::from_secs(60);
/// The name of the job in the catalog.
const JOB: &str = "relocate";

/// How far relocation got, over all its passes since there was nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Milliseconds since 1970 when the first of them began.
    pub began_ms: u64,
    /// Blobs that the pass under way has looked at.
    pub examined: u64,
    /// Blobs that there are to look at.
    pub total: u64,
    /// Shards that were moved.
    pub shards: u64,
    /// Bytes of shards that were read for it.
    pub bytes_read: u64,
    /// Those of them that closed sites had to give: too few others had the blob.
    pub bytes_read_closed: u64,
    /// Bytes of shards that were stored elsewhere.
    pub bytes_stored: u64,
    /// Shards that were deleted where they were.
    pub deleted: u64,
    /// Blobs that the last pass could not move now: a site is away, or a shard was refused.
    pub waiting: u64,
    /// Blobs that the last pass could not move at all: the open sites allow no placement.
    pub stuck: u64,
    /// Why, of one of those.
    pub reason: String,
    /// Shards that the last pass found still to be deleted.
    pub left: u64,
    /// Those of them that their sites did not delete when they were asked to.
    pub refused: u64,
    /// Whether the last pass found everything in its place and nothing left over.
    pub done: bool,
    /// Milliseconds since 1970 when it first did; 0 until then.
    pub ended_ms: u64,
    /// The sites that were closed then, as bits by position.
    pub closed: u64,
    /// The blob that the pass under way has come to.
    after: Option<BlobId>,
}

/// Moves shards.
pub struct Relocator {
    /// The catalog.
    pub catalog: Arc<dyn Index>,
    /// The sites; those that are closed drain.
    pub fleet: Arc<Fleet>,
    /// The policies that blobs are under.
    pub policies: Arc<[PlacementPolicy]>,
    /// Writers and readers.
    pub held: Arc<dyn HeldBlobs>,
    /// What the keeper's workers are at.
    pub busy: Busy,
    /// Clock and sleep.
    pub ports: Ports,
    /// Bounds what is read.
    pub throttle: Throttle,
    /// Whether what may stay goes nearer to where it would be placed if all were new.
    pub rebalances: bool,
    /// Since when blobs with leftovers were found held by readers; empty at first.
    pub waiting: HashMap<BlobId, Duration>,
}

/// How one blob fared.
enum Fate {
    /// Nothing was to do, or somebody else is at it.
    Fine,
    Moved {
        shards: u64,
        read: Read,
        stored: u64,
    },
    Waits {
        read: Read,
    },
    Stuck(PlaceError),
}

/// What became of a shard that was to be deleted.
enum Deletion {
    Done,
    /// Somebody else is at its blob.
    Later,
    Refused,
}

/// Bytes that were read for one blob.
#[derive(Clone, Copy, Default)]
struct Read {
    all: u64,
    /// Those of closed sites.
    closed: u64,
}

/// What happens to the shards of one blob.
struct Plan {
    /// Those that move.
    permits: Vec<Permit>,
    /// Those that are made anew where they are missing.
    repairs: Vec<Permit>,
    /// The sites that hold a shard meanwhile.
    holders: SiteSet,
}

fn moves_of(row: &BlobRow, permits: &[Permit]) -> Vec<ShardMove> {
    let moves = permits.iter().map(|permit| {
        let (index, to) = (permit.index(), permit.site());
        ShardMove { index, from: row.sites[index.get()], to }
    });
    moves.collect()
}

fn bits_of(permits: &[Permit]) -> u32 {
    permits.iter().fold(0, |bits, permit| bits | bit(permit.index()))
}

impl Relocator {
    /// How far it got, by what the catalog has of it.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn progress(catalog: &dyn Index) -> Result<Relocation, CatalogError> {
        let job = catalog.job(JOB).await?;
        // A state of another release is begun anew: it is only a count.
        Ok(job.and_then(|job| postcard::from_bytes(&job.state).ok()).unwrap_or_default())
    }

    /// One pass over all blobs, from where the last one was interrupted; ends early when `go_on`
    /// says so. What is left over is deleted before and after.
    ///
    /// # Errors
    /// When the catalog fails. What sites refuse is counted.
    pub fn pass<'a>(&'a mut self, go_on: &'a (dyn Fn() -> bool + Sync)) -> Pass<'a, Relocation> {
        Box::pin(self.one_pass(go_on))
    }

    async fn one_pass(
        &mut self,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Relocation, CatalogError> {
        let mut state = Self::progress(&*self.catalog).await?;
        // What was done stays to be told until there is more to do.
        let ended = state.done.then(|| std::mem::take(&mut state));
        if state.began_ms == 0 {
            state.began_ms = self.ports.clock.now().millis();
        }
        state.total = self.catalog.blob_count().await?;
        let whole = state.after.is_none();
        (state.waiting, state.stuck, state.reason) = (0, 0, String::new());
        self.delete_leftovers(&mut state).await?;
        let (mut moved_any, mut all_seen) = (false, false);
        state.closed = self.fleet.closed().bits();
        while go_on() {
            let page = self.catalog.blobs(state.after, PAGE).await?;
            let Some(last) = page.last().map(BlobRow::blob) else {
                (state.after, state.examined, all_seen) = (None, 0, true);
                break;
            };
            let before = state.shards;
            self.move_page(&page, &mut state, go_on).await?;
            if !go_on() {
                break;
            }
            state.examined += page.len() as u64;
            state.after = Some(last);
            if state.shards > before {
                moved_any = true;
                // Durable before anything is deleted.
                self.save(&state).await?;
                self.delete_leftovers(&mut state).await?;
            }
        }
        let settled = state.waiting == 0 && state.stuck == 0 && state.left == 0;
        state.done = whole && all_seen && settled && !moved_any;
        if state.done {
            state.ended_ms = self.ports.clock.now().millis();
        }
        let nothing = state.done && state.shards == 0 && state.deleted == 0;
        match ended.filter(|ended| nothing && ended.closed == state.closed) {
            Some(ended) => state = ended,
            None => self.save(&state).await?,
        }
        Ok(state)
    }

    async fn save(&self, state: &Relocation) -> Result<(), CatalogError> {
        let encoded = postcard::to_allocvec(state)
            .map_err(|_| CatalogError::OutOfRange("the state of a job"))?;
        self.catalog.put_job(JobRow { name: JOB.to_owned(), state: encoded }).await
    }

    async fn move_page(
        &mut self,
        page: &[BlobRow],
        state: &mut Relocation,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), CatalogError> {
        let closed = self.fleet.closed();
        let moves = |row: &&BlobRow| {
            let may_move = self.rebalances && row.state == BlobState::Whole;
            row.state != BlobState::Garbage
                && (is_misplaced(&self.policies, &self.fleet, row, closed)
                    || may_move && !self.nearer(row, SiteSet::EMPTY, closed).is_empty())
        };
        let to_move: Vec<&BlobRow> = page.iter().filter(moves).collect();
        for batch in to_move.chunks(MOVES_MAX) {
            if !go_on() {
                return Ok(());
            }
            let wait = self.throttle.wait(self.ports.clock.elapsed());
            if !wait.is_zero() {
                self.ports.runtime.sleep(wait).await;
            }
            let mut moves = Vec::with_capacity(batch.len());
            for row in batch {
                moves.push(self.relocate(row.blob(), closed));
            }
            let mut read_now = Read::default();
            let mut took = |read: Read| {
                read_now.all += read.all;
                read_now.closed += read.closed;
            };
            for fate in future::join_all(moves).await {
                match fate? {
                    Fate::Fine => {}
                    Fate::Moved { shards, read, stored } => {
                        state.shards += shards;
                        state.bytes_stored += stored;
                        took(read);
                    }
                    Fate::Waits { read } => {
                        state.waiting += 1;
                        took(read);
                    }
                    Fate::Stuck(error) => {
                        state.stuck += 1;
                        state.reason = error.to_string();
                    }
                }
            }
            state.bytes_read += read_now.all;
            state.bytes_read_closed += read_now.closed;
            metrics::counter!("havre_relocation_read_bytes_total").increment(read_now.all);
            self.throttle.took(self.ports.clock.elapsed(), read_now.all);
        }
        Ok(())
    }

    /// Where shards of a blob that lies as it may would lie better.
    fn nearer(&self, row: &BlobRow, leftovers: SiteSet, closed: SiteSet) -> Vec<Permit> {
        let positions = positions_of(&self.fleet, row);
        let now = Arrangement { positions: &positions, leftovers };
        let policy = policy_of(&self.policies, &self.fleet, row);
        let order = self.fleet.settling(row.blob());
        policy.map_or_else(Vec::new, |policy| policy.rebalance(row.blob(), &now, closed, &order))
    }

    /// Moves what may not stay of one blob, as the catalog has it now; or what would lie better.
    async fn relocate(&self, blob: BlobId, closed: SiteSet) -> Result<Fate, CatalogError> {
        let Some(_claim) = self.busy.claim(blob) else {
            return Ok(Fate::Waits { read: Read::default() });
        };
        let Some(row) = self.catalog.blob(blob).await? else { return Ok(Fate::Fine) };
        let is_reconciled = self.busy.is_reconciled();
        let Some(row) = locate(&*self.catalog, &self.fleet, row, is_reconciled).await? else {
            return Ok(Fate::Waits { read: Read::default() });
        };
        self.held.moved(row.named()).await;
        let Some(policy) = policy_of(&self.policies, &self.fleet, &row) else {
            return Ok(Fate::Fine);
        };
        let positions = positions_of(&self.fleet, &row);
        let left = self.catalog.leftovers_of(blob).await?;
        let leftovers = left.iter().filter_map(|site| self.fleet.by_id(*site));
        let leftovers: SiteSet = leftovers.map(|(at, _)| at).collect();
        let now = Arrangement { positions: &positions, leftovers };
        let plan = match self.plan(policy, &row, &now, closed) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(Fate::Fine),
            Err(Some(error)) => return Ok(Fate::Stuck(error)),
            Err(None) => {
                self.look_again(&row).await?;
                return Ok(Fate::Waits { read: Read::default() });
            }
        };
        self.carry_out(policy, row, plan).await
    }

    async fn carry_out(
        &self,
        policy: &PlacementPolicy,
        row: BlobRow,
        plan: Plan,
    ) -> Result<Fate, CatalogError> {
        let (blob, Plan { permits, repairs, holders }) = (row.blob(), plan);
        let to: Vec<SiteId> = permits.iter().map(Permit::site).collect();
        let moves = moves_of(&row, &permits);
        let (wanted, made) = (bits_of(&permits), bits_of(&repairs));
        let mut targets = Vec::with_capacity(permits.len() + repairs.len());
        for permit in permits.into_iter().chain(repairs) {
            let index = permit.index();
            match self.fleet.by_id(permit.site()) {
                Some((_, site)) if site.health() != Health::Down => {
                    targets.push(Target { index, site, permit });
                }
                _ => return Ok(Fate::Waits { read: Read::default() }),
            }
        }
        if !self.catalog.intend_shards(blob, to).await? {
            return Ok(Fate::Waits { read: Read::default() });
        }
        let mut rebuilt = rebuild(&row, self.sources_of(&row), targets).await;
        // What is in the way of one that moves is left; where one is missing it is a spoilt one.
        rebuilt.taken &= made;
        if rebuilt.taken != 0 {
            let permit = |index| self.permit_along(policy, &row, holders, index);
            retake(&row, &self.fleet, &mut rebuilt, permit).await;
        }
        let made = made & rebuilt.stored;
        if made | rebuilt.bad != 0 {
            // What is found bad while reading is a repair job from now on.
            self.catalog.note_shards(blob, &row.sites, made, rebuilt.bad).await?;
        }
        let read = Read { all: rebuilt.bytes_read, closed: rebuilt.bytes_read_closed };
        let row = BlobRow { stored: row.stored & !rebuilt.bad, ..row };
        if !self.came_about(&row, &moves, wanted, &rebuilt).await
            || !self.stays_within(policy, &row, &moves, made)
        {
            // What was stored is a leftover already, and goes.
            return Ok(Fate::Waits { read });
        }
        let shards = moves.len() as u64;
        if !self.catalog.move_shards(blob, moves).await? {
            return Ok(Fate::Waits { read });
        }
        self.held.moved(row.named()).await;
        let layout = Layout::checked(row.geometry, row.chunk_bytes, row.bytes);
        let stored = layout.map_or(0, |layout| layout.shard_bytes()) * shards;
        metrics::counter!("havre_relocated_shards_total").increment(shards);
        Ok(Fate::Moved { shards, read, stored })
    }

    /// What has to move of the blob, or would lie better, and what is made anew along with it;
    /// nothing when all may stay.
    ///
    /// # Errors
    /// Why it cannot be moved; nothing when it waits for its repair.
    fn plan(
        &self,
        policy: &PlacementPolicy,
        row: &BlobRow,
        now: &Arrangement<'_>,
        closed: SiteSet,
    ) -> Result<Option<Plan>, Option<PlaceError>> {
        let (blob, placing) = (row.blob(), self.fleet.placing(row.blob()));
        let mut permits = policy.rearrange(blob, now, closed, &placing).map_err(Some)?;
        if permits.is_empty() && self.rebalances {
            permits = self.nearer(row, now.leftovers, closed);
        }
        if permits.is_empty() {
            return Ok(None);
        }
        // What it misses moves along where it can, be it that its site is away, or that nobody may
        // be permitted to make it anew where it was.
        let lacking = missing(row).filter_map(|index| now.positions.get(index.get()).copied()?);
        let lacking: SiteSet = lacking.collect();
        let is_away = |at: &usize| self.fleet.site(*at).health() == Health::Down;
        let away = lacking.iter().filter(is_away).collect();
        let others = [away, lacking].into_iter().filter(|sites: &SiteSet| !sites.is_empty());
        let others = others
            .filter_map(|sites| policy.rearrange(blob, now, closed.union(sites), &placing).ok());
        for permits in std::iter::once(permits).chain(others) {
            let to = permits.iter().filter_map(|it| Some(self.fleet.by_id(it.site())?.0));
            let holders = now.holders().union(to.collect());
            let moves = bits_of(&permits);
            let stay = missing(row).filter(|index| moves & bit(*index) == 0);
            let repairs = stay.filter_map(|it| self.permit_along(policy, row, holders, it));
            let repairs: Vec<Permit> = repairs.collect();
            if self.stays_within(policy, row, &moves_of(row, &permits), bits_of(&repairs)) {
                return Ok(Some(Plan { permits, repairs, holders }));
            }
        }
        Err(None)
    }

    /// A site that did not show its shard, or another one, may do so again: notes what is there.
    async fn look_again(&self, row: &BlobRow) -> Result<(), CatalogError> {
        let mut found = 0;
        for index in missing(row) {
            if reads_back(&self.fleet, row, index, row.sites[index.get()]).await {
                found |= bit(index);
            }
        }
        if found != 0 {
            self.catalog.note_shards(row.blob(), &row.sites, found, 0).await?;
        }
        Ok(())
    }

    /// A permit for a shard that the blob misses at the site where it stays, while `holders` hold
    /// shards of it: without that one it may not be within its guarantee when the others have
    /// moved, and by today's facts nobody may be permitted to repair it before.
    fn permit_along(
        &self,
        policy: &PlacementPolicy,
        row: &BlobRow,
        holders: SiteSet,
        index: ShardIndex,
    ) -> Option<Permit> {
        let (at, site) = self.fleet.by_id(row.sites[index.get()])?;
        if site.health() == Health::Down || self.fleet.closed().contains(at) {
            return None;
        }
        let others = holders.minus(SiteSet::EMPTY.with(at));
        policy.permit(row.blob(), index, site.id(), others).ok()
    }

    /// Whether the blob is within its guarantee when these shards have moved and those of the bits
    /// `made` were made anew. If not, it waits for its repair: it may be within it as it lies, by
    /// facts of before.
    fn stays_within(
        &self,
        policy: &PlacementPolicy,
        row: &BlobRow,
        moves: &[ShardMove],
        made: u32,
    ) -> bool {
        let at = row.geometry.indices().filter_map(|index| {
            let shift = moves.iter().find(|it| it.index == index);
            let is_there = shift.is_some() || (row.stored | made) & bit(index) != 0;
            let site = shift.map_or(row.sites[index.get()], |it| it.to);
            Some(self.fleet.by_id(site).filter(|_| is_there)?.0)
        });
        policy.acknowledges(at.collect()) == Acknowledgement::Within
    }

    /// The stored shards: those that stay first, closed sites where nothing else will do.
    fn sources_of(&self, row: &BlobRow) -> Vec<Source<'_>> {
        sources(&self.fleet, row)
    }

    /// Whether every shard is at its new site, by what the site shows of it.
    async fn came_about(
        &self,
        row: &BlobRow,
        moves: &[ShardMove],
        wanted: u32,
        rebuilt: &Rebuilt,
    ) -> bool {
        if rebuilt.stored & wanted != wanted {
            return false;
        }
        let mut checks = Vec::with_capacity(moves.len());
        for shift in moves {
            checks.push(reads_back(&self.fleet, row, shift.index, shift.to));
        }
        future::join_all(checks).await.into_iter().all(|good| good)
    }

    /// Deletes what is left over where nobody may still look for it.
    async fn delete_leftovers(&mut self, state: &mut Relocation) -> Result<(), CatalogError> {
        let (mut after, mut left, mut refused) = (None, 0, 0);
        let mut waiting = HashMap::new();
        loop {
            let page = self.catalog.leftovers(after, LEFTOVERS_PAGE).await?;
            let Some(last) = page.last().map(|leftover| leftover.name.blob()) else { break };
            after = Some(last);
            for batch in page.chunks(DELETES_MAX) {
                let mut deletes = Vec::with_capacity(batch.len());
                for leftover in batch {
                    if self.must_wait(leftover.name.blob(), &mut waiting).await {
                        left += 1;
                    } else {
                        deletes.push(self.delete_leftover(*leftover));
                    }
                }
                for deleted in future::join_all(deletes).await {
                    match deleted? {
                        Deletion::Done => state.deleted += 1,
                        Deletion::Later => left += 1,
                        Deletion::Refused => refused += 1,
                    }
                }
            }
        }
        self.waiting = waiting;
        (state.left, state.refused) = (left + refused, refused);
        Ok(())
    }

    async fn must_wait(&self, blob: BlobId, waiting: &mut HashMap<BlobId, Duration>) -> bool {
        if !self.held.holds(blob).await {
            return false;
        }
        let now = self.ports.clock.elapsed();
        let since = *self.waiting.get(&blob).unwrap_or(&now);
        waiting.insert(blob, since);
        now.saturating_sub(since) < READERS_WAIT_MAX
    }

    async fn delete_leftover(&self, leftover: Leftover) -> Result<Deletion, CatalogError> {
        let Some(_claim) = self.busy.claim(leftover.name.blob()) else {
            return Ok(Deletion::Later);
        };
        // A site that is no longer configured is out of reach for good.
        if let Some((_, site)) = self.fleet.by_id(leftover.site) {
            if let Some(kept) = self.keep_only_copy(site, leftover).await? {
                return Ok(kept);
            }
            if let Err(error) = site.delete(&leftover.name).await {
                tracing::warn!(%error, "a shard that was moved could not be deleted where it was");
                return Ok(Deletion::Refused);
            }
        }
        self.catalog.forget_leftover(leftover).await?;
        Ok(Deletion::Done)
    }
}

impl Relocator {
    /// Of a blob that misses shards, what is left over may be one of them: stored or found there,
    /// by somebody who died before it was noted. Then it is noted now, and stays.
    async fn keep_only_copy(
        &self,
        site: &Guarded,
        leftover: Leftover,
    ) -> Result<Option<Deletion>, CatalogError> {
        let blob = leftover.name.blob();
        let row = self.catalog.blob(blob).await?;
        let lacks = |row: &BlobRow| !stored_whole(row.geometry, row.stored);
        let Some(row) = row.filter(|row| row.state != BlobState::Garbage && lacks(row)) else {
            return Ok(None);
        };
        let index = match show(site, &row).await {
            Shown::NoAnswer => return Ok(Some(Deletion::Refused)),
            Shown::Shard(index) if row.stored & bit(index) == 0 => index,
            _ => return Ok(None),
        };
        let (from, to) = (row.sites[index.get()], leftover.site);
        let is_noted = self.catalog.move_shards(blob, vec![ShardMove { index, from, to }]).await?;
        self.held.moved(row.named()).await;
        Ok(Some(if is_noted { Deletion::Later } else { Deletion::Refused }))
    }
}

/// The policy that the blob is under. Where the catalog does not know, the strictest of its
/// geometry that allows the sites which it has.
pub(crate) fn policy_of<'a>(
    policies: &'a [PlacementPolicy],
    fleet: &Fleet,
    row: &BlobRow,
) -> Option<&'a PlacementPolicy> {
    policy_at(policies, &positions_of(fleet, row), row)
}

/// The same, by where the catalog has each shard.
pub(crate) fn policy_at<'a>(
    policies: &'a [PlacementPolicy],
    positions: &[Option<usize>],
    row: &BlobRow,
) -> Option<&'a PlacementPolicy> {
    let named = row.policy.as_deref();
    let fits = |policy: &&PlacementPolicy| policy.geometry() == row.geometry;
    if let Some(policy) = policies.iter().find(|it| Some(it.name()) == named) {
        // One that has another geometry by now disperses the blob anew instead.
        return Some(policy).filter(fits);
    }
    let sites: SiteSet = positions.iter().flatten().copied().collect();
    let strictness =
        |policy: &&PlacementPolicy| (sites.is_subset(policy.eligible()), policy.strictness());
    policies.iter().filter(fits).max_by_key(strictness)
}

/// Whether the blob's shards may not lie as they do while these sites are closed.
pub(crate) fn is_misplaced(
    policies: &[PlacementPolicy],
    fleet: &Fleet,
    row: &BlobRow,
    closed: SiteSet,
) -> bool {
    let positions = positions_of(fleet, row);
    let now = Arrangement { positions: &positions, leftovers: SiteSet::EMPTY };
    policy_at(policies, &positions, row)
        .is_some_and(|policy| policy.misplaced(&now, closed).is_some())
}

/// Where the catalog has each shard; `None` for sites that are configured no longer.
pub(crate) fn positions_of(fleet: &Fleet, row: &BlobRow) -> Vec<Option<usize>> {
    row.sites.iter().map(|site| fleet.by_id(*site).map(|(at, _)| at)).collect()
}
