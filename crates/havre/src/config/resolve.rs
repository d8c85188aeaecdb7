//! From the file's keys to a sound [`Config`], or to the line that is wrong.
//!
//! **Invariant.** Every check that the configuration promises is here, in the order of the file's
//! parts; nothing is put right silently.
//!
//! **Deliberately absent.** Parties and policies: `parties`.
//!
//! **Crash.** Reads the file system for paths' identity, and writes nothing.

use super::{
    Admin, Config, ConfigError, Credential, Gateway, Keeper, KeeperRuns, Limits, Listener,
    OptionValue, SecretRef, Site, SiteLimits, Tenant, Tls,
    declared::facts,
    error::Source,
    parties::policies,
    raw::{
        RawAdmin, RawConfig, RawCredential, RawGateway, RawKeeper, RawKeeperRuns, RawLimits,
        RawListen, RawOption, RawSecret, RawSite, RawSiteLimits, RawTls,
    },
    storage::{Storage, unknown_option},
};
use havre_policy::spread::Room;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::Spanned;

const REGION: &str = "us-east-1";
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
const NAME_BYTES_MAX: usize = 63;
const GB: u64 = 1_000_000_000;
/// Of whatever currency, for a GB and month.
const PRICE_MAX: f64 = 1e6;

pub(super) fn resolve(source: &Source<'_>, raw: RawConfig) -> Result<Config, ConfigError> {
    let base = base(source.file);
    let gateway = gateway(source, &base, &raw.gateway)?;
    let listeners = listeners(source, &base, &gateway, &raw.listen)?;
    let admin = admin(source, &listeners, &raw.admin)?;
    let keeper = keeper(source, &listeners, admin, &raw.keeper)?;
    unique(source, "site", raw.site.iter().map(|site| &site.name))?;
    unique(source, "operator", raw.operator.iter().map(|operator| &operator.name))?;
    let sites = sites(source, &base, &raw.site)?;
    let facts = facts(source, &raw)?;
    let policies = policies(source, &facts, &raw.policy)?;
    let default_policy = &raw.gateway.get_ref().default_policy;
    if !policies.iter().any(|policy| policy.name == *default_policy.get_ref()) {
        let name = default_policy.get_ref();
        let reason = format!("the default policy {name:?} is not declared; add a [[policy]]");
        return Err(source.error(&default_policy.span(), reason));
    }
    let tenants = raw.tenant.iter().map(|tenant| &tenant.name);
    unique(source, "tenant", tenants.clone())?;
    for name in tenants {
        check_name(source, "tenant", name)?;
    }
    let tenants: Vec<Tenant> =
        raw.tenant.iter().map(|t| Tenant { name: t.name.get_ref().clone() }).collect();
    let credentials = credentials(source, &base, &tenants, raw.credential)?;
    let limits = limits(source, &raw.limits)?;
    Ok(Config {
        file: source.file.to_owned(),
        gateway,
        listeners,
        admin,
        sites,
        policies,
        tenants,
        credentials,
        keeper,
        limits,
        facts,
        digest: [0; 32],
    })
}

/// The folder that relative paths start at.
fn base(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Refuses names that differ at most in case, with both lines.
pub(super) fn unique<'a>(
    source: &Source<'_>,
    what: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
) -> Result<(), ConfigError> {
    let mut seen: BTreeMap<String, &Spanned<String>> = BTreeMap::new();
    for name in names {
        if let Some(first) = seen.insert(name.get_ref().trim().to_lowercase(), name) {
            let line = source.line(&first.span());
            let reason = format!(
                "{what} {:?} is declared twice, first at line {line}; give one of them another \
                 name",
                name.get_ref()
            );
            return Err(source.error(&name.span(), reason));
        }
    }
    Ok(())
}

pub(super) fn check_name(
    source: &Source<'_>,
    what: &str,
    name: &Spanned<String>,
) -> Result<(), ConfigError> {
    let text = name.get_ref();
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(sound) {
        let reason = format!(
            "{text:?} is no name of a {what}; use 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' \
             and '.'"
        );
        return Err(source.error(&name.span(), reason));
    }
    Ok(())
}

