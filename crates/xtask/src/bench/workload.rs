//! What is measured: workloads, how each is prepared, and one turn of one.
//!
//! **Invariant.** Connections are open and objects are there before the clock starts, and an answer
//! that is not the expected one ends the bench: a fast error is no result.
//!
//! **Deliberately absent.** A check of every byte; the client scenarios do that, and here it would
//! cost more than the server's work.
//!
//! **Crash.** Nothing is kept.

use crate::random::{Random, bytes};
use crate::s3::{Connection, Keep, Request, tags};
use crate::server::Server;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const LARGE: usize = 64 * MIB;
const RANGE: usize = 64 * KIB;
/// Keys that the listing goes through.
const LISTED_KEYS: u64 = 10_000;
/// Objects prepared for reads of one size: enough that no two threads share one all the time.
const SMALL_KEYS: u64 = 512;
const MEDIUM_KEYS: u64 = 32;
const LARGE_KEYS: u64 = 4;
/// Keys that a workload of large puts overwrites, so that the disk does not fill.
const PUT_KEYS: u64 = 16;

/// What one operation is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// PUT of so many bytes; small ones under new keys, large ones over old ones.
    Put(usize),
    /// GET of a whole object.
    Get(usize),
    /// GET of 64 KiB at any place of a large object.
    Range,
    /// One page of a listing.
    List,
    /// Six in ten read 4 KiB, three write 4 KiB, the tenth reads 1 MiB.
    Mixed,
}

/// One line of the table.
pub(super) struct Workload {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// How many at once.
    pub(super) at_once: usize,
}

/// All that the budget of the bench names.
pub(super) fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    let mut add = |name: &str, operation, at_once: &[usize]| {
        for &at_once in at_once {
            all.push(Workload { name: format!("{name} at {at_once}"), operation, at_once });
        }
    };
    add("PUT 4 KiB", Operation::Put(4 * KIB), &[1, 16, 64, 1000]);
    add("GET 4 KiB", Operation::Get(4 * KIB), &[1, 16, 64]);
    add("PUT 1 MiB", Operation::Put(MIB), &[16]);
    add("GET 1 MiB", Operation::Get(MIB), &[16]);
    add("PUT 64 MiB", Operation::Put(LARGE), &[4]);
    add("GET 64 MiB", Operation::Get(LARGE), &[4]);
    add("range 64 KiB", Operation::Range, &[16]);
    add("list 10,000", Operation::List, &[1]);
    add("mixed", Operation::Mixed, &[32]);
    all
}

/// A workload's bucket and connections at one server.
pub(super) struct Prepared {
    pub(super) bucket: String,
    connections: Vec<Connection>,
    /// Keys of large objects, removed when the workload is over.
    large: Vec<String>,
    next_key: AtomicU64,
}

impl Prepared {
    pub(super) fn large_keys(&self) -> &[String] {
        &self.large
    }
}

/// What one turn measured.
#[derive(Clone, Default)]
pub(super) struct Turn {
    pub(super) seconds: f64,
    pub(super) operations: u64,
    pub(super) bytes: u64,
    /// Keys listed.
    pub(super) keys: u64,
    /// Objects written.
    pub(super) written: u64,
    pub(super) latencies_us: Vec<u32>,
    pub(super) cpu_seconds: f64,
    pub(super) client_cpu_seconds: f64,
    pub(super) peak_memory_bytes: u64,
    /// How far the server's own counters moved.
    pub(super) counters: BTreeMap<String, f64>,
}

fn put(connection: &mut Connection, path: &str, body: &[u8]) -> Result<()> {
    let request = Request { method: "PUT", path, body, ..Request::default() };
    connection.expect(&request, Keep::Count).map(drop)
}

