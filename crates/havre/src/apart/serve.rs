//! The gateway's end: lets one keeper in, and answers what it asks.
//!
//! **Invariant.** At most [`CALLS_MAX`] calls and one look are carried out at a time; a keeper that
//! breaks the form is told to go and keeps the post until it has gone. The gateway's own flags are
//! no keeper's to change.
//!
//! **Deliberately absent.** Trust in what comes: a keeper can delete what the sites hold anyway,
//! but not fill this process's memory or stop it.
//!
//! **Crash.** Calls end with the process; the keeper begins anew with the next.

use super::post::Taken;
use super::wire::{WireBlob, WireMove};
use super::{
    CALLS_MAX, Call, FORMAT, HELLO_DEADLINE, PAGE_MAX, Post, Refusal, Standing, WRITE_DEADLINE,
    frame, sites_of,
};
use crate::compose::{Gateway, MOVES_PAUSED, REBALANCES};
use crate::config::Config;
use crate::control::check_peer;
use crate::oversight::{Inside, Oversight};
use anyhow::{Context, Result, bail};
use havre_catalog::{BlobRow, Catalog, CatalogError, JobRow};
use havre_keeper::Index;
use havre_model::ports::Ports;
use havre_model::{BlobId, SiteId, SiteSet};
use havre_sites::{Bar, Fleet, Guarded};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

/// Keepers that are being talked to at a time, the one at the post included.
const CONNECTIONS_MAX: usize = 4;
/// Calls that are carried out at a time: those of the workers, and the look.
const TURNS: usize = CALLS_MAX + 1;
/// The pause after a connection could not be accepted: no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of a job's name.
const JOB_NAME_BYTES_MAX: usize = 64;

/// Answers keepers, out of a gateway's parts.
pub struct Clerk {
    index: Arc<dyn Index>,
    catalog: Arc<dyn Catalog>,
    oversight: Arc<dyn Oversight>,
    fleet: Arc<Fleet>,
    config: String,
    post: Arc<Post>,
    ports: Ports,
}

/// Lets keepers in for as long as the process lives.
pub async fn serve(listener: UnixListener, clerk: Arc<Clerk>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let ports = clerk.ports.clone();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a keeper could not be let in");
                ports.runtime.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            tracing::warn!("a keeper was turned away: too many are at the door");
            continue;
        };
        let clerk = Arc::clone(&clerk);
        ports.runtime.spawn(Box::pin(async move {
            if let Err(error) = clerk.receive(stream).await {
                tracing::warn!(error = format!("{error:#}"), "a keeper was told to go");
            }
            drop(turn);
        }));
    }
}

impl Clerk {
    /// Answers for this gateway; `None` where its keeper is inside.
    #[must_use]
    pub fn new(gateway: &Gateway, config: &Config, ports: Ports) -> Option<Self> {
        Some(Self {
            index: Arc::new(Arc::clone(&gateway.catalog)),
            catalog: Arc::clone(&gateway.catalog),
            oversight: Arc::new(Inside::new(gateway)),
            fleet: Arc::clone(&gateway.fleet),
            config: config.digest(),
            post: Arc::clone(gateway.post.as_ref()?),
            ports,
        })
    }

    /// One connection: the hello, then questions until the keeper goes.
    async fn receive(self: Arc<Self>, stream: UnixStream) -> Result<()> {
        check_peer(&stream)?;
        let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let (mut from, mut to) = stream.into_split();
        let hello = tokio::select! {
            hello = frame::read(&mut from) => hello.context("read who it is")?,
            () = self.ports.runtime.sleep(HELLO_DEADLINE) => bail!("it does not say who it is"),
        };
        // Somebody looks whether the socket is answered.
        let Some(hello) = hello else { return Ok(()) };
        let Some((number, Call::Hello { format, config })) = frame::parse_question(&hello) else {
            bail!("it does not say who it is");
        };
        let taken = match self.let_in(format, &config, process) {
            Ok(taken) => taken,
            Err(reason) => {
                let refusal = Err::<(), _>(Refusal::TurnedAway(reason.clone()));
                self.send(&mut to, &frame::answer(number, &refusal)).await?;
                bail!("{reason}");
            }
        };
        tracing::info!(process, "a keeper has come");
        let welcome = frame::answer(number, &Ok(self.standing()));
        let ended = match self.send(&mut to, &welcome).await {
            Ok(()) => self.attend(&mut from, &mut to).await,
            Err(error) => Err(error),
        };
        if ended.is_err() {
            // Its workers may be at something yet: nobody else comes in before it has gone.
            drop(to.shutdown().await);
            let mut rest = [0; 4096];
            while from.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        }
        tracing::warn!(
            process,
            "the keeper has gone: nothing is repaired or moved until one comes"
        );
        drop(taken);
        ended
    }

