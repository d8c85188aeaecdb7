//! The catalog in SQLite: one writer, readers beside it, the write-ahead log between them.
//!
//! **Invariant.** A reader sees whole transactions only, and everything that was reported done
//! before it began.
//!
//! **Deliberately absent.** SQL outside this module, and any use of the file by a second writer.
//!
//! **Crash.** See [`writer`]: commits are lost from the end only, and a durable one takes all
//! before it with it to stable storage.

mod apply;
mod blobs;
mod chains;
mod change;
mod moves;
mod open;
mod packs;
mod stored;
mod tenants;
mod uploads;
mod versions;
mod writer;

use crate::{
    AppliedPack, BlobRow, BucketRow, Catalog, CatalogError, ChainState, Counts, ExclusionRow,
    JobRow, Leftover, ListPage, ListQuery, OpenError, PackPlace, PackRow, PackedRecord, PartRow,
    ShardMove, TenantRow, UploadRow, UploadsPage, UploadsQuery, VersionRow,
};
use async_trait::async_trait;
use change::Change;
use havre_model::record::{ObjectKey, RetiredRun};
use havre_model::{BlobId, BucketId, ChainId, Seq, SiteId, TenantId, UploadId, VersionId};
use open::Content;
use parking_lot::Mutex;
use rusqlite::Connection;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use stored::Result;
use tokio::sync::{mpsc, oneshot};
use writer::{Call, Checkpoints, Durability, Job};

/// Connections for point reads, which run on their caller: one takes less time than handing it
/// over.
const READERS: usize = 4;
/// Threads for reads of many rows, which would hold up other tasks on their caller.
const SCANNERS: usize = 2;
/// Scans that wait for one of those; past this their callers wait.
const SCANS_MAX: usize = 256;
/// Sequence numbers that are set aside at once: how many a crash skips, at most. One sync each.
const SEQ_BLOCK: i64 = 1 << 20;

/// How a catalog runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A writer thread that groups what waits, threads for scans, point reads on the caller.
    Threaded,
    /// Everything on the caller and in its order, no threads: for the simulation.
    Inline,
}

/// What a file turned out to be.
pub enum Opened {
    /// There was none: the catalog is new and empty. Packs at the sites have to be recovered.
    Fresh(SqliteCatalog),
    /// The catalog as it was left; a recovery may be in progress.
    Existing(SqliteCatalog),
    /// The file cannot be used any more, for this reason: [`SqliteCatalog::move_aside`], open again
    /// and recover.
    Damaged(String),
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fresh(_) => f.write_str("Fresh"),
            Self::Existing(_) => f.write_str("Existing"),
            Self::Damaged(reason) => write!(f, "Damaged({reason})"),
        }
    }
}

/// A catalog in a SQLite file.
pub struct SqliteCatalog {
    backend: Backend,
    seqs: Arc<Mutex<Seqs>>,
    /// Held for as long as the catalog is open.
    _lock: Option<File>,
}

/// The sequence numbers that may be handed out without asking the file.
struct Seqs {
    next: i64,
    limit: i64,
}

enum Backend {
    Threaded(Threads),
    Inline(Mutex<Connection>),
    ReadOnly(Mutex<Connection>),
}

type Scan = Box<dyn FnOnce(&Connection) + Send>;

struct Threads {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    scans: Option<mpsc::Sender<Scan>>,
    readers: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    handles: Vec<JoinHandle<()>>,
}

impl SqliteCatalog {
    /// Opens the catalog at `path`, making it when there is none.
    ///
    /// # Errors
    /// When a newer release wrote it, another process holds it, it is no catalog, or the file
    /// system refuses.
    pub fn open(path: &Path, mode: Mode) -> Result<Opened, OpenError> {
        let lock = open::lock(path)?;
        let (conn, content) = open::writer(path)?;
        let fresh = matches!(content, Content::Empty);
        let lacks_after = match content {
            Content::Damaged(reason) => return Ok(Opened::Damaged(reason)),
            Content::Empty => Some(0),
            Content::Earlier(version) => Some(version),
            Content::Catalog => None,
        };
        let prepared = prepare(&conn, lacks_after);
        let seqs = match prepared {
            Ok(seqs) => seqs,
            Err(CatalogError::Damaged(reason)) => return Ok(Opened::Damaged(reason)),
            Err(error) => return Err(OpenError::Storage(error.to_string())),
        };
        if fresh {
            open::sync_directory(path)?;
        }
        let backend = match mode {
            Mode::Inline => Backend::Inline(Mutex::new(conn)),
            Mode::Threaded => Backend::Threaded(Threads::start(path, conn)?),
        };
        let catalog = Self { backend, seqs: Arc::new(Mutex::new(seqs)), _lock: Some(lock) };
        Ok(if fresh { Opened::Fresh(catalog) } else { Opened::Existing(catalog) })
    }

