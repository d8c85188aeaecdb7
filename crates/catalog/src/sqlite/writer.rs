//! The one writer: takes changes from a bounded queue and commits those that wait together as one
//! transaction.
//!
//! **Invariant.** A change is reported done only after the transaction that holds it has committed,
//! and a change that fails takes nothing of its own with it and nothing of the others away.
//!
//! **Deliberately absent.** A timer: a transaction holds what waited while the one before it ran.
//!
//! **Crash.** Without a sync a commit survives the process but not a power cut, after which the
//! file holds all commits up to some point; a durable change is synced with all before it.

use super::stored::{Result, execute};
use crate::CatalogError;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use tokio::sync::{mpsc, oneshot};

/// Changes that wait for the writer; past this their callers wait.
pub(super) const QUEUE_MAX: usize = 256;
/// Records of one transaction, the last change's excess aside. Each touches a page or two, and all
/// of them fit the writer's cache: what does not is written twice.
const GROUP_RECORDS_MAX: usize = 4096;
/// Pages that the log grows by before it is copied into the file: 32 MiB.
const CHECKPOINT_PAGES: u64 = 8 * 1024;
/// Pages of the log from which the writer helps it to start over: 64 MiB.
const START_OVER_PAGES: u64 = 16 * 1024;
/// Pages of the log past which writes wait for the copying: 128 MiB.
const LOG_PAGES_MAX: u64 = 32 * 1024;

/// A change on its way to the writer.
pub(super) trait Job: Send {
    /// Records in it, to bound a transaction.
    fn records(&self) -> usize;
    /// Whether it has to be on stable storage before it is reported.
    fn durable(&self) -> bool;
    /// Carries it out within a transaction; false when it failed.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Reports it, with how the transaction ended.
    fn finish(self: Box<Self>, commit: Result<()>);
}

/// A change with a caller that awaits its answer.
pub(super) struct Call<T, F> {
    records: usize,
    durability: Durability,
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

/// Whether a change has to survive a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It can be replayed from the packs.
    Replayable,
    /// It is synced before it is reported.
    Durable,
}

impl<T, F: FnOnce(&Connection) -> Result<T>> Call<T, F> {
    pub(super) fn new(
        records: usize,
        durability: Durability,
        work: F,
    ) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (Self { records, durability, work: Some(work), outcome: None, reply }, answer)
    }
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T> + Send> Job for Call<T, F> {
    fn records(&self) -> usize {
        self.records
    }

    fn durable(&self) -> bool {
        self.durability == Durability::Durable
    }

    fn run(&mut self, conn: &Connection) -> bool {
        let work = self.work.take().expect("a change is run once");
        self.outcome.insert(work(conn)).is_ok()
    }

    fn finish(self: Box<Self>, commit: Result<()>) {
        let outcome = match (self.outcome, commit) {
            // A change's own error says more than that its transaction was given up.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(CatalogError::Closed),
        };
        // A caller that is gone needs no answer.
        let _ = self.reply.send(outcome);
    }
}

/// Carries out changes in one transaction, on the caller.
pub(super) fn transact<T>(
    conn: &Connection,
    durability: Durability,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    if durability == Durability::Replayable {
        return transact_unsynced(conn, work);
    }
    // Not by a cached statement: this one takes effect when it is prepared.
    conn.pragma_update(None, "synchronous", "FULL")?;
    let outcome = transact_unsynced(conn, work);
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    outcome
}

fn transact_unsynced<T>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    execute(conn, "BEGIN IMMEDIATE", [])?;
    let outcome = work(conn).and_then(|value| execute(conn, "COMMIT", []).map(|_| value));
    // A full disk or an I/O error may have ended the transaction by itself.
    if !conn.is_autocommit() {
        execute(conn, "ROLLBACK", [])?;
    }
    outcome
}

/// Commits a group as one transaction and reports its changes.
fn commit(conn: &Connection, mut group: Vec<Box<dyn Job>>) {
    let durability = match group.iter().any(|job| job.durable()) {
        true => Durability::Durable,
        false => Durability::Replayable,
    };
    let single = group.len() == 1;
    let outcome = transact(conn, durability, |conn| {
        for job in &mut group {
            if single {
                // Its own error rolls the whole transaction back.
                return if job.run(conn) { Ok(()) } else { Err(CatalogError::Closed) };
            }
            run_apart(conn, job.as_mut())?;
        }
        Ok(())
    });
    if let Err(error) = &outcome
        && !single
    {
        tracing::warn!(%error, changes = group.len(), "a transaction of the catalog failed");
    }
    for job in group {
        job.finish(outcome.clone());
    }
}

