//! Compaction: packs of which little counts, and small ones, are written anew together, and
//! retired.
//!
//! **Invariant.** A pack is retired only after each of its records that counts was carried into
//! another one, durably and within the guarantee; it becomes garbage then, and garbage collection
//! deletes it (I6). Records are carried as they were sealed: nothing is opened here.
//!
//! **Deliberately absent.** Writing: [`Rewriter`], because a chain has one writer. Which packs are
//! worth it: [`crate::plan::worth`].
//!
//! **Crash.** What was carried counts where it is now; its pack is found again and retired by a
//! later pass.

use crate::Pass;
use crate::busy::Busy;
use crate::plan::{Chance, Worth, worth};
use crate::relocate::is_misplaced;
use crate::sources;
use crate::throttle::Throttle;
use async_trait::async_trait;
use futures::future;
use havre_catalog::{
    BlobState, Catalog, CatalogError, ChainState, JobRow, Need, PackRow, PackedRecord,
};
use havre_codec::pack::{self, PACK_FRAME_BYTES_MAX, Pack};
use havre_codec::{Gathered, gather_each};
use havre_model::ports::Ports;
use havre_model::record::{Extent, PackEnd, RetiredRun};
use havre_model::{BlobId, BlobName, ChainId};
use havre_policy::PlacementPolicy;
use havre_sites::Fleet;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Packs read from the catalog at a time.
const PAGE: usize = 512;
/// Packs that one pass writes anew, at most; the next goes on behind them.
const PACKS_MAX: usize = 4096;
/// Packs that are carried at once: their records come to stand in the same packs.
const CARRIED_AT_ONCE: usize = 16;
/// Records, and bytes of them, that are handed over together.
const RECORDS_MAX: usize = 1024;
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes that a pass has to gain, or packs that it has to make fewer, to be worth it: what it
/// writes itself will be dead one day.
const GAIN_BYTES_MIN: u64 = 1024 * 1024;
const FEWER_PACKS_MIN: usize = 16;
/// Bytes of a pack's shard, at most: with one data shard it is the whole frame and its tags.
const SHARD_BYTES_MAX: u64 = PACK_FRAME_BYTES_MAX as u64 + (1 << 20);
/// The name of the job in the catalog.
const JOB: &str = "compact";

/// A record of a pack as it was sealed, and what the catalog knows of it.
pub type SealedRecord = (PackedRecord, Vec<u8>);

/// Writes records again, and retires packs: whoever writes the chains does.
#[async_trait]
pub trait Rewriter: Send + Sync {
    /// Carries sealed records of the pack `from` into others, each if it still counts there; how
    /// many. They are durable within the guarantee, and the catalog has them, when this returns.
    /// Records that are under the policy `staying` now stay where they are.
    ///
    /// # Errors
    /// In words, when it cannot be done now. Some may have been carried.
    async fn carry(
        &self,
        from: BlobId,
        records: Vec<SealedRecord>,
        staying: Option<&str>,
    ) -> Result<u64, String>;

    /// Says durably that packs say nothing any more.
    ///
    /// # Errors
    /// In words, when it cannot be done now: none is retired then.
    async fn retire(&self, packs: Vec<RetiredRun>) -> Result<(), String>;

    /// Says durably that the bytes of the extent which objects name by `extent` are in another blob
    /// now, under this policy.
    ///
    /// # Errors
    /// In words, when it cannot be done now, or nobody knows whether it was.
    async fn redisperse(&self, extent: BlobId, to: Extent, policy: String) -> Result<(), String>;

    /// Holds `blob`, which is being written, until what is returned is dropped.
    fn hold(&self, blob: BlobId) -> Box<dyn Send + Sync>;

    /// Forgets ends that nothing needs any more to stay dead; how many.
    ///
    /// # Errors
    /// In words, when it cannot be done now.
    async fn drop_ends(&self) -> Result<u64, String>;
}

