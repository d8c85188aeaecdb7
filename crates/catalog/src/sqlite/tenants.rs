//! Tenants and buckets, who is excluded, and the totals.
//!
//! **Invariant.** A tenant, bucket or exclusion has the record with its highest seq; a bucket that
//! ended has none.
//!
//! **Deliberately absent.** Unique names: `engine` reserves a name while it creates a bucket.
//! Should two buckets have one name, the one written last is found by it.
//!
//! **Crash.** Each function is part of its caller's transaction.

use super::change::Change;
use super::packs;
use super::stored::{
    Result, all, execute, limit_column, one, pack, present, seq_column, seq_value, unpack,
};
use crate::listing::Bounds;
use crate::{BucketRow, Counts, ExclusionRow, TenantRow};
use havre_model::record::{BucketRecord, ExclusionRecord, TenantRecord};
use havre_model::{BucketId, Seq, TenantId};
use rusqlite::{Connection, Row, params};

const TENANT_SEQ: &str = "SELECT seq FROM tenant WHERE tenant = $1";
const TENANTS: &str = "SELECT seq, record FROM tenant ORDER BY tenant";
const TENANT_BY_NAME: &str =
    "SELECT seq, record FROM tenant WHERE name = $1 ORDER BY seq DESC LIMIT 1";
const PUT_TENANT: &str = "INSERT INTO tenant (tenant, name, seq, record) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (tenant) DO UPDATE \
     SET name = excluded.name, seq = excluded.seq, record = excluded.record";
const BUCKET_SEQ: &str = "SELECT seq FROM bucket WHERE bucket = $1";
const ALL_BUCKETS: &str = "SELECT seq, record FROM bucket ORDER BY bucket";
const BUCKETS: &str = "SELECT seq, record FROM bucket \
     WHERE tenant = $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4";
const BUCKET: &str = "SELECT seq, record FROM bucket WHERE bucket = $1";
const BUCKET_BY_NAME: &str =
    "SELECT seq, record FROM bucket WHERE name = $1 ORDER BY seq DESC LIMIT 1";
const PUT_BUCKET: &str = "INSERT INTO bucket (bucket, tenant, name, seq, record) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (bucket) DO UPDATE \
     SET tenant = excluded.tenant, name = excluded.name, seq = excluded.seq, \
     record = excluded.record";
const DELETE_BUCKET: &str = "DELETE FROM bucket WHERE bucket = $1";
const END_BUCKET: &str =
    "INSERT INTO ended_bucket (bucket) VALUES ($1) ON CONFLICT (bucket) DO NOTHING";
const PUT_EXCLUSION: &str = "INSERT INTO exclusion (subject, seq, record) VALUES ($1, $2, $3) \
     ON CONFLICT (subject) DO UPDATE SET seq = excluded.seq, record = excluded.record";
const EXCLUSION_SEQ: &str = "SELECT seq FROM exclusion WHERE subject = $1";
const EXCLUSIONS: &str = "SELECT seq, record FROM exclusion ORDER BY subject";
const COUNTS: &str = "SELECT tenants, buckets, objects, bytes, uploads, parts, blobs, packs, \
     garbage, incomplete, below_guarantee FROM totals";

/// Whether a record of this number takes the place of the one that is known; that one does not
/// count any more then.
fn supersedes(change: &Change<'_>, known: Option<i64>, seq: i64) -> Result<bool> {
    match known {
        None => Ok(true),
        Some(known) if known < seq => packs::unplace(change, known).map(|()| true),
        Some(_) => Ok(false),
    }
}

/// Whether the record counts: it is the newest of its tenant.
pub(super) fn put_tenant(change: &mut Change<'_>, seq: Seq, record: &TenantRecord) -> Result<bool> {
    let seq = seq_column(seq)?;
    let id = record.tenant.as_bytes();
    let known = one(change.conn, TENANT_SEQ, [id], |row| Ok(row.get::<_, i64>(0)?))?;
    if supersedes(change, known, seq)? {
        let row = params![id, record.name.as_bytes(), seq, pack(record)?];
        execute(change.conn, PUT_TENANT, row)?;
        change.totals.tenants += i64::from(known.is_none());
    }
    Ok(known.is_none_or(|known| known <= seq))
}

