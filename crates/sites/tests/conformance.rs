//! The conformance suite against each backend that can be started here.

mod support;

use havre_sites::{
    Guarded, LocalSite, MemorySite, Site, SiteLimits,
    conformance::run,
    fault::{Faults, FaultySite},
    system,
};
use std::sync::Arc;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn memory() -> Arc<dyn Site> {
    Arc::new(MemorySite::new(havre_policy::site_id("memory"), "memory"))
}

#[tokio::test]
async fn memory_conforms() {
    run(async || memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_directory_conforms() {
    let root = directory();
    let sites = std::cell::Cell::new(0);
    run(async || {
        sites.set(sites.get() + 1);
        let path = root.path().join(sites.get().to_string());
        let site = LocalSite::open(havre_policy::site_id("local"), "local", &path);
        Arc::new(site.unwrap()) as Arc<dyn Site>
    })
    .await;
}

#[tokio::test]
async fn a_faulty_site_without_a_fault_conforms() {
    let runtime = system::ports().runtime;
    run(async || {
        let site = FaultySite::new(memory(), Arc::clone(&runtime), Faults::default());
        Arc::new(site) as Arc<dyn Site>
    })
    .await;
}

#[tokio::test]
async fn a_guarded_site_conforms() {
    run(async || {
        let site = Guarded::new(memory(), SiteLimits::default(), system::ports());
        Arc::new(site) as Arc<dyn Site>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_that_refuses_to_overwrite_conforms() {
    s3(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_without_conditions_conforms() {
    s3(false).await;
}

async fn s3(conditional: bool) {
    run(async || {
        // Left in place: the server outlives the case.
        let root = directory().keep();
        let address = support::s3_server(&root).await;
        Arc::new(support::s3_site(&address, conditional)) as Arc<dyn Site>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webdav_server_conforms() {
    run(async || {
        let root = directory().keep();
        let address = support::dav_server(&root).await;
        let url = format!("webdav://{address}/some/root");
        Arc::new(support::remote(&url, &[])) as Arc<dyn Site>
    })
    .await;
}
