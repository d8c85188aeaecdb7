//! Which records of a pack still count, where each stands, and which packs are retired.
//!
//! **Invariant.** A record that counts stands in one place: in the pack with the highest order of
//! those that have it. What a pack holds beside is dead, and counted as such. A retired pack says
//! nothing, whether the record of its retirement was applied before it or after it.
//!
//! **Deliberately absent.** Which packs are worth it (`keeper`), and writing records again
//! (`engine`).
//!
//! **Crash.** Each function is part of its caller's transaction.

use super::change::Change;
use super::stored::{
    Result, all, execute, exists, limit_column, one, pack, seq_column, seq_value, unpack,
};
use super::{blobs, uploads, versions};
use crate::{AppliedPack, Need, PackPlace, PackRow, PackedRecord};
use havre_model::record::{PackEnd, Record, RetiredRecord, RetiredRun};
use havre_model::{BlobId, BucketId, ChainId, Seq, UploadId};
use rusqlite::{Connection, Row, params};

const ORDER: &str = "SELECT pack_order FROM blob WHERE blob = $1";
const BURY: &str = "UPDATE blob SET dead = dead + $1 WHERE blob = $2";
const BURY_BOUND: &str = "UPDATE blob SET dead = dead + $1, oldest_dead = \
     CASE WHEN oldest_dead < $2 THEN oldest_dead ELSE $2 END WHERE blob = $3";
const PLACED: &str = "SELECT pack, pack_offset, pack_len, kind FROM placed WHERE seq = $1";
const MANIFEST: &str = "SELECT pack, pack_offset, pack_len FROM manifest WHERE seq = $1";
const PLACE: &str = "INSERT INTO placed (seq, kind, pack, pack_offset, pack_len, subject) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (seq) DO NOTHING";
const MOVE_PLACED: &str =
    "UPDATE placed SET pack = $1, pack_offset = $2, pack_len = $3 WHERE seq = $4";
const MOVE_MANIFEST: &str =
    "UPDATE manifest SET pack = $1, pack_offset = $2, pack_len = $3 WHERE seq = $4";
const UNPLACE: &str = "DELETE FROM placed WHERE seq = $1 RETURNING pack, pack_len, kind";
const UNPLACE_ONLY: &str = "DELETE FROM placed WHERE seq = $1";
const SUBJECT: &str = "SELECT pack, kind, subject FROM placed WHERE seq = $1";
const ENDS_OF_BUCKET: &str = "SELECT seq FROM placed WHERE subject = $1";
const OLDEST_DEAD: &str = "SELECT min(oldest_dead) FROM blob WHERE oldest_dead IS NOT NULL";
const ENDS: &str = "SELECT seq, pack, pack_len, kind FROM placed \
     WHERE seq < $1 AND kind IN (4, 8, 64) ORDER BY seq LIMIT $2";
const PUT_CONTENTS: &str = "INSERT INTO pack_contents (blob, contents) VALUES ($1, $2)";
const CONTENTS: &str = "SELECT contents FROM pack_contents WHERE blob = $1";
const DROP_CONTENTS: &str = "DELETE FROM pack_contents WHERE blob = $1";
const WIDER: &str = "SELECT 1 FROM retired WHERE chain = $1 AND first <= $2 AND last >= $3";
const NARROWER: &str =
    "DELETE FROM retired WHERE chain = $1 AND first >= $2 AND last <= $3 RETURNING seq";
const TOLD_BY: &str = "SELECT 1 FROM retired WHERE seq = $1 LIMIT 1";
const RETIRE: &str = "INSERT INTO retired \
     (chain, first, last, before_blob, before_hash, end_blob, end_hash, seq) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const RUNS: &str = "SELECT chain, first, last, before_blob, before_hash, end_blob, end_hash \
     FROM retired WHERE chain = $1 ORDER BY first";
const PACKS_IN_RUN: &str = "SELECT blob FROM blob \
     WHERE chain = $1 AND number >= $2 AND number <= $3 AND needs > 0";