    /// Opens an existing catalog for reading, beside the process that writes it. Changes fail with
    /// [`CatalogError::ReadOnly`].
    ///
    /// # Errors
    /// As [`Self::open`]; a damaged catalog is an error, too.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        // SQLite would say "unable to open database file" for any reason.
        File::open(path)?;
        let conn = open::reader(path)?;
        match open::content(&conn)? {
            Content::Catalog => {}
            Content::Empty => return Err(OpenError::NotACatalog),
            Content::Earlier(_) => {
                let hint =
                    "an earlier release wrote it; start the gateway once, which brings it up";
                return Err(OpenError::Storage(hint.to_owned()));
            }
            Content::Damaged(reason) => return Err(OpenError::Storage(reason)),
        }
        let seqs = Arc::new(Mutex::new(Seqs { next: 0, limit: 0 }));
        Ok(Self { backend: Backend::ReadOnly(Mutex::new(conn)), seqs, _lock: None })
    }

    /// Copies the catalog at `from`, as it is at one moment, into the new file `to`, which only its
    /// owner can read. Goes beside the process that writes it, whose log grows meanwhile.
    ///
    /// # Errors
    /// When there is no catalog, something is at `to`, or the file system refuses.
    pub fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
        File::open(from)?;
        let conn = open::reader(from)?;
        open::create_new(to)?;
        let to = to.to_str().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        conn.execute("VACUUM INTO $1", [to]).map_err(open::failed)?;
        Ok(())
    }

    /// A new catalog that is gone with the process, run as [`Mode::Inline`].
    ///
    /// # Errors
    /// When the database cannot be made.
    pub fn in_memory() -> Result<Self, OpenError> {
        let conn = Connection::open_in_memory().map_err(open::failed)?;
        let seqs =
            prepare(&conn, Some(0)).map_err(|error| OpenError::Storage(error.to_string()))?;
        let backend = Backend::Inline(Mutex::new(conn));
        Ok(Self { backend, seqs: Arc::new(Mutex::new(seqs)), _lock: None })
    }

    /// Moves the files of the catalog at `path` out of the way, to names with `.damaged-` and a
    /// number behind it, so that a new one can be made; where the main one went. Refused while
    /// it is in use.
    ///
    /// # Errors
    /// When another process holds the catalog, or the file system refuses.
    pub fn move_aside(path: &Path) -> Result<PathBuf, OpenError> {
        let _lock = open::lock(path)?;
        let aside = (1u32..)
            .map(|number| open::with_suffix(path, &format!(".damaged-{number}")))
            .find(|aside| !aside.exists())
            .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
        // The log first: without it the main file is a catalog as of an earlier time, whereas a log
        // beside a new file would be taken for the new one's.
        for (from, to) in open::files(path).iter().zip(open::files(&aside)).rev() {
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        open::sync_directory(path)?;
        Ok(aside)
    }

    /// Reads every page and compares tables with their indexes. What is wrong, in words; empty when
    /// nothing is. Takes about a second a gigabyte.
    ///
    /// # Errors
    /// As every read.
    pub async fn verify(&self) -> Result<Vec<String>> {
        self.scan(|conn| {
            let mut findings = stored::all(conn, "PRAGMA integrity_check(100)", [], |row| {
                Ok(row.get::<_, String>(0)?)
            })?;
            findings.retain(|finding| finding != "ok");
            Ok(findings)
        })
        .await
    }

    /// A read of few rows, on the caller.
    fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match &self.backend {
            Backend::Inline(conn) | Backend::ReadOnly(conn) => read(&conn.lock()),
            Backend::Threaded(threads) => read(&threads.reader()),
        }
    }

    /// A read of many rows, beside the caller.
    async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Backend::Threaded(threads) = &self.backend else { return self.point(read) };
        let (reply, answer) = oneshot::channel();
        let scan: Scan = Box::new(move |conn| {
            // A caller that is gone needs no answer.
            let _ = reply.send(read(conn));
        });
        let scans = threads.scans.as_ref().ok_or(CatalogError::Closed)?;
        scans.send(scan).await.map_err(|_| CatalogError::Closed)?;
        answer.await.map_err(|_| CatalogError::Closed)?
    }

    /// A change, in a transaction that it may share with others.
    async fn change<T: Send + 'static>(
        &self,
        records: usize,
        durability: Durability,
        work: impl FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = move |conn: &Connection| {
            let mut change = Change::begin(conn)?;
            let value = work(&mut change)?;
            change.finish()?;
            Ok(value)
        };
        match &self.backend {
            Backend::ReadOnly(_) => Err(CatalogError::ReadOnly),
            Backend::Inline(conn) => writer::transact(&conn.lock(), durability, work),
            Backend::Threaded(threads) => {
                let (job, answer) = Call::new(records, durability, work);
                let jobs = threads.jobs.as_ref().ok_or(CatalogError::Closed)?;
                jobs.send(Box::new(job)).await.map_err(|_| CatalogError::Closed)?;
                answer.await.map_err(|_| CatalogError::Closed)?
            }
        }
    }
}

