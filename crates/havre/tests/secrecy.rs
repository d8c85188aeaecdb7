//! What a customer names and writes, searched for in every byte and every name at the sites (A12,
//! I3): after writes of every kind, and after compaction and re-dispersal wrote it all once more.

use crate::support::*;
use havre_engine::{PutRequest, UploadRequest, WholeBody};
use havre_model::record::Metadata;
use std::path::Path;

/// What no site may see: names of a tenant, a bucket and keys, metadata, and what objects of a few
/// bytes, of a record's size and of extents are made of.
const CANARIES: [&str; 11] = [
    "quixotic-tenant",
    "zeppelin-papers",
    "boardroom/minutes-of-november",
    "boardroom/annex-too-large-for-a-record",
    "boardroom/upload-that-never-ends",
    "application/x-quite-special",
    "x-philippa",
    "Quesnel & daughters",
    "merger-tag",
    "the smallest secret of them all",
    "paragraph of the contract, repeated",
];

fn metadata() -> Metadata {
    Metadata {
        content_type: Some(CANARIES[5].to_owned()),
        user: vec![(CANARIES[6].to_owned(), CANARIES[7].to_owned())],
        tags: vec![(CANARIES[8].to_owned(), CANARIES[7].to_owned())],
        ..Metadata::default()
    }
}

fn repeated(text: &str, bytes: usize) -> Vec<u8> {
    text.bytes().cycle().take(bytes).collect()
}

/// Every canary that stands below a folder, as it is or in hexadecimal digits, in a name or in
/// bytes, and where.
fn found_in(folder: &Path) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for file in files(folder) {
        let name = file.to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).expect("nobody works there");
        for canary in CANARIES {
            let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
            let stands = |text: &[u8]| {
                let is_there =
                    |word: &str| text.windows(word.len()).any(|window| window == word.as_bytes());
                is_there(canary) || is_there(&hex)
            };
            if stands(name.as_bytes()) || stands(&bytes) {
                found.push((canary, name.clone()));
            }
        }
    }
    found
}

async fn write_all(w: &World) {
    let engine = &w.gateway.engine;
    let tenant = engine.ensure_tenant(CANARIES[0]).await.expect("it works");
    let bucket = engine.create_bucket(tenant, CANARIES[1], None).await.expect("it works");
    let contents = [
        (CANARIES[2], repeated(CANARIES[9], CANARIES[9].len())),
        (CANARIES[2], repeated(CANARIES[10], 50_000)),
        (CANARIES[3], repeated(CANARIES[10], 3_000_000)),
    ];
    for (name, content) in contents {
        let request = PutRequest { metadata: metadata(), ..PutRequest::default() };
        let mut body = WholeBody::new(content);
        engine.put(&bucket, key(name), request, &mut body).await.expect("all sites are well");
    }
    let request = UploadRequest { metadata: metadata(), ..UploadRequest::default() };
    let name = key(CANARIES[4]);
    let upload = engine.create_upload(&bucket, name.clone(), request).await.expect("it works");
    let mut body = WholeBody::new(repeated(CANARIES[10], 5 << 20));
    engine.put_part(&bucket, &name, upload, 1, &mut body).await.expect("all sites are well");
}

async fn rewrite_all(w: &World) {
    w.gateway.engine.change_policy(CANARIES[1], "thrifty").await.expect("it works");
    let done = w.redisperser().pass(&|| true).await.expect("it works");
    assert!(done.extents >= 2 && done.records >= 2, "{done:?}");
    w.compact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_site_sees_what_a_customer_names_or_writes() {
    let w = world(|text| text + THRIFTY).await;
    let (sites, data) = (w.config.gateway.data.join("sites"), w.config.gateway.data.clone());
    write_all(&w).await;
    assert_eq!(found_in(&sites), []);
    rewrite_all(&w).await;
    assert_eq!(found_in(&sites), []);
    // The search finds what there is: the catalog, inside the trust domain, knows the names.
    let known: Vec<&str> = found_in(&data).into_iter().map(|(canary, _)| canary).collect();
    for name in [CANARIES[0], CANARIES[1], CANARIES[3]] {
        assert!(known.contains(&name), "{name:?} stands in the catalog");
    }
}
