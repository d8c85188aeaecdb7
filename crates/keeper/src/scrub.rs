//! Scrub: reads what nobody asks for, so that what a site lost, or only says that it has, is known
//! while enough others are left.
//!
//! **Invariant.** A shard counts as good only by bytes that the site gave just now and that opened
//! under the blob's keys. What is found bad or missing is a repair job from then on; nothing is
//! deleted here.
//!
//! **Deliberately absent.** Making shards anew ([`crate::repair`]), and customer keys: that a chunk
//! is authentic shows in the second lock.
//!
//! **Crash.** How far the cycle got stands in the catalog; what was not written there is looked at
//! again.

use crate::Pass;
use crate::index::Index;
use crate::rebuild::bit;
use crate::throttle::Throttle;
use futures::future;
use havre_catalog::{BlobRow, BlobState, CatalogError, JobRow};
use havre_codec::{BlobKeys, Layout, SHARD_HEADER_BYTES, shard};
use havre_model::ports::Ports;
use havre_model::{BlobId, ShardIndex};
use havre_sites::{Fleet, Guarded, Health, SiteErrorKind};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// Blobs read from the catalog at a time, after which the place is written down.
const PAGE: usize = 256;
/// Blobs looked at at once.
const BLOBS_MAX: usize = 4;
/// Bytes of one shard that are read at once.
const WINDOW_BYTES: usize = 512 * 1024;
/// The name of the job in the catalog.
const JOB: &str = "scrub";

/// How much of each shard is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// One chunk, at a random place, the header with the first: a shard that is gone is found at
    /// once, one that is damaged somewhere in one of the next cycles.
    #[default]
    Sample,
    /// Every chunk, and the header.
    Whole,
}

/// How far a cycle got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrub {
    /// Milliseconds since 1970 when the cycle began.
    pub began_ms: u64,
    /// Milliseconds since 1970 when it had come to its end; 0 while it has not.
    pub ended_ms: u64,
    /// Blobs looked at.
    pub examined: u64,
    /// Blobs there are.
    pub total: u64,
    /// Shards that were read and are good.
    pub good: u64,
    /// Shards that were bad or missing: repair jobs now.
    pub bad: u64,
    /// Shards at sites that did not answer.
    pub unanswered: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// The blob that it has come to.
    after: Option<BlobId>,
}

/// Looks at shards.
pub struct Scrubber {
    /// The catalog.
    pub catalog: Arc<dyn Index>,
    /// The sites.
    pub fleet: Arc<Fleet>,
    /// How much of each shard is read.
    pub depth: Depth,
    /// Clock, sleep and randomness.
    pub ports: Ports,
    /// Bounds what is read.
    pub throttle: Throttle,
}

/// What a shard turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Good,
    Bad,
    Unanswered,
}

