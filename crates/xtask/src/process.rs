//! Starts other programs, with a deadline and a log.
//!
//! **Invariant.** A command that is run here ends by its deadline, and a failure names the command,
//! its log and the log's last lines.
//!
//! **Deliberately absent.** Shell syntax: arguments are passed as they are.
//!
//! **Crash.** Logs stay under `target/logs`.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 40;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.ancestors().nth(2).expect("xtask lies two folders below the root");
    root.to_owned()
}

/// The folder of all that is built, downloaded or logged.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo` with `arguments`, in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Builds one of the workspace's programs as it ships, and says where it lies. With
/// `XTASK_NO_BUILD` set what lies there is taken as it is: a build beside a measurement would be
/// measured too.
pub(crate) fn build(package: &str, program: &str, features: &[&str]) -> Result<PathBuf> {
    let built = target().join("release").join(program);
    if std::env::var_os("XTASK_NO_BUILD").is_some() && built.exists() {
        return Ok(built);
    }
    let mut command = cargo(&["build", "--release", "--quiet", "--ignore-rust-version"]);
    command.args(["--package", package, "--bin", program]);
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    run(&mut command, &format!("build-{program}"), Duration::from_secs(1500))?;
    Ok(built)
}

/// Runs `command` to its end and returns what it printed, which is also `target/logs/<log>.log`.
pub(crate) fn run(command: &mut Command, log: &str, deadline: Duration) -> Result<String> {
    let (ok, text) = attempt(command, log, deadline)?;
    if !ok {
        let program = command.get_program().to_string_lossy().into_owned();
        bail!("{program} failed; the end of target/logs/{log}.log:\n{}", tail(&text));
    }
    Ok(text)
}

/// As [`run`], but a failure is an answer, not an error.
pub(crate) fn attempt(
    command: &mut Command,
    log: &str,
    deadline: Duration,
) -> Result<(bool, String)> {
    let path = log_path(log)?;
    let file = File::create(&path).context("create the log")?;
    let mut timed = Command::new("timeout");
    timed.args(["--kill-after=10", &deadline.as_secs().to_string()]);
    timed.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    let status = timed
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .context("start `timeout` of coreutils")?;
    let mut text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    if matches!(status.code(), Some(124 | 137)) {
        text.push_str(&format!("\nended at its deadline of {} s", deadline.as_secs()));
    }
    Ok((status.success(), text))
}

/// Where a log of this name lies; its folder exists.
pub(crate) fn log_path(name: &str) -> Result<PathBuf> {
    let folder = target().join("logs");
    fs::create_dir_all(&folder).context("create target/logs")?;
    Ok(folder.join(format!("{name}.log")))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// `true` when the shell would find `program`.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}
