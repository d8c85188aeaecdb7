//! Shards that moved to other sites, and what is left of them where they were.
//!
//! **Invariant.** A shard's new site and its leftover at the old one are written together: until
//! the leftover is forgotten, both sites count as holders (I2).
//!
//! **Deliberately absent.** Copying and deleting: the keeper does, and says so here.
//!
//! **Crash.** A move that was not committed did not happen here; the copy that it made is found by
//! garbage collection, which takes it over or deletes it.

use super::blobs::{self, name_columns, read_name};
use super::change::Change;
use super::stored::{Result, all, execute, limit_column, one};
use crate::{BlobRow, JobRow, Leftover, ShardMove};
use havre_model::{BlobId, SiteId};
use rusqlite::{Connection, Row, params};

const LEAVE: &str = "INSERT INTO leftover (blob, site, chain, number) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (blob, site) DO NOTHING";
const FORGET: &str = "DELETE FROM leftover WHERE blob = $1 AND site = $2";
const OF_BLOB: &str = "SELECT blob, chain, number, site FROM leftover WHERE blob = $1";
const PAGE: &str = "SELECT blob, chain, number, site FROM leftover \
     WHERE blob > $1 ORDER BY blob, site LIMIT $2";
const JOBS: &str = "SELECT name, state FROM job ORDER BY name";
const PUT_JOB: &str = "INSERT INTO job (name, state) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET state = excluded.state";

/// See [`crate::Catalog::intend_shards`].
pub(super) fn intend(conn: &Connection, blob: BlobId, sites: &[SiteId]) -> Result<bool> {
    let Some(row) = blobs::blob(conn, blob)? else { return Ok(false) };
    let left = of_blob(conn, blob)?;
    let taken = |site: &SiteId| {
        row.sites.contains(site) || left.iter().any(|leftover| leftover.site == *site)
    };
    if sites.iter().any(taken) {
        return Ok(false);
    }
    for site in sites {
        leave(conn, &row, *site)?;
    }
    Ok(true)
}

/// See [`crate::Catalog::move_shards`].
pub(super) fn move_shards(
    change: &mut Change<'_>,
    blob: BlobId,
    moves: &[ShardMove],
) -> Result<bool> {
    let Some(row) = blobs::blob(change.conn, blob)? else { return Ok(false) };
    let left: Vec<SiteId> =
        of_blob(change.conn, blob)?.into_iter().map(|leftover| leftover.site).collect();
    let mut sites = row.sites.clone();
    let mut stored = 0;
    for ShardMove { index, from, to } in moves {
        let place = sites.get_mut(index.get()).filter(|site| *site == from);
        let Some(place) = place.filter(|_| !row.sites.contains(to) && left.contains(to)) else {
            return Ok(false);
        };
        *place = *to;
        stored |= 1 << index.get();
    }
    for (index, site) in sites.iter().enumerate() {
        if *site != SiteId::NOWHERE && sites[index + 1..].contains(site) {
            return Ok(false);
        }
    }
    for ShardMove { from, to, .. } in moves {
        execute(change.conn, FORGET, params![blob.as_bytes(), to.as_bytes()])?;
        if *from != SiteId::NOWHERE {
            leave(change.conn, &row, *from)?;
        }
    }
    blobs::set_sites(change, blob, &sites)?;
    blobs::note(change, blob, &sites, stored, 0)
}

fn leave(conn: &Connection, row: &BlobRow, site: SiteId) -> Result<()> {
    let (chain, number) = name_columns(&row.name);
    execute(conn, LEAVE, params![row.blob().as_bytes(), site.as_bytes(), chain, number])?;
    Ok(())
}

pub(super) fn of_blob(conn: &Connection, blob: BlobId) -> Result<Vec<Leftover>> {
    all(conn, OF_BLOB, [blob.as_bytes()], read)
}

/// See [`crate::Catalog::leftovers`].
pub(super) fn page(
    conn: &Connection,
    after: Option<BlobId>,
    limit: usize,
) -> Result<Vec<Leftover>> {
    let after = after.as_ref().map_or(&[][..], |blob| blob.as_bytes());
    let mut page = all(conn, PAGE, params![after, limit_column(limit)], read)?;
    // A blob's leftovers stay together: the last blob is given whole.
    if let Some(last) = page.last().map(|leftover| leftover.name.blob()) {
        page.retain(|leftover| leftover.name.blob() != last);
        page.extend(of_blob(conn, last)?);
    }
    Ok(page)
}

pub(super) fn forget(conn: &Connection, leftover: &Leftover) -> Result<()> {
    execute(conn, FORGET, params![leftover.name.blob().as_bytes(), leftover.site.as_bytes()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Leftover> {
    Ok(Leftover { name: read_name(row)?, site: SiteId::from_bytes(row.get(3)?) })
}

pub(super) fn jobs(conn: &Connection) -> Result<Vec<JobRow>> {
    all(conn, JOBS, [], |row| Ok(JobRow { name: row.get(0)?, state: row.get(1)? }))
}

pub(super) fn job(conn: &Connection, name: &str) -> Result<Option<JobRow>> {
    let named = "SELECT name, state FROM job WHERE name = $1";
    one(conn, named, [name], |row| Ok(JobRow { name: row.get(0)?, state: row.get(1)? }))
}

pub(super) fn put_job(conn: &Connection, job: &JobRow) -> Result<()> {
    execute(conn, PUT_JOB, params![job.name, job.state])?;
    Ok(())
}