/// Whether the record counts: it is the newest of its bucket, or the bucket has ended. Then it may
/// have the keys of what is still to be opened, and dead, in a recovery.
pub(super) fn put_bucket(change: &mut Change<'_>, seq: Seq, record: &BucketRecord) -> Result<bool> {
    let seq = seq_column(seq)?;
    let id = record.bucket.as_bytes();
    if change.bucket_ended(record.bucket)? {
        return Ok(true);
    }
    let known = one(change.conn, BUCKET_SEQ, [id], |row| Ok(row.get::<_, i64>(0)?))?;
    if supersedes(change, known, seq)? {
        let tenant = record.tenant.as_bytes();
        let row = params![id, tenant, record.name.as_bytes(), seq, pack(record)?];
        execute(change.conn, PUT_BUCKET, row)?;
        change.totals.buckets += i64::from(known.is_none());
    }
    Ok(known.is_none_or(|known| known <= seq))
}

/// Whether the record counts: it is the newest of its subject.
pub(super) fn put_exclusion(
    change: &Change<'_>,
    seq: Seq,
    record: &ExclusionRecord,
) -> Result<bool> {
    let (seq, subject) = (seq_column(seq)?, record.subject.to_string());
    let known = one(change.conn, EXCLUSION_SEQ, [&subject], |row| Ok(row.get::<_, i64>(0)?))?;
    if supersedes(change, known, seq)? {
        execute(change.conn, PUT_EXCLUSION, params![subject, seq, pack(record)?])?;
    }
    Ok(known.is_none_or(|known| known <= seq))
}

/// See [`crate::Catalog::exclusions`].
pub(super) fn exclusions(conn: &Connection) -> Result<Vec<ExclusionRow>> {
    let mut rows = all(conn, EXCLUSIONS, [], |row| {
        let record = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        Ok(ExclusionRow { seq: seq_value(row.get(0)?), record: unpack(record)? })
    })?;
    rows.retain(|row| row.record.in_force);
    Ok(rows)
}

/// Ends a bucket; what it holds is the caller's.
pub(super) fn end_bucket(change: &mut Change<'_>, bucket: BucketId) -> Result<()> {
    execute(change.conn, END_BUCKET, [bucket.as_bytes()])?;
    change.note_bucket_ended(bucket);
    let deleted = execute(change.conn, DELETE_BUCKET, [bucket.as_bytes()])?;
    change.totals.buckets -= i64::from(deleted == 1);
    Ok(())
}

fn read_tenant(row: &Row<'_>) -> Result<TenantRow> {
    let record = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(TenantRow { seq: seq_value(row.get(0)?), record: unpack(record)? })
}

fn read_bucket(row: &Row<'_>) -> Result<BucketRow> {
    let record = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(BucketRow { seq: seq_value(row.get(0)?), record: unpack(record)? })
}

pub(super) fn tenant_by_name(conn: &Connection, name: &str) -> Result<Option<TenantRow>> {
    one(conn, TENANT_BY_NAME, [name.as_bytes()], read_tenant)
}

pub(super) fn tenants(conn: &Connection) -> Result<Vec<TenantRow>> {
    all(conn, TENANTS, [], read_tenant)
}

pub(super) fn bucket_by_name(conn: &Connection, name: &str) -> Result<Option<BucketRow>> {
    one(conn, BUCKET_BY_NAME, [name.as_bytes()], read_bucket)
}

pub(super) fn bucket(conn: &Connection, bucket: BucketId) -> Result<Option<BucketRow>> {
    one(conn, BUCKET, [bucket.as_bytes()], read_bucket)
}

pub(super) fn all_buckets(conn: &Connection) -> Result<Vec<BucketRow>> {
    all(conn, ALL_BUCKETS, [], read_bucket)
}

pub(super) fn buckets(
    conn: &Connection,
    tenant: TenantId,
    after: Option<&str>,
    prefix: Option<&str>,
    limit: usize,
) -> Result<Vec<BucketRow>> {
    let prefix = prefix.unwrap_or_default().as_bytes();
    let Bounds { from, to } = Bounds::new(prefix, after.map(str::as_bytes), false);
    let row = params![tenant.as_bytes(), from, to, limit_column(limit)];
    all(conn, BUCKETS, row, read_bucket)
}

/// See [`crate::Catalog::counts`].
pub(super) fn counts(conn: &Connection) -> Result<Counts> {
    let counts = one(conn, COUNTS, [], |row| {
        let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.cast_unsigned());
        Ok(Counts {
            tenants: count(0)?,
            buckets: count(1)?,
            objects: count(2)?,
            bytes: count(3)?,
            uploads: count(4)?,
            parts: count(5)?,
            blobs: count(6)?,
            packs: count(7)?,
            garbage: count(8)?,
            incomplete: count(9)?,
            below_guarantee: count(10)?,
        })
    })?;
    present(counts, "the totals")
}
