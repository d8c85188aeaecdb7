//! What goes between a keeper and a gateway: the keeper's end in this process, a gateway in this
//! process too, and others who come to its socket.

use havre::apart::{self, BeginError, Clerk, LEASE, Line, Session};
use havre::compose::{self, Gateway, MOVES_PAUSED};
use havre::config::{Config, write_local};
use havre::control::{
    self, GatewayDesk, Order, Socket, Subject, keeper_socket_path, send, socket_path,
};
use havre::oversight::Oversight as _;
use havre_catalog::{BlobRow, JobRow};
use havre_engine::{PutRequest, WholeBody};
use havre_keeper::{HeldBlobs as _, Index};
use havre_model::ports::Ports;
use havre_model::record::ObjectKey;
use havre_model::{BlobId, SiteSet};
use havre_seal::RootKey;
use havre_server::Tally;
use havre_sites::{Bar, Fleet, SiteErrorKind, system};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

struct World {
    folder: TempDir,
    config: Config,
    gateway: Gateway,
    ports: Ports,
    _sockets: [Socket; 2],
}

/// A gateway whose keeper is apart, with an object. Two sites more than a blob has shards, so that
/// one can be closed.
async fn world() -> World {
    let (folder, ports) = (TempDir::new().expect("it works"), system::ports());
    RootKey::create_file(&folder.path().join("root.key"), &*ports.entropy).expect("it works");
    write_local(folder.path(), "ACCESSKEYACCESSKEY20", "secret").expect("it works");
    let file = folder.path().join("havre.toml");
    let mut text = std::fs::read_to_string(&file).expect("it works");
    text += "[keeper]\nruns = \"apart\"\n[[operator]]\nname = \"east\"\nincorporation = \"XD\"\n";
    for name in ["s7", "s8"] {
        std::fs::create_dir(folder.path().join("sites").join(name)).expect("it works");
        let url = format!("name = \"{name}\"\nurl = \"sites/{name}\"");
        text += &format!("[[site]]\n{url}\noperator = \"east\"\nlocation = \"XD\"\n");
    }
    std::fs::write(&file, text).expect("it works");
    let config = Config::load(&file).expect("it is sound");
    let gateway = compose::start(&config).await.expect("it starts");
    let (socket, listener) = Socket::open(&config.gateway.catalog).expect("it works");
    let desk = GatewayDesk::new(&gateway, &config, Arc::new(Tally::default()), ports.clone());
    ports.runtime.spawn(Box::pin(control::serve(listener, Arc::new(desk), ports.clone())));
    let (other, listener) = Socket::open_for_keeper(&config.gateway.catalog).expect("it works");
    let clerk = Clerk::new(&gateway, &config, ports.clone()).expect("its keeper is apart");
    ports.runtime.spawn(Box::pin(apart::serve(listener, Arc::new(clerk))));
    let tenant = gateway.engine.ensure_tenant("trial").await.expect("it works");
    let bucket = gateway.engine.create_bucket(tenant, "bucket", None).await.expect("it works");
    let key = ObjectKey::new("key".to_owned()).expect("a key");
    let mut body = WholeBody::new(vec![7; 400_000]);
    let put = gateway.engine.put(&bucket, key, PutRequest::default(), &mut body);
    put.await.expect("it is stored");
    // The last shards of a write arrive after its acknowledgement.
    while gateway.catalog.counts().await.expect("counted").incomplete > 0 {
        ports.runtime.sleep(Duration::from_millis(20)).await;
    }
    World { folder, config, gateway, ports, _sockets: [socket, other] }
}

impl World {
    fn fleet(&self) -> Arc<Fleet> {
        Arc::new(compose::fleet(&self.config, &self.ports).expect("it works"))
    }

    async fn begin(&self, fleet: &Arc<Fleet>) -> Result<(Arc<Session>, Line), BeginError> {
        let (catalog, digest) = (&self.config.gateway.catalog, self.config.digest());
        Session::begin(catalog, digest, Arc::clone(fleet), self.ports.clone()).await
    }

    /// A session whose line is carried for as long as it lives.
    async fn session(&self, fleet: &Arc<Fleet>) -> Arc<Session> {
        let (session, mut line) = self.begin(fleet).await.expect("it is let in");
        self.ports.runtime.spawn(Box::pin(async move {
            line.carry().await;
        }));
        session
    }

    async fn pause(&self) {
        self.ports.runtime.sleep(Duration::from_millis(20)).await;
    }

    async fn exclude(&self, site: &str) -> Duration {
        let began = self.ports.clock.elapsed();
        let subject = Subject::Site(site.to_owned());
        let order = Order::Exclude { subject, reason: String::new(), deadline_ms: None };
        send(&self.config.gateway.catalog, &order, drop).await.expect("it is excluded");
        self.ports.clock.elapsed() - began
    }

