//! A shard streamed into a directory.
//!
//! **Invariant.** At most two blocks of [`HOP_BYTES`] and one piece wait in memory; one block is
//! being written while the next one gathers, and each hop to another thread carries a whole block.
//!
//! **Deliberately absent.** Syncing on the way: the kernel is told to begin writing back, which
//! makes the one `fdatasync` at the end short.
//!
//! **Crash.** The file has no name before `finish`.

use super::{
    LocalSite,
    tree::{Temp, Tree},
};
use crate::{Operation, ShardWriter, SiteError, SiteErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use havre_model::BlobName;
use tokio::task::JoinHandle;

/// Bytes that one hop to a blocking thread carries at least, the last one excepted.
const HOP_BYTES: usize = 512 * 1024;

pub(super) struct LocalWriter {
    site: LocalSite,
    name: BlobName,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    flight: Flight,
}

/// Where the file is: not made yet, in a thread that writes to it, or lost to an error.
enum Flight {
    NotBegun,
    Away(JoinHandle<Result<Temp, SiteError>>),
    Lost,
}

impl LocalWriter {
    pub(super) fn new(site: LocalSite, name: BlobName) -> Self {
        Self { site, name, waiting: Vec::new(), waiting_bytes: 0, flight: Flight::NotBegun }
    }

    /// Waits for the block that is being written.
    async fn land(&mut self, operation: Operation) -> Result<Option<Temp>, SiteError> {
        match std::mem::replace(&mut self.flight, Flight::Lost) {
            Flight::NotBegun => Ok(None),
            Flight::Away(thread) => match thread.await {
                Ok(result) => result.map(Some),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(self.error(operation, "the process is ending")),
            },
            Flight::Lost => Err(self.error(operation, "an earlier write failed")),
        }
    }

    fn error(&self, operation: Operation, detail: &str) -> SiteError {
        self.site.tree.error(SiteErrorKind::Unreachable, operation, detail)
    }

    fn take_waiting(&mut self) -> Vec<Bytes> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

fn write_block(
    tree: &Tree,
    name: &BlobName,
    temp: Option<Temp>,
    block: &[Bytes],
    operation: Operation,
) -> Result<Temp, SiteError> {
    let mut temp = match temp {
        Some(temp) => temp,
        None => tree.begin(name, operation)?,
    };
    temp.append(block).map_err(|error| tree.io_error(operation, error))?;
    Ok(temp)
}

#[async_trait]
impl ShardWriter for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError> {
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_bytes < HOP_BYTES {
            return Ok(());
        }
        let temp = self.land(Operation::Write).await?;
        let block = self.take_waiting();
        let (site, name) = (self.site.clone(), self.name);
        let slot = std::sync::Arc::clone(&site.hops).acquire_owned().await;
        let slot = slot.expect("the semaphore of a site is never closed");
        self.flight = Flight::Away(tokio::task::spawn_blocking(move || {
            let _slot = slot;
            write_block(&site.tree, &name, temp, &block, Operation::Write)
        }));
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), SiteError> {
        let temp = self.land(Operation::Finish).await?;
        let block = self.take_waiting();
        let name = self.name;
        self.site
            .hop(Operation::Finish, move |tree| {
                let temp = write_block(tree, &name, temp, &block, Operation::Finish)?;
                tree.seal(temp, &name, Operation::Finish)
            })
            .await
    }

    async fn abort(mut self: Box<Self>) {
        // Dropping the temporary file is all there is to it; an error changes nothing.
        drop(self.land(Operation::Write).await);
    }
}
