//! Blobs: who needs them, which of their shards are stored, and what is garbage.
//!
//! **Invariant.** `needs` of an extent is the number of version and part rows that name it, so that
//! an extent is garbage exactly when nothing names it, in whatever order its records came (I6). A
//! pack is garbage when it is retired.
//!
//! **Deliberately absent.** Deleting and repairing: the keeper asks here what there is to do.
//!
//! **Crash.** Each function is part of its caller's transaction.

use super::change::Change;
use super::packs;
use super::stored::{Result, all, execute, limit_column, one, seq_column};
use crate::{AppliedPack, BlobRow, BlobState, CatalogError, stored_whole};
use havre_model::record::{BlobSecret, Extent, Part, RedispersedRecord};
use havre_model::{BlobId, BlobName, BucketId, ChainId, Geometry, Seq, SiteId};
use rusqlite::{Connection, Row, params};

const INSERT: &str = "INSERT INTO blob (blob, chain, number, records, k, m, chunk_bytes, bytes, \
     stored, incomplete, below_guarantee, needs, secret, sites, policy, pack_order, \
     bucket) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
     ON CONFLICT (blob) DO NOTHING";
const NEED: &str = "UPDATE blob SET needs = needs + 1 WHERE blob = $1 \
     RETURNING needs, incomplete, below_guarantee";
const RELEASE: &str = "UPDATE blob SET needs = needs - 1 WHERE blob = $1 \
     RETURNING needs, incomplete, below_guarantee";
const FLAG: &str = "UPDATE blob SET below_guarantee = 1 \
     WHERE blob = $1 AND incomplete = 1 AND below_guarantee = 0 RETURNING needs";
const FORGET: &str =
    "DELETE FROM blob WHERE blob = $1 AND needs = 0 RETURNING chain IS NOT NULL, moved_seq";
const MOVED_TO: &str = "SELECT blob FROM blob WHERE extent = $1";
const NAMED: &str = "SELECT blob, moved_seq, needs, incomplete, below_guarantee, bucket \
     FROM blob WHERE extent = $1";
const AS_WRITTEN: &str = "SELECT blob, moved_seq, needs, incomplete, below_guarantee, bucket \
     FROM blob WHERE blob = $1";
const MOVED_AWAY: &str =
    "UPDATE blob SET needs = 0, extent = NULL, moved_seq = NULL WHERE blob = $1";
const MOVED_HERE: &str = "UPDATE blob SET extent = $1, moved_seq = $2, policy = $3 WHERE blob = $4";
const RETIRE: &str = "UPDATE blob SET needs = 0, oldest_dead = NULL WHERE blob = $1 \
     RETURNING needs, incomplete, below_guarantee";
const FORGET_LEFTOVERS: &str = "DELETE FROM leftover WHERE blob = $1";
const SET_SITES: &str = "UPDATE blob SET sites = $1 WHERE blob = $2";
const NOTE: &str =
    "UPDATE blob SET stored = $1, incomplete = $2, below_guarantee = $3 WHERE blob = $4";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT blob, chain, number, k, m, chunk_bytes, bytes, stored, incomplete, ",
            "below_guarantee, needs, secret, sites, policy, extent, bucket FROM blob ",
            $rest
        )
    };
}
const BLOB: &str = select!("WHERE blob = $1");
const EXTENT: &str = select!("WHERE extent = $1");
const BLOBS: &str = select!("WHERE blob > $1 ORDER BY blob LIMIT $2");
const GARBAGE: &str = select!("WHERE needs = 0 AND blob > $1 ORDER BY blob LIMIT $2");
/// Packs with what [`super::packs`] reads behind a blob's columns.
pub(super) const PACKS: &str = "SELECT blob, chain, number, k, m, chunk_bytes, bytes, stored, \
     incomplete, below_guarantee, needs, secret, sites, policy, extent, bucket, dead, pack_order, \
     EXISTS (SELECT 1 FROM pack_contents c WHERE c.blob = blob.blob) FROM blob \
     WHERE chain IS NOT NULL AND (chain, number) > ($1, $2) AND needs > 0 \
     ORDER BY chain, number LIMIT $3";
