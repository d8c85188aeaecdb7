//! The mixed load that a drill interrupts: puts of many sizes, overwrites, deletes, copies,
//! uploads.
//!
//! **Invariant.** Every write stands in its key's history before it is sent, and its answer stands
//! there before the worker goes on, so that the judge knows all that the server may have done.
//!
//! **Deliberately absent.** Retries. An error after the crash is the point; one before it is a
//! failure.
//!
//! **Crash.** Workers end at the first error after [`Load::stop`] was called.

use super::history::{Content, History, State, WriteId};
use crate::random::Random;
use crate::s3::{Answer, Connection, Credential, Keep, Request};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Workers, each with a connection of its own.
pub(super) const WORKERS: u64 = 8;
/// Keys that only one worker writes.
const OWN_KEYS: u64 = 12;
/// Keys that all write at once.
const SHARED_KEYS: u64 = 4;
const MIB: usize = 1024 * 1024;
/// First part of an upload: the smallest that S3 allows for one that is not the last.
const PART_BYTES: usize = 5 * MIB;

/// An upload that was begun and not certainly ended.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) id: String,
    /// Acknowledged parts: number, ETag, seed and length.
    pub(super) parts: Vec<(u16, String, u64, usize)>,
    /// `true` once its completion or abort was sent.
    pub(super) ending: bool,
}

/// Everything that was asked for, shared by workers and judge.
pub(super) struct Load {
    pub(super) bucket: String,
    tick: AtomicU64,
    seeds: AtomicU64,
    stopping: AtomicBool,
    pub(super) acknowledged: AtomicU64,
    /// Answers of 5xx: allowed, and counted.
    pub(super) unavailable: AtomicU64,
    pub(super) keys: Mutex<BTreeMap<String, History>>,
    pub(super) uploads: Mutex<Vec<Upload>>,
    /// Buckets whose creation was acknowledged.
    pub(super) buckets: Mutex<Vec<String>>,
}

impl Load {
    pub(super) fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            tick: AtomicU64::new(1),
            seeds: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            keys: Mutex::new(BTreeMap::new()),
            uploads: Mutex::new(Vec::new()),
            buckets: Mutex::new(Vec::new()),
        }
    }

    /// From now on an error is the crash's.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(super) fn resume(&self) {
        self.stopping.store(false, Ordering::SeqCst);
    }

    fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn content(&self, length: usize) -> Content {
        Content::one(self.seeds.fetch_add(1, Ordering::SeqCst), length)
    }

    pub(super) fn path(&self, key: &str) -> String {
        format!("/{}/{key}", self.bucket)
    }

    fn begin(&self, key: &str, state: State) -> WriteId {
        let mut keys = self.keys.lock().expect("no worker panics");
        let history = keys.entry(key.to_owned()).or_insert_with(|| History::known(State::Absent));
        history.begin(self.tick(), state)
    }

    fn with_history(&self, key: &str, change: impl FnOnce(&mut History)) {
        let mut keys = self.keys.lock().expect("no worker panics");
        change(keys.get_mut(key).expect("the write was begun"));
    }

    /// Notes the answer to a write. Only a 2xx without an error acknowledges; 5xx leaves it open.
    fn answered(&self, key: &str, id: WriteId, answer: &Answer) -> Result<()> {
        match answer.status {
            // A copy or a completion that took long has sent its 200 before it failed.
            200..300 if answer.text().contains("<Error>") => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
            }
            200..300 => {
                let tick = self.tick();
                self.with_history(key, |history| history.acknowledge(id, tick));
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            404 | 409 | 412 => self.with_history(key, |history| history.refuse(id)),
            500.. => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
            }
            other => bail!("a write of {key} answered {other}: {}", answer.text()),
        }
        Ok(())
    }

    /// The state of a key that only the caller writes, when it is certain.
    fn certain(&self, key: &str) -> Option<State> {
        let keys = self.keys.lock().expect("no worker panics");
        match keys.get(key).map_or_else(|| vec![State::Absent], History::allowed)[..] {
            [state] => Some(state),
            _ => None,
        }
    }
}

