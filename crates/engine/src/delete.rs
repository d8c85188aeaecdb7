//! Deletes objects: a tombstone each.
//!
//! **Invariant.** A tombstone is durable before the answer; what it makes garbage is collected only
//! afterwards (I6).
//!
//! **Deliberately absent.** Delete markers: they come with versioning.
//!
//! **Crash.** As for any record: durable with its pack or not there.

use crate::Engine;
use crate::condition::Condition;
use crate::error::PutError;
use crate::journal::{Entry, Journal};
use crate::object::Bucket;
use havre_model::record::{ObjectKey, Record, TombstoneRecord};
use havre_seal::RecordScope;
use std::sync::Arc;

impl Engine {
    /// Deletes an object; one that is not there is deleted.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn delete(
        &self,
        bucket: &Arc<Bucket>,
        key: ObjectKey,
        condition: Condition,
    ) -> Result<(), PutError> {
        let placement = self.shared.placement_of(bucket);
        let journal = self.journal(placement)?;
        let approach = journal.approach();
        let Some(entry) = self.tombstone(bucket, key, &condition, journal).await? else {
            return Ok(());
        };
        let commit = journal.submit(vec![entry]).await?;
        drop(approach);
        commit.result().await
    }

    /// Deletes many objects, each on its own.
    pub async fn delete_many(
        &self,
        bucket: &Arc<Bucket>,
        keys: Vec<ObjectKey>,
    ) -> Vec<Result<(), PutError>> {
        let placement = self.shared.placement_of(bucket);
        let Ok(journal) = self.journal(placement) else {
            let refused = |_| self.journal(placement).map(|_| ());
            return keys.iter().map(refused).collect();
        };
        let approach = journal.approach();
        let mut results: Vec<Result<(), PutError>> = Vec::with_capacity(keys.len());
        let mut commits = Vec::new();
        for (position, key) in keys.into_iter().enumerate() {
            let entry = match self.tombstone(bucket, key, &Condition::default(), journal).await {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    results.push(Ok(()));
                    continue;
                }
                Err(error) => {
                    results.push(Err(error));
                    continue;
                }
            };
            match journal.submit(vec![entry]).await {
                Ok(commit) => {
                    commits.push((position, commit));
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        drop(approach);
        for (position, commit) in commits {
            results[position] = commit.result().await;
        }
        results
    }

    /// The tombstone of an object; `None` when there is nothing to delete.
    async fn tombstone(
        &self,
        bucket: &Arc<Bucket>,
        key: ObjectKey,
        condition: &Condition,
        journal: &Journal,
    ) -> Result<Option<Entry>, PutError> {
        let reservations = self.reserve(bucket, &key, condition).await?;
        // With nothing there, and the key reserved, there is nothing to record: unless a write that
        // nobody acknowledged may still turn out to have happened.
        let is_absent = self.shared.catalog.latest(bucket.id(), &key).await?.is_none();
        if is_absent && !journal.in_doubt() {
            return Ok(None);
        }
        let tenant = bucket.tenant();
        let record =
            Record::Tombstone(TombstoneRecord { tenant, bucket: bucket.id(), key, version: None });
        let scope = RecordScope::Bucket(tenant, bucket.id());
        self.prepare(scope, record, b"", reservations).await.map(Some)
    }
}
