//! A reference model: what a set of records means, computed from the whole set at once, so that it
//! cannot depend on an order; and what is needed to fill and to read a catalog.
pub(crate) mod script;

use havre_catalog::{
    AppliedPack, AppliedRecord, BlobRow, BlobState, Catalog, Counts, ListEntry, ListQuery,
    ListedObject, PackLink, PackPlace, PartRow, SqliteCatalog, UploadEntry, UploadRow,
    UploadsQuery, Version, VersionRow,
};
use havre_model::limits::PACK_CHUNK_BYTES;
use havre_model::record::{
    BlobSecret, Body, BucketDeleted, BucketKeyEpoch, BucketRecord, Checksum, ChecksumAlgorithm,
    ChecksumKind, DeleteMarkerRecord, Extent, Metadata, ObjectKey, ObjectRecord, Part, PartRecord,
    Record, SequencedRecord, TenantRecord, TombstoneRecord, UploadAborted, UploadRecord,
    Versioning, WrappedKey,
};
use havre_model::{
    BlobId, BlobName, BucketId, ChainId, Geometry, Seq, SiteId, TenantId, Timestamp, UploadId,
    VersionId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) const TENANT: TenantId = TenantId::from_bytes([1; 16]);

pub(crate) fn bucket(n: u8) -> BucketId {
    BucketId::from_bytes([0xb0 + n; 16])
}

pub(crate) fn chain(n: u8) -> ChainId {
    ChainId::from_bytes([0xc0 + n; 16])
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text.to_owned()).unwrap()
}

pub(crate) fn version(n: u8) -> VersionId {
    VersionId::from_bytes([n; 16])
}

pub(crate) fn upload(n: u8) -> UploadId {
    UploadId::from_bytes([0x50 + n; 16])
}

/// An extent whose every field follows from its id, as two records of one extent agree on it.
pub(crate) fn extent(id: [u8; 4]) -> Extent {
    let geometry = Geometry::new(3, 3).unwrap();
    let mut blob = [0xe0; 16];
    blob[..4].copy_from_slice(&id);
    let missing =
        if id.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) % 3 == 0 { 1 } else { 0 };
    Extent {
        blob: BlobId::from_bytes(blob),
        secret: BlobSecret::from_bytes([id[3]; 32]),
        geometry,
        bytes: u64::from(id[2]) + 1,
        sites: (0..6).map(|site| SiteId::from_bytes([site; 8])).collect(),
        stored: 0b11_1111 & !missing,
    }
}

pub(crate) fn part(number: u16, extents: Vec<Extent>) -> Part {
    Part {
        number,
        bytes: 5,
        etag: format!("part-{number}"),
        checksum: None,
        key: WrappedKey::from_bytes(vec![7; 40]),
        extents,
    }
}

pub(crate) fn tenant_record(n: u8, name: &str) -> Record {
    Record::Tenant(TenantRecord {
        tenant: TenantId::from_bytes([n; 16]),
        name: name.to_owned(),
        key: WrappedKey::from_bytes(vec![1, 2]),
        created: Timestamp::from_millis(3),
    })
}

pub(crate) fn bucket_record(n: u8, name: &str) -> Record {
    Record::Bucket(BucketRecord {
        tenant: TENANT,
        bucket: bucket(n),
        name: name.to_owned(),
        policy: String::new(),
        created: Timestamp::from_millis(4),
        keys: vec![BucketKeyEpoch { epoch: 1, key: WrappedKey::from_bytes(vec![9; 40]) }],
        versioning: Versioning::Unversioned,
        settings: Vec::new(),
    })
}

pub(crate) fn bucket_deleted(n: u8) -> Record {
    Record::BucketDeleted(BucketDeleted { tenant: TENANT, bucket: bucket(n) })
}

