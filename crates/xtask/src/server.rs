//! Starts a server, the gateway or the yardstick, and looks at it from outside.
//!
//! **Invariant.** A server started here dies with its value, so that no run leaves one behind.
//!
//! **Deliberately absent.** Any knowledge of the server's insides: what is measured comes from
//! `/proc` and from `/metrics`.
//!
//! **Crash.** [`Server::kill`] *is* the crash. The data stay where they were.

use crate::process::{self, tail};
use crate::s3::{Answer, Connection, Credential, Keep, Request};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long a server may take until it answers, a rebuild of its catalog included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a graceful end may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a garbage collection may take.
const GC_DEADLINE: Duration = Duration::from_secs(120);
/// How long a command beside a running gateway may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);
/// Clock ticks a second in `/proc/<pid>/stat`, the same on every Linux that runs this.
const TICKS_PER_SECOND: f64 = 100.0;
/// What a server logs beside its requests: why a connection ended, when it was not its client's
/// wish.
const LOG_FILTER: &str = "warn,havre=info,s3s=off,opendal=off,havre_server::listener=debug";
/// Lines of complaints that an error shows.
const COMPLAINTS: usize = 12;

/// Which program to start, and where its data lie.
#[derive(Clone)]
pub(crate) struct Plan {
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) data: PathBuf,
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    log: PathBuf,
}

impl Plan {
    /// The gateway, over a data directory that it makes when there is none.
    pub(crate) fn gateway(program: &Path, data: &Path) -> Result<Self> {
        let (listen, admin) = (free_port()?, free_port()?);
        let mut arguments = vec!["up".to_owned(), "--data".to_owned()];
        arguments.push(data.to_string_lossy().into_owned());
        arguments.extend(["--listen".to_owned(), listen.to_string()]);
        arguments.extend(["--admin".to_owned(), admin.to_string()]);
        Self::new(program, arguments, data, listen, Some(admin))
    }

    /// The yardstick.
    pub(crate) fn yardstick(program: &Path, data: &Path, nodelay: bool) -> Result<Self> {
        let listen = free_port()?;
        let mut arguments = vec!["--data".to_owned(), data.to_string_lossy().into_owned()];
        arguments.extend(["--listen".to_owned(), listen.to_string()]);
        if nodelay {
            arguments.push("--nodelay".to_owned());
        }
        Self::new(program, arguments, data, listen, None)
    }

    fn new(
        program: &Path,
        arguments: Vec<String>,
        data: &Path,
        listen: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> Result<Self> {
        let name = data.file_name().unwrap_or_default().to_string_lossy();
        let log = process::log_path(&format!("server-{name}"))?;
        let _ = fs::remove_file(&log);
        let (program, data) = (program.to_owned(), data.to_owned());
        Ok(Self { program, arguments, data, listen, admin, log })
    }

    /// The program that is started.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs `havre gc` over the data directory, which no gateway may serve meanwhile; its report.
    pub(crate) fn collect_garbage(&self) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.arg("gc").arg("--config").arg(self.data.join("havre.toml"));
        report(&process::run(&mut command, "gc", GC_DEADLINE)?).context("the report of havre gc")
    }

