//! The EU Data Act: what a customer of storage operators can show about switching (chapter VI) and
//! about governments outside the Union (chapter VII).
//!
//! **Invariant.** The Act binds providers; the verdicts are about what the configuration gives to
//! the customer whether or not a provider keeps to it.
//!
//! **Deliberately absent.** Connected products, data sharing and unfair terms (chapters II to V).
//!
//! **Crash.** Pure.

use super::{
    Fact, Item, List, Pack, Verdict, built,
    outlook::Adverse,
    view::{Against, View},
};
use crate::config::Config;
use havre_policy::{EU, Members, PartyId, PartyKind, PlacementPolicy};

const UNION: List = List {
    what: "member states of the European Union",
    codes: &EU,
    source: "Treaty on European Union, article 52",
    date: "2020-02-01",
};

pub(super) static PACK: Pack = Pack {
    name: "data-act",
    document: "Regulation (EU) 2023/2854 (Data Act), 13 December 2023, OJ L 2023/2854 of 22 \
               December 2023, applicable from 12 September 2025",
    scope: "articles 23 to 32, as a customer of the sites' operators can show them; the duties \
            themselves are the operators'",
    lists: &[UNION],
    items: &[
        Item {
            id: "Art. 23 (leaving one)",
            asks: "Any one operator can be left, whatever it does about it",
            source: "article 23, points (a) and (b)",
            decide: leaving,
        },
        Item {
            id: "Art. 23 (several at a time)",
            asks: "Several providers are used at the same time",
            source: "article 23",
            decide: several,
        },
        Item {
            id: "Art. 23 (taking the data along)",
            asks: "The data can be taken to another provider or to one's own machines",
            source: "article 23, point (c)",
            decide: taking_along,
        },
        Item {
            id: "Art. 25",
            asks: "The contract gives the right to switch: at most two months' notice, 30 days of \
                   transition as a rule, and at least 30 days to fetch data",
            source: "article 25(2)",
            decide: contract,
        },
        Item {
            id: "Art. 26",
            asks: "The operator says how to switch and which formats and limits there are",
            source: "article 26",
            decide: information,
        },
        Item {
            id: "Art. 28",
            asks: "The operator publishes whose jurisdiction its infrastructure is under, and what \
                   it does against access by governments outside the Union",
            source: "article 28",
            decide: transparency,
        },
        Item {
            id: "Art. 29",
            asks: "Switching charges are no more than the costs, and none from 12 January 2027",
            source: "article 29(1)-(3)",
            decide: charges,
        },
        Item {
            id: "Art. 30",
            asks: "The operator helps with functional equivalence or open interfaces",
            source: "article 30",
            decide: equivalence,
        },
        Item {
            id: "Art. 31",
            asks: "Services made to measure or for tests only are exempt from some of it",
            source: "article 31",
            decide: exempt,
        },
        Item {
            id: "Art. 32",
            asks: "Measures stand against access by governments outside the Union to what is held \
                   in it",
            source: "article 32(1)",
            decide: governments,
        },
        Item {
            id: "Art. 32 (requests)",
            asks: "A request from outside is checked, cut to the least, and told to the customer",
            source: "article 32(2)-(5)",
            decide: requests,
        },
    ],
    adverse,
};

fn adverse(config: &Config) -> Adverse {
    Adverse {
        name: "those outside the European Union",
        members: Members::AllBut(EU.iter().map(|code| (*code).to_owned()).collect()),
        rule: config.facts().rule(),
        both_shares: false,
        source: "Regulation (EU) 2023/2854, article 32",
    }
}

fn organisation(question: &str, facts: Vec<Fact>) -> Verdict {
    Verdict::Organisation { question: question.to_owned(), facts }
}

/// The operators of sites, with the shards that are left of a policy without each.
fn without_each(view: &View<'_>, policy: &PlacementPolicy) -> Vec<(String, usize)> {
    let facts = view.facts();
    let operators = facts.party_ids().filter(|id| {
        facts.party(*id).kind == PartyKind::Operator
            && !facts.reach(*id).intersection(policy.eligible()).is_empty()
    });
    let left = |id| policy.geometry().total() - policy.most_held(facts.reach(id));
    operators.map(|id| (facts.party(id).to_string(), left(id))).collect()
}

fn leaving(view: &View<'_>) -> Verdict {
    let mut against = Against::default();
    let mut shown = Vec::new();
    for policy in &view.policies {
        for (operator, left) in without_each(view, policy) {
            let k = policy.geometry().data();
            let fact = Fact::computed(format!(
                "policy {}: without {operator} at least {left} of {} shards are left, and {k} \
                 decode",
                policy.name(),
                policy.geometry().total()
            ));
            if left < k {
                against.facts.push(fact)
            } else {
                shown.push(fact)
            }
            shown.push(moving(view, policy, &operator));
        }
    }
    shown.push(built::leaving());
    against.unless(shown, "sites over more operators, or a greater m")
}

