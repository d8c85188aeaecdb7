//! The rows of a catalog by kind, in order, a page at a time.
//!
//! **Invariant.** A row's digest is over all that the packs say of it, its number included, and
//! over nothing else: not over where shards are, which changes as they move.
//!
//! **Deliberately absent.** Comparison (the parent module), and rows that no pack says: markers,
//! jobs, totals.
//!
//! **Crash.** Nothing is kept.

use anyhow::{Context, Result};
use havre_catalog::{
    BlobState, Catalog, ListEntry, ListQuery, UploadEntry, UploadRow, UploadsQuery, Version,
    VersionRow,
};
use havre_model::record::{Body, ObjectKey};
use havre_model::{BlobId, BlobName, BucketId, UploadId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;

/// Rows of a page.
const PAGE_ROWS: usize = 500;

/// A kind of row; objects and uploads by bucket.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Tenants,
    Buckets,
    Exclusions,
    Packs,
    Objects(BucketId),
    Uploads(BucketId),
}

/// What rows are ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Id([u8; 16]),
    Text(String),
    Upload(String, u64, [u8; 16]),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) digest: [u8; 32],
    /// The pack that says it, where the catalog knows.
    pub(super) pack: Option<BlobId>,
}

impl Row {
    fn new(key: Key, pack: Option<BlobId>, content: &impl Serialize) -> Result<Self> {
        let content = serde_json::to_vec(content).context("write a row")?;
        Ok(Self { key, digest: Sha256::digest(content).into(), pack })
    }
}

impl Table {
    pub(super) const NAMES: [&'static str; 6] =
        ["tenants", "buckets", "exclusions", "packs", "objects", "uploads"];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Buckets => "buckets",
            Self::Exclusions => "exclusions",
            Self::Packs => "packs",
            Self::Objects(_) => "objects",
            Self::Uploads(_) => "uploads",
        }
    }

    /// The rows after this one, some of them; none behind the last.
    async fn page(self, catalog: &dyn Catalog, after: Option<&Row>) -> Result<Vec<Row>> {
        match (self, after) {
            (Self::Tenants | Self::Buckets | Self::Exclusions, Some(_)) => Ok(Vec::new()),
            (Self::Tenants, None) => {
                let rows = catalog.tenants().await?.into_iter();
                rows.map(|it| {
                    let key = Key::Id(*it.record.tenant.as_bytes());
                    Row::new(key, None, &(it.seq.value(), it.record))
                })
                .collect()
            }
            (Self::Buckets, None) => {
                let rows = catalog.all_buckets().await?.into_iter();
                rows.map(|it| {
                    let key = Key::Id(*it.record.bucket.as_bytes());
                    Row::new(key, None, &(it.seq.value(), it.record))
                })
                .collect()
            }
            (Self::Exclusions, None) => {
                let rows = catalog.exclusions().await?.into_iter().map(|it| format!("{it:?}"));
                let mut rows: Vec<String> = rows.collect();
                rows.sort_unstable();
                rows.into_iter().map(|text| Row::new(Key::Text(text), None, &())).collect()
            }
            (Self::Packs, after) => packs(catalog, after).await,
            (Self::Objects(bucket), after) => objects(catalog, bucket, after).await,
            (Self::Uploads(bucket), after) => uploads(catalog, bucket, after).await,
        }
    }

    /// The row that this catalog has under the same key.
    pub(super) async fn row(self, catalog: &dyn Catalog, row: &Row) -> Result<Option<Row>> {
        match (self, &row.key) {
            (Self::Packs, Key::Id(id)) => pack(catalog, BlobId::from_bytes(*id)).await,
            (Self::Objects(bucket), Key::Text(key)) => object(catalog, bucket, key).await,
            (Self::Uploads(bucket), Key::Upload(.., id)) => {
                match catalog.upload(bucket, UploadId::from_bytes(*id)).await? {
                    Some(upload) => Ok(Some(upload_row(catalog, upload).await?)),
                    None => Ok(None),
                }
            }
            _ => {
                let rows = self.page(catalog, None).await?;
                Ok(rows.into_iter().find(|found| found.key == row.key))
            }
        }
    }
}

async fn pack(catalog: &dyn Catalog, id: BlobId) -> Result<Option<Row>> {
    let Some(row) = catalog.blob(id).await? else { return Ok(None) };
    // A retired pack says nothing; whether sites still show it does not matter.
    if row.state == BlobState::Garbage {
        return Ok(None);
    }
    let content =
        (row.name.to_string(), &row.secret, row.geometry.to_string(), (row.chunk_bytes, row.bytes));
    Row::new(Key::Id(*id.as_bytes()), Some(id), &content).map(Some)
}

