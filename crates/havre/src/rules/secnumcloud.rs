//! SecNumCloud 3.2, chapter 19.6: protection from law outside the European Union.
//!
//! **Invariant.** The provider is whoever runs the gateway's host; whoever runs a site is a third
//! company that it makes use of. 24 % and 39 % are the control rule's.
//!
//! **Deliberately absent.** Every other chapter: 19.6 alone qualifies nobody.
//!
//! **Crash.** Pure.

use super::{
    Fact, Item, List, Pack, Verdict, built,
    outlook::Adverse,
    view::{Against, View, reasons},
};
use crate::config::Config;
use havre_policy::{ControlRule, EU, Link, Members, PlacementPolicy, SeatKind, Tie};

const UNION: List = List {
    what: "member states of the European Union",
    codes: &EU,
    source: "Treaty on European Union, article 52",
    date: "2020-02-01",
};

pub(super) static PACK: Pack = Pack {
    name: "secnumcloud-19.6",
    document: "ANSSI, SecNumCloud, référentiel d'exigences, version 3.2, 8 March 2022, \
               chapter 19.6",
    scope: "chapter 19.6 alone, with the operator of the gateway's host as the provider and the \
            sites' operators as third companies; no other chapter, and no qualification",
    lists: &[UNION],
    items: &[
        Item {
            id: "19.6 a (seat and administration)",
            asks: "The provider has its registered seat and its central administration in the \
                   Union",
            source: "19.6 a",
            decide: seat,
        },
        Item {
            id: "19.6 a (principal establishment)",
            asks: "The provider has its principal establishment in the Union",
            source: "19.6 a",
            decide: establishment,
        },
        Item {
            id: "19.6 b (capital and votes)",
            asks: "Of the provider's capital and votes, those who have their seat outside the \
                   Union hold at most 24 % each and 39 % together, directly or through others",
            source: "19.6 b",
            decide: capital,
        },
        Item {
            id: "19.6 b (veto and appointments)",
            asks: "They have no right of veto, and do not appoint the majority of a board",
            source: "19.6 b",
            decide: veto,
        },
        Item {
            id: "19.6 c",
            asks: "A third company from outside the Union, or controlled from there, has no \
                   technical means to get at the data",
            source: "19.6 c",
            decide: third_companies,
        },
        Item {
            id: "19.6 d",
            asks: "Operation goes on without any such third company",
            source: "19.6 d",
            decide: autonomy,
        },
        Item {
            id: "19.6 e",
            asks: "The service keeps to fundamental rights and the Union's values; ties to foreign \
                   governments are looked at",
            source: "19.6 e",
            decide: values,
        },
        Item {
            id: "19.6 f",
            asks: "Customers are told within a month of changes that bear on this chapter",
            source: "19.6 f",
            decide: changes,
        },
    ],
    adverse,
};

fn adverse(_: &Config) -> Adverse {
    Adverse {
        name: "those outside the European Union",
        members: Members::AllBut(EU.iter().map(|code| (*code).to_owned()).collect()),
        rule: ControlRule::SECNUMCLOUD,
        both_shares: true,
        source: "SecNumCloud 3.2, 19.6",
    }
}

/// The links from the gateway's host to those outside that pass `about`.
fn provider(view: &View<'_>, about: fn(&Link) -> bool) -> Against {
    let declared = view.host().filter(|host| view.facts().seats()[*host].operator.is_some());
    let Some(host) = declared else {
        let missing = vec!["[gateway.host]: the operator that is the provider".to_owned()];
        return Against { facts: Vec::new(), missing };
    };
    let mut links = view.outlook.why_seat(host);
    links.retain(about);
    let facts = reasons("the provider", view.outlook.name, &links);
    Against { facts, missing: Vec::new() }
}

fn provider_facts(view: &View<'_>) -> Vec<Fact> {
    view.host().map(|host| view.seat_fact(host)).into_iter().collect()
}

/// The provider's own law and lead, and not those of who holds it.
fn seat(view: &View<'_>) -> Verdict {
    let of_itself = |link: &Link| {
        let held = link.steps.iter().any(|step| matches!(step.tie, Tie::Held { .. }));
        let seated =
            |tie: &Tie| matches!(tie, Tie::Incorporation { .. } | Tie::Headquarters { .. });
        !held && link.steps.iter().any(|step| seated(&step.tie))
    };
    let Some(operator) = view.host().and_then(|host| view.facts().seats()[host].operator.as_ref())
    else {
        let against = provider(view, of_itself);
        return against.unless(Vec::new(), "a declared provider");
    };
    let mut against = provider(view, of_itself);
    let declared = view.operator(operator);
    let lacks = |what: &str| format!("operator {operator}: {what}");
    if declared.is_none_or(|operator| operator.incorporation.is_none()) {
        against.missing.push(lacks("incorporation"));
    }
    if declared.is_none_or(|operator| operator.headquarters.is_none()) {
        against.missing.push(lacks("headquarters"));
    }
    against.unless(
        provider_facts(view),
        "a provider that is incorporated in a member state and led from one, declared as \
         incorporation and headquarters",
    )
}

