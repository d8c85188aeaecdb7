//! Carries records from one pack to another, retires packs that nothing needs any more, and says
//! where extents were dispersed anew: what the keeper asks of the one who writes the chains.
//!
//! **Invariant.** A record is carried as it was sealed, under its own number, while nobody else can
//! end what it says; so it counts in one pack or in both, and never again once it has ended. A pack
//! is retired only when each of its records that counts is in another, and nothing is below its
//! guarantee (I1).
//!
//! **Deliberately absent.** Which packs are worth it, and reading them (`keeper`, which opens no
//! record).
//!
//! **Crash.** A copy that is durable counts; the pack that it came from is carried again. A pack
//! is retired when the record that says so is durable, and deleted at the sites only afterwards.

use crate::Engine;
use crate::error::PutError;
use crate::journal::{Commit, Entry};
use crate::multipart::upload_key;
use crate::object::Bucket;
use crate::replay::scope_of;
use crate::reservations::Reservation;
use bytes::BytesMut;
use havre_catalog::{BlobState, Need, PackedRecord};
use havre_model::BlobId;
use havre_model::limits::RETIRED_RUNS_MAX;
use havre_model::record::{
    self, Extent, Record, RedispersedRecord, RetiredRecord, RetiredRun, SequencedRecord,
    UploadAborted,
};
use havre_seal::{Keyring, OpenError, RecordScope};

impl Engine {
    /// Writes records of the pack `from` once more, each if it still counts there, into the packs
    /// that new records of its bucket go to; how many. All of them are durable within the guarantee
    /// and applied when this returns. Of a completion whose object is gone the end of its upload is
    /// written. Records whose new ones go into packs of the policy `staying` stay where they are.
    ///
    /// # Errors
    /// See [`PutError`]. Some may have been carried then. One that is not what it was keeps no
    /// other from being carried.
    pub async fn carry(
        &self,
        from: BlobId,
        records: Vec<(PackedRecord, Vec<u8>)>,
        staying: Option<&str>,
    ) -> Result<u64, PutError> {
        let (mut commits, mut foreign) = (Vec::new(), None);
        for (packed, sealed) in records {
            match self.carry_one(from, packed, sealed, staying).await {
                Ok(commit) => commits.extend(commit),
                Err(error @ PutError::Internal(_)) => foreign = Some(error),
                Err(error) => return Err(error),
            }
        }
        let carried = commits.len() as u64;
        for commit in commits {
            commit.result().await?;
        }
        foreign.map_or(Ok(carried), Err)
    }

    async fn carry_one(
        &self,
        from: BlobId,
        packed: PackedRecord,
        sealed: Vec<u8>,
        staying: Option<&str>,
    ) -> Result<Option<Commit>, PutError> {
        let foreign = || PutError::Internal("a record of a pack is not what it was".to_owned());
        let scope = Keyring::record_scope(&sealed).map_err(|_| foreign())?;
        let placement = match scope {
            RecordScope::Bucket(_, bucket) => match self.shared.catalog.bucket(bucket).await? {
                Some(row) => self.shared.placement_of(&Bucket::new(row.record)),
                // The bucket's own end stands for all that was in it.
                None => return Ok(None),
            },
            RecordScope::System | RecordScope::Tenant(_) => self.shared.strictest_placement,
        };
        if staying.is_some_and(|name| name == self.shared.placements[placement].policy.name()) {
            return Ok(None);
        }
        let record = self.open_carried(&sealed).map_err(|_| foreign())?;
        if record.seq != packed.seq || scope_of(&record.record) != scope {
            return Err(foreign());
        }
        let reservations = self.reserve_carried(&record.record).await?;
        // Now that nobody else can end it: does it still count there?
        let place = self.shared.catalog.place_of(packed.seq).await?;
        if place.is_none_or(|place| place.blob != from) {
            return Ok(None);
        }
        let entry = match (packed.need, &record.record) {
            (Need::Nothing, _) => return Ok(None),
            (Need::Record, _) => Entry {
                record,
                sealed,
                reservations,
                holds: Vec::new(),
                below: false,
                ticket: None,
            },
            (Need::End, Record::Object(object)) => {
                let upload = object.completes.ok_or_else(foreign)?;
                let (tenant, bucket) = (object.tenant, object.bucket);
                let ended = Record::UploadAborted(UploadAborted { tenant, bucket, upload });
                self.prepare(scope, ended, b"", reservations).await?
            }
            (Need::End, _) => return Err(foreign()),
        };
        Ok(Some(self.journal(placement)?.submit(vec![entry]).await?))
    }

