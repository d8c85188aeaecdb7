//! One object: read at the source, written at the gateway, compared.
//!
//! **Invariant.** What is written is what was read of one state of the source's object: every read
//! names its ETag. Nothing is committed at the destination whose length, or a digest that the
//! source shows, is another; the gateway compares CRC-64 and stores it. A write replaces what was
//! found when it was decided on, and nothing else. Memory is bounded by [`BUDGET_BYTES`].
//!
//! **Deliberately absent.** Writing to the source, by whatever request.
//!
//! **Crash.** A write in one request is there or not. One in parts is an upload that nobody ended;
//! the journal knows it, and the next run ends it.

use super::BUDGET_BYTES;
use super::bucket::{Ask, Bucket, Entry, RequestError, bare, header};
use super::decide::{Decision, Found, OBJECT_BYTES_MAX, Shape, decide};
use super::journal::Journal;
use super::metadata::{LeftBehind, carried, left_behind};
use super::pace::Pace;
use super::sign::Dialect;
use super::sums::{Claims, Sums, Totals, crc64_text, etag_of_parts, md5_text, parts_of};
use super::xml::{Element, escape};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use tokio::sync::Semaphore;

/// How often an object that changes while it is read is begun again.
const CHANGES_MAX: u32 = 3;
/// What is read at once to compare.
const COMPARED_BYTES: u64 = 16 << 20;
/// Memory is given out in pieces of this size.
const PERMIT_BYTES: u64 = 64 * 1024;

/// Why an object was not brought over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source could not be read.
    #[error("read it at the source: {0}")]
    Source(RequestError),
    /// The gateway did not take it.
    #[error("write it: {0}")]
    Destination(RequestError),
    /// It was another each time.
    #[error("it changed at the source each time while it was read")]
    Changing,
    /// Not the bytes that the source says it has.
    #[error(
        "the bytes that came are not those of the source's {0}; if its ETags are no MD5s, say \
         --etags-are-no-md5"
    )]
    Refuted(&'static str),
    /// It is too long.
    #[error("it is longer than 5 TiB")]
    TooLong,
    /// What was written reads differently.
    #[error("what was read back differs from what was read at the source")]
    Differs,
    /// The destination has it under another ETag than it was to have.
    #[error("it is not there as it was written")]
    Unconfirmed,
    /// The journal cannot be written.
    #[error("write the journal: {0}")]
    Journal(#[from] io::Error),
}

/// What became of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Copied(LeftBehind),
    Unchanged,
    /// Somebody wrote it at the destination later.
    Kept,
    /// It is not at the source any more.
    Gone,
}

/// How a read of one state of an object fails.
enum ReadError {
    Changed,
    Gone,
    Failed(RequestError),
}

/// Why a copy of one state of an object ended without one.
enum Ended {
    Changed,
    Gone,
    Kept,
    Failed(CopyError),
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Changed => Self::Changed,
            ReadError::Gone => Self::Gone,
            ReadError::Failed(error) => Self::Failed(CopyError::Source(error)),
        }
    }
}

impl<E: Into<CopyError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How objects are brought over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Write over what others wrote at the destination later.
    pub overwrite: bool,
    /// Read everything back, and compare what is there already too.
    pub verify: bool,
    /// The source's ETags are no MD5s, though they look like it.
    pub etags_are_no_md5: bool,
}

/// The upload that one worker has open.
pub(super) type OpenUpload = Mutex<Option<(String, String)>>;

/// Brings objects over.
pub(super) struct Copier {
    pub(super) source: Bucket,
    pub(super) destination: Bucket,
    pub(super) journal: Mutex<Journal>,
    pub(super) pace: Pace,
    pub(super) rules: Rules,
    budget: Semaphore,
}

/// One state of a source's object, on its way.
struct Draft<'a> {
    source: &'a Entry,
    condition: (HeaderName, HeaderValue),
    claims: Claims,
    metadata: HeaderMap,
}

/// An object that was committed.
struct Written {
    etag: String,
    totals: Totals,
}