/// Makes the bucket, the objects that the workload reads, and its connections.
pub(super) fn prepare(load: &Workload, server: &Server) -> Result<Prepared> {
    let bucket = match load.operation {
        Operation::List => "bench-list".to_owned(),
        _ => "bench".to_owned(),
    };
    let mut connection = server.connect();
    let create = format!("/{bucket}");
    // There already after the first workload.
    connection.send(&Request { method: "PUT", path: &create, ..Request::default() }, Keep::Body)?;
    let mut large = Vec::new();
    let sets: &[(usize, u64)] = match load.operation {
        Operation::Get(size) if size == LARGE => &[(LARGE, LARGE_KEYS)],
        Operation::Range => &[(LARGE, LARGE_KEYS)],
        Operation::Get(MIB) => &[(MIB, MEDIUM_KEYS)],
        Operation::Get(_) => &[(4 * KIB, SMALL_KEYS)],
        Operation::Mixed => &[(4 * KIB, SMALL_KEYS), (MIB, MEDIUM_KEYS)],
        Operation::List => &[(1, LISTED_KEYS)],
        Operation::Put(_) => &[],
    };
    for &(size, count) in sets {
        fill(server, &bucket, size, count)?;
        if size >= MIB {
            large.extend((0..count).map(|number| object_key(size, number)));
        }
    }
    if let Operation::Put(size) = load.operation
        && size >= MIB
    {
        large.extend((0..PUT_KEYS).map(|number| format!("over-{size}-{number:06}")));
    }
    let connections = (0..load.at_once).map(|_| server.connect()).collect();
    Ok(Prepared { bucket, connections, large, next_key: AtomicU64::new(0) })
}

fn object_key(size: usize, number: u64) -> String {
    format!("object-{size}-{number:06}")
}

/// Writes `count` objects of one size, many at once.
fn fill(server: &Server, bucket: &str, size: usize, count: u64) -> Result<()> {
    let at_once = if size >= MIB { 4 } else { 32 };
    let (next, body) = (AtomicU64::new(0), bytes(1, size));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|_| {
                let (mut connection, next, body) = (server.connect(), &next, &body);
                scope.spawn(move || -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(());
                        }
                        let path = format!("/{bucket}/{}", object_key(size, number));
                        put(&mut connection, &path, body)?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("panicked"))?)
    })
}