fn gateway(
    source: &Source<'_>,
    base: &Path,
    whole: &Spanned<RawGateway>,
) -> Result<Gateway, ConfigError> {
    let raw = whole.get_ref();
    let data = base.join(&raw.data);
    let catalog = match &raw.catalog {
        Some(path) => base.join(path),
        None => data.join("catalog.sqlite"),
    };
    let root_key = match (&raw.root_key_file, &raw.root_key_env) {
        (Some(file), None) => SecretRef::File(base.join(file.get_ref())),
        (None, Some(name)) => SecretRef::Env(name.get_ref().clone()),
        (Some(_), Some(second)) => {
            let reason = "root_key_file and root_key_env are both given; keep one";
            return Err(source.error(&second.span(), reason));
        }
        (None, None) => {
            let reason = "the root key is missing; give root_key_file = \"PATH\" or root_key_env = \
                          \"NAME\"";
            return Err(source.error(&whole.span(), reason));
        }
    };
    let region = raw.region.as_ref().map_or(REGION, |region| region.get_ref());
    if let Some(span) = raw.region.as_ref().map(Spanned::span)
        && !is_label(region)
    {
        let reason = format!("{region:?} is no region; use lower-case letters, digits and '-'");
        return Err(source.error(&span, reason));
    }
    for domain in &raw.domains {
        if !domain.get_ref().split('.').all(is_label) {
            let name = domain.get_ref();
            let reason = format!("{name:?} is no domain; write it in lower case, without port");
            return Err(source.error(&domain.span(), reason));
        }
    }
    Ok(Gateway {
        data,
        catalog,
        root_key,
        default_policy: raw.default_policy.get_ref().clone(),
        region: region.to_owned(),
        domains: raw.domains.iter().map(|domain| domain.get_ref().clone()).collect(),
    })
}