/// Runs a change so that its failure leaves the transaction's other changes alone.
fn run_apart(conn: &Connection, job: &mut dyn Job) -> Result<()> {
    execute(conn, "SAVEPOINT change", [])?;
    if !job.run(conn) {
        if conn.is_autocommit() {
            // A full disk or an I/O error ends the transaction by itself.
            return Err(CatalogError::Storage("the transaction was rolled back".into()));
        }
        execute(conn, "ROLLBACK TO change", [])?;
    }
    execute(conn, "RELEASE change", [])?;
    Ok(())
}

/// The writer's life: ends when every sender is gone and the queue is empty.
pub(super) fn work(
    mut conn: Connection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    mut checkpoints: Option<Checkpoints>,
) {
    if let Some(checkpoints) = &checkpoints {
        checkpoints.watch(&mut conn);
    }
    let mut held = None;
    while let Some(first) = held.take().or_else(|| queue.blocking_recv()) {
        let mut records = first.records();
        let mut open = !first.durable();
        let mut group = vec![first];
        while open && records < GROUP_RECORDS_MAX {
            match queue.try_recv() {
                // A sync holds up nobody who did not ask for it.
                Ok(job) if job.durable() => {
                    held = Some(job);
                    open = false;
                }
                Ok(job) => {
                    records += job.records();
                    group.push(job);
                }
                Err(_) => open = false,
            }
        }
        commit(&conn, group);
        if let Some(checkpoints) = &mut checkpoints {
            checkpoints.follow(&conn);
        }
    }
}

/// The writer's side of the checkpoints. They run beside the writer, on a thread and a connection
/// of their own, because their syncs would hold up every write. The log starts over when all of it
/// is copied, which under a steady load only the writer can bring about: it copies the few pages
/// that it wrote meanwhile, once in a while.
pub(super) struct Checkpoints {
    /// Length of the log after the last commit, in pages.
    pages: Arc<AtomicU64>,
    /// Its length after the commit before.
    before: u64,
    /// Its length at which the next checkpoint begins: more when a reader kept the last from
    /// ending.
    next: u64,
    running: bool,
    begin: blocking::SyncSender<()>,
    copied: blocking::Receiver<()>,
}

impl Checkpoints {
    /// The writer's side, and what the thread beside it runs.
    pub(super) fn new(conn: Connection) -> (Self, impl FnOnce() + Send + 'static) {
        let (begin, begun) = blocking::sync_channel(1);
        let (done, copied) = blocking::sync_channel(1);
        let beside = move || {
            while begun.recv().is_ok() {
                checkpoint(&conn);
                if done.send(()).is_err() {
                    break;
                }
            }
        };
        let pages = Arc::new(AtomicU64::new(0));
        let next = CHECKPOINT_PAGES;
        (Self { pages, before: 0, next, running: false, begin, copied }, beside)
    }

