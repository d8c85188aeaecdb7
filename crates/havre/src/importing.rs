//! `havre import`: a bucket from another provider.
//!
//! **Invariant.** Secrets come from the environment and from where the configuration says, never
//! from the command line; names are shown on the terminal and never logged. The exit code is 0 only
//! when the import came to its end and nothing failed.
//!
//! **Deliberately absent.** The import itself (`havre::import`).
//!
//! **Crash.** The same command goes on.

use anyhow::{Context, Result, bail};
use havre::config::{Config, Credential as Declared};
use havre::import::{
    Credential, Dialect, End, Import, Mode, Place, Progress, Report, Rules, Side, Tally,
    WORKERS_MAX, run,
};
use havre_model::ports::Ports;
use http::Uri;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Between two looks at how far it got, on a terminal and elsewhere.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// What `havre import` takes.
#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    config: crate::ConfigFile,
    /// The source: s3://BUCKET, oss://BUCKET, or either with /PREFIX, which keys have to begin
    /// with.
    #[arg(long, value_name = "URL", value_parser = parse_from)]
    from: From,
    /// The bucket to bring it to, under the same keys.
    #[arg(long, value_name = "BUCKET")]
    to: String,
    /// The source's endpoint, where it is not AWS or Alibaba Cloud.
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    endpoint: Option<Uri>,
    /// The source's region; otherwise AWS_REGION, AWS_DEFAULT_REGION, us-east-1.
    #[arg(long)]
    region: Option<String>,
    /// The environment variable with the source's access key [default: AWS_ACCESS_KEY_ID, or
    /// OSS_ACCESS_KEY_ID]
    #[arg(long, value_name = "NAME", requires = "secret_key_env")]
    access_key_env: Option<String>,
    /// The one with its secret key [default: AWS_SECRET_ACCESS_KEY, or OSS_ACCESS_KEY_SECRET]
    #[arg(long, value_name = "NAME", requires = "access_key_env")]
    secret_key_env: Option<String>,
    /// The one with the session token of a temporary key [default: AWS_SESSION_TOKEN, or
    /// OSS_SESSION_TOKEN, where the keys are the default too]
    #[arg(long, value_name = "NAME")]
    session_token_env: Option<String>,
    /// The source's bucket stands in the path, not in the host's name (MinIO, Ceph and others).
    #[arg(long)]
    path_style: bool,
    /// Certificate authorities (PEM) to trust for the source, instead of the system's.
    #[arg(long, value_name = "FILE")]
    source_ca: Option<PathBuf>,
    /// The tenant that the bucket is of, where the configuration has several.
    #[arg(long)]
    tenant: Option<String>,
    /// The gateway's URL, where it is not the configuration's first listener on this host.
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    gateway: Option<Uri>,
    /// Certificate authorities (PEM) to trust for the gateway, instead of the system's.
    #[arg(long, value_name = "FILE")]
    gateway_ca: Option<PathBuf>,
    /// Make the bucket, under the default policy, if there is none.
    #[arg(long)]
    create: bool,
    /// Only say what would be done.
    #[arg(long, visible_alias = "dry-run", conflicts_with_all = ["verify", "create"])]
    plan: bool,
    /// Read back what was copied, and compare the bytes of what was there already too.
    #[arg(long)]
    verify: bool,
    /// Write over what others wrote into the bucket after the source's last change.
    #[arg(long)]
    overwrite: bool,
    /// Do not take the source's ETags for MD5s, though they look like it.
    #[arg(long)]
    etags_are_no_md5: bool,
    /// Objects at once.
    #[arg(long, default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX as i64))]
    workers: u16,
    /// Bytes a second to read at the source, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    bytes_per_second: Option<u64>,
    /// The journal [default: a file of its own in imports/ of the gateway's data directory]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// A source as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct From {
    dialect: Dialect,
    bucket: String,
    prefix: String,
}

