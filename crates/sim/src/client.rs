//! Clients of the simulated gateway: they write, read, and note what they were told.
//!
//! **Invariant.** Every byte that is read is compared with what some write of that key wrote; an
//! error is tolerated here, another byte never.
//!
//! **Deliberately absent.** When a read must not fail ([`crate::inspect`]), and multipart
//! ([`crate::uploads`]).
//!
//! **Crash.** A client whose gateway dies ends in the middle of a line.

use crate::executor::Executor;
use crate::history::{Action, History, Outcome, Place, Require};
use crate::ledger::{Ledger, Rule};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::uploads::Uploads;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use havre_engine::{
    Body, BodyError, BodyFacts, Bucket, Condition, ETagMatch, Engine, PutError, PutRequest,
};
use havre_model::record::{Metadata, ObjectKey};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name under which the number of its write stands in an object's metadata.
const NUMBER: &str = "number";

/// A client of one gateway process.
#[derive(Clone)]
pub struct Client {
    /// Time.
    pub executor: Executor,
    /// Where events are noted.
    pub trace: Trace,
    /// Where operations are noted.
    pub history: History,
    /// Where broken rules are noted.
    pub ledger: Ledger,
    /// The gateway.
    pub engine: Arc<Engine>,
    /// The uploads of all clients.
    pub uploads: Uploads,
    /// The buckets' names.
    pub buckets: Arc<Vec<String>>,
    /// The catalog lost writes, and the gateway has not caught up with the packs yet.
    pub behind: Arc<AtomicBool>,
}

/// What goes wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The client stops in the middle.
    Breaks,
    /// The digest does not match.
    Digest,
}

/// A condition by what is known when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Nothing,
    /// Nothing is there.
    Absent,
    /// The object is there that was seen so many writes ago.
    Known(usize),
}

/// A PUT.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    /// Plaintext bytes.
    pub bytes: usize,
    /// Its condition.
    pub wanted: Wanted,
    /// What goes wrong.
    pub trouble: Trouble,
    /// Whether the length is declared.
    pub is_declared: bool,
}

/// Why a read gave no bytes.
#[derive(Debug)]
pub enum ReadFailure {
    /// The bucket or the catalog did not answer.
    Head(String),
    /// The object of this write was there, its bytes were not.
    Bytes(u64, String),
}