impl Copier {
    pub(super) fn new(
        (source, destination): (Bucket, Bucket),
        journal: Journal,
        pace: Pace,
        rules: Rules,
    ) -> Self {
        let permits = usize::try_from(BUDGET_BYTES / PERMIT_BYTES).unwrap_or(usize::MAX);
        let (journal, budget) = (Mutex::new(journal), Semaphore::new(permits));
        Self { source, destination, journal, pace, rules, budget }
    }

    /// What would be done about an object, the bytes not asked.
    async fn judge(
        &self,
        source: &mut Entry,
        found: Option<&Entry>,
    ) -> Result<Option<Decision>, CopyError> {
        if source.etag.is_empty() && !self.refresh(source).await? {
            return Ok(None);
        }
        let found = found.map(|entry| {
            let journal = self.journal.lock();
            let is_copy = journal.is_copy(source, &entry.etag);
            Found { entry, is_copy, is_own: is_copy || journal.is_own(&entry.key, &entry.etag) }
        });
        Ok(Some(decide(source, found, self.rules.overwrite)))
    }

    /// Looks at the source's object anew; false when it is gone.
    async fn refresh(&self, source: &mut Entry) -> Result<bool, CopyError> {
        let found = self.source.look(&source.key, None).await.map_err(CopyError::Source)?;
        let Some((entry, _)) = found else { return Ok(false) };
        *source = entry;
        Ok(true)
    }

    /// Brings one object over, if it has to be.
    pub(super) async fn bring(
        &self,
        source: Entry,
        found: Option<&Entry>,
        open: &OpenUpload,
    ) -> Result<Outcome, CopyError> {
        let other = source.as_listed.clone();
        let outcome = self.bring_named(source, found, open).await?;
        match self.by_other_name(&outcome, other.as_deref()).await? {
            Some((source, found)) => self.bring_named(source, found.as_ref(), open).await,
            None => Ok(outcome),
        }
    }

    /// What would become of an object.
    pub(super) async fn foretell(
        &self,
        mut source: Entry,
        found: Option<&Entry>,
    ) -> Result<Outcome, CopyError> {
        let other = source.as_listed.clone();
        let outcome = foretold(self.judge(&mut source, found).await?);
        match self.by_other_name(&outcome, other.as_deref()).await? {
            Some((mut source, found)) => {
                Ok(foretold(self.judge(&mut source, found.as_ref()).await?))
            }
            None => Ok(outcome),
        }
    }

    /// The objects on both sides by the name that a listing shows, after they were not found by the
    /// one that it should mean: some say that they encode names, and do not.
    async fn by_other_name(
        &self,
        outcome: &Outcome,
        key: Option<&str>,
    ) -> Result<Option<(Entry, Option<Entry>)>, CopyError> {
        let (Outcome::Gone, Some(key)) = (outcome, key) else { return Ok(None) };
        let named = self.source.look(key, None).await.map_err(CopyError::Source)?;
        let Some((source, _)) = named else { return Ok(None) };
        let found = self.destination.look(key, None).await;
        let found = match found {
            Err(error) if error.code() == "NoSuchBucket" => None,
            found => found.map_err(CopyError::Destination)?,
        };
        Ok(Some((source, found.map(|(entry, _)| entry))))
    }

    async fn bring_named(
        &self,
        mut source: Entry,
        found: Option<&Entry>,
        open: &OpenUpload,
    ) -> Result<Outcome, CopyError> {
        for _ in 0..CHANGES_MAX {
            let Some(decision) = self.judge(&mut source, found).await? else {
                return Ok(Outcome::Gone);
            };
            match self.carry_out(&decision, &source, found, open).await {
                Ok(outcome) => return Ok(outcome),
                Err(Ended::Failed(error)) => return Err(error),
                Err(Ended::Kept) => return Ok(Outcome::Kept),
                Err(Ended::Gone) => return Ok(Outcome::Gone),
                Err(Ended::Changed) if self.refresh(&mut source).await? => {}
                Err(Ended::Changed) => return Ok(Outcome::Gone),
            }
        }
        Err(CopyError::Changing)
    }

