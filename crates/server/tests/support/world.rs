//! The gateway under test.

use super::http::{self, Request, Response};
use super::sign::{Signer, Way};
use havre_catalog::SqliteCatalog;
use havre_engine::replay::Silent;
use havre_engine::{Engine, Parts};
use havre_model::ports::Ports;
use havre_policy::{
    CoalitionSpec, Facts, GuaranteeSpec, OnOutage, OperatorFacts, PartyKind, PlacementPolicy,
    PolicySpec, SiteFacts, site_id,
};
use havre_seal::{Keyring, RootKey};
use havre_server::{
    Admin, Credential, Credentials, LimitsConfig, ListenerConfig, Server, ServerConfig,
    StaticCredentials, TlsConfig,
};
use havre_sites::memory::MemorySite;
use havre_sites::{Fleet, Guarded, Site, SiteLimits, system};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

pub(crate) const OWNER: (&str, &str) = ("AKIAOWNER", "the owner's secret");
pub(crate) const STRANGER: (&str, &str) = ("AKIASTRANGER", "the stranger's secret");
const BUG: (&str, &str) = ("AKIABUG", "no secret");
pub(crate) const DOMAIN: &str = "s3.example.test";

const SITES: usize = 6;

/// A running gateway; it stops when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) sites: Vec<Arc<MemorySite>>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) tenant: String,
    pub(crate) ports: Ports,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) stopped: oneshot::Receiver<()>,
}

fn facts() -> Facts {
    let site = |number: usize| SiteFacts {
        name: format!("s{number}"),
        operator: format!("o{}", number / 2),
        location: ["CH", "JP", "CA"][number / 2].to_owned(),
    };
    let operator =
        |number| OperatorFacts { name: format!("o{number}"), ..OperatorFacts::default() };
    Facts::new((0..SITES).map(site).collect(), (0..3).map(operator).collect(), 0.5)
        .expect("valid facts")
}

fn policy(name: &str, k: u8, m: u8) -> PlacementPolicy {
    let any_one = || vec![CoalitionSpec::AnyOne(PartyKind::Jurisdiction)];
    let spec = PolicySpec {
        name: name.to_owned(),
        k,
        m,
        sites: None,
        exclude: Vec::new(),
        guarantee: GuaranteeSpec { cannot_read: any_one(), cannot_cut_off: any_one() },
        on_outage: OnOutage::Refuse,
    };
    PlacementPolicy::new(&facts(), spec).expect("the guarantee holds")
}

async fn engine(sites: &[Arc<MemorySite>]) -> Arc<Engine> {
    let ports = system::ports();
    let guard = |site: &Arc<MemorySite>| {
        let site: Arc<dyn Site> = Arc::clone(site) as Arc<dyn Site>;
        Guarded::new(site, SiteLimits::default(), system::ports())
    };
    let root = RootKey::generate(&*ports.entropy);
    let parts = Parts {
        keyring: Keyring::new(root, Arc::clone(&ports.entropy)),
        ports,
        catalog: Arc::new(SqliteCatalog::in_memory().expect("a catalog in memory")),
        fleet: Arc::new(Fleet::new(sites.iter().map(guard).collect())),
        policies: vec![policy("default", 3, 3), policy("gold", 4, 2)],
        default_policy: "default".to_owned(),
        gateway: "gateway".to_owned(),
        reach: Arc::new(|_| None),
    };
    Engine::start(parts, &Silent).await.expect("the engine starts").0
}

/// Looks keys up, and panics over one of them once its signature was checked, as any code on a
/// request's way might.
struct Buggy {
    known: StaticCredentials,
    looks: AtomicUsize,
}

impl Credentials for Buggy {
    fn credential(&self, access_key: &str) -> Option<Credential> {
        if access_key == BUG.0 {
            let looks = self.looks.fetch_add(1, Ordering::SeqCst);
            assert_eq!(looks % 2, 0, "a bug that a test put here");
        }
        self.known.credential(access_key)
    }
}

impl Gateway {
    /// A gateway in region us-east-1 with the default limits.
    pub(crate) async fn start() -> Self {
        Self::start_with("us-east-1", LimitsConfig::default()).await
    }