    /// What a site of this fleet says to a new shard.
    async fn store(&self, fleet: &Fleet, at: usize) -> Result<(), SiteErrorKind> {
        let policy = &self.config.placement_policies()[0];
        let blob = BlobId::from_bytes(self.ports.random());
        let index = policy.geometry().indices().next().expect("a shard");
        let site = fleet.site(at);
        let permit = policy.permit(blob, index, site.id(), SiteSet::EMPTY).expect("permitted");
        let name = havre_model::BlobName::Extent(blob);
        let put = site.put(permit, &name, "a shard".into());
        put.await.map_err(|error| error.kind)
    }

    async fn connect(&self) -> UnixStream {
        let path = keeper_socket_path(&self.config.gateway.catalog);
        UnixStream::connect(path).await.expect("it listens")
    }

    /// Whether somebody has the post.
    fn is_taken(&self) -> bool {
        self.gateway.post.as_ref().expect("its keeper is apart").status().is_present
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_shows_what_the_catalog_has() {
    let w = world().await;
    let (fleet, catalog) = (w.fleet(), Arc::clone(&w.gateway.catalog));
    let (session, index): (_, Arc<dyn Index>) = (w.session(&fleet).await, Arc::new(catalog));
    let rows = session.blobs(None, usize::MAX).await.unwrap();
    assert!(!rows.is_empty());
    // But for the bucket that an extent is in.
    let all = index.blobs(None, 1000).await.unwrap().into_iter();
    let all: Vec<_> = all.map(|row| BlobRow { bucket: None, ..row }).collect();
    assert_eq!(rows, all);
    assert_eq!(session.blob_count().await.unwrap(), index.blob_count().await.unwrap());
    assert_eq!(session.own_chains().await.unwrap(), index.own_chains().await.unwrap());
    let [row, ..] = &rows[..] else { panic!("no blob") };
    assert_eq!(session.blob(row.blob()).await.unwrap().as_ref(), Some(row));
    assert_eq!(session.blob(BlobId::from_bytes([9; 16])).await.unwrap(), None);
    assert!(!session.holds(row.blob()).await);
    assert!(session.fence().await && session.takes_writes());
    // A shard is lost, and another one is about to be elsewhere.
    assert!(session.note_shards(row.blob(), &row.sites, 0, 1).await.unwrap());
    let below: Vec<BlobRow> = session.below_guarantee(None, 10).await.unwrap();
    assert_eq!((below.len(), below[0].blob()), (1, row.blob()));
    let free = fleet.iter().find(|site| !row.sites.contains(&site.id())).unwrap().id();
    assert!(session.intend_shards(row.blob(), vec![free]).await.unwrap());
    assert!(!session.intend_shards(row.blob(), vec![free]).await.unwrap(), "it is intended");
    assert_eq!(session.leftovers_of(row.blob()).await.unwrap(), vec![free]);
    let [leftover] = session.leftovers(None, 10).await.unwrap()[..] else { panic!("not one") };
    session.forget_leftover(leftover).await.unwrap();
    assert!(index.leftovers_of(row.blob()).await.unwrap().is_empty());
    assert!(!session.forget_blob(row.blob()).await.unwrap(), "it is needed");
    let job = JobRow { name: "a job".to_owned(), state: vec![1, 2] };
    session.put_job(job.clone()).await.unwrap();
    assert_eq!(session.job("a job").await.unwrap(), Some(job));
    let flag = JobRow { name: MOVES_PAUSED.to_owned(), state: vec![1] };
    assert!(session.put_job(flag).await.is_err(), "that is the gateway's");
}

#[tokio::test(flavor = "multi_thread")]
async fn i29_an_exclusion_is_answered_when_the_keeper_stores_nothing_there_any_more() {
    let w = world().await;
    let fleet = w.fleet();
    let _session = w.session(&fleet).await;
    while fleet.site(0).barred().is_some() {
        w.pause().await;
    }
    assert_eq!(w.store(&fleet, 0).await, Ok(()));
    w.exclude("s1").await;
    assert!(fleet.closed().contains(0));
    assert_eq!(w.store(&fleet, 0).await, Err(SiteErrorKind::Refused));
    w.exclude("s2").await;
    assert_eq!(w.store(&fleet, 1).await, Err(SiteErrorKind::Refused));
    assert_eq!(w.store(&fleet, 2).await, Ok(()), "the others are open");
}

#[tokio::test(flavor = "multi_thread")]
async fn i29_an_exclusion_waits_until_a_keeper_that_hears_nothing_may_not_store() {
    let w = world().await;
    let fleet = w.fleet();
    // It never looks: as one that the system has stopped.
    let (_session, _line) = w.begin(&fleet).await.expect("it is let in");
    assert!(fleet.iter().all(|site| site.lift(Bar::OtherStorage)));
    assert_eq!(w.store(&fleet, 0).await, Ok(()));
    let waited = w.exclude("s1").await;
    assert!(waited <= LEASE + Duration::from_secs(10), "{waited:?}");
    assert!(!fleet.closed().contains(0), "it does not know");
    assert_eq!(w.store(&fleet, 0).await, Err(SiteErrorKind::Refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_answers_nothing_and_stores_nothing() {
    let w = world().await;
    let fleet = w.fleet();
    let (session, mut line) = w.begin(&fleet).await.expect("it is let in");
    let carried = tokio::time::timeout(Duration::from_secs(3), line.carry()).await;
    assert!(carried.is_err(), "it lives");
    assert_eq!(w.store(&fleet, 0).await, Ok(()));
    drop(line);
    let blob = BlobId::from_bytes([1; 16]);
    assert!(session.holds(blob).await, "nobody says that it is not held");
    assert!(!session.fence().await && session.blobs(None, 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_left_alone_until_it_has_shown_that_it_is_the_gateways() {
    let w = world().await;
    // The keeper sees another folder where the gateway has s3, and none of its marker.
    let elsewhere = w.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let text = std::fs::read_to_string(&w.config.file).unwrap();
    let text = text.replace("\"sites/s3\"", "\"elsewhere\"");
    let config = Config::parse(&w.config.file, &text).unwrap();
    let fleet = Arc::new(compose::fleet(&config, &w.ports).unwrap());
    let _session = w.session(&fleet).await;
    assert!(fleet.iter().all(|site| site.barred().is_some()), "none has shown it");
    while (0..8).filter(|at| fleet.site(*at).barred().is_none()).count() < 7 {
        w.pause().await;
    }
    assert!(fleet.site(2).is_barred_as(Bar::OtherStorage));
    // What the gateway bars, the keeper leaves alone as well.
    w.gateway.fleet.site(5).bar(Bar::Drill, None);
    while !fleet.site(5).is_barred_as(Bar::Drill) {
        w.pause().await;
    }
    w.gateway.fleet.site(5).lift(Bar::Drill);
    while fleet.site(5).barred().is_some() {
        w.pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_keeper_has_the_post_and_another_is_told_so() {
    let w = world().await;
    let fleet = w.fleet();
    let (_session, line) = w.begin(&fleet).await.expect("it is let in");
    match w.begin(&fleet).await {
        Err(BeginError::TurnedAway(reason)) => {
            let own =
                format!("another keeper works for this gateway: process {}", std::process::id());
            assert_eq!(reason, own);
        }
        _ => panic!("two have it"),
    }
    let other = "sha256:00".to_owned();
    let begun = Session::begin(&w.config.gateway.catalog, other, fleet.clone(), w.ports.clone());
    assert!(matches!(begun.await, Err(BeginError::TurnedAway(reason)) if reason.contains("file")));
    drop(line);
    while w.is_taken() {
        w.pause().await;
    }
    assert!(w.begin(&fleet).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_form_is_told_to_go_and_keeps_the_post_until_then() {
    let w = world().await;
    let mode = |path: std::path::PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(keeper_socket_path(&w.config.gateway.catalog)), 0o600);
    assert_eq!(mode(socket_path(&w.config.gateway.catalog)), 0o600);
    let hellos: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 64], &[0; 4], b"\x09\0\0\0\0\0\0\0\0\0\0\0\x02"];
    for hello in hellos {
        let mut stream = w.connect().await;
        stream.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(answer.is_empty() && !w.is_taken());
    }
    // A keeper that is let in, and then sends what is no question.
    let digest = w.config.digest();
    let length = u8::try_from(digest.len()).unwrap();
    let hello = [&[0; 8][..], &[0, 1, length], digest.as_bytes()].concat();
    let mut stream = w.connect().await;
    stream.write_all(&u32::try_from(hello.len()).unwrap().to_le_bytes()).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut head = [0; 13];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[12], 0, "it is let in");
    stream.write_all(b"\x02\0\0\0no").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(w.is_taken(), "its workers may be at something");
    assert!(matches!(w.begin(&w.fleet()).await, Err(BeginError::TurnedAway(_))));
    drop(stream);
    while w.is_taken() {
        w.pause().await;
    }
    assert!(w.begin(&w.fleet()).await.is_ok());
}