    async fn carry_out(
        &self,
        decision: &Decision,
        source: &Entry,
        found: Option<&Entry>,
        open: &OpenUpload,
    ) -> Result<Outcome, Ended> {
        match (decision, found) {
            (Decision::Keep, _) => Ok(Outcome::Kept),
            (Decision::Leave, Some(found)) if self.rules.verify => {
                match self.reads_the_same(source, found).await? {
                    true => Ok(Outcome::Unchanged),
                    false => Err(CopyError::Differs.into()),
                }
            }
            (Decision::Leave, _) => Ok(Outcome::Unchanged),
            (Decision::Compare, Some(found)) => {
                if self.reads_the_same(source, found).await? {
                    self.journal.lock().note_copy(source, &found.etag)?;
                    return Ok(Outcome::Unchanged);
                }
                match self.rules.overwrite {
                    true => self.copy(source, replacing(found), open).await,
                    false => Ok(Outcome::Kept),
                }
            }
            (Decision::Replace, Some(found)) => self.copy(source, replacing(found), open).await,
            (Decision::Create | Decision::Compare | Decision::Replace, _) => {
                let nothing = (IF_NONE_MATCH, HeaderValue::from_static("*"));
                self.copy(source, nothing, open).await
            }
        }
    }

    /// Copies one state of an object.
    async fn copy(
        &self,
        source: &Entry,
        condition: (HeaderName, HeaderValue),
        open: &OpenUpload,
    ) -> Result<Outcome, Ended> {
        if source.size > OBJECT_BYTES_MAX {
            return Err(CopyError::TooLong.into());
        }
        let parts = parts_of(&source.etag).filter(|parts| *parts > 1);
        let first = match parts {
            Some(_) => self.first_part(source).await?,
            None => None,
        };
        let shape = Shape::of(source.size, parts, first);
        let permits = shape.memory(source.size).div_ceil(PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let _memory = self.budget.acquire_many(permits).await.expect("it is never closed");
        let mut draft =
            Draft { source, condition, claims: Claims::default(), metadata: HeaderMap::new() };
        let (written, headers) = match shape {
            Shape::Whole => self.copy_whole(&mut draft).await?,
            Shape::Parts { bytes, followed } => {
                let looked = self.source.look(&source.key, None).await;
                let looked = looked.map_err(CopyError::Source)?;
                let (now, headers) = looked.ok_or(Ended::Gone)?;
                if now.etag != source.etag || now.size != source.size {
                    return Err(Ended::Changed);
                }
                self.describe(&mut draft, &headers);
                let copied = self.copy_parts(&draft, bytes, followed, open).await;
                if copied.is_err() {
                    self.abort(open).await;
                }
                (copied?, headers)
            }
        };
        if self.rules.verify {
            let entry = Entry { etag: written.etag, ..source.clone() };
            let read = self.digest(&self.destination, &entry).await;
            let read = read.map_err(|error| match error {
                ReadError::Failed(error) => Ended::Failed(CopyError::Destination(error)),
                // Somebody else writes here too: it is theirs now.
                ReadError::Changed | ReadError::Gone => Ended::Kept,
            })?;
            if read != written.totals.crc64 {
                return Err(CopyError::Differs.into());
            }
        }
        Ok(Outcome::Copied(left_behind(self.source.dialect(), &headers)))
    }

    /// Takes what the source says of its object.
    fn describe(&self, draft: &mut Draft<'_>, headers: &HeaderMap) {
        let dialect = self.source.dialect();
        let md5s = !self.rules.etags_are_no_md5;
        draft.claims = Claims::of(dialect, headers, &draft.source.etag, md5s);
        draft.metadata = carried(dialect, headers);
    }

    /// The length of the source's first part, if it says.
    async fn first_part(&self, source: &Entry) -> Result<Option<u64>, Ended> {
        let looked = self.source.look(&source.key, Some("1")).await;
        // A source that has no idea of parts is one without.
        let Ok(looked) = looked else { return Ok(None) };
        let (part, _) = looked.ok_or(Ended::Gone)?;
        Ok(Some(part.size))
    }

    async fn copy_whole(&self, draft: &mut Draft<'_>) -> Result<(Written, HeaderMap), Ended> {
        let source = draft.source;
        let (headers, bytes) = self.read(&self.source, source, None).await?;
        self.describe(draft, &headers);
        // The MD5 is known before the object is written: it becomes its ETag.
        let mut sums = Sums::of(&draft.claims).and_md5();
        sums.update(&bytes).await;
        let totals = sums.finish();
        if let Some(claim) = totals.refute(&draft.claims) {
            return Err(CopyError::Refuted(claim).into());
        }
        let md5 = totals.md5.unwrap_or_default();
        let mut headers_to_write = draft.metadata.clone();
        insert(&mut headers_to_write, "content-md5", &md5_text(md5));
        insert(&mut headers_to_write, "x-amz-checksum-crc64nvme", &crc64_text(totals.crc64));
        let (name, value) = draft.condition.clone();
        headers_to_write.insert(name, value);
        let ask = Ask {
            method: Method::PUT,
            key: Some(&source.key),
            headers: headers_to_write,
            body: bytes,
            ..Ask::default()
        };
        let etag = self.commit(source, &ask, hex::encode(md5)).await?;
        Ok((Written { etag, totals }, headers))
    }

    async fn copy_parts(
        &self,
        draft: &Draft<'_>,
        part_bytes: u64,
        followed: bool,
        open: &OpenUpload,
    ) -> Result<Written, Ended> {
        let upload = self.begin(draft, open).await?;
        let source = draft.source;
        let range = |number: u64| {
            let start = number * part_bytes;
            (start < source.size).then(|| start..source.size.min(start + part_bytes))
        };
        let mut sums = Sums::of(&draft.claims);
        let (mut etags, mut number) = (Vec::new(), 0);
        let mut part = self.read_part(source, range(0)).await?;
        while let Some(bytes) = part {
            sums.update(&bytes).await;
            let ahead = range(number + 1);
            let write = self.write_part((source, &*upload), number + 1, bytes, followed);
            (part, number) = if Shape::reads_ahead(part_bytes) {
                let read = self.read_part(source, ahead);
                let (etag, next) = futures::future::try_join(write, read).await?;
                etags.push(etag);
                (next, number + 1)
            } else {
                etags.push(write.await?);
                (self.read_part(source, ahead).await?, number + 1)
            };
        }
        let totals = sums.finish();
        if let Some(claim) = totals.refute(&draft.claims) {
            return Err(CopyError::Refuted(claim).into());
        }
        let etag = self.end(draft, &upload, &etags, &totals).await?;
        *open.lock() = None;
        Ok(Written { etag, totals })
    }

    async fn begin(&self, draft: &Draft<'_>, open: &OpenUpload) -> Result<String, Ended> {
        let mut headers = draft.metadata.clone();
        insert(&mut headers, "x-amz-checksum-algorithm", "CRC64NVME");
        insert(&mut headers, "x-amz-checksum-type", "FULL_OBJECT");
        let key = &draft.source.key;
        let query = [("uploads", "")];
        let method = Method::POST;
        let ask = Ask { method, key: Some(key), query: &query, headers, ..Ask::default() };
        let answer = self.destination.ask(&ask).await.map_err(CopyError::Destination)?;
        let document = Element::parse(&answer.body);
        let upload = document.as_ref().and_then(|document| document.text("UploadId"));
        let odd = CopyError::Destination(RequestError::Odd("an upload has no id"));
        let upload = upload.ok_or(odd)?.to_owned();
        *open.lock() = Some((key.clone(), upload.clone()));
        self.journal.lock().note_upload(&upload)?;
        Ok(upload)
    }

    async fn read_part(
        &self,
        source: &Entry,
        range: Option<Range<u64>>,
    ) -> Result<Option<Bytes>, Ended> {
        let Some(range) = range else { return Ok(None) };
        Ok(Some(self.read(&self.source, source, Some(range)).await?.1))
    }

    /// Writes a part; its ETag.
    async fn write_part(
        &self,
        (source, upload): (&Entry, &str),
        number: u64,
        bytes: Bytes,
        with_md5: bool,
    ) -> Result<String, Ended> {
        let mut sums = if with_md5 { Sums::plain().and_md5() } else { Sums::plain() };
        sums.update(&bytes).await;
        let totals = sums.finish();
        let mut headers = HeaderMap::new();
        insert(&mut headers, "x-amz-checksum-crc64nvme", &crc64_text(totals.crc64));
        if let Some(md5) = totals.md5 {
            insert(&mut headers, "content-md5", &md5_text(md5));
        }
        let number = number.to_string();
        let query = [("partNumber", &*number), ("uploadId", upload)];
        let ask = Ask {
            method: Method::PUT,
            key: Some(&source.key),
            query: &query,
            headers,
            body: bytes,
            ..Ask::default()
        };
        let answer = self.destination.ask(&ask).await.map_err(CopyError::Destination)?;
        let etag = bare(header(&answer.headers, "etag").unwrap_or_default());
        if etag.is_empty() {
            return Err(CopyError::Destination(RequestError::Odd("a part has no ETag")).into());
        }
        Ok(etag.to_owned())
    }

    /// Completes an upload.
    async fn end(
        &self,
        draft: &Draft<'_>,
        upload: &str,
        etags: &[String],
        totals: &Totals,
    ) -> Result<String, Ended> {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (number, etag) in (1..).zip(etags) {
            let etag = escape(etag);
            let _ = write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"
            );
        }
        body.push_str("</CompleteMultipartUpload>");
        let mut headers = HeaderMap::new();
        insert(&mut headers, "x-amz-checksum-crc64nvme", &crc64_text(totals.crc64));
        insert(&mut headers, "x-amz-checksum-type", "FULL_OBJECT");
        insert(&mut headers, "x-amz-mp-object-size", &totals.bytes.to_string());
        let (name, value) = draft.condition.clone();
        headers.insert(name, value);
        let query = [("uploadId", upload)];
        let ask = Ask {
            method: Method::POST,
            key: Some(&draft.source.key),
            query: &query,
            headers,
            body: body.into(),
            ..Ask::default()
        };
        self.commit(draft.source, &ask, etag_of_parts(etags)).await
    }

