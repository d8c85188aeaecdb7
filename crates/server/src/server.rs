//! The server: its listeners, from start to stop.
//!
//! **Invariant.** Every address is bound before any is served; all listeners stop together.
//!
//! **Deliberately absent.** Signals and configuration files: the command line.
//!
//! **Crash.** Nothing is stored here.

use crate::admin::{self, Admin};
use crate::config::{LimitsConfig, ServerConfig};
use crate::credentials::Credentials;
use crate::listener::Listener;
use crate::service::{InvalidRegion, Service};
use crate::tally::Tally;
use crate::tls::{self, TlsError};
use futures::future::join_all;
use havre_engine::Engine;
use havre_model::ports::Ports;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How often the recorder's histograms are folded, which bounds what they hold.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be bound.
    #[error("listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A listener cannot be encrypted.
    #[error("encrypt the listener on {address}: {source}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: TlsError,
    },
    /// The region is malformed.
    #[error(transparent)]
    Region(#[from] InvalidRegion),
}

/// What serves one address, until it is told to stop.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server whose addresses are bound.
pub struct Server {
    service: Service,
    listeners: Vec<(Listener, SocketAddr)>,
    admin: Option<(Listener, SocketAddr, Admin)>,
    ports: Ports,
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |source| StartError::Bind { address, source };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    Ok((socket, bound))
}

impl Server {
    /// Binds all addresses. The admin listener is there when both an address and `admin` are.
    ///
    /// # Errors
    /// When an address is taken, a certificate unusable or the region malformed.
    pub async fn bind(
        config: &ServerConfig,
        engine: Arc<Engine>,
        credentials: Arc<dyn Credentials>,
        admin: Option<Admin>,
        ports: Ports,
    ) -> Result<Self, StartError> {
        let service = Service::new(config, engine, credentials, ports.clone())?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let tls = listener
                .tls
                .as_ref()
                .map(tls::acceptor)
                .transpose()
                .map_err(|source| StartError::Tls { address: listener.address, source })?;
            let (socket, bound) = bind(listener.address).await?;
            let (limits, ports) = (config.limits.clone(), ports.clone());
            listeners.push((Listener { socket, tls, limits, ports }, bound));
        }
        let admin = match (config.admin, admin) {
            (Some(address), Some(admin)) => {
                let (socket, bound) = bind(address).await?;
                let (limits, ports) = (config.limits.clone(), ports.clone());
                Some((Listener { socket, tls: None, limits, ports }, bound, admin))
            }
            _ => None,
        };
        Ok(Self { service, listeners, admin, ports })
    }

    /// Where S3 is served, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, bound)| *bound).collect()
    }

    /// Where health and metrics are served.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, bound, _)| *bound)
    }

    /// How requests fare.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        self.service.tally()
    }

    /// Serves until `shutdown` is done, then lets requests under way end within their timeout.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (stop, stopped) = watch::channel(false);
        let running = self.listen(&stopped);
        let stopping = async move {
            shutdown.await;
            let _ = stop.send(true);
        };
        futures::join!(stopping, join_all(running));
    }

    /// What serves each address. Boxed, and not by what is generic: so the code of connections and
    /// requests is compiled here, and not once more in each program that runs a server.
    fn listen(self, stopped: &watch::Receiver<bool>) -> Vec<Serving> {
        let mut running: Vec<Serving> = Vec::new();
        for (listener, _) in self.listeners {
            let service =
                if listener.tls.is_some() { self.service.secured() } else { self.service.clone() };
            running.push(Box::pin(listener.serve(service, stopped.clone())));
        }
        if let Some((listener, _, admin)) = self.admin {
            running.extend(listen_as_admin(listener, admin, self.ports, stopped));
        }
        running
    }
}

/// Serves health and metrics alone, of a process that serves no S3, until `shutdown` is done.
///
/// # Errors
/// When the address is taken.
pub async fn serve_admin(
    address: SocketAddr,
    limits: LimitsConfig,
    admin: Admin,
    ports: Ports,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    let (socket, _) = bind(address).await?;
    let (stop, stopped) = watch::channel(false);
    let listener = Listener { socket, tls: None, limits, ports: ports.clone() };
    let running = listen_as_admin(listener, admin, ports, &stopped);
    let stopping = async move {
        shutdown.await;
        let _ = stop.send(true);
    };
    futures::join!(stopping, join_all(running));
    Ok(())
}

fn listen_as_admin(
    listener: Listener,
    admin: Admin,
    ports: Ports,
    stopped: &watch::Receiver<bool>,
) -> [Serving; 2] {
    let kept = upkeep(admin.clone(), ports, stopped.clone());
    let service = TowerToHyperService::new(admin::router(admin));
    [Box::pin(kept), Box::pin(listener.serve(service, stopped.clone()))]
}

async fn upkeep(admin: Admin, ports: Ports, mut stopped: watch::Receiver<bool>) {
    let mut stopped = pin!(async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    loop {
        let pause = ports.runtime.sleep(UPKEEP);
        if let futures::future::Either::Right(_) =
            futures::future::select(pause, stopped.as_mut()).await
        {
            return;
        }
        admin.metrics.run_upkeep();
    }
}

/// Binds and serves; see [`Server`].
///
/// # Errors
/// When the server cannot start.
pub async fn serve(
    config: &ServerConfig,
    engine: Arc<Engine>,
    credentials: Arc<dyn Credentials>,
    admin: Option<Admin>,
    ports: Ports,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    let server = Server::bind(config, engine, credentials, admin, ports).await?;
    server.run(shutdown).await;
    Ok(())
}