    fn open_carried(&self, sealed: &[u8]) -> Result<SequencedRecord, OpenError> {
        let opened = self.shared.keyring.open_record(BytesMut::from(sealed))?;
        record::decode(&opened.bytes).map(|(record, _)| record).map_err(|_| OpenError::Rejected)
    }

    /// Keeps others from ending what a record says while it is on its way. Tombstones and settings
    /// need no care: applied again they change nothing.
    async fn reserve_carried(&self, record: &Record) -> Result<Vec<Reservation>, PutError> {
        let reservations = &self.shared.reservations;
        let reservation = match record {
            Record::Object(it) => self.in_time(reservations.alone(it.bucket, &it.key)).await?,
            Record::DeleteMarker(it) => {
                self.in_time(reservations.alone(it.bucket, &it.key)).await?
            }
            Record::Upload(it) => {
                self.in_time(reservations.alone(it.bucket, &upload_key(it.upload))).await?
            }
            Record::Part(it) => {
                self.in_time(reservations.shared(it.bucket, &upload_key(it.upload))).await?
            }
            _ => return Ok(Vec::new()),
        };
        Ok(vec![reservation])
    }

    /// Says durably that packs say nothing any more, each given as a run of its own. From then on
    /// they are garbage.
    ///
    /// # Errors
    /// [`PutError::Unavailable`] when one of them still counts, is the last of its chain, or
    /// something is below its guarantee, unless they all are themselves: nothing is retired then.
    /// Else see [`PutError`].
    pub async fn retire(&self, packs: Vec<RetiredRun>) -> Result<(), PutError> {
        let not_now = |reason: &str| Err(PutError::Unavailable(reason.to_owned()));
        let shared = &self.shared;
        let anything_below = shared.catalog.counts().await?.below_guarantee > 0;
        let chains = shared.catalog.chains().await?;
        for run in &packs {
            let blob = run.end.blob;
            if chains.iter().any(|state| state.link.blob == blob) {
                return not_now("a pack is the last of its chain");
            }
            // What it says stands behind others in the chains now, and would be lost with them.
            if anything_below {
                let row = shared.catalog.blob(blob).await?;
                if row.is_none_or(|row| row.state != BlobState::BelowGuarantee) {
                    return not_now("something is below its guarantee");
                }
            }
            let Some(contents) = shared.catalog.pack_contents(blob).await? else {
                return not_now("what stands in a pack is not known");
            };
            if contents.iter().any(|packed| packed.need == Need::Record) {
                return not_now("a pack has records that count");
            }
        }
        let blobs: Vec<BlobId> = packs.iter().map(|run| run.end.blob).collect();
        let mut known = Vec::new();
        for chain in chains.iter().map(|state| state.chain) {
            if packs.iter().any(|run| run.chain == chain) {
                known.extend(shared.catalog.retired(chain).await?);
            }
        }
        for runs in join_runs(packs, known).chunks(RETIRED_RUNS_MAX) {
            let record = Record::Retired(RetiredRecord { runs: runs.to_vec() });
            let entry = self.prepare(RecordScope::System, record, b"", Vec::new()).await?;
            self.commit_setting(entry).await?;
        }
        for blob in blobs {
            shared.blobs.remove(&blob);
        }
        Ok(())
    }

