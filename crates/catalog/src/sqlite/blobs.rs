//! Blobs: who needs them, which of their shards are stored, and what is garbage.
//!
//! **Invariant.** `needs` of an extent is the number of version and part rows that name it, so that
//! an extent is garbage exactly when nothing names it, in whatever order its records came (I6). A
//! pack is never garbage here.
//!
//! **Deliberately absent.** Deleting and repairing: the keeper asks here what there is to do.
//!
//! **Crash.** Each function is part of its caller's transaction.

use super::change::Change;
use super::stored::{Result, all, execute, limit_column, one};
use crate::{AppliedPack, BlobRow, BlobState, CatalogError, stored_whole};
use havre_model::record::{BlobSecret, Extent, Part};
use havre_model::{BlobId, BlobName, ChainId, Geometry, SiteId};
use rusqlite::{Connection, Row, params};

const INSERT: &str = "INSERT INTO blob (blob, chain, number, records, k, m, chunk_bytes, bytes, \
     stored, incomplete, below_guarantee, needs, secret, sites, policy) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     ON CONFLICT (blob) DO NOTHING";
const NEED: &str = "UPDATE blob SET needs = needs + 1 WHERE blob = $1 \
     RETURNING needs, incomplete, below_guarantee";
const RELEASE: &str = "UPDATE blob SET needs = needs - 1 WHERE blob = $1 \
     RETURNING needs, incomplete, below_guarantee";
const FLAG: &str = "UPDATE blob SET below_guarantee = 1 \
     WHERE blob = $1 AND incomplete = 1 AND below_guarantee = 0 RETURNING needs";
const FORGET: &str = "DELETE FROM blob WHERE blob = $1 AND needs = 0";
const FORGET_LEFTOVERS: &str = "DELETE FROM leftover WHERE blob = $1";
const SET_SITES: &str = "UPDATE blob SET sites = $1 WHERE blob = $2";
const NOTE: &str =
    "UPDATE blob SET stored = $1, incomplete = $2, below_guarantee = $3 WHERE blob = $4";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT blob, chain, number, k, m, chunk_bytes, bytes, stored, incomplete, ",
            "below_guarantee, needs, secret, sites, policy FROM blob ",
            $rest
        )
    };
}
const BLOB: &str = select!("WHERE blob = $1");
const BLOBS: &str = select!("WHERE blob > $1 ORDER BY blob LIMIT $2");
const GARBAGE: &str = select!("WHERE needs = 0 AND blob > $1 ORDER BY blob LIMIT $2");
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
    let row = BlobRow::from_extent(extent);
    let incomplete = row.state == BlobState::Incomplete;
    let below = below_guarantee && incomplete;
    if insert(change, &row, None, below, 1)? {
        change.totals.blobs += 1;
        change.totals.incomplete += i64::from(incomplete);
        change.totals.below_guarantee += i64::from(below);
        return Ok(());
    }
    flag(change, extent, below_guarantee)?;
    let needed = one(change.conn, NEED, params![extent.blob.as_bytes()], need_columns)?;
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
        let left = one(change.conn, RELEASE, params![extent.blob.as_bytes()], need_columns)?;
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
        let row = BlobRow::from_extent(extent);
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
    if execute(change.conn, FORGET, params![blob.as_bytes()])? == 0 {
        return Ok(false);
    }
    execute(change.conn, FORGET_LEFTOVERS, params![blob.as_bytes()])?;
    change.totals.blobs -= 1;
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

fn read(row: &Row<'_>) -> Result<BlobRow> {
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
    })
}
