//! Versions of objects: which record holds each slot, which version is the latest, and what a
//! bucket shows of them.
//!
//! A *slot* is a key's null version, or one of its other versions by id. Objects, delete markers
//! and tombstones contend for it; the highest sequence number wins.
//!
//! **Invariant.** Of the rows of a key exactly the one with the highest seq has `older = 0`. A slot
//! has one row or one tombstone that outlasts whatever may still come late.
//!
//! **Deliberately absent.** Whether a write or a delete is allowed (conditions, retention):
//! `engine`.
//!
//! **Crash.** Each function is part of its caller's transaction.

use super::blobs;
use super::change::Change;
use super::packs;
use super::stored::{
    Result, all, checksum_column, checksum_value, execute, exists, limit_column, one, pack,
    present, seq_column, seq_value, text, unpack,
};
use crate::listing::{Bounds, Pager, Step};
use crate::{
    CatalogError, ListEntry, ListPage, ListQuery, ListedObject, PackPlace, Version, VersionRow,
};
use havre_model::record::{
    Body, DeleteMarkerRecord, ObjectKey, ObjectRecord, Part, RetentionMode, TombstoneRecord,
};
use havre_model::{BlobId, BucketId, Seq, Timestamp, VersionId};
use rusqlite::{Connection, Row, params};

const HEADS: &str = "SELECT newest_first, older, null_version, version, extents, marker, bytes \
     FROM version WHERE bucket = $1 AND key = $2 ORDER BY newest_first LIMIT 2";
const OLDER_NULL: &str = "SELECT newest_first, older, null_version, version, extents, marker, \
     bytes \
     FROM version INDEXED BY version_older \
     WHERE bucket = $1 AND key = $2 AND null_version = 1 AND older = 1";
const OLDER_VERSION: &str = "SELECT newest_first, older, null_version, version, extents, marker, \
     bytes \
     FROM version INDEXED BY version_older \
     WHERE bucket = $1 AND key = $2 AND null_version = 0 AND version = $3 AND older = 1";
const ANY_IN_BUCKET: &str = "SELECT 1 FROM version WHERE bucket = $1 LIMIT 1";
const FIRST_IN_BUCKET: &str = "SELECT key FROM version WHERE bucket = $1 ORDER BY key LIMIT 1";
const TOMBSTONE: &str = "SELECT seq FROM tombstone WHERE bucket = $1 AND key = $2 AND version = $3";
const INSERT_TOMBSTONE: &str = "INSERT INTO tombstone (bucket, key, version, seq) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (bucket, key, version) \
     DO UPDATE SET seq = excluded.seq WHERE tombstone.seq < excluded.seq";
const INSERT: &str = "INSERT INTO version (bucket, key, newest_first, older, marker, bytes, \
     modified, etag, checksum, storage_class, version, null_version, extents, legal_hold, \
     retention_mode, retain_until) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
const INSERT_MANIFEST: &str = "INSERT INTO manifest (seq, pack, pack_offset, pack_len, record) \
     VALUES ($1, $2, $3, $4, $5)";
const SET_OLDER: &str =
    "UPDATE version SET older = $1 WHERE bucket = $2 AND key = $3 AND newest_first = $4";
const DELETE: &str = "DELETE FROM version WHERE bucket = $1 AND key = $2 AND newest_first = $3";
const RECORD: &str = "SELECT record FROM manifest WHERE seq = $1";
const TAKE_MANIFEST: &str =
    "DELETE FROM manifest WHERE seq = $1 RETURNING pack, pack_offset, pack_len, record";

macro_rules! select_version {
    ($rest:literal) => {
        concat!(
            "SELECT m.seq, v.marker, m.pack, m.pack_offset, m.pack_len, m.record ",
            "FROM version v JOIN manifest m ON m.seq = -v.newest_first ",
            "WHERE v.bucket = $1 AND v.key = $2 ",
            $rest
        )
    };
}
pub(super) const LATEST: &str = select_version!("ORDER BY v.newest_first LIMIT 1");
pub(super) const LATEST_IF: &str = select_version!("AND v.version = $3 AND v.older = 0");
pub(super) const OLDER_BY_ID: &str =
    select_version!("AND v.null_version IN (0, 1) AND v.version = $3 AND v.older = 1");
