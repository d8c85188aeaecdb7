//! Exclusions: what is excluded gets no shard, here, after a start and on a blank machine.

use crate::support;
use crate::support::World;
use havre_catalog::SqliteCatalog;
use havre_engine::{Engine, ExcludeError};
use havre_model::record::Excluded;
use havre_sites::Site;
use std::sync::Arc;

fn site(name: &str) -> Excluded {
    Excluded::Site(name.to_owned())
}

/// Blobs of both kinds that a site lists.
async fn listed(world: &World, number: usize) -> usize {
    let mut count = 0;
    for prefix in ["p/", "e/"] {
        let page = world.sites[number].list(prefix, None, 1000).await.expect("a page");
        count += page.entries.len();
    }
    count
}

async fn write(engine: &Arc<Engine>, name: &str) {
    let bucket = match engine.bucket("b").await.expect("the catalog answers") {
        Some(bucket) => bucket,
        None => {
            let tenant = engine.ensure_tenant("t").await.expect("a tenant");
            engine.create_bucket(tenant, "b", None).await.expect("a bucket")
        }
    };
    for (key, length) in [(format!("{name}-small"), 100), (format!("{name}-large"), 900_000)] {
        support::put(engine, &bucket, &key, &vec![7; length]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_excluded_gets_no_shard_here_or_after_a_start_or_on_a_blank_machine() {
    let world = World::wide();
    let catalog = Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory"));
    let (engine, _) = world.start(Arc::clone(&catalog) as _).await;
    write(&engine, "before").await;
    assert!(listed(&world, 2).await > 0, "it takes part");
    engine.exclude(site("s2"), "sold".to_owned(), None).await.expect("there are others");
    let had = listed(&world, 2).await;
    write(&engine, "after").await;
    assert_eq!(listed(&world, 2).await, had);
    drop(engine);
    let (engine, _) = world.start(catalog).await;
    write(&engine, "started").await;
    assert_eq!(listed(&world, 2).await, had);
    drop(engine);
    let (engine, report) = world.start_blank().await;
    assert!(report.rebuilt);
    write(&engine, "recovered").await;
    assert_eq!(listed(&world, 2).await, had);
    let rows = engine.exclusions().await.expect("the catalog answers");
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0].record.subject, rows[0].record.reason.as_str()), (&site("s2"), "sold"));
    // Two of another jurisdiction are left; without one more, six are.
    engine.exclude(site("s6"), String::new(), None).await.expect("six are left");
    engine.admit(site("s2"), "bought back".to_owned()).await.expect("it was excluded");
    for number in 0..6 {
        write(&engine, &format!("admitted-{number}")).await;
    }
    assert!(listed(&world, 2).await > had);
}

#[tokio::test(start_paused = true)]
async fn an_exclusion_that_no_policy_could_live_with_changes_nothing() {
    let world = World::new();
    let (engine, _) = world.start_blank().await;
    let refused = engine.exclude(site("s1"), String::new(), None).await;
    let Err(error @ ExcludeError::NoPlacement { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("without s1, policy default cannot place"), "{error}");
    assert!(engine.exclusions().await.expect("the catalog answers").is_empty());
    write(&engine, "after").await;
    assert!(listed(&world, 1).await > 0);
    for (subject, said) in [(site("x9"), "no party and no site"), (site("s1"), "not excluded")] {
        let error = match subject {
            Excluded::Site(ref name) if name == "x9" => {
                engine.exclude(subject, String::new(), None).await.map(drop)
            }
            _ => engine.admit(subject, String::new()).await,
        };
        let error = error.expect_err("it is refused").to_string();
        assert!(error.contains(said), "{error}");
    }
}