fn establishment(view: &View<'_>) -> Verdict {
    Verdict::Organisation {
        question:
            "Where is the provider's principal establishment? The configuration has no place \
                   for it."
                .to_owned(),
        facts: provider_facts(view),
    }
}

fn capital(view: &View<'_>) -> Verdict {
    let held = |link: &Link| {
        let bound = |tie: &Tie| matches!(tie, Tie::Held { bound: Some(_), .. });
        link.steps.iter().any(|step| bound(&step.tie))
    };
    let mut against = provider(view, held);
    if let Some(host) = view.host() {
        // Its own law is another letter, and so is the place of its machine.
        against.missing.extend(view.outlook.missing_holders_of_seat(host));
    }
    against.unless(
        provider_facts(view),
        "holdings from outside the Union of at most 24 % each and 39 % together, with the capital \
         and the votes of all owners declared",
    )
}

fn veto(view: &View<'_>) -> Verdict {
    let stated = |link: &Link| link.steps.iter().any(|step| matches!(step.tie, Tie::Stated { .. }));
    let against = provider(view, stated);
    if !against.facts.is_empty() {
        return against.unless(Vec::new(), "an end of the ties that the overrides state");
    }
    Verdict::Organisation {
        question: "Do articles or contracts give anybody from outside the Union a veto, or the \
                   appointment of most of a board? If so, declare it as an [[override]]."
            .to_owned(),
        facts: provider_facts(view),
    }
}

fn third_companies(view: &View<'_>) -> Verdict {
    let mut facts = vec![built::locks()];
    facts.extend(view.shards_facts());
    facts.extend(view.seat_facts());
    // The sites' laws are asked about here, not the place of the machine: an operator in the Union
    // that answers outside it counts.
    view.could_read().unless(
        facts,
        "no host, administrator or key service of theirs, and no key together with k shards",
    )
}

fn autonomy(view: &View<'_>) -> Verdict {
    if (view.outlook.sites_at_worst().intersection(view.used())).is_empty() {
        return Verdict::NotApplicable {
            why: "no site that a policy uses answers to anybody outside the Union".to_owned(),
            facts: view.site_facts(view.used()),
        };
    }
    let lost = |policy: &&PlacementPolicy, shards: usize| shards > policy.geometry().parity();
    let policies = view.policies.iter();
    let now = policies.clone().any(|policy| lost(&policy, view.shards(policy)));
    let worst = policies.clone().any(|policy| lost(&policy, view.shards_at_worst(policy)));
    let against = if now {
        let dependent = policies.filter(|policy| lost(policy, view.shards(policy)));
        let fact = |policy: &PlacementPolicy| {
            Fact::computed(format!(
                "policy {}: without those sites {} of {} shards may be left, and {} are needed",
                policy.name(),
                policy.geometry().total() - view.shards(policy),
                policy.geometry().total(),
                policy.geometry().data()
            ))
        };
        let mut facts: Vec<Fact> = dependent.map(fact).collect();
        facts.extend(view.sites_against(view.used()).facts);
        Against { facts, missing: Vec::new() }
    } else if worst {
        Against { facts: Vec::new(), missing: view.sites_against(view.used()).missing }
    } else {
        Against::default()
    };
    let mut facts = view.shards_facts();
    facts.push(built::leaving());
    against.unless(
        facts,
        "so many sites that answer to nobody outside the Union that k shards are always among \
         them",
    )
}

fn values(view: &View<'_>) -> Verdict {
    let foreign = view.facts().seats().iter().zip(0..);
    let foreign = foreign.filter(|(seat, _)| seat.kind == SeatKind::Host);
    Verdict::Organisation {
        question: "Does the provider keep ties to a foreign government or public body?".to_owned(),
        facts: foreign.map(|(_, place)| view.seat_fact(place)).collect(),
    }
}

fn changes(_: &View<'_>) -> Verdict {
    Verdict::Organisation {
        question: "Who tells customers, and how is a change noticed? (havre exposure --what-if \
                   shows what one would mean.)"
            .to_owned(),
        facts: Vec::new(),
    }
}