/// The bytes of a write: they differ everywhere, so that a misplaced chunk shows.
#[must_use]
pub fn pattern(number: u64, len: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

/// The key at a place.
#[must_use]
pub fn key_of(place: Place) -> ObjectKey {
    ObjectKey::new(format!("key {}", place.key)).expect("a valid key")
}

/// Metadata that tells the write.
#[must_use]
pub fn metadata(number: u64) -> Metadata {
    let user = vec![(NUMBER.to_owned(), number.to_string())];
    Metadata { user, ..Metadata::default() }
}

/// What an error says of a write's outcome.
#[must_use]
pub fn outcome_of(error: &PutError) -> Outcome {
    match error {
        PutError::PreconditionFailed | PutError::NoSuchKey => Outcome::Refused,
        PutError::Body(_)
        | PutError::TooLarge
        | PutError::Conflict
        | PutError::NoSuchBucket
        | PutError::NoSuchUpload => Outcome::Nothing,
        _ => Outcome::Unknown,
    }
}

impl Client {
    /// Notes an event.
    pub fn note(&self, text: std::fmt::Arguments<'_>) {
        self.trace.note(self.executor.now(), text);
    }

    /// Whether the gateway must know every acknowledged write.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        !self.behind.load(Ordering::Relaxed) || self.engine.takes_writes()
    }

    /// The bucket at a place. It was acknowledged, so it has to be there.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn bucket(&self, place: Place) -> Result<Arc<Bucket>, String> {
        let strict = self.is_strict();
        let name = &self.buckets[place.bucket];
        match self.engine.bucket(name).await {
            Ok(Some(bucket)) => Ok(bucket),
            Ok(None) => {
                if strict {
                    let detail = format!("the bucket {name} is gone");
                    self.ledger.breach(Rule::AcknowledgedIsReadable, detail);
                }
                Err("no such bucket".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The condition with its ETag, and what it requires.
    fn condition(&self, place: Place, wanted: Wanted) -> (Condition, Require) {
        match wanted {
            Wanted::Nothing => (Condition::default(), Require::Nothing),
            Wanted::Absent => (Condition::absent(), Require::Absent),
            Wanted::Known(back) => match self.history.known(place, back) {
                None => (Condition::default(), Require::Nothing),
                Some((number, etag)) => {
                    let if_match = Some(ETagMatch::OneOf(vec![etag]));
                    (Condition { if_match, if_none_match: None }, Require::Is(number))
                }
            },
        }
    }

    /// Tells of errors that no client should ever see.
    pub fn judge(&self, error: &PutError, strict: bool) {
        let is_lost = matches!(error, PutError::NoSuchBucket) && strict;
        if is_lost || matches!(error, PutError::Internal(_)) {
            let detail = format!("a write was answered: {error}");
            self.ledger.breach(Rule::AcknowledgedIsReadable, detail);
        }
    }

    /// Writes an object; whether it was acknowledged.
    pub async fn put(&self, place: Place, put: Put, mut rng: Rng) -> bool {
        let Ok(bucket) = self.bucket(place).await else { return false };
        let strict = self.is_strict();
        let number = self.history.number();
        let bytes = pattern(number, put.bytes);
        self.history.intend(number, place, bytes.clone());
        let (condition, require) = self.condition(place, put.wanted);
        let mut body = SimBody::new(&self.executor, bytes, put.trouble, rng.fork());
        let request = PutRequest {
            bytes: put.is_declared.then_some(put.bytes as u64),
            metadata: metadata(number),
            condition,
        };
        self.note(format_args!("put {number} at {place:?}: {put:?} {require:?}"));
        let action = Action::Write { value: Some(number), require };
        let invocation = self.history.begin(place, action);
        let result = self.engine.put(&bucket, key_of(place), request, &mut body).await;
        match &result {
            Ok(info) => {
                self.history.observe(number, &info.etag);
                invocation.end(Outcome::Done);
                self.note(format_args!("put {number} is acknowledged"));
            }
            Err(error) => {
                self.judge(error, strict);
                invocation.end(outcome_of(error));
                self.note(format_args!("put {number}: {error}"));
            }
        }
        if result.is_ok() && put.trouble != Trouble::None && put.bytes > 0 {
            let detail = format!("put {number} was acknowledged although its body was broken");
            self.ledger.breach(Rule::NeverWrongBytes, detail);
        }
        result.is_ok()
    }

    /// Deletes an object.
    pub async fn delete(&self, place: Place, wanted: Wanted) {
        let Ok(bucket) = self.bucket(place).await else { return };
        let strict = self.is_strict();
        let (condition, require) = self.condition(place, wanted);
        self.note(format_args!("delete at {place:?}: {require:?}"));
        let invocation = self.history.begin(place, Action::Write { value: None, require });
        let result = self.engine.delete(&bucket, key_of(place), condition).await;
        match result {
            Ok(()) => invocation.end(Outcome::Done),
            Err(ref error) => {
                self.judge(error, strict);
                invocation.end(outcome_of(error));
            }
        }
        self.note(format_args!("delete at {place:?}: {result:?}"));
    }

    /// Deletes several objects of a bucket in one request.
    pub async fn delete_many(&self, places: &[Place]) {
        let Some(first) = places.first() else { return };
        let Ok(bucket) = self.bucket(*first).await else { return };
        let strict = self.is_strict();
        self.note(format_args!("delete many at {places:?}"));
        let action = Action::Write { value: None, require: Require::Nothing };
        let begin = |place: &Place| self.history.begin(*place, action);
        let invocations: Vec<_> = places.iter().map(begin).collect();
        let keys = places.iter().map(|place| key_of(*place)).collect();
        let results = self.engine.delete_many(&bucket, keys).await;
        for (invocation, result) in invocations.into_iter().zip(results) {
            self.note(format_args!("delete many: {result:?}"));
            match result {
                Ok(()) => invocation.end(Outcome::Done),
                Err(error) => {
                    self.judge(&error, strict);
                    invocation.end(outcome_of(&error));
                }
            }
        }
    }

    /// Reads an object, or a range of it; the number of its write.
    ///
    /// # Errors
    /// See [`ReadFailure`].
    pub async fn read(
        &self,
        place: Place,
        range: Option<Range<u64>>,
    ) -> Result<Option<u64>, ReadFailure> {
        let bucket = self.bucket(place).await.map_err(ReadFailure::Head)?;
        let action = Action::Read(None);
        let invocation = self.is_strict().then(|| self.history.begin(place, action));
        let head = self.engine.head(&bucket, &key_of(place)).await;
        let Some(object) = head.map_err(|error| ReadFailure::Head(error.to_string()))? else {
            if let Some(invocation) = invocation {
                invocation.found(None);
            }
            self.note(format_args!("read at {place:?}: nothing"));
            return Ok(None);
        };
        let info = object.info();
        let user = info.metadata.user.iter().find(|(name, _)| name == NUMBER);
        let number = user.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        if let Some(invocation) = invocation {
            invocation.found(Some(number));
        }
        self.history.observe(number, &info.etag);
        let expected = match self.history.value(number) {
            Some((written, bytes)) if written == place && bytes.len() as u64 == info.bytes => bytes,
            other => {
                let written = other.map(|(place, bytes)| (place, bytes.len()));
                let found = info.bytes;
                self.wrong(format!(
                    "{place:?} shows write {number} of {found} bytes, which wrote {written:?}"
                ));
                return Ok(Some(number));
            }
        };
        let whole = 0..expected.len() as u64;
        let range = range
            .map_or(whole.clone(), |range| range.start.min(whole.end)..range.end.min(whole.end));
        let stream = self.engine.read(&object, range.clone());
        let result = self.compare(stream, &expected, range.clone(), number).await;
        self.note(format_args!("read {range:?} of {number} at {place:?}: {result:?}"));
        result.map(|()| Some(number)).map_err(|error| ReadFailure::Bytes(number, error))
    }

    async fn compare<E: std::fmt::Display>(
        &self,
        mut stream: futures::stream::BoxStream<'static, Result<Bytes, E>>,
        expected: &Bytes,
        range: Range<u64>,
        number: u64,
    ) -> Result<(), String> {
        let position = |at: u64| usize::try_from(at).expect("an object in memory");
        let (mut at, end) = (position(range.start), position(range.end));
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| error.to_string())?;
            if at + piece.len() > end || piece[..] != expected[at..at + piece.len()] {
                self.wrong(format!("write {number} reads otherwise from byte {at} on"));
                return Ok(());
            }
            at += piece.len();
        }
        if at != end {
            self.wrong(format!("a read of write {number} ended at {at} instead of {end}"));
        }
        Ok(())
    }

    fn wrong(&self, detail: String) {
        self.ledger.breach(Rule::NeverWrongBytes, detail);
    }
}

/// A body in pieces, with pauses between them.
pub struct SimBody {
    executor: Executor,
    rng: Rng,
    bytes: Bytes,
    piece_max: usize,
    breaks_at: Option<usize>,
    digest_fails: bool,
}

impl SimBody {
    /// A body of these bytes.
    #[must_use]
    pub fn new(executor: &Executor, bytes: Bytes, trouble: Trouble, mut rng: Rng) -> Self {
        let piece_max = *rng.pick(&[1_000, 16_384, 65_536, 100_000, 1 << 20]);
        // Never after so many pieces that the body takes for ever.
        let piece_max = piece_max.max(bytes.len() / 40);
        let breaks_at = (trouble == Trouble::Breaks).then(|| rng.index(bytes.len().max(1)));
        let digest_fails = trouble == Trouble::Digest;
        Self { executor: executor.clone(), rng, bytes, piece_max, breaks_at, digest_fails }
    }
}

#[async_trait]
impl Body for SimBody {
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.rng.chance(300) {
            let pause = self.rng.micros(1, 20_000);
            self.executor.sleep(pause).await;
        }
        if self.breaks_at == Some(0) {
            return Some(Err(BodyError::Client("the client went away".to_owned())));
        }
        if self.bytes.is_empty() {
            return None;
        }
        let most = self.breaks_at.unwrap_or(usize::MAX).min(self.bytes.len()).min(self.piece_max);
        let taken = 1 + self.rng.index(most);
        self.breaks_at = self.breaks_at.map(|left| left - taken.min(left));
        Some(Ok(self.bytes.split_to(taken)))
    }

    fn verified(&mut self) -> Result<BodyFacts, BodyError> {
        if self.digest_fails { Err(BodyError::BadDigest) } else { Ok(BodyFacts::default()) }
    }
}
