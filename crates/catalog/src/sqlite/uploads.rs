//! Multipart uploads in progress and their parts.
//!
//! **Invariant.** An upload that was completed or aborted has no rows, and what comes late for it
//! is garbage at once. A part's row needs its extents; when it goes, they are garbage unless the
//! completed object needs them.
//!
//! **Deliberately absent.** Choosing the parts of the object: `engine` does and writes its record.
//!
//! **Crash.** Each function is part of its caller's transaction.

use super::blobs;
use super::change::Change;
use super::packs;
use super::stored::{
    Result, all, execute, limit_column, one, pack, seq_column, seq_value, text, unpack,
};
use crate::listing::{Bounds, Pager, Step};
use crate::{PartRow, UploadEntry, UploadRow, UploadsPage, UploadsQuery};
use havre_model::record::{PartRecord, UploadRecord};
use havre_model::{BucketId, Seq, UploadId};
use rusqlite::{Connection, Row, params};

const UPLOAD_IN: &str = "SELECT seq, record FROM upload WHERE upload = $1 AND bucket = $2";
const UPLOAD_SEQ: &str = "SELECT seq FROM upload WHERE upload = $1";
const MARKER_SEQ: &str = "SELECT seq FROM upload WHERE upload = $1 AND bucket = $2 AND key = $3";
const UPLOADS: &str = "SELECT key, seq, record FROM upload \
     WHERE bucket = $1 AND key >= $2 AND key < $3 ORDER BY key, seq";
const PUT: &str = "INSERT INTO upload (upload, bucket, key, seq, record) \
     VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (upload) DO UPDATE SET seq = excluded.seq, record = excluded.record";
const END: &str = "INSERT INTO ended_upload (upload, seq) VALUES ($1, $2) ON CONFLICT (upload) \
     DO UPDATE SET seq = excluded.seq WHERE ended_upload.seq < excluded.seq";
const DELETE: &str = "DELETE FROM upload WHERE upload = $1 RETURNING seq";
const FIRST_IN_BUCKET: &str = "SELECT upload FROM upload WHERE bucket = $1 LIMIT 1";
const PART: &str = "SELECT seq, record FROM part WHERE upload = $1 AND number = $2";
const PARTS: &str =
    "SELECT seq, record FROM part WHERE upload = $1 AND number > $2 ORDER BY number LIMIT $3";
const PUT_PART: &str = "INSERT INTO part (upload, number, seq, record) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (upload, number) DO UPDATE SET seq = excluded.seq, record = excluded.record";
const TAKE_PARTS: &str = "DELETE FROM part WHERE upload = $1 RETURNING seq, record";
const TAKE_PART: &str = "DELETE FROM part WHERE upload = $1 AND number = $2 RETURNING seq, record";
const ORPHANS: &str = "SELECT DISTINCT upload FROM part \
     WHERE NOT EXISTS (SELECT 1 FROM upload WHERE upload.upload = part.upload)";

/// Applies the begin of an upload; whether it counts.
pub(super) fn begin(change: &mut Change<'_>, seq: Seq, record: &UploadRecord) -> Result<bool> {
    let seq = seq_column(seq)?;
    let id = params![record.upload.as_bytes()];
    let known = one(change.conn, UPLOAD_SEQ, id, |row| Ok(row.get::<_, i64>(0)?))?;
    match known {
        Some(known) if known >= seq => return Ok(known == seq),
        Some(known) => packs::unplace(change, known)?,
        None if change.bucket_ended(record.bucket)? || change.upload_ended(record.upload)? => {
            return Ok(false);
        }
        None => change.totals.uploads += 1,
    }
    execute(
        change.conn,
        PUT,
        params![
            record.upload.as_bytes(),
            record.bucket.as_bytes(),
            record.key.as_str().as_bytes(),
            seq,
            pack(record)?
        ],
    )?;
    Ok(true)
}