    fn let_in(&self, format: u32, config: &str, process: Option<i32>) -> Result<Taken, String> {
        if format != FORMAT {
            return Err("the keeper is of another release than the gateway".to_owned());
        }
        if config != self.config {
            return Err(
                "the keeper has another configuration than the gateway that runs: restart \
                        both with the same file"
                    .to_owned(),
            );
        }
        self.post.take(process).map_err(|other| match other {
            Some(other) => format!("another keeper works for this gateway: process {other}"),
            None => "another keeper works for this gateway".to_owned(),
        })
    }

    /// Answers until the keeper goes, and every call has ended.
    async fn attend(
        self: &Arc<Self>,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Result<()> {
        let turns = Arc::new(Semaphore::new(TURNS));
        let (sender, mut answers) = mpsc::channel::<Vec<u8>>(TURNS);
        let asks = async {
            while let Some(frame) = frame::read(from).await.context("read a question")? {
                let (number, call) =
                    frame::parse_question(&frame).context("a question is not understood")?;
                let turn = Arc::clone(&turns).acquire_owned().await?;
                let (clerk, sender) = (Arc::clone(self), sender.clone());
                self.ports.runtime.spawn(Box::pin(async move {
                    let answer = clerk.answer(number, call).await;
                    // Who asked may be gone.
                    drop(sender.send(answer).await);
                    drop(turn);
                }));
            }
            Ok(())
        };
        let tells = async {
            while let Some(answer) = answers.recv().await {
                self.send(to, &answer).await?;
            }
            Ok(())
        };
        let ended = tokio::select! {
            ended = asks => ended,
            ended = tells => ended,
        };
        // Calls that wait to be told are let go.
        drop(answers);
        let all = u32::try_from(TURNS).context("count the calls")?;
        drop(turns.acquire_many(all).await?);
        ended
    }

    async fn send(&self, to: &mut OwnedWriteHalf, answer: &[u8]) -> Result<()> {
        tokio::select! {
            sent = frame::write(to, answer) => sent.context("answer a keeper"),
            () = self.ports.runtime.sleep(WRITE_DEADLINE) => bail!("it takes no answers"),
        }
    }

    fn standing(&self) -> Standing {
        let barred = |bar| {
            let is_barred = |(_, site): &(usize, &Guarded)| site.is_barred_as(bar);
            let sites = self.fleet.iter().enumerate().filter(is_barred);
            sites.map(|(at, _)| at).collect::<SiteSet>().bits()
        };
        Standing {
            takes_writes: self.oversight.takes_writes(),
            moves_paused: self.oversight.moves_paused(),
            rebalances: self.oversight.rebalances(),
            closed: self.fleet.closed().bits(),
            cut_off: barred(Bar::Drill),
            other_storage: barred(Bar::OtherStorage),
        }
    }

    /// The frame that answers the call.
    async fn answer(&self, number: u64, call: Call) -> Vec<u8> {
        match call {
            Call::Hello { .. } => answer(number, Err::<(), _>(failed("it has said who it is"))),
            Call::Look { applied } => {
                // First: see `Post::looks`.
                self.post.looks(sites_of(applied, self.fleet.len()));
                frame::answer(number, &Ok(self.standing()))
            }
            Call::Fence => frame::answer(number, &Ok(self.oversight.fence().await)),
            Call::EndRebalance => {
                let ended = self.oversight.end_rebalance().await;
                answer(number, ended.map_err(|error| failed(&format!("{error:#}"))))
            }
            Call::Markers => answer(number, self.catalog.site_markers().await),
            Call::Holds { blob } => frame::answer(number, &Ok(self.oversight.holds(blob).await)),
            call => self.answer_of_index(number, call).await,
        }
    }

    async fn answer_of_index(&self, number: u64, call: Call) -> Vec<u8> {
        let index = &self.index;
        match call {
            Call::OwnChains => answer(number, index.own_chains().await),
            Call::BlobCount => answer(number, index.blob_count().await),
            Call::Blob { blob } => {
                let row = index.blob(blob).await;
                answer(number, row.map(|row| row.map(WireBlob::from)))
            }
            Call::Blobs { after, limit } => {
                page(number, index.blobs(after, limit.min(PAGE_MAX)).await)
            }
            Call::BelowGuarantee { after, limit } => {
                page(number, index.below_guarantee(after, limit.min(PAGE_MAX)).await)
            }
            Call::Garbage { after, limit } => {
                page(number, index.garbage(after, limit.min(PAGE_MAX)).await)
            }
            Call::ForgetBlob { blob } => answer(number, index.forget_blob(blob).await),
            Call::NoteShards { blob, sites, stored, lost } => {
                answer(number, index.note_shards(blob, &sites, stored, lost).await)
            }
            Call::IntendShards { blob, sites } => answer(number, self.intend(blob, sites).await),
            Call::MoveShards { blob, moves } => answer(number, self.shift(blob, &moves).await),
            Call::LeftoversOf { blob } => answer(number, index.leftovers_of(blob).await),
            Call::Leftovers { after, limit } => {
                let page = index.leftovers(after, limit.min(PAGE_MAX)).await;
                let wire = |row| super::wire::WireLeftover::from(row);
                answer(number, page.map(|rows| rows.into_iter().map(wire).collect::<Vec<_>>()))
            }
            Call::ForgetLeftover { leftover } => match leftover.leftover() {
                Some(leftover) => answer(number, index.forget_leftover(leftover).await),
                None => answer(number, Err::<(), _>(failed("the name is none"))),
            },
            Call::Job { name } => {
                answer(number, index.job(&name).await.map(|job| job.map(|job| job.state)))
            }
            Call::PutJob { name, state } => answer(number, self.put_job(name, state).await),
            _ => answer(number, Err::<(), _>(failed("that is not answered"))),
        }
    }

    /// Closed sites are refused here as well as at the keeper's own guards.
    async fn intend(&self, blob: BlobId, sites: Vec<SiteId>) -> Result<bool, CatalogError> {
        let closed = self.fleet.closed();
        let is_closed =
            |site: &SiteId| self.fleet.by_id(*site).is_some_and(|(at, _)| closed.contains(at));
        if sites.iter().any(is_closed) {
            return Ok(false);
        }
        self.index.intend_shards(blob, sites).await
    }

    /// Who begins to read the blob looks at the new places from before the keeper knows of it: a
    /// keeper that dies meanwhile changes nothing.
    async fn shift(&self, blob: BlobId, moves: &[WireMove]) -> Result<bool, CatalogError> {
        let Some(BlobRow { geometry, .. }) = self.index.blob(blob).await? else {
            return Ok(false);
        };
        let Some(moves) = moves.iter().map(|shift| shift.shift(geometry)).collect() else {
            return Ok(false);
        };
        let moved = self.index.move_shards(blob, moves).await?;
        if moved {
            self.oversight.moved(blob).await;
        }
        Ok(moved)
    }

    async fn put_job(&self, name: String, state: Vec<u8>) -> Result<(), CatalogError> {
        if name.len() > JOB_NAME_BYTES_MAX || [MOVES_PAUSED, REBALANCES].contains(&&*name) {
            return Err(CatalogError::OutOfRange("the name of a keeper's job"));
        }
        self.index.put_job(JobRow { name, state }).await
    }
}

fn failed(reason: &str) -> Refusal {
    Refusal::Failed(reason.to_owned())
}

fn answer<T: serde::Serialize>(number: u64, result: Result<T, impl Into<Refusal>>) -> Vec<u8> {
    frame::answer(number, &result.map_err(Into::into))
}

fn page(number: u64, rows: Result<Vec<BlobRow>, CatalogError>) -> Vec<u8> {
    answer(number, rows.map(|rows| rows.into_iter().map(WireBlob::from).collect::<Vec<_>>()))
}