    pub(crate) async fn start_with(region: &str, limits: LimitsConfig) -> Self {
        let site = |number| {
            let name = format!("s{number}");
            Arc::new(MemorySite::new(site_id(&name), &name))
        };
        let sites: Vec<_> = (0..SITES).map(site).collect();
        let engine = engine(&sites).await;
        let owner = engine.ensure_tenant("owner").await.expect("a tenant");
        let stranger = engine.ensure_tenant("stranger").await.expect("a tenant");
        let credentials = StaticCredentials::new()
            .with(OWNER.0, OWNER.1, owner)
            .with(STRANGER.0, STRANGER.1, stranger)
            .with(BUG.0, BUG.1, owner);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let names = vec!["localhost".to_owned()];
        let tls = Some(TlsConfig::SelfSigned { names });
        let config = ServerConfig {
            listeners: vec![
                ListenerConfig { address: any, tls: None },
                ListenerConfig { address: any, tls },
            ],
            admin: Some(any),
            region: region.to_owned(),
            domains: vec![DOMAIN.to_owned()],
            limits,
        };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let admin = Admin { metrics, ready: Arc::new(|| Ok(())) };
        let ports = system::ports();
        let credentials = Arc::new(Buggy { known: credentials, looks: AtomicUsize::new(0) });
        let (shared, handed) = (engine.clone(), ports.clone());
        let server = Server::bind(&config, shared, credentials, Some(admin), handed)
            .await
            .expect("the addresses are free");
        let addresses = server.addresses();
        let admin = server.admin_address().expect("there is one");
        let (stop, stopping) = oneshot::channel::<()>();
        let (ended, stopped) = oneshot::channel::<()>();
        ports.runtime.spawn(Box::pin(async move {
            server
                .run(async {
                    let _ = stopping.await;
                })
                .await;
            let _ = ended.send(());
        }));
        Self {
            address: addresses[0],
            tls_address: addresses[1],
            admin,
            sites,
            engine,
            tenant: owner.to_string(),
            ports,
            stop: Some(stop),
            stopped,
        }
    }

    /// A gateway with a bucket.
    pub(crate) async fn with_bucket() -> Self {
        let gateway = Self::start().await;
        gateway.ok(Request::new("PUT", "/bucket")).await;
        gateway
    }

    /// Asks the server to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Who signs by default.
    pub(crate) fn signer(&self) -> Signer {
        Signer::new(OWNER, &self.ports)
    }

    /// Somebody whose every request meets a bug.
    pub(crate) fn unlucky(&self) -> Signer {
        Signer::new(BUG, &self.ports)
    }

    pub(crate) fn stranger(&self) -> Signer {
        Signer::new(STRANGER, &self.ports)
    }

    /// Signs in the usual way and sends.
    pub(crate) async fn send(&self, request: Request) -> Response {
        self.send_as(Way::Header, request).await
    }

    pub(crate) async fn send_as(&self, way: Way, request: Request) -> Response {
        self.raw(self.signer().sign(way, request.host(self.address))).await
    }

    /// Sends as it is.
    pub(crate) async fn raw(&self, request: Request) -> Response {
        http::send(self.address, &request.host(self.address)).await
    }

    /// Sends what must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, request: Request) -> impl Future<Output = Response> + '_ {
        let place = std::panic::Location::caller();
        async move {
            let what = format!("{} {}", request.method, request.target);
            let response = self.send(request).await;
            let text = response.text();
            assert!(response.status < 300, "{place}: {what}: {} {text}", response.status);
            response
        }
    }

    /// Puts an object into the bucket.
    pub(crate) async fn put(&self, key: &str, body: &[u8]) -> Response {
        self.ok(Request::new("PUT", &format!("/bucket/{key}")).body(body)).await
    }

    pub(crate) async fn get(&self, key: &str) -> Response {
        self.send(Request::new("GET", &format!("/bucket/{key}"))).await
    }
}

/// Bytes that differ everywhere, so that a misplaced chunk shows.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
