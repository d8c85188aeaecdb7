//! `havre`: the command line.
//!
//! **Invariant.** Every command says what it did on standard output and why it failed on standard
//! error, with a non-zero exit code; logs go to standard error and hold no secret.
//!
//! **Deliberately absent.** Anything but composition: the parts decide.
//!
//! **Crash.** Any command can be run again.

mod expose;
mod inspect;
mod keep;
mod recover;
mod serve;
mod status;
mod up;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use havre::{check, config::Config, parties};
use havre_policy::csl::SCORE_SHOWN_MIN;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Half a MiB of fresh memory for each window of each shard: the system's allocator maps and unmaps
/// it anew each time, and the page faults cost as much as both locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// S3 storage that no provider, operator or government can read, withhold or quietly rewrite.
#[derive(Parser)]
#[command(
    name = "havre",
    version,
    about = "S3 storage that no provider, operator or government can read, withhold or quietly \
             rewrite",
    max_term_width = 100
)]
struct Cli {
    /// How logs are written to standard error. What is logged is set by HAVRE_LOG (default: info).
    #[arg(long, global = true, value_enum, default_value = "text", env = "HAVRE_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Set up a trial gateway with six local sites, and serve it; started again it goes on with the
    /// same data.
    Up {
        /// Where everything is kept.
        #[arg(long, default_value = "havre-data")]
        data: PathBuf,
        /// Serve S3 here instead of where the configuration says (127.0.0.1:9000).
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// Serve health and metrics here instead (127.0.0.1:9001).
        #[arg(long)]
        admin: Option<SocketAddr>,
    },
    /// Serve S3 as a configuration says.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show how the running gateway and its sites do.
    Status {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain a configuration without starting: who could read, who could cut off, what is
    /// refused.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Name who could read and who could cut off, and why: per policy and per bucket.
    Exposure {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Draw it into this file as well.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Show every coalition, not the first of each list.
        #[arg(long)]
        all: bool,
        /// Answer as if: remove-site=NAME, add-site=NAME:OPERATOR:CODE,
        /// remove-owner=OPERATOR:OWNER, add-owner=OPERATOR:OWNER:PERCENT:CODE,
        /// add-law=OPERATOR:CODE, remove-law=OPERATOR:CODE, add-alliance=NAME:CODE,CODE,
        /// remove-alliance=NAME, control=majority|secnumcloud, or a file of such facts. May be
        /// given several times.
        #[arg(long, value_name = "CHANGE|FILE")]
        what_if: Vec<String>,
    },
    /// Rebuild the catalog from the sites and the root key; can be interrupted and run again.
    Recover {
        #[command(flatten)]
        config: ConfigFile,
        /// Use this root key file instead of the configured one.
        #[arg(long)]
        root_key: Option<PathBuf>,
        /// Rebuild what can be read even when acknowledged packs cannot be.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Delete at the sites what no object needs, once. (A running gateway does so by itself.)
    Gc {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Look up declared parties in public files.
    #[command(subcommand)]
    Parties(PartiesCommand),
    /// Look at objects.
    #[command(subcommand)]
    Object(ObjectCommand),
}

#[derive(Subcommand)]
enum PartiesCommand {
    /// Propose facts; nothing is changed.
    #[command(subcommand)]
    Import(ImportCommand),
}

#[derive(Subcommand)]
enum ImportCommand {
    /// From GLEIF's level 1 (who is who) and level 2 (who consolidates whom), as CSV: by LEI, and
    /// by name for operators without one.
    Gleif {
        #[command(flatten)]
        config: ConfigFile,
        /// Files of either level, unpacked.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Write the proposal here, where nothing may be yet.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// From the Consolidated Screening List, as CSV or JSON: by names, each match with its score.
    Csl {
        #[command(flatten)]
        config: ConfigFile,
        /// The list.
        file: PathBuf,
        /// Show what scores at least this, of 100.
        #[arg(long, default_value_t = SCORE_SHOWN_MIN)]
        #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
        score_min: u8,
        /// Write the proposal here, where nothing may be yet.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum ObjectCommand {
    /// Show where an object's shards are, and in what state.
    Inspect {
        #[command(flatten)]
        config: ConfigFile,
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// Extents to look at, at most.
        #[arg(long, default_value_t = 16)]
        extents: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, default_value = "havre-data/havre.toml", env = "HAVRE_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config> {
        Ok(Config::load(&self.config)?)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_standard_error(cli.log_format);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("havre: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints `text`; a reader that has seen enough (`| head`) is no error.
fn say(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn log_to_standard_error(format: LogFormat) {
    let filter = EnvFilter::try_from_env("HAVRE_LOG").unwrap_or_else(|_| {
        // s3s and opendal log requests with names in them: only Havre's own words by default (I3).
        EnvFilter::new(
            "warn,havre=info,havre_server=info,havre_engine=info,havre_keeper=info,\
                        havre_sites=info,havre_catalog=info,s3s=off,opendal=off",
        )
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn run(command: Command) -> Result<()> {
    havre_seal::forbid_core_dumps()?;
    havre_sites::system::allow_open_files();
    match command {
        Command::Up { data, listen, admin } => on_runtime(up::up(&data, listen, admin)),
        Command::Serve { config } => {
            let config = config.load()?;
            on_runtime(serve::serve(&config, serve::announce))
        }
        Command::Status { config, json } => on_runtime(status::status(&config.load()?, json)),
        Command::Check { config } => say(&check::explain(&config.load()?)),
        Command::Exposure { config, json, svg, all, what_if } => {
            let form = if json { expose::Form::Json } else { expose::Form::Table { all } };
            on_runtime(expose::expose(&config.load()?, form, svg.as_deref(), &what_if))
        }
        Command::Recover { config, root_key, accept_loss } => {
            let config = config.load()?;
            on_runtime(recover::recover(&config, root_key.as_deref().map(Path::new), accept_loss))
        }
        Command::Gc { config } => {
            let config = config.load()?;
            on_runtime(keep::collect_once(&config))
        }
        Command::Parties(PartiesCommand::Import(import)) => {
            let (proposal, out) = match import {
                ImportCommand::Gleif { config, files, out } => {
                    (parties::import_gleif(&config.load()?, &files)?, out)
                }
                ImportCommand::Csl { config, file, score_min, out } => {
                    (parties::import_csl(&config.load()?, &file, score_min)?, out)
                }
            };
            propose(&proposal, out.as_deref())
        }
        Command::Object(ObjectCommand::Inspect { config, bucket, key, extents, json }) => {
            let config = config.load()?;
            on_runtime(inspect::inspect(&config, &bucket, &key, extents, json))
        }
    }
}

/// Prints a proposal, or writes it to a new file.
fn propose(proposal: &str, out: Option<&Path>) -> Result<()> {
    let Some(out) = out else { return say(proposal) };
    let new = std::fs::OpenOptions::new().write(true).create_new(true).open(out);
    new.and_then(|mut file| file.write_all(proposal.as_bytes()))
        .with_context(|| format!("write the proposal {}", out.display()))?;
    say(&format!(
        "wrote {}: look at it, and ask what it would mean with --what-if\n",
        out.display()
    ))
}

fn on_runtime(task: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(task)
}