    /// Runs a command of the program on the data directory's configuration; what it printed.
    pub(crate) fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(self.data.join("havre.toml"));
        process::run(&mut command, words[0], COMMAND_DEADLINE)
    }

    /// The same, of a command that prints JSON.
    pub(crate) fn asked(&self, words: &[&str]) -> Result<Value> {
        let text = self.command(words)?;
        report(&text).with_context(|| format!("the answer of havre {}", words.join(" ")))
    }

    fn compaction(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["compact", "--thorough", "--config"]).arg(self.data.join("havre.toml"));
        command
    }

    /// Runs `havre compact --thorough` over the data directory, which no gateway may serve
    /// meanwhile; its report.
    pub(crate) fn compact(&self) -> Result<Value> {
        let text = process::run(&mut self.compaction(), "compact", GC_DEADLINE)?;
        report(&text).context("the report of havre compact")
    }

    /// Begins the same, and kills it after so long, if it has not ended by then.
    pub(crate) fn compact_and_kill(&self, kill_after: Duration) -> Result<()> {
        let mut command = self.compaction();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        std::thread::sleep(kill_after);
        child.kill().context("kill the compaction")?;
        child.wait().context("wait for the compaction").map(drop)
    }

    /// Loses the catalog: what the gateway makes of the sites alone is its next one.
    pub(crate) fn lose_catalog(&self) -> Result<()> {
        for entry in fs::read_dir(&self.data)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("catalog.sqlite") {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The last lines of the server's log that say what went wrong, for an error's text: the log
    /// itself is lost with the machine that ran it.
    pub(crate) fn complaints(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        complaints(&String::from_utf8_lossy(&log))
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn start(&self) -> Result<Server> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let filter = std::env::var_os("HAVRE_LOG").unwrap_or_else(|| LOG_FILTER.into());
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env("HAVRE_LOG", filter)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let nobody = Credential { access_key: String::new(), secret_key: String::new() };
        let mut server = Server { plan: self.clone(), child, credential: nobody };
        server.wait_ready()?;
        server.credential = read_credential(&self.data)?;
        Ok(server)
    }
}

/// A running server.
pub(crate) struct Server {
    plan: Plan,
    child: Child,
    pub(crate) credential: Credential,
}

impl Server {
    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.plan.listen
    }

    /// A new connection that signs with the server's credential.
    pub(crate) fn connect(&self) -> Connection {
        Connection::new(self.plan.listen, &self.credential)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start ({status}):\n{}", self.log_tail());
            }
            if self.answers() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the server does not answer:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn answers(&self) -> bool {
        match self.plan.admin {
            Some(_) => self.admin("/readyz").is_ok_and(|answer| answer.status == 200),
            None => {
                TcpStream::connect_timeout(&self.plan.listen, Duration::from_secs(1)).is_ok()
                    && self.plan.data.join("endpoint").exists()
            }
        }
    }

    fn admin(&self, path: &str) -> Result<Answer> {
        let address = self.plan.admin.context("this server has no admin listener")?;
        let nobody = Credential { access_key: String::new(), secret_key: String::new() };
        Connection::new(address, &nobody).send(&Request { path, ..Request::default() }, Keep::Body)
    }

    fn log_tail(&self) -> String {
        tail(&String::from_utf8_lossy(&fs::read(&self.plan.log).unwrap_or_default()))
    }

    /// Ends the process as `kill -9` does, in the middle of whatever it does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("send SIGTERM")?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the server did not end within {} s", STOP_TIMEOUT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// CPU-seconds that the process has used.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds_of(&self.child.id().to_string())
    }

    /// Makes the peak count from now on. Where that is not permitted it goes on from the start.
    pub(crate) fn reset_peak_memory(&self) {
        let _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// The most memory the process has held, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM")?;
        Ok(kib * 1024)
    }

    /// The counters of `/metrics`, summed over their labels. Empty for a server that has none.
    pub(crate) fn counters(&self) -> Result<BTreeMap<String, f64>> {
        if self.plan.admin.is_none() {
            return Ok(BTreeMap::new());
        }
        Ok(sum_counters(&self.admin("/metrics")?.text()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended, or ends now; either way there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU-seconds of a process, user and system together.
pub(crate) fn cpu_seconds_of(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = stat.rsplit_once(')').context("/proc/<pid>/stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (ticks(11).context("utime")?, ticks(12).context("stime")?);
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Sums the samples of a Prometheus page by metric, whatever their labels.
fn sum_counters(page: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let name = series.split('{').next().unwrap_or(series);
        *sums.entry(name.to_owned()).or_insert(0.0) += value;
    }
    sums
}

/// Reads the two lines of `credential.env`.
fn read_credential(data: &Path) -> Result<Credential> {
    let path = data.join("credential.env");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let value = |name: &str| {
        let prefix = format!("{name}=");
        let line = text.lines().map(|line| line.trim_start_matches("export "));
        line.filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).next()
    };
    Ok(Credential {
        access_key: value("AWS_ACCESS_KEY_ID").context("AWS_ACCESS_KEY_ID in credential.env")?,
        secret_key: value("AWS_SECRET_ACCESS_KEY")
            .context("AWS_SECRET_ACCESS_KEY in credential.env")?,
    })
}

/// See [`Plan::complaints`].
fn complaints(log: &str) -> String {
    let marks = [" WARN ", " ERROR ", " DEBUG ", "panicked", " status=5", "complete=false"];
    let mut found: Vec<&str> = Vec::new();
    let mut panicked = false;
    for line in log.lines() {
        // What a panic says stands on the line below.
        if panicked || marks.iter().any(|mark| line.contains(mark)) {
            found.push(line);
        }
        panicked = line.contains("panicked");
    }
    found[found.len().saturating_sub(COMPLAINTS)..].join("\n")
}

/// A port on loopback that nobody listens at right now.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}

/// The JSON that a command printed; log lines may stand before it.
pub(crate) fn report(text: &str) -> Result<Value> {
    let json = text.find("{\n").map(|at| &text[at..]).context("it printed no JSON")?;
    Ok(serde_json::from_str(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_what_went_wrong_and_what_a_panic_said() {
        let log = "t  INFO request status=200 complete=true\n\
                   t  INFO request status=503 complete=true\n\
                   thread 'x' panicked at y.rs:1:1:\n\
                   attempt to subtract with overflow\n\
                   t  INFO request status=204 complete=true\n";
        let found = complaints(log);
        assert_eq!(found.lines().count(), 3, "{found}");
        assert!(found.ends_with("attempt to subtract with overflow"), "{found}");
    }

    #[test]
    fn counters_are_summed_over_their_labels() {
        let page =
            "# TYPE a_total counter\na_total{site=\"s1\"} 2\na_total{site=\"s2\"} 3\nb 1.5\n";
        let sums = sum_counters(page);
        assert_eq!(sums.get("a_total"), Some(&5.0));
        assert_eq!(sums.get("b"), Some(&1.5));
    }
}
