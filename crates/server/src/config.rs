//! What an operator chooses about the listeners.
//!
//! **Invariant.** Every wait and every buffer of a connection has a limit here (I8); the defaults
//! are the ones that the documentation names.
//!
//! **Deliberately absent.** Reading files and environment: the command line does, and hands values
//! over.
//!
//! **Crash.** Values only.

use havre_model::limits::CLIENT_BYTES_PER_SECOND_MIN;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of all header lines of one request. AWS allows 8 KiB; longer presigned URLs and 2 KiB of
/// user metadata in RFC 2047 form fit four times over.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Header lines of one request.
pub const HEADERS_MAX: usize = 128;
/// Bytes of path and query of one request: a key of 1,024 bytes, percent-encoded, with a signed
/// query.
pub const URI_BYTES_MAX: usize = 16 * 1024;
/// Data of one signed chunk of an `aws-chunked` upload: it is held until its signature is checked.
/// Clients send 64 KiB (Go, restic) to 128 KiB (Java).
pub const SIGNED_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// One XML document in a request: 10,000 parts with their checksums take 3 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The addresses, names and limits of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where S3 is served.
    pub listeners: Vec<ListenerConfig>,
    /// Where health and metrics are served, in the clear; loopback unless the operator says
    /// otherwise.
    pub admin: Option<SocketAddr>,
    /// The region that signatures must name, and that buckets say they are in.
    pub region: String,
    /// Base domains of virtual-host style: a request to `bucket.domain` is for `bucket`.
    pub domains: Vec<String>,
    /// Limits.
    pub limits: LimitsConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            listeners: vec![ListenerConfig { address: SocketAddr::new(loopback, 9000), tls: None }],
            admin: Some(SocketAddr::new(loopback, 9001)),
            region: "us-east-1".to_owned(),
            domains: Vec::new(),
            limits: LimitsConfig::default(),
        }
    }
}

/// One address that S3 is served at.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The address.
    pub address: SocketAddr,
    /// Present when connections are encrypted.
    pub tls: Option<TlsConfig>,
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsConfig {
    /// PEM files: the chain, leaf first, and its private key.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Made at start for these host names and addresses, for trial: clients have to be told to
    /// accept it.
    SelfSigned {
        /// Names and addresses.
        names: Vec<String>,
    },
}

/// Limits on clients.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Signed requests that are worked on at once, all listeners together, until the last byte of
    /// their answers has left. Each may hold a small object, a document's answer or one stripe of a
    /// large object.
    pub requests_max: usize,
    /// A request waits this long for its turn; then its client is told to slow down.
    pub turn_timeout: Duration,
    /// While requests wait for their turn, a client that moved fewer bytes than this a second, for
    /// half of `turn_timeout`, loses its connection.
    pub client_bytes_per_second_min: u64,
    /// Connections of one listener; more wait in the operating system's queue.
    pub connections_max: usize,
    /// A TLS handshake must be done within this.
    pub handshake_timeout: Duration,
    /// Request headers must be there within this, also on a connection that is kept alive.
    pub header_timeout: Duration,
    /// The next bytes of a request's body must come within this.
    pub body_timeout: Duration,
    /// The client must take the next bytes of a response within this.
    pub write_timeout: Duration,
    /// Requests under way have this long to end when the server stops.
    pub shutdown_timeout: Duration,
    /// XML documents that are in memory at once, all requests together, in bytes.
    pub documents_bytes_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            requests_max: 1024,
            turn_timeout: Duration::from_secs(10),
            client_bytes_per_second_min: CLIENT_BYTES_PER_SECOND_MIN,
            connections_max: 1024,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
            documents_bytes_max: 64 * 1024 * 1024,
        }
    }
}
