//! `havre serve`: the gateway, until it is told to stop.
//!
//! **Invariant.** The listeners open only after every acknowledged write is in the catalog (or,
//! when too many sites are away to know, for reads only).
//!
//! **Deliberately absent.** What requests do (`server`) and what is collected (`keeper`).
//!
//! **Crash.** The next start replays what the catalog missed.

use crate::keep::Keeper;
use crate::rewriting::Rewriting;
use anyhow::{Context, Result};
use havre::apart::{self, Clerk, Post};
use havre::compose::{self, Gateway};
use havre::config::{Config, Listener};
use havre::control::{self, GatewayDesk, Socket};
use havre_engine::{Counts, Engine};
use havre_model::ports::Ports;
use havre_server::{Admin, Server, StaticCredentials, Tally};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the gauges of what there is are set.
const GAUGES_INTERVAL: Duration = Duration::from_secs(15);

/// Says on standard output that the gateway serves.
pub(crate) fn announce(_: &Config, endpoint: &str) -> Result<()> {
    println!("serving S3 at {endpoint}");
    Ok(())
}

/// Serves until SIGINT or SIGTERM; `announce` is called once the listeners are open.
pub(crate) async fn serve(
    config: &Config,
    announce: impl FnOnce(&Config, &str) -> Result<()>,
) -> Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder().context("set metrics up")?;
    let gateway = compose::start(config).await?;
    tell(&gateway);
    let credentials = credentials(config, &gateway.engine).await?;
    let ports = havre_sites::system::ports();
    let engine = Arc::clone(&gateway.engine);
    let ready = move || match (engine.takes_writes(), engine.is_broken()) {
        (true, _) => Ok(()),
        (false, true) => Err("a bug has ended writing: the gateway is stopping".to_owned()),
        (false, false) => Err("reads only: too many sites are away".to_owned()),
    };
    let admin = Admin { metrics, ready: Arc::new(ready) };
    let engine = Arc::clone(&gateway.engine);
    let served = config.server();
    let server =
        Server::bind(&served, engine, Arc::new(credentials), Some(admin), ports.clone()).await?;
    let post = gateway.post.clone();
    ports.runtime.spawn(Box::pin(gauges(Arc::clone(&gateway.engine), post, ports.clone())));
    let _keeper_socket = keep(&gateway, config, &ports);
    let _socket = take_orders(&gateway, config, server.tally(), &ports);
    // Whoever reads that it serves may give it orders.
    let first = config.listeners.first().zip(server.addresses().first().copied());
    if let Some((listener, address)) = first {
        announce(config, &endpoint(listener, address))?;
    }
    tell_init();
    let engine = &gateway.engine;
    server
        .run(async {
            tokio::select! {
                () = stop_signal() => {}
                () = engine.broken() => {}
            }
        })
        .await;
    // Whoever supervises the process starts another one.
    anyhow::ensure!(
        !engine.is_broken(),
        "a bug has ended what the gateway cannot write without (its trace stands above; please \
         report it). Whatever was acknowledged is safe: start it again"
    );
    tracing::info!("stopped");
    Ok(())
}

fn endpoint(listener: &Listener, address: std::net::SocketAddr) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// Has the keeper's work done: here, or by a process of its own, which is listened for while the
/// socket that it returns is kept. A gateway that no keeper reaches still serves.
fn keep(gateway: &Gateway, config: &Config, ports: &Ports) -> Option<Socket> {
    let keeper = Keeper::inside(gateway, config, ports.clone());
    // These write records, which the gateway alone does.
    let rewriting = Rewriting::new(gateway, config, keeper.busy(), ports.clone());
    ports.runtime.spawn(Box::pin(rewriting.clone().compact_for_ever()));
    ports.runtime.spawn(Box::pin(rewriting.redisperse_for_ever()));
    let Some(clerk) = Clerk::new(gateway, config, ports.clone()) else {
        for worker in keeper.workers() {
            ports.runtime.spawn(worker);
        }
        return None;
    };
    ports.runtime.spawn(Box::pin(keeper.share_out_for_ever()));
    match Socket::open_for_keeper(&config.gateway.catalog) {
        Ok((socket, listener)) => {
            ports.runtime.spawn(Box::pin(apart::serve(listener, Arc::new(clerk))));
            Some(socket)
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "no keeper can come to this gateway: nothing is repaired");
            None
        }
    }
}

/// Listens for orders while the socket that it returns is kept. A gateway that cannot be given
/// orders still serves.
fn take_orders(
    gateway: &Gateway,
    config: &Config,
    tally: Arc<Tally>,
    ports: &Ports,
) -> Option<Socket> {
    match Socket::open(&config.gateway.catalog) {
        Ok((socket, listener)) => {
            let desk = Arc::new(GatewayDesk::new(gateway, config, tally, ports.clone()));
            ports.runtime.spawn(Box::pin(control::serve(listener, desk, ports.clone())));
            Some(socket)
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "no orders can be given to this gateway");
            None
        }
    }
}

/// Tells systemd, where it asked, that the gateway is up.
fn tell_init() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = std::os::unix::net::UnixDatagram::unbound()
        .and_then(|socket| socket.send_to(b"READY=1", path));
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

fn tell(gateway: &Gateway) {
    let replay = &gateway.report.replay;
    if gateway.report.partial {
        tracing::warn!(
            packs = replay.packs,
            records = replay.records,
            "reads only: sites are away that may have acknowledged writes which are missing here"
        );
    } else if gateway.report.rebuilt {
        tracing::warn!(
            packs = replay.packs,
            records = replay.records,
            "the catalog was missing and has been rebuilt from the sites"
        );
    } else if replay.packs > 0 {
        tracing::info!(
            packs = replay.packs,
            records = replay.records,
            "the catalog caught up with the sites"
        );
    }
    if !replay.unreachable.is_empty() {
        tracing::warn!(sites = replay.unreachable.join(", "), "started without some sites");
    }
}

async fn credentials(config: &Config, engine: &Engine) -> Result<StaticCredentials> {
    let mut credentials = StaticCredentials::new();
    for tenant in &config.tenants {
        let id = engine.ensure_tenant(&tenant.name).await.context("make the tenant")?;
        for credential in &config.credentials {
            if credential.tenant == tenant.name {
                let secret = credential.secret.resolve()?;
                credentials = credentials.with(&credential.access_key, secret.expose(), id);
            }
        }
    }
    Ok(credentials)
}

/// Ends when the process is asked to end.
pub(crate) async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
}

async fn gauges(engine: Arc<Engine>, post: Option<Arc<Post>>, ports: Ports) {
    loop {
        if let Some(post) = &post {
            let is_present = post.status().is_present;
            metrics::gauge!("havre_keeper_present").set(f64::from(u8::from(is_present)));
        }
        match engine.counts().await {
            Ok(counts) => set_gauges(&counts),
            Err(error) => tracing::warn!(%error, "what there is cannot be counted"),
        }
        ports.runtime.sleep(GAUGES_INTERVAL).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 objects are enough")]
fn set_gauges(counts: &Counts) {
    for (name, value) in [
        ("havre_tenants", counts.tenants),
        ("havre_buckets", counts.buckets),
        ("havre_objects", counts.objects),
        ("havre_object_bytes", counts.bytes),
        ("havre_uploads", counts.uploads),
        ("havre_extents", counts.blobs),
        ("havre_packs", counts.packs),
        ("havre_garbage_blobs", counts.garbage),
        ("havre_incomplete_blobs", counts.incomplete),
        ("havre_below_guarantee_blobs", counts.below_guarantee),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
}