const PLACES: &str = "SELECT v.key, m.seq, m.pack, m.pack_offset, m.pack_len \
     FROM version v JOIN manifest m ON m.seq = -v.newest_first \
     WHERE v.bucket = $1 AND (v.key, v.newest_first) > ($2, $3) \
     ORDER BY v.key, v.newest_first LIMIT $4";
pub(super) const LIST: &str = "SELECT key, older, marker, bytes, modified, etag, checksum, \
     storage_class FROM version WHERE bucket = $1 AND key >= $2 AND key < $3 \
     ORDER BY key, newest_first";

/// A slot of a key.
#[derive(Clone, Copy)]
struct Slot<'a> {
    bucket: BucketId,
    key: &'a [u8],
    /// `None` for the null version.
    version: Option<VersionId>,
}

impl Slot<'_> {
    /// The slot's version as `tombstone` holds it.
    fn column(&self) -> &[u8] {
        self.version.as_ref().map_or(&[], |version| version.as_bytes())
    }

    fn has(&self, head: &Head) -> bool {
        match self.version {
            None => head.null_version,
            Some(version) => !head.null_version && head.version == version,
        }
    }
}

/// The narrow part of a row that decides.
#[derive(Clone, Copy)]
struct Head {
    newest_first: i64,
    older: bool,
    null_version: bool,
    version: VersionId,
    extents: bool,
    marker: bool,
    bytes: i64,
}

impl Head {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            newest_first: row.get(0)?,
            older: row.get(1)?,
            null_version: row.get(2)?,
            version: VersionId::from_bytes(row.get(3)?),
            extents: row.get(4)?,
            marker: row.get(5)?,
            bytes: row.get(6)?,
        })
    }
}

/// The row that holds a slot, and the newest row of the key besides it.
struct Contest {
    holder: Option<Head>,
    newest_other: Option<Head>,
}

fn contest(conn: &Connection, slot: &Slot<'_>) -> Result<Contest> {
    let (bucket, key) = (slot.bucket.as_bytes(), slot.key);
    let mut statement = conn.prepare_cached(HEADS)?;
    let mut rows = statement.query(params![bucket, key])?;
    let Some(first) = rows.next()?.map(Head::read).transpose()? else {
        return Ok(Contest { holder: None, newest_other: None });
    };
    let second = rows.next()?.map(Head::read).transpose()?;
    if slot.has(&first) {
        return Ok(Contest { holder: Some(first), newest_other: second });
    }
    let holder = match (second, slot.version) {
        (None, _) => None,
        (Some(_), None) => one(conn, OLDER_NULL, params![bucket, key], Head::read)?,
        (Some(_), Some(version)) => {
            one(conn, OLDER_VERSION, params![bucket, key, version.as_bytes()], Head::read)?
        }
    };
    Ok(Contest { holder, newest_other: Some(first) })
}

/// A version to be written.
struct Entry<'a> {
    slot: Slot<'a>,
    seq: Seq,
    place: PackPlace,
    version: VersionId,
    modified: Timestamp,
    record: Vec<u8>,
    /// `None` for a delete marker.
    object: Option<&'a ObjectRecord>,
}

/// How a record fared.
enum Outcome {
    Won,
    Lost,
    /// It is the row that holds the slot already; whether it counts in this pack.
    Known(bool),
}

/// The parts of an object that have extents.
pub(super) fn parts(object: &ObjectRecord) -> &[Part] {
    match &object.body {
        Body::Inline => &[],
        Body::Parts(parts) => parts,
    }
}

