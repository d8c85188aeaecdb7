//! Other placement policies for what is stored already, on a gateway in this process over six local
//! sites: a bucket that is put under another policy, and a policy whose geometry is changed.

use crate::support::*;
use havre::config::Config;
use havre_catalog::{BlobRow, BlobState};
use havre_engine::{Bucket, PutRequest, WholeBody};
use havre_keeper::Redispersal;
use havre_keeper::estimate::{PolicyEstimate, policy_change};
use havre_model::{BlobName, Geometry};
use std::sync::Arc;

async fn redisperse(w: &World) -> Redispersal {
    let mut redisperser = w.redisperser();
    for _ in 0..10 {
        let done = redisperser.pass(&|| true).await.expect("it works");
        assert_eq!(done.waiting, 0, "{}", done.reason);
        if done.ended_ms > 0 {
            return done;
        }
    }
    panic!("re-dispersal does not come to an end");
}

/// What putting the bucket under a policy would take.
async fn plan(w: &World, policy: &str) -> PolicyEstimate {
    let (catalog, fleet) = (&*w.gateway.catalog, &*w.gateway.fleet);
    let to = w.gateway.policies.iter().find(|known| known.name() == policy).expect("it is known");
    policy_change(catalog, fleet, w.bucket.id(), to).await.expect("it works")
}

/// The blobs that something needs.
async fn needed(w: &World) -> Vec<BlobRow> {
    let rows = w.gateway.catalog.blobs(None, 10_000).await.expect("it works");
    rows.into_iter().filter(|row| row.state != BlobState::Garbage).collect()
}

fn is_extent(row: &&BlobRow) -> bool {
    matches!(row.name, BlobName::Extent(_))
}

fn geometry(k: u8, m: u8) -> Geometry {
    Geometry::new(k, m).expect("a geometry")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_under_another_policy_is_dispersed_anew_and_reads_the_same() {
    let mut w = world(|text| text + THRIFTY).await;
    w.live(2).await;
    // More than one window, and a last stripe that is not full.
    w.put("k7", value("k7", 9, 3_456_789)).await;
    let before = needed(&w).await.iter().filter(is_extent).count();
    let engine = &w.gateway.engine;
    assert!(engine.change_policy("bucket", "nowhere").await.is_err());
    let planned = plan(&w, "thrifty").await;
    assert_eq!((planned.extents, planned.stuck), (before as u64, 0), "{planned:?}");
    engine.change_policy("bucket", "thrifty").await.expect("it works");
    let done = redisperse(&w).await;
    assert_eq!(done.extents, planned.extents, "{done:?}");
    assert_eq!(done.bytes, planned.extent_bytes, "{done:?}");
    // Records of uploads are carried with the packs that they stand in, and were not planned.
    assert!(done.records >= planned.records && planned.records > 20, "{done:?} {planned:?}");
    let nothing = plan(&w, "thrifty").await;
    assert_eq!((nothing.extents, nothing.records, nothing.packs), (0, 0, 0), "{nothing:?}");
    assert_eq!(nothing.bytes_read.iter().chain(&nothing.bytes_stored).sum::<u64>(), 0);
    w.check(w.names()).await;
    // Garbage is what lay under the old policy; readers find the new.
    w.compact().await;
    assert_eq!(w.collect().await.garbage_left, 0);
    w.check(w.names()).await;
    for row in needed(&w).await.iter().filter(is_extent) {
        assert_eq!(row.geometry, geometry(4, 2));
        assert_eq!(row.policy.as_deref(), Some("thrifty"));
    }
    for (_, _, place) in w.gateway.catalog.places(w.bucket.id(), None, 1000).await.unwrap() {
        let pack = w.gateway.catalog.blob(place.blob).await.unwrap().expect("it is there");
        assert_eq!(pack.policy.as_deref(), Some("thrifty"));
    }
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
    // Again, and nothing is left to do; and back, of which the first dispersal is no part.
    assert_eq!(redisperse(&w).await.extents, done.extents);
    w.gateway.engine.change_policy("bucket", "default").await.expect("it works");
    redisperse(&w).await;
    w.collect().await;
    w.check(w.names()).await;
    for row in needed(&w).await.iter().filter(is_extent) {
        assert_eq!((row.geometry, row.named() != row.blob()), (geometry(3, 3), true));
    }
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_other_buckets_in_the_same_packs_stay_where_they_are() {
    const EACH: usize = 20;
    let w = world(|text| text + THRIFTY).await;
    let engine = &w.gateway.engine;
    let tenant = engine.ensure_tenant("trial").await.expect("it is there");
    let other = engine.create_bucket(tenant, "other", None).await.expect("it works");
    let put = async |(bucket, at): (&Arc<Bucket>, usize)| {
        let mut body = WholeBody::new(value("k", at, 1_000));
        let key = key(&format!("k{at}"));
        engine.put(bucket, key, PutRequest::default(), &mut body).await.expect("all are well");
    };
    // At once, so that what comes while a pack is on its way comes into one pack.
    let both = (0..EACH).flat_map(|at| [(&w.bucket, at), (&other, at)]);
    futures::future::join_all(both.map(put)).await;
    let places = async |bucket| {
        let found = w.gateway.catalog.places(bucket, None, 1000).await.expect("it works");
        found.into_iter().map(|(_, seq, place)| (seq, place)).collect::<Vec<_>>()
    };
    let (moving, staying) = (places(w.bucket.id()).await, places(other.id()).await);
    let shared = staying.iter().filter(|it| moving.iter().any(|is| is.1.blob == it.1.blob));
    assert!(shared.count() > EACH / 2, "most packs hold records of both");
    engine.change_policy("bucket", "thrifty").await.expect("it works");
    assert_eq!(redisperse(&w).await.records, EACH as u64);
    assert_eq!(places(other.id()).await, staying);
    for (_, place) in places(w.bucket.id()).await {
        let pack = w.gateway.catalog.blob(place.blob).await.unwrap().expect("it is there");
        assert_eq!(pack.policy.as_deref(), Some("thrifty"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_another_geometry_takes_what_it_has_along() {
    let mut w = world(|text| text).await;
    w.live(2).await;
    let file = w.config.gateway.data.join("havre.toml");
    let text = std::fs::read_to_string(&file).expect("it works");
    let text = text.replace("k = 3\nm = 3", "k = 4\nm = 2");
    std::fs::write(&file, text).expect("it works");
    let config = Config::load(&file).expect("it works");
    let mut w = w.restart(config).await;
    w.live(1).await;
    redisperse(&w).await;
    w.compact().await;
    assert_eq!(w.collect().await.garbage_left, 0);
    w.check(w.names()).await;
    let old: Vec<BlobRow> = needed(&w).await;
    let old = old.iter().filter(|row| row.geometry != geometry(4, 2)).count();
    assert_eq!(old, 0, "nothing is left of the old geometry");
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
}
