//! `havre`: the command line.
//!
//! **Invariant.** Every command says what it did on standard output and why it failed on standard
//! error, with a non-zero exit code; logs go to standard error and hold no secret.
//!
//! **Deliberately absent.** Anything but composition: the parts decide.
//!
//! **Crash.** Any command can be run again.

mod drain;
mod drill;
mod expose;
mod importing;
mod inspect;
mod keep;
mod keeper;
mod policies;
mod recover;
mod rewriting;
mod serve;
mod site;
mod statements;
mod status;
mod up;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use havre::config::{Config, NewSite};
use havre::{check, control::Subject, parties, rules};
use havre_policy::csl::SCORE_SHOWN_MIN;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
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
    /// Do the keeper's work (repair, moving shards, scrub, garbage) in a process of its own beside
    /// the gateway that runs, without the root key; the configuration says keeper.runs = "apart".
    Keeper {
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
        /// List what it shows under a framework instead, item by item. May be given several times.
        #[arg(long, value_name = "PACK", value_parser = rules::find)]
        against: Vec<&'static rules::Pack>,
        /// Print that as JSON.
        #[arg(long, requires = "against")]
        json: bool,
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
    /// Bring a bucket over from any provider that speaks S3, or OSS. Run again, it goes on where it
    /// was, and copies what has changed.
    Import(Box<importing::ImportArgs>),
    /// Exclude a party while everything is in use: from now on no shard goes to a site that answers
    /// to it, and what these sites hold is moved elsewhere and deleted there.
    Prohibit {
        #[command(flatten)]
        config: ConfigFile,
        /// The party: its name, or kind:name (operator:, owner:, jurisdiction:, alliance:).
        party: String,
        #[command(flatten)]
        exclusion: ExclusionArgs,
    },
    /// Admit a party, or a site as site:NAME, that was excluded; what was moved stays.
    Admit {
        #[command(flatten)]
        config: ConfigFile,
        /// The party, or site:NAME.
        subject: String,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Work on sites.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Move shards until each site has its share of what is stored, by the room and price that the
    /// configuration declares: after sites were added. Bounded by limits.repair_bytes_per_second.
    Rebalance {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        rebalance: RebalanceArgs,
    },
    /// Show who is excluded and how far their sites have drained.
    Drains {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Go on until nothing is left to do; then write a signed statement of how it ended.
        #[arg(long, conflicts_with = "json")]
        follow: bool,
        /// With --follow: write the statement here, where nothing may be yet, instead of into a
        /// dated file.
        #[arg(long, value_name = "FILE", requires = "follow")]
        out: Option<PathBuf>,
        #[command(subcommand)]
        command: Option<DrainsCommand>,
    },
    /// Rehearse on live data what a party could do.
    #[command(subcommand)]
    Drill(drill::DrillCommand),
    /// Look at signed statements.
    #[command(subcommand)]
    Statement(statements::StatementCommand),
    /// Delete at the sites what no object needs, once. (A running gateway does so by itself.)
    Gc {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Write packs anew in which something is dead, once, and delete the old ones at the sites. (A
    /// running gateway does so by itself, where it is worth it, and thoroughly once a week.)
    Compact {
        #[command(flatten)]
        config: ConfigFile,
        /// Every pack in which anything is dead, not only where it is worth it: what was deleted
        /// then leaves the sites.
        #[arg(long)]
        thorough: bool,
    },
    /// Put buckets under other placement policies.
    #[command(subcommand)]
    Policy(policies::PolicyCommand),
    /// Look up declared parties in public files.
    #[command(subcommand)]
    Parties(PartiesCommand),
    /// Look at objects.
    #[command(subcommand)]
    Object(ObjectCommand),
}

#[derive(Subcommand)]
enum SiteCommand {
    /// Add a site behind the others of a configuration file, after a look that it answers and holds
    /// nothing. The gateway uses it from its next start on.
    Add {
        #[command(flatten)]
        config: ConfigFile,
        /// Its permanent name.
        name: String,
        /// Where it is: a path, s3://BUCKET/FOLDER, ...
        #[arg(long)]
        url: String,
        /// The declared operator that runs it.
        #[arg(long)]
        operator: String,
        /// The jurisdiction where its storage stands: an ISO 3166 code.
        #[arg(long)]
        location: String,
        /// How much may be stored there, in 10^9 bytes.
        #[arg(long)]
        capacity_gb: Option<u64>,
        /// What a stored GB costs a month.
        #[arg(long)]
        price: Option<f64>,
        /// An option of its backend: KEY=VALUE; a secret as KEY=env:NAME or KEY=file:PATH. May be
        /// given several times.
        #[arg(long, value_name = "KEY=VALUE", value_parser = parse_option)]
        option: Vec<(String, String)>,
    },
    /// Say, signed, that a drained site holds nothing, and how to take it out of the configuration.
    Retire {
        #[command(flatten)]
        config: ConfigFile,
        /// The site's configured name.
        site: String,
        /// Write the statement here, where nothing may be yet, instead of into a dated file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Empty a site while it is in use: no new shard goes there, what it holds is moved elsewhere.
    Drain {
        #[command(flatten)]
        config: ConfigFile,
        /// The site's configured name.
        site: String,
        #[command(flatten)]
        exclusion: ExclusionArgs,
    },
}

#[derive(Subcommand)]
enum DrainsCommand {
    /// Move nothing until it is resumed, over restarts too. Closed sites stay closed.
    Pause,
    /// Go on.
    Resume,
    /// Write a signed statement of how far it got.
    State {
        /// Write it here, where nothing may be yet, instead of into a dated file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl DrainsCommand {
    async fn carry_out(self, config: &Config) -> Result<()> {
        match self {
            Self::Pause => drain::pause(config, true).await,
            Self::Resume => drain::pause(config, false).await,
            Self::State { out } => drain::state(config, out).await,
        }
    }
}

#[derive(clap::Args)]
struct ExclusionArgs {
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    /// By when the sites should be empty: a day (2027-01-31) or a time (2027-01-31T12:00:00Z).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    deadline: Option<u64>,
    /// Only estimate what it would take: shards, bytes by site, time, cost.
    #[arg(long)]
    plan: bool,
    /// With --plan: what a site charges for a GB that leaves it, as SITE=PRICE, or *=PRICE for all
    /// others. May be given several times.
    #[arg(long, value_name = "SITE=PRICE", value_parser = parse_price, requires = "plan")]
    egress_price: Vec<(String, f64)>,
    /// With --plan: print JSON.
    #[arg(long, requires = "plan")]
    json: bool,
    /// Show how far it got until the sites are empty; then write a signed statement of it.
    #[arg(long, conflicts_with = "plan")]
    follow: bool,
    /// With --follow: write the statement here, where nothing may be yet, instead of into a dated
    /// file.
    #[arg(long, value_name = "FILE", requires = "follow")]
    out: Option<PathBuf>,
}

impl ExclusionArgs {
    async fn carry_out(self, config: &Config, subject: Subject) -> Result<()> {
        if self.plan {
            let prices = self.egress_price.into_iter().collect();
            return drain::plan(config, subject, &prices, self.json).await;
        }
        let follow = self.follow.then_some(drain::Follow { statement: self.out });
        drain::exclude(config, subject, self.reason, self.deadline, follow).await
    }
}

#[derive(clap::Args)]
struct RebalanceArgs {
    /// Only estimate what it would take: shards, bytes by site, time, cost.
    #[arg(long)]
    plan: bool,
    /// With --plan: what a site charges for a GB that leaves it, as SITE=PRICE, or *=PRICE for all
    /// others. May be given several times.
    #[arg(long, value_name = "SITE=PRICE", value_parser = parse_price, requires = "plan")]
    egress_price: Vec<(String, f64)>,
    /// With --plan: print JSON.
    #[arg(long, requires = "plan")]
    json: bool,
    /// End it; what was moved stays.
    #[arg(long, conflicts_with_all = ["plan", "follow"])]
    stop: bool,
    /// Show how far it got until it is done.
    #[arg(long, conflicts_with = "plan")]
    follow: bool,
}

impl RebalanceArgs {
    async fn carry_out(self, config: &Config) -> Result<()> {
        if self.plan {
            let prices = self.egress_price.into_iter().collect();
            return drain::plan_rebalance(config, &prices, self.json).await;
        }
        drain::rebalance(config, !self.stop, self.follow).await
    }
}

/// A price, as `SITE=PRICE`.
fn parse_price(text: &str) -> Result<(String, f64), String> {
    let (site, price) = text.split_once('=').ok_or("write it as SITE=PRICE")?;
    let price: f64 = price.parse().map_err(|_| format!("{price} is no number"))?;
    if !price.is_finite() || price < 0.0 {
        return Err(format!("{price} is no price"));
    }
    Ok((site.to_owned(), price))
}

/// An option, as `KEY=VALUE`.
fn parse_option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A time in UTC as RFC 3339 has it, or a day's end, in milliseconds since 1970.
fn parse_time(text: &str) -> Result<u64, String> {
    let form = "write it as 2027-01-31 or 2027-01-31T12:00:00Z";
    let whole = if text.len() == 10 { format!("{text}T23:59:59Z") } else { text.to_owned() };
    let time: jiff::Timestamp = whole.parse().map_err(|_| form.to_owned())?;
    u64::try_from(time.as_millisecond()).map_err(|_| form.to_owned())
}

/// A party, or a site as `site:NAME`.
fn subject(text: String) -> Subject {
    match text.strip_prefix("site:") {
        Some(site) => Subject::Site(site.to_owned()),
        None => Subject::Party(text),
    }
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

fn on_site(command: SiteCommand) -> Result<()> {
    match command {
        SiteCommand::Drain { config, site, exclusion } => {
            on_runtime(exclusion.carry_out(&config.load()?, Subject::Site(site)))
        }
        SiteCommand::Retire { config, site, out } => {
            on_runtime(site::retire(&config.load()?, &site, out))
        }
        SiteCommand::Add {
            config,
            name,
            url,
            operator,
            location,
            capacity_gb,
            price,
            option: options,
        } => {
            let new = NewSite { name, url, operator, location, capacity_gb, price, options };
            on_runtime(site::add(&config.config, &new))
        }
    }
}

fn run(command: Command) -> Result<()> {
    havre_seal::forbid_core_dumps()?;
    havre_sites::system::allow_open_files();
    match command {
        Command::Up { data, listen, admin } => on_runtime(up::up(&data, listen, admin)),
        Command::Serve { config } => on_runtime(serve::serve(&config.load()?, serve::announce)),
        Command::Keeper { config } => on_runtime(keeper::keep(&config.load()?)),
        Command::Status { config, json } => on_runtime(status::status(&config.load()?, json)),
        Command::Check { config, against, json } => {
            let config = config.load()?;
            match against.as_slice() {
                [] => say(&check::explain(&config)),
                packs => check_against(&config, packs, json),
            }
        }
        Command::Exposure { config, json, svg, all, what_if } => {
            let form = if json { expose::Form::Json } else { expose::Form::Table { all } };
            on_runtime(expose::expose(&config.load()?, form, svg.as_deref(), &what_if))
        }
        Command::Recover { config, root_key, accept_loss } => {
            let config = config.load()?;
            on_runtime(recover::recover(&config, root_key.as_deref().map(Path::new), accept_loss))
        }
        Command::Import(arguments) => on_runtime(importing::import(*arguments)),
        Command::Prohibit { config, party, exclusion } => {
            on_runtime(exclusion.carry_out(&config.load()?, Subject::Party(party)))
        }
        Command::Admit { config, subject: text, reason } => {
            on_runtime(drain::admit(&config.load()?, subject(text), reason))
        }
        Command::Site(command) => on_site(command),
        Command::Rebalance { config, rebalance } => {
            on_runtime(rebalance.carry_out(&config.load()?))
        }
        Command::Drains { config, json, follow, out, command } => {
            let config = config.load()?;
            match command {
                Some(command) => on_runtime(command.carry_out(&config)),
                None if follow => {
                    on_runtime(drain::follow(&config, drain::Follow { statement: out }))
                }
                None => on_runtime(drain::show(&config, json)),
            }
        }
        Command::Drill(command) => on_runtime(drill::drill(command)),
        Command::Statement(command) => statements::statement(command),
        Command::Gc { config } => on_runtime(keep::collect_once(&config.load()?)),
        Command::Policy(policy) => on_runtime(policy.carry_out()),
        Command::Compact { config, thorough } => {
            let config = config.load()?;
            on_runtime(rewriting::compact_once(&config, thorough))
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

/// Prints what the configuration shows under each pack.
fn check_against(config: &Config, packs: &[&'static rules::Pack], json: bool) -> Result<()> {
    let observed = rules::Observed::look(config);
    let reports: Result<Vec<_>, _> =
        packs.iter().map(|pack| rules::assess(config, observed, pack)).collect();
    let reports = reports?;
    if json {
        return say(&format!("{}\n", serde_json::to_string_pretty(&reports)?));
    }
    let tables: Vec<String> = reports.iter().map(rules::table).collect();
    say(&tables.join("\n"))
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
    // Boxed, so that the runtime's entry is compiled once and not for each command.
    let task: Pin<Box<dyn Future<Output = Result<()>> + '_>> = Box::pin(task);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(task)
}
