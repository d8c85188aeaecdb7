//! CISA's security requirements for restricted transactions, and who is a covered person.
//!
//! **Invariant.** The countries are data with a source; who answers to them follows by 28 CFR
//! 202.211's half, in the aggregate.
//!
//! **Deliberately absent.** Whether there is a restricted transaction at all, bulk thresholds,
//! exemptions, and persons that the Attorney General designates: no configuration knows them.
//!
//! **Crash.** Pure.

use super::{
    Fact, Item, List, Pack, Verdict, built,
    outlook::Adverse,
    view::{Against, View},
};
use crate::config::{Config, SecretRef};
use havre_policy::{ControlRule, Holds, Members};
use std::path::Path;

/// Hong Kong and Macau are parts of China with ISO codes of their own.
const COUNTRIES: List = List {
    what: "countries of concern",
    codes: &["CN", "HK", "MO", "CU", "IR", "KP", "RU", "VE"],
    source: "28 CFR 202.601(a); China with Hong Kong and Macau",
    date: "2025-01-08",
};

pub(super) static PACK: Pack = Pack {
    name: "cisa-restricted-transactions",
    document: "CISA, Security Requirements for Restricted Transactions under E.O. 14117, January \
               2025 (notice of availability 90 FR 1528), with 28 CFR part 202 as of 18 April 2025",
    scope: "what the placement of shards, keys and people shows to sections I and II; not whether \
            a transaction is restricted, nor subparts J and K (programme, audit, records, reports)",
    lists: &[COUNTRIES],
    items: &[
        Item {
            id: "202.211",
            asks: "Nobody who runs a site or the gateway, or administers it, is a covered person, \
                   and nothing lies in a country of concern: else access is part of a restricted \
                   transaction",
            source: "28 CFR 202.211(a)(1)-(4), 202.601",
            decide: covered_persons,
        },
        Item {
            id: "202.211(a)(5)",
            asks: "Nobody involved is designated as a covered person",
            source: "28 CFR 202.211(a)(5), 202.701",
            decide: designated,
        },
        Item {
            id: "I.A",
            asks: "Assets, responsible persons, known exploited vulnerabilities, suppliers' \
                   agreements, network, approved hardware and software, and incidents are under \
                   control by policy",
            source: "section I.A",
            decide: organisation,
        },
        Item {
            id: "I.B (who has access)",
            asks: "Covered persons and countries of concern are kept from the systems that handle \
                   the data, physically and logically",
            source: "section I.B",
            decide: systems,
        },
        Item {
            id: "I.B (how)",
            asks: "Strong authentication, prompt withdrawal of access, logs that are kept, denial \
                   by default, and managed identities",
            source: "section I.B",
            decide: access_controls,
        },
        Item {
            id: "I.C",
            asks: "An internal assessment says why the chosen measures suffice for this data",
            source: "section I.C",
            decide: assessment,
        },
        Item {
            id: "II",
            asks: "The measures together keep data that can be read, or be made readable, from \
                   covered persons and countries of concern",
            source: "section II",
            decide: measures,
        },
        Item {
            id: "II.A",
            asks: "Data is minimised or masked, by a written policy on retention and deletion",
            source: "section II.A",
            decide: minimisation,
        },
        Item {
            id: "II.B (encryption)",
            asks: "The data is encrypted where it is stored and on the way, on the way by TLS",
            source: "section II.B",
            decide: encryption,
        },
        Item {
            id: "II.B (keys beside data)",
            asks: "Keys are not kept in one place with the data that they open",
            source: "section II.B",
            decide: keys_beside_data,
        },
        Item {
            id: "II.B (keys abroad)",
            asks: "Keys are not kept in a country of concern, and no covered person has access to \
                   them",
            source: "section II.B",
            decide: keys_abroad,
        },
        Item {
            id: "II.C",
            asks: "Where data is computed on for others, technologies keep it from being derived",
            source: "section II.C",
            decide: computing,
        },
        Item {
            id: "II.D",
            asks: "Identities and access rights deny covered persons the data",
            source: "section II.D",
            decide: identities,
        },
    ],
    adverse,
};

fn adverse(_: &Config) -> Adverse {
    Adverse {
        name: "countries of concern and who answers to them",
        members: Members::These(COUNTRIES.codes.iter().map(|code| (*code).to_owned()).collect()),
        rule: ControlRule::MAJORITY,
        both_shares: false,
        source: COUNTRIES.source,
    }
}

fn covered_persons(view: &View<'_>) -> Verdict {
    let against = view.sites_against(view.used()).and(view.trust_domain_against());
    let mut facts = view.site_facts(view.used());
    facts.extend(view.seat_facts());
    against.unless(
        facts,
        "no site of any policy at these operators or places (sites, exclude), nobody of theirs at \
         the gateway or the key, and the missing declarations",
    )
}

