//! Looks, after a restart, whether everything is as the histories allow.
//!
//! **Invariant.** What it has seen once is certain from then on: a write without an answer that is
//! not there after the restart must never appear, and one that is there must never vanish.
//!
//! **Deliberately absent.** The server's own opinion: only what a client can read counts, and what
//! lies at the sites.
//!
//! **Crash.** Nothing is kept.

use super::history::{Content, History, State};
use super::load::{Load, Upload, completion};
use crate::random::Random;
use crate::s3::{Connection, Keep, Request, tags};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Keys beside those just written that each round reads again.
const OTHER_KEYS: usize = 6;

/// What a look found.
#[derive(Default)]
pub(super) struct Verdict {
    /// Keys whose bytes were compared.
    pub(super) keys: u64,
    pub(super) uploads: u64,
}

/// How much to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What was written since the last look, and a few others.
    Recent,
    /// Everything.
    All,
}

/// Reads, compares, and settles what was open.
pub(super) fn judge(
    load: &Load,
    connection: &mut Connection,
    random: &mut Random,
    depth: Depth,
) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let others = {
        let keys = load.keys.lock().expect("no worker panics");
        let names: Vec<String> = keys.keys().cloned().collect();
        let draw =
            (0..OTHER_KEYS.min(names.len())).map(|_| names[random.index(names.len())].clone());
        draw.collect::<BTreeSet<String>>()
    };
    let histories: Vec<(String, History)> = {
        let keys = load.keys.lock().expect("no worker panics");
        keys.iter().map(|(key, history)| (key.clone(), history.clone())).collect()
    };
    for (key, history) in histories {
        if depth == Depth::All || history.is_touched() || others.contains(&key) {
            let state = look(load, connection, &key, &history)?;
            let mut keys = load.keys.lock().expect("no worker panics");
            keys.insert(key, History::known(state));
            verdict.keys += 1;
        }
    }
    verdict.uploads = settle_uploads(load, connection, random)?;
    check_listing(load, connection)?;
    check_buckets(load, connection)?;
    Ok(verdict)
}

/// Every bucket whose creation was acknowledged is there; then it goes.
fn check_buckets(load: &Load, connection: &mut Connection) -> Result<()> {
    let mut buckets = load.buckets.lock().expect("no worker panics");
    for name in buckets.drain(..) {
        let path = format!("/{name}");
        for method in ["HEAD", "DELETE"] {
            let request = Request { method, path: &path, ..Request::default() };
            connection
                .expect(&request, Keep::Body)
                .with_context(|| format!("bucket {name} was acknowledged"))?;
        }
    }
    Ok(())
}

/// Reads one key and fails unless its history allows what is there.
fn look(load: &Load, connection: &mut Connection, key: &str, history: &History) -> Result<State> {
    let path = load.path(key);
    let answer = connection.send(&Request { path: &path, ..Request::default() }, Keep::Body)?;
    let allowed = history.allowed();
    let found = match answer.status {
        404 => allowed.iter().find(|state| **state == State::Absent),
        200 => allowed.iter().find(|state| match state {
            State::Present(content) => is_content(&answer.body, content),
            State::Absent => false,
        }),
        status => bail!("reading {key} answered {status}: {}", answer.text()),
    };
    found.copied().with_context(|| {
        let bytes = answer.body.len();
        format!(
            "{key} answered {} with {bytes} bytes; its history allows {allowed:?} alone: \
             {history:?}",
            answer.status
        )
    })
}

fn is_content(body: &[u8], content: &Content) -> bool {
    body.len() == content.length() && body == content.bytes()
}

/// Completes or aborts every upload, and returns how many there were. Acknowledged parts must be
/// there.
fn settle_uploads(load: &Load, connection: &mut Connection, random: &mut Random) -> Result<u64> {
    let uploads = std::mem::take(&mut *load.uploads.lock().expect("no worker panics"));
    let mut count = 0;
    for upload in &uploads {
        settle(load, connection, random, upload)?;
        count += 1;
    }
    // Those whose id never reached us.
    let path = format!("/{}", load.bucket);
    let list = Request { path: &path, query: "uploads=", ..Request::default() };
    let text = connection.expect(&list, Keep::Body)?.text();
    for (key, id) in tags(&text, "Key").iter().zip(tags(&text, "UploadId")) {
        abort(load, connection, key, &id)?;
        count += 1;
    }
    Ok(count)
}

