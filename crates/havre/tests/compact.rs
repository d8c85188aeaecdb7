//! Compaction on a gateway in this process, over six local sites: what clients see stays the same,
//! what they deleted leaves the sites, and a blank machine finds what counts, whatever sites keep.

use futures::TryStreamExt as _;
use havre::compose::{self, Gateway, InFlight, Pen};
use havre::config::{Config, write_local};
use havre::rehearse::{RecoverReport, rehearse};
use havre_engine::replay::Silent;
use havre_engine::{
    Bucket, Condition, PutRequest, ReadError, UploadRequest, WholeBody,
};
use havre_keeper::{Busy, Collector, Compaction, Compactor, GcReport, Throttle};
use havre_model::record::ObjectKey;
use havre_seal::RootKey;
use havre_sites::system;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

struct World {
    _folder: TempDir,
    config: Config,
    gateway: Gateway,
    bucket: Arc<Bucket>,
    /// What clients know to be there.
    contents: BTreeMap<String, Vec<u8>>,
}

async fn world() -> World {
    let (folder, ports) = (TempDir::new().expect("it works"), system::ports());
    RootKey::create_file(&folder.path().join("root.key"), &*ports.entropy).expect("it works");
    write_local(folder.path(), "ACCESSKEYACCESSKEY20", "secret").expect("it works");
    let config = Config::load(&folder.path().join("havre.toml")).expect("it works");
    let gateway = compose::start(&config).await.expect("it works");
    let tenant = gateway.engine.ensure_tenant("trial").await.expect("it works");
    let bucket = gateway.engine.create_bucket(tenant, "bucket", None).await.expect("it works");
    World { _folder: folder, config, gateway, bucket, contents: BTreeMap::new() }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text.to_owned()).expect("a valid key")
}

fn value(name: &str, version: usize, bytes: usize) -> Vec<u8> {
    format!("{name} {version} ").into_bytes().into_iter().cycle().take(bytes).collect()
}

impl World {
    async fn put(&mut self, name: &str, value: Vec<u8>) {
        let mut body = WholeBody::new(value.clone());
        let engine = &self.gateway.engine;
        engine
            .put(&self.bucket, key(name), PutRequest::default(), &mut body)
            .await
            .expect("all sites are well");
        self.contents.insert(name.to_owned(), value);
    }

    async fn delete(&mut self, name: &str) {
        let engine = &self.gateway.engine;
        engine
            .delete(&self.bucket, key(name), Condition::default())
            .await
            .expect("all sites are well");
        self.contents.remove(name);
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let engine = &self.gateway.engine;
        let Some(object) = engine.head(&self.bucket, &key(name)).await.expect("it works") else {
            return Ok(None);
        };
        let pieces: Vec<_> = engine.read(&object, 0..u64::MAX).try_collect().await?;
        Ok(Some(pieces.concat()))
    }

    async fn check(&self, names: impl Iterator<Item = String>) {
        for name in names {
            let read = self.read(&name).await.expect("it can be read");
            assert!(read.as_ref() == self.contents.get(&name), "{name} is what was written");
        }
    }

    fn compactor(&self) -> Compactor {
        Compactor {
            catalog: Arc::clone(&self.gateway.catalog),
            fleet: Arc::clone(&self.gateway.fleet),
            policies: Arc::clone(&self.gateway.policies),
            rewriter: Arc::new(Pen(Arc::clone(&self.gateway.engine))),
            busy: Busy::default(),
            ports: system::ports(),
            throttle: Throttle::new(u64::MAX),
        }
    }

    /// Passes until nothing is left but what a pass leaves itself.
    async fn compact(&self) -> Compaction {
        for _ in 0..20 {
            let done = self.compactor().pass(true, &|| true).await.expect("it works");
            assert_eq!(done.waiting, 0, "{}", done.reason);
            if done.done <= 2 {
                return done;
            }
        }
        panic!("compaction does not come to an end");
    }

    async fn collect(&self) -> GcReport {
        assert!(self.gateway.engine.fence().await);
        let collector = Collector {
            catalog: Arc::clone(&self.gateway.catalog),
            fleet: Arc::clone(&self.gateway.fleet),
            held: Arc::new(InFlight(Arc::clone(&self.gateway.engine))),
            busy: Busy::default(),
        };
        collector.collect().await.expect("it works")
    }

    async fn rehearse(&self) -> RecoverReport {
        let root = compose::root_key(&self.config.gateway.root_key).expect("it works");
        let directory = self.config.gateway.data.join("scratch");
        rehearse(&self.config, root, &directory, &Silent).await.expect("it works")
    }

    fn site(&self, number: usize) -> PathBuf {
        self.config.gateway.data.join(format!("sites/s{number}"))
    }