    /// Says durably that the bytes of the extent which objects name by `extent` are in another blob
    /// now: whole, and placed as `policy` wants.
    ///
    /// # Errors
    /// See [`PutError`]. After [`PutError::Unavailable`] it may turn out to have happened.
    pub async fn redisperse(
        &self,
        extent: BlobId,
        to: Extent,
        policy: String,
    ) -> Result<(), PutError> {
        // Held by the record, too: one that nobody acknowledged may still turn out to be written.
        let holds = vec![self.shared.in_flight.hold(to.blob)];
        let record = Record::Redispersed(RedispersedRecord { extent, to, policy });
        let entry = self.prepare(RecordScope::System, record, b"", Vec::new()).await?;
        self.commit_setting(Entry { holds, ..entry }).await?;
        self.shared.blobs.remove(&extent);
        Ok(())
    }

    /// Forgets ends (tombstones, ends of uploads) that no pack needs any more; how many. None while
    /// a pack that nobody acknowledged may still turn up.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn drop_ends(&self) -> Result<u64, PutError> {
        if !self.fence().await {
            return Ok(0);
        }
        // A number of its own, so that one that is settled is known even when nobody writes.
        let ticket = self.shared.seqs.next(&*self.shared.catalog).await?;
        let settled = self.shared.seqs.settled();
        drop(ticket);
        let mut dropped = 0;
        loop {
            match self.shared.catalog.drop_ends(settled).await? {
                0 => return Ok(dropped),
                more => dropped += more,
            }
        }
    }
}

/// Joins runs of a chain that follow each other, with those that are known already: the fewer, the
/// less there is to be told for ever. Known ones that none of `runs` joins are left out.
fn join_runs(runs: Vec<RetiredRun>, known: Vec<RetiredRun>) -> Vec<RetiredRun> {
    let mut all: Vec<(RetiredRun, bool)> = known.into_iter().map(|run| (run, false)).collect();
    all.extend(runs.into_iter().map(|run| (run, true)));
    all.sort_by_key(|(run, _)| (run.chain, run.first));
    let mut joined: Vec<(RetiredRun, bool)> = Vec::with_capacity(all.len());
    for (run, is_new) in all {
        match joined.last_mut() {
            Some((last, has_new)) if last.chain == run.chain && last.end == run.before => {
                (last.last, last.end) = (run.last, run.end);
                *has_new |= is_new;
            }
            _ => joined.push((run, is_new)),
        }
    }
    joined.into_iter().filter_map(|(run, is_new)| is_new.then_some(run)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use havre_model::ChainId;
    use havre_model::record::PackEnd;

    fn end(number: u8) -> PackEnd {
        PackEnd { blob: BlobId::from_bytes([number; 16]), hash: [number; 32] }
    }

    /// Packs of one chain, each of which names the one before it by its number here.
    fn run(chain: u8, before: u8, first: u8, last: u8) -> RetiredRun {
        let (first_number, last_number) = (u64::from(first), u64::from(last));
        let chain = ChainId::from_bytes([chain; 16]);
        RetiredRun {
            chain,
            first: first_number,
            last: last_number,
            before: end(before),
            end: end(last),
        }
    }

    #[track_caller]
    fn check(runs: &[RetiredRun], known: &[RetiredRun], joined: &[RetiredRun]) {
        assert_eq!(join_runs(runs.to_vec(), known.to_vec()), joined);
    }

    #[test]
    fn runs_that_follow_each_other_become_one() {
        // Number 4 was never acknowledged: 5 names 3.
        check(&[run(1, 3, 5, 5), run(1, 2, 3, 3)], &[], &[run(1, 2, 3, 5)]);
        check(&[run(1, 2, 3, 3)], &[run(1, 0, 1, 2), run(1, 3, 4, 9)], &[run(1, 0, 1, 9)]);
    }

    #[test]
    fn runs_apart_and_of_other_chains_stay_apart() {
        check(&[run(1, 1, 2, 2), run(1, 3, 4, 4)], &[], &[run(1, 1, 2, 2), run(1, 3, 4, 4)]);
        check(&[run(2, 2, 3, 3)], &[run(1, 0, 1, 2)], &[run(2, 2, 3, 3)]);
    }
}