/// Ends that are forgotten in one step.
const ENDS_PAGE: usize = 4096;

/// The kind of a completion whose object is gone: what is left of it is the end of its upload.
const COMPLETED: i64 = 64;
const UPLOAD: i64 = 6;
const PART: i64 = 7;

/// The kind of a record: the number of its variant.
const fn kind_of(record: &Record) -> i64 {
    match record {
        Record::Tenant(_) => 0,
        Record::Bucket(_) => 1,
        Record::BucketDeleted(_) => 2,
        Record::Object(_) => 3,
        Record::Tombstone(_) => 4,
        Record::DeleteMarker(_) => 5,
        Record::Upload(_) => UPLOAD,
        Record::Part(_) => PART,
        Record::UploadAborted(_) => 8,
        Record::Exclusion(_) => 9,
        Record::Retired(_) => 10,
        Record::Redispersed(_) => 11,
    }
}

const fn is_version(kind: i64) -> bool {
    matches!(kind, 3 | 5)
}

/// Whether a dead record of this kind would come back, were the end forgotten that keeps it dead.
const fn is_bound(kind: i64) -> bool {
    matches!(kind, 3 | 5 | UPLOAD | PART)
}

/// A record in the list of a pack's contents: kind, seq, offset and length.
type Listed = (u8, u64, u64, u32);

/// Writes down what stands in a pack.
pub(super) fn list(change: &Change<'_>, pack_of: &AppliedPack) -> Result<()> {
    let listed = pack_of.records.iter().map(|applied| {
        let kind = u8::try_from(kind_of(&applied.record.record)).unwrap_or(u8::MAX);
        (kind, applied.record.seq.value(), applied.offset, applied.len)
    });
    let listed: Vec<Listed> = listed.collect();
    execute(change.conn, PUT_CONTENTS, params![pack_of.pack.blob().as_bytes(), pack(&listed)?])?;
    Ok(())
}

fn listed(conn: &Connection, blob: BlobId) -> Result<Option<Vec<Listed>>> {
    one(conn, CONTENTS, [blob.as_bytes()], |row| {
        unpack(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)
    })
}

fn read_place(row: &Row<'_>) -> Result<PackPlace> {
    Ok(PackPlace {
        blob: BlobId::from_bytes(row.get(0)?),
        offset: row.get::<_, i64>(1)?.cast_unsigned(),
        len: row.get(2)?,
    })
}

/// Where the record of this number counts.
pub(super) fn place_of(conn: &Connection, seq: Seq) -> Result<Option<PackPlace>> {
    let seq = seq_column(seq)?;
    match one(conn, MANIFEST, [seq], read_place)? {
        None => one(conn, PLACED, [seq], read_place),
        place => Ok(place),
    }
}

/// Bytes of a record at `place` do not count any more.
fn bury(change: &Change<'_>, place: &PackPlace, seq: i64, kind: i64) -> Result<()> {
    let (blob, len) = (place.blob.as_bytes(), i64::from(place.len));
    match is_bound(kind) {
        true => execute(change.conn, BURY_BOUND, params![len, seq, blob])?,
        false => execute(change.conn, BURY, params![len, blob])?,
    };
    Ok(())
}

/// A record that was just applied does not count.
pub(super) fn bury_new(
    change: &Change<'_>,
    seq: Seq,
    place: &PackPlace,
    record: &Record,
) -> Result<()> {
    bury(change, place, seq_column(seq)?, kind_of(record))
}

/// A version that counted is gone.
pub(super) fn bury_version(change: &Change<'_>, seq: i64, place: &PackPlace) -> Result<()> {
    bury(change, place, seq, 3)
}

/// Of a completion whose object does not count the end of its upload does.
pub(super) fn place_completed(
    change: &Change<'_>,
    seq: i64,
    place: &PackPlace,
    bucket: BucketId,
) -> Result<()> {
    put(change, seq, COMPLETED, place, Some(bucket.as_bytes().to_vec()))
}

