//! A gateway and a keeper as processes of their own: what the keeper does without a key, and what
//! becomes of it when either is killed.

use havre::config::{Config, write_local};
use havre::control::{Drains, Order, Status, Subject, send};
use havre_seal::RootKey;
use havre_sites::system;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Whatever is waited for has happened by then, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(240);
const ACCESS_KEY: &str = "ACCESSKEYACCESSKEY20";
const SECRET: &str = "secret";
const OBJECT_BYTES: usize = 400_000;

/// A process that is killed when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it was killed");
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("it can be asked").is_none()
    }

    fn id(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a process")
    }
}

struct World {
    folder: TempDir,
    config: Config,
    metrics: SocketAddr,
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// The trial's configuration with a keeper apart, and what `more` adds.
fn world(more: &str) -> World {
    let folder = TempDir::new().expect("it works");
    RootKey::create_file(&folder.path().join("root.key"), &*system::ports().entropy)
        .expect("it works");
    let file = write_local(folder.path(), ACCESS_KEY, SECRET).expect("it works");
    let (admin, metrics) = (free_address(), free_address());
    let text = std::fs::read_to_string(&file).expect("it works");
    let text =
        text.replace("127.0.0.1:9000", "127.0.0.1:0").replace("127.0.0.1:9001", &admin.to_string());
    let text = format!("{text}\n[keeper]\nruns = \"apart\"\naddress = \"{metrics}\"\n{more}");
    std::fs::write(&file, text).expect("it works");
    let config = Config::load(&file).expect("it is sound");
    World { folder, config, metrics }
}

fn site(number: usize, operator: &str, code: &str) -> String {
    format!(
        "\n[[site]]\nname = \"s{number}\"\nurl = \"sites/s{number}\"\noperator = \
         \"{operator}\"\nlocation = \"{code}\"\n"
    )
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let ports = system::ports();
    let end = ports.clock.elapsed() + PATIENCE;
    while !is_so().await {
        assert!(ports.clock.elapsed() < end, "{what}: not yet");
        ports.runtime.sleep(Duration::from_millis(100)).await;
    }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_havre"));
        command.arg(name).arg("--config").arg(&self.config.file).env("HAVRE_LOG", "warn");
        command
    }

    /// Starts a process, and waits for the line that says that it works.
    fn start(&self, name: &str) -> (Process, String) {
        let mut child = self.command(name).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it is text");
        assert!(!line.is_empty(), "{name} has ended");
        (Process(child), line.trim_end().to_owned())
    }

    fn serve(&self) -> (Process, Gate) {
        let (process, line) = self.start("serve");
        let address = line.strip_prefix("serving S3 at http://").expect("an address");
        (process, Gate(address.parse().expect("an address")))
    }

    fn keep(&self) -> Process {
        let (process, line) = self.start("keeper");
        assert!(line.starts_with("keeping for the gateway of "), "{line}");
        process
    }

    /// A keeper that ends by itself.
    fn keep_in_vain(&self) -> String {
        let Output { status, stderr, .. } = self.command("keeper").output().expect("it starts");
        assert!(!status.success());
        String::from_utf8(stderr).expect("text")
    }

    /// Takes away what only the gateway may have, while it runs; or gives it back.
    fn hide_secrets(&self, hide: bool) {
        for name in ["root.key", "credential.secret"] {
            let (here, away) = (self.path(name), self.path(&format!("{name}.away")));
            let (from, to) = if hide { (here, away) } else { (away, here) };
            std::fs::rename(from, to).expect("it is there");
        }
    }

    async fn order(&self, order: Order) -> serde_json::Value {
        send(&self.config.gateway.catalog, &order, drop).await.expect("the gateway answers")
    }

    async fn status(&self) -> Status {
        serde_json::from_value(self.order(Order::Status {}).await).expect("a status")
    }

    async fn drains(&self) -> Drains {
        serde_json::from_value(self.order(Order::Drains { list: true }).await).expect("drains")
    }

    async fn until_present(&self, is_present: bool) {
        until("the keeper comes or goes", async || {
            self.status().await.keeper.is_some_and(|keeper| keeper.is_present == is_present)
        })
        .await;
    }

    /// The shards that a site has.
    fn shards(&self, site: usize) -> BTreeSet<PathBuf> {
        let root = self.path(&format!("sites/s{site}"));
        let mut found = BTreeSet::new();
        let mut folders = vec![root.join("e"), root.join("p")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => drop(found.insert(path)),
                }
            }
        }
        found
    }
}

/// Where the gateway serves S3.
struct Gate(SocketAddr);

impl Gate {
    /// One signed request; the answer's status and body.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let day = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let digest = hex::encode(Sha256::digest(body));
        let (host, names) = (self.0.to_string(), "host;x-amz-content-sha256;x-amz-date");
        let canonical = format!(
            "{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\n\
             x-amz-date:{time}\n\n{names}\n{digest}"
        );
        let scope = format!("{day}/us-east-1/s3/aws4_request");
        let canonical = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{SECRET}").into_bytes();
        for part in [&*day, "us-east-1", "s3", "aws4_request", &text] {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
            mac.update(part.as_bytes());
            key = mac.finalize().into_bytes().to_vec();
        }
        let signature = hex::encode(key);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-amz-content-sha256: {digest}\r\n\
             x-amz-date: {time}\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        http(self.0, &[head.as_bytes(), body].concat())
    }

    fn put(&self, path: &str, body: &[u8]) {
        let (status, answer) = self.ask("PUT", path, body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    }

    /// Puts so many objects.
    fn fill(&self, count: usize) {
        self.put("/bucket", b"");
        for number in 0..count {
            self.put(&format!("/bucket/object-{number}"), &object(number));
        }
    }

    fn check(&self, count: usize) {
        for number in 0..count {
            let (status, body) = self.ask("GET", &format!("/bucket/object-{number}"), b"");
            assert!(status == 200 && body == object(number), "object {number}: {status}");
        }
    }
}

