//! What this version of Havre does and does not do, as far as a framework asks.
//!
//! **Invariant.** One place: whoever builds one of these changes it here, and the verdicts follow.
//!
//! **Deliberately absent.** What depends on the configuration.
//!
//! **Crash.** Values only.

use super::Fact;

/// Whether reads and writes leave a record that can be shown.
pub(super) const ACCESS_LOG: bool = false;

const THREATS: &str = "docs/THREAT-MODEL.md, section 4";

/// Both locks.
pub(super) fn locks() -> Fact {
    Fact::software(
        "contents, names and metadata are sealed in the gateway with AES-256-GCM before any site \
         gets a byte, under keys that the root key wraps; each chunk is sealed again under a \
         secret that only k shards give",
        THREATS,
    )
}

/// What sites see all the same.
pub(super) fn what_sites_see() -> Fact {
    Fact::software(
        "sites see lengths, counts and times, and no names: padding is not built",
        "docs/THREAT-MODEL.md, section 3",
    )
}

/// The access log.
pub(super) fn access_log() -> Fact {
    let text = match ACCESS_LOG {
        true => "the gateway keeps an access log",
        false => "the gateway keeps no access log: nothing proves who read what",
    };
    Fact::software(text, "README.md, status")
}

/// What it takes to leave a site.
pub(super) fn leaving() -> Fact {
    Fact::software(
        "havre site drain and havre prohibit make the shards of a site anew elsewhere, from what \
         the rest has, as far as the policies find other sites",
        "README.md, when somebody has to go",
    )
}
