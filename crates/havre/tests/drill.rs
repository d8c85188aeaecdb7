//! Drills on a gateway in this process: six local sites, two in each of three jurisdictions.

use havre::compose::{self, Gateway};
use havre::config::{Config, write_local};
use havre::control::{
    self, Cut, CutDone, CutProgress, GatewayDesk, Order, Socket, WritesUnderCut, send,
};
use havre::rehearse::{RecoverReport, rehearse};
use havre::seize::{self, SeizeReport};
use havre::statement::verify;
use havre_engine::replay::Silent;
use havre_engine::{Bucket, PutError, PutRequest, UploadRequest, WholeBody};
use havre_model::record::ObjectKey;
use havre_seal::{Keyring, RootKey};
use havre_server::Tally;
use havre_sites::{Bar, system};
use http::StatusCode;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct World {
    _folder: TempDir,
    config: Config,
    gateway: Gateway,
    tally: Arc<Tally>,
    bucket: Arc<Bucket>,
    _socket: Socket,
}

/// A gateway that takes orders; its configuration is the trial's, changed.
async fn world(change: impl FnOnce(String) -> String) -> World {
    let (folder, ports) = (TempDir::new().expect("it works"), system::ports());
    RootKey::create_file(&folder.path().join("root.key"), &*ports.entropy).expect("it works");
    write_local(folder.path(), "ACCESSKEYACCESSKEY20", "secret").expect("it works");
    let file = folder.path().join("havre.toml");
    let text = change(std::fs::read_to_string(&file).expect("it works"));
    std::fs::write(&file, text).expect("it works");
    let config = Config::load(&file).expect("it works");
    let gateway = compose::start(&config).await.expect("it works");
    let tally = Arc::new(Tally::default());
    let desk = GatewayDesk::new(&gateway, &config, Arc::clone(&tally), ports.clone());
    let (socket, listener) = Socket::open(&config.gateway.catalog).expect("it works");
    ports.runtime.spawn(Box::pin(control::serve(listener, Arc::new(desk), ports.clone())));
    let tenant = gateway.engine.ensure_tenant("trial").await.expect("it works");
    let bucket = gateway.engine.create_bucket(tenant, "bucket", None).await.expect("it works");
    World { _folder: folder, config, gateway, tally, bucket, _socket: socket }
}

fn order(party: &str, seconds: u64, beyond_guarantee: bool) -> Order {
    let party = party.to_owned();
    Order::DrillCut { cut: Cut { party, seconds, before_seconds: 1, beyond_guarantee } }
}

impl World {
    async fn put(&self, key: &str) -> Result<(), PutError> {
        let key = ObjectKey::new(key.to_owned()).expect("it works");
        let mut body = WholeBody::new("value");
        let put = self.gateway.engine.put(&self.bucket, key, PutRequest::default(), &mut body);
        put.await.map(drop)
    }

    /// What these parties get, with the root key or without it.
    async fn seize(&self, coalition: &[&str], with_key: bool) -> SeizeReport {
        let ports = system::ports();
        let root = compose::root_key(&self.config.gateway.root_key).expect("it works");
        let keyring = with_key.then(|| Keyring::new(root, Arc::clone(&ports.entropy)));
        let fleet = compose::fleet(&self.config, &ports).expect("it works");
        let coalition: Vec<String> = coalition.iter().map(ToString::to_string).collect();
        let clock = &*ports.clock;
        let hear = |done, total| assert!(done <= total || total > 0);
        seize::drill(&self.config, &coalition, &fleet, keyring.as_ref(), clock, hear)
            .await
            .expect("it works")
    }

    async fn put_large(&self, key: &str, bytes: usize) {
        let key = ObjectKey::new(key.to_owned()).expect("it works");
        let mut body = WholeBody::new(vec![7; bytes]);
        let put = self.gateway.engine.put(&self.bucket, key, PutRequest::default(), &mut body);
        put.await.expect("it works");
    }

    async fn reads(&self, key: &str) -> bool {
        use futures::TryStreamExt as _;
        let key = ObjectKey::new(key.to_owned()).expect("it works");
        let object = self
            .gateway
            .engine
            .head(&self.bucket, &key)
            .await
            .expect("it works")
            .expect("it works");
        let chunks: Vec<_> =
            self.gateway.engine.read(&object, 0..5).try_collect().await.expect("it works");
        chunks.concat() == b"value"
    }

    fn barred(&self) -> Vec<&str> {
        let sites = self.gateway.fleet.iter();
        sites.filter(|site| site.barred().is_some()).map(|site| site.name()).collect()
    }