    /// Sends the request that makes the object, which will have this ETag.
    async fn commit(
        &self,
        source: &Entry,
        ask: &Ask<'_>,
        expected: String,
    ) -> Result<String, Ended> {
        // Noted before: whatever happens from here on, the next run knows whose the object is.
        self.journal.lock().note_copy(source, &expected)?;
        let mut tried = 0;
        match self.destination.ask_counted(ask, &mut tried).await {
            Ok(answer) => {
                let document = Element::parse(&answer.body);
                let document = document.as_ref();
                // An answer that began well may end badly: S3 begins early.
                let failed = document.is_some_and(|document| document.name == "Error");
                let etag = document.and_then(|document| document.text("ETag"));
                let etag = etag.or_else(|| header(&answer.headers, "etag")).unwrap_or_default();
                match bare(etag) == expected && !failed {
                    true => Ok(expected),
                    false => self.confirm(source, expected).await,
                }
            }
            // An attempt before this one may have done it: its answer was lost.
            Err(_) if tried > 1 => self.confirm(source, expected).await,
            Err(error) if error.status() == Some(StatusCode::PRECONDITION_FAILED) => {
                Err(Ended::Kept)
            }
            // `If-Match`, and the object is gone.
            Err(error) if error.code() == "NoSuchKey" => Err(Ended::Kept),
            Err(error) => Err(CopyError::Destination(error).into()),
        }
    }

