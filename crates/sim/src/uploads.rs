//! Multipart uploads of the simulated clients: begun, filled, completed, given up, left lying.
//!
//! **Invariant.** One client at a time works on an upload, and what it was told of it is
//! remembered; what it was not told is in doubt and nothing is asserted of it.
//!
//! **Deliberately absent.** Two completions at once.
//!
//! **Crash.** A client that dies leaves in doubt what it was doing.

use crate::client::{Client, SimBody, Trouble, Wanted, key_of, metadata, outcome_of, pattern};
use crate::history::{Action, Outcome, Place, Require};
use crate::ledger::Rule;
use crate::rng::Rng;
use bytes::{Bytes, BytesMut};
use havre_engine::{
    CompleteError, CompleteRequest, CompletedPart, Condition, PutError, UploadRequest,
};
use havre_model::UploadId;
use havre_model::limits::PART_BYTES_MIN;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A part that was acknowledged.
#[derive(Clone)]
pub struct SentPart {
    /// Its ETag.
    pub etag: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// An upload that was acknowledged and not ended.
#[derive(Clone)]
pub struct OpenUpload {
    /// What it will write, and where.
    pub place: Place,
    /// The number of that write.
    pub number: u64,
    /// The upload.
    pub upload: UploadId,
    /// Parts that were acknowledged.
    pub parts: BTreeMap<u16, SentPart>,
    /// Parts of which nobody knows whether they were replaced.
    pub doubtful: BTreeSet<u16>,
    /// Whether somebody works on it.
    is_busy: bool,
}

/// All open uploads. Clones share them.
#[derive(Clone, Default)]
pub struct Uploads {
    open: Arc<Mutex<Vec<OpenUpload>>>,
}

impl Uploads {
    /// Those that nobody works on.
    #[must_use]
    pub fn idle(&self) -> Vec<OpenUpload> {
        self.open.lock().iter().filter(|upload| !upload.is_busy).cloned().collect()
    }

    /// Takes one to work on.
    fn take(&self, rng: &mut Rng) -> Option<Busy> {
        let mut open = self.open.lock();
        let idle: Vec<usize> = (0..open.len()).filter(|at| !open[*at].is_busy).collect();
        if idle.is_empty() {
            return None;
        }
        let upload = &mut open[*rng.pick(&idle)];
        upload.is_busy = true;
        Some(Busy { uploads: self.clone(), upload: upload.clone() })
    }

    fn change(&self, upload: UploadId, change: impl FnOnce(&mut OpenUpload)) {
        if let Some(upload) = self.open.lock().iter_mut().find(|it| it.upload == upload) {
            change(upload);
        }
    }

    fn doubt(&self, upload: UploadId, part: u16) {
        self.change(upload, |it| it.doubtful.extend([part]));
    }

    fn forget(&self, upload: UploadId) {
        self.open.lock().retain(|it| it.upload != upload);
    }
}

/// An upload that one client works on, until it is dropped.
struct Busy {
    uploads: Uploads,
    upload: OpenUpload,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.uploads.change(self.upload.upload, |upload| upload.is_busy = false);
    }
}

impl Client {
    /// Begins an upload.
    pub async fn begin_upload(&self, place: Place) {
        let Ok(bucket) = self.bucket(place).await else { return };
        let strict = self.is_strict();
        let number = self.history.number();
        let request = UploadRequest { metadata: metadata(number), ..UploadRequest::default() };
        self.note(format_args!("upload {number} begins at {place:?}"));
        match self.engine.create_upload(&bucket, key_of(place), request).await {
            Ok(upload) => {
                let (parts, doubtful, is_busy) = (BTreeMap::new(), BTreeSet::new(), false);
                let open = OpenUpload { place, number, upload, parts, doubtful, is_busy };
                self.uploads.open.lock().push(open);
                self.note(format_args!("upload {number} is {upload}"));
            }
            Err(error) => {
                self.judge(&error, strict);
                self.note(format_args!("upload {number}: {error}"));
            }
        }
    }

    /// Sends a part of some upload.
    pub async fn send_part(&self, mut rng: Rng) {
        let Some(busy) = self.uploads.take(&mut rng) else { return };
        let OpenUpload { place, upload, number, .. } = busy.upload;
        let Ok(bucket) = self.bucket(place).await else { return };
        let strict = self.is_strict();
        // Only the last part may be small, and large ones take time.
        let (part, len) = match rng.below(10) {
            0 => (1, usize::try_from(PART_BYTES_MIN).expect("5 MiB") + rng.index(1000)),
            _ => (2, 1 + rng.index(400_000)),
        };
        let bytes = pattern(self.history.number(), len);
        let trouble = if rng.chance(50) { Trouble::Digest } else { Trouble::None };
        let mut body = SimBody::new(&self.executor, bytes.clone(), trouble, rng.fork());
        let was_sure = !busy.upload.doubtful.contains(&part);
        self.uploads.doubt(upload, part);
        self.note(format_args!("part {part} of upload {number}: {len} bytes, {trouble:?}"));
        let key = key_of(place);
        let result = self.engine.put_part(&bucket, &key, upload, part, &mut body).await;
        match result {
            Ok(info) => {
                let sent = SentPart { etag: info.etag, bytes };
                self.note(format_args!("part {part} of upload {number} is acknowledged"));
                self.uploads.change(upload, |it| {
                    it.doubtful.remove(&part);
                    it.parts.insert(part, sent);
                });
            }
            Err(error) => {
                self.note(format_args!("part {part} of upload {number}: {error}"));
                self.judge(&error, strict);
                self.check_upload_is_there(&error, number, strict);
                if was_sure && outcome_of(&error) == Outcome::Nothing {
                    self.uploads
                        .change(upload, |it| it.doubtful.retain(|doubtful| *doubtful != part));
                }
            }
        }
    }