/// Applies a part; whether it counts. Live, a part without its upload came after the upload's end;
/// in a recovery its upload may still come.
pub(super) fn put_part(
    change: &mut Change<'_>,
    seq: Seq,
    record: &PartRecord,
    below_guarantee: bool,
) -> Result<bool> {
    let (upload, part) = (record.upload, &record.part);
    change.bucket = Some(record.bucket);
    let seq = seq_column(seq)?;
    let known = one(change.conn, UPLOAD_SEQ, params![upload.as_bytes()], |_| Ok(()))?.is_some();
    let wanted = known || change.recovering;
    if !wanted || change.bucket_ended(record.bucket)? {
        return blobs::discard(change, [part], below_guarantee).map(|()| false);
    }
    let slot = params![upload.as_bytes(), part.number];
    let holder = one(change.conn, PART, slot, read_part)?;
    match &holder {
        Some(holder) if seq_column(holder.seq)? == seq => return Ok(true),
        Some(holder) if seq_column(holder.seq)? > seq => {
            return blobs::discard(change, [part], below_guarantee).map(|()| false);
        }
        _ => {}
    }
    blobs::need(change, [part], below_guarantee)?;
    match holder {
        Some(holder) => {
            blobs::release(change, [&holder.record.part])?;
            packs::unplace(change, seq_column(holder.seq)?)?;
        }
        None => change.totals.parts += 1,
    }
    let row = params![upload.as_bytes(), part.number, seq, pack(record)?];
    execute(change.conn, PUT_PART, row)?;
    Ok(true)
}

/// Applies the end of an upload, by completion or not. The object that it completed to is applied
/// before, so that its extents stay needed.
pub(super) fn end(change: &mut Change<'_>, seq: Seq, upload: UploadId) -> Result<()> {
    execute(change.conn, END, params![upload.as_bytes(), seq_column(seq)?])?;
    if let Some(begun) = take(change, upload)? {
        packs::unplace(change, begun)?;
    }
    drop_parts(change, upload)
}

/// Removes an upload's row, and returns its record's number.
fn take(change: &mut Change<'_>, upload: UploadId) -> Result<Option<i64>> {
    let begun = one(change.conn, DELETE, params![upload.as_bytes()], |row| Ok(row.get(0)?))?;
    change.totals.uploads -= i64::from(begun.is_some());
    Ok(begun)
}

fn drop_parts(change: &mut Change<'_>, upload: UploadId) -> Result<()> {
    let parts = all(change.conn, TAKE_PARTS, params![upload.as_bytes()], read_part)?;
    change.totals.parts -= i64::try_from(parts.len()).unwrap_or(i64::MAX);
    for part in &parts {
        packs::unplace(change, seq_column(part.seq)?)?;
    }
    blobs::release(change, parts.iter().map(|row| &row.record.part))
}

/// Takes the begin of an upload back: the pack that said it is retired.
pub(super) fn take_back(change: &mut Change<'_>, upload: UploadId) -> Result<()> {
    take(change, upload).map(drop)
}

/// The same of a part.
pub(super) fn take_back_part(change: &mut Change<'_>, upload: UploadId, number: u16) -> Result<()> {
    let part = one(change.conn, TAKE_PART, params![upload.as_bytes(), number], read_part)?;
    let Some(part) = part else { return Ok(()) };
    change.totals.parts -= 1;
    blobs::release(change, [&part.record.part])
}

/// Ends all uploads of a bucket that ends.
pub(super) fn end_bucket(change: &mut Change<'_>, seq: Seq, bucket: BucketId) -> Result<()> {
    loop {
        let first = one(change.conn, FIRST_IN_BUCKET, params![bucket.as_bytes()], read_id)?;
        let Some(upload) = first else { return Ok(()) };
        end(change, seq, upload)?;
    }
}

/// Drops the parts whose upload never came, at the end of a recovery.
pub(super) fn drop_orphans(change: &mut Change<'_>) -> Result<()> {
    for upload in all(change.conn, ORPHANS, [], read_id)? {
        drop_parts(change, upload)?;
    }
    Ok(())
}

