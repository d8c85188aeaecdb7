//! The catalog of a simulated gateway: the real one, inline, behind a queue that dies with the
//! process, on a disk that does not.
//!
//! **Invariant.** Changes happen in the order in which they were sent, at a moment that the seed
//! picks. After a power cut the catalog is as it was after some earlier change, never before the
//! last one that was synced.
//!
//! **Deliberately absent.** Damage to the file: the gateway then begins with none, which the
//! scenario does, too.
//!
//! **Crash.** [`Disk`] survives a kill as it is, and a power cut by [`Disk::cut_power`].

use crate::executor::{Executor, Group};
use crate::ledger::Ledger;
use crate::rng::Rng;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use havre_catalog::{
    AppliedPack, BlobRow, BucketRow, Catalog, CatalogError, ChainState, Counts, ExclusionRow,
    JobRow, Leftover, ListPage, ListQuery, PackPlace, PackRow, PackedRecord, PartRow, ShardMove,
    SqliteCatalog, TenantRow, UploadRow, UploadsPage, UploadsQuery, VersionRow,
};
use havre_model::record::{ObjectKey, RetiredRun};
use havre_model::{BlobId, BucketId, ChainId, Seq, SiteId, TenantId, UploadId, VersionId};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

type Result<T> = std::result::Result<T, CatalogError>;

/// A change that took effect.
#[derive(Clone)]
enum Change {
    Apply(Box<AppliedPack>),
    Note(BlobId, Vec<SiteId>, u32, u32),
    Intend(BlobId, Vec<SiteId>),
    Move(BlobId, Vec<ShardMove>),
    ForgetLeftover(Leftover),
    Job(JobRow),
    DropEnds(Seq),
    Forget(BlobId),
    Reserve(u64),
    OpenChain(String, String, ChainId),
    BeginRecovery,
    FinishRecovery,
    Marker(SiteId, [u8; 16]),
}

impl Change {
    /// Whether it was synced before it was reported.
    const fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::Apply(_)
                | Self::Note(..)
                | Self::Forget(_)
                | Self::Intend(..)
                | Self::Move(..)
                | Self::ForgetLeftover(_)
                | Self::DropEnds(_)
        )
    }

    /// Notes what happens to the places of shards.
    fn tell(&self, ledger: &Ledger) {
        match self {
            Self::Intend(blob, sites) => {
                ledger.note(format_args!("{blob}: shards are meant for {sites:?}"));
            }
            Self::Move(blob, moves) => ledger.note(format_args!("{blob}: moved {moves:?}")),
            Self::Note(blob, _, stored, lost) => {
                ledger.note(format_args!("{blob}: stored {stored:b}, lost {lost:b}"));
            }
            _ => {}
        }
    }

    async fn redo(self, catalog: &SqliteCatalog) -> Result<()> {
        match self {
            Self::Apply(pack) => catalog.apply(*pack).await,
            Self::Note(blob, sites, stored, lost) => {
                catalog.note_shards(blob, &sites, stored, lost).await.map(drop)
            }
            Self::Intend(blob, sites) => catalog.intend_shards(blob, sites).await.map(drop),
            Self::Move(blob, moves) => catalog.move_shards(blob, moves).await.map(drop),
            Self::ForgetLeftover(leftover) => catalog.forget_leftover(leftover).await,
            Self::Job(job) => catalog.put_job(job).await,
            Self::DropEnds(settled) => catalog.drop_ends(settled).await.map(drop),
            Self::Forget(blob) => catalog.forget_blob(blob).await.map(drop),
            Self::Reserve(count) => catalog.reserve_seqs(count).await.map(drop),
            Self::OpenChain(gateway, policy, proposed) => {
                catalog.open_chain(&gateway, &policy, proposed).await.map(drop)
            }
            Self::BeginRecovery => catalog.begin_recovery().await,
            Self::FinishRecovery => catalog.finish_recovery().await,
            Self::Marker(site, marker) => catalog.set_site_marker(site, marker).await,
        }
    }
}

