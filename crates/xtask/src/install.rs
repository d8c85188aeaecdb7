//! Puts in place what the tests need and Rust does not bring: client programs and libraries.
//!
//! **Invariant.** Each step looks first and does nothing when its result is there; nothing but
//! Debian packages is written outside `target/`.
//!
//! **Deliberately absent.** Versions: those of the Python and npm clients stand in
//! `tests/clients/requirements.txt` and `tests/clients/package.json`.
//!
//! **Crash.** An installation that was cut short has no stamp and is made again.

use crate::process::{on_path, root, run, target};
use crate::report::Tally;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Downloads are allowed this long, each.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(900);

/// Programs that have to be there, and the Debian package that brings each.
const PROGRAMS: [(&str, &str); 7] = [
    ("rclone", "rclone"),
    ("restic", "restic"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
];

/// The Python interpreter that has the clients.
pub(crate) fn python() -> PathBuf {
    clients().join("venv/bin/python")
}

/// The folder that has the npm clients in `node_modules`.
pub(crate) fn node() -> PathBuf {
    clients().join("node")
}

/// The folder of clients, test files and scratch space.
pub(crate) fn clients() -> PathBuf {
    target().join("clients")
}

/// Installs what is missing.
pub(crate) fn all() -> Result<Tally> {
    fs::create_dir_all(clients())?;
    debian_packages()?;
    python_clients()?;
    npm_clients()?;
    Ok(Tally::one())
}

fn debian_packages() -> Result<()> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !on_path(program)).map(|(_, name)| *name).collect();
    // Debian's Python comes without what makes a virtual environment.
    if !has_venv() && !python().exists() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("   Debian packages: {}", missing.join(" "));
    let by_hand = format!("install them: apt-get install {}", missing.join(" "));
    if !on_path("apt-get") {
        bail!("missing and there is no apt-get; {by_hand}");
    }
    let prefix: &[&str] = if is_root()? { &[] } else { &["sudo", "--non-interactive"] };
    let apt = |arguments: &[&str], log: &str| {
        let words: Vec<&str> =
            prefix.iter().chain(&["apt-get"]).chain(arguments).copied().collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, log, DOWNLOAD_DEADLINE)
    };
    apt(&["update", "--quiet"], "apt-update").with_context(|| by_hand.clone())?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(missing);
    apt(&install, "apt-install").with_context(|| by_hand.clone())?;
    Ok(())
}

fn has_venv() -> bool {
    let probe = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    probe.is_ok_and(|output| output.status.success())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("id -u")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn python_clients() -> Result<()> {
    let wanted = root().join("tests/clients/requirements.txt");
    let stamp = clients().join("python.stamp");
    if is_stamped(&stamp, &wanted)? && python().exists() {
        return Ok(());
    }
    println!("   Python clients");
    let venv = clients().join("venv");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run(&mut make, "python-venv", DOWNLOAD_DEADLINE)?;
    let mut install = Command::new(python());
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.arg("--requirement").arg(&wanted);
    twice(&mut install, "python-install")?;
    fs::copy(wanted, stamp)?;
    Ok(())
}

fn npm_clients() -> Result<()> {
    let wanted = root().join("tests/clients/package.json");
    let stamp = clients().join("node.stamp");
    if is_stamped(&stamp, &wanted)? && node().join("node_modules").exists() {
        return Ok(());
    }
    println!("   npm clients");
    fs::create_dir_all(node())?;
    fs::copy(&wanted, node().join("package.json"))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(node());
    twice(&mut install, "npm-install")?;
    fs::copy(wanted, stamp)?;
    Ok(())
}

/// Runs a download, and once more when it failed: registries have bad moments.
fn twice(command: &mut Command, log: &str) -> Result<()> {
    if run(command, log, DOWNLOAD_DEADLINE).is_err() {
        run(command, log, DOWNLOAD_DEADLINE)?;
    }
    Ok(())
}

/// `true` when the stamp of an installation is the list that is wanted now.
fn is_stamped(stamp: &PathBuf, wanted: &PathBuf) -> Result<bool> {
    let wanted = fs::read(wanted).with_context(|| format!("read {}", wanted.display()))?;
    Ok(fs::read(stamp).is_ok_and(|stamped| stamped == wanted))
}