/// Settles the writing connection, makes what the schema lacks after a version, and reads where
/// sequence numbers go on: past everything that was ever set aside.
fn prepare(conn: &Connection, lacks_after: Option<i64>) -> Result<Seqs> {
    open::settle_writer(conn)?;
    if let Some(version) = lacks_after {
        open::initialize(conn, version)?;
    }
    let next = conn.query_row("SELECT seq_limit FROM state", [], |row| row.get(0))?;
    Ok(Seqs { next, limit: next })
}

impl Threads {
    fn start(path: &Path, conn: Connection) -> Result<Self, OpenError> {
        let reader = || open::reader(path);
        let readers = (0..READERS).map(|_| reader().map(Mutex::new));
        let (jobs, queue) = mpsc::channel::<Box<dyn Job>>(writer::QUEUE_MAX);
        let (scans, waiting) = mpsc::channel::<Scan>(SCANS_MAX);
        let (checkpointer, content) = open::writer(path)?;
        debug_assert!(matches!(content, Content::Catalog));
        let (checkpoints, beside) = Checkpoints::new(checkpointer);
        let mut threads = Self {
            readers: readers.collect::<Result<_, _>>()?,
            jobs: Some(jobs),
            scans: Some(scans),
            turn: AtomicUsize::new(0),
            handles: Vec::new(),
        };
        threads.spawn("catalog-sync", beside)?;
        threads.spawn("catalog-write", move || writer::work(conn, queue, Some(checkpoints)))?;
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..SCANNERS {
            let (conn, waiting) = (reader()?, Arc::clone(&waiting));
            threads.spawn("catalog-scan", move || {
                // Bound apart, so that the lock is free while the scan runs.
                while let Some(scan) = { waiting.lock().blocking_recv() } {
                    scan(&conn);
                }
            })?;
        }
        Ok(threads)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.handles.push(thread::Builder::new().name(name.into()).spawn(body)?);
        Ok(())
    }

    /// A free connection, or the next one in turn as soon as it is free.
    fn reader(&self) -> parking_lot::MutexGuard<'_, Connection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let free = (0..READERS).find_map(|i| self.readers[(turn + i) % READERS].try_lock());
        free.unwrap_or_else(|| self.readers[turn % READERS].lock())
    }
}

