//! Writes an object: small ones inside their record, large ones in extents that the record names.
//!
//! **Invariant.** The answer is given after the record's pack met the guarantee and the catalog
//! applied it (I1). What is stored was verified against every digest that the client gave.
//!
//! **Deliberately absent.** Multipart ([`crate::multipart`]), and which headers mean what
//! (`server`).
//!
//! **Crash.** Before the pack is durable nothing of the object exists but orphaned extents;
//! afterwards all of it.

use crate::body::{Body, BodyError, BodyFacts};
use crate::condition::Condition;
use crate::error::PutError;
use crate::extent::{PartWriter, WrittenPart};
use crate::journal::Entry;
use crate::object::{Bucket, ObjectInfo, PutRequest};
use crate::reservations::Reservation;
use crate::seqs::Ticket;
use crate::transfers::Upload;
use crate::{Engine, shared::Shared};
use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use havre_model::limits::{INLINE_BYTES_MAX, PART_BYTES_MAX};
use havre_model::record::{
    self, Body as RecordBody, ObjectKey, ObjectRecord, Part, Record, SequencedRecord, WrappedKey,
};
use havre_model::{VersionId, limits};
use havre_seal::{PartContext, RecordScope};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a write waits for other writes of its key.
const KEY_WAIT_MAX: Duration = Duration::from_secs(20);

/// What was taken of a body.
pub(crate) enum Taken {
    Inline(Bytes),
    Extents { key: WrappedKey, part: WrittenPart },
}

impl Engine {
    /// Writes an object, replacing the one of the same key.
    ///
    /// # Errors
    /// See [`PutError`]. After [`PutError::Unavailable`] the object is the old one, unless the
    /// gateway died on the way: then it may be the new one.
    pub async fn put(
        &self,
        bucket: &Arc<Bucket>,
        key: ObjectKey,
        request: PutRequest,
        body: &mut dyn Body,
    ) -> Result<ObjectInfo, PutError> {
        if request.bytes.is_some_and(|bytes| bytes > PART_BYTES_MAX) {
            return Err(PutError::TooLarge);
        }
        let placement = self.shared.placement_of(bucket);
        let small = request.bytes.is_some_and(|bytes| bytes <= INLINE_BYTES_MAX as u64);
        let approach = self.journal(placement)?.approach();
        let approach = small.then_some(approach);
        // A condition that fails already is told before the body is taken; it is decided again
        // below.
        if !request.condition.is_none() {
            self.check_condition(bucket, &key, &request.condition).await?;
        }
        let version = VersionId::from_bytes(self.shared.ports.random());
        let context = PartContext {
            tenant: bucket.tenant(),
            bucket: bucket.id(),
            key: key.as_str(),
            version,
            part: 0,
        };
        // The turn comes before the first byte: what waits for one holds no memory.
        let large = request.bytes.is_some_and(|bytes| bytes > INLINE_BYTES_MAX as u64);
        let turn = if large { Some(self.shared.upload().await?) } else { None };
        let taken = self.take_body(placement, &context, body, turn).await?;
        let facts = match body.verified() {
            Ok(facts) => facts,
            Err(error) => {
                taken.discard(&self.shared);
                return Err(error.into());
            }
        };
        let draft = Draft { bucket, key, version, request, facts };
        self.commit_object(placement, draft, taken, approach).await
    }

    /// Decides a condition on what is there now.
    pub(crate) async fn check_condition(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        condition: &Condition,
    ) -> Result<(), PutError> {
        if condition.is_none() {
            return Ok(());
        }
        let latest = self.shared.catalog.latest(bucket.id(), key).await?;
        condition.check(latest.as_ref().and_then(|row| row.object()).map(|it| it.etag.as_str()))
    }

    /// Reserves the bucket and the key, and decides the condition while they are reserved.
    pub(crate) async fn reserve(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        condition: &Condition,
    ) -> Result<Vec<Reservation>, PutError> {
        let gate = self.enter(bucket).await?;
        let reservations = &self.shared.reservations;
        if condition.is_none() {
            return Ok(vec![gate, self.in_time(reservations.shared(bucket.id(), key)).await?]);
        }
        let reservation = self.in_time(reservations.alone(bucket.id(), key)).await?;
        self.check_condition(bucket, key, condition).await?;
        Ok(vec![gate, reservation])
    }