fn parse_from(text: &str) -> Result<From, String> {
    let (scheme, rest) = text.split_once("://").ok_or("write it as s3://BUCKET/PREFIX")?;
    let dialect = match scheme {
        "s3" => Dialect::Aws,
        "oss" => Dialect::Oss,
        other => return Err(format!("{other} is not s3 or oss")),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['?', '#', '@', '%']) {
        return Err("it names no bucket".to_owned());
    }
    Ok(From { dialect, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn parse_endpoint(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if plain && !authority.as_str().contains('@') => {
            Ok(uri)
        }
        _ => Err("write it as https://HOST or https://HOST:PORT".to_owned()),
    }
}

/// Brings a bucket over and says what came of it.
pub(crate) async fn import(arguments: ImportArgs) -> Result<()> {
    let config = arguments.config.load()?;
    let json = arguments.json;
    let import = compose(&arguments, &config)?;
    if let Some(folder) = import.journal.parent().filter(|_| import.mode != Mode::Plan) {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let ports = havre_sites::system::ports();
    let tally = Arc::new(Tally::default());
    let begun = ports.clock.elapsed();
    let report = tokio::select! {
        report = run(&import, &tally, &ports, crate::serve::stop_signal()) => report,
        () = show(&tally, &ports) => unreachable!("it is shown for as long as it goes on"),
    };
    let report = report.context("import")?;
    let seconds = ports.clock.elapsed().saturating_sub(begun).as_secs_f64();
    match json {
        true => crate::say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
        false => crate::say(&told(&report, &import, seconds)?)?,
    }
    match report.end {
        End::Stopped => bail!("stopped; the same command goes on where it was"),
        End::GaveUp => bail!("given up: too many objects failed, one after another"),
        _ if report.failed > 0 => bail!("{} objects failed", report.failed),
        _ => Ok(()),
    }
}

fn compose(arguments: &ImportArgs, config: &Config) -> Result<Import> {
    let mut import = Import {
        source: source(arguments)?,
        destination: destination(arguments, config)?,
        prefix: arguments.from.prefix.clone(),
        journal: PathBuf::new(),
        rules: Rules {
            overwrite: arguments.overwrite,
            verify: arguments.verify,
            etags_are_no_md5: arguments.etags_are_no_md5,
        },
        mode: match arguments.plan {
            true => Mode::Plan,
            false => {
                Mode::Copy { create: arguments.create, survey: std::io::stderr().is_terminal() }
            }
        },
        workers: usize::from(arguments.workers),
        bytes_per_second: arguments.bytes_per_second,
    };
    import.journal = match &arguments.journal {
        Some(path) => path.clone(),
        None => {
            let name = format!("{}.journal", hex::encode(&import.id()[..8]));
            config.gateway.data.join("imports").join(name)
        }
    };
    Ok(import)
}

fn source(arguments: &ImportArgs) -> Result<Side> {
    let From { dialect, bucket, .. } = &arguments.from;
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let region = match dialect {
        Dialect::Aws => read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION")),
        Dialect::Oss => None,
    };
    let region = match arguments.region.clone().or(region) {
        Some(region) => region,
        None if *dialect == Dialect::Aws => "us-east-1".to_owned(),
        None => bail!("say --region, as in cn-hangzhou or eu-central-1"),
    };
    let endpoint = match (&arguments.endpoint, dialect) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Dialect::Aws) => parse_region(&format!("https://s3.{region}.amazonaws.com"))?,
        (None, Dialect::Oss) => parse_region(&format!("https://oss-{region}.aliyuncs.com"))?,
    };
    let [key, secret, token] = match dialect {
        Dialect::Aws => ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
        Dialect::Oss => ["OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"],
    };
    let demand = |name: &str| {
        read(name).with_context(|| format!("the environment variable {name} is not set"))
    };
    let token = match (&arguments.session_token_env, &arguments.access_key_env) {
        (Some(name), _) => Some(demand(name)?),
        (None, Some(_)) => None,
        (None, None) => read(token),
    };
    let credential = Credential {
        access_key: demand(arguments.access_key_env.as_deref().unwrap_or(key))?,
        secret: demand(arguments.secret_key_env.as_deref().unwrap_or(secret))?.into(),
        token: token.map(Zeroizing::new),
    };
    let path_style = arguments.path_style || stands_in_path(&endpoint, bucket);
    let place = Place { endpoint, bucket: bucket.clone(), path_style };
    let authorities = arguments.source_ca.clone();
    Ok(Side { place, dialect: *dialect, credential, region, authorities })
}

fn parse_region(endpoint: &str) -> Result<Uri> {
    parse_endpoint(endpoint).ok().context("that region is none")
}

/// Whether a bucket cannot stand in the host's name: before an address there is no room, and a
/// certificate for all buckets holds for none with a dot.
fn stands_in_path(endpoint: &Uri, bucket: &str) -> bool {
    let host = endpoint.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    address || host == "localhost" || bucket.contains('.')
}

fn destination(arguments: &ImportArgs, config: &Config) -> Result<Side> {
    let endpoint = match &arguments.gateway {
        Some(endpoint) => endpoint.clone(),
        None => listener(config)?,
    };
    let declared = credential_of(config, arguments.tenant.as_deref())?;
    let secret = declared.secret.resolve().with_context(|| {
        format!(
            "read the secret of access key {}, with which the gateway is asked",
            declared.access_key
        )
    })?;
    let credential = Credential {
        access_key: declared.access_key.clone(),
        secret: Zeroizing::new(secret.expose().to_owned()),
        token: None,
    };
    let place = Place { endpoint, bucket: arguments.to.clone(), path_style: true };
    let (region, authorities) = (config.gateway.region.clone(), arguments.gateway_ca.clone());
    Ok(Side { place, dialect: Dialect::Aws, credential, region, authorities })
}

/// The gateway on this host, in the clear: whose name a certificate is for, nobody here knows.
fn listener(config: &Config) -> Result<Uri> {
    let plain = config.listeners.iter().find(|listener| listener.tls.is_none());
    let plain = plain.context("all listeners speak TLS: say --gateway https://NAME:PORT")?;
    let mut address = plain.address;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}").parse()?)
}