fn designated(_: &View<'_>) -> Verdict {
    Verdict::Organisation {
        question: "Are operators, owners or administrators on the Department of Justice's list of \
                   covered persons? (havre parties import csl compares names with another list, \
                   the Consolidated Screening List.)"
            .to_owned(),
        facts: Vec::new(),
    }
}

fn organisation(view: &View<'_>) -> Verdict {
    let operators = view.facts().operators().iter().map(|operator| operator.name.as_str());
    let operators: Vec<&str> = operators.collect();
    Verdict::Organisation {
        question: "Is there an inventory that is kept up to date monthly, a named person for \
                   security, a 45 days' limit for known exploited vulnerabilities, an agreement \
                   with each supplier, and a plan for incidents?"
            .to_owned(),
        facts: vec![Fact::computed(format!("declared operators: {}", operators.join(", ")))],
    }
}

fn systems(view: &View<'_>) -> Verdict {
    view.trust_domain_against().unless(
        view.seat_facts(),
        "a host, a key service and administrators that none of them reaches, all declared with \
         their owners and jurisdictions",
    )
}

fn access_controls(view: &View<'_>) -> Verdict {
    let mut facts = vec![built::access_log()];
    let admin = view.config.admin;
    let reach = if admin.address.ip().is_loopback() { "this machine only" } else { "the network" };
    facts.push(Fact::computed(format!(
        "health and metrics are served at {} to {reach}, without a credential",
        admin.address
    )));
    Verdict::Organisation {
        question: "How do administrators authenticate at the gateway's host, how fast is access \
                   withdrawn, and are logs of access kept for 12 months?"
            .to_owned(),
        facts,
    }
}

fn assessment(view: &View<'_>) -> Verdict {
    let mut facts = view.shards_facts();
    facts
        .push(Fact::computed("havre exposure lists who could read and who could cut off, and why"));
    Verdict::Organisation {
        question: "Is the assessment written, with the measures that are relied on, and looked at \
                   again every year?"
            .to_owned(),
        facts,
    }
}

fn measures(view: &View<'_>) -> Verdict {
    let mut facts = vec![built::locks()];
    facts.extend(view.shards_facts());
    facts.extend(view.seat_facts());
    view.could_read().unless(
        facts,
        "neither the gateway, nor the key together with k shards of a blob, within their reach",
    )
}

fn minimisation(_: &View<'_>) -> Verdict {
    Verdict::Organisation {
        question: "Which data has to be stored at all, in which form, and until when? Havre \
                   stores what it is given."
            .to_owned(),
        facts: vec![built::what_sites_see()],
    }
}

fn encryption(view: &View<'_>) -> Verdict {
    let mut facts = vec![built::locks()];
    facts.extend(view.connections());
    view.clear_connections().unless(
        facts,
        "tls for each listener that others reach, and https for each site; at the sites the data \
         is sealed all the same",
    )
}

fn keys_beside_data(view: &View<'_>) -> Verdict {
    let mut facts = view.both_sides();
    if let SecretRef::File(key) = &view.config.gateway.root_key {
        for site in &view.config.sites {
            let folder = site.url.strip_prefix("file://").unwrap_or(&site.url);
            if folder.starts_with('/') && key.starts_with(Path::new(folder)) {
                let text =
                    format!("root key: file {} lies within site {}", key.display(), site.name);
                facts.push(Fact::computed(text));
            }
        }
    }
    let mut shown = vec![view.root_key()];
    shown.extend(view.seat_facts());
    Against { facts, missing: Vec::new() }.and(view.holders_undeclared()).unless(
        shown,
        "a gateway, a key and administrators at nobody who stands behind a site, with the owners \
         of both declared",
    )
}

fn keys_abroad(view: &View<'_>) -> Verdict {
    let mut facts = vec![view.root_key()];
    facts.extend(view.seat_facts());
    // Whoever has the gateway has the key too.
    let with_key = |_, holds| matches!(holds, Holds::Key | Holds::Gateway);
    view.seats_undeclared().and(view.seats_against(with_key)).unless(
        facts,
        "the gateway's host, the key service and the administrators outside their reach",
    )
}

fn computing(_: &View<'_>) -> Verdict {
    Verdict::NotApplicable {
        why: "nothing is computed on stored data for others; what clients do with it is theirs"
            .to_owned(),
        facts: vec![Fact::software("Havre stores objects and gives them back", "README.md")],
    }
}

fn identities(view: &View<'_>) -> Verdict {
    let tenant = |tenant: &crate::config::Tenant| {
        let keys = view.config.credentials.iter().filter(|key| key.tenant == tenant.name);
        let keys: Vec<&str> = keys.map(|key| key.access_key.as_str()).collect();
        Fact::computed(format!("tenant {}: credentials {}", tenant.name, keys.join(", ")))
    };
    Verdict::Organisation {
        question: "Who holds each credential? It may do everything within its tenant, and no \
                   configuration says in whose hands it is."
            .to_owned(),
        facts: view.config.tenants.iter().map(tenant).collect(),
    }
}