/// Applies an object's record; whether it counts where it stands. The end of the upload that it
/// completes is the caller's.
pub(super) fn put_object(
    change: &mut Change<'_>,
    seq: Seq,
    place: PackPlace,
    object: &ObjectRecord,
    below_guarantee: bool,
) -> Result<bool> {
    let slot = Slot {
        bucket: object.bucket,
        key: object.key.as_str().as_bytes(),
        version: (!object.null_version).then_some(object.version),
    };
    change.bucket = Some(object.bucket);
    if change.bucket_ended(object.bucket)? {
        return blobs::discard(change, parts(object), below_guarantee).map(|()| false);
    }
    let entry = Entry {
        slot,
        seq,
        place,
        version: object.version,
        modified: object.modified,
        record: pack(object)?,
        object: Some(object),
    };
    match put(change, entry, below_guarantee)? {
        Outcome::Lost => blobs::discard(change, parts(object), below_guarantee).map(|()| false),
        Outcome::Won => Ok(true),
        Outcome::Known(counts) => Ok(counts),
    }
}

/// Applies a delete marker; whether it counts where it stands.
pub(super) fn put_marker(
    change: &mut Change<'_>,
    seq: Seq,
    place: PackPlace,
    marker: &DeleteMarkerRecord,
) -> Result<bool> {
    if change.bucket_ended(marker.bucket)? {
        return Ok(false);
    }
    let entry = Entry {
        slot: Slot {
            bucket: marker.bucket,
            key: marker.key.as_str().as_bytes(),
            version: (!marker.null_version).then_some(marker.version),
        },
        seq,
        place,
        version: marker.version,
        modified: marker.modified,
        record: pack(marker)?,
        object: None,
    };
    Ok(match put(change, entry, false)? {
        Outcome::Lost => false,
        Outcome::Won => true,
        Outcome::Known(counts) => counts,
    })
}

fn put(change: &mut Change<'_>, entry: Entry<'_>, below_guarantee: bool) -> Result<Outcome> {
    let seq = seq_column(entry.seq)?;
    let slot = entry.slot;
    if ended_after(change, &slot, seq)? {
        return Ok(Outcome::Lost);
    }
    let Contest { holder, newest_other } = contest(change.conn, &slot)?;
    if let Some(holder) = holder {
        match -holder.newest_first {
            known if known == seq => {
                return packs::copy_version(change, seq, &entry.place).map(Outcome::Known);
            }
            known if known > seq => return Ok(Outcome::Lost),
            _ => {}
        }
    }
    // Needed before released: an extent that both name is never garbage in between.
    if let Some(object) = entry.object {
        blobs::need(change, parts(object), below_guarantee)?;
        change.totals.objects += 1;
        change.totals.bytes = change.totals.bytes.wrapping_add(object.bytes.cast_signed());
    }
    if let Some(holder) = holder {
        remove(change, &slot, &holder)?;
    }
    let older = newest_other.is_some_and(|other| other.newest_first < -seq);
    if let Some(other) = newest_other
        && other.older == older
    {
        set_older(change.conn, &slot, other.newest_first, !older)?;
    }
    insert(change.conn, &entry, seq, older)?;
    Ok(Outcome::Won)
}

fn set_older(conn: &Connection, slot: &Slot<'_>, newest_first: i64, older: bool) -> Result<()> {
    execute(conn, SET_OLDER, params![older, slot.bucket.as_bytes(), slot.key, newest_first])?;
    Ok(())
}

fn insert(conn: &Connection, entry: &Entry<'_>, seq: i64, older: bool) -> Result<()> {
    let object = entry.object;
    let checksum = object.and_then(|object| object.checksum.as_ref());
    let retention = object.and_then(|object| object.retention);
    execute(
        conn,
        INSERT,
        params![
            entry.slot.bucket.as_bytes(),
            entry.slot.key,
            -seq,
            older,
            object.is_none(),
            object.map_or(0, |object| object.bytes.cast_signed()),
            entry.modified.millis().cast_signed(),
            object.map_or("", |object| &object.etag),
            checksum.map(|checksum| checksum_column(checksum.algorithm, checksum.kind)),
            object.and_then(|object| object.metadata.storage_class.as_deref()),
            entry.version.as_bytes(),
            entry.slot.version.is_none(),
            object.is_some_and(hangs_on),
            object.is_some_and(|object| object.legal_hold),
            retention.map(|retention| match retention.mode {
                RetentionMode::Governance => 0,
                RetentionMode::Compliance => 1,
            }),
            retention.map(|retention| retention.until.millis().cast_signed()),
        ],
    )?;
    execute(
        conn,
        INSERT_MANIFEST,
        params![
            seq,
            entry.place.blob.as_bytes(),
            entry.place.offset.cast_signed(),
            entry.place.len,
            entry.record,
        ],
    )?;
    Ok(())
}

