//! Many large objects at once: what waits, what goes on, and who is ended.

use crate::support::{World, assert_reads, bucket, key, object, pattern, put};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use havre_catalog::SqliteCatalog;
use havre_engine::{Body, BodyError, BodyFacts, Bucket, Engine, PutError, PutRequest};
use havre_model::Timestamp;
use havre_model::ports::{Clock, Runtime, Task};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What the engine allows.
const UPLOADS_MAX: usize = 48;
const READS_AHEAD_MAX: usize = 48;
const LARGE: usize = 3_000_000;

/// The system's clock, which a test may put forward.
struct Skipping(Arc<dyn Clock>, Arc<AtomicU64>);

impl Clock for Skipping {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed() + Duration::from_secs(self.1.load(Ordering::SeqCst))
    }
}

/// The system's runtime, whose waits take a tenth.
struct Hasty(Arc<dyn Runtime>);

impl Runtime for Hasty {
    fn sleep(&self, duration: Duration) -> Task {
        self.0.sleep(duration / 10)
    }

    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }
}

async fn started() -> (Arc<Engine>, Arc<Bucket>, Arc<AtomicU64>) {
    let world = World::new();
    let catalog = Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory"));
    let mut parts = world.parts(catalog);
    let skipped = Arc::new(AtomicU64::new(0));
    parts.ports.clock = Arc::new(Skipping(parts.ports.clock, Arc::clone(&skipped)));
    parts.ports.runtime = Arc::new(Hasty(parts.ports.runtime));
    let started = Engine::start(parts, &havre_engine::replay::Silent).await;
    let engine = started.expect("the engine starts").0;
    let bucket = bucket(&engine).await;
    (engine, bucket, skipped)
}

/// A body that sends its first half, and the second when it is told to.
struct Halting {
    halves: Vec<Bytes>,
    go_on: watch::Receiver<bool>,
}

#[async_trait]
impl Body for Halting {
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.halves.len() == 1 {
            self.go_on.wait_for(|go| *go).await.expect("the test goes on");
        }
        self.halves.pop().map(Ok)
    }

    fn verified(&mut self) -> Result<BodyFacts, BodyError> {
        Ok(BodyFacts::default())
    }
}

async fn upload(
    engine: &Engine,
    bucket: &Arc<Bucket>,
    name: &str,
    bytes: &[u8],
    go_on: watch::Receiver<bool>,
) -> Result<(), PutError> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let halves = vec![Bytes::copy_from_slice(second), Bytes::copy_from_slice(first)];
    let mut body = Halting { halves, go_on };
    let request = PutRequest { bytes: Some(bytes.len() as u64), ..PutRequest::default() };
    engine.put(bucket, key(name), request, &mut body).await.map(drop)
}

/// How often a client comes again.
const ATTEMPTS_MAX: usize = 60;

/// Uploads, and comes again when it is told to slow down, as clients do: on a busy machine those
/// before it take longer than one wait.
async fn insist(
    engine: &Engine,
    bucket: &Arc<Bucket>,
    name: &str,
    bytes: &[u8],
    going: watch::Receiver<bool>,
) -> Result<(), PutError> {
    for _ in 0..ATTEMPTS_MAX {
        match upload(engine, bucket, name, bytes, going.clone()).await {
            Err(PutError::SlowDown) => {}
            result => return result,
        }
    }
    Err(PutError::SlowDown)
}

