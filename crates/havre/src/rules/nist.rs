//! NIST SP 800-53 revision 5, SA-9 with its enhancements: external system services.
//!
//! **Invariant.** The external services are the sites; what an organisation has to define itself is
//! asked.
//!
//! **Deliberately absent.** Baselines, and assessment objectives of SP 800-53A.
//!
//! **Crash.** Pure.

use super::{
    Fact, Item, List, Pack, Verdict, built,
    outlook::Adverse,
    view::{Against, View},
};
use crate::config::{Config, SecretRef};
use havre_policy::Members;

const UNITED_STATES: List = List {
    what: "the United States with their territories",
    codes: &["US", "AS", "GU", "MP", "PR", "UM", "VI"],
    source: "ISO 3166-1; territories as FedRAMP reads SA-9(5)",
    date: "2020-12-10",
};

pub(super) static PACK: Pack = Pack {
    name: "nist-sa-9",
    document: "NIST SP 800-53 revision 5 (September 2020, with updates of 10 December 2020), \
               control SA-9 and enhancements (1) to (8)",
    scope: "the sites as external system services; parameters that the organisation assigns are \
            asked for",
    lists: &[UNITED_STATES],
    items: &[
        Item {
            id: "SA-9 a",
            asks: "Providers keep to the organisation's requirements and employ its controls",
            source: "SA-9 a",
            decide: requirements,
        },
        Item {
            id: "SA-9 b",
            asks: "Oversight, roles and responsibilities are defined",
            source: "SA-9 b",
            decide: oversight,
        },
        Item {
            id: "SA-9 c",
            asks: "It is watched whether providers keep to the controls",
            source: "SA-9 c",
            decide: monitoring,
        },
        Item {
            id: "SA-9(1)",
            asks: "Risk is assessed before security services are bought, and somebody approves",
            source: "SA-9(1)",
            decide: approvals,
        },
        Item {
            id: "SA-9(2)",
            asks: "Functions, ports and protocols that the services need are known",
            source: "SA-9(2)",
            decide: protocols,
        },
        Item {
            id: "SA-9(3)",
            asks: "What trust in each provider rests on is written down and kept up to date",
            source: "SA-9(3)",
            decide: trust,
        },
        Item {
            id: "SA-9(4)",
            asks: "It is verified that providers' interests agree with the organisation's",
            source: "SA-9(4)",
            decide: interests,
        },
        Item {
            id: "SA-9(5)",
            asks: "Processing and storage are restricted to places that the organisation defines",
            source: "SA-9(5)",
            decide: places,
        },
        Item {
            id: "SA-9(6)",
            asks: "The organisation alone controls the keys to what is stored with the providers",
            source: "SA-9(6)",
            decide: keys,
        },
        Item {
            id: "SA-9(6) (the host)",
            asks: "The host that reads the keys is the organisation's own",
            source: "SA-9(6)",
            decide: host,
        },
        Item {
            id: "SA-9(7)",
            asks: "Integrity can be checked while the data lies with the providers",
            source: "SA-9(7)",
            decide: integrity,
        },
        Item {
            id: "SA-9(8)",
            asks: "Processing and storage take place within the jurisdiction of the United States",
            source: "SA-9(8)",
            decide: united_states,
        },
    ],
    adverse,
};

fn adverse(config: &Config) -> Adverse {
    Adverse {
        name: "those outside the United States",
        members: Members::AllBut(
            UNITED_STATES.codes.iter().map(|code| (*code).to_owned()).collect(),
        ),
        rule: config.facts().rule(),
        both_shares: false,
        source: "SP 800-53 revision 5, SA-9(8)",
    }
}

fn organisation(question: &str, facts: Vec<Fact>) -> Verdict {
    Verdict::Organisation { question: question.to_owned(), facts }
}

fn operators(view: &View<'_>) -> Vec<Fact> {
    let runs = |name: &str| {
        let sites = view.used().iter().filter(|site| view.facts().sites()[*site].operator == name);
        view.names(sites.collect())
    };
    let operators = view.facts().operators().iter();
    let running = operators.filter(|operator| !runs(&operator.name).is_empty());
    running
        .map(|operator| {
            let text = format!(
                "{}{} runs {}",
                operator.name,
                view.said_of(operator),
                runs(&operator.name)
            );
            Fact::of(text, &operator.evidence)
        })
        .collect()
}

fn requirements(view: &View<'_>) -> Verdict {
    organisation("Which controls does each contract demand?", operators(view))
}

fn oversight(_: &View<'_>) -> Verdict {
    organisation("Who oversees the providers, and who answers for what?", Vec::new())
}