/// Whether more goes with the object's row than the row: extents, or the end of an upload.
fn hangs_on(object: &ObjectRecord) -> bool {
    object.completes.is_some() || parts(object).iter().any(|part| !part.extents.is_empty())
}

/// Removes a row and what hangs on it; the key's other rows are the caller's.
fn remove(change: &mut Change<'_>, slot: &Slot<'_>, head: &Head) -> Result<()> {
    let seq = -head.newest_first;
    execute(change.conn, DELETE, params![slot.bucket.as_bytes(), slot.key, head.newest_first])?;
    let taken = one(change.conn, TAKE_MANIFEST, [seq], |row| {
        let record = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        let object = head.extents.then(|| unpack::<ObjectRecord>(record)).transpose()?;
        Ok((read_place(row, 0)?, object))
    })?;
    let (place, object) = present(taken, "the manifest of a version")?;
    packs::bury_version(change, seq, &place)?;
    if let Some(object) = object {
        blobs::release(change, parts(&object))?;
        if object.completes.is_some() {
            packs::place_completed(change, seq, &place, object.bucket)?;
        }
    }
    if !head.marker {
        change.totals.objects -= 1;
        change.totals.bytes = change.totals.bytes.wrapping_sub(head.bytes);
    }
    Ok(())
}

/// Whether the slot ended with a higher seq.
fn ended_after(change: &Change<'_>, slot: &Slot<'_>, seq: i64) -> Result<bool> {
    if !change.tombstones {
        return Ok(false);
    }
    let row = params![slot.bucket.as_bytes(), slot.key, slot.column()];
    let ended = one(change.conn, TOMBSTONE, row, |row| Ok(row.get::<_, i64>(0)?))?;
    Ok(ended.is_some_and(|ended| ended > seq))
}

/// Applies a tombstone, which is kept until nothing older can come any more; whether it counts:
/// that of a bucket that has ended does not.
pub(super) fn end_version(
    change: &mut Change<'_>,
    seq: Seq,
    tombstone: &TombstoneRecord,
) -> Result<bool> {
    let slot = Slot {
        bucket: tombstone.bucket,
        key: tombstone.key.as_str().as_bytes(),
        version: tombstone.version,
    };
    let seq = seq_column(seq)?;
    if change.bucket_ended(tombstone.bucket)? {
        return Ok(false);
    }
    let row = params![slot.bucket.as_bytes(), slot.key, slot.column(), seq];
    execute(change.conn, INSERT_TOMBSTONE, row)?;
    change.tombstones = true;
    let Contest { holder, newest_other } = contest(change.conn, &slot)?;
    if let Some(holder) = holder.filter(|holder| -holder.newest_first < seq) {
        vacate(change, &slot, &holder, newest_other)?;
    }
    Ok(true)
}

/// Takes a version back: the pack that said it is retired, and no other has said it yet. One that
/// counts is applied again with the pack that says it.
pub(super) fn take_back(change: &mut Change<'_>, seq: i64, is_marker: bool) -> Result<()> {
    let record = one(change.conn, RECORD, [seq], |row| Ok(row.get::<_, Vec<u8>>(0)?))?;
    let record = present(record, "the manifest of a version")?;
    let (bucket, key, version, null_version) = match is_marker {
        true => {
            let it: DeleteMarkerRecord = unpack(&record)?;
            (it.bucket, it.key, it.version, it.null_version)
        }
        false => {
            let it: ObjectRecord = unpack(&record)?;
            (it.bucket, it.key, it.version, it.null_version)
        }
    };
    let version = (!null_version).then_some(version);
    let slot = Slot { bucket, key: key.as_str().as_bytes(), version };
    let Contest { holder, newest_other } = contest(change.conn, &slot)?;
    let Some(holder) = holder.filter(|holder| -holder.newest_first == seq) else { return Ok(()) };
    vacate(change, &slot, &holder, newest_other)
}