    /// Waits for a key, which another writer may hold as long as its own write takes, or as a pack
    /// waits for the catalog.
    pub(crate) async fn in_time(
        &self,
        reservation: impl Future<Output = Reservation>,
    ) -> Result<Reservation, PutError> {
        let sleep = self.shared.ports.runtime.sleep(KEY_WAIT_MAX);
        match select(pin!(reservation), sleep).await {
            Either::Left((reservation, _)) => Ok(reservation),
            Either::Right(_) => Err(PutError::SlowDown),
        }
    }

    /// Takes the whole body: into memory while it is small, into extents once it is not.
    async fn take_body(
        &self,
        placement: usize,
        context: &PartContext<'_>,
        body: &mut dyn Body,
        mut turn: Option<Upload>,
    ) -> Result<Taken, PutError> {
        let mut head = Head::default();
        loop {
            let chunk = match &mut turn {
                Some(turn) => turn.next(body).await.transpose()?,
                None => body.chunk().await.transpose()?,
            };
            let Some(chunk) = chunk else { return Ok(Taken::Inline(head.into_bytes())) };
            head.push(chunk);
            if head.len() > INLINE_BYTES_MAX {
                let turn = match turn {
                    Some(turn) => turn,
                    None => self.shared.upload().await?,
                };
                return self.take_extents(placement, context, head, body, turn).await;
            }
        }
    }

    async fn take_extents(
        &self,
        placement: usize,
        context: &PartContext<'_>,
        head: Head,
        body: &mut dyn Body,
        turn: Upload,
    ) -> Result<Taken, PutError> {
        let (sealer, key) = seal_part(&self.shared, context)?;
        let placement = &self.shared.placements[placement];
        let mut writer = PartWriter::new(&self.shared, placement, sealer);
        for piece in &head.pieces {
            writer.push(piece).await?;
        }
        drop(head);
        let part = drain(writer, body, turn).await?;
        Ok(Taken::Extents { key, part })
    }

    /// A body as one part in extents, whatever its size: for multipart uploads.
    pub(crate) async fn take_part(
        &self,
        placement: usize,
        context: &PartContext<'_>,
        body: &mut dyn Body,
    ) -> Result<(WrappedKey, WrittenPart), PutError> {
        let turn = self.shared.upload().await?;
        let (sealer, key) = seal_part(&self.shared, context)?;
        let writer = PartWriter::new(&self.shared, &self.shared.placements[placement], sealer);
        Ok((key, drain(writer, body, turn).await?))
    }

    async fn commit_object(
        &self,
        placement: usize,
        draft: Draft<'_>,
        taken: Taken,
        approach: Option<crate::journal::Approach>,
    ) -> Result<ObjectInfo, PutError> {
        let Draft { bucket, key, version, request, facts } = draft;
        let reservations = match self.reserve(bucket, &key, &request.condition).await {
            Ok(reservations) => reservations,
            Err(error) => {
                taken.discard(&self.shared);
                return Err(error);
            }
        };
        let etag = self.etag(&facts);
        let (bytes, body, inline, part) = match taken {
            Taken::Inline(inline) => (inline.len() as u64, RecordBody::Inline, inline, None),
            Taken::Extents { key, part } => {
                let extents = part.extents.clone();
                let checksum = None;
                let whole = Part {
                    number: 0,
                    bytes: part.bytes,
                    etag: String::new(),
                    checksum,
                    key,
                    extents,
                };
                (part.bytes, RecordBody::Parts(vec![whole]), Bytes::new(), Some(part))
            }
        };
        let record = ObjectRecord {
            tenant: bucket.tenant(),
            bucket: bucket.id(),
            key,
            version,
            null_version: true,
            bytes,
            etag,
            modified: self.shared.ports.clock.now(),
            metadata: request.metadata,
            checksum: facts.checksum,
            retention: None,
            legal_hold: false,
            completes: None,
            body,
        };
        let info = ObjectInfo::of(&record);
        let written = part.unwrap_or_default();
        let commission = Commission { placement, reservations, written, approach };
        self.commit_record(bucket, Record::Object(record), &inline, commission).await?;
        Ok(info)
    }