/// The catalog's disk.
pub struct Disk {
    catalog: Arc<SqliteCatalog>,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Disk {
    /// A disk with an empty catalog.
    #[must_use]
    pub fn empty() -> Self {
        let catalog = SqliteCatalog::in_memory().expect("a catalog in memory");
        Self { catalog: Arc::new(catalog), changes: Arc::default() }
    }

    /// What the disk is after a power cut: some of the last changes are gone, and how many.
    #[must_use]
    pub fn cut_power(&self, rng: &mut Rng) -> (Self, usize) {
        let changes = self.changes.lock().clone();
        let synced = changes.iter().rposition(Change::is_durable).map_or(0, |at| at + 1);
        let kept = synced + rng.index(changes.len() - synced + 1);
        let disk = Self::empty();
        for change in &changes[..kept] {
            let redone = change.clone().redo(&disk.catalog).now_or_never();
            redone.expect("an inline catalog does not wait").expect("it worked before");
        }
        *disk.changes.lock() = changes[..kept].to_vec();
        (disk, changes.len() - kept)
    }

    /// The catalog itself, for whoever checks.
    #[must_use]
    pub fn catalog(&self) -> Arc<SqliteCatalog> {
        Arc::clone(&self.catalog)
    }

    /// The catalog as a process has it.
    #[must_use]
    pub fn open(
        &self,
        executor: &Executor,
        group: Group,
        mut rng: Rng,
        ledger: Ledger,
    ) -> SimCatalog {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (pauses, mut own) = (executor.clone(), rng.fork());
        let writer = async move {
            while let Some(job) = queue.recv().await {
                pauses.sleep(own.micros(1, 800)).await;
                job.await;
            }
        };
        executor.spawn(group, Box::pin(writer));
        SimCatalog {
            catalog: Arc::clone(&self.catalog),
            changes: Arc::clone(&self.changes),
            jobs,
            executor: executor.clone(),
            rng: Mutex::new(rng),
            ledger,
            hides_blobs: false,
        }
    }
}

type Job = BoxFuture<'static, ()>;

/// The catalog as a process has it.
pub struct SimCatalog {
    catalog: Arc<SqliteCatalog>,
    changes: Arc<Mutex<Vec<Change>>>,
    jobs: mpsc::UnboundedSender<Job>,
    executor: Executor,
    rng: Mutex<Rng>,
    ledger: Ledger,
    hides_blobs: bool,
}

impl SimCatalog {
    /// The same catalog, which denies that it knows any blob: sabotage that the checkers must find.
    #[must_use]
    pub fn hiding_blobs(&self) -> Self {
        Self {
            catalog: Arc::clone(&self.catalog),
            changes: Arc::clone(&self.changes),
            jobs: self.jobs.clone(),
            executor: self.executor.clone(),
            rng: Mutex::new(self.rng.lock().fork()),
            ledger: self.ledger.clone(),
            hides_blobs: true,
        }
    }

    /// Others may run while a read is on its way.
    async fn pause(&self) {
        let pause = {
            let mut rng = self.rng.lock();
            rng.chance(400).then(|| rng.micros(1, 300))
        };
        if let Some(pause) = pause {
            self.executor.sleep(pause).await;
        }
    }

    /// Sends a change to the writer; it is carried out even when nobody waits for it.
    async fn change<T: Send + 'static>(
        &self,
        change: Change,
        work: impl FnOnce(Arc<SqliteCatalog>) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let (catalog, changes) = (Arc::clone(&self.catalog), Arc::clone(&self.changes));
        let ledger = self.ledger.clone();
        let job = async move {
            let result = work(catalog).await;
            change.tell(&ledger);
            if result.is_ok() {
                changes.lock().push(change);
            }
            // A caller that is gone needs no answer.
            let _ = reply.send(result);
        };
        self.jobs.send(job.boxed()).map_err(|_| CatalogError::Closed)?;
        let result = answer.await.map_err(|_| CatalogError::Closed)?;
        self.pause().await;
        result
    }
}

#[async_trait]
impl Catalog for SimCatalog {
    async fn apply(&self, pack: AppliedPack) -> Result<()> {
        let ledger = self.ledger.clone();
        let change = Change::Apply(Box::new(pack.clone()));
        let work = move |catalog: Arc<SqliteCatalog>| {
            ledger.applied(&pack);
            async move { catalog.apply(pack).await }.boxed()
        };
        self.change(change, work).await
    }

