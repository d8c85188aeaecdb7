//! Applies a pack: each of its records by "highest seq wins", then the chain's progress.
//!
//! **Invariant.** The rows that a set of packs leaves do not depend on the order in which they are
//! applied, nor on how often, as long as nothing that may still come is below what was forgotten:
//! live the caller says what is settled, in a recovery nothing is forgotten before its end.
//!
//! **Deliberately absent.** Reading packs and verifying their chain: `engine` did both.
//!
//! **Crash.** One transaction: all records and the chain's new number, or neither.

use super::change::Change;
use super::stored::{Result, execute, exists, one, present, seq_column};
use super::{blobs, chains, packs, tenants, uploads, versions};
use crate::{AppliedPack, AppliedRecord, CatalogError, PackPlace};
use havre_model::record::{Record, SequencedRecord};
use havre_model::{BucketId, Seq};
use rusqlite::Connection;

const FORGET_TOMBSTONES: &str = "DELETE FROM tombstone WHERE seq < $1";
const FORGET_UPLOADS: &str = "DELETE FROM ended_upload WHERE seq < $1";
const RAISE_SEQ_LIMIT: &str = "UPDATE state SET seq_limit = $1 WHERE seq_limit < $1";
const SEQ_LIMIT: &str = "SELECT seq_limit FROM state";
const SET_RECOVERING: &str = "UPDATE state SET recovering = $1";
const ANY_APPLIED: &str = "SELECT 1 FROM chain WHERE number > 0 LIMIT 1";

/// Applies `pack` unless it is applied already.
pub(super) fn apply(change: &mut Change<'_>, pack: &AppliedPack) -> Result<()> {
    if !chains::advance(change, pack)? {
        return Ok(());
    }
    change.policy = chains::policy(change.conn, pack.chain)?;
    change.order = pack.order;
    if packs::is_retired(change, pack.chain, pack.number)? {
        return blobs::register_retired(change, pack);
    }
    blobs::register_pack(change, pack)?;
    packs::list(change, pack)?;
    for applied in &pack.records {
        let (offset, len) = (applied.offset, applied.len);
        let place = PackPlace { blob: pack.pack.blob(), offset, len };
        if !apply_record(change, pack, applied, place)? {
            let SequencedRecord { seq, record } = &applied.record;
            packs::bury_new(change, *seq, &place, record)?;
        }
    }
    if let Some(last) = last_seq(pack)? {
        execute(change.conn, RAISE_SEQ_LIMIT, [last + 1])?;
    }
    if !change.recovering && pack.settled > Seq::default() {
        forget_ends(change.conn, seq_column(pack.settled)?)?;
    }
    Ok(())
}

/// The highest sequence number of a pack, its own order included.
pub(super) fn last_seq(pack: &AppliedPack) -> Result<Option<i64>> {
    let seqs = pack.records.iter().map(|applied| applied.record.seq);
    let last = seqs.chain([pack.order]).max().filter(|last| *last > Seq::default());
    last.map(seq_column).transpose()
}

/// Applies a record; whether it counts where it stands in this pack.
fn apply_record(
    change: &mut Change<'_>,
    pack: &AppliedPack,
    applied: &AppliedRecord,
    place: PackPlace,
) -> Result<bool> {
    let seq = applied.record.seq;
    let below = pack.below_guarantee;
    let record = &applied.record.record;
    let counts = match record {
        Record::Object(object) => {
            let counts = versions::put_object(change, seq, place, object, below)?;
            if let Some(upload) = object.completes {
                uploads::end(change, seq, upload)?;
                if !counts && !change.bucket_ended(object.bucket)? {
                    packs::place_completed(change, seq_column(seq)?, &place, object.bucket)?;
                }
            }
            return Ok(counts);
        }
        Record::DeleteMarker(marker) => return versions::put_marker(change, seq, place, marker),
        _ => match packs::copy(change, seq, &place)? {
            Some(counts) => return Ok(counts),
            None => apply_other(change, seq, record, below)?,
        },
    };
    if counts {
        packs::place(change, seq, &place, record)?;
    }
    Ok(counts)
}

/// Applies a record that is no version and does not count yet; whether it does now.
fn apply_other(change: &mut Change<'_>, seq: Seq, record: &Record, below: bool) -> Result<bool> {
    match record {
        Record::Tenant(record) => tenants::put_tenant(change, seq, record),
        Record::Bucket(record) => tenants::put_bucket(change, seq, record),
        Record::BucketDeleted(record) => end_bucket(change, seq, record.bucket).map(|()| true),
        Record::Tombstone(record) => versions::end_version(change, seq, record),
        Record::Upload(record) => uploads::begin(change, seq, record),
        Record::Part(record) => uploads::put_part(change, seq, record, below),
        Record::UploadAborted(record) => {
            uploads::end(change, seq, record.upload)?;
            Ok(!change.bucket_ended(record.bucket)?)
        }
        Record::Exclusion(record) => tenants::put_exclusion(change, seq, record),
        Record::Retired(record) => packs::retire(change, seq, record),
        Record::Redispersed(record) => blobs::redisperse(change, seq, record, below),
        Record::Object(_) | Record::DeleteMarker(_) => Ok(false),
    }
}

/// A bucket's id never comes back: its end is final, whatever the seq of what comes late.
fn end_bucket(change: &mut Change<'_>, seq: Seq, bucket: BucketId) -> Result<()> {
    tenants::end_bucket(change, bucket)?;
    uploads::end_bucket(change, seq, bucket)?;
    versions::end_bucket(change, bucket)?;
    packs::unplace_ends(change, bucket)
}

fn forget_ends(conn: &Connection, below: i64) -> Result<()> {
    execute(conn, FORGET_TOMBSTONES, [below])?;
    execute(conn, FORGET_UPLOADS, [below])?;
    Ok(())
}

/// The sequence number that the next block begins with, at least `next`, after raising the limit by
/// `block`.
pub(super) fn extend_seqs(conn: &Connection, next: i64, block: i64) -> Result<i64> {
    let limit = one(conn, SEQ_LIMIT, [], |row| Ok(row.get::<_, i64>(0)?))?;
    let limit = present(limit, "the state")?.max(next);
    let raised = limit
        .checked_add(block)
        .filter(|raised| *raised < i64::MAX)
        .ok_or(CatalogError::OutOfRange("sequence number"))?;
    execute(conn, RAISE_SEQ_LIMIT, [raised])?;
    Ok(raised)
}

/// See [`crate::Catalog::begin_recovery`].
pub(super) fn begin_recovery(change: &mut Change<'_>) -> Result<()> {
    if change.recovering {
        return Ok(());
    }
    if exists(change.conn, ANY_APPLIED, [])? {
        return Err(CatalogError::NotEmpty);
    }
    execute(change.conn, SET_RECOVERING, [1])?;
    Ok(())
}

/// See [`crate::Catalog::finish_recovery`].
pub(super) fn finish_recovery(change: &mut Change<'_>) -> Result<()> {
    if !change.recovering {
        return Err(CatalogError::NotRecovering);
    }
    uploads::drop_orphans(change)?;
    forget_ends(change.conn, i64::MAX)?;
    execute(change.conn, SET_RECOVERING, [0])?;
    Ok(())
}
