//! The bench's yardstick: s3s-fs, a plain S3 server over one directory, which syncs nothing.
//!
//! **Invariant.** It is served as its own program serves it, so that ratios against it can be
//! compared with other people's; `--nodelay` alone departs from that.
//!
//! **Deliberately absent.** Anything that would make it faster or safer than it is.
//!
//! **Crash.** Its directory is scratch space.

#![expect(clippy::disallowed_methods, reason = "a development tool outside the ports")]

use anyhow::{Context, Result, bail};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::path::PathBuf;
use tokio::net::TcpListener;

const ACCESS_KEY: &str = "AKYARDSTICKYARDSTICK";
const SECRET_KEY: &str = "yardstick/yardstick/yardstick/yardstick0";

struct Options {
    dir: PathBuf,
    listen: String,
    nodelay: bool,
}

fn options() -> Result<Options> {
    let mut options =
        Options { dir: PathBuf::new(), listen: "127.0.0.1:9900".to_owned(), nodelay: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--data" => options.dir = args.next().context("--data DIR")?.into(),
            "--listen" => options.listen = args.next().context("--listen ADDR")?,
            "--nodelay" => options.nodelay = true,
            other => bail!("unknown argument {other}"),
        }
    }
    if options.dir.as_os_str().is_empty() {
        bail!("usage: yardstick --data DIR [--listen ADDR] [--nodelay]");
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { dir, listen, nodelay } = options()?;
    let root = dir.join("objects");
    std::fs::create_dir_all(&root).context("create the directory")?;
    let storage = s3s_fs::FileSystem::new(&root)
        .map_err(|error| anyhow::anyhow!("open the directory: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(storage);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();

    let listener = TcpListener::bind(&listen).await.context("listen")?;
    // The same two files as `havre up` leaves, so that one harness starts either.
    let credential =
        format!("AWS_ACCESS_KEY_ID={ACCESS_KEY}\nAWS_SECRET_ACCESS_KEY={SECRET_KEY}\n");
    std::fs::write(dir.join("credential.env"), credential)?;
    std::fs::write(dir.join("endpoint"), format!("http://{}\n", listener.local_addr()?))?;

    let server = Builder::new(TokioExecutor::new());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(nodelay)?;
        let connection =
            server.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
        tokio::spawn(async move {
            // A connection's end is the client's business.
            let _ = connection.await;
        });
    }
}
