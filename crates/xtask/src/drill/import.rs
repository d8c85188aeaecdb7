//! Moves a bucket from another S3 server into the gateway, killed twice on the way, and compares
//! every byte.
//!
//! **Invariant.** After the last run every object of the source is at the gateway with its bytes
//! and metadata, nothing else is, and no upload is left open; a further run copies nothing.
//!
//! **Deliberately absent.** Providers' own ways of failing: a server on this machine has few.
//!
//! **Crash.** `kill -9` of `havre import`.

use super::create_bucket;
use crate::process::{attempt, log_path};
use crate::random::{Random, bytes, fresh_seed};
use crate::report::Tally;
use crate::s3::{Connection, Keep, Request, tags};
use crate::server::{Plan, Server, report};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

const OLD: &str = "old";
const NEW: &str = "new";
const SMALL: u64 = 300;
const LARGE_BYTES: u64 = 200 << 20;
const MIDDLE_BYTES: usize = 24 << 20;
const KILLS: u32 = 2;
/// So slow that it is on its way when it is killed.
const SLOW_BYTES_PER_SECOND: u64 = 64 << 20;
const DEADLINE: Duration = Duration::from_secs(120);
/// Headers that have to be the same on both sides.
const HEADERS: [&str; 8] = [
    "content-length",
    "content-type",
    "cache-control",
    "content-disposition",
    "content-language",
    "content-encoding",
    "x-amz-meta-who",
    "x-amz-meta-two-blanks",
];
/// Keys, encoded, that a directory can hold: the other server is one.
const ODD: [&str; 6] = [
    "names/%C3%BC%20%2B%25%26%3C%3E%22%27%3F%23%5B%5D",
    "names/%E6%97%A5%E6%9C%AC/%F0%9F%9A%A2",
    "names/%20begins%20and%20ends%20",
    "names/plus%2Bplus",
    "names/percent%2541",
    "names/~%21%2A%28%29%3D%40%3A%3B%2C%24",
];
/// And some that none can.
const ODDER: [&str; 8] =
    ["a/../b", "./c", "d//e", "/f", "folder/", "line%0Aend%0D", "bell%07", "blank%20"];

/// One object: its encoded key and its bytes.
type Object = (String, Vec<u8>);

/// Imports, is killed, imports again.
pub(crate) fn import(gateway: &Plan, other: &Plan, seed: Option<u64>) -> Result<Tally> {
    let seed = seed.unwrap_or_else(fresh_seed);
    let again = format!("cargo xtask drill import --seed {seed}");
    println!("   {again}");
    let passed =
        moves(gateway, other, seed).map_err(|error| anyhow!("{error:#}\nagain: {again}"))?;
    fs::remove_dir_all(&gateway.data)?;
    fs::remove_dir_all(&other.data)?;
    Ok(Tally { passed, ..Tally::default() })
}

fn moves(gateway: &Plan, other: &Plan, seed: u64) -> Result<u64> {
    let (source, server) = (other.start()?, gateway.start()?);
    let mut random = Random::new(seed);
    create_bucket(&source, OLD)?;
    let mut objects = fill(&source, seed)?;
    let from = From { gateway, server: &server, source: &source, old: OLD, new: NEW };
    let planned = from.run(&["--plan"])?;
    expect(&planned, "copied", objects.len())?;
    let rate = SLOW_BYTES_PER_SECOND.to_string();
    for _ in 0..KILLS {
        let delay = Duration::from_millis(300 + random.below(1_500));
        from.kill(&["--create", "--bytes-per-second", &rate], delay)?;
    }
    let report = from.run(&["--create", "--verify"])?;
    for word in ["failed", "gone", "kept"] {
        expect(&report, word, 0)?;
    }
    compare(&source, &server, &objects).context("after the kills")?;

    let report = from.run(&[])?;
    expect(&report, "copied", 0)?;
    expect(&report, "unchanged", objects.len())?;
    let (key, changed) = &mut objects[0];
    *changed = bytes(seed ^ 1, 5_000);
    put(&mut source.connect(), OLD, key, changed, &[])?;
    let report = from.run(&[])?;
    expect(&report, "copied", 1)?;
    compare(&source, &server, &objects).context("after a change")?;
    from.nothing_is_left()?;

    let odder = odd_names(&server, seed)?;
    let within = From { source: &server, old: "odd", new: "odd-too", ..from };
    expect(&within.run(&["--create"])?, "copied", odder.len())?;
    let mut connection = server.connect();
    for (key, bytes) in &odder {
        let path = format!("/odd-too/{key}");
        let answer =
            connection.expect(&Request { path: &path, ..Request::default() }, Keep::Body)?;
        if answer.body != *bytes {
            bail!("{path} reads other bytes than were written");
        }
    }
    expect(&within.run(&["--verify"])?, "unchanged", odder.len())?;
    server.stop()?;
    Ok(objects.len() as u64 + odder.len() as u64)
}

/// What is imported from where to where.
#[derive(Clone, Copy)]
struct From<'a> {
    gateway: &'a Plan,
    server: &'a Server,
    source: &'a Server,
    old: &'a str,
    new: &'a str,
}