const INCOMPLETE: &str =
    select!("WHERE incomplete = 1 AND needs > 0 AND blob > $1 ORDER BY blob LIMIT $2");

/// The shards of a geometry as bits.
fn all_shards(geometry: Geometry) -> u32 {
    u32::MAX.checked_shr(u32::BITS.saturating_sub(shards(geometry))).unwrap_or(0)
}

fn shards(geometry: Geometry) -> u32 {
    u32::try_from(geometry.total()).expect("a geometry has at most 32 shards")
}

/// Chain and number of a pack.
pub(super) fn name_columns(name: &BlobName) -> (Option<&[u8; 16]>, Option<i64>) {
    match name {
        BlobName::Pack { chain, number, .. } => {
            (Some(chain.as_bytes()), Some(number.cast_signed()))
        }
        BlobName::Extent(_) => (None, None),
    }
}

fn sites_column(sites: &[SiteId]) -> Vec<u8> {
    sites.iter().flat_map(|site| *site.as_bytes()).collect()
}

/// Inserts a blob that is not known yet; whether it was inserted.
fn insert(
    change: &Change<'_>,
    row: &BlobRow,
    records: Option<i64>,
    below: bool,
    needs: i64,
) -> Result<bool> {
    let (chain, number) = name_columns(&row.name);
    let sites = sites_column(&row.sites);
    let chunk_bytes =
        i64::try_from(row.chunk_bytes).map_err(|_| CatalogError::OutOfRange("chunk length"))?;
    let stored = row.stored & all_shards(row.geometry);
    let inserted = execute(
        change.conn,
        INSERT,
        params![
            row.blob().as_bytes(),
            chain,
            number,
            records,
            row.geometry.data() as i64,
            row.geometry.parity() as i64,
            chunk_bytes,
            row.bytes.cast_signed(),
            stored,
            !stored_whole(row.geometry, stored),
            below,
            needs,
            row.secret.as_bytes(),
            sites,
            change.policy,
            records.map(|_| change.order.value().cast_signed()),
            row.bucket.as_ref().map(|bucket| bucket.as_bytes()),
        ],
    )?;
    Ok(inserted == 1)
}

/// Registers the blob of an applied pack.
pub(super) fn register_pack(change: &mut Change<'_>, pack: &AppliedPack) -> Result<()> {
    let incomplete = !stored_whole(pack.pack.geometry, pack.pack.stored);
    let below = pack.below_guarantee && incomplete;
    let records = i64::try_from(pack.records.len()).unwrap_or(i64::MAX);
    if insert(change, &pack.pack, Some(records), below, 1)? {
        change.totals.packs += 1;
        change.totals.incomplete += i64::from(incomplete);
        change.totals.below_guarantee += i64::from(below);
    }
    Ok(())
}

/// Registers the blob of a pack that is retired: garbage from the start.
pub(super) fn register_retired(change: &mut Change<'_>, pack: &AppliedPack) -> Result<()> {
    let records = i64::try_from(pack.records.len()).unwrap_or(i64::MAX);
    if insert(change, &pack.pack, Some(records), false, 0)? {
        change.totals.packs += 1;
        change.totals.garbage += 1;
    }
    Ok(())
}

/// A pack says nothing any more.
pub(super) fn retire(change: &mut Change<'_>, blob: BlobId) -> Result<()> {
    let was = one(change.conn, RETIRE, [blob.as_bytes()], need_columns)?;
    if let Some(Needs { incomplete, below, .. }) = was {
        change.totals.garbage += 1;
        change.totals.incomplete -= incomplete;
        change.totals.below_guarantee -= below;
    }
    Ok(())
}

/// Every extent of `parts` is needed by one row more.
pub(super) fn need<'p>(
    change: &mut Change<'_>,
    parts: impl IntoIterator<Item = &'p Part>,
    below_guarantee: bool,
) -> Result<()> {
    for extent in parts.into_iter().flat_map(|part| &part.extents) {
        need_extent(change, extent, below_guarantee)?;
    }
    Ok(())
}

fn need_extent(change: &mut Change<'_>, extent: &Extent, below_guarantee: bool) -> Result<()> {
    let Some(blob) = whereabouts(change, extent.blob)? else {
        let row = BlobRow { bucket: change.bucket, ..BlobRow::from_extent(extent) };
        return need_new(change, extent, &row, below_guarantee);
    };
    need_known(change, blob)
}

