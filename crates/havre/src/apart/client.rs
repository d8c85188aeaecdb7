//! The keeper's end: one connection to the gateway, and what the workers see through it.
//!
//! **Invariant.** A session ends once, for all its calls, with the connection or with an answer
//! that does not come; from then on nothing is answered, nothing counts as not held, and the sites
//! take no shard. While it lives the sites are closed and barred as the gateway last said.
//!
//! **Deliberately absent.** Connecting again: a new session is begun, with new workers.
//!
//! **Crash.** The gateway sees the connection end.

use super::proof::Proof;
use super::wire::{WireBlob, WireLeftover, WireMove};
use super::{
    CALL_DEADLINE, CALLS_MAX, Call, FORMAT, HELLO_DEADLINE, LEASE, LOOK_PAUSE, Refusal, Standing,
    WRITE_DEADLINE, frame, sites_of,
};
use crate::control::{ControlError, connect_keeper};
use crate::oversight::Oversight;
use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use havre_catalog::{BlobRow, CatalogError, JobRow, Leftover, ShardMove};
use havre_keeper::{HeldBlobs, Index};
use havre_model::ports::Ports;
use havre_model::{BlobId, ChainId, SiteId};
use havre_sites::{Bar, Fleet};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Why no session could be begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The gateway says that this keeper may not: it stays so until somebody acts.
    #[error("{0}")]
    TurnedAway(String),
    /// Nobody listens, or may be spoken to.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The gateway went away meanwhile, or does not answer.
    #[error("the gateway does not answer: {0:#}")]
    NoAnswer(anyhow::Error),
}

/// What the keeper's workers see of the gateway, for as long as one connection lives.
pub struct Session {
    asked: mpsc::Sender<Asked>,
    turns: Arc<Semaphore>,
    told: Mutex<Standing>,
    proof: Proof,
    fleet: Arc<Fleet>,
    /// An answer did not come in time, or was none.
    broken: Notify,
    ports: Ports,
}

/// The connection of a session. Dropped, it is closed: let the workers end first.
pub struct Line {
    session: Arc<Session>,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    asked: mpsc::Receiver<Asked>,
}

struct Asked {
    call: Call,
    reply: Reply,
}