/// Runs one worker until the crash. An error is one that the crash does not explain.
pub(super) fn work(
    load: &Load,
    address: SocketAddr,
    credential: &Credential,
    number: u64,
    random: Random,
) -> Result<()> {
    let connection = Connection::new(address, credential);
    let mut worker = Worker { load, connection, number, random };
    loop {
        let outcome = worker.step();
        // The flag is raised before the server is killed: an error that came first is the server's
        // own.
        let stopping = load.stopping.load(Ordering::SeqCst);
        match outcome {
            Ok(()) if stopping => return Ok(()),
            Ok(()) => {}
            Err(_) if stopping => return Ok(()),
            Err(error) => return Err(error.context(format!("worker {number}, before the crash"))),
        }
    }
}

struct Worker<'a> {
    load: &'a Load,
    connection: Connection,
    number: u64,
    random: Random,
}

impl Worker<'_> {
    fn step(&mut self) -> Result<()> {
        match self.random.below(100) {
            0..40 => {
                let length = self.random.index(8 * 1024);
                self.put(length)
            }
            40..52 => {
                // Both sides of the largest object that rides inside its record.
                let length = 200 * 1024 + self.random.index(200 * 1024);
                self.put(length)
            }
            52..64 => {
                let length = MIB + self.random.index(6 * MIB);
                self.put(length)
            }
            64..78 => self.delete(),
            78..86 => self.copy(),
            86..93 => self.upload(),
            93 => self.bucket(),
            _ => self.read(),
        }
    }

    fn own_key(&mut self) -> String {
        format!("own-{}/{:02}", self.number, self.random.below(OWN_KEYS))
    }

    fn any_key(&mut self) -> String {
        if self.random.below(5) == 0 {
            format!("shared/{}", self.random.below(SHARED_KEYS))
        } else {
            self.own_key()
        }
    }

    /// Sends a write of `key` and notes what was answered.
    fn write(&mut self, key: &str, state: State, request: &Request<'_>) -> Result<Answer> {
        let id = self.load.begin(key, state);
        let answer = self.connection.send(request, Keep::Body)?;
        self.load.answered(key, id, &answer)?;
        Ok(answer)
    }

    fn put(&mut self, length: usize) -> Result<()> {
        let key = self.any_key();
        let content = self.load.content(length);
        let (path, body) = (self.load.path(&key), content.bytes());
        let request = Request { method: "PUT", path: &path, body: &body, ..Request::default() };
        self.write(&key, State::Present(content), &request).map(drop)
    }

    fn delete(&mut self) -> Result<()> {
        let key = self.any_key();
        let path = self.load.path(&key);
        let request = Request { method: "DELETE", path: &path, ..Request::default() };
        self.write(&key, State::Absent, &request).map(drop)
    }

    fn copy(&mut self) -> Result<()> {
        let (from, to) = (self.own_key(), self.own_key());
        let Some(State::Present(content)) = self.load.certain(&from) else { return Ok(()) };
        if from == to {
            return Ok(());
        }
        let (source, path) = (self.load.path(&from), self.load.path(&to));
        let headers = [("x-amz-copy-source", source.as_str())];
        let request =
            Request { method: "PUT", path: &path, headers: &headers, ..Request::default() };
        let answer = self.write(&to, State::Present(content), &request)?;
        if answer.status == 404 {
            bail!("{from} was acknowledged and is not there to be copied");
        }
        Ok(())
    }

    /// Reads one of the worker's own keys back: what was acknowledged is there at once.
    fn read(&mut self) -> Result<()> {
        let key = self.own_key();
        let Some(state) = self.load.certain(&key) else { return Ok(()) };
        let path = self.load.path(&key);
        let answer =
            self.connection.send(&Request { path: &path, ..Request::default() }, Keep::Body)?;
        match (answer.status, state) {
            (404, State::Absent) | (500.., _) => Ok(()),
            (200, State::Present(content)) if answer.body == content.bytes() => Ok(()),
            (status, _) => bail!("{key} holds {state:?} and answered {status}"),
        }
    }

    fn bucket(&mut self) -> Result<()> {
        let name = format!("drill-{}", self.load.seeds.fetch_add(1, Ordering::SeqCst));
        let path = format!("/{name}");
        let request = Request { method: "PUT", path: &path, ..Request::default() };
        let answer = self.connection.send(&request, Keep::Body)?;
        match answer.status {
            200 => self.load.buckets.lock().expect("no worker panics").push(name),
            500.. => {}
            other => bail!("making bucket {name} answered {other}: {}", answer.text()),
        }
        Ok(())
    }

    fn upload(&mut self) -> Result<()> {
        let key = self.own_key();
        let path = self.load.path(&key);
        let create =
            Request { method: "POST", path: &path, query: "uploads=", ..Request::default() };
        let answer = self.connection.send(&create, Keep::Body)?;
        if answer.status >= 500 {
            return Ok(());
        }
        let id = answer.tag("UploadId").context("no UploadId")?;
        let upload = Upload { key: key.clone(), id: id.clone(), parts: Vec::new(), ending: false };
        self.load.uploads.lock().expect("no worker panics").push(upload);

        let last = self.random.index(MIB);
        for (number, length) in [(1, PART_BYTES), (2, last)] {
            if !self.part(&path, &id, number, length)? {
                return Ok(());
            }
        }
        match self.random.below(5) {
            // Left open, for the judge to find.
            0 => Ok(()),
            1 => self.abort(&path, &id),
            _ => self.complete(&key, &path, &id),
        }
    }

    fn part(&mut self, path: &str, id: &str, number: u16, length: usize) -> Result<bool> {
        let content = self.load.content(length);
        let (query, body) = (format!("partNumber={number}&uploadId={id}"), content.bytes());
        let request = Request { method: "PUT", path, query: &query, body: &body, headers: &[] };
        let answer = self.connection.send(&request, Keep::Body)?;
        if answer.status >= 500 {
            return Ok(false);
        }
        let etag = answer.header("etag").context("a part without an ETag")?.to_owned();
        let mut uploads = self.load.uploads.lock().expect("no worker panics");
        let upload = uploads.iter_mut().find(|upload| upload.id == id).expect("it was begun");
        upload.parts.push((number, etag, content.pieces[0].0, length));
        Ok(true)
    }

    fn abort(&mut self, path: &str, id: &str) -> Result<()> {
        self.end_upload(id, true);
        let query = format!("uploadId={id}");
        let request = Request { method: "DELETE", path, query: &query, ..Request::default() };
        if self.connection.send(&request, Keep::Body)?.status < 300 {
            self.end_upload(id, false);
        }
        Ok(())
    }

    fn complete(&mut self, key: &str, path: &str, id: &str) -> Result<()> {
        let upload = self.end_upload(id, true);
        let query = format!("uploadId={id}");
        let (body, content) = completion(&upload);
        let request =
            Request { method: "POST", path, query: &query, body: body.as_bytes(), headers: &[] };
        let answer = self.write(key, State::Present(content), &request)?;
        if answer.status < 300 && answer.tag("ETag").is_some() {
            self.end_upload(id, false);
        }
        Ok(())
    }

    /// Marks an upload as ending, or, when `keep` is `false`, forgets it.
    fn end_upload(&mut self, id: &str, keep: bool) -> Upload {
        let mut uploads = self.load.uploads.lock().expect("no worker panics");
        let at = uploads.iter().position(|upload| upload.id == id).expect("it was begun");
        uploads[at].ending = true;
        if keep { uploads[at].clone() } else { uploads.remove(at) }
    }
}

/// The body that completes an upload, and what the object then holds.
pub(super) fn completion(upload: &Upload) -> (String, Content) {
    let mut body = "<CompleteMultipartUpload>".to_owned();
    let mut pieces = [(0, 0); 2];
    for (at, (number, etag, seed, length)) in upload.parts.iter().enumerate() {
        let etag = etag.replace('"', "&quot;");
        let part = format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        body.push_str(&part);
        pieces[at] = (*seed, *length);
    }
    body.push_str("</CompleteMultipartUpload>");
    (body, Content { pieces })
}
