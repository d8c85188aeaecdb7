//! The way from a command to the gateway that runs.

use havre::control::{
    CONNECTIONS_MAX, ControlError, Desk, ORDER_BYTES_MAX, Order, Outcome, Reporter, Socket, send,
    serve, socket_path,
};
use havre_sites::system;
use serde_json::json;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// Tells one line, then waits until it is let go.
#[derive(Default)]
struct Waiting {
    go: Notify,
    ended: Arc<AtomicBool>,
}

struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Desk for Waiting {
    fn carry_out<'a>(&'a self, _: Order, reporter: &'a Reporter) -> Outcome<'a> {
        Box::pin(async move {
            let _ends = Ends(Arc::clone(&self.ended));
            reporter.tell(&json!({"step": 1})).await?;
            self.go.notified().await;
            Ok(json!("done"))
        })
    }
}

struct Fixture {
    folder: TempDir,
    desk: Arc<Waiting>,
    _socket: Socket,
}

#[expect(clippy::disallowed_methods, reason = "a test's task")]
fn fixture() -> Fixture {
    let folder = TempDir::new().expect("it works");
    let (socket, listener) = Socket::open(&folder.path().join("catalog.sqlite")).expect("it works");
    let desk = Arc::new(Waiting::default());
    let (work, ports) = (Arc::clone(&desk) as Arc<dyn Desk>, system::ports());
    tokio::spawn(serve(listener, work, ports));
    Fixture { folder, desk, _socket: socket }
}

impl Fixture {
    fn catalog(&self) -> PathBuf {
        self.folder.path().join("catalog.sqlite")
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(socket_path(&self.catalog())).await.expect("it works");
        stream.write_all(request).await.expect("it works");
        stream.shutdown().await.expect("it works");
        let mut answer = Vec::new();
        // What was sent beyond an order is not read, and the connection is reset behind the answer.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8(answer).expect("it works")
    }
}

#[tokio::test]
async fn progress_comes_before_the_result() {
    let f = fixture();
    let mut heard = Vec::new();
    let go = || f.desk.go.notify_one();
    let hear = |progress| {
        heard.push(progress);
        go();
    };
    let result = send(&f.catalog(), &Order::Status {}, hear).await.unwrap();
    assert_eq!((heard, result), (vec![json!({"step": 1})], json!("done")));
}

#[tokio::test]
async fn the_socket_is_its_owners_only_and_goes_with_the_gateway() {
    let f = fixture();
    let path = socket_path(&f.catalog());
    let metadata = path.symlink_metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let names = std::fs::read_dir(f.folder.path()).unwrap().count();
    assert_eq!(names, 1, "the private directory is gone");
    let Fixture { folder, _socket: socket, .. } = f;
    drop(socket);
    assert!(!path.exists());
    drop(folder);
}

#[tokio::test]
async fn a_dead_gateways_socket_is_replaced_and_a_live_ones_is_not() {
    let folder = TempDir::new().unwrap();
    let catalog = folder.path().join("catalog.sqlite");
    let path = socket_path(&catalog);
    let (socket, listener) = Socket::open(&catalog).unwrap();
    let live = Socket::open(&catalog).unwrap_err().to_string();
    assert!(live.contains("another process listens"), "{live}");
    drop(listener);
    // As after a kill, half way through the next start.
    std::mem::forget(socket);
    std::fs::create_dir(folder.path().join(".control.new")).unwrap();
    let nobody = send(&catalog, &Order::Status {}, drop).await.unwrap_err();
    assert!(nobody.to_string().starts_with("no gateway is running here"), "{nobody}");
    let (second, _listener) = Socket::open(&catalog).unwrap();
    assert!(UnixStream::connect(&path).await.is_ok());
    drop(second);
    std::fs::write(&path, "mine").unwrap();
    assert!(Socket::open(&catalog).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_path_that_no_socket_address_holds_is_listened_at() {
    let folder = TempDir::new().unwrap();
    let deep = folder.path().join("d".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    let catalog = deep.join("catalog.sqlite");
    let (_socket, listener) = Socket::open(&catalog).unwrap();
    let accept = async { listener.accept().await.map(drop).unwrap() };
    let (_, sent) = tokio::join!(accept, send(&catalog, &Order::Status {}, drop));
    assert!(matches!(sent, Err(ControlError::Broken | ControlError::Io(_))), "{sent:?}");
}

#[tokio::test]
async fn nobody_listens_is_said_as_such() {
    let folder = TempDir::new().unwrap();
    let error = send(&folder.path().join("c"), &Order::Status {}, drop).await.unwrap_err();
    assert!(matches!(error, ControlError::NotRunning { .. }));
    assert!(error.to_string().starts_with("no gateway is running here"), "{error}");
}

#[tokio::test]
async fn orders_that_are_none_are_refused() {
    let f = fixture();
    let long = [vec![b' '; ORDER_BYTES_MAX], b"\n".to_vec()].concat();
    let orders: [&[u8]; 6] = [
        b"\n",
        b"{}\n",
        b"{\"order\":\"status\"}",
        b"{\"order\":\"status\",\"more\":1}\n",
        b"{\"order\":\"unknown\"}\n",
        &long,
    ];
    for order in orders {
        let answer = f.raw(order).await;
        assert!(answer.starts_with("{\"failed\":"), "{answer:?}");
    }
    assert!(!f.desk.ended.load(Ordering::SeqCst), "none reached the desk");
}

#[tokio::test]
async fn who_goes_away_ends_the_order() {
    let f = fixture();
    let mut stream = UnixStream::connect(socket_path(&f.catalog())).await.unwrap();
    stream.write_all(b"{\"order\":\"status\"}\n").await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert!(!f.desk.ended.load(Ordering::SeqCst));
    drop(stream);
    while !f.desk.ended.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn orders_at_a_time_are_bounded() {
    let f = fixture();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = UnixStream::connect(socket_path(&f.catalog())).await.unwrap();
        stream.write_all(b"{\"order\":\"status\"}\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    let more = send(&f.catalog(), &Order::Status {}, drop).await;
    assert!(matches!(more, Err(ControlError::Broken | ControlError::Io(_))), "{more:?}");
    held.clear();
    f.desk.go.notify_one();
    let hear = |_| f.desk.go.notify_one();
    loop {
        // The ends of those connections are noticed one by one.
        if send(&f.catalog(), &Order::Status {}, hear).await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