struct Reply {
    to: oneshot::Sender<Vec<u8>>,
    /// Kept until the answer is there, whether or not somebody still waits for it.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Connects to the gateway of this catalog, whose configuration has this digest, and has the
    /// sites closed and barred as it says.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin(
        catalog: &Path,
        config: String,
        fleet: Arc<Fleet>,
        ports: Ports,
    ) -> Result<(Arc<Self>, Line), BeginError> {
        let (mut from, mut to) = connect_keeper(catalog)?.into_split();
        let asked_at = ports.clock.elapsed();
        let hello = async {
            let hello = frame::question(0, &Call::Hello { format: FORMAT, config })?;
            frame::write(&mut to, &hello).await?;
            frame::read(&mut from).await?.context("it ended the connection")
        };
        let answer = tokio::select! {
            answer = hello => answer.map_err(BeginError::NoAnswer)?,
            () = ports.runtime.sleep(HELLO_DEADLINE) => {
                return Err(BeginError::NoAnswer(anyhow!("it took too long")));
            }
        };
        let result = frame::parse(&answer).and_then(|(_, rest)| frame::decode(rest));
        let standing: Standing = match result {
            Some(Ok(standing)) => standing,
            Some(Err(Refusal::TurnedAway(reason))) => return Err(BeginError::TurnedAway(reason)),
            _ => return Err(BeginError::NoAnswer(anyhow!("what it says is not understood"))),
        };
        let (sender, asked) = mpsc::channel(CALLS_MAX);
        let session = Arc::new(Self {
            asked: sender,
            turns: Arc::new(Semaphore::new(CALLS_MAX)),
            told: Mutex::default(),
            proof: Proof::new(fleet.len()),
            fleet,
            broken: Notify::new(),
            ports,
        });
        session.apply(standing, asked_at);
        Ok((Arc::clone(&session), Line { session, from, to, asked }))
    }

    /// Closes and bars the sites as the gateway says, and only then lets them take shards for a
    /// lease from when it was asked.
    fn apply(&self, standing: Standing, asked_at: Duration) {
        let count = self.fleet.len();
        let closed = sites_of(standing.closed, count);
        let other_storage = sites_of(standing.other_storage, count).union(self.proof.missing());
        let cut_off = sites_of(standing.cut_off, count);
        self.fleet.close(closed);
        *self.told.lock() = standing;
        for (at, site) in self.fleet.iter().enumerate() {
            site.refuse_shards(closed.contains(at));
            for (bar, sites) in [(Bar::OtherStorage, other_storage), (Bar::Drill, cut_off)] {
                match sites.contains(at) {
                    true => site.bar(bar, None),
                    false => drop(site.lift(bar)),
                }
            }
            site.take_shards_until(Some(asked_at + LEASE));
        }
    }

    /// Looks what the gateway says, again and again.
    async fn look_for_ever(&self) -> Result<()> {
        loop {
            self.ports.runtime.sleep(LOOK_PAUSE).await;
            let asked_at = self.ports.clock.elapsed();
            let applied = self.fleet.closed().bits();
            // Without a turn: it does not wait behind the workers' calls.
            let standing = self.ask_on(None, Call::Look { applied }).await?;
            self.apply(standing, asked_at);
        }
    }

    /// Looks at the sites until each has shown that it is the storage that the catalog knows.
    async fn prove(&self) -> Result<()> {
        while !self.proof.missing().is_empty() {
            let markers: Vec<(SiteId, [u8; 16])> = self.ask(Call::Markers).await?;
            self.proof.look(&self.fleet, &markers.into_iter().collect::<HashMap<_, _>>()).await;
            self.ports.runtime.sleep(super::proof::PAUSE).await;
        }
        std::future::pending().await
    }

    async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, CatalogError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        self.ask_on(Some(turn.map_err(|_| CatalogError::Closed)?), call).await
    }

    async fn ask_on<T: DeserializeOwned>(
        &self,
        turn: Option<OwnedSemaphorePermit>,
        call: Call,
    ) -> Result<T, CatalogError> {
        let (to, answer) = oneshot::channel();
        let asked = Asked { call, reply: Reply { to, _turn: turn } };
        let answer = async {
            self.asked.send(asked).await.map_err(|_| CatalogError::Closed)?;
            answer.await.map_err(|_| CatalogError::Closed)
        };
        let answer = tokio::select! {
            answer = answer => answer?,
            () = self.ports.runtime.sleep(CALL_DEADLINE) => {
                self.broken.notify_one();
                return Err(CatalogError::Closed);
            }
        };
        let result: Result<T, Refusal> = frame::decode(&answer).ok_or_else(|| self.malformed())?;
        Ok(result?)
    }

    fn malformed(&self) -> CatalogError {
        self.broken.notify_one();
        CatalogError::Storage("the gateway's answer is not understood".to_owned())
    }

    async fn page(&self, call: Call) -> Result<Vec<BlobRow>, CatalogError> {
        let rows: Vec<WireBlob> = self.ask(call).await?;
        let rows: Option<_> = rows.into_iter().map(WireBlob::row).collect();
        rows.ok_or_else(|| self.malformed())
    }
}

impl Line {
    /// Carries questions and answers until the session ends; says why it did. From then on the
    /// sites take no shard.
    pub async fn carry(&mut self) -> anyhow::Error {
        let Self { session, from, to, asked } = self;
        let waiting = Mutex::new(HashMap::new());
        let why = tokio::select! {
            why = send(session, to, asked, &waiting) => why,
            why = hear(from, &waiting) => why,
            why = session.look_for_ever() => why,
            why = session.prove() => why,
            () = session.broken.notified() => Err(anyhow!("an answer did not come, or was none")),
        };
        session.end();
        asked.close();
        why.err().unwrap_or_else(|| anyhow!("the gateway has gone"))
    }
}

impl Session {
    fn end(&self) {
        for site in self.fleet.iter() {
            site.take_shards_until(Some(Duration::ZERO));
        }
        self.turns.close();
    }
}

/// Sends what is asked.
async fn send(
    session: &Session,
    to: &mut OwnedWriteHalf,
    asked: &mut mpsc::Receiver<Asked>,
    waiting: &Mutex<HashMap<u64, Reply>>,
) -> Result<()> {
    let mut number = 0;
    while let Some(Asked { call, reply }) = asked.recv().await {
        number += 1;
        let question = frame::question(number, &call).context("write a question")?;
        waiting.lock().insert(number, reply);
        tokio::select! {
            sent = frame::write(to, &question) => sent.context("ask the gateway")?,
            () = session.ports.runtime.sleep(WRITE_DEADLINE) => bail!("it takes no questions"),
        }
    }
    Ok(())
}