fn is_label(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(sound)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn address(source: &Source<'_>, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
    text.get_ref().parse().map_err(|_| {
        let reason = format!(
            "{:?} is no address; write an IP address and a port, such as \"127.0.0.1:9000\" or \
             \"[::]:9000\"",
            text.get_ref()
        );
        source.error(&text.span(), reason)
    })
}

fn listeners(
    source: &Source<'_>,
    base: &Path,
    gateway: &Gateway,
    raw: &[RawListen],
) -> Result<Vec<Listener>, ConfigError> {
    if raw.is_empty() {
        let reason = "no listener is declared; add [[listen]] with address = \"127.0.0.1:9000\"";
        return Err(source.whole(reason));
    }
    unique(source, "listener", raw.iter().map(|listen| &listen.address))?;
    let listener = |listen: &RawListen| {
        let address = address(source, &listen.address)?;
        let tls = listen.tls.as_ref();
        let tls = tls.map(|tls| self::tls(source, base, gateway, address, tls)).transpose()?;
        Ok(Listener { address, tls })
    };
    raw.iter().map(listener).collect()
}

fn tls(
    source: &Source<'_>,
    base: &Path,
    gateway: &Gateway,
    address: SocketAddr,
    raw: &Spanned<RawTls>,
) -> Result<Tls, ConfigError> {
    let RawTls { certificate_file, key_file, self_signed, names } = raw.get_ref();
    match (certificate_file, key_file, self_signed) {
        (Some(certificate), Some(key), false) if names.is_empty() => {
            Ok(Tls::Files { certificate: base.join(certificate), key: base.join(key) })
        }
        (None, None, true) => {
            let mut names = names.clone();
            if names.is_empty() {
                names.push("localhost".to_owned());
                names.push(Ipv4Addr::LOCALHOST.to_string());
                if !address.ip().is_unspecified() && !address.ip().is_loopback() {
                    names.push(address.ip().to_string());
                }
                for domain in &gateway.domains {
                    names.extend([domain.clone(), format!("*.{domain}")]);
                }
            }
            Ok(Tls::SelfSigned { names })
        }
        _ => {
            let reason = "tls is either certificate_file and key_file, or self_signed = true \
                          (with names = [...] if wanted)";
            Err(source.error(&raw.span(), reason))
        }
    }
}

fn admin(
    source: &Source<'_>,
    listeners: &[Listener],
    raw: &RawAdmin,
) -> Result<Admin, ConfigError> {
    let address = match &raw.address {
        Some(text) => self::address(source, text)?,
        None => ADMIN,
    };
    let span = raw.address.as_ref().map_or(0..0, Spanned::span);
    let admin = Admin { address, allow_remote: raw.allow_remote };
    check_admin(source, "admin", listeners, admin, &span)?;
    Ok(admin)
}

fn check_admin(
    source: &Source<'_>,
    whose: &str,
    listeners: &[Listener],
    admin: Admin,
    span: &Range<usize>,
) -> Result<(), ConfigError> {
    let Admin { address, allow_remote } = admin;
    if !address.ip().is_loopback() && !allow_remote {
        let reason = format!(
            "the {whose} listener at {address} could be reached from elsewhere, and it asks for no \
             credential; use 127.0.0.1, or say allow_remote = true behind a firewall"
        );
        return Err(source.error(span, reason));
    }
    if listeners.iter().any(|listener| listener.address == address && address.port() != 0) {
        let reason = format!("the {whose} listener's address {address} is that of an S3 listener");
        return Err(source.error(span, reason));
    }
    Ok(())
}

fn keeper(
    source: &Source<'_>,
    listeners: &[Listener],
    admin: Admin,
    raw: &RawKeeper,
) -> Result<Keeper, ConfigError> {
    let runs = match raw.runs {
        RawKeeperRuns::Inside => KeeperRuns::Inside,
        RawKeeperRuns::Apart => KeeperRuns::Apart,
    };
    let Some(text) = &raw.address else { return Ok(Keeper { runs, admin: None }) };
    let (address, span) = (address(source, text)?, text.span());
    if runs == KeeperRuns::Inside {
        let reason = "a keeper inside the gateway has no listener of its own; say runs = \
                      \"apart\", or leave the address out";
        return Err(source.error(&span, reason));
    }
    if address == admin.address && address.port() != 0 {
        let reason = format!("the keeper's address {address} is that of the admin listener");
        return Err(source.error(&span, reason));
    }
    let own = Admin { address, allow_remote: raw.allow_remote };
    check_admin(source, "keeper's", listeners, own, &span)?;
    Ok(Keeper { runs, admin: Some(own) })
}

fn sites(source: &Source<'_>, base: &Path, raw: &[RawSite]) -> Result<Vec<Site>, ConfigError> {
    let mut sites: Vec<Site> = Vec::with_capacity(raw.len());
    for (position, declared) in raw.iter().enumerate() {
        check_name(source, "site", &declared.name)?;
        let site = site(source, base, declared)?;
        let same = sites.iter().position(|other| other.storage.overlaps(&site.storage));
        if let Some(other) = same {
            let url = &declared.url;
            let reason = format!(
                "site {:?} is the same storage as site {:?} at line {}, or one lies within the \
                 other: two shards there would be lost, and read, together; give each site storage \
                 of its own",
                site.name,
                sites[other].name,
                source.line(&raw[other].url.span())
            );
            return Err(source.error(&url.span(), reason));
        }
        debug_assert_eq!(position, sites.len(), "positions are those of the file");
        sites.push(site);
    }
    Ok(sites)
}

fn site(source: &Source<'_>, base: &Path, raw: &RawSite) -> Result<Site, ConfigError> {
    let mut options = BTreeMap::new();
    let mut plain = BTreeMap::new();
    for (key, value) in &raw.options {
        if let Some(reason) = unknown_option(raw.url.get_ref(), key) {
            return Err(source.error(&value.span(), reason));
        }
        let option = match value.get_ref() {
            RawOption::Value(_) if is_secret(key) => {
                let reason = format!(
                    "option {key} is a secret and does not belong into this file; write {key} = {{ \
                     env = \"NAME\" }} or {{ file = \"PATH\" }}"
                );
                return Err(source.error(&value.span(), reason));
            }
            RawOption::Value(text) if is_path(raw.url.get_ref(), key) => {
                OptionValue::Plain(absolute(source, base, text, &value.span())?)
            }
            RawOption::Value(text) => {
                plain.insert(key.clone(), text.clone());
                OptionValue::Plain(text.clone())
            }
            RawOption::Secret(RawSecret { env, file }) => {
                let (env, file) = (env.as_deref(), file.as_deref());
                let secret = secret(base, env, file).ok_or_else(|| {
                    let reason = format!("option {key}: give env = \"NAME\" or file = \"PATH\"");
                    source.error(&value.span(), reason)
                })?;
                OptionValue::Secret(secret)
            }
        };
        options.insert(key.clone(), option);
    }
    let url = raw.url.get_ref();
    let storage = Storage::new(url, &plain, base);
    let storage = storage.map_err(|reason| source.error(&raw.url.span(), reason))?;
    let url = match &storage {
        Storage::Directory { .. } if !url.starts_with("file:") => {
            absolute(source, base, url, &raw.url.span())?
        }
        _ => url.clone(),
    };
    let limits = site_limits(source, &raw.limits)?;
    let room = room(source, raw)?;
    Ok(Site { name: raw.name.get_ref().clone(), url, options, limits, room, storage })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within the range"
)]
fn room(source: &Source<'_>, raw: &RawSite) -> Result<Room, ConfigError> {
    let mut room = Room::default();
    if let Some(capacity) = &raw.capacity_gb {
        let bytes = capacity.get_ref().checked_mul(GB).filter(|bytes| *bytes > 0);
        let reason = "capacity_gb is in units of 10^9 bytes, from 1 to 18,446,744,073";
        room.capacity = Some(bytes.ok_or_else(|| source.error(&capacity.span(), reason))?);
    }
    if let Some(price) = &raw.price {
        let span = price.span();
        let is_price = (0.0..=PRICE_MAX).contains(price.get_ref());
        let reason = "price is what a stored GB costs a month, from 0 to 1,000,000";
        let price = is_price.then(|| (price.get_ref() * 1e6).round() as u64);
        room.price_micros = Some(price.ok_or_else(|| source.error(&span, reason))?);
    }
    Ok(room)
}