    /// Looks whether the object is there as it was to be.
    async fn confirm(&self, source: &Entry, expected: String) -> Result<String, Ended> {
        let found = self.destination.look(&source.key, None).await;
        match found.map_err(CopyError::Destination)? {
            Some((entry, _)) if entry.etag == expected && entry.size == source.size => Ok(expected),
            _ => Err(CopyError::Unconfirmed.into()),
        }
    }

    /// Ends an upload that will not be completed. Where that fails the next run does it.
    pub(super) async fn abort(&self, open: &OpenUpload) {
        let Some((key, upload)) = open.lock().take() else { return };
        let query = [("uploadId", &*upload)];
        let method = Method::DELETE;
        let ask = Ask { method, key: Some(&key), query: &query, ..Ask::default() };
        let _ = self.destination.ask(&ask).await;
    }

    /// Whether the objects have the same bytes.
    async fn reads_the_same(&self, source: &Entry, found: &Entry) -> Result<bool, Ended> {
        let permits = u32::try_from(2 * COMPARED_BYTES / PERMIT_BYTES).unwrap_or(u32::MAX);
        let _memory = self.budget.acquire_many(permits).await.expect("it is never closed");
        let there = async { Ok(self.digest(&self.source, source).await?) };
        let here = async {
            self.digest(&self.destination, found).await.map_err(|error| match error {
                ReadError::Failed(error) => CopyError::Destination(error).into(),
                ReadError::Changed | ReadError::Gone => Ended::Kept,
            })
        };
        let (there, here) = futures::future::try_join(there, here).await?;
        Ok(there == here)
    }