/// Removes the row that holds a slot; what was behind it is the latest, if it was before it.
fn vacate(
    change: &mut Change<'_>,
    slot: &Slot<'_>,
    holder: &Head,
    newest_other: Option<Head>,
) -> Result<()> {
    remove(change, slot, holder)?;
    if let Some(other) = newest_other
        && other.older
    {
        set_older(change.conn, slot, other.newest_first, false)?;
    }
    Ok(())
}

/// Removes whatever a bucket that ends still holds: live nothing, in a replay what its own
/// tombstones would have removed a little later.
pub(super) fn end_bucket(change: &mut Change<'_>, bucket: BucketId) -> Result<()> {
    loop {
        let key = one(change.conn, FIRST_IN_BUCKET, params![bucket.as_bytes()], |row| {
            Ok(row.get::<_, Vec<u8>>(0)?)
        })?;
        let Some(key) = key else { return Ok(()) };
        let head = one(change.conn, HEADS, params![bucket.as_bytes(), key], Head::read)?;
        let head = present(head, "a version")?;
        remove(change, &Slot { bucket, key: &key, version: None }, &head)?;
    }
}

pub(super) fn bucket_is_empty(conn: &Connection, bucket: BucketId) -> Result<bool> {
    Ok(!exists(conn, ANY_IN_BUCKET, params![bucket.as_bytes()])?)
}

pub(super) fn latest(
    conn: &Connection,
    bucket: BucketId,
    key: &ObjectKey,
) -> Result<Option<VersionRow>> {
    one(conn, LATEST, params![bucket.as_bytes(), key.as_str().as_bytes()], read)
}

pub(super) fn version(
    conn: &Connection,
    bucket: BucketId,
    key: &ObjectKey,
    version: VersionId,
) -> Result<Option<VersionRow>> {
    let row = params![bucket.as_bytes(), key.as_str().as_bytes(), version.as_bytes()];
    match one(conn, LATEST_IF, row, read)? {
        None => one(conn, OLDER_BY_ID, row, read),
        latest => Ok(latest),
    }
}

fn read(row: &Row<'_>) -> Result<VersionRow> {
    let record = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
    let version = if row.get(1)? {
        Version::DeleteMarker(unpack(record)?)
    } else {
        Version::Object(Box::new(unpack(record)?))
    };
    Ok(VersionRow { seq: seq_value(row.get(0)?), place: read_place(row, 2)?, version })
}

fn read_place(row: &Row<'_>, first: usize) -> Result<PackPlace> {
    Ok(PackPlace {
        blob: BlobId::from_bytes(row.get(first)?),
        offset: row.get::<_, i64>(first + 1)?.cast_unsigned(),
        len: row.get(first + 2)?,
    })
}