fn object(number: usize) -> Vec<u8> {
    (0..OBJECT_BYTES).map(|at| (at * 7 + at / 251 + number).to_le_bytes()[0]).collect()
}

/// One request, its connection closed behind the answer.
fn http(address: SocketAddr, request: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request).expect("it takes it");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    (status, answer[end..].to_vec())
}

/// The value of a metric.
fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let request = "GET /metrics HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n";
    let text = String::from_utf8(http(address, request.as_bytes()).1).expect("text");
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Has a site fail to store extents, as one whose disk is broken; or mends it.
fn break_site(root: &Path, broken: bool) {
    let folder = root.join("e");
    if broken {
        drop(std::fs::remove_dir_all(&folder));
        std::fs::write(&folder, "no folder").expect("it works");
    } else {
        std::fs::remove_file(&folder).expect("it works");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i24_a_keeper_repairs_without_a_key_whoever_is_killed() {
    let w = world("");
    let s1 = w.path("sites/s1");
    let (gateway, gate) = w.serve();
    break_site(&s1, true);
    gate.fill(3);
    w.hide_secrets(true);
    assert!(w.status().await.incomplete_blobs >= 3);
    let keeper = w.keep();
    let seen = w.status().await.keeper.expect("its keeper is apart");
    assert_eq!((seen.is_present, seen.process), (true, Some(keeper.id())));
    let refused = w.keep_in_vain();
    let other = format!("another keeper works for this gateway: process {}", keeper.id());
    assert!(refused.contains(&other), "{refused}");
    keeper.kill();
    w.until_present(false).await;
    let mut keeper = w.keep();
    w.until_present(true).await;
    // Under it, in the midst of its life, and with the disk of before.
    gateway.kill();
    break_site(&s1, false);
    w.hide_secrets(false);
    let (_gateway, gate) = w.serve();
    w.hide_secrets(true);
    w.until_present(true).await;
    until("what a site missed is repaired", async || w.status().await.incomplete_blobs == 0).await;
    assert!(keeper.is_running(), "it is the one of before");
    assert!(w.shards(1).iter().filter(|path| path.starts_with(s1.join("e"))).count() >= 3);
    gate.check(3);
    assert!(metric(w.metrics, "havre_repaired_shards_total").is_some_and(|shards| shards >= 3.0));
    let admin = w.config.admin.address;
    until("the gateway tells it", async || metric(admin, "havre_keeper_present") == Some(1.0))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i29_what_is_excluded_drains_by_a_keeper_and_gets_no_new_shard() {
    let count = 12;
    let more = [
        "[limits]\nrepair_bytes_per_second = 100000\n",
        "[[operator]]\nname = \"east\"\nincorporation = \"XD\"\nheadquarters = \"XD\"\n",
        &site(7, "east", "XD"),
        &site(8, "east", "XD"),
    ]
    .concat();
    let w = world(&more);
    for number in 7..=8 {
        std::fs::create_dir(w.path(&format!("sites/s{number}"))).expect("it works");
    }
    let (_gateway, gate) = w.serve();
    gate.fill(count);
    w.hide_secrets(true);
    let keeper = w.keep();
    let elsewhere = || (w.shards(7).len(), w.shards(8).len());
    let before = elsewhere();
    let subject = Subject::Party("jurisdiction:XC".to_owned());
    w.order(Order::Exclude { subject, reason: String::new(), deadline_ms: None }).await;
    let closed = || &w.shards(5) | &w.shards(6);
    let at_first = closed();
    assert!(!at_first.is_empty(), "it takes its time");
    let only_less = || assert!(closed().is_subset(&at_first), "a new shard is there");
    until("it begins to move", async || {
        only_less();
        elsewhere() != before
    })
    .await;
    gate.put("/bucket/object-0", &object(0));
    keeper.kill();
    w.until_present(false).await;
    gate.check(count);
    let mut keeper = w.keep();
    until("it goes on where it was", async || {
        only_less();
        w.drains().await.is_empty()
    })
    .await;
    assert!(keeper.is_running() && closed().is_empty());
    gate.check(count);
    assert!(metric(w.metrics, "havre_relocated_shards_total").is_some_and(|shards| shards > 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_the_gateway_does_not_mean_ends_and_says_why() {
    let w = world("");
    let (_gateway, _) = w.serve();
    let text = std::fs::read_to_string(&w.config.file).expect("it works");
    std::fs::write(&w.config.file, format!("{text}# changed\n")).expect("it works");
    let refused = w.keep_in_vain();
    assert!(refused.contains("another configuration than the gateway that runs"), "{refused}");
    let inside = text.split("[keeper]").next().expect("the rest of it");
    std::fs::write(&w.config.file, inside).expect("it works");
    let refused = w.keep_in_vain();
    assert!(refused.contains("the gateway does the keeper's work itself"), "{refused}");
}
