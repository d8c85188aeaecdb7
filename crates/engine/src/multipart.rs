//! Multipart uploads: begun, filled part by part, completed or given up.
//!
//! **Invariant.** A completed object consists of exactly the parts that the client named, each
//! verified when it was uploaded; an upload ends once. Parts and completion of an upload are
//! ordered by reserving the upload.
//!
//! **Deliberately absent.** Checksums of parts on the way in (`server`); here they are only
//! compared and composed.
//!
//! **Crash.** Uploads and parts are records: they survive. A part without a record is an orphan.

use crate::Engine;
use crate::body::Body;
use crate::checksum;
use crate::error::{CompleteError, EngineError, PutError};
use crate::extent::WrittenPart;
use crate::object::{
    Bucket, CompleteRequest, CompletedPart, ObjectInfo, PartInfo, UploadInfo, UploadRequest,
};
use crate::put::Commission;
use havre_catalog::{PartRow, UploadsPage, UploadsQuery};
use havre_model::limits::{OBJECT_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX};
use havre_model::record::{
    Body as RecordBody, Checksum, ObjectKey, ObjectRecord, Part, PartRecord, Record, UploadAborted,
    UploadRecord,
};
use havre_model::{UploadId, VersionId};
use havre_seal::PartContext;
use md5::{Digest, Md5};
use std::sync::Arc;

/// Parts that are looked up at a time.
const PARTS_PAGE: usize = 1000;

impl UploadInfo {
    fn of(record: UploadRecord) -> Self {
        let UploadRecord { upload, key, initiated, metadata, checksum, .. } = record;
        Self { upload, key, initiated, metadata, checksum }
    }
}

impl PartInfo {
    /// What is known of an uploaded part.
    #[must_use]
    pub fn of(row: &PartRow) -> Self {
        let PartRecord { modified, part, .. } = &row.record;
        Self {
            number: part.number,
            bytes: part.bytes,
            etag: part.etag.clone(),
            checksum: part.checksum.clone(),
            modified: *modified,
        }
    }
}

/// The key under which an upload is reserved.
pub(crate) fn upload_key(upload: UploadId) -> ObjectKey {
    ObjectKey::new(upload.to_string()).expect("hex is a valid key")
}

