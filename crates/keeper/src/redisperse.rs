//! Re-dispersal: what is under another policy or geometry than it should be is dispersed anew.
//! Extents go into new blobs, sealed as they are; records are carried into the packs of the policy
//! that their bucket is under now.
//!
//! **Invariant.** The old blob is needed until the new one is whole, was read back, and the record
//! that says so is durable (I1, I6). Each of the two keeps the guarantee by itself: their secrets
//! are independent, so shards of the one are worth nothing with shards of the other (I2, I5).
//!
//! **Deliberately absent.** Which bucket is under which policy (its record says so), packs of
//! another geometry than their own policy's ([`crate::compact`]), and shards that only lie
//! elsewhere ([`crate::relocate`]).
//!
//! **Crash.** A new blob that no record names is an orphan; the extent is found again.

use crate::Pass;
use crate::busy::Busy;
use crate::compact::{Rewriter, cut, read_pack};
use crate::rebuild::{Reader, Sink, Target, reads_back};
use crate::relocate::is_misplaced;
use crate::sources;
use crate::throttle::Throttle;
use bytes::{Bytes, BytesMut};
use futures::future;
use havre_catalog::{
    BlobRow, BlobState, BucketRow, Catalog, CatalogError, JobRow, Need, PackRow, stored_whole,
};
use havre_codec::{BlobKeys, ErasureCode, Layout};
use havre_model::ports::Ports;
use havre_model::record::{BlobSecret, Extent, POLICY_CHANGES};
use havre_model::{BlobId, BlobName, BucketId, Geometry};
use havre_policy::{Permit, PlacementPolicy};
use havre_sites::{Fleet, Health};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Blobs, or versions of a bucket, read from the catalog at a time.
const PAGE: usize = 512;
/// Extents that are dispersed anew at once.
const EXTENTS_AT_ONCE: usize = 2;
/// The name of the job in the catalog.
const JOB: &str = "redisperse";

/// How far re-dispersal got, over all its passes since there was nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redispersal {
    /// Milliseconds since 1970 when the first of them began.
    pub began_ms: u64,
    /// Milliseconds since 1970 when the last of them found nothing to do; 0 until then.
    pub ended_ms: u64,
    /// Blobs that the pass under way has looked at.
    pub examined: u64,
    /// Blobs that there are to look at.
    pub total: u64,
    /// Extents that were dispersed anew.
    pub extents: u64,
    /// Bytes of them, before dispersal.
    pub bytes: u64,
    /// Records that were carried.
    pub records: u64,
    /// Extents and packs that the last pass could not do now.
    pub waiting: u64,
    /// Why, of one of those.
    pub reason: String,
    /// The blob that the pass under way has come to.
    after: Option<BlobId>,
}

/// Disperses anew.
pub struct Redisperser {
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The sites.
    pub fleet: Arc<Fleet>,
    /// The policies.
    pub policies: Arc<[PlacementPolicy]>,
    /// The name of the policy of buckets that name none.
    pub default_policy: String,
    /// Who writes records.
    pub rewriter: Arc<dyn Rewriter>,
    /// What the keeper's workers are at.
    pub busy: Busy,
    /// Clock, sleep and randomness.
    pub ports: Ports,
    /// Bounds what is read.
    pub throttle: Throttle,
}