    async fn reserve_seqs(&self, count: u64) -> Result<Range<u64>> {
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.reserve_seqs(count).await }.boxed()
        };
        self.change(Change::Reserve(count), work).await
    }

    async fn chains(&self) -> Result<Vec<ChainState>> {
        self.pause().await;
        self.catalog.chains().await
    }

    async fn open_chain(
        &self,
        gateway: &str,
        policy: &str,
        proposed: ChainId,
    ) -> Result<ChainState> {
        let (gateway, policy) = (gateway.to_owned(), policy.to_owned());
        let change = Change::OpenChain(gateway.clone(), policy.clone(), proposed);
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.open_chain(&gateway, &policy, proposed).await }.boxed()
        };
        self.change(change, work).await
    }

    async fn tenant_by_name(&self, name: &str) -> Result<Option<TenantRow>> {
        self.pause().await;
        self.catalog.tenant_by_name(name).await
    }

    async fn tenants(&self) -> Result<Vec<TenantRow>> {
        self.pause().await;
        self.catalog.tenants().await
    }

    async fn bucket_by_name(&self, name: &str) -> Result<Option<BucketRow>> {
        self.pause().await;
        self.catalog.bucket_by_name(name).await
    }

    async fn buckets(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        prefix: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BucketRow>> {
        self.pause().await;
        self.catalog.buckets(tenant, after, prefix, limit).await
    }

    async fn bucket(&self, bucket: BucketId) -> Result<Option<BucketRow>> {
        self.pause().await;
        self.catalog.bucket(bucket).await
    }

    async fn all_buckets(&self) -> Result<Vec<BucketRow>> {
        self.pause().await;
        self.catalog.all_buckets().await
    }

    async fn places(
        &self,
        bucket: BucketId,
        after: Option<(ObjectKey, Seq)>,
        limit: usize,
    ) -> Result<Vec<(ObjectKey, Seq, PackPlace)>> {
        self.pause().await;
        self.catalog.places(bucket, after, limit).await
    }

    async fn bucket_is_empty(&self, bucket: BucketId) -> Result<bool> {
        self.pause().await;
        self.catalog.bucket_is_empty(bucket).await
    }

    async fn latest(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<VersionRow>> {
        self.pause().await;
        self.catalog.latest(bucket, key).await
    }

    async fn version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<VersionRow>> {
        self.pause().await;
        self.catalog.version(bucket, key, version).await
    }

    async fn list(&self, query: ListQuery) -> Result<ListPage> {
        self.pause().await;
        self.catalog.list(query).await
    }

    async fn upload(&self, bucket: BucketId, upload: UploadId) -> Result<Option<UploadRow>> {
        self.pause().await;
        self.catalog.upload(bucket, upload).await
    }

    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage> {
        self.pause().await;
        self.catalog.uploads(query).await
    }

    async fn part(&self, upload: UploadId, number: u16) -> Result<Option<PartRow>> {
        self.pause().await;
        self.catalog.part(upload, number).await
    }

    async fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Result<Vec<PartRow>> {
        self.pause().await;
        self.catalog.parts(upload, after, limit).await
    }

    async fn blob(&self, blob: BlobId) -> Result<Option<BlobRow>> {
        self.pause().await;
        if self.hides_blobs { Ok(None) } else { self.catalog.blob(blob).await }
    }

    async fn extent(&self, named: BlobId) -> Result<Option<BlobRow>> {
        self.pause().await;
        self.catalog.extent(named).await
    }

    async fn blobs(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
        self.pause().await;
        self.catalog.blobs(after, limit).await
    }

    async fn note_shards(
        &self,
        blob: BlobId,
        sites: &[SiteId],
        stored: u32,
        lost: u32,
    ) -> Result<bool> {
        let sites = sites.to_vec();
        let noted = sites.clone();
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.note_shards(blob, &sites, stored, lost).await }.boxed()
        };
        self.change(Change::Note(blob, noted, stored, lost), work).await
    }

    async fn intend_shards(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool> {
        let intended = sites.clone();
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.intend_shards(blob, sites).await }.boxed()
        };
        self.change(Change::Intend(blob, intended), work).await
    }

    async fn move_shards(&self, blob: BlobId, moves: Vec<ShardMove>) -> Result<bool> {
        let made = moves.clone();
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.move_shards(blob, moves).await }.boxed()
        };
        self.change(Change::Move(blob, made), work).await
    }

    async fn leftovers_of(&self, blob: BlobId) -> Result<Vec<SiteId>> {
        self.pause().await;
        self.catalog.leftovers_of(blob).await
    }

    async fn leftovers(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<Leftover>> {
        self.pause().await;
        self.catalog.leftovers(after, limit).await
    }

    async fn forget_leftover(&self, leftover: Leftover) -> Result<()> {
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.forget_leftover(leftover).await }.boxed()
        };
        self.change(Change::ForgetLeftover(leftover), work).await
    }

    async fn packs(&self, after: Option<(ChainId, u64)>, limit: usize) -> Result<Vec<PackRow>> {
        self.pause().await;
        self.catalog.packs(after, limit).await
    }

    async fn pack_contents(&self, blob: BlobId) -> Result<Option<Vec<PackedRecord>>> {
        self.pause().await;
        self.catalog.pack_contents(blob).await
    }

    async fn place_of(&self, seq: Seq) -> Result<Option<PackPlace>> {
        self.pause().await;
        self.catalog.place_of(seq).await
    }

    async fn drop_ends(&self, settled: Seq) -> Result<u64> {
        self.change(Change::DropEnds(settled), move |catalog| {
            async move { catalog.drop_ends(settled).await }.boxed()
        })
        .await
    }

    async fn retired(&self, chain: ChainId) -> Result<Vec<RetiredRun>> {
        self.pause().await;
        self.catalog.retired(chain).await
    }

    async fn exclusions(&self) -> Result<Vec<ExclusionRow>> {
        self.pause().await;
        self.catalog.exclusions().await
    }

    async fn jobs(&self) -> Result<Vec<JobRow>> {
        self.pause().await;
        self.catalog.jobs().await
    }

    async fn job(&self, name: &str) -> Result<Option<JobRow>> {
        self.pause().await;
        self.catalog.job(name).await
    }

    async fn put_job(&self, job: JobRow) -> Result<()> {
        let put = job.clone();
        let work =
            move |catalog: Arc<SqliteCatalog>| async move { catalog.put_job(put).await }.boxed();
        self.change(Change::Job(job), work).await
    }

    async fn garbage(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
        self.pause().await;
        self.catalog.garbage(after, limit).await
    }

    async fn forget_blob(&self, blob: BlobId) -> Result<bool> {
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.forget_blob(blob).await }.boxed()
        };
        self.change(Change::Forget(blob), work).await
    }

    async fn below_guarantee(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
        self.pause().await;
        self.catalog.below_guarantee(after, limit).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.pause().await;
        self.catalog.counts().await
    }

    async fn begin_recovery(&self) -> Result<()> {
        let work =
            |catalog: Arc<SqliteCatalog>| async move { catalog.begin_recovery().await }.boxed();
        self.change(Change::BeginRecovery, work).await
    }

    async fn finish_recovery(&self) -> Result<()> {
        let work =
            |catalog: Arc<SqliteCatalog>| async move { catalog.finish_recovery().await }.boxed();
        self.change(Change::FinishRecovery, work).await
    }

    async fn is_recovering(&self) -> Result<bool> {
        self.pause().await;
        self.catalog.is_recovering().await
    }

    async fn site_marker(&self, site: SiteId) -> Result<Option<[u8; 16]>> {
        self.pause().await;
        self.catalog.site_marker(site).await
    }

    async fn site_markers(&self) -> Result<Vec<(SiteId, [u8; 16])>> {
        self.pause().await;
        self.catalog.site_markers().await
    }

    async fn set_site_marker(&self, site: SiteId, marker: [u8; 16]) -> Result<()> {
        let work = move |catalog: Arc<SqliteCatalog>| {
            async move { catalog.set_site_marker(site, marker).await }.boxed()
        };
        self.change(Change::Marker(site, marker), work).await
    }
}