/// The blob that the extent was dispersed anew into.
fn whereabouts(change: &Change<'_>, extent: BlobId) -> Result<Option<BlobId>> {
    if !change.redispersed {
        return Ok(None);
    }
    one(change.conn, MOVED_TO, [extent.as_bytes()], |row| Ok(BlobId::from_bytes(row.get(0)?)))
}

fn need_new(
    change: &mut Change<'_>,
    extent: &Extent,
    row: &BlobRow,
    below_guarantee: bool,
) -> Result<()> {
    let incomplete = row.state == BlobState::Incomplete;
    let below = below_guarantee && incomplete;
    if insert(change, row, None, below, 1)? {
        change.totals.blobs += 1;
        change.totals.incomplete += i64::from(incomplete);
        change.totals.below_guarantee += i64::from(below);
        return Ok(());
    }
    flag(change, extent, below_guarantee)?;
    need_known(change, extent.blob)
}

fn need_known(change: &mut Change<'_>, blob: BlobId) -> Result<()> {
    let needed = one(change.conn, NEED, params![blob.as_bytes()], need_columns)?;
    if let Some(Needs { needs: 1, incomplete, below }) = needed {
        change.totals.garbage -= 1;
        change.totals.incomplete += incomplete;
        change.totals.below_guarantee += below;
    }
    Ok(())
}

/// A known extent stands in one more pack that was acknowledged below its guarantee.
fn flag(change: &mut Change<'_>, extent: &Extent, below_guarantee: bool) -> Result<()> {
    if below_guarantee {
        let flagged = one(change.conn, FLAG, params![extent.blob.as_bytes()], |row| {
            Ok(row.get::<_, i64>(0)?)
        })?;
        change.totals.below_guarantee += i64::from(flagged.is_some_and(|needs| needs > 0));
    }
    Ok(())
}

struct Needs {
    needs: i64,
    incomplete: i64,
    below: i64,
}

fn need_columns(row: &Row<'_>) -> Result<Needs> {
    Ok(Needs { needs: row.get(0)?, incomplete: row.get(1)?, below: row.get(2)? })
}

/// A row that named the extents of `parts` is gone.
pub(super) fn release<'p>(
    change: &mut Change<'_>,
    parts: impl IntoIterator<Item = &'p Part>,
) -> Result<()> {
    for extent in parts.into_iter().flat_map(|part| &part.extents) {
        let blob = whereabouts(change, extent.blob)?.unwrap_or(extent.blob);
        let left = one(change.conn, RELEASE, params![blob.as_bytes()], need_columns)?;
        match left {
            Some(Needs { needs: 0, incomplete, below }) => {
                change.totals.garbage += 1;
                change.totals.incomplete -= incomplete;
                change.totals.below_guarantee -= below;
            }
            Some(Needs { needs, .. }) if needs > 0 => {}
            _ => return Err(CatalogError::Damaged("a needed extent is not known".into())),
        }
    }
    Ok(())
}

/// Registers extents of a record that lost: garbage, unless something needs them.
pub(super) fn discard<'p>(
    change: &mut Change<'_>,
    parts: impl IntoIterator<Item = &'p Part>,
    below_guarantee: bool,
) -> Result<()> {
    for extent in parts.into_iter().flat_map(|part| &part.extents) {
        if whereabouts(change, extent.blob)?.is_some() {
            continue;
        }
        let row = BlobRow { bucket: change.bucket, ..BlobRow::from_extent(extent) };
        let below = below_guarantee && row.state == BlobState::Incomplete;
        if insert(change, &row, None, below, 0)? {
            change.totals.blobs += 1;
            change.totals.garbage += 1;
        } else {
            flag(change, extent, below_guarantee)?;
        }
    }
    Ok(())
}

/// What is known of where an extent's bytes are.
struct Whereabouts {
    blob: BlobId,
    moved_seq: Option<i64>,
    needs: Needs,
    bucket: Option<BucketId>,
}