fn monitoring(_: &View<'_>) -> Verdict {
    let facts = vec![Fact::software(
        "metrics count each site's requests, errors and times; bad and missing shards are noted \
         when they are read",
        "docs/configuration.md",
    )];
    organisation("By which methods are the providers watched beyond that?", facts)
}

fn approvals(view: &View<'_>) -> Verdict {
    let service = view.facts().seats().iter().zip(0..);
    let service = service.filter(|(seat, _)| seat.kind == havre_policy::SeatKind::KeyService);
    organisation(
        "Is a security service bought, such as the key service, and who approved it after which \
         assessment?",
        service.map(|(_, place)| view.seat_fact(place)).collect(),
    )
}

fn protocols(view: &View<'_>) -> Verdict {
    organisation(
        "Did each provider say which functions, ports and protocols its service needs?",
        view.connections(),
    )
}

fn trust(view: &View<'_>) -> Verdict {
    let listed = view.facts().listed();
    let bare = listed.iter().filter(|fact| fact.evidence.source.is_none());
    let fact =
        |fact: &havre_policy::ListedFact| Fact::computed(format!("no source: {}", fact.text));
    organisation(
        "On which conditions is a provider trusted, and who looks at them again?",
        bare.map(fact).collect(),
    )
}

fn interests(view: &View<'_>) -> Verdict {
    organisation(
        "What is done to verify it? Ownership records are one way; what is declared of them \
         follows.",
        operators(view),
    )
}

fn places(view: &View<'_>) -> Verdict {
    let places = view.locations(view.used());
    let mut facts = vec![Fact::computed(format!("sites and gateway lie in {places}"))];
    facts.extend(view.site_facts(view.used()));
    organisation("Are these the places that the organisation has defined, and why?", facts)
}

fn keys(view: &View<'_>) -> Verdict {
    let mut facts = view.both_sides();
    if let (SecretRef::File(_), Some(mode)) =
        (&view.config.gateway.root_key, view.observed.root_key_mode)
        && mode & 0o077 != 0
    {
        facts.push(Fact::computed(format!(
            "the root key's file has mode {mode:04o}: others than its owner may use it"
        )));
    }
    let mut missing = Vec::new();
    if let (SecretRef::File(_), None) = (&view.config.gateway.root_key, view.observed.root_key_mode)
    {
        missing.push("the mode of the root key's file: ask on the gateway's host".to_owned());
    }
    let mut shown = vec![built::locks(), view.root_key()];
    shown.extend(view.seat_facts());
    Against { facts, missing }.and(view.holders_undeclared()).unless(
        shown,
        "a gateway, a key and administrators of nobody who stands behind a site, with the owners \
         of both declared, and a root key of mode 0600",
    )
}

fn host(view: &View<'_>) -> Verdict {
    organisation(
        "Is whoever runs the gateway's host the organisation itself, and who has copies of the \
         root key?",
        view.host().map(|host| view.seat_fact(host)).into_iter().collect(),
    )
}

fn integrity(view: &View<'_>) -> Verdict {
    let hours = view.config.scrub_cycle().as_secs() / 3600;
    let how = match view.config.limits.scrub_whole {
        true => "every byte of every shard",
        false => "one chunk of every shard, at a random place",
    };
    Verdict::Satisfied {
        facts: vec![
            Fact::computed(format!(
                "scrub reads {how}, in a cycle of {hours} hours or what it takes at {} bytes a \
                 second; what does not open is noted and made anew",
                view.config.scrub_bytes_per_second()
            )),
            Fact::software(
                "each chunk is authenticated when it is read, and packs are chained by hash",
                "docs/THREAT-MODEL.md, section 4",
            ),
        ],
    }
}

/// The place alone: whom an operator answers to is another question.
fn united_states(view: &View<'_>) -> Verdict {
    let is_within = |code: &str| {
        let state = code.split('-').next().unwrap_or_default().to_uppercase();
        UNITED_STATES.codes.contains(&state.as_str())
    };
    let sites = view.used().iter().filter(|site| !is_within(&view.facts().sites()[*site].location));
    let mut facts: Vec<Fact> = sites.map(|site| view.site_fact(site)).collect();
    let mut missing = Vec::new();
    match view.host().map(|host| (host, &view.facts().seats()[host].locations)) {
        Some((_, locations)) if locations.is_empty() => {
            missing.push("[gateway.host]: location".to_owned());
        }
        Some((host, locations)) if !locations.iter().all(|code| is_within(code)) => {
            facts.push(view.seat_fact(host));
        }
        Some(_) => {}
        None => missing.push("[gateway.host]: where the gateway's host stands".to_owned()),
    }
    let mut shown = view.site_facts(view.used());
    shown.extend(view.host().map(|host| view.seat_fact(host)));
    Against { facts, missing }.unless(
        shown,
        "every site that a policy uses, and the gateway's host, in the United States",
    )
}
