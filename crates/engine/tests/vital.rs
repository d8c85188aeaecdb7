//! A bug in what the engine cannot do without: nobody waits for it in vain, and the engine is known
//! to be broken.

use crate::support::{World, assert_reads, bucket, key, pattern, put};
use havre_catalog::SqliteCatalog;
use havre_engine::replay::Silent;
use havre_engine::{Engine, PutError, PutRequest, WholeBody};
use havre_model::ports::Entropy;
use havre_sites::system;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Draws that panic once one of them is the last.
struct Counted {
    entropy: Arc<dyn Entropy>,
    draws: AtomicU64,
    last: AtomicU64,
}

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let draw = self.draws.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(draw < self.last.load(Ordering::SeqCst), "a bug that a test put here");
        self.entropy.fill(bytes);
    }
}

#[tokio::test]
async fn a_bug_in_the_writer_of_packs_leaves_the_engine_broken_and_nobody_waiting() {
    let world = World::new();
    let entropy = Arc::new(Counted {
        entropy: system::ports().entropy,
        draws: AtomicU64::new(0),
        last: AtomicU64::new(u64::MAX),
    });
    let mut parts = world.parts(Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory")));
    parts.ports.entropy = Arc::clone(&entropy) as Arc<dyn Entropy>;
    let (engine, _) = Engine::start(parts, &Silent).await.expect("the engine starts");
    let bucket = bucket(&engine).await;
    let body = pattern(3_000, 1);
    let first = entropy.draws.load(Ordering::SeqCst);
    put(&engine, &bucket, "a", &body).await;
    let draws = entropy.draws.load(Ordering::SeqCst);
    assert!(engine.takes_writes() && !engine.is_broken());
    // What a small write draws last is its pack's name, in the task that writes packs.
    entropy.last.store(draws + (draws - first), Ordering::SeqCst);
    let request = PutRequest::default();
    let refused = engine.put(&bucket, key("b"), request, &mut WholeBody::new("b")).await;
    assert!(matches!(refused, Err(PutError::Unavailable(_))), "{refused:?}");
    tokio::time::timeout(Duration::from_secs(10), engine.broken()).await.expect("it is known");
    assert!(engine.is_broken() && !engine.takes_writes());
    entropy.last.store(u64::MAX, Ordering::SeqCst);
    assert_reads(&engine, &bucket, "a", &body).await;
}