impl Engine {
    /// Begins an upload.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn create_upload(
        &self,
        bucket: &Arc<Bucket>,
        key: ObjectKey,
        request: UploadRequest,
    ) -> Result<UploadId, PutError> {
        let upload = UploadId::from_bytes(self.shared.ports.random());
        let record = Record::Upload(UploadRecord {
            tenant: bucket.tenant(),
            bucket: bucket.id(),
            key,
            upload,
            initiated: self.shared.ports.clock.now(),
            metadata: request.metadata,
            checksum: request.checksum,
            retention: None,
            legal_hold: false,
        });
        let reservations = vec![self.enter(bucket).await?];
        self.commit_record(bucket, record, b"", self.commission(bucket, reservations)).await?;
        Ok(upload)
    }

    /// The upload, while it is in progress and for this key.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<Option<UploadInfo>, EngineError> {
        let row = self.shared.catalog.upload(bucket.id(), upload).await?;
        let record = row.map(|row| row.record).filter(|record| record.key == *key);
        Ok(record.map(UploadInfo::of))
    }

    /// Takes a part, replacing an earlier one of the same number.
    ///
    /// # Errors
    /// See [`PutError`].
    pub async fn put_part(
        &self,
        bucket: &Arc<Bucket>,
        key: &ObjectKey,
        upload: UploadId,
        number: u16,
        body: &mut dyn Body,
    ) -> Result<PartInfo, PutError> {
        if !(1..=PARTS_MAX).contains(&number) {
            return Err(PutError::Internal("a part's number is from 1 to 10,000".into()));
        }
        if self.upload(bucket, key, upload).await?.is_none() {
            return Err(PutError::NoSuchUpload);
        }
        let context = PartContext {
            tenant: bucket.tenant(),
            bucket: bucket.id(),
            key: key.as_str(),
            version: VersionId::from(upload),
            part: number,
        };
        let placement = self.shared.placement_of(bucket);
        let (wrapped, written) = self.take_part(placement, &context, body).await?;
        let facts = match body.verified() {
            Ok(facts) => facts,
            Err(error) => {
                written.discard(&self.shared);
                return Err(error.into());
            }
        };
        let part = Part {
            number,
            bytes: written.bytes,
            etag: self.etag(&facts),
            checksum: facts.checksum,
            key: wrapped,
            extents: written.extents.clone(),
        };
        self.commit_part(bucket, key, upload, part, written).await
    }

    async fn commit_part(
        &self,
        bucket: &Arc<Bucket>,
        key: &ObjectKey,
        upload: UploadId,
        part: Part,
        written: WrittenPart,
    ) -> Result<PartInfo, PutError> {
        let gate = self.enter(bucket).await?;
        let reserved = self.shared.reservations.shared(bucket.id(), &upload_key(upload)).await;
        if self.upload(bucket, key, upload).await?.is_none() {
            written.discard(&self.shared);
            return Err(PutError::NoSuchUpload);
        }
        let modified = self.shared.ports.clock.now();
        let info = PartInfo {
            number: part.number,
            bytes: part.bytes,
            etag: part.etag.clone(),
            checksum: part.checksum.clone(),
            modified,
        };
        let (tenant, id) = (bucket.tenant(), bucket.id());
        let record = Record::Part(PartRecord { tenant, bucket: id, upload, modified, part });
        let commission = Commission { written, ..self.commission(bucket, vec![gate, reserved]) };
        self.commit_record(bucket, record, b"", commission).await?;
        Ok(info)
    }

    fn commission(
        &self,
        bucket: &Bucket,
        reservations: Vec<crate::reservations::Reservation>,
    ) -> Commission {
        let placement = self.shared.placement_of(bucket);
        Commission { placement, reservations, written: WrittenPart::default(), approach: None }
    }

    /// Makes the object of the named parts.
    ///
    /// A repeat after success answers with the same object while it is the latest of its key.
    ///
    /// # Errors
    /// See [`CompleteError`]. The upload goes on after an error.
    pub async fn complete(
        &self,
        bucket: &Arc<Bucket>,
        key: ObjectKey,
        upload: UploadId,
        request: CompleteRequest,
    ) -> Result<ObjectInfo, CompleteError> {
        let gate = self.enter(bucket).await?;
        let ended = self.shared.reservations.alone(bucket.id(), &upload_key(upload)).await;
        let Some(upload_info) = self.upload(bucket, &key, upload).await.map_err(PutError::from)?
        else {
            return self.completed_before(bucket, &key, upload).await;
        };
        let parts = self.chosen_parts(upload, &request.parts).await?;
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        if bytes > OBJECT_BYTES_MAX {
            return Err(PutError::TooLarge.into());
        }
        let checksum = checksum::of_object(upload_info.checksum, &parts);
        check_expectations(&request, bytes, checksum.as_ref())?;
        let mut reservations = self.reserve(bucket, &key, &request.condition).await?;
        reservations.extend([gate, ended]);
        let record = ObjectRecord {
            tenant: bucket.tenant(),
            bucket: bucket.id(),
            key,
            version: VersionId::from(upload),
            null_version: true,
            bytes,
            etag: etag_of(&parts),
            modified: self.shared.ports.clock.now(),
            metadata: upload_info.metadata,
            checksum,
            retention: None,
            legal_hold: false,
            completes: Some(upload),
            body: RecordBody::Parts(parts),
        };
        let info = ObjectInfo::of(&record);
        let commission = self.commission(bucket, reservations);
        self.commit_record(bucket, Record::Object(record), b"", commission).await?;
        Ok(info)
    }

    async fn completed_before(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<ObjectInfo, CompleteError> {
        let latest = self.head(bucket, key).await.map_err(PutError::from)?;
        match latest {
            Some(object) if object.record.completes == Some(upload) => Ok(object.info().clone()),
            _ => Err(PutError::NoSuchUpload.into()),
        }
    }

    /// The uploaded parts that the list names, in its order.
    async fn chosen_parts(
        &self,
        upload: UploadId,
        list: &[CompletedPart],
    ) -> Result<Vec<Part>, CompleteError> {
        if list.is_empty() {
            return Err(CompleteError::NoParts);
        }
        if list.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(CompleteError::InvalidPartOrder);
        }
        let mut chosen = Vec::with_capacity(list.len());
        let mut uploaded = Vec::new().into_iter();
        let mut after = 0;
        for wanted in list {
            let part: Part = loop {
                let Some(row) = uploaded.next() else {
                    let page = self.shared.catalog.parts(upload, after, PARTS_PAGE).await?;
                    let Some(last) = page.last() else {
                        return Err(CompleteError::InvalidPart(wanted.number));
                    };
                    after = last.record.part.number;
                    uploaded = page.into_iter();
                    continue;
                };
                let row: PartRow = row;
                if row.record.part.number > wanted.number {
                    return Err(CompleteError::InvalidPart(wanted.number));
                }
                if row.record.part.number == wanted.number {
                    break row.record.part;
                }
            };
            check_part(wanted, &part)?;
            chosen.push(part);
        }
        // Only once every part is known to be there: which parts are missing is the graver news.
        let all_but_last = chosen.iter().take(list.len() - 1);
        if let Some(part) = all_but_last.into_iter().find(|part| part.bytes < PART_BYTES_MIN) {
            let Part { number, bytes, etag, .. } = part.clone();
            return Err(CompleteError::EntityTooSmall { number, bytes, etag });
        }
        Ok(chosen)
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`PutError::NoSuchUpload`] when it ended already.
    pub async fn abort(
        &self,
        bucket: &Arc<Bucket>,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<(), PutError> {
        let gate = self.enter(bucket).await?;
        let ended = self.shared.reservations.alone(bucket.id(), &upload_key(upload)).await;
        if self.upload(bucket, key, upload).await?.is_none() {
            return Err(PutError::NoSuchUpload);
        }
        let (tenant, id) = (bucket.tenant(), bucket.id());
        let record = Record::UploadAborted(UploadAborted { tenant, bucket: id, upload });
        let commission = self.commission(bucket, vec![gate, ended]);
        self.commit_record(bucket, record, b"", commission).await
    }

    /// The parts of an upload with a number above `after`.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn parts(
        &self,
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<Vec<PartInfo>, EngineError> {
        let rows = self.shared.catalog.parts(upload, after, limit).await?;
        Ok(rows.iter().map(PartInfo::of).collect())
    }

    /// A page of the bucket's uploads in progress.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, EngineError> {
        Ok(self.shared.catalog.uploads(query).await?)
    }
}