fn absolute(
    source: &Source<'_>,
    base: &Path,
    path: &str,
    span: &Range<usize>,
) -> Result<String, ConfigError> {
    let absolute = base.join(path).into_os_string().into_string();
    absolute.map_err(|_| source.error(span, "the path is no UTF-8: move the file elsewhere"))
}

/// Whether an option is a file's path, and may be relative.
fn is_path(url: &str, key: &str) -> bool {
    matches!(key, "ca_file" | "credential_path") || (key == "key" && url.starts_with("sftp:"))
}

/// Whether an option of a backend, by its name, is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let words = ["secret", "password", "token", "account_key"];
    key == "credential" || words.iter().any(|word| key.contains(word))
}

fn secret(base: &Path, env: Option<&str>, file: Option<&str>) -> Option<SecretRef> {
    match (env, file) {
        (Some(name), None) if !name.is_empty() => Some(SecretRef::Env(name.to_owned())),
        (None, Some(path)) if !path.is_empty() => Some(SecretRef::File(base.join(path))),
        _ => None,
    }
}

fn positive(source: &Source<'_>, value: Option<&Spanned<u64>>) -> Result<Option<u64>, ConfigError> {
    match value {
        Some(value) if *value.get_ref() == 0 => {
            Err(source
                .error(&value.span(), "a limit must be above zero; leave it out for the default"))
        }
        value => Ok(value.map(|value| *value.get_ref())),
    }
}

fn millis(
    source: &Source<'_>,
    value: Option<&Spanned<u64>>,
) -> Result<Option<Duration>, ConfigError> {
    Ok(positive(source, value)?.map(Duration::from_millis))
}

fn count<T: TryFrom<u64>>(
    source: &Source<'_>,
    value: Option<&Spanned<u64>>,
) -> Result<Option<T>, ConfigError> {
    let Some(number) = positive(source, value)? else { return Ok(None) };
    let span = value.map_or(0..0, Spanned::span);
    T::try_from(number).map(Some).map_err(|_| source.error(&span, "the limit is too large"))
}

