//! Chains of packs, how far each is applied, and the markers of the sites.
//!
//! **Invariant.** A chain's number rises in the transaction that applies the pack of that number.
//! Live, the pack must refer to the last one applied, so that none in between is missing.
//!
//! **Deliberately absent.** Following a chain by its hashes: `engine` does when it replays.
//!
//! **Crash.** A chain that was opened is durable before its first pack is written.

use super::change::Change;
use super::stored::{Result, all, execute, exists, one, present};
use crate::{AppliedPack, CatalogError, ChainState, PackLink};
use havre_model::{BlobId, ChainId, SiteId};
use rusqlite::{Connection, Row, params};

const CHAINS: &str =
    "SELECT chain, gateway, policy, number, link_blob, link_hash FROM chain ORDER BY chain";
const CHAIN: &str =
    "SELECT chain, gateway, policy, number, link_blob, link_hash FROM chain WHERE chain = $1";
const BY_POLICY: &str = "SELECT chain, gateway, policy, number, link_blob, link_hash FROM chain \
     WHERE gateway = $1 AND policy = $2";
const OPEN: &str = "INSERT INTO chain (chain, gateway, policy, number, link_blob, link_hash) \
     VALUES ($1, $2, $3, 0, $4, $5) \
     ON CONFLICT (chain) DO UPDATE SET gateway = excluded.gateway, policy = excluded.policy";
const ADVANCE: &str = "INSERT INTO chain (chain, number, link_blob, link_hash) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (chain) DO UPDATE \
     SET number = excluded.number, link_blob = excluded.link_blob, link_hash = excluded.link_hash \
     WHERE chain.number < excluded.number";
const PACK_APPLIED: &str = "SELECT 1 FROM blob WHERE chain = $1 AND number = $2";
const MARKER: &str = "SELECT marker FROM site_marker WHERE site = $1";
const MARKERS: &str = "SELECT site, marker FROM site_marker ORDER BY site";
const SET_MARKER: &str = "INSERT INTO site_marker (site, marker) VALUES ($1, $2) \
     ON CONFLICT (site) DO UPDATE SET marker = excluded.marker";

/// Moves the pack's chain on to it. False when the pack is applied already.
pub(super) fn advance(change: &Change<'_>, pack: &AppliedPack) -> Result<bool> {
    let number = i64::try_from(pack.number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or(CatalogError::OutOfRange("pack number"))?;
    let chain = pack.chain.as_bytes();
    if change.recovering {
        if exists(change.conn, PACK_APPLIED, params![chain, number])? {
            return Ok(false);
        }
    } else {
        let state = one(change.conn, CHAIN, [chain], read)?;
        let (applied, link) = state.map_or((0, PackLink::NONE), |state| (state.number, state.link));
        if pack.number <= applied {
            return Ok(false);
        }
        if pack.previous != link {
            let (chain, number) = (pack.chain, pack.number);
            return Err(CatalogError::Gap { chain, applied, number });
        }
    }
    let link = &pack.link;
    execute(change.conn, ADVANCE, params![chain, number, link.blob.as_bytes(), link.hash])?;
    Ok(true)
}

pub(super) fn chains(conn: &Connection) -> Result<Vec<ChainState>> {
    all(conn, CHAINS, [], read)
}

/// The policy that a chain is written for, where it is a gateway's own.
pub(super) fn policy(conn: &Connection, chain: ChainId) -> Result<Option<String>> {
    Ok(one(conn, CHAIN, [chain.as_bytes()], read)?.and_then(|state| state.policy))
}

/// See [`crate::Catalog::open_chain`]. A chain that is known from its packs only is adopted.
pub(super) fn open(
    conn: &Connection,
    gateway: &str,
    policy: &str,
    proposed: ChainId,
) -> Result<ChainState> {
    if let Some(state) = one(conn, BY_POLICY, params![gateway, policy], read)? {
        return Ok(state);
    }
    let state = one(conn, CHAIN, [proposed.as_bytes()], read)?;
    if state.is_some_and(|state| state.gateway.is_some()) {
        return Err(CatalogError::ForeignChain(proposed));
    }
    let link = PackLink::NONE;
    let row = params![proposed.as_bytes(), gateway, policy, link.blob.as_bytes(), link.hash];
    execute(conn, OPEN, row)?;
    present(one(conn, CHAIN, [proposed.as_bytes()], read)?, "the chain")
}

fn read(row: &Row<'_>) -> Result<ChainState> {
    Ok(ChainState {
        chain: ChainId::from_bytes(row.get(0)?),
        gateway: row.get(1)?,
        policy: row.get(2)?,
        number: row.get::<_, i64>(3)?.cast_unsigned(),
        link: PackLink { blob: BlobId::from_bytes(row.get(4)?), hash: row.get(5)? },
    })
}

pub(super) fn site_marker(conn: &Connection, site: SiteId) -> Result<Option<[u8; 16]>> {
    one(conn, MARKER, [site.as_bytes()], |row| Ok(row.get(0)?))
}

pub(super) fn site_markers(conn: &Connection) -> Result<Vec<(SiteId, [u8; 16])>> {
    all(conn, MARKERS, [], |row| Ok((SiteId::from_bytes(row.get(0)?), row.get(1)?)))
}

pub(super) fn set_site_marker(conn: &Connection, site: SiteId, marker: [u8; 16]) -> Result<()> {
    execute(conn, SET_MARKER, params![site.as_bytes(), marker])?;
    Ok(())
}
