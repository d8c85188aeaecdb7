//! Shows where an object's shards are, and in what state, by asking the sites.
//!
//! **Invariant.** What is shown was read from the sites just now; nothing is changed.
//!
//! **Deliberately absent.** Repairs (`keeper`), and any plaintext.
//!
//! **Crash.** Nothing is written.

use crate::Engine;
use crate::blob::BlobHandle;
use crate::error::ReadError;
use crate::fanout::bit;
use crate::gather::shard_at;
use crate::object::Object;
use havre_model::record::Body;
use havre_model::{BlobName, Geometry, ShardIndex, SiteId, SiteSet};
use havre_sites::SiteErrorKind;
use std::sync::Arc;

/// What a site gave of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardState {
    /// Its first chunk is authentic.
    Authentic,
    /// Its first chunk is not what was stored there.
    Corrupt,
    /// The site says that it has no such shard.
    Missing,
    /// The site did not answer.
    Unreachable,
    /// The site is no longer configured; or it was away during a recovery, nobody knows which it
    /// is (its id is then all zeros), and none shows the shard.
    UnknownSite,
}

/// One shard of a blob.
#[derive(Debug, Clone)]
pub struct ShardInspection {
    /// Its index; data shards come first.
    pub index: usize,
    /// Whether it carries data rather than parity.
    pub data: bool,
    /// The site's id.
    pub site: SiteId,
    /// The site's configured name, if it is configured.
    pub site_name: Option<String>,
    /// Whether the catalog has it as stored.
    pub noted: bool,
    /// What the site gave.
    pub state: ShardState,
}

/// A blob with its shards.
#[derive(Debug, Clone)]
pub struct BlobInspection {
    /// Its name at the sites.
    pub name: BlobName,
    /// Its geometry.
    pub geometry: Geometry,
    /// Bytes before dispersal.
    pub bytes: u64,
    /// Its shards.
    pub shards: Vec<ShardInspection>,
}

/// An object with its blobs: the pack of its record, and its extents.
#[derive(Debug, Clone)]
pub struct ObjectInspection {
    /// The pack that its record stands in.
    pub pack: BlobInspection,
    /// Its extents, in order; none for an object inside its record.
    pub extents: Vec<BlobInspection>,
}

impl Engine {
    /// Asks every site for the first chunk of every shard of the object, at most `extents_max`
    /// extents.
    ///
    /// # Errors
    /// When the catalog fails or knows the object's blobs no more.
    pub async fn inspect(
        &self,
        object: &Object,
        extents_max: usize,
    ) -> Result<ObjectInspection, ReadError> {
        let pack = self.inspect_blob(&self.shared.blob(object.place.blob).await?).await;
        let ids: Vec<_> = match &object.record.body {
            Body::Inline => Vec::new(),
            Body::Parts(parts) => {
                let extents = parts.iter().flat_map(|part| &part.extents);
                extents.take(extents_max).map(|extent| extent.blob).collect()
            }
        };
        let mut extents = Vec::with_capacity(ids.len());
        for id in ids {
            extents.push(self.inspect_blob(&self.shared.extent(id).await?).await);
        }
        Ok(ObjectInspection { pack, extents })
    }

    async fn inspect_blob(&self, blob: &Arc<BlobHandle>) -> BlobInspection {
        let row = &blob.row;
        let positions = self.positions(blob).await;
        let looks = row.geometry.indices().map(|index| {
            let position = positions[index.get()];
            self.inspect_shard(blob, index, position)
        });
        let shards = futures::future::join_all(looks).await;
        BlobInspection { name: row.name, geometry: row.geometry, bytes: row.bytes, shards }
    }

    /// Where each shard is: by the catalog, or where it does not know, at the site that shows it.
    async fn positions(&self, blob: &BlobHandle) -> Vec<Option<usize>> {
        let mut positions = blob.positions.clone();
        if positions.iter().any(Option::is_none) {
            let fleet = &self.shared.fleet;
            let known: SiteSet = positions.iter().flatten().copied().collect();
            let others = (0..fleet.len()).filter(|at| !known.contains(*at));
            let looks = others.map(|at| async move { (at, shard_at(fleet, blob, at).await) });
            for (at, found) in futures::future::join_all(looks).await {
                if let Ok(index) = found {
                    positions[index.get()].get_or_insert(at);
                }
            }
        }
        positions
    }

    async fn inspect_shard(
        &self,
        blob: &BlobHandle,
        index: ShardIndex,
        position: Option<usize>,
    ) -> ShardInspection {
        let noted = blob.row.sites[index.get()];
        let site = position.map_or(noted, |at| self.shared.fleet.site(at).id());
        let site_name = position.map(|at| self.shared.fleet.site(at).name().to_owned());
        let state = match position {
            None => ShardState::UnknownSite,
            Some(at) => self.look(blob, index, at).await,
        };
        ShardInspection {
            index: index.get(),
            data: index.get() < blob.row.geometry.data(),
            site,
            site_name,
            noted: blob.row.stored & bit(index) != 0,
            state,
        }
    }

    async fn look(&self, blob: &BlobHandle, index: ShardIndex, position: usize) -> ShardState {
        let range = blob.layout.sealed_chunk_range(0);
        match self.shared.fleet.site(position).read(&blob.row.name, range).await {
            Ok(mut chunk) => {
                let last = blob.layout.stripes() == 1;
                match blob.keys.open_chunk(index, 0, last, &mut chunk) {
                    Ok(_) => ShardState::Authentic,
                    Err(_) => ShardState::Corrupt,
                }
            }
            Err(error) => match error.kind {
                SiteErrorKind::Missing => ShardState::Missing,
                SiteErrorKind::Invalid => ShardState::Corrupt,
                _ => ShardState::Unreachable,
            },
        }
    }
}
