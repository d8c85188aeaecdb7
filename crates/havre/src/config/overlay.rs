//! Changes to ask about, from a file: facts to add or to replace, and what to leave out.
//!
//! **Invariant.** The file's facts are checked as the configuration's are; the configuration itself
//! is never changed.
//!
//! **Deliberately absent.** Policies: what is asked is what becomes of those that there are.
//!
//! **Crash.** Reads only.

use super::{
    ConfigError,
    declared::{alliances, check_code, operators, overrides, rule},
    error::Source,
    raw::RawOverlay,
};
use havre_policy::{Change, SiteFacts};
use std::path::Path;

/// Reads the changes that a file asks about.
///
/// # Errors
/// Whatever is wrong with it, with the line and what to do.
pub fn load_changes(file: &Path) -> Result<Vec<Change>, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| ConfigError::whole(file, format!("cannot be read: {error}")))?;
    parse_changes(file, &text)
}

/// Reads the changes that a file of this text asks about.
///
/// # Errors
/// Whatever is wrong with it, with the line and what to do.
pub fn parse_changes(file: &Path, text: &str) -> Result<Vec<Change>, ConfigError> {
    let source = Source { file, text };
    let raw: RawOverlay = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    let mut changes = Vec::new();
    if raw.exposure.control.is_some() || raw.exposure.ownership_threshold.is_some() {
        changes.push(Change::SetRule(rule(&source, &raw.exposure)?));
    }
    changes.extend(raw.remove.sites.into_iter().map(Change::RemoveSite));
    changes.extend(raw.remove.alliances.into_iter().map(Change::RemoveAlliance));
    let owners = raw.remove.owners.into_iter();
    changes.extend(owners.map(|o| Change::RemoveOwner { operator: o.operator, owner: o.owner }));
    changes.extend(operators(&source, &raw.operator)?.into_iter().map(Change::SetOperator));
    for site in raw.site {
        check_code(&source, &site.location)?;
        changes.push(Change::AddSite(SiteFacts {
            name: site.name.into_inner(),
            operator: site.operator.into_inner(),
            location: site.location.into_inner(),
        }));
    }
    changes.extend(alliances(&source, &raw.alliance)?.into_iter().map(Change::SetAlliance));
    changes.extend(overrides(&source, &raw.overrides)?.into_iter().map(Change::SetOverride));
    Ok(changes)
}
