//! `havre keeper`: the keeper's work in a process of its own, until it is told to stop.
//!
//! **Invariant.** The root key and the tenants' secrets are neither read nor asked for: the sites'
//! credentials are all that this process has. The workers run while a session with the gateway
//! lives, and have ended before its connection is closed.
//!
//! **Deliberately absent.** What the workers do (`keep`, `havre_keeper`), and what is asked of the
//! gateway (`havre::apart`).
//!
//! **Crash.** The next start goes on: what was begun stands in the catalog.

use crate::keep::Keeper;
use crate::serve::stop_signal;
use anyhow::{Context, Result, bail};
use futures::future::{Either, select};
use havre::apart::{BeginError, Line, Session};
use havre::compose;
use havre::config::{Config, KeeperRuns};
use havre::control::ControlError;
use havre_model::ports::{Ports, Task};
use havre_server::{Admin, LimitsConfig, serve_admin};
use havre_sites::Fleet;
use metrics_exporter_prometheus::PrometheusBuilder;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// The pauses before the gateway is asked again, after it went away or was not there.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Keeps until SIGINT or SIGTERM.
pub(crate) async fn keep(config: &Config) -> Result<()> {
    if config.keeper.runs == KeeperRuns::Inside {
        bail!(
            "by this configuration the gateway does the keeper's work itself; say runs = \"apart\" \
             under [keeper], and restart the gateway"
        );
    }
    let metrics = PrometheusBuilder::new().install_recorder().context("set metrics up")?;
    let ports = havre_sites::system::ports();
    let fleet = Arc::new(compose::fleet(config, &ports)?);
    // Nothing is stored before a gateway says that it may be.
    for site in fleet.iter() {
        site.take_shards_until(Some(Duration::ZERO));
    }
    let is_heard = Arc::new(AtomicBool::new(false));
    let ready = {
        let is_heard = Arc::clone(&is_heard);
        move || match is_heard.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err("no gateway answers".to_owned()),
        }
    };
    let admin = Admin { metrics, ready: Arc::new(ready) };
    let (stop, told) = watch::channel(false);
    let tried = Notify::new();
    let stopping = async {
        stop_signal().await;
        let _ = stop.send(true);
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        kept = keep_until(told, config, fleet, (&tried, &is_heard), &ports) => kept,
        served = serve_metrics(config, admin, &tried, &ports) => served,
        never = stopping => never,
    }
}

/// Serves metrics from when the gateway was first asked: a second keeper says that it is one, and
/// not that the address is taken.
async fn serve_metrics(config: &Config, admin: Admin, tried: &Notify, ports: &Ports) -> Result<()> {
    tried.notified().await;
    let limits = config.limits.over(LimitsConfig::default());
    match config.keeper.admin {
        Some(own) => {
            let never = std::future::pending();
            Ok(serve_admin(own.address, limits, admin, ports.clone(), never).await?)
        }
        None => loop {
            // What nobody reads is folded, too, or it would grow.
            ports.runtime.sleep(PAUSE_MAX).await;
            admin.metrics.run_upkeep();
        },
    }
}

/// Session after session, until it is told to stop; fails when the gateway turns this keeper away.
async fn keep_until(
    mut told: watch::Receiver<bool>,
    config: &Config,
    fleet: Arc<Fleet>,
    (tried, is_heard): (&Notify, &AtomicBool),
    ports: &Ports,
) -> Result<()> {
    let (mut pause, mut is_first) = (PAUSE_MIN, true);
    loop {
        let catalog = &config.gateway.catalog;
        let begun =
            Session::begin(catalog, config.digest(), Arc::clone(&fleet), ports.clone()).await;
        match begun {
            Ok((session, line)) => {
                tried.notify_one();
                is_heard.store(true, Ordering::Release);
                if std::mem::take(&mut is_first) {
                    println!("keeping for the gateway of {}", catalog.display());
                }
                tracing::info!("the gateway answers: keeping");
                let keeper = Keeper::apart(session, Arc::clone(&fleet), config, ports.clone());
                let why = work(keeper.workers(), line, told.clone(), ports).await;
                is_heard.store(false, Ordering::Release);
                match why {
                    Some(why) => {
                        let why = format!("{why:#}");
                        tracing::warn!(
                            why,
                            "the gateway does not answer any more: nothing is done"
                        );
                    }
                    None => {
                        tracing::info!("stopped");
                        return Ok(());
                    }
                }
                pause = PAUSE_MIN;
            }
            Err(BeginError::TurnedAway(reason)) if is_first => bail!("{reason}"),
            Err(error @ BeginError::Control(ControlError::NotAllowed { .. })) => {
                return Err(error.into());
            }
            Err(error) => {
                tried.notify_one();
                let seconds = pause.as_secs();
                tracing::warn!(%error, "there is nobody to keep for; asking again in {seconds} s");
            }
        }
        tokio::select! {
            () = ports.runtime.sleep(pause) => {}
            _ = told.wait_for(|stop| *stop) => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Runs the workers while the line lives; says why it ended, or nothing when it was told to stop.
/// The line is closed when none of them runs any more.
async fn work(
    workers: Vec<Task>,
    mut line: Line,
    mut told: watch::Receiver<bool>,
    ports: &Ports,
) -> Option<anyhow::Error> {
    let (stop, stopped) = watch::channel(false);
    let (running, mut ended) = mpsc::channel::<()>(1);
    for worker in workers {
        let (mut stopped, running) = (stopped.clone(), running.clone());
        ports.runtime.spawn(Box::pin(async move {
            let stopped = pin!(stopped.wait_for(|stop| *stop));
            if let Either::Left(_) = select(worker, stopped).await {
                tracing::error!("a worker of the keeper has ended");
            }
            drop(running);
        }));
    }
    drop(running);
    let why = tokio::select! {
        why = line.carry() => Some(why),
        _ = told.wait_for(|stop| *stop) => None,
    };
    let _ = stop.send(true);
    // Nothing is sent: it ends with the last sender.
    ended.recv().await;
    drop(line);
    why
}