/// One turn of `seconds`, or of one operation a thread where that takes longer.
pub(super) fn turn(
    load: &Workload,
    server: &Server,
    prepared: &mut Prepared,
    seconds: f64,
    round: u64,
) -> Result<Turn> {
    server.reset_peak_memory();
    let before = (server.cpu_seconds()?, own_cpu_seconds()?, server.counters()?);
    let barrier = Barrier::new(load.at_once + 1);
    let Prepared { bucket, connections, next_key, .. } = prepared;
    let shared = Shared { load, bucket, next_key, body: bytes(round, body_bytes(load)) };
    let (taken, threads) = std::thread::scope(|scope| {
        let workers: Vec<_> = connections
            .iter_mut()
            .enumerate()
            .map(|(number, connection)| {
                let (barrier, shared) = (&barrier, &shared);
                let random = Random::part(round, number as u64);
                let worker = move || {
                    barrier.wait();
                    shared.work(connection, random, Duration::from_secs_f64(seconds))
                };
                // A thousand threads of the usual size would be most of the machine's memory.
                std::thread::Builder::new().stack_size(256 * KIB).spawn_scoped(scope, worker)
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let mut threads = Vec::new();
        for worker in workers {
            let worker = worker.context("start a thread")?;
            threads.push(worker.join().map_err(|_| anyhow!("a worker panicked"))??);
        }
        Ok::<_, anyhow::Error>((start.elapsed(), threads))
    })?;
    let mut turn = Turn {
        seconds: taken.as_secs_f64(),
        cpu_seconds: server.cpu_seconds()? - before.0,
        client_cpu_seconds: own_cpu_seconds()? - before.1,
        peak_memory_bytes: server.peak_memory_bytes()?,
        ..Turn::default()
    };
    for thread in threads {
        turn.operations += thread.operations;
        turn.bytes += thread.bytes;
        turn.keys += thread.keys;
        turn.written += thread.written;
        turn.latencies_us.extend(thread.latencies_us);
    }
    for (name, value) in server.counters()? {
        let earlier = before.2.get(&name).copied().unwrap_or(0.0);
        turn.counters.insert(name, value - earlier);
    }
    Ok(turn)
}

fn body_bytes(load: &Workload) -> usize {
    match load.operation {
        Operation::Put(size) => size,
        Operation::Mixed => 4 * KIB,
        _ => 0,
    }
}

/// CPU-seconds of this process.
fn own_cpu_seconds() -> Result<f64> {
    crate::server::cpu_seconds_of("self")
}

/// What the threads of a turn have in common.
struct Shared<'a> {
    load: &'a Workload,
    bucket: &'a str,
    next_key: &'a AtomicU64,
    body: Vec<u8>,
}

impl Shared<'_> {
    fn work(
        &self,
        connection: &mut Connection,
        mut random: Random,
        length: Duration,
    ) -> Result<Turn> {
        let mut turn = Turn::default();
        let mut token = None;
        let start = Instant::now();
        while turn.operations == 0 || start.elapsed() < length {
            let begun = Instant::now();
            match self.load.operation {
                Operation::Put(size) => self.put(connection, size, &mut turn)?,
                Operation::Get(size) => self.get(connection, &mut random, size, &mut turn)?,
                Operation::Range => self.range(connection, &mut random, &mut turn)?,
                Operation::List => token = self.list(connection, token.take(), &mut turn)?,
                Operation::Mixed => match random.below(10) {
                    0..6 => self.get(connection, &mut random, 4 * KIB, &mut turn)?,
                    6..9 => self.put(connection, 4 * KIB, &mut turn)?,
                    _ => self.get(connection, &mut random, MIB, &mut turn)?,
                },
            }
            turn.operations += 1;
            turn.latencies_us.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(turn)
    }

    fn put(&self, connection: &mut Connection, size: usize, turn: &mut Turn) -> Result<()> {
        let number = self.next_key.fetch_add(1, Ordering::Relaxed);
        let path = if size >= MIB {
            format!("/{}/over-{size}-{:06}", self.bucket, number % PUT_KEYS)
        } else {
            format!("/{}/new-{}-{number:08}", self.bucket, self.load.at_once)
        };
        put(connection, &path, &self.body[..size])?;
        turn.bytes += size as u64;
        turn.written += 1;
        Ok(())
    }

    fn get(
        &self,
        connection: &mut Connection,
        random: &mut Random,
        size: usize,
        turn: &mut Turn,
    ) -> Result<()> {
        let count = match size {
            LARGE => LARGE_KEYS,
            MIB => MEDIUM_KEYS,
            _ => SMALL_KEYS,
        };
        let path = format!("/{}/{}", self.bucket, object_key(size, random.below(count)));
        let answer =
            connection.expect(&Request { path: &path, ..Request::default() }, Keep::Count)?;
        if answer.body_bytes != size as u64 {
            bail!("{path} has {} bytes", answer.body_bytes);
        }
        turn.bytes += size as u64;
        Ok(())
    }

    fn range(
        &self,
        connection: &mut Connection,
        random: &mut Random,
        turn: &mut Turn,
    ) -> Result<()> {
        let path = format!("/{}/{}", self.bucket, object_key(LARGE, random.below(LARGE_KEYS)));
        let start = random.below((LARGE - RANGE) as u64);
        let range = format!("bytes={start}-{}", start + RANGE as u64 - 1);
        let headers = [("range", range.as_str())];
        let request = Request { path: &path, headers: &headers, ..Request::default() };
        let answer = connection.expect(&request, Keep::Count)?;
        if answer.status != 206 || answer.body_bytes != RANGE as u64 {
            bail!("{path} answered {} with {} bytes", answer.status, answer.body_bytes);
        }
        turn.bytes += RANGE as u64;
        Ok(())
    }

    /// One page; the token of the next.
    fn list(
        &self,
        connection: &mut Connection,
        token: Option<String>,
        turn: &mut Turn,
    ) -> Result<Option<String>> {
        let path = format!("/{}", self.bucket);
        let query = match token {
            None => "list-type=2&max-keys=1000".to_owned(),
            Some(token) => {
                format!("continuation-token={}&list-type=2&max-keys=1000", encoded(&token))
            }
        };
        let request = Request { path: &path, query: &query, ..Request::default() };
        let answer = connection.expect(&request, Keep::Body)?;
        turn.bytes += answer.body_bytes;
        let text = answer.text();
        turn.keys += text.matches("<Key>").count() as u64;
        Ok(tags(&text, "NextContinuationToken").into_iter().next())
    }
}

/// A query's value, encoded as SigV4 wants it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budgets_workloads_are_all_there() {
        let names: Vec<String> = all().into_iter().map(|load| load.name).collect();
        for name in ["PUT 4 KiB at 1000", "GET 64 MiB at 4", "range 64 KiB at 16", "mixed at 32"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn a_token_is_encoded_for_the_query() {
        assert_eq!(encoded("a/b=c d~é"), "a%2Fb%3Dc%20d~%C3%A9");
    }
}