/// The ends in a bucket that ended itself do not count any more: its own end is kept for good.
pub(super) fn unplace_ends(change: &Change<'_>, bucket: BucketId) -> Result<()> {
    let ends = all(change.conn, ENDS_OF_BUCKET, [bucket.as_bytes()], |row| Ok(row.get(0)?))?;
    for seq in ends {
        match one(change.conn, PLACED, [seq], |row| Ok(row.get::<_, i64>(3)?))? {
            // Its bytes were counted when its object went.
            Some(COMPLETED) => drop(execute(change.conn, UNPLACE_ONLY, [seq])?),
            _ => unplace(change, seq)?,
        }
    }
    Ok(())
}

/// Notes where a record counts that is no version.
pub(super) fn place(
    change: &Change<'_>,
    seq: Seq,
    place: &PackPlace,
    record: &Record,
) -> Result<()> {
    let subject = match record {
        Record::Upload(upload) => Some(upload.upload.as_bytes().to_vec()),
        Record::Part(part) => {
            let number = part.part.number.to_be_bytes();
            Some([&part.upload.as_bytes()[..], &number].concat())
        }
        Record::Tombstone(end) => Some(end.bucket.as_bytes().to_vec()),
        Record::UploadAborted(end) => Some(end.bucket.as_bytes().to_vec()),
        _ => None,
    };
    put(change, seq_column(seq)?, kind_of(record), place, subject)
}

fn put(
    change: &Change<'_>,
    seq: i64,
    kind: i64,
    place: &PackPlace,
    subject: Option<Vec<u8>>,
) -> Result<()> {
    let (blob, offset) = (place.blob.as_bytes(), place.offset.cast_signed());
    execute(change.conn, PLACE, params![seq, kind, blob, offset, place.len, subject])?;
    Ok(())
}

/// A record that is no version does not count any more.
pub(super) fn unplace(change: &Change<'_>, seq: i64) -> Result<()> {
    let place = one(change.conn, UNPLACE, [seq], |row| {
        let place =
            PackPlace { blob: BlobId::from_bytes(row.get(0)?), offset: 0, len: row.get(1)? };
        Ok((place, row.get::<_, i64>(2)?))
    })?;
    place.map_or(Ok(()), |(place, kind)| bury(change, &place, seq, kind))
}

/// Whether the pack of this order has the later copy of what stands in `other` too.
fn is_later(conn: &Connection, order: Seq, other: BlobId) -> Result<bool> {
    let other =
        one(conn, ORDER, [other.as_bytes()], |row| Ok(row.get::<_, Option<i64>>(0)?))?.flatten();
    let order = order.value().cast_signed();
    Ok(other.is_none_or(|other| other < order))
}

/// A version that counts is applied again, as a copy; whether it counts there now.
pub(super) fn copy_version(change: &Change<'_>, seq: i64, place: &PackPlace) -> Result<bool> {
    let known = one(change.conn, MANIFEST, [seq], read_place)?;
    copied(change, seq, place, known.map(|known| (known, 3)), MOVE_MANIFEST)
}

/// Whether a record that is no version counts already, and if so, whether it counts at `place` now;
/// `None` when it does not count yet.
pub(super) fn copy(change: &Change<'_>, seq: Seq, place: &PackPlace) -> Result<Option<bool>> {
    let seq = seq_column(seq)?;
    let known = one(change.conn, PLACED, [seq], |row| Ok((read_place(row)?, row.get(3)?)))?;
    // What is left of a completion says nothing about the object's record.
    match known {
        None | Some((_, COMPLETED)) => Ok(None),
        known => copied(change, seq, place, known, MOVE_PLACED).map(Some),
    }
}