    /// A bucket's life: objects that stay, are replaced and are deleted, small and large, and
    /// uploads that stay, are completed and are aborted.
    async fn live(&mut self, rounds: usize) {
        for round in 0..rounds {
            for at in 0..30 {
                let name = format!("k{}", (round * 7 + at) % 60);
                match at % 5 {
                    0 => self.delete(&name).await,
                    1 if at == 11 => self.put(&name, value(&name, round, 400_000)).await,
                    _ => self.put(&name, value(&name, round, 2_000 + at * 100)).await,
                }
            }
            self.upload(round).await;
        }
    }

    async fn upload(&mut self, round: usize) {
        let name = format!("upload{round}");
        let engine = &self.gateway.engine;
        let request = UploadRequest::default();
        let upload = engine
            .create_upload(&self.bucket, key(&name), request)
            .await
            .expect("all sites are well");
        let part = value(&name, round, 5 << 20);
        let mut body = WholeBody::new(part.clone());
        let sent = engine
            .put_part(&self.bucket, &key(&name), upload, 1, &mut body)
            .await
            .expect("all sites are well");
        match round % 3 {
            0 => {
                let parts =
                    vec![havre_engine::CompletedPart { number: 1, etag: sent.etag, checksum: None }];
                let request = havre_engine::CompleteRequest { parts, ..Default::default() };
                engine
                    .complete(&self.bucket, key(&name), upload, request)
                    .await
                    .expect("all sites are well");
                self.contents.insert(name, part);
            }
            1 => {
                engine.abort(&self.bucket, &key(&name), upload).await.expect("all sites are well");
            }
            _ => {}
        }
    }

    fn names(&self) -> impl Iterator<Item = String> + use<> {
        (0..60).map(|at| format!("k{at}")).chain((0..9).map(|at| format!("upload{at}")))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|file| file.metadata().map_or(0, |it| it.len())).sum()
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("it is below"));
        if !target.exists() {
            std::fs::create_dir_all(target.parent().expect("it has one")).expect("it works");
            std::fs::copy(&file, &target).expect("it works");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_leaves_the_sites_and_what_counts_stays() {
    let mut w = world().await;
    w.live(3).await;
    for name in w.names().collect::<Vec<_>>() {
        if name != "k7" && !name.starts_with("upload") {
            w.delete(&name).await;
        }
    }
    let (packs, stored) = (files(&w.site(1).join("p")).len(), bytes(&w.site(1).join("p")));
    let done = w.compact().await;
    assert!(done.packs_retired as usize > packs / 2 && done.ends_dropped > 30, "{done:?}");
    w.check(w.names()).await;
    let collected = w.collect().await;
    assert_eq!((collected.garbage_left, collected.orphans_left), (0, 0));
    w.check(w.names()).await;
    let (fewer, less) = (files(&w.site(1).join("p")).len(), bytes(&w.site(1).join("p")));
    assert!(fewer * 10 < packs && less * 10 < stored, "{packs} {fewer}, {stored} {less}");
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0 && report.unreadable_records == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_machine_finds_what_counts_although_sites_keep_what_they_should_delete() {
    let mut w = world().await;
    w.live(2).await;
    // Undead deletes (A20): the sites bring everything back that they were asked to delete.
    let kept = TempDir::new().expect("it works");
    for site in 1..=6 {
        copy(&w.site(site), &kept.path().join(site.to_string()));
    }
    for name in (0..30).map(|at| format!("k{at}")) {
        w.delete(&name).await;
    }
    w.compact().await;
    w.collect().await;
    for site in 1..=6 {
        copy(&kept.path().join(site.to_string()), &w.site(site));
    }
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
    assert_eq!(report.compared["objects"].live, w.contents.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_on_while_packs_are_written_anew() {
    let mut w = world().await;
    w.live(1).await;
    let (compactor, rounds) = (w.compactor(), 6);
    let catalog = Arc::clone(&w.gateway.catalog);
    let collector = Collector {
        catalog: Arc::clone(&catalog),
        fleet: Arc::clone(&w.gateway.fleet),
        held: Arc::new(InFlight(Arc::clone(&w.gateway.engine))),
        busy: compactor.busy.clone(),
    };
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let keeper = {
        let (ended, mut compactor) = (Arc::clone(&ended), compactor);
        let engine = Arc::clone(&w.gateway.engine);
        async move {
            while !ended.load(std::sync::atomic::Ordering::Acquire) {
                let done = compactor.pass(true, &|| true).await.expect("it works");
                assert!(engine.fence().await);
                collector.collect().await.expect("it works");
                tracing::debug!(?done, "a pass");
            }
        }
    };
    let keeping = tokio::spawn(keeper);
    for round in 0..rounds {
        w.live(1).await;
        w.check(w.names()).await;
        let _ = round;
    }
    ended.store(true, std::sync::atomic::Ordering::Release);
    keeping.await.expect("the keeper does not panic");
    assert!(Compactor::progress(&*catalog).await.expect("it works").packs_retired > 20);
    w.compact().await;
    w.collect().await;
    w.check(w.names()).await;
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
}