fn read_whereabouts(row: &Row<'_>) -> Result<Whereabouts> {
    Ok(Whereabouts {
        blob: BlobId::from_bytes(row.get(0)?),
        moved_seq: row.get(1)?,
        needs: Needs { needs: row.get(2)?, incomplete: row.get(3)?, below: row.get(4)? },
        bucket: row.get::<_, Option<[u8; 16]>>(5)?.map(BucketId::from_bytes),
    })
}

/// Applies that an extent was dispersed anew; whether the record counts: it is the newest of its
/// extent. Where its bytes were before is garbage.
pub(super) fn redisperse(
    change: &mut Change<'_>,
    seq: Seq,
    record: &RedispersedRecord,
    below_guarantee: bool,
) -> Result<bool> {
    let seq = seq_column(seq)?;
    let named = record.extent.as_bytes();
    let known = match one(change.conn, NAMED, [named], read_whereabouts)? {
        None => one(change.conn, AS_WRITTEN, [named], read_whereabouts)?,
        known => known,
    };
    let newer = known.as_ref().and_then(|known| known.moved_seq.filter(|other| *other >= seq));
    if newer.is_some() {
        return match known.is_some_and(|known| known.blob == record.to.blob) {
            true => Ok(newer == Some(seq)),
            false => register_unneeded(change, &record.to).map(|()| false),
        };
    }
    let needs = known.as_ref().map_or(0, |known| known.needs.needs);
    if let Some(Whereabouts { blob, moved_seq, needs, .. }) = &known {
        moved_seq.map_or(Ok(()), |older| packs::unplace(change, older))?;
        execute(change.conn, MOVED_AWAY, [blob.as_bytes()])?;
        if needs.needs > 0 {
            change.totals.garbage += 1;
            change.totals.incomplete -= needs.incomplete;
            change.totals.below_guarantee -= needs.below;
        }
    }
    let bucket = known.and_then(|known| known.bucket);
    let row = BlobRow { bucket, ..BlobRow::from_extent(&record.to) };
    let incomplete = row.state == BlobState::Incomplete;
    let below = below_guarantee && incomplete;
    insert(change, &row, None, below, needs)?;
    let blob = row.blob();
    execute(change.conn, MOVED_HERE, params![named, seq, record.policy, blob.as_bytes()])?;
    change.redispersed = true;
    change.totals.blobs += 1;
    match needs {
        0 => change.totals.garbage += 1,
        _ => {
            change.totals.incomplete += i64::from(incomplete);
            change.totals.below_guarantee += i64::from(below);
        }
    }
    Ok(true)
}

/// Registers a blob that nothing needs.
fn register_unneeded(change: &mut Change<'_>, extent: &Extent) -> Result<()> {
    if insert(change, &BlobRow::from_extent(extent), None, false, 0)? {
        change.totals.blobs += 1;
        change.totals.garbage += 1;
    }
    Ok(())
}

/// See [`crate::Catalog::extent`].
pub(super) fn extent(conn: &Connection, named: BlobId) -> Result<Option<BlobRow>> {
    match one(conn, EXTENT, [named.as_bytes()], read)? {
        None => blob(conn, named),
        moved => Ok(moved),
    }
}

/// See [`crate::Catalog::note_shards`].
pub(super) fn note(
    change: &mut Change<'_>,
    blob: BlobId,
    sites: &[SiteId],
    stored: u32,
    lost: u32,
) -> Result<bool> {
    let Some((row, was_below, needs)) = one(change.conn, BLOB, params![blob.as_bytes()], |row| {
        Ok((read(row)?, row.get::<_, bool>(9)?, row.get::<_, i64>(10)?))
    })?
    else {
        return Ok(false);
    };
    let was = !stored_whole(row.geometry, row.stored);
    let pairs = row.sites.iter().zip(sites).enumerate();
    let there = pairs.filter(|(_, (site, noted))| site == noted);
    let there = there.fold(0, |bits, (index, _)| bits | 1 << index);
    let (stored, lost) = (stored & there, lost & there);
    let now = (row.stored | stored) & !lost & all_shards(row.geometry);
    let incomplete = !stored_whole(row.geometry, now);
    let is_below = was_below && incomplete;
    execute(change.conn, NOTE, params![now, incomplete, is_below, blob.as_bytes()])?;
    if needs > 0 {
        change.totals.incomplete += i64::from(incomplete) - i64::from(was);
        change.totals.below_guarantee += i64::from(is_below) - i64::from(was_below);
    }
    Ok(true)
}