impl From<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.gateway.program());
        command.arg("import").arg("--config").arg(self.gateway.data.join("havre.toml"));
        command.args(["--from", &format!("s3://{}", self.old), "--to", self.new]);
        command.args(["--endpoint", &format!("http://{}", self.source.endpoint())]);
        command.args(["--gateway", &format!("http://{}", self.server.endpoint())]);
        command.args(["--access-key-env", "OLD_KEY", "--secret-key-env", "OLD_SECRET", "--json"]);
        let credential = &self.source.credential;
        command.env("OLD_KEY", &credential.access_key).env("OLD_SECRET", &credential.secret_key);
        command.args(words);
        command
    }

    /// The report of a run to its end.
    fn run(&self, words: &[&str]) -> Result<Value> {
        let (ok, text) = attempt(&mut self.command(words), "import", DEADLINE)?;
        if !ok {
            bail!("havre import {} failed:\n{text}", words.join(" "));
        }
        report(&text).context("the report of havre import")
    }

    /// Kills a run after `delay`.
    fn kill(&self, words: &[&str], delay: Duration) -> Result<()> {
        let log = File::create(log_path("import-killed")?)?;
        let mut child = self.command(words).stdout(log.try_clone()?).stderr(log).spawn()?;
        std::thread::sleep(delay);
        if let Some(status) = child.try_wait()? {
            bail!(
                "it had ended before it was killed ({status}); see target/logs/import-killed.log"
            );
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// No upload is open, and the journal holds no name.
    fn nothing_is_left(&self) -> Result<()> {
        let path = format!("/{}", self.new);
        let request = Request { path: &path, query: "uploads=", ..Request::default() };
        let answer = self.server.connect().expect(&request, Keep::Body)?;
        if answer.text().contains("<UploadId>") {
            bail!("an upload of a run that was killed is still open");
        }
        for entry in fs::read_dir(self.gateway.data.join("imports"))? {
            let bytes = fs::read(entry?.path())?;
            if crate::s3::find(&bytes, b"small").is_some() {
                bail!("a name stands in the journal");
            }
        }
        Ok(())
    }
}

fn expect(report: &Value, word: &str, count: usize) -> Result<()> {
    if report[word].as_u64() != Some(count as u64) {
        bail!("{word} should be {count}: {report:#}");
    }
    Ok(())
}

fn put(
    connection: &mut Connection,
    bucket: &str,
    key: &str,
    body: &[u8],
    headers: &[(&str, &str)],
) -> Result<()> {
    let path = format!("/{bucket}/{key}");
    let request = Request { method: "PUT", path: &path, headers, body, ..Request::default() };
    connection.expect(&request, Keep::Count).map(drop)
}

/// Gives the source objects of all kinds; the first is a small one.
fn fill(source: &Server, seed: u64) -> Result<Vec<Object>> {
    let (mut connection, mut random) = (source.connect(), Random::new(seed));
    let mut objects: Vec<Object> = (0..SMALL)
        .map(|number| (format!("small/{number:05}"), bytes(seed ^ number, random.index(4096))))
        .collect();
    objects.push(("empty".to_owned(), Vec::new()));
    objects.push(("middle".to_owned(), bytes(seed ^ 2, MIDDLE_BYTES)));
    objects.push(("large".to_owned(), bytes(seed ^ 3, usize::try_from(LARGE_BYTES)?)));
    objects.extend(ODD.iter().map(|key| ((*key).to_owned(), bytes(seed, 100))));
    let headers = [
        ("cache-control", "no-cache"),
        ("content-disposition", "attachment; filename=\"a  b\""),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("content-type", "text/plain; charset=utf-8"),
        ("x-amz-meta-two-blanks", "a  b"),
        ("x-amz-meta-who", "me"),
    ];
    for (number, (key, body)) in objects.iter().enumerate() {
        let headers: &[_] = if number % 3 == 0 { &headers } else { &[] };
        put(&mut connection, OLD, key, body, headers)?;
    }
    Ok(objects)
}

/// Keys that no directory holds, in a bucket of the gateway.
fn odd_names(server: &Server, seed: u64) -> Result<Vec<Object>> {
    create_bucket(server, "odd")?;
    let mut connection = server.connect();
    let odd = ODD.iter().chain(&ODDER).zip(1..);
    odd.map(|(key, number)| {
        let object = ((*key).to_owned(), bytes(seed ^ number, 1000));
        put(&mut connection, "odd", key, &object.1, &[])?;
        Ok(object)
    })
    .collect()
}

/// Compares every object on both sides with what was written.
fn compare(source: &Server, server: &Server, objects: &[Object]) -> Result<()> {
    let (mut old, mut new) = (source.connect(), server.connect());
    for (key, bytes) in objects {
        let get = |connection: &mut Connection, bucket| {
            let path = format!("/{bucket}/{key}");
            connection.expect(&Request { path: &path, ..Request::default() }, Keep::Body)
        };
        let (there, here) = (get(&mut old, OLD)?, get(&mut new, NEW)?);
        if there.body != *bytes || here.body != *bytes {
            bail!("{key} reads other bytes than were written");
        }
        for name in HEADERS {
            // S3 names a type where none was said, and the other server does not.
            let said = there.header(name).is_some() || name != "content-type";
            if said && there.header(name) != here.header(name) {
                bail!("{key}: {name} is {:?}, was {:?}", here.header(name), there.header(name));
            }
        }
    }
    let path = format!("/{NEW}");
    let request = Request { path: &path, query: "list-type=2", ..Request::default() };
    let listed = tags(&new.expect(&request, Keep::Body)?.text(), "Key").len();
    if listed != objects.len() {
        bail!("{listed} objects are there, and {} were moved", objects.len());
    }
    Ok(())
}