fn settle(
    load: &Load,
    connection: &mut Connection,
    random: &mut Random,
    upload: &Upload,
) -> Result<()> {
    let (path, query) = (load.path(&upload.key), format!("uploadId={}", upload.id));
    let request = Request { path: &path, query: &query, ..Request::default() };
    let answer = connection.send(&request, Keep::Body)?;
    if answer.status == 404 && upload.ending {
        return Ok(());
    }
    if answer.status != 200 {
        bail!("upload {} of {} answered {}", upload.id, upload.key, answer.status);
    }
    let listed = tags(&answer.text(), "PartNumber");
    for (number, ..) in &upload.parts {
        if !listed.contains(&number.to_string()) {
            bail!("part {number} of upload {} was acknowledged and is gone", upload.id);
        }
    }
    if upload.ending || upload.parts.is_empty() || random.below(2) == 0 {
        return abort(load, connection, &upload.key, &upload.id);
    }
    let (body, content) = completion(upload);
    let body = body.as_bytes();
    let request =
        Request { method: "POST", path: &path, query: &query, body, ..Request::default() };
    connection.expect(&request, Keep::Body).context("complete an upload after the crash")?;
    let state = State::Present(content);
    look(load, connection, &upload.key, &History::known(state))?;
    let mut keys = load.keys.lock().expect("no worker panics");
    keys.insert(upload.key.clone(), History::known(state));
    Ok(())
}

fn abort(load: &Load, connection: &mut Connection, key: &str, id: &str) -> Result<()> {
    let (path, query) = (load.path(key), format!("uploadId={id}"));
    let request = Request { method: "DELETE", path: &path, query: &query, ..Request::default() };
    connection.expect(&request, Keep::Body).map(drop)
}

/// The bucket lists exactly the keys that are there, with their lengths.
fn check_listing(load: &Load, connection: &mut Connection) -> Result<()> {
    let path = format!("/{}", load.bucket);
    let query = "list-type=2&max-keys=1000";
    let text = connection
        .expect(&Request { path: &path, query, ..Request::default() }, Keep::Body)?
        .text();
    let sizes = tags(&text, "Size").into_iter().map(|size| size.parse().unwrap_or(usize::MAX));
    let listed: BTreeMap<String, usize> = tags(&text, "Key").into_iter().zip(sizes).collect();
    let keys = load.keys.lock().expect("no worker panics");
    let expected: BTreeMap<String, usize> = keys
        .iter()
        .filter_map(|(key, history)| match history.allowed()[..] {
            [State::Present(content)] => Some((key.clone(), content.length())),
            _ => None,
        })
        .collect();
    if listed != expected {
        let only = |a: &BTreeMap<String, usize>, b: &BTreeMap<String, usize>| -> Vec<String> {
            a.iter()
                .filter(|(key, size)| b.get(*key) != Some(size))
                .map(|(key, _)| key.clone())
                .collect()
        };
        bail!(
            "the listing has {:?} that are not there and lacks {:?}",
            only(&listed, &expected),
            only(&expected, &listed)
        );
    }
    Ok(())
}

/// Deletes every key, so that nothing is needed any more.
pub(super) fn empty(load: &Load, connection: &mut Connection) -> Result<()> {
    let mut keys = load.keys.lock().expect("no worker panics");
    for key in keys.keys() {
        let path = load.path(key);
        let request = Request { method: "DELETE", path: &path, ..Request::default() };
        connection.expect(&request, Keep::Body)?;
    }
    keys.clear();
    Ok(())
}

/// Writes acknowledged so far.
pub(super) fn acknowledged(load: &Load) -> u64 {
    load.acknowledged.load(Ordering::Relaxed)
}
