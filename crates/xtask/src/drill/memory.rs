//! `cargo xtask drill memory`: many large uploads, then many large downloads at once, and what the
//! gateway's process held at most.
//!
//! **Invariant.** The bound is the same for every size: memory depends on how many transfers there
//! are, not on how long they are (I8). What is downloaded is what was uploaded.
//!
//! **Deliberately absent.** Speed: the bench measures it.
//!
//! **Crash.** Objects lie under `target/data` and are deleted at the end.

use crate::random::bytes;
use crate::report::Tally;
use crate::s3::{Connection, Keep, Request};
use crate::server::{Plan, Server};
use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Transfers at once.
const TRANSFERS: u64 = 8;
/// The most that the process may hold meanwhile, in bytes.
const MEMORY_MAX: u64 = 512 * MIB;
const MIB: u64 = 1024 * 1024;
/// Beside what the objects take: the catalog, and the files' own blocks.
const DISK_SLACK: u64 = 1024 * MIB;
const BUCKET: &str = "memory";

/// Uploads and downloads objects of `object_bytes` each, where the disk has room for them.
pub(crate) fn memory(plan: &Plan, object_bytes: u64) -> Result<Tally> {
    println!("   cargo xtask drill memory --bytes {object_bytes}");
    // 3+3 stores every byte twice.
    let needed = 2 * TRANSFERS * object_bytes + DISK_SLACK;
    let folder = plan.data.parent().context("the data lie in a folder")?;
    let free = free_bytes(folder)?;
    if free < needed {
        let (free, needed) = (free / MIB, needed / MIB);
        return Ok(Tally::skip(format!("memory: {free} MiB of disk are free, it takes {needed}")));
    }
    let server = plan.start()?;
    super::create_bucket(&server, BUCKET)?;
    let uploaded = at_once(&server, "uploads", object_bytes, upload)?;
    let downloaded = at_once(&server, "downloads", object_bytes, download)?;
    if uploaded != downloaded {
        bail!("what was downloaded is not what was uploaded");
    }
    for number in 0..TRANSFERS {
        let path = path(number);
        let request = Request { method: "DELETE", path: &path, ..Request::default() };
        server.connect().expect(&request, Keep::Body)?;
    }
    server.stop()?;
    std::fs::remove_dir_all(&plan.data)?;
    Ok(Tally { passed: 2, ..Tally::default() })
}

fn path(number: u64) -> String {
    format!("/{BUCKET}/{number}")
}

/// Bytes that a folder's disk has left.
fn free_bytes(folder: &Path) -> Result<u64> {
    let df = Command::new("df").args(["-B1", "--output=avail"]).arg(folder).output();
    let text = String::from_utf8(df.context("run df")?.stdout)?;
    let line = text.lines().nth(1).context("what df says")?;
    line.trim().parse().context("what df says")
}

/// Runs all transfers at once; the digests of their bytes. More memory than the bound is an error.
fn at_once(
    server: &Server,
    what: &str,
    object_bytes: u64,
    transfer: fn(&mut Connection, u64, u64) -> Result<[u8; 32]>,
) -> Result<Vec<[u8; 32]>> {
    server.reset_peak_memory();
    let start = Instant::now();
    let digests: Result<Vec<[u8; 32]>> = std::thread::scope(|scope| {
        let transfers: Vec<_> = (0..TRANSFERS)
            .map(|number| {
                let mut connection = server.connect();
                scope.spawn(move || transfer(&mut connection, number, object_bytes))
            })
            .collect();
        let joined = transfers.into_iter().map(|thread| thread.join());
        joined.map(|digest| digest.map_err(|_| anyhow!("a transfer panicked"))?).collect()
    });
    let digests = digests.with_context(|| what.to_owned())?;
    let peak = server.peak_memory_bytes()?;
    println!(
        "   {TRANSFERS} {what} of {} MiB at once: {} MiB of memory at most, {:.1} s",
        object_bytes / MIB,
        peak / MIB,
        start.elapsed().as_secs_f64()
    );
    if peak > MEMORY_MAX {
        bail!("{what} took {} MiB of memory, at most {} are allowed", peak / MIB, MEMORY_MAX / MIB);
    }
    Ok(digests)
}

fn upload(connection: &mut Connection, number: u64, object_bytes: u64) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let piece_bytes = usize::try_from(MIB)?;
    let mut piece = bytes(number, piece_bytes);
    let (mut left, mut at) = (object_bytes, 0_u64);
    let answer = connection.upload(&path(number), object_bytes, |send| {
        while left > 0 {
            // No two pieces are alike, so that one in another's place shows.
            piece[..8].copy_from_slice(&at.to_le_bytes());
            let length = usize::try_from(left.min(MIB))?;
            digest.update(&piece[..length]);
            send(&piece[..length])?;
            left -= length as u64;
            at += 1;
        }
        Ok(())
    })?;
    if answer.status != 200 {
        bail!("an upload answered {}: {}", answer.status, answer.text());
    }
    Ok(digest.finalize().into())
}

fn download(connection: &mut Connection, number: u64, object_bytes: u64) -> Result<[u8; 32]> {
    let (mut digest, mut length) = (Sha256::new(), 0);
    let path = path(number);
    let request = Request { path: &path, ..Request::default() };
    let answer = connection.download(&request, |piece| {
        digest.update(piece);
        length += piece.len() as u64;
    })?;
    if answer.status != 200 || length != object_bytes {
        bail!("a download answered {} with {length} bytes", answer.status);
    }
    Ok(digest.finalize().into())
}