fn copied(
    change: &Change<'_>,
    seq: i64,
    place: &PackPlace,
    known: Option<(PackPlace, i64)>,
    to_move: &str,
) -> Result<bool> {
    let Some((known, kind)) = known else { return Ok(false) };
    if known.blob == place.blob {
        return Ok(known == *place);
    }
    if !is_later(change.conn, change.order, known.blob)? {
        return Ok(false);
    }
    let (blob, offset) = (place.blob.as_bytes(), place.offset.cast_signed());
    execute(change.conn, to_move, params![blob, offset, place.len, seq])?;
    bury(change, &known, seq, kind)?;
    Ok(true)
}

/// See [`crate::Catalog::drop_ends`].
pub(super) fn drop_ends(change: &Change<'_>, settled: Seq) -> Result<u64> {
    if change.recovering {
        return Ok(0);
    }
    let oldest = one(change.conn, OLDEST_DEAD, [], |row| Ok(row.get::<_, Option<i64>>(0)?))?;
    let settled = seq_column(settled)?;
    // An end that is a dead record of the pack with the oldest one keeps nothing from coming back
    // but itself.
    let below = oldest.flatten().map_or(settled, |oldest| settled.min(oldest.saturating_add(1)));
    let ends = all(change.conn, ENDS, params![below, limit_column(ENDS_PAGE)], |row| {
        let (blob, len) = (BlobId::from_bytes(row.get(1)?), row.get(2)?);
        let place = PackPlace { blob, offset: 0, len };
        Ok((row.get::<_, i64>(0)?, place, row.get::<_, i64>(3)?))
    })?;
    for (seq, place, kind) in &ends {
        execute(change.conn, UNPLACE_ONLY, [seq])?;
        // The bytes of a completion were counted when its object went.
        if *kind != COMPLETED {
            bury(change, place, *seq, *kind)?;
        }
    }
    Ok(ends.len() as u64)
}

/// See [`crate::Catalog::pack_contents`].
pub(super) fn contents(conn: &Connection, blob: BlobId) -> Result<Option<Vec<PackedRecord>>> {
    let Some(listed) = listed(conn, blob)? else { return Ok(None) };
    let mut contents = Vec::with_capacity(listed.len());
    for (kind, seq, offset, len) in listed {
        let seq = Seq::new(seq);
        let here = PackPlace { blob, offset, len };
        let need = need(conn, i64::from(kind), seq, &here)?;
        contents.push(PackedRecord { seq, offset, len, need });
    }
    Ok(Some(contents))
}

fn need(conn: &Connection, kind: i64, seq: Seq, here: &PackPlace) -> Result<Need> {
    let seq = seq_column(seq)?;
    if is_version(kind) && one(conn, MANIFEST, [seq], read_place)?.as_ref() == Some(here) {
        return Ok(Need::Record);
    }
    let placed = one(conn, PLACED, [seq], |row| Ok((read_place(row)?, row.get::<_, i64>(3)?)))?;
    Ok(match placed {
        Some((place, COMPLETED)) if place == *here => Need::End,
        Some((place, _)) if place == *here => Need::Record,
        _ => Need::Nothing,
    })
}

/// Whether the pack was retired.
pub(super) fn is_retired(change: &Change<'_>, chain: ChainId, number: u64) -> Result<bool> {
    let number = number.cast_signed();
    exists(change.conn, WIDER, params![chain.as_bytes(), number, number])
}

/// Applies the retirement of packs; whether any of it is news.
pub(super) fn retire(change: &mut Change<'_>, seq: Seq, record: &RetiredRecord) -> Result<bool> {
    let seq = seq_column(seq)?;
    let mut told = Vec::new();
    for run in &record.runs {
        let (chain, first, last) =
            (run.chain.as_bytes(), run.first.cast_signed(), run.last.cast_signed());
        if exists(change.conn, WIDER, params![chain, first, last])? {
            continue;
        }
        let replaced = params![chain, first, last];
        told.extend(all(change.conn, NARROWER, replaced, |row| Ok(row.get::<_, i64>(0)?))?);
        let (before, end) = (run.before, run.end);
        let (before_blob, end_blob) = (before.blob.as_bytes(), end.blob.as_bytes());
        let row = params![chain, first, last, before_blob, before.hash, end_blob, end.hash, seq];
        execute(change.conn, RETIRE, row)?;
        let packs = all(change.conn, PACKS_IN_RUN, params![chain, first, last], |row| {
            Ok(BlobId::from_bytes(row.get(0)?))
        })?;
        for blob in packs {
            empty(change, blob)?;
            blobs::retire(change, blob)?;
        }
    }
    told.sort_unstable();
    told.dedup();
    for told in told {
        if !exists(change.conn, TOLD_BY, [told])? {
            unplace(change, told)?;
        }
    }
    exists(change.conn, TOLD_BY, [seq])
}