    fn check_upload_is_there(&self, error: &PutError, number: u64, strict: bool) {
        if strict && matches!(error, PutError::NoSuchUpload) {
            let detail = format!("upload {number} was acknowledged and is gone");
            self.ledger.breach(Rule::AcknowledgedIsReadable, detail);
        }
    }

    /// Ends some upload, by an object if it has parts.
    pub async fn end_upload(&self, mut rng: Rng) {
        let Some(busy) = self.uploads.take(&mut rng) else { return };
        let upload = busy.upload.clone();
        let sure = |part: &&u16| !upload.doubtful.contains(*part);
        let numbers: Vec<u16> = upload.parts.keys().filter(sure).copied().collect();
        // From here on it is in doubt whether the upload is there.
        self.uploads.forget(upload.upload);
        if numbers.is_empty() || rng.chance(200) {
            return self.abort_upload(&upload).await;
        }
        let wanted = if rng.chance(200) { Wanted::Absent } else { Wanted::Nothing };
        self.complete_upload(&upload, &numbers, wanted, rng).await;
    }

    async fn abort_upload(&self, upload: &OpenUpload) {
        let Ok(bucket) = self.bucket(upload.place).await else { return };
        let strict = self.is_strict();
        let key = key_of(upload.place);
        let result = self.engine.abort(&bucket, &key, upload.upload).await;
        self.note(format_args!("upload {} is given up: {result:?}", upload.number));
        if let Err(error) = result {
            self.judge(&error, strict);
            self.check_upload_is_there(&error, upload.number, strict);
        }
    }

    async fn complete_upload(
        &self,
        upload: &OpenUpload,
        numbers: &[u16],
        wanted: Wanted,
        mut rng: Rng,
    ) {
        let Ok(bucket) = self.bucket(upload.place).await else { return };
        let (place, number) = (upload.place, upload.number);
        let mut whole = BytesMut::new();
        let mut parts = Vec::new();
        for number in numbers {
            let part = &upload.parts[number];
            whole.extend_from_slice(&part.bytes);
            parts.push(CompletedPart { number: *number, etag: part.etag.clone(), checksum: None });
        }
        self.history.intend(number, place, whole.freeze());
        let (condition, require) = match wanted {
            Wanted::Absent => (Condition::absent(), Require::Absent),
            _ => (Condition::default(), Require::Nothing),
        };
        let request = CompleteRequest { parts, condition, ..CompleteRequest::default() };
        self.note(format_args!("upload {number} is completed at {place:?} of {numbers:?}"));
        let strict = self.is_strict();
        let action = Action::Write { value: Some(number), require };
        let invocation = self.history.begin(place, action);
        let again = request.clone();
        let result = self.engine.complete(&bucket, key_of(place), upload.upload, request).await;
        match &result {
            Ok(info) => {
                self.history.observe(number, &info.etag);
                invocation.end(Outcome::Done);
            }
            Err(CompleteError::Put(error)) => {
                self.judge(error, strict);
                self.check_upload_is_there(error, number, strict);
                invocation.end(outcome_of(error));
            }
            Err(error) => {
                if strict {
                    let detail = format!("upload {number} lost a part: {error}");
                    self.ledger.breach(Rule::AcknowledgedIsReadable, detail);
                }
                invocation.end(Outcome::Nothing);
            }
        }
        self.note(format_args!("upload {number}: {:?}", result.as_ref().map(|info| &info.etag)));
        // A client that did not hear the answer asks again: that is no second write.
        if result.is_ok() && rng.chance(300) {
            let result = self.engine.complete(&bucket, key_of(place), upload.upload, again).await;
            self.note(format_args!("upload {number} again: {:?}", result.map(|info| info.etag)));
        }
    }

    /// Whether every upload that nobody ended is there, with its parts.
    pub async fn check_uploads(&self) {
        for upload in self.uploads.idle() {
            let Ok(bucket) = self.bucket(upload.place).await else { return };
            let found = self.engine.upload(&bucket, &key_of(upload.place), upload.upload).await;
            let parts = self.engine.parts(upload.upload, 0, 100).await;
            let (Ok(found), Ok(parts)) = (found, parts) else { return };
            let lost = upload.parts.iter().find(|(number, sent)| {
                let is_there =
                    parts.iter().any(|part| part.number == **number && part.etag == sent.etag);
                !is_there && !upload.doubtful.contains(*number)
            });
            if found.is_none() || lost.is_some() {
                let lost = lost.map(|(number, _)| number);
                let detail = format!(
                    "upload {} lost part {lost:?}, or is gone: {}",
                    upload.number,
                    found.is_none()
                );
                self.ledger.breach(Rule::AcknowledgedIsReadable, detail);
            }
        }
    }
}
