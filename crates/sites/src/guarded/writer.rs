//! A streamed shard under the site's guards.
//!
//! **Invariant.** Every step ends within a deadline of its own, and after one that failed nothing
//! more is sent.
//!
//! **Deliberately absent.** Repetition: nobody keeps the bytes of a stream.
//!
//! **Crash.** As the site's own writer.

use super::Guarded;
use crate::{Operation, ShardWriter, SiteError, SiteErrorKind};
use async_trait::async_trait;
use bytes::Bytes;

/// The writer that [`Guarded::create`] gives.
pub struct GuardedWriter {
    guarded: Guarded,
    /// `None` after a failed step.
    inner: Option<Box<dyn ShardWriter>>,
    bytes: u64,
}

impl GuardedWriter {
    pub(super) fn new(guarded: Guarded, inner: Box<dyn ShardWriter>) -> Self {
        Self { guarded, inner: Some(inner), bytes: 0 }
    }

    fn failed_before(&self, operation: Operation) -> SiteError {
        let detail = "an earlier step of this shard failed";
        SiteError::new(SiteErrorKind::Unreachable, self.guarded.id(), operation, detail)
    }
}

#[async_trait]
impl ShardWriter for GuardedWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), SiteError> {
        let Some(mut inner) = self.inner.take() else {
            return Err(self.failed_before(Operation::Write));
        };
        let shared = &self.guarded.shared;
        match self.bytes {
            // Nothing was sent yet, be it that somebody looked for the bytes until now.
            0 => shared.check_takes_shards(Operation::Write)?,
            _ => shared.check_is_in_time(Operation::Write)?,
        }
        let len = bytes.len() as u64;
        let patience = shared.limits.deadline_for(len);
        shared.attempt(Operation::Write, patience, inner.write(bytes)).await?;
        shared.meter.bytes(Operation::Write, len);
        self.bytes += len;
        // Put back only now: a step that failed, or was given up half way, was the last.
        self.inner = Some(inner);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), SiteError> {
        let Some(inner) = self.inner.take() else {
            return Err(self.failed_before(Operation::Finish));
        };
        let shared = &self.guarded.shared;
        shared.check_is_in_time(Operation::Finish)?;
        // The disk or the far side may have taken in what it has not made durable yet.
        let patience = shared.limits.deadline_for(self.bytes);
        Ok(shared.attempt(Operation::Finish, patience, inner.finish()).await?)
    }

    async fn abort(mut self: Box<Self>) {
        let Some(inner) = self.inner.take() else { return };
        let shared = &self.guarded.shared;
        let abort = Box::pin(async {
            inner.abort().await;
            Ok(())
        });
        // What cannot be removed now is swept later.
        drop(shared.attempt(Operation::Delete, shared.limits.deadline, abort).await);
    }
}