/// Writes where a blob's shards are.
pub(super) fn set_sites(change: &Change<'_>, blob: BlobId, sites: &[SiteId]) -> Result<()> {
    execute(change.conn, SET_SITES, params![sites_column(sites), blob.as_bytes()])?;
    Ok(())
}

/// See [`crate::Catalog::forget_blob`].
pub(super) fn forget(change: &mut Change<'_>, blob: BlobId) -> Result<bool> {
    let gone = one(change.conn, FORGET, params![blob.as_bytes()], |row| {
        Ok((row.get::<_, bool>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    let Some((is_pack, moved_seq)) = gone else { return Ok(false) };
    // Nothing names the extent any more: where it went does not matter.
    moved_seq.map_or(Ok(()), |seq| packs::unplace(change, seq))?;
    execute(change.conn, FORGET_LEFTOVERS, params![blob.as_bytes()])?;
    match is_pack {
        true => change.totals.packs -= 1,
        false => change.totals.blobs -= 1,
    }
    change.totals.garbage -= 1;
    Ok(true)
}

pub(super) fn blob(conn: &Connection, blob: BlobId) -> Result<Option<BlobRow>> {
    one(conn, BLOB, params![blob.as_bytes()], read)
}

pub(super) fn blobs(
    conn: &Connection,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<BlobRow>> {
    page(conn, BLOBS, after, limit)
}

pub(super) fn garbage(
    conn: &Connection,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<BlobRow>> {
    page(conn, GARBAGE, after, limit)
}

pub(super) fn incomplete(
    conn: &Connection,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<BlobRow>> {
    page(conn, INCOMPLETE, after, limit)
}

fn page(conn: &Connection, sql: &str, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobRow>> {
    let after = after.as_ref().map_or(&[][..], |blob| blob.as_bytes());
    all(conn, sql, params![after, limit_column(limit)], read)
}

/// The name in the columns blob, chain and number, which come first.
pub(super) fn read_name(row: &Row<'_>) -> Result<BlobName> {
    let blob = BlobId::from_bytes(row.get(0)?);
    Ok(match row.get::<_, Option<[u8; 16]>>(1)? {
        None => BlobName::Extent(blob),
        Some(chain) => BlobName::Pack {
            chain: ChainId::from_bytes(chain),
            number: row.get::<_, i64>(2)?.cast_unsigned(),
            blob,
        },
    })
}

pub(super) fn read(row: &Row<'_>) -> Result<BlobRow> {
    let name = read_name(row)?;
    let geometry = Geometry::new(row.get(3)?, row.get(4)?)
        .map_err(|_| CatalogError::Damaged("a geometry is out of range".into()))?;
    let sites = row.get_ref(12)?.as_blob().map_err(rusqlite::Error::from)?;
    let (sites, rest) = sites.as_chunks::<{ SiteId::LEN }>();
    if !rest.is_empty() {
        return Err(CatalogError::Damaged("a list of sites has a wrong length".into()));
    }
    let (incomplete, below, needs): (bool, bool, i64) = (row.get(8)?, row.get(9)?, row.get(10)?);
    Ok(BlobRow {
        name,
        secret: BlobSecret::from_bytes(row.get(11)?),
        geometry,
        chunk_bytes: usize::try_from(row.get::<_, i64>(5)?)
            .map_err(|_| CatalogError::Damaged("a chunk length is out of range".into()))?,
        bytes: row.get::<_, i64>(6)?.cast_unsigned(),
        sites: sites.iter().map(|site| SiteId::from_bytes(*site)).collect(),
        stored: row.get(7)?,
        state: match (needs, below, incomplete) {
            (0, ..) => BlobState::Garbage,
            (_, true, _) => BlobState::BelowGuarantee,
            (_, _, true) => BlobState::Incomplete,
            _ => BlobState::Whole,
        },
        policy: row.get(13)?,
        extent: row.get::<_, Option<[u8; 16]>>(14)?.map(BlobId::from_bytes),
        bucket: row.get::<_, Option<[u8; 16]>>(15)?.map(BucketId::from_bytes),
    })
}