/// Whether the policy keeps its guarantee on the sites of the others.
fn moving(view: &View<'_>, policy: &PlacementPolicy, operator: &str) -> Fact {
    let spec = view.config.policies.iter().find(|spec| spec.name == policy.name());
    let elsewhere = spec.map(|spec| {
        let mut spec = spec.clone();
        spec.exclude.push(operator.to_owned());
        PlacementPolicy::new(view.facts(), spec)
    });
    let name = policy.name();
    Fact::computed(match elsewhere {
        Some(Ok(_)) => {
            format!("policy {name}: without {operator} there is a place for every shard")
        }
        _ => format!(
            "policy {name}: without {operator} there is no place for every shard: what is left is \
             read, and loses its redundancy until there are other sites"
        ),
    })
}

fn several(view: &View<'_>) -> Verdict {
    let facts = view.facts();
    let mut against = Against::default();
    let mut shown = Vec::new();
    let entities = || {
        facts
            .party_ids()
            .filter(|id| matches!(facts.party(*id).kind, PartyKind::Operator | PartyKind::Owner))
    };
    for policy in &view.policies {
        let (eligible, name) = (policy.eligible(), policy.name());
        let behind_all = entities().filter(|id| eligible.is_subset(facts.reach(*id)));
        against.facts.extend(behind_all.map(|id| {
            let party = facts.party(id);
            Fact::computed(format!("policy {name}: {party} stands behind every site of it"))
        }));
        let at_worst = |id: PartyId| view.outlook.reach_at_worst(id);
        let worst = &view.outlook.worst;
        let entity =
            |id: &PartyId| matches!(worst.party(*id).kind, PartyKind::Operator | PartyKind::Owner);
        if worst.party_ids().filter(entity).any(|id| eligible.is_subset(at_worst(id))) {
            let sites = eligible.iter();
            let lacks = sites.flat_map(|site| view.outlook.missing_holders_of_site(site));
            against = against.and(Against { facts: Vec::new(), missing: lacks.collect() });
        }
        let operators: Vec<String> =
            without_each(view, policy).into_iter().map(|(operator, _)| operator).collect();
        shown.push(Fact::computed(format!("policy {name} uses {}", operators.join(", "))));
    }
    against.unless(
        shown,
        "sites of a second operator that answers to nobody behind the first, with the owners of \
         both declared",
    )
}

fn taking_along(view: &View<'_>) -> Verdict {
    let mut against = Against::default();
    let credentials = &view.config.credentials;
    let mut shown = vec![
        Fact::software(
            "every object can be listed and read through S3, from any k sites that answer",
            "README.md",
        ),
        Fact::software(
            "havre recover rebuilds everything on another machine from the root key and the \
             sites; the formats are documented",
            "docs/formats/README.md",
        ),
    ];
    for tenant in &view.config.tenants {
        let own = credentials.iter().filter(|credential| credential.tenant == tenant.name).count();
        let fact = Fact::computed(format!("tenant {} has {own} credentials", tenant.name));
        if own == 0 { against.facts.push(fact) } else { shown.push(fact) }
    }
    if view.config.tenants.is_empty() {
        against.facts.push(Fact::computed("no tenant is declared: nobody can read anything"));
    }
    against.unless(shown, "a credential for each tenant")
}

fn operators(view: &View<'_>) -> Vec<Fact> {
    view.site_facts(view.used())
}

fn contract(view: &View<'_>) -> Verdict {
    organisation("Does the contract with each of these operators say so?", operators(view))
}

fn information(view: &View<'_>) -> Verdict {
    organisation("Where does each operator say it?", operators(view))
}

fn transparency(view: &View<'_>) -> Verdict {
    organisation(
        "Where does each operator publish it, and does it agree with what is declared here?",
        operators(view),
    )
}

fn charges(_: &View<'_>) -> Verdict {
    organisation("Which charges does each contract name for data that is taken away?", Vec::new())
}

fn equivalence(view: &View<'_>) -> Verdict {
    let fact = |site: &crate::config::Site| {
        let scheme = site.url.split_once(':').map_or("file", |(scheme, _)| scheme);
        let scheme = if site.url.starts_with('/') { "file" } else { scheme };
        Fact::computed(format!("site {} is used by the protocol {scheme}", site.name))
    };
    organisation(
        "Are the interfaces that are used the operators' open ones?",
        view.config.sites.iter().map(fact).collect(),
    )
}

fn exempt(_: &View<'_>) -> Verdict {
    organisation("Does an operator say that its service is exempt?", Vec::new())
}

fn governments(view: &View<'_>) -> Verdict {
    let mut facts = vec![built::locks()];
    facts.extend(view.shards_facts());
    facts.extend(view.seat_facts());
    facts.extend(view.site_facts(view.used()));
    view.could_read().unless(
        facts,
        "no gateway and no administrator within the reach of states outside the Union, and no key \
         together with k shards",
    )
}

fn requests(_: &View<'_>) -> Verdict {
    organisation(
        "Does each contract oblige the operator to tell of a request before it is answered?",
        vec![built::access_log()],
    )
}