/// What compaction did, over all its passes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// Milliseconds since 1970 when the last pass began.
    pub began_ms: u64,
    /// Milliseconds since 1970 when the last pass that wrote every pack anew in which something is
    /// dead came to its end; 0 before the first.
    pub thorough_ms: u64,
    /// Packs that the last pass looked at.
    pub examined: u64,
    /// Packs there are.
    pub total: u64,
    /// Packs that the last pass has to write anew, and those that it has.
    pub wanted: u64,
    /// See `wanted`.
    pub done: u64,
    /// Bytes of dead records in all packs that the last pass looked at.
    pub dead_bytes: u64,
    /// Packs that were retired.
    pub packs_retired: u64,
    /// Records that were carried.
    pub records_carried: u64,
    /// Bytes of shards that were read for it.
    pub bytes_read: u64,
    /// Ends that were forgotten.
    pub ends_dropped: u64,
    /// Packs that the last pass could not write anew now.
    pub waiting: u64,
    /// Why, of one of those.
    pub reason: String,
}

/// Compacts packs.
pub struct Compactor {
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The sites.
    pub fleet: Arc<Fleet>,
    /// The policies that packs are under.
    pub policies: Arc<[PlacementPolicy]>,
    /// Who writes.
    pub rewriter: Arc<dyn Rewriter>,
    /// What the keeper's workers are at.
    pub busy: Busy,
    /// Clock and sleep.
    pub ports: Ports,
    /// Bounds what is read.
    pub throttle: Throttle,
}

/// A pack as it was read.
pub(crate) struct Read {
    frame: Pack,
    bytes: Vec<u8>,
    run: RetiredRun,
}

