//! Reads a pack back from its shards, and finds out which site has which of them.
//!
//! **Invariant.** What is read is authentic, and chain and number are those of the pack's name. Of
//! several generations under one blob's id none is believed.
//!
//! **Deliberately absent.** Which packs count ([`crate::replay`]).
//!
//! **Crash.** Nothing is kept.

use crate::fanout::bit;
use crate::shared::Shared;
use bytes::BytesMut;
use havre_catalog::{BlobRow, BlobState, PackLink};
use havre_codec::pack::{self, PACK_FRAME_BYTES_MAX};
use havre_codec::{BlobKeys, Gathered, SHARD_HEADER_BYTES, gather_each, shard};
use havre_model::{BlobName, Geometry, Seq, SiteId, SiteSet};

/// Bytes of a pack's shard, at most: with one data shard it is the whole frame and its tags.
const SHARD_BYTES_MAX: u64 = PACK_FRAME_BYTES_MAX as u64 + (1 << 20);

/// A pack as it was read back.
pub(crate) struct ReadPack {
    /// Its place in the chain.
    pub(crate) number: u64,
    /// Its place in the order of all packs.
    pub(crate) order: Seq,
    /// How the pack behind it names it.
    pub(crate) link: PackLink,
    /// The one that it names itself.
    pub(crate) previous: PackLink,
    /// Where its shards are.
    pub(crate) row: BlobRow,
    /// Where its records stand.
    pub(crate) slots: Vec<pack::Slot>,
    /// The frame.
    pub(crate) bytes: Vec<u8>,
}

impl ReadPack {
    /// Its records, as they were sealed.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().filter_map(|slot| {
            let from = usize::try_from(slot.offset).ok()?;
            self.bytes.get(from..from + slot.len as usize)
        })
    }
}

impl Shared {
    /// One pack from the shards that sites have of it.
    ///
    /// # Errors
    /// The geometries that its shards show, when they do not suffice.
    pub(crate) async fn read_pack(
        &self,
        name: BlobName,
        holders: SiteSet,
    ) -> Result<ReadPack, Vec<Geometry>> {
        let hint = self.placements[self.strictest_placement].policy.geometry().data();
        let mut order: Vec<usize> = self.fleet.ranking();
        order.retain(|position| holders.contains(*position));
        let mut shards = Vec::new();
        let (first, others) = order.split_at(hint.min(order.len()));
        for group in [first, others] {
            if group.is_empty() {
                continue;
            }
            shards.extend(self.read_shards(name, group).await);
            let files: Vec<&[u8]> = shards.iter().map(|(_, bytes)| &bytes[..]).collect();
            let gathered = gather_each(name.blob(), &files).unwrap_or_default();
            // Several generations under one blob's id: k sites lie together; none is believed more.
            if let Ok([gathered]) = <[Gathered; 1]>::try_from(gathered) {
                let read: Vec<usize> = shards.iter().map(|(position, _)| *position).collect();
                let geometry = gathered.geometry;
                let pack = self.parse_pack(name, gathered, &read, holders).await;
                return pack.ok_or_else(|| vec![geometry]);
            }
        }
        let headers = shards.iter().map(|(_, bytes)| shard::parse_header(bytes, name.blob()));
        Err(headers.flatten().map(|header| header.geometry()).collect())
    }

    async fn read_shards(&self, name: BlobName, positions: &[usize]) -> Vec<(usize, BytesMut)> {
        let reads = positions.iter().map(|position| async move {
            let shard = self.fleet.site(*position).read_all(&name, SHARD_BYTES_MAX).await;
            shard.ok().map(|bytes| (*position, bytes))
        });
        futures::future::join_all(reads).await.into_iter().flatten().collect()
    }