fn site_limits(source: &Source<'_>, raw: &RawSiteLimits) -> Result<SiteLimits, ConfigError> {
    let limits = SiteLimits {
        deadline: millis(source, raw.deadline_ms.as_ref())?,
        bytes_per_second_min: positive(source, raw.bytes_per_second_min.as_ref())?,
        concurrency: count(source, raw.concurrency.as_ref())?,
        wait_max: millis(source, raw.wait_max_ms.as_ref())?,
        attempts_max: count(source, raw.attempts_max.as_ref())?,
        backoff: millis(source, raw.backoff_ms.as_ref())?,
        answer_bytes_max: positive(source, raw.answer_bytes_max.as_ref())?,
        silent_calls_max: count(source, raw.silent_calls_max.as_ref())?,
        probe_pause_min: millis(source, raw.probe_pause_min_ms.as_ref())?,
        probe_pause_max: millis(source, raw.probe_pause_max_ms.as_ref())?,
        part_bytes: count(source, raw.part_bytes.as_ref())?,
    };
    if let (Some(least), Some(most)) = (limits.probe_pause_min, limits.probe_pause_max)
        && least > most
    {
        let span = raw.probe_pause_min_ms.as_ref().map_or(0..0, Spanned::span);
        return Err(source.error(&span, "probe_pause_min_ms is above probe_pause_max_ms"));
    }
    Ok(limits)
}

fn limits(source: &Source<'_>, raw: &RawLimits) -> Result<Limits, ConfigError> {
    Ok(Limits {
        requests_max: count(source, raw.requests_max.as_ref())?,
        connections_max: count(source, raw.connections_max.as_ref())?,
        handshake_timeout: millis(source, raw.handshake_timeout_ms.as_ref())?,
        header_timeout: millis(source, raw.header_timeout_ms.as_ref())?,
        body_timeout: millis(source, raw.body_timeout_ms.as_ref())?,
        write_timeout: millis(source, raw.write_timeout_ms.as_ref())?,
        shutdown_timeout: millis(source, raw.shutdown_timeout_ms.as_ref())?,
        documents_bytes_max: count(source, raw.documents_bytes_max.as_ref())?,
        repair_bytes_per_second: positive(source, raw.repair_bytes_per_second.as_ref())?,
        scrub_bytes_per_second: positive(source, raw.scrub_bytes_per_second.as_ref())?,
        scrub_cycle_hours: positive(source, raw.scrub_cycle_hours.as_ref())?,
        scrub_whole: raw.scrub_whole,
    })
}

fn credentials(
    source: &Source<'_>,
    base: &Path,
    tenants: &[Tenant],
    raw: Vec<RawCredential>,
) -> Result<Vec<Credential>, ConfigError> {
    unique(source, "credential", raw.iter().map(|credential| &credential.access_key))?;
    let credential = |raw: RawCredential| {
        let key = raw.access_key.get_ref();
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(3..=128).contains(&key.len()) || !key.bytes().all(sound) {
            let reason = "an access key has 3 to 128 letters, digits, '-', '_' and '.'";
            return Err(source.error(&raw.access_key.span(), reason));
        }
        if !tenants.iter().any(|tenant| tenant.name == *raw.tenant.get_ref()) {
            let name = raw.tenant.get_ref();
            let reason = format!("tenant {name:?} is not declared; add a [[tenant]]");
            return Err(source.error(&raw.tenant.span(), reason));
        }
        let (env, file) = (raw.secret_env.as_deref(), raw.secret_file.as_deref());
        let secret = self::secret(base, env, file).ok_or_else(|| {
            let reason = format!(
                "credential {key:?}: give either secret_env = \"NAME\" or secret_file = \"PATH\""
            );
            source.error(&raw.access_key.span(), reason)
        })?;
        let access_key = raw.access_key.into_inner();
        Ok(Credential { access_key, tenant: raw.tenant.into_inner(), secret })
    };
    raw.into_iter().map(credential).collect()
}