    async fn until(&self, barred: &[&str]) {
        while self.barred() != barred {
            system::ports().runtime.sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_is_cut_off_and_reads_go_on_and_it_is_written_down() {
    let w = world(|text| text.replace("\"degrade\"\n[policy", "\"refuse\"\n[policy")).await;
    w.put("before").await.unwrap();
    let mut phases = Vec::new();
    let hear = |line| {
        if let Ok(progress) = serde_json::from_value::<CutProgress>(line) {
            phases.push(progress.phase);
        }
    };
    let order = order("jurisdiction:XB", 3, false);
    let drill = send(&w.config.gateway.catalog, &order, hear);
    let meanwhile = async {
        w.until(&["s3", "s4"]).await;
        assert!(w.reads("before").await);
        w.tally.count("GetObject", StatusCode::OK, true, Duration::from_millis(3));
        let refused = w.put("during").await;
        assert!(matches!(refused, Err(PutError::Unavailable(_))), "{refused:?}");
        w.tally.count("PutObject", StatusCode::SERVICE_UNAVAILABLE, true, Duration::from_secs(1));
    };
    let (done, ()) = tokio::join!(drill, meanwhile);
    assert_eq!(w.barred(), Vec::<&str>::new(), "the sites are asked again");
    w.put("after").await.unwrap();
    let done: CutDone = serde_json::from_value(done.unwrap()).unwrap();
    let report = &done.report;
    assert_eq!(
        (&*report.party, &report.sites[..]),
        ("jurisdiction:XB", &["s3", "s4"].map(String::from)[..])
    );
    assert_eq!((report.during.reads.served, report.during.writes.failed), (1, 1));
    assert_eq!((report.before.reads.served, report.below_guarantee_most), (0, 0));
    assert_eq!(report.policies[0].writes, WritesUnderCut::AreRefused);
    assert!(report.policies[0].covered_by.is_some());
    assert_eq!(phases.first().map(String::as_str), Some("before"));
    assert!(phases.iter().filter(|phase| *phase == "cut").count() >= 2);
    let envelope = serde_json::to_vec(&done.statement).unwrap();
    let statement = verify(&envelope, &w.gateway.signer.public()).unwrap();
    assert_eq!((&*statement.kind, statement.configuration), ("drill-cut", w.config.digest()));
    assert_eq!(statement.body, serde_json::to_value(report).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_ends_the_cut() {
    let w = world(|text| text).await;
    let order = order("jurisdiction:XB", 3600, false);
    {
        let mut drill = Box::pin(send(&w.config.gateway.catalog, &order, drop));
        tokio::select! {
            ended = &mut drill => panic!("{ended:?}"),
            () = w.until(&["s3", "s4"]) => {}
        }
    }
    w.until(&[]).await;
    assert!(w.put("after").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_the_guarantee_does_not_cover_is_refused_by_name() {
    let only_read = |text: String| {
        let line = "cannot_cut_off = [\"any jurisdiction\", \"any operator\"]";
        assert!(text.contains(line));
        text.replace(line, "cannot_cut_off = [\"any operator\"]").replace("\"XB\"", "\"XA\"")
    };
    let narrow = |text: String| {
        // The jurisdiction reaches four sites: nothing may be said of reading or cutting off.
        let text = only_read(text);
        text.replace(
            "cannot_read = [\"any jurisdiction\", \"any operator\"]",
            "cannot_read = [\"any operator\"]",
        )
    };
    let w = world(narrow).await;
    w.put("k").await.unwrap();
    let catalog = &w.config.gateway.catalog;
    let refused = send(catalog, &order("jurisdiction:XA", 1, false), drop).await.unwrap_err();
    let refused = refused.to_string();
    for word in ["policy default", "jurisdiction:XA", "s1, s2, s3, s4"] {
        assert!(refused.contains(word), "{refused}");
    }
    assert!(w.barred().is_empty());
    let unknown = send(catalog, &order("operator:nobody", 1, false), drop).await.unwrap_err();
    assert!(unknown.to_string().contains("no party is called"), "{unknown}");
    let asked_for = order("jurisdiction:XA", 1, true);
    let (done, ()) = tokio::join!(send(catalog, &asked_for, drop), async {
        w.until(&["s1", "s2", "s3", "s4"]).await;
    });
    let done: CutDone = serde_json::from_value(done.unwrap()).unwrap();
    assert!(done.report.beyond_guarantee && done.report.policies[0].covered_by.is_none());
}

/// With a site down elsewhere more is away than any one coalition reaches.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_beside_a_site_that_is_away_is_refused() {
    let w = world(|text| text).await;
    w.gateway.fleet.site(0).bar(Bar::OtherStorage, None);
    let catalog = &w.config.gateway.catalog;
    let refused = send(catalog, &order("jurisdiction:XB", 1, false), drop).await.unwrap_err();
    assert!(refused.to_string().contains("site s1 is down"), "{refused}");
    assert!(send(catalog, &order("jurisdiction:XA", 1, false), drop).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_within_the_guarantee_opens_nothing_with_the_root_key_either() {
    let w = world(|text| text).await;
    w.put("small").await.unwrap();
    // An extent of one stripe, and one of many.
    w.put_large("medium", 300_000).await;
    w.put_large("large", 3_000_000).await;
    for (party, with_key) in [("jurisdiction:XA", true), ("operator:west", true), ("XB", false)] {
        let report = w.seize(&[party], with_key).await;
        let seized = &report.seized;
        assert_eq!(report.held, Some(true), "{report:?}");
        assert!(seized.packs.blobs >= 5 && seized.extents.blobs == 2, "{report:?}");
        assert_eq!((seized.packs.opened, seized.extents.opened), (0, 0));
        assert_eq!(seized.packs.by_shards_held.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!(seized.packs.by_shares_needed.keys().collect::<Vec<_>>(), [&3]);
        assert_eq!(seized.with_root_key, with_key.then(Default::default));
        assert!(seized.packs.bytes > 0 && report.learnt.len() >= 4);
    }
}

/// The drill can fail: it reads what can be read.
#[tokio::test(flavor = "multi_thread")]
async fn too_big_a_coalition_opens_the_second_lock_and_with_the_root_key_everything() {
    let w = world(|text| text).await;
    w.put("small").await.unwrap();
    w.put_large("medium", 300_000).await;
    w.put_large("large", 3_000_000).await;
    let coalition = ["XA", "XB"];
    let without = w.seize(&coalition, false).await;
    assert_eq!((without.held, &without.seized.with_root_key), (None, &None));
    for kind in [&without.seized.packs, &without.seized.extents] {
        assert!(kind.blobs > 0 && kind.opened == kind.blobs && kind.enough_shards == kind.blobs);
    }
    let with = w.seize(&coalition, true).await.seized.with_root_key.unwrap();
    assert_eq!((with.objects, with.inline_bytes, with.records_closed), (3, 5, 0), "{with:?}");
    assert_eq!((with.extents_tried, with.extents), (2, 2), "{with:?}");
    assert!(with.records >= 5, "a tenant, a bucket, objects");
    let other = Keyring::new(RootKey::generate(&*system::ports().entropy), system::ports().entropy);
    let fleet = compose::fleet(&w.config, &system::ports()).unwrap();
    let all = (0..6).collect();
    let wrong = seize::seize(&fleet, all, Some(&other), |_, _| {}).await;
    let with = wrong.with_root_key.unwrap();
    assert_eq!((with.records, with.extents), (0, 0), "another key opens nothing");
    assert!(with.records_closed > 0);
}

impl World {
    async fn rehearse(&self) -> RecoverReport {
        let root = compose::root_key(&self.config.gateway.root_key).expect("it works");
        let directory = self.config.gateway.data.join("scratch");
        let report = rehearse(&self.config, root, &directory, &Silent).await.expect("it works");
        assert!(!directory.exists(), "the scratch directory holds names");
        report
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_from_the_sites_alone_is_the_live_one_and_a_lost_write_shows() {
    let w = world(|text| text).await;
    for number in 0..20 {
        w.put(&format!("k{number}")).await.unwrap();
    }
    w.put_large("large", 3_000_000).await;
    let key = ObjectKey::new("upload".to_owned()).unwrap();
    w.gateway.engine.create_upload(&w.bucket, key, UploadRequest::default()).await.unwrap();
    let before = shards(&w);
    let report = w.rehearse().await;
    assert!(report.same && report.gaps == 0, "{report:?}");
    assert_eq!(shards(&w), before, "the sites are only read");
    let objects = &report.compared["objects"];
    assert_eq!((objects.live, objects.same, objects.newer, objects.differ), (21, 21, 0, 0));
    assert_eq!(objects.digest_live, objects.digest_recovered);
    for (table, rows) in [("tenants", 1), ("buckets", 1), ("uploads", 1)] {
        assert_eq!((report.compared[table].live, report.compared[table].same), (rows, rows));
    }
    assert!(report.compared["packs"].same >= 22 && report.compared["packs"].differ == 0);
    // Four sites lose the last pack: nobody can know from them that it was acknowledged.
    w.put("last").await.unwrap();
    for site in 1..=4 {
        let packs = w.config.gateway.data.join(format!("sites/s{site}/p"));
        let mut files: Vec<_> = files(&packs);
        files.sort();
        std::fs::remove_file(files.last().unwrap()).unwrap();
    }
    let report = w.rehearse().await;
    let objects = &report.compared["objects"];
    assert!(!report.same, "{report:?}");
    assert_eq!((objects.live, objects.same, objects.differ, objects.newer), (22, 21, 1, 0));
    assert_ne!(objects.digest_live, objects.digest_recovered);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_during_the_rehearsal_is_newer_and_no_difference() {
    let w = world(|text| text).await;
    for number in 0..50 {
        w.put(&format!("k{number}")).await.unwrap();
    }
    let writes = async {
        for number in 0..200 {
            w.put(&format!("k{}", number % 100)).await.unwrap();
        }
    };
    let (report, ()) = tokio::join!(w.rehearse(), writes);
    assert!(report.same, "{report:?}");
    assert_eq!(report.compared["objects"].differ, 0);
    let after = w.rehearse().await;
    assert_eq!((after.compared["objects"].same, after.compared["objects"].newer), (100, 0));
}

/// Names and lengths of all files at all sites.
fn shards(w: &World) -> Vec<(PathBuf, u64)> {
    let mut found = files(&w.config.gateway.data.join("sites"));
    found.sort();
    found.into_iter().map(|file| (file.clone(), file.metadata().map_or(0, |it| it.len()))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it works").flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