pub(crate) fn object(
    n: u8,
    name: &str,
    id: VersionId,
    null_version: bool,
    body: Body,
) -> ObjectRecord {
    let checksum = id.as_bytes()[0].is_multiple_of(2).then(|| Checksum {
        algorithm: ChecksumAlgorithm::Crc64nvme,
        kind: ChecksumKind::FullObject,
        value: vec![1; 8],
    });
    ObjectRecord {
        tenant: TENANT,
        bucket: bucket(n),
        key: key(name),
        version: id,
        null_version,
        bytes: u64::from(id.as_bytes()[0]) * 10,
        etag: format!("{:032x}-1", id.as_bytes()[0]),
        modified: Timestamp::from_millis(1_700_000_000_000),
        metadata: Metadata {
            content_type: Some("text/plain".into()),
            storage_class: (id.as_bytes()[0] == 3).then(|| "GLACIER_IR".into()),
            ..Metadata::default()
        },
        checksum,
        retention: None,
        legal_hold: false,
        completes: None,
        body,
    }
}

pub(crate) fn inline(n: u8, name: &str, id: u8) -> Record {
    Record::Object(object(n, name, version(id), true, Body::Inline))
}

pub(crate) fn large(n: u8, name: &str, id: u8, extents: Vec<Extent>) -> Record {
    Record::Object(object(n, name, version(id), true, Body::Parts(vec![part(0, extents)])))
}

pub(crate) fn tombstone(n: u8, name: &str, version: Option<VersionId>) -> Record {
    Record::Tombstone(TombstoneRecord {
        tenant: TENANT,
        bucket: bucket(n),
        key: key(name),
        version,
    })
}

pub(crate) fn marker(n: u8, name: &str, id: u8, null_version: bool) -> Record {
    Record::DeleteMarker(DeleteMarkerRecord {
        tenant: TENANT,
        bucket: bucket(n),
        key: key(name),
        version: version(id),
        null_version,
        modified: Timestamp::from_millis(77),
    })
}

pub(crate) fn upload_record(n: u8, name: &str, id: UploadId) -> Record {
    Record::Upload(UploadRecord {
        tenant: TENANT,
        bucket: bucket(n),
        key: key(name),
        upload: id,
        initiated: Timestamp::from_millis(5),
        metadata: Metadata::default(),
        checksum: None,
        retention: None,
        legal_hold: false,
    })
}

pub(crate) fn part_record(n: u8, id: UploadId, part: Part) -> Record {
    Record::Part(PartRecord {
        tenant: TENANT,
        bucket: bucket(n),
        upload: id,
        modified: Timestamp::from_millis(6),
        part,
    })
}

pub(crate) fn aborted(n: u8, id: UploadId) -> Record {
    Record::UploadAborted(UploadAborted { tenant: TENANT, bucket: bucket(n), upload: id })
}

pub(crate) fn completed(n: u8, name: &str, id: UploadId, parts: Vec<Part>) -> Record {
    let body = Body::Parts(parts);
    Record::Object(ObjectRecord {
        completes: Some(id),
        ..object(n, name, VersionId::from(id), true, body)
    })
}

/// What the successor of a pack that [`pack`] made refers to.
pub(crate) fn link(chain_number: u8, number: u64) -> PackLink {
    if number == 0 {
        return PackLink::NONE;
    }
    let mut blob = [0xf0 + chain_number; 16];
    blob[..8].copy_from_slice(&number.to_be_bytes());
    PackLink { blob: BlobId::from_bytes(blob), hash: [number.to_le_bytes()[0]; 32] }
}

/// A pack of these records.
pub(crate) fn pack(chain_number: u8, number: u64, records: Vec<(u64, Record)>) -> AppliedPack {
    let link_of = link(chain_number, number);
    let records = records.into_iter().enumerate().map(|(place, (seq, record))| AppliedRecord {
        record: SequencedRecord { seq: Seq::new(seq), record },
        offset: place as u64 * 100,
        len: 90,
    });
    AppliedPack {
        chain: chain(chain_number),
        number,
        link: link_of,
        previous: link(chain_number, number - 1),
        pack: BlobRow {
            name: BlobName::Pack { chain: chain(chain_number), number, blob: link_of.blob },
            secret: BlobSecret::from_bytes([8; 32]),
            geometry: Geometry::new(2, 1).unwrap(),
            chunk_bytes: PACK_CHUNK_BYTES,
            bytes: 1000,
            sites: (0..3).map(|site| SiteId::from_bytes([site; 8])).collect(),
            stored: if number.is_multiple_of(5) { 0b011 } else { 0b111 },
            state: BlobState::Whole,
            policy: None,
            extent: None,
            bucket: None,
        },
        below_guarantee: false,
        settled: Seq::default(),
        order: Seq::default(),
        records: records.collect(),
    }
}

