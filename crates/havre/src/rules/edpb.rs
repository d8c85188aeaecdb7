//! EDPB Recommendations 01/2020 on measures that supplement transfer tools: steps and use cases.
//!
//! **Invariant.** A third country is one outside the European Economic Area; whom an operator
//! answers to follows by the configuration's own control rule.
//!
//! **Deliberately absent.** Which third countries are adequate, and what their law and practice is:
//! both are asked. Contractual and organisational measures.
//!
//! **Crash.** Pure.

use super::{
    Fact, Item, List, Pack, Verdict, built,
    outlook::Adverse,
    view::{Against, View},
};
use crate::config::Config;
use havre_policy::{Members, SeatKind};

const EEA: List = List {
    what: "states of the European Economic Area",
    codes: &[
        "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE",
        "IS", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
    ],
    source: "European Union, and Iceland, Liechtenstein and Norway",
    date: "2020-02-01",
};

pub(super) static PACK: Pack = Pack {
    name: "edpb-01-2020",
    document: "EDPB, Recommendations 01/2020 on measures that supplement transfer tools, version \
               2.0, 18 June 2021",
    scope: "the six steps, and the technical measures of annex 2, use cases 1 to 7; whether a \
            country is adequate and what its law allows is the exporter's to assess",
    lists: &[EEA],
    items: &[
        Item {
            id: "Step 1",
            asks: "Know the transfers: who outside the EEA gets or reaches data",
            source: "section 2.1",
            decide: transfers,
        },
        Item {
            id: "Step 2",
            asks: "Identify the transfer tool that each transfer relies on",
            source: "section 2.2",
            decide: tools,
        },
        Item {
            id: "Step 3",
            asks: "Assess whether law or practice of the third country stands against the tool",
            source: "section 2.3",
            decide: law,
        },
        Item {
            id: "Step 4",
            asks: "Choose supplementary measures; the use cases below say what this configuration \
                   has",
            source: "section 2.4",
            decide: choice,
        },
        Item {
            id: "Step 5",
            asks: "Take the formal steps that the measures ask for",
            source: "section 2.5",
            decide: formal,
        },
        Item {
            id: "Step 6",
            asks: "Look at it again at intervals",
            source: "section 2.6",
            decide: again,
        },
        Item {
            id: "Use case 1",
            asks: "What is only stored in a third country is encrypted before it goes there, and \
                   the keys stay with the exporter or with somebody trusted in the EEA",
            source: "annex 2, use case 1",
            decide: storage,
        },
        Item {
            id: "Use case 2",
            asks: "Pseudonymised data: what attributes it to persons stays with the exporter",
            source: "annex 2, use case 2",
            decide: pseudonyms,
        },
        Item {
            id: "Use case 3",
            asks: "On its way to the recipient the data is encrypted against whoever could listen",
            source: "annex 2, use case 3",
            decide: transit,
        },
        Item {
            id: "Use case 4",
            asks: "The recipient is protected by law from having to hand the data over",
            source: "annex 2, use case 4",
            decide: protected,
        },
        Item {
            id: "Use case 5",
            asks: "Data is split so that no recipient and no country has a part that it could read",
            source: "annex 2, use case 5",
            decide: split,
        },
        Item {
            id: "Use case 5 (collaboration)",
            asks: "The authorities of the countries do not put their parts together",
            source: "annex 2, use case 5",
            decide: collaboration,
        },
        Item {
            id: "Use case 6",
            asks: "Nobody in a third country processes the data in the clear as a cloud service: \
                   for that no effective technical measure is known",
            source: "annex 2, use case 6",
            decide: clear_processing,
        },
        Item {
            id: "Use case 7 (administrators)",
            asks: "Nobody in a third country reaches the data in the clear from afar: for that no \
                   effective technical measure is known",
            source: "annex 2, use case 7",
            decide: remote_access,
        },
        Item {
            id: "Use case 7 (clients)",
            asks: "The same of those who use the data",
            source: "annex 2, use case 7",
            decide: clients,
        },
    ],
    adverse,
};

fn adverse(config: &Config) -> Adverse {
    Adverse {
        name: "third countries",
        members: Members::AllBut(EEA.codes.iter().map(|code| (*code).to_owned()).collect()),
        rule: config.facts().rule(),
        both_shares: false,
        source: "outside the European Economic Area",
    }
}

/// What reaches a third country, by what is declared.
fn exported(view: &View<'_>) -> Vec<Fact> {
    let mut facts = view.sites_against(view.used()).facts;
    facts.extend(view.seats_against(|_, _| true).facts);
    facts
}

fn none_at_all(view: &View<'_>) -> bool {
    view.outlook.sites_at_worst().intersection(view.used()).is_empty()
        && view.trust_domain_against().missing.is_empty()
        && view.outlook.seats().is_empty()
}

fn nothing(view: &View<'_>, facts: Vec<Fact>) -> Verdict {
    Verdict::NotApplicable {
        why: format!("no site and no seat is within reach of {}", view.outlook.name),
        facts,
    }
}

fn everything(view: &View<'_>) -> Vec<Fact> {
    let mut facts = view.site_facts(view.used());
    facts.extend(view.seat_facts());
    facts
}

fn transfers(view: &View<'_>) -> Verdict {
    let missing = view.sites_against(view.used()).and(view.trust_domain_against()).missing;
    let mut facts = exported(view);
    if facts.is_empty() {
        facts = everything(view);
    }
    if missing.is_empty() {
        return Verdict::Satisfied { facts };
    }
    Verdict::NotSatisfied {
        facts,
        missing_declarations: missing,
        what_would_change_it: "the missing declarations: only then are all transfers known"
            .to_owned(),
    }
}

