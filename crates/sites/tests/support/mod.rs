//! Servers on loopback ports, and the sites that talk to them.
use havre_sites::{RemoteSite, SiteLimits, SiteSpec, system};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use std::{convert::Infallible, path::Path};
use tokio::net::TcpListener;

pub(crate) const ACCESS_KEY: &str = "AKHAVRETEST";
pub(crate) const SECRET_KEY: &str = "a secret that no error may show";

/// A remote site with these options.
pub(crate) fn remote(url: &str, options: &[(&str, &str)]) -> RemoteSite {
    let spec = spec(url, options);
    RemoteSite::open(havre_policy::site_id(&spec.name), &spec, &system::ports()).unwrap()
}

pub(crate) fn spec(url: &str, options: &[(&str, &str)]) -> SiteSpec {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    SiteSpec {
        name: "remote".to_owned(),
        url: url.to_owned(),
        options: options.collect(),
        limits: SiteLimits::default(),
    }
}

/// An S3 server over `root`, which has the bucket `havre`; gives its address.
pub(crate) async fn s3_server(root: &Path) -> String {
    std::fs::create_dir_all(root.join("havre")).unwrap();
    let mut builder = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    builder.set_auth(s3s::auth::SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    address
}

/// A site at an S3 server.
pub(crate) fn s3_site(address: &str, conditional: bool) -> RemoteSite {
    let endpoint = format!("http://{address}");
    remote(
        "s3://havre/some/prefix",
        &[
            ("endpoint", &endpoint),
            ("region", "us-east-1"),
            ("access_key_id", ACCESS_KEY),
            ("secret_access_key", SECRET_KEY),
            ("conditional_put", if conditional { "true" } else { "false" }),
        ],
    )
}

/// A WebDAV server over `root`; gives its address.
pub(crate) async fn dav_server(root: &Path) -> String {
    let handler = dav_server::DavHandler::builder()
        .filesystem(dav_server::localfs::LocalFs::new(root, false, false, false))
        .locksystem(dav_server::fakels::FakeLs::new())
        .build_handler();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let handler = handler.clone();
                    async move { Ok::<_, Infallible>(handler.handle(request).await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    address
}

#[expect(clippy::disallowed_methods, reason = "real servers beside the test")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
