//! Writes that nobody acknowledged, and what a start makes of what the sites have of them. Six
//! sites, two in each of three jurisdictions, 3+3: any five shards are within the guarantee, four
//! are below it, and any three decode.

mod support;

use havre_catalog::{Catalog as _, SqliteCatalog};
use havre_engine::{Bucket, Engine, PutError, UploadRequest};
use std::sync::Arc;
use support::{World, bucket, key};

fn memory() -> Arc<SqliteCatalog> {
    Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory"))
}

async fn found(engine: &Engine) -> Arc<Bucket> {
    engine.bucket("bucket").await.expect("answers").expect("the bucket is there")
}

/// A gateway that only reads handed out numbers above those that its catalog had; then it found
/// acknowledged records that bore them.
#[tokio::test]
async fn a_gateway_that_only_reads_draws_no_sequence_numbers() {
    let world = World::new();
    let catalog = memory();
    let (engine, _) = world.start(catalog.clone()).await;
    let made = bucket(&engine).await;
    let begun = engine.create_upload(&made, key("parts"), UploadRequest::default()).await;
    let upload = begun.expect("an upload");
    drop(engine);
    world.cut(&[0, 1, 2]);
    let (engine, _) = world.start(catalog.clone()).await;
    assert!(!engine.takes_writes());
    let before = catalog.reserve_seqs(1).await.expect("a number");
    let bucket = found(&engine).await;
    let aborted = engine.abort(&bucket, &key("parts"), upload).await;
    assert!(matches!(aborted, Err(PutError::Unavailable(_))), "{aborted:?}");
    let after = catalog.reserve_seqs(1).await.expect("a number");
    assert_eq!(before.end, after.start);
}