    async fn parse_pack(
        &self,
        name: BlobName,
        gathered: Gathered,
        read: &[usize],
        holders: SiteSet,
    ) -> Option<ReadPack> {
        let BlobName::Pack { chain, number, blob } = name else { return None };
        let frame = pack::parse(&gathered.bytes).ok()?;
        if frame.header.chain != chain || frame.header.number != number {
            return None;
        }
        let mut row = BlobRow {
            name,
            secret: gathered.secret.clone(),
            geometry: gathered.geometry,
            chunk_bytes: gathered.chunk_bytes,
            bytes: gathered.bytes.len() as u64,
            sites: Vec::new(),
            stored: 0,
            state: BlobState::Incomplete,
            policy: None,
            extent: None,
            bucket: None,
        };
        self.locate_shards(&mut row, &gathered, read, holders).await;
        let link = PackLink { blob, hash: pack::hash(&gathered.bytes) };
        let previous = frame.header.previous;
        let previous = PackLink { blob: previous.blob, hash: previous.hash };
        let (order, slots) = (frame.header.order, frame.slots);
        Some(ReadPack { number, order, link, previous, row, slots, bytes: gathered.bytes })
    }

    /// Finds out which site has which shard, by the headers of those that were not read whole.
    async fn locate_shards(
        &self,
        row: &mut BlobRow,
        gathered: &Gathered,
        read: &[usize],
        holders: SiteSet,
    ) {
        let total = row.geometry.total();
        let mut positions: Vec<Option<usize>> = vec![None; total];
        for (position, index) in read.iter().zip(&gathered.indices) {
            if let Some(index) = index {
                positions[index.get()] = Some(*position);
            }
        }
        let keys = BlobKeys::new(&row.secret, row.name.blob(), row.geometry, row.chunk_bytes);
        let unread = holders.iter().filter(|position| !read.contains(position));
        let name = row.name;
        let headers = unread.map(|position| async move {
            let range = 0..SHARD_HEADER_BYTES as u64;
            (position, self.fleet.site(position).read(&name, range).await)
        });
        for (position, header) in futures::future::join_all(headers).await {
            let Ok(bytes) = header else { continue };
            let Ok(header) = shard::parse_header(&bytes, row.name.blob()) else { continue };
            if shard::verify_header(&keys, &header) {
                positions[header.index().get()].get_or_insert(position);
            }
        }
        let homes = self.homes(row, &positions);
        for (index, home) in row.geometry.indices().zip(homes) {
            let site = match positions[index.get()] {
                Some(position) => {
                    row.stored |= bit(index);
                    self.fleet.site(position).id()
                }
                // A shard that nobody showed is at a site that did not answer, or lost: it is
                // noted as missing, where it was sent, if that can be told.
                None => home.unwrap_or(SiteId::NOWHERE),
            };
            row.sites.push(site);
        }
        if havre_catalog::stored_whole(row.geometry, row.stored) {
            row.state = BlobState::Whole;
        }
    }

    /// Which site each shard of a pack was sent to, where only one can have been: by the policies
    /// of its geometry that the shards at these positions do not contradict.
    fn homes(&self, row: &BlobRow, positions: &[Option<usize>]) -> Vec<Option<SiteId>> {
        let (blob, total) = (row.name.blob(), row.geometry.total());
        let of_geometry = self.placements.iter().map(|placement| &placement.policy);
        let of_geometry = of_geometry.filter(|policy| policy.geometry() == row.geometry);
        let homes = of_geometry.map(|policy| -> Vec<Option<SiteId>> {
            row.geometry.indices().map(|index| policy.home(blob, index)).collect()
        });
        let agrees = |homes: &Vec<Option<SiteId>>| {
            let mut pairs = homes.iter().zip(positions);
            pairs.all(|(home, at)| match (home, at) {
                (Some(home), Some(at)) => *home == self.fleet.site(*at).id(),
                _ => true,
            })
        };
        let both = |one: Vec<Option<SiteId>>, other: Vec<Option<SiteId>>| {
            one.into_iter().zip(other).map(|(one, other)| one.filter(|_| one == other)).collect()
        };
        homes.filter(agrees).reduce(both).unwrap_or_else(|| vec![None; total])
    }
}
