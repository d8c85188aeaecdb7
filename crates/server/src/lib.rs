//! The S3 surface of the gateway, and its admin listener: HTTP only.
//!
//! A request passes, in this order: [`listener`] (connection, TLS, HTTP), [`service`] (ids, limits,
//! log), [`guard`] (what two readers could understand differently), [`authorization`] (the form of
//! a signed request), the first instance of `s3s` (signatures), [`admit`] and [`features`] (what is
//! built), the second instance of `s3s` (routing, parsing), and the operation in [`s3`], which
//! calls the engine.
//!
//! **Invariant.** An operation runs only for a signed request of the bucket's own tenant, and only
//! if all that the request asks for is built; bytes go out only as the engine gave them, or the
//! connection fails (I4).
//!
//! **Deliberately absent.** Anonymous access, SigV2, session tokens, HTML forms, ACLs, bucket
//! policies.
//!
//! **Crash.** Nothing is stored here; clients see a broken connection and try again.

mod admin;
mod admit;
mod authorization;
mod body;
mod checksum;
mod config;
mod context;
mod credentials;
mod error;
mod error_document;
mod features;
mod framing;
mod guard;
mod hosts;
mod incoming;
mod io;
mod keepalive;
mod listener;
mod query;
mod response;
mod s3;
mod server;
mod service;
mod tally;
mod tls;
mod turns;

pub use admin::{Admin, Readiness};
pub use config::{
    DOCUMENT_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX, LimitsConfig, ListenerConfig,
    SIGNED_CHUNK_BYTES_MAX, ServerConfig, TlsConfig, URI_BYTES_MAX,
};
pub use credentials::{Credential, Credentials, SecretKey, StaticCredentials};
pub use server::{Server, StartError, serve, serve_admin};
pub use service::InvalidRegion;
pub use tally::{Class, Snapshot, Tally};
pub use tls::TlsError;