impl Redisperser {
    /// How far it got, by what the catalog has of it.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn progress(catalog: &dyn Catalog) -> Result<Redispersal, CatalogError> {
        let job = catalog.job(JOB).await?;
        // A state of another release is begun anew: it is only a count.
        Ok(job.and_then(|job| postcard::from_bytes(&job.state).ok()).unwrap_or_default())
    }

    /// One pass: the records of buckets whose policy has changed, then all extents, from where the
    /// last one was interrupted. Ends early when `go_on` says so.
    ///
    /// # Errors
    /// When the catalog fails. What cannot be done now is counted.
    pub fn pass<'a>(&'a mut self, go_on: &'a (dyn Fn() -> bool + Sync)) -> Pass<'a, Redispersal> {
        Box::pin(self.one_pass(go_on))
    }

    async fn one_pass(
        &mut self,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Redispersal, CatalogError> {
        let mut state = Self::progress(&*self.catalog).await?;
        let ended = (state.ended_ms > 0).then(|| std::mem::take(&mut state));
        if state.began_ms == 0 {
            state.began_ms = self.ports.clock.now().millis();
        }
        (state.waiting, state.reason) = (0, String::new());
        state.total = self.catalog.counts().await?.blobs;
        let before = (state.extents, state.records);
        let buckets = self.catalog.all_buckets().await?;
        for bucket in &buckets {
            self.carry_bucket(bucket, &mut state, go_on).await?;
        }
        let policies: HashMap<BucketId, usize> = buckets
            .iter()
            .filter_map(|row| Some((row.record.bucket, self.policy_of(row)?)))
            .collect();
        let whole = state.after.is_none();
        let all_seen = self.extents(&policies, &mut state, go_on).await?;
        let idle = before == (state.extents, state.records) && state.waiting == 0;
        if whole && all_seen && idle {
            state.ended_ms = self.ports.clock.now().millis().max(1);
        }
        // What was done stays to be told until there is more to do.
        let nothing = state.ended_ms > 0 && state.extents + state.records == 0;
        if let Some(ended) = ended.filter(|_| nothing) {
            state = Redispersal { ended_ms: state.ended_ms, ..ended };
        }
        self.save(&state).await?;
        Ok(state)
    }

    async fn save(&self, state: &Redispersal) -> Result<(), CatalogError> {
        let encoded = postcard::to_allocvec(state)
            .map_err(|_| CatalogError::OutOfRange("the state of a job"))?;
        self.catalog.put_job(JobRow { name: JOB.to_owned(), state: encoded }).await
    }

    /// The policy that a bucket is under, by position; `None` when it is configured no more.
    fn policy_of(&self, bucket: &BucketRow) -> Option<usize> {
        let name = match bucket.record.policy.as_str() {
            "" => &self.default_policy,
            name => name,
        };
        self.policies.iter().position(|policy| policy.name() == name)
    }

    /// Carries the records of a bucket's versions into the packs of its policy, if that has changed
    /// since they were carried last.
    async fn carry_bucket(
        &mut self,
        bucket: &BucketRow,
        state: &mut Redispersal,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), CatalogError> {
        let settings = &bucket.record.settings;
        let Some((_, changes)) = settings.iter().find(|(name, _)| name == POLICY_CHANGES) else {
            return Ok(());
        };
        let job = format!("{POLICY_CHANGES}:{}", bucket.record.bucket);
        let done = self.catalog.job(&job).await?;
        let Some(policy) =
            self.policy_of(bucket).filter(|_| done.is_none_or(|done| done.state != *changes))
        else {
            return Ok(());
        };
        let wanted = self.policies[policy].name().to_owned();
        let before = (state.records, state.waiting);
        let mut after = None;
        loop {
            let page = self.catalog.places(bucket.record.bucket, after, PAGE).await?;
            let Some((key, seq, _)) = page.last() else { break };
            after = Some((key.clone(), *seq));
            let packs: BTreeSet<BlobId> = page.iter().map(|(_, _, place)| place.blob).collect();
            for pack in packs {
                if !go_on() {
                    return Ok(());
                }
                let row = self.catalog.blob(pack).await?;
                if let Some(row) = row.filter(|row| row.policy.as_deref() != Some(&wanted)) {
                    self.carry_from(row, state).await?;
                }
            }
        }
        // What was on its way when the policy changed may have come since: until a pass finds
        // nothing, there is another.
        if before == (state.records, state.waiting) {
            self.catalog.put_job(JobRow { name: job, state: changes.clone() }).await?;
        }
        Ok(())
    }

    /// Carries all records out of a pack that are under another policy than it is: keys of a bucket
    /// lie in packs by time, so that a pack would be read once for each page of keys otherwise.
    async fn carry_from(
        &mut self,
        row: BlobRow,
        state: &mut Redispersal,
    ) -> Result<(), CatalogError> {
        let (blob, policy) = (row.blob(), row.policy.clone());
        let pack = PackRow { blob: row, dead_bytes: 0, order: None, is_listed: true };
        self.wait().await;
        let (read, bytes_read) = read_pack(&self.fleet, &pack).await;
        self.throttle.took(self.ports.clock.elapsed(), bytes_read);
        let contents = self.catalog.pack_contents(blob).await?;
        let (Some(read), Some(mut contents)) = (read, contents) else {
            state.waiting += 1;
            "a pack cannot be read".clone_into(&mut state.reason);
            return Ok(());
        };
        contents.retain(|packed| packed.need == Need::Record);
        let Some(batches) = cut(&read, contents) else {
            state.waiting += 1;
            "a pack holds other records than the catalog knows".clone_into(&mut state.reason);
            return Ok(());
        };
        for batch in batches {
            match self.rewriter.carry(blob, batch, policy.as_deref()).await {
                Ok(carried) => state.records += carried,
                Err(reason) => {
                    state.waiting += 1;
                    state.reason = reason;
                }
            }
        }
        Ok(())
    }

    async fn wait(&self) {
        let wait = self.throttle.wait(self.ports.clock.elapsed());
        if !wait.is_zero() {
            self.ports.runtime.sleep(wait).await;
        }
    }

    /// Looks at all extents; whether it came to the end.
    async fn extents(
        &mut self,
        policies: &HashMap<BucketId, usize>,
        state: &mut Redispersal,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, CatalogError> {
        while go_on() {
            let page = self.catalog.blobs(state.after, PAGE).await?;
            let Some(last) = page.last().map(BlobRow::blob) else {
                (state.after, state.examined) = (None, 0);
                return Ok(true);
            };
            let wanted: Vec<(&BlobRow, usize)> =
                page.iter().filter_map(|row| Some((row, self.wanted(row, policies)?))).collect();
            for batch in wanted.chunks(EXTENTS_AT_ONCE) {
                if !go_on() {
                    return Ok(false);
                }
                self.wait().await;
                let mut moves = Vec::with_capacity(batch.len());
                for (row, policy) in batch {
                    moves.push(self.redisperse(row, &self.policies[*policy]));
                }
                let mut read = 0;
                for moved in future::join_all(moves).await {
                    match moved? {
                        Ok(bytes) => {
                            state.extents += 1;
                            state.bytes += bytes;
                            read += bytes;
                        }
                        Err(reason) => {
                            state.waiting += 1;
                            state.reason = reason;
                        }
                    }
                }
                metrics::counter!("havre_redispersed_bytes_total").increment(read);
                self.throttle.took(self.ports.clock.elapsed(), read);
            }
            state.examined += page.iter().filter(|row| is_extent(row)).count() as u64;
            state.after = Some(last);
            if !wanted.is_empty() {
                self.save(state).await?;
            }
        }
        Ok(false)
    }

    /// The policy that an extent has to be dispersed anew under, if it has to.
    fn wanted(&self, row: &BlobRow, policies: &HashMap<BucketId, usize>) -> Option<usize> {
        if !is_extent(row) || row.state == BlobState::Garbage {
            return None;
        }
        let named = || self.policies.iter().position(|it| Some(it.name()) == row.policy.as_deref());
        let policy = match &row.bucket {
            Some(bucket) => *policies.get(bucket)?,
            None => named()?,
        };
        let is_other = is_under_another(row, &self.policies[policy]);
        // What it misses nobody is permitted to make anew as the others lie, and without it those
        // may not move.
        let is_stuck = || {
            let closed = self.fleet.closed();
            row.state != BlobState::Whole && is_misplaced(&self.policies, &self.fleet, row, closed)
        };
        (is_other || is_stuck()).then_some(policy)
    }

    /// Disperses one extent anew; its bytes, or why not now.
    async fn redisperse(
        &self,
        row: &BlobRow,
        policy: &PlacementPolicy,
    ) -> Result<Result<u64, String>, CatalogError> {
        let Some(_claim) = self.busy.claim(row.blob()) else {
            return Ok(Err("another worker is at it".to_owned()));
        };
        // As it is now that nobody else moves it.
        let row = match self.catalog.blob(row.blob()).await? {
            Some(row) if row.state != BlobState::Garbage => row,
            _ => return Ok(Ok(0)),
        };
        let blob = BlobId::from_bytes(self.ports.random());
        let _hold = self.rewriter.hold(blob);
        let permits = policy.place(&self.fleet.placing(blob), self.fleet.closed(), blob);
        let permits = match permits {
            Ok(permits) => permits,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let secret = BlobSecret::from_bytes(self.ports.random());
        let geometry = policy.geometry();
        let sites = permits.iter().map(Permit::site).collect();
        let new = BlobRow {
            name: BlobName::Extent(blob),
            secret: secret.clone(),
            geometry,
            sites,
            stored: 0,
            ..row.clone()
        };
        let stored = match self.copy(&row, &new, permits).await {
            Ok(stored) => stored,
            Err(reason) => {
                self.take_back(&new).await;
                return Ok(Err(reason));
            }
        };
        let to =
            Extent { blob, secret, geometry, bytes: row.bytes, sites: new.sites.clone(), stored };
        let said = self.rewriter.redisperse(row.named(), to, policy.name().to_owned()).await;
        // If nobody knows whether the record is durable, the new blob stays until garbage
        // collection knows.
        Ok(said.map(|()| row.bytes))
    }

    async fn take_back(&self, new: &BlobRow) {
        let sites = new.sites.iter().filter_map(|site| self.fleet.by_id(*site));
        let mut deletes = Vec::with_capacity(new.sites.len());
        for (_, site) in sites {
            deletes.push(site.delete(&new.name));
        }
        // What a site does not delete is an orphan.
        drop(future::join_all(deletes).await);
    }

    /// Reads a blob and stores its bytes as another, all shards of it, read back.
    async fn copy(
        &self,
        old: &BlobRow,
        new: &BlobRow,
        permits: Vec<Permit>,
    ) -> Result<u32, String> {
        let layout = |row: &BlobRow| {
            Layout::checked(row.geometry, row.chunk_bytes, row.bytes)
                .ok_or_else(|| "a layout that cannot be".to_owned())
        };
        let (from, to) = (layout(old)?, layout(new)?);
        let mut reader = Reader::new(old, from, sources(&self.fleet, old));
        let keys = BlobKeys::new(&new.secret, new.blob(), new.geometry, new.chunk_bytes);
        let mut sinks = Vec::with_capacity(permits.len());
        for permit in permits {
            let index = permit.index();
            let site = self.fleet.by_id(permit.site()).map(|(_, site)| site);
            let Some(site) = site.filter(|site| site.health() != Health::Down) else {
                future::join_all(sinks.into_iter().map(Sink::abort)).await;
                return Err("a site is away".to_owned());
            };
            let target = Target { index, site, permit };
            let header = keys.header_for(&new.secret, index);
            sinks.push(Sink::begin(new.name, to.shard_bytes(), target, header).await);
        }
        let mut writer = Writer::new(keys, to);
        let copied = pour(&mut reader, &mut writer, &mut sinks).await;
        if let Err(reason) = copied {
            future::join_all(sinks.into_iter().map(Sink::abort)).await;
            return Err(reason);
        }
        let ends = future::join_all(sinks.into_iter().map(Sink::finish)).await;
        if let Some(error) = ends.into_iter().find_map(Result::err) {
            return Err(error.to_string());
        }
        let mut checks = Vec::with_capacity(new.sites.len());
        for (index, site) in new.geometry.indices().zip(&new.sites) {
            checks.push(reads_back(&self.fleet, new, index, *site));
        }
        match future::join_all(checks).await.into_iter().all(|good| good) {
            true => Ok(all_shards(new.geometry)),
            false => Err("a site does not give back what it took".to_owned()),
        }
    }
}

/// Whether a blob is under another policy or geometry than this. Where nobody knows what it was
/// written under, its geometry has to do.
pub(crate) fn is_under_another(row: &BlobRow, policy: &PlacementPolicy) -> bool {
    row.policy.as_deref().is_some_and(|name| name != policy.name())
        || row.geometry != policy.geometry()
}

pub(crate) fn is_extent(row: &BlobRow) -> bool {
    matches!(row.name, BlobName::Extent(_))
}

fn all_shards(geometry: Geometry) -> u32 {
    let bits = geometry.indices().fold(0, |bits, index| bits | 1 << index.get());
    debug_assert!(stored_whole(geometry, bits));
    bits
}

/// Moves a blob's bytes from the one dispersal to the other, a window at a time.
async fn pour(
    reader: &mut Reader<'_>,
    writer: &mut Writer,
    sinks: &mut [Sink<'_>],
) -> Result<(), String> {
    while let Some(bytes) = reader.next_window().await.map_err(str::to_owned)? {
        writer.take(&bytes);
        let shards = writer.full_stripes();
        send(sinks, shards).await?;
    }
    send(sinks, writer.last_stripe().ok_or("the blob has another length than it should")?).await
}

async fn send(sinks: &mut [Sink<'_>], shards: Vec<Bytes>) -> Result<(), String> {
    let mut writes = Vec::with_capacity(sinks.len());
    for (sink, bytes) in sinks.iter_mut().zip(shards) {
        writes.push(sink.write(bytes));
    }
    future::join_all(writes).await;
    match sinks.iter().find_map(Sink::error) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Cuts a blob's bytes into the stripes of a new dispersal.
struct Writer {
    keys: BlobKeys,
    code: ErasureCode,
    layout: Layout,
    /// Bytes that are no full stripe yet.
    rest: BytesMut,
    /// The next stripe.
    stripe: u64,
}

impl Writer {
    fn new(keys: BlobKeys, layout: Layout) -> Self {
        let code = ErasureCode::new(layout.geometry());
        Self { keys, code, layout, rest: BytesMut::new(), stripe: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The chunks of all stripes but the blob's last that are full, for each shard.
    fn full_stripes(&mut self) -> Vec<Bytes> {
        let mut shards = vec![BytesMut::new(); self.layout.geometry().total()];
        while self.stripe + 1 < self.layout.stripes()
            && self.rest.len() >= self.layout.stripe_bytes()
        {
            let bytes = self.rest.split_to(self.layout.stripe_bytes());
            self.seal(&bytes, &mut shards);
        }
        shards.into_iter().map(BytesMut::freeze).collect()
    }

    /// The chunks of the last stripe; `None` when the bytes are more or fewer than it has.
    fn last_stripe(&mut self) -> Option<Vec<Bytes>> {
        let is_last = self.stripe + 1 == self.layout.stripes();
        if !is_last || self.rest.len() != self.layout.stripe_len(self.stripe) {
            return None;
        }
        let mut shards = vec![BytesMut::new(); self.layout.geometry().total()];
        let bytes = self.rest.split();
        self.seal(&bytes, &mut shards);
        Some(shards.into_iter().map(BytesMut::freeze).collect())
    }

    fn seal(&mut self, bytes: &[u8], shards: &mut [BytesMut]) {
        let stripe = self.stripe;
        let (chunk_len, sealed_len) =
            (self.layout.chunk_len(stripe), self.layout.sealed_chunk_len(stripe));
        let mut chunks = bytes.chunks(chunk_len);
        let mut slots: Vec<BytesMut> = Vec::with_capacity(shards.len());
        for _ in 0..shards.len() {
            let mut slot = BytesMut::zeroed(sealed_len);
            // Parity, and what the last data chunks lack, is zeros until it is computed.
            if let Some(chunk) = chunks.next() {
                slot[..chunk.len()].copy_from_slice(chunk);
            }
            slots.push(slot);
        }
        let mut places: Vec<&mut [u8]> = slots.iter_mut().map(|slot| &mut slot[..]).collect();
        self.keys.seal_stripe(&self.code, stripe, self.layout.last(stripe), &mut places);
        for (shard, slot) in shards.iter_mut().zip(&slots) {
            shard.extend_from_slice(slot);
        }
        self.stripe += 1;
    }
}
