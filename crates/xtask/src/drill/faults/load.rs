//! A small mixed load that knows at every moment what it must be able to read.
//!
//! **Invariant.** A read that answers 200 is compared byte for byte, whatever is wrong with the
//! sites; a write that answered 503 must not have happened while the gateway lives, and one that
//! was acknowledged must have. No request takes longer than [`REQUEST_MAX`].
//!
//! **Deliberately absent.** Retries, but for reads that are allowed to succeed late.
//!
//! **Crash.** After a restart a write that answered 503 may have happened: those are remembered.

use crate::drill::history::{Content, State};
use crate::random::Random;
use crate::s3::{Answer, Connection, Keep, Request, tags};
use crate::server::Server;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Workers, half of them on each bucket.
const WORKERS: u64 = 6;
/// Keys of one worker.
const KEYS: u64 = 4;
/// Between two requests of a worker: faults are looked for, not limits.
const PAUSE: Duration = Duration::from_millis(5);
/// Large objects that are tried when they cannot be read.
const UNREADABLE: usize = 2;
/// Twice what a write may take whose sites hang: their deadline, and what a late one may hold up.
pub(super) const REQUEST_MAX: Duration = Duration::from_secs(12);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Objects that are written once, before anything fails: enough that each fault meets some.
const BASE: [usize; 12] = [
    1,
    100,
    4 * KIB,
    40 * KIB,
    200 * KIB,
    256 * KIB,
    256 * KIB + 1,
    400 * KIB,
    700 * KIB,
    MIB,
    2 * MIB + 7,
    5 * MIB + 1,
];
/// From here on an object has segments in every data shard.
const SPREAD: usize = 256 * KIB;
/// What the policy `refuse` answers for, and what `degrade`.
pub(super) const BUCKETS: [&str; 2] = ["refuse", "degrade"];

/// Whether something is to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Always,
    /// At the third attempt at the latest.
    Soon,
    /// Whatever comes, as long as it is not wrong.
    Either,
    Never,
}

/// What to expect of a while of load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Of writes to each bucket.
    pub(super) writes: [Expect; 2],
    pub(super) reads: Expect,
}

impl Expected {
    pub(super) const ALL: Self =
        Self { writes: [Expect::Always, Expect::Always], reads: Expect::Always };
}

/// How much the judge reads, and what it may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// What was written in the last while.
    Recent,
    /// Everything.
    All,
    /// Everything, after a restart: what answered 503 may have happened, once and for all.
    AllRestarted,
}

/// What a key holds.
#[derive(Clone, Debug)]
struct Known {
    /// The while that it was written in.
    at: u64,
    now: State,
    /// What writes that answered 503 would have made of it since.
    refused: Vec<State>,
}

/// What a while of load counted.
#[derive(Default, Debug)]
pub(super) struct Count {
    pub(super) writes: u64,
    pub(super) writes_failed: u64,
    pub(super) reads: u64,
    pub(super) reads_failed: u64,
    pub(super) repeated: u64,
    pub(super) slowest: Duration,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.writes_failed += other.writes_failed;
        self.reads += other.reads;
        self.reads_failed += other.reads_failed;
        self.repeated += other.repeated;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// All that was written, over all whiles.
#[derive(Default)]
pub(super) struct Load {
    base: Vec<(String, Content)>,
    keys: BTreeMap<String, Known>,
    seeds: AtomicU64,
    whiles: u64,
}

impl Load {
    /// Makes the buckets, each in its policy, and the objects that stay.
    pub(super) fn begin(server: &Server) -> Result<Self> {
        let mut load = Self { seeds: AtomicU64::new(1), ..Self::default() };
        let mut connection = server.connect();
        for bucket in BUCKETS {
            let path = format!("/{bucket}");
            let body = format!(
                "<CreateBucketConfiguration><LocationConstraint>{bucket}</LocationConstraint>\
                 </CreateBucketConfiguration>"
            );
            let body = body.as_bytes();
            let request = Request { method: "PUT", path: &path, body, ..Request::default() };
            connection.expect(&request, Keep::Body)?;
        }
        for (number, length) in BASE.into_iter().enumerate() {
            let path = format!("/{}/base/{number:02}", BUCKETS[number % 2]);
            let content = load.content(length);
            let body = content.bytes();
            let request = Request { method: "PUT", path: &path, body: &body, ..Request::default() };
            connection.expect(&request, Keep::Body)?;
            load.base.push((path, content));
        }
        Ok(load)
    }