/// Everything that a catalog says.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct View {
    pub(crate) tenants: BTreeMap<TenantId, (u64, TenantRecord)>,
    pub(crate) buckets: BTreeMap<BucketId, (u64, BucketRecord)>,
    /// By bucket, key and version id, and whether it is the latest.
    pub(crate) versions: BTreeMap<(BucketId, String, VersionId), (VersionRow, bool)>,
    pub(crate) listed: Vec<(BucketId, ListedObject)>,
    pub(crate) uploads: Vec<(BucketId, String, u64, UploadRecord)>,
    pub(crate) parts: BTreeMap<(UploadId, u16), (u64, PartRecord)>,
    pub(crate) blobs: BTreeMap<BlobId, BlobRow>,
    pub(crate) chains: BTreeMap<ChainId, (u64, PackLink)>,
    pub(crate) counts: Counts,
}

impl View {
    /// Compares part by part: the whole is too long to read.
    #[track_caller]
    pub(crate) fn assert_same(&self, expected: &Self) {
        assert_eq!(self.tenants, expected.tenants);
        assert_eq!(self.buckets, expected.buckets);
        for (id, row) in &expected.versions {
            assert_eq!(self.versions.get(id), Some(row), "{id:?}");
        }
        assert_eq!(self.versions.len(), expected.versions.len());
        assert_eq!(self.listed, expected.listed);
        assert_eq!(self.uploads, expected.uploads);
        assert_eq!(self.parts, expected.parts);
        for (id, row) in &expected.blobs {
            assert_eq!(self.blobs.get(id), Some(row), "{id:?}");
        }
        assert_eq!(self.blobs.len(), expected.blobs.len());
        assert_eq!(self.chains, expected.chains);
        assert_eq!(self.counts, expected.counts);
        assert_eq!(self, expected);
    }
}

type Slot = (BucketId, ObjectKey, Option<VersionId>);

/// A record with what its pack says about it.
struct Said<'p> {
    seq: u64,
    record: &'p Record,
    place: PackPlace,
    below: bool,
}

fn said(packs: &[AppliedPack]) -> Vec<Said<'_>> {
    let mut said = Vec::new();
    for pack in packs {
        said.extend(pack.records.iter().map(|applied| Said {
            seq: applied.record.seq.value(),
            record: &applied.record.record,
            place: PackPlace { blob: pack.pack.blob(), offset: applied.offset, len: applied.len },
            below: pack.below_guarantee,
        }));
    }
    said
}

fn extents(parts: &[Part]) -> impl Iterator<Item = &Extent> {
    parts.iter().flat_map(|part| &part.extents)
}

fn parts_of(object: &ObjectRecord) -> &[Part] {
    match &object.body {
        Body::Inline => &[],
        Body::Parts(parts) => parts,
    }
}

fn slot_of(record: &Record) -> Option<Slot> {
    Some(match record {
        Record::Object(o) => (o.bucket, o.key.clone(), (!o.null_version).then_some(o.version)),
        Record::DeleteMarker(m) => {
            (m.bucket, m.key.clone(), (!m.null_version).then_some(m.version))
        }
        Record::Tombstone(t) => (t.bucket, t.key.clone(), t.version),
        _ => return None,
    })
}