impl Compactor {
    /// What it did, by what the catalog has of it.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn progress(catalog: &dyn Catalog) -> Result<Compaction, CatalogError> {
        let job = catalog.job(JOB).await?;
        // A state of another release is begun anew: it is only a count.
        Ok(job.and_then(|job| postcard::from_bytes(&job.state).ok()).unwrap_or_default())
    }

    /// One pass over all packs. A thorough one writes every pack anew in which something is dead,
    /// so that what was deleted leaves the sites, too. Ends early when `go_on` says so.
    ///
    /// # Errors
    /// When the catalog fails. What cannot be done now is counted.
    pub fn pass<'a>(
        &'a mut self,
        thorough: bool,
        go_on: &'a (dyn Fn() -> bool + Sync),
    ) -> Pass<'a, Compaction> {
        Box::pin(self.one_pass(thorough, go_on))
    }

    async fn one_pass(
        &mut self,
        thorough: bool,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Compaction, CatalogError> {
        let mut state = Self::progress(&*self.catalog).await?;
        state.began_ms = self.ports.clock.now().millis();
        (state.waiting, state.done, state.reason) = (0, 0, String::new());
        match self.rewriter.drop_ends().await {
            Ok(dropped) => state.ends_dropped += dropped,
            Err(reason) => state.reason = reason,
        }
        let wanted = self.choose(thorough, &mut state).await?;
        state.wanted = wanted.len() as u64;
        let ended = self.rewrite(&wanted, &mut state, go_on).await?;
        if thorough && ended && state.waiting == 0 {
            state.thorough_ms = self.ports.clock.now().millis();
        }
        self.save(&state).await?;
        Ok(state)
    }

    async fn save(&self, state: &Compaction) -> Result<(), CatalogError> {
        let encoded = postcard::to_allocvec(state)
            .map_err(|_| CatalogError::OutOfRange("the state of a job"))?;
        self.catalog.put_job(JobRow { name: JOB.to_owned(), state: encoded }).await
    }

    /// The packs that are worth it; none when all of them together are not.
    async fn choose(
        &self,
        thorough: bool,
        state: &mut Compaction,
    ) -> Result<Vec<PackRow>, CatalogError> {
        let chains = self.catalog.chains().await?;
        let (mut must, mut small) = (Vec::new(), Vec::new());
        let (mut after, mut gain) = (None, 0);
        (state.examined, state.dead_bytes) = (0, 0);
        state.total = self.catalog.counts().await?.packs;
        while must.len() + small.len() < PACKS_MAX {
            let page = self.catalog.packs(after, PAGE).await?;
            let Some(last) = page.last().and_then(place) else { break };
            after = Some(last);
            state.examined += page.len() as u64;
            for pack in page {
                state.dead_bytes += pack.dead_bytes;
                match worth(&pack, &self.chance(&pack, &chains, thorough)) {
                    Worth::Nothing => {}
                    Worth::Little => small.push(pack),
                    Worth::Gain(bytes) => {
                        gain += bytes;
                        must.push(pack);
                    }
                    Worth::Must => {
                        gain += GAIN_BYTES_MIN;
                        must.push(pack);
                    }
                }
            }
        }
        let fewer = must.len() + small.len() >= FEWER_PACKS_MIN;
        if gain < GAIN_BYTES_MIN && !fewer {
            return Ok(Vec::new());
        }
        if fewer {
            must.append(&mut small);
        }
        // In the order of their chains: what lies together is retired together. What is below its
        // guarantee and can only be repaired by it goes first: nothing else is retired until then.
        must.sort_by_key(|pack| (!is_below(pack), place(pack)));
        Ok(must)
    }

    fn chance(&self, pack: &PackRow, chains: &[ChainState], thorough: bool) -> Chance {
        let row = &pack.blob;
        let is_last = chains.iter().any(|state| state.link.blob == row.blob());
        let named = self.policies.iter().find(|it| Some(it.name()) == row.policy.as_deref());
        // Asked of few: what is whole moves instead.
        let misplaced = row.state != BlobState::Whole
            && is_misplaced(&self.policies, &self.fleet, row, self.fleet.closed());
        Chance { is_last, thorough, geometry: named.map(PlacementPolicy::geometry), misplaced }
    }

    /// Whether it came to the end.
    async fn rewrite(
        &mut self,
        packs: &[PackRow],
        state: &mut Compaction,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, CatalogError> {
        let (first, others) = packs.split_at(packs.partition_point(is_below));
        for batch in first.chunks(CARRIED_AT_ONCE).chain(others.chunks(CARRIED_AT_ONCE)) {
            if !go_on() {
                return Ok(false);
            }
            let wait = self.throttle.wait(self.ports.clock.elapsed());
            if !wait.is_zero() {
                self.ports.runtime.sleep(wait).await;
            }
            let claims: Vec<_> = batch.iter().map(|it| self.busy.claim(it.blob.blob())).collect();
            let mut carries = Vec::with_capacity(batch.len());
            for (pack, claim) in batch.iter().zip(&claims) {
                if claim.is_some() {
                    carries.push(self.carry(pack));
                }
            }
            state.waiting += (batch.len() - carries.len()) as u64;
            let (mut runs, mut read) = (Vec::new(), 0);
            for carried in future::join_all(carries).await {
                let Carried { run, records, bytes_read } = carried?;
                read += bytes_read;
                state.records_carried += records;
                match run {
                    Ok(run) => runs.push(run),
                    Err(reason) => {
                        state.waiting += 1;
                        state.reason = reason;
                    }
                }
            }
            state.bytes_read += read;
            self.throttle.took(self.ports.clock.elapsed(), read);
            metrics::counter!("havre_compaction_read_bytes_total").increment(read);
            self.retire(runs, state).await;
            self.save(state).await?;
        }
        Ok(true)
    }

    async fn retire(&self, runs: Vec<RetiredRun>, state: &mut Compaction) {
        let retired = runs.len() as u64;
        if retired == 0 {
            return;
        }
        match self.rewriter.retire(runs).await {
            Ok(()) => {
                state.done += retired;
                state.packs_retired += retired;
                metrics::counter!("havre_packs_retired_total").increment(retired);
            }
            Err(reason) => {
                state.waiting += retired;
                state.reason = reason;
            }
        }
    }

    /// Carries what of a pack counts.
    async fn carry(&self, pack: &PackRow) -> Result<Carried, CatalogError> {
        let blob = pack.blob.blob();
        let mut carried =
            Carried { run: Err("its shards cannot be read".into()), records: 0, bytes_read: 0 };
        let (read, bytes_read) = read_pack(&self.fleet, pack).await;
        carried.bytes_read = bytes_read;
        let Some(read) = read else { return Ok(carried) };
        let Some(contents) = self.catalog.pack_contents(blob).await? else {
            carried.run = Err("what stands in it is not known".into());
            return Ok(carried);
        };
        let Some(batches) = cut(&read, contents) else {
            carried.run = Err("it holds other records than the catalog knows".into());
            return Ok(carried);
        };
        for batch in batches {
            match self.rewriter.carry(blob, batch, None).await {
                Ok(records) => carried.records += records,
                Err(reason) => {
                    carried.run = Err(reason);
                    return Ok(carried);
                }
            }
        }
        carried.run = Ok(read.run);
        Ok(carried)
    }
}

/// Reads a pack from its shards, and how many bytes that took.
pub(crate) async fn read_pack(fleet: &Fleet, pack: &PackRow) -> (Option<Read>, u64) {
    let row = &pack.blob;
    let sources = sources(fleet, row);
    let (first, others) = sources.split_at(row.geometry.data().min(sources.len()));
    let (mut files, mut bytes_read) = (Vec::new(), 0);
    for group in [first, others] {
        let mut reads = Vec::with_capacity(group.len());
        for source in group {
            reads.push(source.site.read_all(&row.name, SHARD_BYTES_MAX));
        }
        files.extend(future::join_all(reads).await.into_iter().flatten());
        bytes_read = files.iter().map(|file| file.len() as u64).sum();
        let gathered = gather_each(row.blob(), &files).unwrap_or_default();
        let own = gathered.into_iter().find(|gathered| gathered.secret == row.secret);
        if let Some(read) = own.and_then(|gathered| parse(row.name, gathered)) {
            return (Some(read), bytes_read);
        }
    }
    (None, bytes_read)
}

/// What became of a pack.
struct Carried {
    /// The pack as a run of its own, when nothing in it counts any more; else why not.
    run: Result<RetiredRun, String>,
    records: u64,
    bytes_read: u64,
}

fn is_below(pack: &PackRow) -> bool {
    pack.blob.state == BlobState::BelowGuarantee
}

fn place(pack: &PackRow) -> Option<(ChainId, u64)> {
    match pack.blob.name {
        BlobName::Pack { chain, number, .. } => Some((chain, number)),
        BlobName::Extent(_) => None,
    }
}

fn parse(name: BlobName, gathered: Gathered) -> Option<Read> {
    let BlobName::Pack { chain, number, blob } = name else { return None };
    let bytes = gathered.bytes;
    let frame = pack::parse(&bytes).ok()?;
    let header = frame.header;
    if (header.chain, header.number) != (chain, number) {
        return None;
    }
    let before = PackEnd { blob: header.previous.blob, hash: header.previous.hash };
    let end = PackEnd { blob, hash: pack::hash(&bytes) };
    let run = RetiredRun { chain, first: number, last: number, before, end };
    Some(Read { frame, bytes, run })
}

/// The records of a pack that count, in batches; `None` when they are not where the catalog has
/// them.
pub(crate) fn cut(read: &Read, contents: Vec<PackedRecord>) -> Option<Vec<Vec<SealedRecord>>> {
    let slots: HashSet<(u64, u32)> =
        read.frame.slots.iter().map(|slot| (slot.offset, slot.len)).collect();
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for packed in contents.into_iter().filter(|packed| packed.need != Need::Nothing) {
        if !slots.contains(&(packed.offset, packed.len)) {
            return None;
        }
        let from = usize::try_from(packed.offset).ok()?;
        let sealed = read.bytes.get(from..from + packed.len as usize)?.to_vec();
        if batch.len() >= RECORDS_MAX || bytes + sealed.len() > BYTES_MAX {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += sealed.len();
        batch.push((packed, sealed));
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    Some(batches)
}
