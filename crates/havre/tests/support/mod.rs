//! A gateway in this process over six local sites, with what clients know of its contents, and the
//! keeper's workers that write.
use futures::TryStreamExt as _;
use havre::compose::{self, Gateway};
use havre::config::{Config, write_local};
use havre::oversight::{Inside, Pen};
use havre::rehearse::{RecoverReport, rehearse};
use havre_engine::replay::Silent;
use havre_engine::{Bucket, Condition, PutRequest, ReadError, UploadRequest, WholeBody};
use havre_keeper::{Busy, Collector, Compaction, Compactor, GcReport, Redisperser, Throttle};
use havre_model::record::ObjectKey;
use havre_seal::RootKey;
use havre_sites::system;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// One more policy, of another geometry.
pub(crate) const THRIFTY: &str = "
[[policy]]
name = \"thrifty\"
k = 4
m = 2
[policy.guarantee]
cannot_read = [\"any jurisdiction\", \"any operator\"]
cannot_cut_off = [\"any jurisdiction\", \"any operator\"]
";

const BUCKET: &str = "bucket";

pub(crate) struct World {
    folder: TempDir,
    pub(crate) config: Config,
    pub(crate) gateway: Gateway,
    pub(crate) bucket: Arc<Bucket>,
    /// What clients know to be there.
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
}

/// A gateway whose configuration is the trial's, changed.
pub(crate) async fn world(change: impl FnOnce(String) -> String) -> World {
    let (folder, ports) = (TempDir::new().expect("it works"), system::ports());
    RootKey::create_file(&folder.path().join("root.key"), &*ports.entropy).expect("it works");
    write_local(folder.path(), "ACCESSKEYACCESSKEY20", "secret").expect("it works");
    let file = folder.path().join("havre.toml");
    let text = change(std::fs::read_to_string(&file).expect("it works"));
    std::fs::write(&file, text).expect("it works");
    let config = Config::load(&file).expect("it works");
    for site in 1..=config.sites.len() {
        std::fs::create_dir_all(folder.path().join(format!("sites/s{site}"))).expect("it works");
    }
    let gateway = compose::start(&config).await.expect("it works");
    let tenant = gateway.engine.ensure_tenant("trial").await.expect("it works");
    let bucket = gateway.engine.create_bucket(tenant, BUCKET, None).await.expect("it works");
    World { folder, config, gateway, bucket, contents: BTreeMap::new() }
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text.to_owned()).expect("a valid key")
}

pub(crate) fn value(name: &str, version: usize, bytes: usize) -> Vec<u8> {
    format!("{name} {version} ").into_bytes().into_iter().cycle().take(bytes).collect()
}

impl World {
    /// The same as another process finds it, with this configuration.
    pub(crate) async fn restart(self, config: Config) -> Self {
        let Self { folder, gateway, bucket, contents, .. } = self;
        drop((gateway, bucket));
        Self::begin(folder, config, contents).await
    }

    /// A gateway over what lies in the folder, in which clients know of these contents.
    pub(crate) async fn begin(
        folder: TempDir,
        config: Config,
        contents: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let mut tries = 0;
        // What the old gateway has spawned ends when the last of it is dropped.
        let gateway = loop {
            match compose::start(&config).await {
                Ok(gateway) => break gateway,
                Err(_) if tries < 100 => {
                    tries += 1;
                    system::ports().runtime.sleep(Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{error:#}"),
            }
        };
        let bucket = gateway.engine.bucket(BUCKET).await.expect("it works").expect("it is there");
        Self { folder, config, gateway, bucket, contents }
    }

    /// Nobody serves its data directory any more, which lies in the folder.
    pub(crate) fn stop(self) -> (TempDir, PathBuf) {
        (self.folder, self.config.gateway.data)
    }

    pub(crate) async fn put(&mut self, name: &str, value: Vec<u8>) {
        let mut body = WholeBody::new(value.clone());
        let engine = &self.gateway.engine;
        engine
            .put(&self.bucket, key(name), PutRequest::default(), &mut body)
            .await
            .expect("all sites are well");
        self.contents.insert(name.to_owned(), value);
    }

    pub(crate) async fn delete(&mut self, name: &str) {
        let engine = &self.gateway.engine;
        engine
            .delete(&self.bucket, key(name), Condition::default())
            .await
            .expect("all sites are well");
        self.contents.remove(name);
    }

    pub(crate) async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let engine = &self.gateway.engine;
        let Some(object) = engine.head(&self.bucket, &key(name)).await.expect("it works") else {
            return Ok(None);
        };
        let pieces: Vec<_> = engine.read(&object, 0..u64::MAX).try_collect().await?;
        Ok(Some(pieces.concat()))
    }

    pub(crate) async fn check(&self, names: impl Iterator<Item = String>) {
        for name in names {
            let read = self.read(&name).await.expect("it can be read");
            assert!(read.as_ref() == self.contents.get(&name), "{name} is what was written");
        }
    }

    pub(crate) fn compactor(&self) -> Compactor {
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

    pub(crate) fn redisperser(&self) -> Redisperser {
        Redisperser {
            catalog: Arc::clone(&self.gateway.catalog),
            fleet: Arc::clone(&self.gateway.fleet),
            policies: Arc::clone(&self.gateway.policies),
            default_policy: self.config.gateway.default_policy.clone(),
            rewriter: Arc::new(Pen(Arc::clone(&self.gateway.engine))),
            busy: Busy::default(),
            ports: system::ports(),
            throttle: Throttle::new(u64::MAX),
        }
    }

    /// Passes until nothing is left but what a pass leaves itself.
    pub(crate) async fn compact(&self) -> Compaction {
        for _ in 0..20 {
            let done = self.compactor().pass(true, &|| true).await.expect("it works");
            assert_eq!(done.waiting, 0, "{}", done.reason);
            if done.done <= 2 {
                return done;
            }
        }
        panic!("compaction does not come to an end");
    }

    pub(crate) async fn collect(&self) -> GcReport {
        assert!(self.gateway.engine.fence().await);
        let collector = Collector {
            catalog: Arc::new(Arc::clone(&self.gateway.catalog)),
            fleet: Arc::clone(&self.gateway.fleet),
            held: Arc::new(Inside::new(&self.gateway)),
            busy: Busy::default(),
        };
        collector.collect().await.expect("it works")
    }

    pub(crate) async fn rehearse(&self) -> RecoverReport {
        let root = compose::root_key(&self.config.gateway.root_key).expect("it works");
        let directory = self.config.gateway.data.join("scratch");
        rehearse(&self.config, root, &directory, &Silent).await.expect("it works")
    }

    pub(crate) fn site(&self, number: usize) -> PathBuf {
        self.config.gateway.data.join(format!("sites/s{number}"))
    }

    /// A bucket's life: objects that stay, are replaced and are deleted, small and large, and
    /// uploads that stay, are completed and are aborted.
    pub(crate) async fn live(&mut self, rounds: usize) {
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
                let parts = vec![havre_engine::CompletedPart {
                    number: 1,
                    etag: sent.etag,
                    checksum: None,
                }];
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

    pub(crate) fn names(&self) -> impl Iterator<Item = String> + use<> {
        (0..60).map(|at| format!("k{at}")).chain((0..9).map(|at| format!("upload{at}")))
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
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

pub(crate) fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|file| file.metadata().map_or(0, |it| it.len())).sum()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("it is below"));
        if !target.exists() {
            std::fs::create_dir_all(target.parent().expect("it has one")).expect("it works");
            std::fs::copy(&file, &target).expect("it works");
        }
    }
}