/// The latest of everything that `id` groups, by seq.
fn latest<'s, K: Ord, T>(
    said: &'s [Said<'_>],
    id: impl Fn(&'s Said<'_>) -> Option<(K, T)>,
) -> BTreeMap<K, (u64, T)> {
    let mut latest = BTreeMap::new();
    for one in said {
        if let Some((id, value)) = id(one) {
            let newer = latest.get(&id).is_none_or(|(seq, _)| *seq < one.seq);
            if newer {
                latest.insert(id, (one.seq, value));
            }
        }
    }
    latest
}

/// What the packs mean, whatever their order.
pub(crate) fn meaning(packs: &[AppliedPack]) -> View {
    let said = said(packs);
    let ended_buckets: BTreeSet<BucketId> = said
        .iter()
        .filter_map(|one| match one.record {
            Record::BucketDeleted(deleted) => Some(deleted.bucket),
            _ => None,
        })
        .collect();
    let ended_uploads: BTreeSet<UploadId> = said
        .iter()
        .filter_map(|one| match one.record {
            Record::UploadAborted(aborted) => Some(aborted.upload),
            Record::Object(object) => object.completes,
            Record::Upload(upload) if ended_buckets.contains(&upload.bucket) => Some(upload.upload),
            _ => None,
        })
        .collect();
    let mut view = View {
        tenants: latest(&said, |one| match one.record {
            Record::Tenant(tenant) => Some((tenant.tenant, tenant.clone())),
            _ => None,
        }),
        buckets: latest(&said, |one| match one.record {
            Record::Bucket(bucket) => Some((bucket.bucket, bucket.clone())),
            _ => None,
        }),
        ..View::default()
    };
    view.buckets.retain(|bucket, _| !ended_buckets.contains(bucket));
    add_versions(&mut view, &said, &ended_buckets);
    let uploads = latest(&said, |one| match one.record {
        Record::Upload(upload) if !ended_uploads.contains(&upload.upload) => {
            Some((upload.upload, upload.clone()))
        }
        _ => None,
    });
    view.parts = latest(&said, |one| match one.record {
        Record::Part(part) if uploads.contains_key(&part.upload) => {
            Some(((part.upload, part.part.number), part.clone()))
        }
        _ => None,
    });
    view.uploads = uploads
        .into_values()
        .map(|(seq, upload)| (upload.bucket, upload.key.as_str().to_owned(), seq, upload))
        .collect();
    view.uploads.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    add_blobs(&mut view, packs, &said);
    for pack in packs {
        let entry = view.chains.entry(pack.chain).or_insert((pack.number, pack.link));
        if entry.0 < pack.number {
            *entry = (pack.number, pack.link);
        }
    }
    count(&mut view);
    view
}