fn check_part(wanted: &CompletedPart, part: &Part) -> Result<(), CompleteError> {
    let checksum = part.checksum.as_ref().map(|checksum| &checksum.value);
    let checksum_differs = wanted.checksum.is_some() && wanted.checksum.as_ref() != checksum;
    if wanted.etag != part.etag || checksum_differs {
        return Err(CompleteError::InvalidPart(wanted.number));
    }
    Ok(())
}

fn check_expectations(
    request: &CompleteRequest,
    bytes: u64,
    checksum: Option<&Checksum>,
) -> Result<(), CompleteError> {
    let bytes_differ = request.bytes.is_some_and(|expected| expected != bytes);
    let differs = |expected: &Vec<u8>| checksum.is_none_or(|found| found.value != *expected);
    if bytes_differ || request.checksum.as_ref().is_some_and(differs) {
        return Err(CompleteError::Mismatch);
    }
    Ok(())
}

/// MD5 over the parts' MD5s (or what stands in their place), `-`, and the number of parts: what
/// clients that sent the MD5s expect.
fn etag_of(parts: &[Part]) -> String {
    let mut digest = Md5::new();
    for part in parts {
        let bare = part.etag.split('-').next().unwrap_or_default();
        match hex::decode(bare) {
            Ok(bytes) => digest.update(bytes),
            Err(_) => digest.update(bare),
        }
    }
    format!("{}-{}", hex::encode(digest.finalize()), parts.len())
}