fn asked(view: &View<'_>, question: &str, facts: Vec<Fact>) -> Verdict {
    if none_at_all(view) {
        return nothing(view, everything(view));
    }
    Verdict::Organisation { question: question.to_owned(), facts }
}

fn tools(view: &View<'_>) -> Verdict {
    asked(
        view,
        "For each of these: is there an adequacy decision, or which tool of articles 46 or 49 of \
         the GDPR?",
        vec![view.states()],
    )
}

fn law(view: &View<'_>) -> Verdict {
    asked(
        view,
        "What may the authorities of each third country demand of these, and what do they in \
         practice?",
        vec![view.states()],
    )
}

fn choice(view: &View<'_>) -> Verdict {
    asked(view, "Which of the use cases is relied on for which transfer?", Vec::new())
}

fn formal(view: &View<'_>) -> Verdict {
    asked(
        view,
        "Do the measures change standard clauses, so that an authority has to authorise them?",
        Vec::new(),
    )
}

fn again(view: &View<'_>) -> Verdict {
    let listed = view.facts().listed();
    let bare = listed.iter().filter(|fact| fact.evidence.source.is_none()).count();
    let dates = listed.iter().filter_map(|fact| fact.evidence.date.as_ref());
    let mut facts =
        vec![Fact::computed(format!("{bare} of {} declared facts have no source", listed.len()))];
    facts.extend(
        dates.min().map(|date| Fact::computed(format!("the oldest dated fact is of {date}"))),
    );
    Verdict::Organisation {
        question:
            "When is the assessment made again, and who notices changes of law and ownership?"
                .to_owned(),
        facts,
    }
}

fn storage(view: &View<'_>) -> Verdict {
    if view.outlook.sites_at_worst().intersection(view.used()).is_empty() {
        return Verdict::NotApplicable {
            why: "no site that a policy uses is within reach of a third country".to_owned(),
            facts: view.site_facts(view.used()),
        };
    }
    let mut facts = vec![built::locks(), view.root_key()];
    facts.extend(view.seat_facts());
    facts.extend(view.sites_against(view.used()).facts);
    view.trust_domain_against().unless(
        facts,
        "the gateway's host, the key service and all administrators in the EEA and under nobody \
         outside it; or, if the country is adequate, the exporter's own assessment",
    )
}

fn pseudonyms(_: &View<'_>) -> Verdict {
    Verdict::NotApplicable {
        why: "Havre changes nothing in what it stores; pseudonyms are the application's".to_owned(),
        facts: vec![built::what_sites_see()],
    }
}

fn transit(view: &View<'_>) -> Verdict {
    let mut facts = vec![built::locks()];
    facts.extend(view.connections());
    view.clear_connections()
        .unless(facts, "tls for each listener that others reach, and https for each site")
}

fn protected(view: &View<'_>) -> Verdict {
    asked(
        view,
        "Is a recipient protected by its country's law, such as by professional secrecy, from \
         handing data over?",
        Vec::new(),
    )
}

fn split(view: &View<'_>) -> Verdict {
    let mut against = Against::default();
    let mut shown = Vec::new();
    for policy in &view.policies {
        let alone = view.alone_enough(policy);
        if alone.is_empty() && view.is_one_enough_at_worst(policy) {
            let every = view.sites_against(policy.eligible());
            against.missing.extend(every.missing);
        }
        against.facts.extend(alone);
        shown.extend(view.most_alone(policy));
    }
    against.missing.sort();
    against.missing.dedup();
    shown.push(built::locks());
    against.unless(
        shown,
        "sites over more operators and jurisdictions, or a greater k, so that nobody alone comes \
         to hold k shards",
    )
}

fn collaboration(view: &View<'_>) -> Verdict {
    let alliances = view.facts().alliances().iter().map(|alliance| {
        let codes = alliance.members.codes().join(", ");
        Fact::of(format!("alliance {}: {codes}", alliance.name), &alliance.evidence)
    });
    let mut facts: Vec<Fact> = alliances.collect();
    facts.extend(view.shards_facts());
    Verdict::Organisation {
        question: "Is there reason to think that authorities work together beyond the declared \
                   alliances? If so, declare an [[alliance]]."
            .to_owned(),
        facts,
    }
}

fn clear_processing(view: &View<'_>) -> Verdict {
    let of_host = |kind, _| kind == SeatKind::Host;
    let mut against = view.seats_against(of_host);
    if view.host().is_none() {
        against.missing.push("[gateway.host]: who runs the gateway's host, and where".to_owned());
    }
    against.unless(
        view.host().map(|host| view.seat_fact(host)).into_iter().collect(),
        "a gateway's host in the EEA, run by nobody who answers to a third country; no technical \
         measure would do instead",
    )
}

fn remote_access(view: &View<'_>) -> Verdict {
    let people = |kind, _| kind == SeatKind::Administrator;
    let mut against = view.seats_against(people);
    let seats = view.facts().seats();
    let mut administrators: Vec<Fact> = Vec::new();
    for (place, seat) in seats.iter().enumerate() {
        if seat.kind == SeatKind::Administrator {
            administrators.push(view.seat_fact(place));
        }
    }
    if administrators.is_empty() {
        let missing = "[[administrator]]: who can act as the gateway does";
        against.missing.push(missing.to_owned());
    }
    against.unless(
        administrators,
        "administrators who answer to no third country; no technical measure would do instead",
    )
}

fn clients(view: &View<'_>) -> Verdict {
    let tenants = view.config.tenants.iter();
    let fact = |tenant: &crate::config::Tenant| Fact::computed(format!("tenant {}", tenant.name));
    Verdict::Organisation {
        question: "From where are the credentials of each tenant used, and by whom?".to_owned(),
        facts: tenants.map(fact).collect(),
    }
}