/// Takes back what a pack said that is retired. Whatever of it counts is said again by another
/// pack; applied before that one, or after it, the outcome is the same.
fn empty(change: &mut Change<'_>, blob: BlobId) -> Result<()> {
    for (kind, seq, offset, len) in listed(change.conn, blob)?.unwrap_or_default() {
        let here = PackPlace { blob, offset, len };
        let seq = seq_column(Seq::new(seq))?;
        if is_version(i64::from(kind))
            && one(change.conn, MANIFEST, [seq], read_place)? == Some(here)
        {
            versions::take_back(change, seq, i64::from(kind) != 3)?;
        }
        let placed = one(change.conn, SUBJECT, [seq], |row| {
            let (pack, kind) = (BlobId::from_bytes(row.get(0)?), row.get::<_, i64>(1)?);
            Ok((pack, kind, row.get::<_, Option<Vec<u8>>>(2)?))
        })?;
        let Some((_, kind, subject)) = placed.filter(|(pack, ..)| *pack == blob) else { continue };
        match (kind, subject.as_deref().and_then(read_subject)) {
            (UPLOAD, Some((upload, _))) => uploads::take_back(change, upload)?,
            (PART, Some((upload, Some(number)))) => {
                uploads::take_back_part(change, upload, number)?;
            }
            _ => {}
        }
        execute(change.conn, UNPLACE_ONLY, [seq])?;
    }
    execute(change.conn, DROP_CONTENTS, [blob.as_bytes()])?;
    Ok(())
}

/// The upload, and the part's number, that a row speaks of.
fn read_subject(subject: &[u8]) -> Option<(UploadId, Option<u16>)> {
    let (upload, number) = subject.split_first_chunk::<16>()?;
    let number = number.first_chunk::<2>().map(|number| u16::from_be_bytes(*number));
    Some((UploadId::from_bytes(*upload), number))
}

/// See [`crate::Catalog::retired`].
pub(super) fn runs(conn: &Connection, chain: ChainId) -> Result<Vec<RetiredRun>> {
    let end = |row: &Row<'_>, at: usize| -> Result<PackEnd> {
        Ok(PackEnd { blob: BlobId::from_bytes(row.get(at)?), hash: row.get(at + 1)? })
    };
    all(conn, RUNS, [chain.as_bytes()], |row| {
        Ok(RetiredRun {
            chain: ChainId::from_bytes(row.get(0)?),
            first: row.get::<_, i64>(1)?.cast_unsigned(),
            last: row.get::<_, i64>(2)?.cast_unsigned(),
            before: end(row, 3)?,
            end: end(row, 5)?,
        })
    })
}

/// See [`crate::Catalog::packs`].
pub(super) fn packs(
    conn: &Connection,
    after: Option<(ChainId, u64)>,
    limit: usize,
) -> Result<Vec<PackRow>> {
    let (chain, number) = match &after {
        Some((chain, number)) => (&chain.as_bytes()[..], number.cast_signed()),
        None => (&[][..], 0),
    };
    all(conn, blobs::PACKS, params![chain, number, limit_column(limit)], |row| {
        Ok(PackRow {
            blob: blobs::read(row)?,
            dead_bytes: row.get::<_, i64>(16)?.cast_unsigned(),
            order: row.get::<_, Option<i64>>(17)?.map(seq_value),
            is_listed: row.get(18)?,
        })
    })
}
