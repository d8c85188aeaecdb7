//! What this version of Havre does and does not do, as far as a framework asks.
//!
//! **Invariant.** One place: whoever builds one of these changes it here, and the verdicts follow.
//!
//! **Deliberately absent.** What depends on the configuration.
//!
//! **Crash.** Values only.

use super::Fact;

/// Whether shards that nobody reads are looked at where they lie.
pub(super) const SCRUB: bool = false;
/// Whether shards are moved off a site that is to be left.
pub(super) const DRAIN: bool = false;
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
    let text = match DRAIN {
        true => "shards are moved off a site that is to be left",
        false => {
            "moving shards off a site that is to be left is not built: reads go on without it, \
             and its share of the redundancy is missing until objects are written anew"
        }
    };
    Fact::software(text, "README.md, status")
}