impl Scrubber {
    /// How far the cycle under way got, or the last one.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn progress(catalog: &dyn Index) -> Result<Scrub, CatalogError> {
        let job = catalog.job(JOB).await?;
        // A state of another release is begun anew.
        Ok(job.and_then(|job| postcard::from_bytes(&job.state).ok()).unwrap_or_default())
    }

    /// Goes on with the cycle that was interrupted, or begins one, and brings it to its end; ends
    /// early when `go_on` says so.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn cycle<'a>(&'a mut self, go_on: &'a (dyn Fn() -> bool + Sync)) -> Pass<'a, Scrub> {
        Box::pin(self.one_cycle(go_on))
    }

    async fn one_cycle(
        &mut self,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Scrub, CatalogError> {
        let mut state = Self::progress(&*self.catalog).await?;
        if state.ended_ms > 0 || state.began_ms == 0 {
            let began_ms = self.ports.clock.now().millis();
            state = Scrub { began_ms, ..Scrub::default() };
        }
        while go_on() {
            state.total = self.catalog.blob_count().await?;
            let page = self.catalog.blobs(state.after, PAGE).await?;
            let Some(last) = page.last().map(BlobRow::blob) else {
                state.ended_ms = self.ports.clock.now().millis().max(1);
                self.save(&state).await?;
                break;
            };
            for batch in page.chunks(BLOBS_MAX) {
                let wait = self.throttle.wait(self.ports.clock.elapsed());
                if !wait.is_zero() {
                    self.ports.runtime.sleep(wait).await;
                }
                let read = state.bytes_read;
                let mut looks = Vec::with_capacity(batch.len());
                for row in batch.iter().filter(|row| row.state != BlobState::Garbage) {
                    looks.push(self.look_at(row));
                }
                for look in future::join_all(looks).await {
                    let seen = look?;
                    state.good += seen.good;
                    state.bad += seen.bad;
                    state.unanswered += seen.unanswered;
                    state.bytes_read += seen.bytes_read;
                }
                self.throttle.took(self.ports.clock.elapsed(), state.bytes_read - read);
            }
            state.examined += page.len() as u64;
            state.after = Some(last);
            self.save(&state).await?;
        }
        Ok(state)
    }

    async fn save(&self, state: &Scrub) -> Result<(), CatalogError> {
        let encoded = postcard::to_allocvec(state)
            .map_err(|_| CatalogError::OutOfRange("the state of a job"))?;
        self.catalog.put_job(JobRow { name: JOB.to_owned(), state: encoded }).await
    }

    /// Looks at every shard of a blob that is noted as stored.
    async fn look_at(&self, row: &BlobRow) -> Result<Scrub, CatalogError> {
        let mut seen = Scrub::default();
        let Some(layout) = Layout::checked(row.geometry, row.chunk_bytes, row.bytes) else {
            return Ok(seen);
        };
        let keys = BlobKeys::new(&row.secret, row.blob(), row.geometry, row.chunk_bytes);
        let mut looks = Vec::with_capacity(row.geometry.total());
        for index in row.geometry.indices().filter(|index| row.stored & bit(*index) != 0) {
            if let Some((_, site)) = self.fleet.by_id(row.sites[index.get()]) {
                let stripes = self.stripes(&layout);
                let (layout, keys) = (&layout, &keys);
                looks.push(async move {
                    let (found, read) = look(row, layout, keys, index, site, stripes).await;
                    (index, found, read)
                });
            }
        }
        let mut bad = 0;
        for (index, found, read) in future::join_all(looks).await {
            seen.bytes_read += read;
            match found {
                Found::Good => seen.good += 1,
                Found::Unanswered => seen.unanswered += 1,
                Found::Bad => {
                    seen.bad += 1;
                    bad |= bit(index);
                    let site = row.sites[index.get()];
                    let blob = row.blob();
                    tracing::warn!(%blob, %site, shard = index.get(), "scrub found a bad shard");
                }
            }
        }
        metrics::counter!("havre_scrubbed_shards_total").increment(seen.good + seen.bad);
        metrics::counter!("havre_scrub_bad_shards_total").increment(seen.bad);
        metrics::counter!("havre_scrub_read_bytes_total").increment(seen.bytes_read);
        if bad != 0 {
            self.catalog.note_shards(row.blob(), &row.sites, 0, bad).await?;
        }
        Ok(seen)
    }

    /// The stripes that are read of a shard.
    fn stripes(&self, layout: &Layout) -> Range<u64> {
        match self.depth {
            Depth::Whole => 0..layout.stripes(),
            Depth::Sample => {
                let at = u64::from_le_bytes(self.ports.random()) % layout.stripes().max(1);
                at..(at + 1).min(layout.stripes())
            }
        }
    }
}

/// Reads stripes of one shard, and opens their chunks; with the bytes read.
async fn look(
    row: &BlobRow,
    layout: &Layout,
    keys: &BlobKeys,
    index: ShardIndex,
    site: &Guarded,
    stripes: Range<u64>,
) -> (Found, u64) {
    let window = (WINDOW_BYTES / row.chunk_bytes).max(1) as u64;
    let (mut first, mut read) = (stripes.start, 0);
    while first < stripes.end {
        if site.health() == Health::Down {
            return (Found::Unanswered, read);
        }
        let end = stripes.end.min(first + window);
        // The header goes with the first stripe: a recovery needs it, and no read asks for it.
        let start = if first == 0 { 0 } else { layout.sealed_chunk_range(first).start };
        let range = start..layout.sealed_chunk_range(end - 1).end;
        let mut bytes = match site.read(&row.name, range).await {
            Ok(bytes) => bytes,
            Err(error) => match error.kind {
                SiteErrorKind::Missing | SiteErrorKind::Invalid => return (Found::Bad, read),
                _ => return (Found::Unanswered, read),
            },
        };
        read += bytes.len() as u64;
        if first == 0 && !is_header(&bytes, row, keys, index) {
            return (Found::Bad, read);
        }
        for stripe in first..end {
            let range = layout.sealed_chunk_range(stripe);
            let (Ok(from), Ok(to)) =
                (usize::try_from(range.start - start), usize::try_from(range.end - start))
            else {
                return (Found::Bad, read);
            };
            let last = stripe + 1 == layout.stripes();
            let opened = bytes.get_mut(from..to).map(|it| keys.open_chunk(index, stripe, last, it));
            if opened.is_none_or(|opened| opened.is_err()) {
                return (Found::Bad, read);
            }
        }
        first = end;
    }
    (Found::Good, read)
}

/// Whether the bytes begin with the header of this shard.
fn is_header(bytes: &[u8], row: &BlobRow, keys: &BlobKeys, index: ShardIndex) -> bool {
    let header = bytes.get(..SHARD_HEADER_BYTES).map(|it| shard::parse_header(it, row.blob()));
    let header = header.and_then(Result::ok);
    header.is_some_and(|header| header.index() == index && shard::verify_header(keys, &header))
}