/// See [`crate::Catalog::places`].
pub(super) fn places(
    conn: &Connection,
    bucket: BucketId,
    after: Option<&(ObjectKey, Seq)>,
    limit: usize,
) -> Result<Vec<(ObjectKey, Seq, PackPlace)>> {
    let (key, newest_first) = match after {
        Some((key, seq)) => (key.as_str().as_bytes(), -seq_column(*seq)?),
        None => (&[][..], 0),
    };
    let row = params![bucket.as_bytes(), key, newest_first, limit_column(limit)];
    all(conn, PLACES, row, |row| {
        let key = text(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let key = ObjectKey::new(key)
            .ok_or_else(|| CatalogError::Damaged("a key is out of its limits".into()))?;
        Ok((key, seq_value(row.get(1)?), read_place(row, 2)?))
    })
}

/// See [`crate::Catalog::list`].
pub(super) fn list(conn: &Connection, query: &ListQuery) -> Result<ListPage> {
    let after = query.after.as_deref().map(str::as_bytes);
    let mut bounds = Bounds::new(query.prefix.as_bytes(), after, query.after_prefix);
    let mut page = ListPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let mut pager = Pager::new(&query.prefix, query.delimiter.as_deref(), query.limit);
    let mut statement = conn.prepare_cached(LIST)?;
    // One transaction, so that a seek within a page does not see a later state than what came
    // before.
    let snapshot = conn.unchecked_transaction()?;
    'seek: while !bounds.is_empty() {
        let mut rows = statement.query(params![query.bucket.as_bytes(), bounds.from, bounds.to])?;
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            let step = if row.get(1)? {
                pager.older(key)
            } else if row.get(2)? {
                Step::Skip
            } else {
                pager.offer(key)
            };
            match step {
                Step::Skip => {}
                Step::Take => page.entries.push(ListEntry::Object(listed(row, key)?)),
                Step::Prefix(bytes) => page.entries.push(ListEntry::Prefix(text(&key[..bytes])?)),
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
    snapshot.finish()?;
    Ok(page)
}

fn listed(row: &Row<'_>, key: &[u8]) -> Result<ListedObject> {
    let checksum = row.get::<_, Option<i64>>(6)?.map(checksum_value).transpose()?;
    Ok(ListedObject {
        key: text(key)?,
        bytes: row.get::<_, i64>(3)?.cast_unsigned(),
        modified: Timestamp::from_millis(row.get::<_, i64>(4)?.cast_unsigned()),
        etag: row.get(5)?,
        storage_class: row.get(7)?,
        checksum_algorithm: checksum.map(|(algorithm, _)| algorithm),
        checksum_kind: checksum.map(|(_, kind)| kind),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::open;

    /// The steps of a statement's plan.
    fn plan(conn: &Connection, sql: &str, values: usize) -> Vec<String> {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let nulls = vec![rusqlite::types::Null; values];
        all(conn, &explain, rusqlite::params_from_iter(nulls), |row| Ok(row.get(3)?)).unwrap()
    }

    #[test]
    fn no_read_of_versions_looks_at_more_rows_than_it_needs() {
        let conn = Connection::open_in_memory().unwrap();
        open::settle_writer(&conn).unwrap();
        open::initialize(&conn, 0).unwrap();
        let (by_key, manifest) = (
            "SEARCH v USING PRIMARY KEY (bucket=? AND key=?)",
            "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
        );
        assert_eq!(plan(&conn, LATEST, 2), [by_key, manifest]);
        assert_eq!(plan(&conn, LATEST_IF, 3), [by_key, manifest]);
        let older = "SEARCH v USING INDEX version_older \
             (bucket=? AND key=? AND null_version=? AND version=?)";
        assert_eq!(plan(&conn, OLDER_BY_ID, 3), [older, manifest]);
        let ranged = "SEARCH version USING PRIMARY KEY (bucket=? AND key>? AND key<?)";
        assert_eq!(plan(&conn, LIST, 3), [ranged]);
        for (sql, values, columns) in
            [(OLDER_NULL, 2, "null_version=?"), (OLDER_VERSION, 3, "null_version=? AND version=?")]
        {
            let plan = plan(&conn, sql, values);
            assert!(plan[0].contains("version_older") && plan[0].contains(columns), "{plan:?}");
        }
    }

    #[test]
    fn statements_are_planned_once_and_not_for_every_value() {
        let conn = Connection::open_in_memory().unwrap();
        open::settle_writer(&conn).unwrap();
        open::initialize(&conn, 0).unwrap();
        let mut statement = conn.prepare(LATEST).unwrap();
        for key in [&b"a"[..], b"b", b"c"] {
            assert!(!statement.exists(params![[0u8; 16], key]).unwrap());
        }
        let replanned = statement.get_status(rusqlite::StatementStatus::RePrepare);
        assert_eq!(replanned, 0);
    }
}