impl Drop for Threads {
    /// Ends the threads after what is queued, so that the file is closed when the catalog is
    /// dropped.
    fn drop(&mut self) {
        self.jobs = None;
        self.scans = None;
        for handle in self.handles.drain(..).rev() {
            if handle.join().is_err() {
                tracing::error!("a thread of the catalog panicked");
            }
        }
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn apply(&self, pack: AppliedPack) -> Result<()> {
        let seqs = Arc::clone(&self.seqs);
        let records = pack.records.len();
        self.change(records, Durability::Replayable, move |change| {
            apply::apply(change, &pack)?;
            if let Some(last) = apply::last_seq(&pack)? {
                // Before the commit: to skip numbers is harmless, to repeat one is not.
                let mut seqs = seqs.lock();
                seqs.next = seqs.next.max(last + 1);
            }
            Ok(())
        })
        .await
    }

    async fn reserve_seqs(&self, count: u64) -> Result<Range<u64>> {
        let count = i64::try_from(count)
            .map_err(|_| CatalogError::OutOfRange("count of sequence numbers"))?;
        loop {
            if let Some(range) = self.seqs.lock().take(count) {
                return Ok(range);
            }
            let seqs = Arc::clone(&self.seqs);
            let raised = self
                .change(0, Durability::Durable, move |change| {
                    let next = seqs.lock().next;
                    apply::extend_seqs(change.conn, next, count.max(SEQ_BLOCK))
                })
                .await?;
            let mut seqs = self.seqs.lock();
            seqs.limit = seqs.limit.max(raised);
        }
    }

    async fn chains(&self) -> Result<Vec<ChainState>> {
        self.point(chains::chains)
    }

    async fn open_chain(
        &self,
        gateway: &str,
        policy: &str,
        proposed: ChainId,
    ) -> Result<ChainState> {
        let (gateway, policy) = (gateway.to_owned(), policy.to_owned());
        self.change(0, Durability::Durable, move |change| {
            chains::open(change.conn, &gateway, &policy, proposed)
        })
        .await
    }

    async fn tenant_by_name(&self, name: &str) -> Result<Option<TenantRow>> {
        self.point(|conn| tenants::tenant_by_name(conn, name))
    }

    async fn tenants(&self) -> Result<Vec<TenantRow>> {
        self.scan(tenants::tenants).await
    }

    async fn bucket_by_name(&self, name: &str) -> Result<Option<BucketRow>> {
        self.point(|conn| tenants::bucket_by_name(conn, name))
    }

    async fn bucket(&self, bucket: BucketId) -> Result<Option<BucketRow>> {
        self.point(|conn| tenants::bucket(conn, bucket))
    }

    async fn buckets(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        prefix: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BucketRow>> {
        let (after, prefix) = (after.map(str::to_owned), prefix.map(str::to_owned));
        self.scan(move |conn| {
            tenants::buckets(conn, tenant, after.as_deref(), prefix.as_deref(), limit)
        })
        .await
    }

    async fn all_buckets(&self) -> Result<Vec<BucketRow>> {
        self.scan(tenants::all_buckets).await
    }

    async fn places(
        &self,
        bucket: BucketId,
        after: Option<(ObjectKey, Seq)>,
        limit: usize,
    ) -> Result<Vec<(ObjectKey, Seq, PackPlace)>> {
        self.scan(move |conn| versions::places(conn, bucket, after.as_ref(), limit)).await
    }

    async fn bucket_is_empty(&self, bucket: BucketId) -> Result<bool> {
        self.point(|conn| versions::bucket_is_empty(conn, bucket))
    }

    async fn latest(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<VersionRow>> {
        self.point(|conn| versions::latest(conn, bucket, key))
    }

    async fn version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<VersionRow>> {
        self.point(|conn| versions::version(conn, bucket, key, version))
    }

    async fn list(&self, query: ListQuery) -> Result<ListPage> {
        self.scan(move |conn| versions::list(conn, &query)).await
    }

    async fn upload(&self, bucket: BucketId, upload: UploadId) -> Result<Option<UploadRow>> {
        self.point(|conn| uploads::upload(conn, bucket, upload))
    }

    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage> {
        self.scan(move |conn| uploads::uploads(conn, &query)).await
    }

    async fn part(&self, upload: UploadId, number: u16) -> Result<Option<PartRow>> {
        self.point(|conn| uploads::part(conn, upload, number))
    }

    async fn parts(&self, upload: UploadId, after: u16, limit: usize) -> Result<Vec<PartRow>> {
        self.scan(move |conn| uploads::parts(conn, upload, after, limit)).await
    }

    async fn blob(&self, blob: BlobId) -> Result<Option<BlobRow>> {
        self.point(|conn| blobs::blob(conn, blob))
    }

    async fn extent(&self, named: BlobId) -> Result<Option<BlobRow>> {
        self.point(|conn| blobs::extent(conn, named))
    }

    async fn blobs(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
        self.scan(move |conn| blobs::blobs(conn, after, limit)).await
    }

    async fn note_shards(
        &self,
        blob: BlobId,
        sites: &[SiteId],
        stored: u32,
        lost: u32,
    ) -> Result<bool> {
        let sites = sites.to_vec();
        self.change(1, Durability::Replayable, move |change| {
            blobs::note(change, blob, &sites, stored, lost)
        })
        .await
    }

    async fn intend_shards(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool> {
        self.change(1, Durability::Replayable, move |change| {
            moves::intend(change.conn, blob, &sites)
        })
        .await
    }

    async fn move_shards(&self, blob: BlobId, moves: Vec<ShardMove>) -> Result<bool> {
        self.change(1, Durability::Replayable, move |change| {
            moves::move_shards(change, blob, &moves)
        })
        .await
    }

    async fn leftovers_of(&self, blob: BlobId) -> Result<Vec<SiteId>> {
        let left = self.point(|conn| moves::of_blob(conn, blob))?;
        Ok(left.into_iter().map(|leftover| leftover.site).collect())
    }

    async fn leftovers(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<Leftover>> {
        self.scan(move |conn| moves::page(conn, after, limit)).await
    }

    async fn forget_leftover(&self, leftover: Leftover) -> Result<()> {
        self.change(1, Durability::Replayable, move |change| moves::forget(change.conn, &leftover))
            .await
    }

    async fn packs(&self, after: Option<(ChainId, u64)>, limit: usize) -> Result<Vec<PackRow>> {
        self.scan(move |conn| packs::packs(conn, after, limit)).await
    }

    async fn pack_contents(&self, blob: BlobId) -> Result<Option<Vec<PackedRecord>>> {
        self.scan(move |conn| packs::contents(conn, blob)).await
    }

    async fn place_of(&self, seq: Seq) -> Result<Option<PackPlace>> {
        self.point(|conn| packs::place_of(conn, seq))
    }

    async fn drop_ends(&self, settled: Seq) -> Result<u64> {
        self.change(1, Durability::Replayable, move |change| packs::drop_ends(change, settled))
            .await
    }

    async fn retired(&self, chain: ChainId) -> Result<Vec<RetiredRun>> {
        self.point(|conn| packs::runs(conn, chain))
    }

    async fn exclusions(&self) -> Result<Vec<ExclusionRow>> {
        self.point(tenants::exclusions)
    }

    async fn jobs(&self) -> Result<Vec<JobRow>> {
        self.point(moves::jobs)
    }

    async fn job(&self, name: &str) -> Result<Option<JobRow>> {
        self.point(|conn| moves::job(conn, name))
    }

    async fn put_job(&self, job: JobRow) -> Result<()> {
        self.change(1, Durability::Durable, move |change| moves::put_job(change.conn, &job)).await
    }

    async fn garbage(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
        self.scan(move |conn| {
            if change::is_recovering(conn)? {
                return Ok(Vec::new());
            }
            blobs::garbage(conn, after, limit)
        })
        .await
    }

    async fn forget_blob(&self, blob: BlobId) -> Result<bool> {
        self.change(1, Durability::Replayable, move |change| blobs::forget(change, blob)).await
    }

    async fn below_guarantee(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
        self.scan(move |conn| blobs::incomplete(conn, after, limit)).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.point(tenants::counts)
    }

    async fn begin_recovery(&self) -> Result<()> {
        self.change(0, Durability::Durable, apply::begin_recovery).await
    }

    async fn finish_recovery(&self) -> Result<()> {
        self.change(0, Durability::Durable, apply::finish_recovery).await
    }

    async fn is_recovering(&self) -> Result<bool> {
        self.point(change::is_recovering)
    }

    async fn site_marker(&self, site: SiteId) -> Result<Option<[u8; 16]>> {
        self.point(|conn| chains::site_marker(conn, site))
    }

    async fn site_markers(&self) -> Result<Vec<(SiteId, [u8; 16])>> {
        self.point(chains::site_markers)
    }

    async fn set_site_marker(&self, site: SiteId, marker: [u8; 16]) -> Result<()> {
        self.change(0, Durability::Durable, move |change| {
            chains::set_site_marker(change.conn, site, marker)
        })
        .await
    }
}

impl Seqs {
    /// The next `count` numbers, when so many are set aside.
    fn take(&mut self, count: i64) -> Option<Range<u64>> {
        let end = self.next.checked_add(count).filter(|end| *end <= self.limit)?;
        let range = self.next.cast_unsigned()..end.cast_unsigned();
        self.next = end;
        Some(range)
    }
}