fn credential_of<'c>(config: &'c Config, tenant: Option<&str>) -> Result<&'c Declared> {
    let tenant = match (tenant, config.tenants.as_slice()) {
        (Some(tenant), _) => tenant,
        (None, [only]) => &only.name,
        (None, _) => bail!("there are several tenants: say --tenant"),
    };
    let found = config.credentials.iter().find(|credential| credential.tenant == tenant);
    found.with_context(|| format!("tenant {tenant} has no credential in the configuration"))
}

/// Shows how far it got, for as long as it is polled.
async fn show(tally: &Tally, ports: &Ports) {
    let terminal = std::io::stderr().is_terminal();
    let bar = ProgressBar::with_draw_target(
        None,
        match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        },
    );
    let counting = "{spinner} {bytes} {bytes_per_sec} {msg}";
    let counted = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}";
    let style = |form| ProgressStyle::with_template(form).expect("it is a template");
    bar.set_style(style(counting));
    let begun = ports.clock.elapsed();
    loop {
        ports.runtime.sleep(if terminal { PROGRESS_PAUSE } else { LINE_PAUSE }).await;
        let progress = tally.progress();
        if let Some(bytes) = progress.expected_bytes.filter(|_| bar.length().is_none()) {
            bar.set_length(bytes);
            bar.set_style(style(counted));
        }
        bar.set_position(progress.bytes);
        bar.set_message(line(&progress));
        if !terminal {
            let seconds = ports.clock.elapsed().saturating_sub(begun).as_secs_f64();
            let rate = rate(progress.copied_bytes, seconds);
            eprintln!(
                "{}, {} bytes copied, {rate:.1} MB/s",
                line(&progress),
                progress.copied_bytes
            );
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { objects, failed, expected_objects, .. } = progress;
    let of = expected_objects.map_or_else(String::new, |all| format!(" of {all}"));
    format!("{objects}{of} objects, {failed} failed")
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e6 / seconds.max(0.001)
}

/// A name as it can be shown: a terminal takes orders in control characters.
fn shown(key: &str) -> String {
    key.escape_debug().to_string()
}

fn told(report: &Report, import: &Import, seconds: f64) -> Result<String> {
    let mut text = String::new();
    let plan = import.mode == Mode::Plan;
    for failure in &report.failures {
        writeln!(text, "FAILED {}: {}", shown(&failure.key), shown(&failure.reason))?;
    }
    let unlisted = report.failed - report.failures.len() as u64;
    if unlisted > 0 {
        writeln!(text, "FAILED {unlisted} more")?;
    }
    for key in &report.kept_keys {
        writeln!(text, "KEPT {}: it was written here after the source's last change", shown(key))?;
    }
    for key in &report.gone_keys {
        writeln!(text, "GONE {}: it was listed, and is not at the source any more", shown(key))?;
    }
    let Report { copied, copied_bytes, unchanged, unchanged_bytes, kept, gone, failed, .. } =
        report;
    let verb = if plan { "to copy" } else { "copied" };
    writeln!(text, "{verb:<12}{copied:>12} objects {copied_bytes:>18} bytes")?;
    writeln!(text, "{:<12}{unchanged:>12} objects {unchanged_bytes:>18} bytes", "unchanged")?;
    for (word, objects) in [("kept", kept), ("gone", gone), ("failed", failed)] {
        writeln!(text, "{word:<12}{objects:>12} objects")?;
    }
    if plan {
        return Ok(text);
    }
    if report.uploads_ended > 0 {
        writeln!(text, "{} uploads of an interrupted run were ended", report.uploads_ended)?;
    }
    writeln!(text, "{seconds:.1} s, {:.1} MB/s", rate(*copied_bytes, seconds))?;
    let left = report.left_behind;
    for (objects, what) in [
        (left.tagged, "have tags"),
        (left.in_a_storage_class, "are in another storage class"),
        (left.versioned, "are versions, and may have older ones"),
        (left.locked, "are locked or held"),
        (left.with_hidden_metadata, "have metadata that the source does not show"),
    ] {
        if objects > 0 {
            writeln!(text, "not carried over: {objects} objects {what}")?;
        }
    }
    writeln!(text, "never carried over: ACLs, tags, storage classes, locks, older versions")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_scheme_a_bucket_and_a_prefix() {
        let from = parse_from("s3://b/a/b c").unwrap();
        assert_eq!((from.dialect, &*from.bucket, &*from.prefix), (Dialect::Aws, "b", "a/b c"));
        assert_eq!(parse_from("oss://b").unwrap().dialect, Dialect::Oss);
        for text in ["b", "gcs://b", "s3://", "s3:///a", "s3://key:secret@b"] {
            assert!(parse_from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_a_scheme_and_a_host() {
        assert!(parse_endpoint("https://s3.example.org:9000/").is_ok());
        for text in ["s3.example.org", "ftp://a", "https://a/b", "https://u:p@a", "http://a?b"] {
            assert!(parse_endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bucket_stands_in_the_path_where_it_cannot_stand_in_the_host() {
        let check = |endpoint: &str, bucket| stands_in_path(&endpoint.parse().unwrap(), bucket);
        assert!(check("http://127.0.0.1:9000", "b") && check("http://[::1]:9000", "b"));
        assert!(check("http://localhost:9000", "b") && check("https://s3.example.org", "a.b"));
        assert!(!check("https://s3.example.org", "b"));
    }

    #[test]
    fn names_give_no_orders_to_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jü\n"), "a\\u{1b}[2Jü\\n");
    }
}