async fn packs(catalog: &dyn Catalog, after: Option<&Row>) -> Result<Vec<Row>> {
    let mut after = after.and_then(|row| row.pack);
    loop {
        let blobs = catalog.blobs(after, PAGE_ROWS).await?;
        let Some(last) = blobs.last() else { return Ok(Vec::new()) };
        after = Some(last.name.blob());
        let mut rows = Vec::new();
        for blob in blobs.iter().filter(|blob| matches!(blob.name, BlobName::Pack { .. })) {
            rows.extend(pack(catalog, blob.name.blob()).await?);
        }
        // A page of extents only is passed over.
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
}

async fn objects(catalog: &dyn Catalog, bucket: BucketId, after: Option<&Row>) -> Result<Vec<Row>> {
    let after = after.and_then(|row| match &row.key {
        Key::Text(key) => Some(key.clone()),
        _ => None,
    });
    let query = ListQuery {
        bucket,
        prefix: String::new(),
        delimiter: None,
        after,
        after_prefix: false,
        limit: PAGE_ROWS,
    };
    let mut rows = Vec::new();
    for entry in catalog.list(query).await?.entries {
        if let ListEntry::Object(listed) = entry {
            rows.extend(object(catalog, bucket, &listed.key).await?);
        }
    }
    Ok(rows)
}

async fn object(catalog: &dyn Catalog, bucket: BucketId, key: &str) -> Result<Option<Row>> {
    let key = ObjectKey::new(key.to_owned()).context("read a key")?;
    let Some(row) = catalog.latest(bucket, &key).await? else { return Ok(None) };
    let VersionRow { seq, place, version } = row;
    let Version::Object(mut object) = version else { return Ok(None) };
    // Where an extent's bytes are, if they were dispersed anew.
    let mut moved = Vec::new();
    if let Body::Parts(parts) = &mut object.body {
        for extent in parts.iter_mut().flat_map(|part| &mut part.extents) {
            extent.sites.clear();
            extent.stored = 0;
            if let Some(row) = catalog.extent(extent.blob).await?.filter(|row| row.extent.is_some())
            {
                moved.push((row.blob().to_string(), row.geometry.to_string(), row.secret));
            }
        }
    }
    let place_text = (place.blob.to_string(), place.offset, place.len);
    let content = (seq.value(), place_text, &object, moved);
    Row::new(Key::Text(key.as_str().to_owned()), Some(place.blob), &content).map(Some)
}

async fn uploads(catalog: &dyn Catalog, bucket: BucketId, after: Option<&Row>) -> Result<Vec<Row>> {
    let (key_marker, upload_marker) = match after.map(|row| &row.key) {
        Some(Key::Upload(key, _, id)) => (Some(key.clone()), Some(UploadId::from_bytes(*id))),
        _ => (None, None),
    };
    let query = UploadsQuery {
        bucket,
        prefix: String::new(),
        delimiter: None,
        key_marker,
        upload_marker,
        after_prefix: false,
        limit: PAGE_ROWS,
    };
    let mut rows = Vec::new();
    for entry in catalog.uploads(query).await?.entries {
        if let UploadEntry::Upload(upload) = entry {
            rows.push(upload_row(catalog, *upload).await?);
        }
    }
    Ok(rows)
}

/// An upload with its parts.
async fn upload_row(catalog: &dyn Catalog, upload: UploadRow) -> Result<Row> {
    let UploadRow { record, seq } = upload;
    let id = record.upload;
    let key = Key::Upload(record.key.as_str().to_owned(), seq.value(), *id.as_bytes());
    let mut digest = Sha256::new();
    let mut after = 0;
    loop {
        let parts = catalog.parts(id, after, PAGE_ROWS).await?;
        let Some(last) = parts.last() else { break };
        after = last.record.part.number;
        for mut part in parts {
            for extent in &mut part.record.part.extents {
                extent.sites.clear();
                extent.stored = 0;
            }
            digest.update(serde_json::to_vec(&(part.seq.value(), part.record))?);
        }
    }
    Row::new(key, None, &(seq.value(), record, hex::encode(digest.finalize())))
}

/// A catalog's rows of one kind, with a page of them in memory.
pub(super) struct Rows<'a> {
    catalog: &'a dyn Catalog,
    table: Table,
    page: VecDeque<Row>,
    last: Option<Row>,
    ended: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(catalog: &'a dyn Catalog, table: Table) -> Self {
        Self { catalog, table, page: VecDeque::new(), last: None, ended: false }
    }

    /// The next row.
    pub(super) async fn peek(&mut self) -> Result<Option<&Row>> {
        if self.page.is_empty() && !self.ended {
            self.page = self.table.page(self.catalog, self.last.as_ref()).await?.into();
            self.last = self.page.back().cloned();
            self.ended = self.page.is_empty();
        }
        Ok(self.page.front())
    }

    /// Takes the next row if it has this key.
    pub(super) fn take(&mut self, key: &Key) -> Option<Row> {
        self.page.pop_front_if(|row| row.key == *key)
    }
}