    /// Seals a record of a bucket's scope, makes it durable and applies it.
    pub(crate) async fn commit_record(
        &self,
        bucket: &Bucket,
        record: Record,
        inline: &[u8],
        commission: Commission,
    ) -> Result<(), PutError> {
        let Commission { placement, reservations, mut written, approach } = commission;
        let scope = RecordScope::Bucket(bucket.tenant(), bucket.id());
        let holds = std::mem::take(&mut written.holds);
        let prepared = self.prepare(scope, record, inline, reservations).await;
        let entry = match prepared {
            Ok(entry) => Entry { holds, below: written.below, ..entry },
            Err(error) => {
                written.holds = holds;
                written.discard(&self.shared);
                return Err(error);
            }
        };
        let journal = self.journal(placement)?;
        let commit = journal.submit(vec![entry]).await?;
        drop(approach);
        let result = commit.result().await;
        if result.is_ok() {
            written.note_stragglers(&self.shared);
        }
        result
    }

    /// Numbers and seals a record.
    pub(crate) async fn prepare(
        &self,
        scope: RecordScope,
        record: Record,
        inline: &[u8],
        reservations: Vec<Reservation>,
    ) -> Result<Entry, PutError> {
        // A number drawn before every acknowledged record is known may be one of theirs.
        self.journals()?;
        let ticket: Ticket = self.shared.seqs.next(&*self.shared.catalog).await?;
        let record = SequencedRecord { seq: ticket.seq(), record };
        let plain = record::encode(&record, inline).map_err(|error| match error {
            record::RecordError::OutOfLimit(_) => PutError::TooLarge,
            other => PutError::Internal(other.to_string()),
        })?;
        let sealed =
            self.shared.keyring.seal_record(scope, &plain).map_err(|_| PutError::NoSuchBucket)?;
        Ok(Entry {
            record,
            sealed,
            reservations,
            holds: Vec::new(),
            below: false,
            ticket: Some(Arc::new(ticket)),
        })
    }

    /// The MD5 where the client gave one; otherwise 32 random hex digits with `-1` behind them, a
    /// form that no client takes for an MD5.
    pub(crate) fn etag(&self, facts: &BodyFacts) -> String {
        match facts.md5 {
            Some(md5) => hex::encode(md5),
            None => format!("{}-1", hex::encode(self.shared.ports.random::<16>())),
        }
    }
}

/// An object on its way to its record.
struct Draft<'a> {
    bucket: &'a Arc<Bucket>,
    key: ObjectKey,
    version: VersionId,
    request: PutRequest,
    facts: BodyFacts,
}

/// What goes with a record into the journal.
pub(crate) struct Commission {
    pub(crate) placement: usize,
    pub(crate) reservations: Vec<Reservation>,
    pub(crate) written: WrittenPart,
    pub(crate) approach: Option<crate::journal::Approach>,
}

impl Taken {
    fn discard(self, shared: &Arc<Shared>) {
        if let Self::Extents { part, .. } = self {
            part.discard(shared);
        }
    }
}

fn seal_part(
    shared: &Shared,
    context: &PartContext<'_>,
) -> Result<(havre_seal::PartSealer, WrappedKey), PutError> {
    shared.keyring.seal_part(context).map_err(|_| PutError::NoSuchBucket)
}

/// The rest of a body, into extents.
async fn drain(
    mut writer: PartWriter,
    body: &mut dyn Body,
    mut turn: Upload,
) -> Result<WrittenPart, PutError> {
    while let Some(chunk) = turn.next(body).await {
        writer.push(&chunk?).await?;
        if writer.bytes() > limits::PART_BYTES_MAX {
            return Err(PutError::Body(BodyError::TooLarge));
        }
    }
    writer.finish().await
}

/// The begin of a body, without a copy while it is one piece.
#[derive(Default)]
struct Head {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Head {
    const fn len(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        self.pieces.push(piece);
    }

    fn into_bytes(mut self) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces.remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(self.bytes);
                self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                whole.freeze()
            }
        }
    }
}

impl Shared {
    /// Leave to move the bytes of a large upload: bounds the memory of all of them together.
    async fn upload(&self) -> Result<Upload, PutError> {
        self.transfers.upload(&self.ports).await
    }
}