/// Hands answers to who asked.
async fn hear(from: &mut OwnedReadHalf, waiting: &Mutex<HashMap<u64, Reply>>) -> Result<()> {
    while let Some(frame) = frame::read(from).await.context("hear the gateway")? {
        let (number, rest) = frame::parse(&frame).context("an answer is none")?;
        let reply = waiting.lock().remove(&number).context("nobody asked for an answer")?;
        // Who asked may have ended.
        drop(reply.to.send(rest.to_vec()));
    }
    Ok(())
}

#[async_trait]
impl HeldBlobs for Session {
    async fn holds(&self, blob: BlobId) -> bool {
        self.ask(Call::Holds { blob }).await.unwrap_or(true)
    }

    /// The gateway knows from [`Index::move_shards`], which it carries out itself.
    async fn moved(&self, _: BlobId) {}
}

#[async_trait]
impl Oversight for Session {
    async fn fence(&self) -> bool {
        self.ask(Call::Fence).await.unwrap_or(false)
    }

    fn takes_writes(&self) -> bool {
        self.told.lock().takes_writes
    }

    fn moves_paused(&self) -> bool {
        self.told.lock().moves_paused
    }

    fn rebalances(&self) -> bool {
        self.told.lock().rebalances
    }

    async fn end_rebalance(&self) -> Result<()> {
        Ok(self.ask(Call::EndRebalance).await?)
    }
}

#[async_trait]
impl Index for Session {
    async fn own_chains(&self) -> Result<Vec<ChainId>, CatalogError> {
        self.ask(Call::OwnChains).await
    }

    async fn blob_count(&self) -> Result<u64, CatalogError> {
        self.ask(Call::BlobCount).await
    }

    async fn blob(&self, blob: BlobId) -> Result<Option<BlobRow>, CatalogError> {
        let row: Option<WireBlob> = self.ask(Call::Blob { blob }).await?;
        row.map(|row| row.row().ok_or_else(|| self.malformed())).transpose()
    }

    async fn blobs(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError> {
        self.page(Call::Blobs { after, limit }).await
    }

    async fn below_guarantee(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError> {
        self.page(Call::BelowGuarantee { after, limit }).await
    }

    async fn garbage(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<BlobRow>, CatalogError> {
        self.page(Call::Garbage { after, limit }).await
    }

    async fn forget_blob(&self, blob: BlobId) -> Result<bool, CatalogError> {
        self.ask(Call::ForgetBlob { blob }).await
    }

    async fn note_shards(
        &self,
        blob: BlobId,
        sites: &[SiteId],
        stored: u32,
        lost: u32,
    ) -> Result<bool, CatalogError> {
        self.ask(Call::NoteShards { blob, sites: sites.to_vec(), stored, lost }).await
    }

    async fn intend_shards(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool, CatalogError> {
        self.ask(Call::IntendShards { blob, sites }).await
    }

    async fn move_shards(&self, blob: BlobId, moves: Vec<ShardMove>) -> Result<bool, CatalogError> {
        let moves = moves.into_iter().map(WireMove::from).collect();
        self.ask(Call::MoveShards { blob, moves }).await
    }

    async fn leftovers_of(&self, blob: BlobId) -> Result<Vec<SiteId>, CatalogError> {
        self.ask(Call::LeftoversOf { blob }).await
    }

    async fn leftovers(
        &self,
        after: Option<BlobId>,
        limit: usize,
    ) -> Result<Vec<Leftover>, CatalogError> {
        let rows: Vec<WireLeftover> = self.ask(Call::Leftovers { after, limit }).await?;
        let rows: Option<_> = rows.iter().map(WireLeftover::leftover).collect();
        rows.ok_or_else(|| self.malformed())
    }

    async fn forget_leftover(&self, leftover: Leftover) -> Result<(), CatalogError> {
        self.ask(Call::ForgetLeftover { leftover: leftover.into() }).await
    }

    async fn job(&self, name: &str) -> Result<Option<JobRow>, CatalogError> {
        let state: Option<Vec<u8>> = self.ask(Call::Job { name: name.to_owned() }).await?;
        Ok(state.map(|state| JobRow { name: name.to_owned(), state }))
    }

    async fn put_job(&self, job: JobRow) -> Result<(), CatalogError> {
        self.ask(Call::PutJob { name: job.name, state: job.state }).await
    }
}