    /// CRC-64 of an object's bytes, as they are read.
    async fn digest(&self, bucket: &Bucket, entry: &Entry) -> Result<u64, ReadError> {
        let mut sums = Sums::plain();
        if entry.size <= COMPARED_BYTES {
            sums.update(&self.read(bucket, entry, None).await?.1).await;
        } else {
            let mut start = 0;
            while start < entry.size {
                let end = entry.size.min(start + COMPARED_BYTES);
                sums.update(&self.read(bucket, entry, Some(start..end)).await?.1).await;
                start = end;
            }
        }
        Ok(sums.finish().crc64)
    }

    /// Reads an object, or a range of it, in the state that `entry` names.
    async fn read(
        &self,
        bucket: &Bucket,
        entry: &Entry,
        range: Option<Range<u64>>,
    ) -> Result<(HeaderMap, Bytes), ReadError> {
        let failed = |what| ReadError::Failed(RequestError::Odd(what));
        let bytes = range.as_ref().map_or(entry.size, |range| range.end - range.start);
        self.pace.take(bytes).await;
        let mut headers = HeaderMap::new();
        insert(&mut headers, IF_MATCH.as_str(), &format!("\"{}\"", entry.etag));
        if let Some(Range { start, end }) = &range {
            insert(&mut headers, RANGE.as_str(), &format!("bytes={start}-{}", end - 1));
        } else if bucket.dialect() == Dialect::Aws {
            insert(&mut headers, "x-amz-checksum-mode", "ENABLED");
        }
        let answer_bytes_max = bytes.max(1);
        let key = Some(&*entry.key);
        let answer = bucket.ask(&Ask { key, headers, answer_bytes_max, ..Ask::default() }).await;
        let answer = answer.map_err(|error| match error.status() {
            Some(StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE) => {
                ReadError::Changed
            }
            Some(StatusCode::NOT_FOUND) if error.code() != "NoSuchBucket" => ReadError::Gone,
            _ => ReadError::Failed(error),
        })?;
        // Servers that do not know `If-Match` tell the ETag all the same.
        let etag = bare(header(&answer.headers, "etag").unwrap_or_default());
        if !etag.eq_ignore_ascii_case(&entry.etag) {
            return Err(ReadError::Changed);
        }
        if answer.body.len() as u64 != bytes {
            return Err(failed("it is of another length than the object"));
        }
        if let Some(Range { start, end }) = range {
            let expected = format!("bytes {start}-{}/{}", end - 1, entry.size);
            if header(&answer.headers, "content-range") != Some(&expected) {
                return Err(failed("it is of another range"));
            }
        }
        Ok((answer.headers, answer.body))
    }
}

fn foretold(decision: Option<Decision>) -> Outcome {
    match decision {
        None => Outcome::Gone,
        Some(Decision::Leave | Decision::Compare) => Outcome::Unchanged,
        Some(Decision::Keep) => Outcome::Kept,
        Some(Decision::Create | Decision::Replace) => Outcome::Copied(LeftBehind::default()),
    }
}

fn replacing(found: &Entry) -> (HeaderName, HeaderValue) {
    let etag = HeaderValue::from_str(&format!("\"{}\"", found.etag));
    (IF_MATCH, etag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")))
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    // An ETag that is no header's value matches nothing: then let it match nothing.
    let value = HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    headers.insert(HeaderName::try_from(name).expect("it is a name"), value);
}