    fn content(&self, length: usize) -> Content {
        Content::one(self.seeds.fetch_add(1, Ordering::Relaxed), length)
    }

    /// Runs the load until `meanwhile` is done, under keys of its own.
    pub(super) fn run(
        &mut self,
        server: &Server,
        expected: Expected,
        meanwhile: impl FnOnce(),
    ) -> Result<Count> {
        self.whiles += 1;
        let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let results = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|number| {
                    let worker = Worker {
                        load: self,
                        expected,
                        connection: server.connect(),
                        prefix: format!("{:02}-{number}/", self.whiles),
                        bucket: usize::try_from(number % 2).expect("zero or one"),
                        random: Random::part(self.whiles, number),
                        keys: BTreeMap::new(),
                        count: Count::default(),
                    };
                    let (stop, failed) = (&stop, &failed);
                    scope.spawn(move || {
                        let result = worker.run(stop);
                        failed.fetch_or(result.is_err(), Ordering::Relaxed);
                        result.with_context(|| format!("worker {number}"))
                    })
                })
                .collect();
            meanwhile();
            stop.store(true, Ordering::Relaxed);
            let joined = workers.into_iter().map(|worker| worker.join());
            joined.collect::<Vec<_>>()
        });
        let mut total = Count::default();
        for result in results {
            let (keys, count) = result.map_err(|_| anyhow!("a worker panicked"))??;
            total.add(&count);
            self.keys.extend(keys);
        }
        if total.slowest > REQUEST_MAX {
            bail!("a request took {:.1} s", total.slowest.as_secs_f64());
        }
        Ok(total)
    }

    /// With too few honest sites to decode, whole large objects cannot be read, and are not: an
    /// error, or an answer that breaks off.
    pub(super) fn unreadable(&self, server: &Server) -> Result<()> {
        let mut connection = server.connect();
        let spread = self.base.iter().filter(|(_, content)| content.length() > SPREAD);
        for (path, content) in spread.take(UNREADABLE) {
            let start = Instant::now();
            match get(&mut connection, path, None) {
                Ok(answer) if answer.status != 503 => {
                    let (status, length) = (answer.status, answer.body.len());
                    bail!("{path} answered {status} with {length} of {} bytes", content.length());
                }
                _ => {}
            }
            if start.elapsed() > REQUEST_MAX {
                bail!("{path} failed after {:.1} s", start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }

    /// Reads what was written, and returns how many keys there are.
    pub(super) fn judge(&mut self, server: &Server, depth: Depth) -> Result<u64> {
        let mut connection = server.connect();
        for (path, content) in &self.base {
            let answer = get(&mut connection, path, None)?;
            check(path, &answer, &[State::Present(*content)])?;
        }
        for (path, known) in &mut self.keys {
            if depth == Depth::Recent && known.at != self.whiles {
                continue;
            }
            let answer = get(&mut connection, path, None)?;
            let mut allowed = vec![known.now];
            if depth == Depth::AllRestarted {
                allowed.append(&mut known.refused);
            }
            known.now = check(path, &answer, &allowed)?;
        }
        let listed = list(&mut connection)?;
        let present = |known: &&Known| matches!(known.now, State::Present(_));
        let expected = self.keys.values().filter(present).count() + self.base.len();
        if listed != expected {
            bail!("the listings have {listed} keys, and {expected} are there");
        }
        Ok(expected as u64)
    }
}

/// Keys of both buckets.
fn list(connection: &mut Connection) -> Result<usize> {
    let mut listed = 0;
    for bucket in BUCKETS {
        let path = format!("/{bucket}");
        let query = "list-type=2&max-keys=1000";
        let request = Request { path: &path, query, ..Request::default() };
        let text = connection.expect(&request, Keep::Body)?.text();
        if text.contains("<IsTruncated>true") {
            bail!("more keys than one page lists: make the drill shorter");
        }
        listed += tags(&text, "Key").len();
    }
    Ok(listed)
}

fn get(connection: &mut Connection, path: &str, range: Option<&str>) -> Result<Answer> {
    let headers = [("range", range.unwrap_or_default())];
    let headers = if range.is_some() { &headers[..] } else { &[] };
    connection.send(&Request { path, headers, ..Request::default() }, Keep::Body)
}

/// The state that an answer shows, which has to be one of these.
fn check(path: &str, answer: &Answer, allowed: &[State]) -> Result<State> {
    let found = match answer.status {
        404 => allowed.iter().find(|state| **state == State::Absent),
        200 => allowed.iter().find(|state| match state {
            State::Present(content) => {
                content.length() == answer.body.len() && content.bytes() == answer.body
            }
            State::Absent => false,
        }),
        status => bail!("reading {path} answered {status}: {}", answer.text()),
    };
    found.copied().with_context(|| {
        let (status, bytes) = (answer.status, answer.body.len());
        format!("{path} answered {status} with {bytes} bytes; only {allowed:?} is allowed")
    })
}

struct Worker<'a> {
    load: &'a Load,
    expected: Expected,
    connection: Connection,
    prefix: String,
    bucket: usize,
    random: Random,
    keys: BTreeMap<String, Known>,
    count: Count,
}

impl Worker<'_> {
    fn run(mut self, stop: &AtomicBool) -> Result<(BTreeMap<String, Known>, Count)> {
        while !stop.load(Ordering::Relaxed) {
            self.step()?;
            std::thread::sleep(PAUSE);
        }
        Ok((self.keys, self.count))
    }

    fn step(&mut self) -> Result<()> {
        match self.random.below(100) {
            0..28 => {
                let length = 1 + self.random.index(8 * KIB);
                self.put(length)
            }
            28..36 => {
                let length = 200 * KIB + self.random.index(200 * KIB);
                self.put(length)
            }
            36..42 => {
                let length = MIB + self.random.index(MIB);
                self.put(length)
            }
            42..50 => self.delete(),
            50..70 => self.read_own(),
            70..90 => self.read_base(),
            _ => self.list(),
        }
    }

    fn key(&mut self) -> String {
        let number = self.random.below(KEYS);
        format!("/{}/{}{number}", BUCKETS[self.bucket], self.prefix)
    }

    fn timed<T>(&mut self, ask: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let answer = ask(&mut self.connection);
        self.count.slowest = self.count.slowest.max(start.elapsed());
        answer
    }

    fn put(&mut self, length: usize) -> Result<()> {
        let (path, content) = (self.key(), self.load.content(length));
        let body = content.bytes();
        let request = Request { method: "PUT", path: &path, body: &body, ..Request::default() };
        self.write(&path, State::Present(content), &request)
    }

    fn delete(&mut self) -> Result<()> {
        let path = self.key();
        let request = Request { method: "DELETE", path: &path, ..Request::default() };
        self.write(&path, State::Absent, &request)
    }

    fn write(&mut self, path: &str, state: State, request: &Request<'_>) -> Result<()> {
        let answer = self.timed(|connection| connection.send(request, Keep::Body))?;
        let known = self.keys.entry(path.to_owned());
        let (at, refused) = (self.load.whiles, Vec::new());
        let known = known.or_insert_with(|| Known { at, now: State::Absent, refused });
        let expected = self.expected.writes[self.bucket];
        match (answer.status, expected) {
            // To delete what is not there, nothing is written.
            (204, Expect::Never) if known.now == State::Absent => {}
            (200 | 204, Expect::Never) => bail!("a write of {path} was acknowledged"),
            (200 | 204, _) => {
                *known = Known { at, now: state, refused: Vec::new() };
                self.count.writes += 1;
            }
            (503, Expect::Either | Expect::Never) => {
                known.refused.push(state);
                self.count.writes_failed += 1;
            }
            (status, _) => bail!("a write of {path} answered {status}: {}", answer.text()),
        }
        Ok(())
    }

    fn read_own(&mut self) -> Result<()> {
        let path = self.key();
        let state = self.keys.get(&path).map_or(State::Absent, |known| known.now);
        self.read(&path, state, false)
    }

    fn read_base(&mut self) -> Result<()> {
        let (path, content) = self.load.base[self.random.index(self.load.base.len())].clone();
        let ranged = self.random.below(2) == 0;
        self.read(&path, State::Present(content), ranged)
    }

    /// Reads a key, or a range of it, and compares.
    fn read(&mut self, path: &str, state: State, ranged: bool) -> Result<()> {
        let attempts = if self.expected.reads == Expect::Soon { 3 } else { 1 };
        for attempt in 1..=attempts {
            let failure = match self.read_once(path, state, ranged)? {
                None => return self.read_succeeded(path, state),
                Some(failure) => failure,
            };
            match self.expected.reads {
                Expect::Always => bail!("{failure}"),
                Expect::Soon if attempt == attempts => bail!("{failure}, {attempts} times"),
                Expect::Soon => {
                    self.count.repeated += 1;
                    std::thread::sleep(Duration::from_millis(300));
                }
                Expect::Either | Expect::Never => self.count.reads_failed += 1,
            }
        }
        Ok(())
    }

    fn read_succeeded(&mut self, path: &str, state: State) -> Result<()> {
        // That there is nothing the catalog knows by itself.
        if self.expected.reads == Expect::Never && state != State::Absent {
            bail!("{path} was read, with too few sites that could have it");
        }
        self.count.reads += 1;
        Ok(())
    }

    /// One attempt; what went wrong when it was no answer, or an honest error.
    fn read_once(&mut self, path: &str, state: State, ranged: bool) -> Result<Option<String>> {
        let bytes = match state {
            State::Present(content) => content.bytes(),
            State::Absent => Vec::new(),
        };
        let range = (ranged && !bytes.is_empty()).then(|| {
            let start = self.random.index(bytes.len());
            (start, start + 1 + self.random.index(bytes.len() - start))
        });
        let header = range.map(|(start, end)| format!("bytes={start}-{}", end - 1));
        let answer = match self.timed(|connection| get(connection, path, header.as_deref())) {
            Ok(answer) => answer,
            Err(error) => return Ok(Some(format!("reading {path} broke off: {error:#}"))),
        };
        match (answer.status, range) {
            (503, _) => Ok(Some(format!("reading {path} answered 503"))),
            (206, Some((start, end))) if answer.body == bytes[start..end] => Ok(None),
            (206, range) => bail!("{path}, range {range:?}: {} wrong bytes", answer.body.len()),
            _ => check(path, &answer, &[state]).map(|_| None),
        }
    }

    /// Exactly the worker's own keys are listed.
    fn list(&mut self) -> Result<()> {
        let bucket = BUCKETS[self.bucket];
        let (path, prefix) = (format!("/{bucket}"), self.prefix.replace('/', "%2F"));
        let query = format!("list-type=2&max-keys=1000&prefix={prefix}");
        let request = Request { path: &path, query: &query, ..Request::default() };
        let text = self.timed(|connection| connection.expect(&request, Keep::Body))?.text();
        let listed: BTreeSet<String> =
            tags(&text, "Key").into_iter().map(|key| format!("/{bucket}/{key}")).collect();
        let present = |(path, known): (&String, &Known)| {
            matches!(known.now, State::Present(_)).then(|| path.clone())
        };
        let expected: BTreeSet<String> = self.keys.iter().filter_map(present).collect();
        if listed != expected {
            bail!("the listing has {listed:?}, and {expected:?} is there");
        }
        Ok(())
    }
}