#[tokio::test]
async fn an_upload_beyond_the_limit_waits_and_is_told_to_slow_down() {
    let (engine, bucket, _) = started().await;
    let (go, going) = watch::channel(false);
    let bytes = pattern(LARGE, 1);
    let names: Vec<String> = (0..UPLOADS_MAX).map(|number| format!("held-{number}")).collect();
    let held = names.iter().map(|name| upload(&engine, &bucket, name, &bytes, going.clone()));
    let late = async {
        let refused = upload(&engine, &bucket, "late", &bytes, going.clone()).await;
        assert!(matches!(refused, Err(PutError::SlowDown)), "{refused:?}");
        put(&engine, &bucket, "small", b"small objects wait for nobody").await;
        let waits = insist(&engine, &bucket, "late", &bytes, going.clone());
        let frees = async { go.send(true).expect("they wait") };
        futures::join!(waits, frees).0.expect("its turn came");
    };
    let (held, ()) = futures::join!(join_all(held), late);
    for result in held {
        result.expect("nobody had to give way: the pace was kept");
    }
    for name in names.iter().map(String::as_str).chain(["late"]) {
        assert_reads(&engine, &bucket, name, &bytes).await;
    }
}

#[tokio::test]
async fn an_upload_whose_client_is_slow_is_ended_while_others_wait() {
    let (engine, bucket, skipped) = started().await;
    let (go, going) = watch::channel(false);
    let bytes = pattern(LARGE, 1);
    let names: Vec<String> = (0..UPLOADS_MAX).map(|number| format!("held-{number}")).collect();
    let held = names.iter().map(|name| upload(&engine, &bucket, name, &bytes, going.clone()));
    let late = async {
        tokio::task::yield_now().await;
        let waits = insist(&engine, &bucket, "late", &bytes, going.clone());
        let passes = async {
            // Two hours for three megabytes.
            skipped.store(7200, Ordering::SeqCst);
            go.send(true).expect("they wait");
        };
        futures::join!(waits, passes).0.expect("its turn came");
    };
    let (held, ()) = futures::join!(join_all(held), late);
    let ended = held
        .iter()
        .filter(|result| matches!(result, Err(PutError::Body(BodyError::Client(_)))))
        .count();
    assert!(ended > 0, "nobody was ended");
    assert_reads(&engine, &bucket, "late", &bytes).await;
}

#[tokio::test]
async fn a_slow_upload_is_left_alone_while_nobody_waits() {
    let (engine, bucket, skipped) = started().await;
    let (go, going) = watch::channel(false);
    let bytes = pattern(LARGE, 1);
    let slow = upload(&engine, &bucket, "slow", &bytes, going);
    let passes = async {
        tokio::task::yield_now().await;
        skipped.store(7200, Ordering::SeqCst);
        go.send(true).expect("it waits");
    };
    futures::join!(slow, passes).0.expect("it may take its time");
    assert_reads(&engine, &bucket, "slow", &bytes).await;
}

#[tokio::test]
async fn readers_that_stop_keep_no_other_reader_out() {
    let (engine, bucket, _) = started().await;
    let bytes = pattern(20_000_000, 1);
    put(&engine, &bucket, "large", &bytes).await;
    let object = object(&engine, &bucket, "large").await;
    let mut stopped = Vec::new();
    for _ in 0..READS_AHEAD_MAX {
        let mut read = engine.read(&object, 0..u64::MAX);
        let first = read.next().await.expect("it begins").expect("it reads");
        stopped.push((first, read));
    }
    assert_reads(&engine, &bucket, "large", &bytes).await;
    let from = 7_654_321;
    let range: Vec<Bytes> =
        engine.read(&object, from..from + 1_000_000).try_collect().await.expect("it reads");
    assert!(range.concat() == bytes[7_654_321..8_654_321]);
    // Those that stopped go on where they were, and so does one that began without leave.
    let mut begun = engine.read(&object, 0..u64::MAX);
    let mut first = begun.next().await.expect("it begins").expect("it reads").to_vec();
    let (piece, read) = stopped.swap_remove(0);
    drop(stopped);
    let rest: Vec<Bytes> = read.try_collect().await.expect("it reads");
    assert!([&piece[..], &rest.concat()].concat() == bytes);
    let rest: Vec<Bytes> = begun.try_collect().await.expect("it reads");
    first.extend(rest.concat());
    assert!(first == bytes);
}