    /// Has the log's length noted at each commit; nothing is copied by the commit itself.
    fn watch(&self, conn: &mut Connection) {
        let pages = Arc::clone(&self.pages);
        let hooked = conn.wal_hook(Some(move |_: &mut _, length: std::ffi::c_int| {
            pages.store(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }));
        if let Err(error) = hooked {
            tracing::error!(%error, "the catalog's log is not watched and will grow");
        }
    }

    /// After a commit: begins a checkpoint, or ends the one that was begun.
    fn follow(&mut self, conn: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.before {
            // The log has started over.
            self.next = CHECKPOINT_PAGES;
        }
        self.before = pages;
        if self.running {
            let copied = if pages < LOG_PAGES_MAX {
                self.copied.try_recv().is_ok()
            } else {
                // Writes outrun the copying: they wait, or the log would grow without bound.
                self.copied.recv().is_ok()
            };
            if copied {
                self.running = false;
                self.next = pages + CHECKPOINT_PAGES;
                if pages >= START_OVER_PAGES {
                    checkpoint(conn);
                }
            }
        } else if pages >= self.next {
            self.running = self.begin.try_send(()).is_ok();
        }
    }
}

/// Copies what it can of the log into the file, waiting for nobody.
fn checkpoint(conn: &Connection) {
    let copied = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = copied {
        tracing::warn!(%error, "a checkpoint of the catalog failed and will be tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::stored::one;

    fn table() -> Connection {
        let conn = Connection::open_in_memory().expect("a database");
        conn.execute_batch("CREATE TABLE t (n BIGINT PRIMARY KEY, filler BLOB)").expect("a table");
        conn
    }

    type Answer = oneshot::Receiver<Result<()>>;

    fn insert(n: i64, filler: usize, outcome: Result<()>) -> (Box<dyn Job>, Answer) {
        let (call, answer) = Call::new(1, Durability::Replayable, move |conn: &Connection| {
            execute(conn, "INSERT INTO t VALUES ($1, zeroblob($2))", [n, filler as i64])?;
            outcome
        });
        (Box::new(call), answer)
    }

    fn rows(conn: &Connection) -> Vec<i64> {
        crate::sqlite::stored::all(conn, "SELECT n FROM t ORDER BY n", [], |row| Ok(row.get(0)?))
            .expect("rows")
    }

    #[test]
    fn a_change_that_fails_takes_only_its_own_away() {
        let conn = table();
        let (jobs, answers): (Vec<_>, Vec<_>) =
            [insert(1, 0, Ok(())), insert(2, 0, Err(CatalogError::NotEmpty)), insert(3, 0, Ok(()))]
                .into_iter()
                .unzip();
        commit(&conn, jobs);
        assert_eq!(rows(&conn), [1, 3]);
        let outcomes: Vec<_> = answers.into_iter().map(|mut a| a.try_recv().unwrap()).collect();
        assert_eq!(outcomes, [Ok(()), Err(CatalogError::NotEmpty), Ok(())]);
    }

    #[test]
    fn a_change_alone_that_fails_leaves_nothing() {
        let conn = table();
        let (job, mut answer) = insert(1, 0, Err(CatalogError::NotEmpty));
        commit(&conn, vec![job]);
        assert_eq!(rows(&conn), [0; 0]);
        assert_eq!(answer.try_recv().unwrap(), Err(CatalogError::NotEmpty));
        assert!(conn.is_autocommit());
    }

    #[test]
    fn a_full_disk_fails_the_group_and_the_writer_goes_on() {
        let conn = table();
        conn.pragma_update(None, "max_page_count", 10).unwrap();
        let (jobs, answers): (Vec<_>, Vec<_>) =
            [insert(1, 0, Ok(())), insert(2, 1 << 20, Ok(())), insert(3, 0, Ok(()))]
                .into_iter()
                .unzip();
        commit(&conn, jobs);
        let outcomes: Vec<_> = answers.into_iter().map(|mut a| a.try_recv().unwrap()).collect();
        // Whether the database gives up the statement or the transaction is its choice; nobody is
        // told that it is done when it is not.
        let kept = rows(&conn);
        for (n, outcome) in (1..).zip(&outcomes) {
            assert_eq!(outcome.is_ok(), kept.contains(&n), "{n}: {outcome:?}");
        }
        assert!(matches!(outcomes[1], Err(CatalogError::Storage(_))));
        conn.pragma_update(None, "max_page_count", 1000).unwrap();
        let (job, mut answer) = insert(4, 0, Ok(()));
        commit(&conn, vec![job]);
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn a_durable_change_is_synced_and_the_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let conn = Connection::open(directory.path().join("db")).unwrap();
        crate::sqlite::open::settle_writer(&conn).unwrap();
        let level = |durability| {
            transact(&conn, durability, |conn| {
                one(conn, "PRAGMA synchronous", [], |row| Ok(row.get::<_, i64>(0)?))
            })
        };
        assert_eq!(level(Durability::Durable), Ok(Some(2)), "FULL");
        assert_eq!(level(Durability::Replayable), Ok(Some(1)), "NORMAL");
    }

    #[test]
    fn a_durable_change_waits_for_no_group_and_no_group_for_it() {
        let (jobs, queue) = mpsc::channel::<Box<dyn Job>>(QUEUE_MAX);
        let mut answers = Vec::new();
        for n in 0..6 {
            let durability = if n == 3 { Durability::Durable } else { Durability::Replayable };
            let (call, answer) = Call::new(1, durability, move |conn: &Connection| {
                execute(conn, "INSERT INTO t VALUES ($1, x'')", [n])?;
                one(conn, "PRAGMA synchronous", [], |row| Ok(row.get::<_, i64>(0)?))
            });
            assert!(jobs.try_send(Box::new(call)).is_ok());
            answers.push(answer);
        }
        drop(jobs);
        let directory = tempfile::tempdir().unwrap();
        let conn = Connection::open(directory.path().join("db")).unwrap();
        crate::sqlite::open::settle_writer(&conn).unwrap();
        conn.execute_batch("CREATE TABLE t (n BIGINT PRIMARY KEY, filler BLOB)").unwrap();
        work(conn, queue, None);
        let levels: Vec<_> = answers.into_iter().map(|mut a| a.try_recv().unwrap()).collect();
        let expected = [1, 1, 1, 2, 1, 1].map(|level| Ok(Some(level)));
        assert_eq!(levels, expected);
    }
}