fn add_versions(view: &mut View, said: &[Said<'_>], ended_buckets: &BTreeSet<BucketId>) {
    let holders =
        latest(said, |one| slot_of(one.record).map(|slot| (slot, (one.record, one.place))));
    let mut newest: BTreeMap<(BucketId, ObjectKey), u64> = BTreeMap::new();
    let mut rows = Vec::new();
    for ((bucket, key, _), (seq, (record, place))) in holders {
        let (id, content) = match record {
            Record::Object(object) => (object.version, Version::Object(Box::new(object.clone()))),
            Record::DeleteMarker(marker) => (marker.version, Version::DeleteMarker(marker.clone())),
            _ => continue,
        };
        if ended_buckets.contains(&bucket) {
            continue;
        }
        let top = newest.entry((bucket, key.clone())).or_default();
        *top = seq.max(*top);
        rows.push((bucket, key, id, VersionRow { seq: Seq::new(seq), place, version: content }));
    }
    for (bucket, key, id, row) in rows {
        let is_latest = newest[&(bucket, key.clone())] == row.seq.value();
        if let (true, Some(object)) = (is_latest, row.object()) {
            view.listed.push((bucket, listed(object)));
        }
        view.versions.insert((bucket, key.as_str().to_owned(), id), (row, is_latest));
    }
    view.listed.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
}

pub(crate) fn listed(object: &ObjectRecord) -> ListedObject {
    ListedObject {
        key: object.key.as_str().to_owned(),
        bytes: object.bytes,
        etag: object.etag.clone(),
        modified: object.modified,
        storage_class: object.metadata.storage_class.clone(),
        checksum_algorithm: object.checksum.as_ref().map(|checksum| checksum.algorithm),
        checksum_kind: object.checksum.as_ref().map(|checksum| checksum.kind),
    }
}

fn add_blobs(view: &mut View, packs: &[AppliedPack], said: &[Said<'_>]) {
    let needed: BTreeSet<BlobId> = {
        let objects = view.versions.values().filter_map(|(row, _)| row.object());
        let parts =
            view.parts.values().flat_map(|(_, record)| extents(std::slice::from_ref(&record.part)));
        objects.flat_map(|object| extents(parts_of(object))).chain(parts).map(|e| e.blob).collect()
    };
    for one in said {
        let named = match one.record {
            Record::Object(object) => parts_of(object),
            Record::Part(part) => std::slice::from_ref(&part.part),
            _ => &[],
        };
        for extent in extents(named) {
            let row = view.blobs.entry(extent.blob).or_insert_with(|| BlobRow::from_extent(extent));
            if one.below && row.state == BlobState::Incomplete {
                row.state = BlobState::BelowGuarantee;
            }
        }
    }
    for row in view.blobs.values_mut().filter(|row| !needed.contains(&row.blob())) {
        row.state = BlobState::Garbage;
    }
    for pack in packs {
        let mut row = pack.pack.clone();
        row.state = match (
            row.stored.count_ones() as usize == row.geometry.total(),
            pack.below_guarantee,
        ) {
            (true, _) => BlobState::Whole,
            (false, false) => BlobState::Incomplete,
            (false, true) => BlobState::BelowGuarantee,
        };
        view.blobs.insert(row.blob(), row);
    }
}

fn count(view: &mut View) {
    let objects: Vec<&ObjectRecord> =
        view.versions.values().filter_map(|(row, _)| row.object()).collect();
    let blobs = |wanted: &dyn Fn(&BlobRow) -> bool| {
        view.blobs.values().filter(|row| wanted(row)).count() as u64
    };
    let is_pack = |row: &BlobRow| matches!(row.name, BlobName::Pack { .. });
    view.counts = Counts {
        tenants: view.tenants.len() as u64,
        buckets: view.buckets.len() as u64,
        objects: objects.len() as u64,
        bytes: objects.iter().map(|object| object.bytes).sum(),
        uploads: view.uploads.len() as u64,
        parts: view.parts.len() as u64,
        blobs: blobs(&|row| !is_pack(row)),
        packs: blobs(&is_pack),
        garbage: blobs(&|row| row.state == BlobState::Garbage),
        incomplete: blobs(&|row| {
            matches!(row.state, BlobState::Incomplete | BlobState::BelowGuarantee)
        }),
        below_guarantee: blobs(&|row| row.state == BlobState::BelowGuarantee),
    };
}

/// Everything that the catalog says. Versions and parts are asked for by the ids in `packs`.
pub(crate) async fn view(catalog: &SqliteCatalog, packs: &[AppliedPack]) -> View {
    let mut view = View::default();
    for row in catalog.tenants().await.unwrap() {
        view.tenants.insert(row.record.tenant, (row.seq.value(), row.record));
    }
    for row in catalog.all_buckets().await.unwrap() {
        view.buckets.insert(row.record.bucket, (row.seq.value(), row.record));
    }
    let said = said(packs);
    let slots: BTreeSet<_> = said
        .iter()
        .filter_map(|one| match one.record {
            Record::Object(o) => Some((o.bucket, o.key.clone(), o.version)),
            Record::DeleteMarker(m) => Some((m.bucket, m.key.clone(), m.version)),
            _ => None,
        })
        .collect();
    for (bucket, key, id) in &slots {
        let latest = catalog.latest(*bucket, key).await.unwrap();
        if let Some(row) = catalog.version(*bucket, key, *id).await.unwrap() {
            let is_latest = latest.as_ref().is_some_and(|latest| latest.seq == row.seq);
            let id = (*bucket, key.as_str().to_owned(), *id);
            view.versions.insert(id, (row, is_latest));
        }
    }
    let buckets: BTreeSet<BucketId> = said
        .iter()
        .filter_map(|one| match one.record {
            Record::Object(o) => Some(o.bucket),
            Record::DeleteMarker(m) => Some(m.bucket),
            Record::Upload(u) => Some(u.bucket),
            _ => None,
        })
        .collect();
    for bucket in buckets {
        view.listed.extend(list_all(catalog, bucket).await.into_iter().map(|o| (bucket, o)));
        for row in uploads_all(catalog, bucket).await {
            let key = row.record.key.as_str().to_owned();
            for PartRow { seq, record } in catalog.parts(row.record.upload, 0, 100).await.unwrap() {
                view.parts.insert((record.upload, record.part.number), (seq.value(), record));
            }
            view.uploads.push((bucket, key, row.seq.value(), row.record));
        }
    }
    read_blobs(catalog, &mut view).await;
    for state in catalog.chains().await.unwrap() {
        view.chains.insert(state.chain, (state.number, state.link));
    }
    view.counts = catalog.counts().await.unwrap();
    view
}

async fn read_blobs(catalog: &SqliteCatalog, view: &mut View) {
    loop {
        let after = view.blobs.keys().next_back().copied();
        let page = catalog.blobs(after, 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        // Of which bucket an extent is, the model does not say.
        let rows = page.into_iter().map(|row| BlobRow { bucket: None, ..row });
        view.blobs.extend(rows.map(|row| (row.blob(), row)));
    }
    let ids = |rows: Vec<BlobRow>| rows.into_iter().map(|row| row.blob()).collect::<Vec<_>>();
    let of = |states: &[BlobState]| {
        let rows = view.blobs.values().filter(|row| states.contains(&row.state));
        rows.map(BlobRow::blob).collect::<Vec<_>>()
    };
    let garbage = ids(catalog.garbage(None, 10_000).await.unwrap());
    if !catalog.is_recovering().await.unwrap() {
        assert_eq!(garbage, of(&[BlobState::Garbage]));
    }
    let repairs = ids(catalog.below_guarantee(None, 10_000).await.unwrap());
    assert_eq!(repairs, of(&[BlobState::Incomplete, BlobState::BelowGuarantee]));
}

pub(crate) fn everything(bucket: BucketId, limit: usize) -> ListQuery {
    ListQuery {
        bucket,
        prefix: String::new(),
        delimiter: None,
        after: None,
        after_prefix: false,
        limit,
    }
}

async fn list_all(catalog: &SqliteCatalog, bucket: BucketId) -> Vec<ListedObject> {
    let mut objects: Vec<ListedObject> = Vec::new();
    loop {
        let after = objects.last().map(|object| object.key.clone());
        let page = catalog.list(ListQuery { after, ..everything(bucket, 3) }).await.unwrap();
        for entry in page.entries {
            let ListEntry::Object(object) = entry else { panic!("no delimiter was given") };
            objects.push(object);
        }
        if !page.more {
            return objects;
        }
    }
}

async fn uploads_all(catalog: &SqliteCatalog, bucket: BucketId) -> Vec<UploadRow> {
    let mut rows: Vec<UploadRow> = Vec::new();
    loop {
        let last = rows.last().map(|row| &row.record);
        let query = UploadsQuery {
            bucket,
            prefix: String::new(),
            delimiter: None,
            key_marker: last.map(|record| record.key.as_str().to_owned()),
            upload_marker: last.map(|record| record.upload),
            after_prefix: false,
            limit: 2,
        };
        let page = catalog.uploads(query).await.unwrap();
        for entry in page.entries {
            let UploadEntry::Upload(row) = entry else { panic!("no delimiter was given") };
            rows.push(*row);
        }
        if !page.more {
            return rows;
        }
    }
}