fn read_id(row: &Row<'_>) -> Result<UploadId> {
    Ok(UploadId::from_bytes(row.get(0)?))
}

fn read_upload(row: &Row<'_>) -> Result<UploadRow> {
    let record = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(UploadRow { seq: seq_value(row.get(0)?), record: unpack(record)? })
}

fn read_part(row: &Row<'_>) -> Result<PartRow> {
    let record = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(PartRow { seq: seq_value(row.get(0)?), record: unpack(record)? })
}

pub(super) fn upload(
    conn: &Connection,
    bucket: BucketId,
    upload: UploadId,
) -> Result<Option<UploadRow>> {
    one(conn, UPLOAD_IN, params![upload.as_bytes(), bucket.as_bytes()], read_upload)
}

pub(super) fn part(conn: &Connection, upload: UploadId, number: u16) -> Result<Option<PartRow>> {
    one(conn, PART, params![upload.as_bytes(), number], read_part)
}

pub(super) fn parts(
    conn: &Connection,
    upload: UploadId,
    after: u16,
    limit: usize,
) -> Result<Vec<PartRow>> {
    all(conn, PARTS, params![upload.as_bytes(), after, limit_column(limit)], read_part)
}

/// See [`crate::Catalog::uploads`].
pub(super) fn uploads(conn: &Connection, query: &UploadsQuery) -> Result<UploadsPage> {
    let mut page = UploadsPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let snapshot = conn.unchecked_transaction()?;
    let start = Start::new(conn, query)?;
    let mut bounds = start.bounds;
    let mut pager = Pager::new(&query.prefix, query.delimiter.as_deref(), query.limit);
    let mut statement = conn.prepare_cached(UPLOADS)?;
    'seek: while !bounds.is_empty() {
        let mut rows = statement.query(params![query.bucket.as_bytes(), bounds.from, bounds.to])?;
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            let seen = start.seen.is_some_and(|(marker, seq)| {
                key == marker.as_bytes() && row.get(1).is_ok_and(|other: i64| other <= seq)
            });
            if seen {
                continue;
            }
            match pager.offer(key) {
                Step::Skip => {}
                Step::Take => {
                    let record = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
                    let (seq, record) = (seq_value(row.get(1)?), unpack(record)?);
                    page.entries.push(UploadEntry::Upload(Box::new(UploadRow { record, seq })));
                }
                Step::Prefix(bytes) => page.entries.push(UploadEntry::Prefix(text(&key[..bytes])?)),
                Step::Seek(from) => {
                    bounds.from = from;
                    continue 'seek;
                }
                Step::Full => {
                    page.more = true;
                    break 'seek;
                }
            }
        }
        break;
    }
    drop(statement);
    snapshot.finish()?;
    Ok(page)
}

/// Where a page of uploads begins.
struct Start<'q> {
    bounds: Bounds,
    /// The marker's key, and the seq up to which its uploads were on the pages before.
    seen: Option<(&'q str, i64)>,
}

impl<'q> Start<'q> {
    fn new(conn: &Connection, query: &'q UploadsQuery) -> Result<Self> {
        let prefix = query.prefix.as_bytes();
        let (Some(key), Some(marker), false) =
            (query.key_marker.as_deref(), query.upload_marker, query.after_prefix)
        else {
            let after = query.key_marker.as_deref().map(str::as_bytes);
            return Ok(Self { bounds: Bounds::new(prefix, after, query.after_prefix), seen: None });
        };
        let row = params![marker.as_bytes(), query.bucket.as_bytes(), key.as_bytes()];
        let seen = one(conn, MARKER_SEQ, row, |row| Ok(row.get::<_, i64>(0)?))?;
        let mut bounds = Bounds::new(prefix, None, false);
        bounds.from = bounds.from.max(key.as_bytes().to_vec());
        Ok(Self { bounds, seen: seen.map(|seq| (key, seq)) })
    }
}
