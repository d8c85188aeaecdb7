//! The conformance suite against each backend that can be started here.
use crate::support;
use havre_sites::{
    Guarded, LocalSite, MemorySite, Site, SiteLimits,
    conformance::run,
    fault::{Faults, FaultySite},
    system,
};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

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
    let sites = Cell::new(0);
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
    let roots = RefCell::new(Vec::new());
    run(async || {
        let root = directory();
        let address = support::s3_server(root.path()).await;
        // The server outlives the case.
        roots.borrow_mut().push(root);
        Arc::new(support::s3_site(&address, conditional)) as Arc<dyn Site>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webdav_server_conforms() {
    let roots = RefCell::new(Vec::new());
    run(async || {
        let root = directory();
        let address = support::dav_server(root.path()).await;
        // The server outlives the case.
        roots.borrow_mut().push(root);
        let url = format!("webdav://{address}/some/root");
        Arc::new(support::remote(&url, &[])) as Arc<dyn Site>
    })
    .await;
}

/// Any other backend, by hand: `HAVRE_SITE_URL` and `HAVRE_SITE_OPTIONS` ("name=value,name=value").
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_the_environment_names_conforms() {
    let Ok(url) = std::env::var("HAVRE_SITE_URL") else {
        eprintln!("skipped: HAVRE_SITE_URL names no site");
        return;
    };
    let given = std::env::var("HAVRE_SITE_OPTIONS").unwrap_or_default();
    let options: Vec<_> = given.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let random: [u8; 4] = system::ports().random();
    let run_name = u32::from_le_bytes(random);
    let cases = Cell::new(0);
    run(async || {
        cases.set(cases.get() + 1);
        let url = format!("{}/{run_name}-{}", url.trim_end_matches('/'), cases.get());
        Arc::new(support::remote(&url, &options)) as Arc<dyn Site>
    })
    .await;
}
