//! What the verdict functions of all packs ask of a configuration.
//!
//! **Invariant.** Whatever is said is computed by `havre_policy` or stands in the configuration.
//!
//! **Deliberately absent.** What a framework wants.
//!
//! **Crash.** Values only.

use super::{
    Fact, Observed, Verdict,
    outlook::{Adverse, Outlook},
};
use crate::{
    check::is_clear,
    config::{Config, Listener, OptionValue, SecretRef, Site},
};
use havre_model::SiteSet;
use havre_policy::{
    Evidence, Facts, FactsError, Holds, Link, OperatorFacts, Ownership, PartyId, PartyKind,
    PlacementPolicy, SeatKind, Tie,
};
use std::collections::BTreeSet;

/// A configuration, and whom a pack is about.
pub(super) struct View<'a> {
    pub(super) config: &'a Config,
    pub(super) observed: Observed,
    pub(super) policies: Vec<PlacementPolicy>,
    pub(super) outlook: Outlook,
}

/// What stands against an item, and what is missing to say that nothing does.
#[derive(Default)]
pub(super) struct Against {
    pub(super) facts: Vec<Fact>,
    pub(super) missing: Vec<String>,
}

impl Against {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.facts.extend(other.facts);
        self.missing.extend(other.missing);
        self.missing.sort();
        self.missing.dedup();
        self
    }

    /// Not satisfied if anything stands against it or is missing; else satisfied by `facts`.
    pub(super) fn unless(self, facts: Vec<Fact>, what_would_change_it: &str) -> Verdict {
        let Self { facts: mut against, missing } = self;
        if against.is_empty() && missing.is_empty() {
            return Verdict::Satisfied { facts };
        }
        if against.is_empty() {
            against.push(Fact::computed(
                "nothing that is declared stands against it, but not enough is declared to say so",
            ));
        }
        Verdict::NotSatisfied {
            facts: against,
            missing_declarations: missing,
            what_would_change_it: what_would_change_it.to_owned(),
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn new(
        config: &'a Config,
        observed: Observed,
        adverse: &Adverse,
    ) -> Result<Self, FactsError> {
        let outlook = Outlook::new(config.facts().declared(), adverse)?;
        Ok(Self { config, observed, policies: config.placement_policies(), outlook })
    }

    pub(super) fn facts(&self) -> &Facts {
        self.config.facts()
    }

    /// The sites that any policy uses.
    pub(super) fn used(&self) -> SiteSet {
        self.policies.iter().fold(SiteSet::EMPTY, |all, policy| all.union(policy.eligible()))
    }

    pub(super) fn names(&self, sites: SiteSet) -> String {
        let sites = sites.iter().map(|site| self.facts().sites()[site].name.as_str());
        sites.collect::<Vec<_>>().join(", ")
    }

    /// Where the site lies and who runs it, with what is declared of that operator.
    pub(super) fn site_fact(&self, position: usize) -> Fact {
        let site = &self.facts().sites()[position];
        let mut text =
            format!("site {} lies in {} and is run by {}", site.name, site.location, site.operator);
        if let Some(operator) = self.operator(&site.operator) {
            text.push_str(&self.said_of(operator));
        }
        let evidence = self.facts().declared().site_evidence.get(position).cloned();
        Fact::of(text, &evidence.unwrap_or_default())
    }

    pub(super) fn site_facts(&self, sites: SiteSet) -> Vec<Fact> {
        sites.iter().map(|position| self.site_fact(position)).collect()
    }

    /// Where the seat is and who runs it.
    pub(super) fn seat_fact(&self, seat: usize) -> Fact {
        let seat = &self.facts().seats()[seat];
        let mut text = format!("{seat}:");
        if !seat.locations.is_empty() {
            text.push_str(&format!(" in {};", seat.locations.join(", ")));
        }
        match &seat.operator {
            None => text.push_str(" run or employed by nobody that is declared"),
            Some(name) => {
                text.push_str(&format!(" run or employed by {name}"));
                let said = self.operator(name).map(|operator| self.said_of(operator));
                text.push_str(&said.unwrap_or_default());
            }
        }
        Fact::of(text, &seat.evidence)
    }

    pub(super) fn seat_facts(&self) -> Vec<Fact> {
        (0..self.facts().seats().len()).map(|seat| self.seat_fact(seat)).collect()
    }

    pub(super) fn operator(&self, name: &str) -> Option<&OperatorFacts> {
        let same = |operator: &&OperatorFacts| {
            operator.name.trim().to_lowercase() == name.trim().to_lowercase()
        };
        self.facts().operators().iter().find(same)
    }

    /// What is declared of an operator, overrides too, as the end of a sentence.
    pub(super) fn said_of(&self, operator: &OperatorFacts) -> String {
        let mut text = describe(operator);
        for (entry, _) in self.facts().overrides() {
            if entry.operator.trim().to_lowercase() == operator.name.trim().to_lowercase() {
                let answers = if entry.answers { "answers" } else { "does not answer" };
                let (party, reason) = (&entry.party, &entry.reason);
                text.push_str(&format!(
                    "; an override says that it {answers} to {party}: {reason} [{}]",
                    entry.evidence
                ));
            }
        }
        text
    }

    /// The gateway's host among the seats.
    pub(super) fn host(&self) -> Option<usize> {
        self.facts().seats().iter().position(|seat| seat.kind == SeatKind::Host)
    }

    /// Who of those that the pack is about reaches a seat that passes `wanted`, and the seats that
    /// would have to be declared.
    pub(super) fn seats_against(&self, wanted: impl Fn(SeatKind, Holds) -> bool) -> Against {
        let mut against = Against::default();
        let outlook = &self.outlook;
        for (place, seat) in self.facts().seats().iter().enumerate() {
            if !wanted(seat.kind, seat.holds) {
                continue;
            }
            if outlook.seats().iter().any(|held| held == place) {
                let links = outlook.why_seat(place);
                against.facts.extend(reasons(&seat.to_string(), outlook.name, &links));
            } else if outlook.seats_at_worst().iter().any(|held| held == place) {
                let missing = outlook.missing_seat(place);
                against.missing.extend(missing.iter().map(|what| format!("of {seat}: {what}")));
            }
        }
        against
    }

    /// The seats that every configuration has and that this one does not declare.
    pub(super) fn seats_undeclared(&self) -> Against {
        let seats = self.facts().seats();
        let has = |kind: SeatKind| seats.iter().any(|seat| seat.kind == kind);
        let mut missing = Vec::new();
        if !has(SeatKind::Host) {
            missing.push("[gateway.host]: who runs the gateway's host, and where".to_owned());
        }
        if !has(SeatKind::Administrator) {
            missing.push("[[administrator]]: who can act as the gateway does".to_owned());
        }
        Against { facts: Vec::new(), missing }
    }

    /// Who of them reaches a seat with plaintext or a key, whichever it is.
    pub(super) fn trust_domain_against(&self) -> Against {
        self.seats_undeclared().and(self.seats_against(|_, _| true))
    }

    /// Who of them reaches one of these sites.
    pub(super) fn sites_against(&self, sites: SiteSet) -> Against {
        let mut against = Against::default();
        let outlook = &self.outlook;
        for position in sites.iter() {
            let name = &self.facts().sites()[position].name;
            if outlook.sites().contains(position) {
                let links = outlook.why_site(position);
                against.facts.extend(reasons(&format!("site {name}"), outlook.name, &links));
            } else if outlook.sites_at_worst().contains(position) {
                let missing = outlook.missing_site(position);
                against
                    .missing
                    .extend(missing.iter().map(|what| format!("of site {name}: {what}")));
            }
        }
        against
    }

    /// For each policy, the most shards of one blob that they hold together.
    pub(super) fn shards_facts(&self) -> Vec<Fact> {
        let fact = |policy: &PlacementPolicy| {
            let geometry = policy.geometry();
            let (now, worst) = (self.shards(policy), self.shards_at_worst(policy));
            let undeclared = match worst > now {
                true => format!(" ({worst} if what is undeclared is theirs)"),
                false => String::new(),
            };
            Fact::computed(format!(
                "policy {}: {} together hold at most {now} of {} shards{undeclared}; {} decode",
                policy.name(),
                self.outlook.name,
                geometry.total(),
                geometry.data()
            ))
        };
        self.policies.iter().map(fact).collect()
    }

    /// The most shards of one blob that they hold together, by what is declared.
    pub(super) fn shards(&self, policy: &PlacementPolicy) -> usize {
        policy.most_held(self.outlook.sites())
    }

    pub(super) fn shards_at_worst(&self, policy: &PlacementPolicy) -> usize {
        policy.most_held(self.outlook.sites_at_worst())
    }

    /// Whether they could read: the gateway, or a key and enough shards.
    pub(super) fn could_read(&self) -> Against {
        let with_gateway =
            self.seats_undeclared().and(self.seats_against(|_, holds| holds == Holds::Gateway));
        let enough = |policy: &&PlacementPolicy, shards: usize| shards >= policy.geometry().data();
        let mut policies = self.policies.iter();
        if !policies.any(|policy| enough(&policy, self.shards_at_worst(policy))) {
            return with_gateway;
        }
        let mut with_key = self.seats_against(|_, holds| holds == Holds::Key);
        let mut policies = self.policies.iter();
        if !with_key.facts.is_empty()
            && !policies.any(|policy| enough(&policy, self.shards(policy)))
        {
            // The key is theirs, and whether the shards are rests on what is not declared.
            let sites = self.sites_against(self.used());
            with_key = Against { facts: Vec::new(), missing: sites.missing };
        }
        with_gateway.and(with_key)
    }

    /// What a listener or a site's connection shows to the network.
    pub(super) fn clear_connections(&self) -> Against {
        let mut facts = Vec::new();
        for listener in &self.config.listeners {
            if listener.tls.is_none() && !listener.address.ip().is_loopback() {
                let address = listener.address;
                facts.push(Fact::computed(format!("S3 is served in the clear at {address}")));
            }
        }
        for site in self.config.sites.iter().filter(|site| is_clear(site)) {
            let text = format!("site {} is reached without TLS: {}", site.name, site.url);
            facts.push(Fact::computed(text));
        }
        let hidden = self.config.sites.iter().filter(|site| is_hidden(site));
        let missing = hidden.map(|site| format!("site {}: its endpoint in plain", site.name));
        Against { facts, missing: missing.collect() }
    }

    /// How clients and sites are connected.
    pub(super) fn connections(&self) -> Vec<Fact> {
        let listener = |listener: &Listener| {
            let how = match (&listener.tls, listener.address.ip().is_loopback()) {
                (Some(_), _) => "with TLS",
                (None, true) => "in the clear, on this machine only",
                (None, false) => "in the clear",
            };
            Fact::computed(format!("S3 is served at {} {how}", listener.address))
        };
        let site = |site: &Site| {
            let how = match (site.url.split_once(':'), is_clear(site)) {
                _ if is_hidden(site) => "at an endpoint that is a secret",
                (_, true) => "without TLS",
                (Some(("file" | "memory", _)) | None, _) => "on this machine",
                (Some(("sftp", _)), _) => "by SSH",
                _ => "with TLS",
            };
            Fact::computed(format!("site {} is reached {how}", site.name))
        };
        self.config
            .listeners
            .iter()
            .map(listener)
            .chain(self.config.sites.iter().map(site))
            .collect()
    }

    /// The jurisdictions of these sites and of the seats, each once.
    pub(super) fn locations(&self, sites: SiteSet) -> String {
        let sites = sites.iter().map(|site| self.facts().sites()[site].location.to_uppercase());
        let seats = self.facts().seats().iter().flat_map(|seat| seat.locations.iter());
        let mut codes: Vec<String> = sites.chain(seats.map(|code| code.to_uppercase())).collect();
        codes.sort();
        codes.dedup();
        codes.join(", ")
    }

    /// The parties that alone could come to hold `k` shards by what is declared; all together, whom
    /// the pack is about, aside.
    pub(super) fn alone_enough(&self, policy: &PlacementPolicy) -> Vec<Fact> {
        let facts = &self.outlook.facts;
        let held = self.each_alone(facts, |id| policy.most_held(facts.reach(id)));
        let enough = held.filter(|(_, shards)| *shards >= policy.geometry().data());
        enough.map(|(id, shards)| self.holds_fact(facts, policy, id, shards)).collect()
    }

    /// Whether one of them could, with everything that is undeclared in its hands.
    pub(super) fn is_one_enough_at_worst(&self, policy: &PlacementPolicy) -> bool {
        let outlook = &self.outlook;
        let held =
            self.each_alone(&outlook.worst, |id| policy.most_held(outlook.reach_at_worst(id)));
        held.into_iter().any(|(_, shards)| shards >= policy.geometry().data())
    }

    /// The one that holds most alone.
    pub(super) fn most_alone(&self, policy: &PlacementPolicy) -> Option<Fact> {
        let facts = &self.outlook.facts;
        let held = self.each_alone(facts, |id| policy.most_held(facts.reach(id)));
        let (id, shards) = held.max_by_key(|(_, shards)| *shards)?;
        Some(self.holds_fact(facts, policy, id, shards))
    }

    fn each_alone<'b>(
        &'b self,
        facts: &'b Facts,
        held: impl Fn(PartyId) -> usize + 'b,
    ) -> impl Iterator<Item = (PartyId, usize)> + 'b {
        let alone = facts.party_ids().filter(|id| !self.outlook.is_group(facts, *id));
        alone.map(move |id| (id, held(id)))
    }

    fn holds_fact(
        &self,
        facts: &Facts,
        policy: &PlacementPolicy,
        id: PartyId,
        shards: usize,
    ) -> Fact {
        let geometry = policy.geometry();
        let reach = facts.reach(id).intersection(policy.eligible());
        Fact::computed(format!(
            "policy {}: {} alone reaches {} and holds at most {shards} of {} shards; {} decode",
            policy.name(),
            facts.party(id),
            self.names(reach),
            geometry.total(),
            geometry.data()
        ))
    }

    /// Owners and operators that reach the trust domain and a site as well.
    pub(super) fn both_sides(&self) -> Vec<Fact> {
        let facts = self.facts();
        let is_entity =
            |id: &PartyId| matches!(facts.party(*id).kind, PartyKind::Operator | PartyKind::Owner);
        let both = facts.party_ids().filter(is_entity).filter(|id| {
            !facts.seats_held(*id).is_empty()
                && !facts.reach(*id).intersection(self.used()).is_empty()
        });
        let fact = |id: PartyId| {
            let seats = facts.seats_held(id).iter().map(|seat| facts.seats()[seat].to_string());
            let seats: Vec<String> = seats.collect();
            let sites = self.names(facts.reach(id).intersection(self.used()));
            Fact::computed(format!(
                "{} has {} and stands behind {sites}",
                facts.party(id),
                seats.join(", ")
            ))
        };
        both.map(fact).collect()
    }

    /// What is not declared of who stands behind the seats and the sites: the same may be behind
    /// both.
    pub(super) fn holders_undeclared(&self) -> Against {
        let seats = self.facts().seats().iter().enumerate();
        let unknown = seats.clone().filter(|(_, seat)| seat.operator.is_none());
        let mut missing: Vec<String> =
            unknown.map(|(_, seat)| format!("who runs or employs {seat}")).collect();
        missing.extend(seats.flat_map(|(place, _)| self.outlook.missing_holders_of_seat(place)));
        let sites = self.used();
        missing.extend(sites.iter().flat_map(|site| self.outlook.missing_holders_of_site(site)));
        Against { facts: Vec::new(), missing }.and(self.seats_undeclared())
    }

    /// The third countries, or whichever states the pack is about, that are behind the declared
    /// facts.
    pub(super) fn states(&self) -> Fact {
        let sites = self.used();
        let sites = sites.iter().flat_map(|position| self.outlook.why_site(position));
        let seats = self.facts().seats().len();
        let seats = (0..seats).flat_map(|seat| self.outlook.why_seat(seat));
        let steps = sites.chain(seats).flat_map(|link| link.steps);
        let codes = steps.filter_map(|step| match step.tie {
            Tie::Member { code, .. } => Some(code),
            _ => None,
        });
        let codes: BTreeSet<String> = codes.collect();
        let codes: Vec<String> = codes.into_iter().collect();
        match codes.is_empty() {
            true => {
                Fact::computed(format!("nothing that is declared leads to {}", self.outlook.name))
            }
            false => Fact::computed(format!("{}: {}", self.outlook.name, codes.join(", "))),
        }
    }

    /// Where the root key is.
    pub(super) fn root_key(&self) -> Fact {
        let mode = match self.observed.root_key_mode {
            Some(mode) => format!(", mode {mode:04o}"),
            None => ", not seen on this machine".to_owned(),
        };
        let place = &self.config.gateway.root_key;
        let mode = match place {
            SecretRef::File(_) => mode,
            SecretRef::Env(_) => String::new(),
        };
        Fact::computed(format!(
            "root key: {place}{mode}, read on the gateway's host; copies of it are not declared"
        ))
    }
}

/// Whether the configuration does not show by which scheme the site is reached.
fn is_hidden(site: &Site) -> bool {
    matches!(site.options.get("endpoint"), Some(OptionValue::Secret(_)))
}

/// Each link as a fact, with the sources of its steps.
pub(super) fn reasons(place: &str, whom: &str, links: &[Link]) -> Vec<Fact> {
    let fact = |link: &Link| {
        let (source, date) = sources(link);
        Fact { fact: format!("{place}: {whom}: {link}"), source, date }
    };
    links.iter().map(fact).collect()
}

/// The sources and the latest date of a link's steps; that a state is one of those that the pack is
/// about is no fact of the configuration, and its source stands with the list.
fn sources(link: &Link) -> (Option<String>, Option<String>) {
    let mut evidence: Vec<&Evidence> = Vec::new();
    for step in &link.steps {
        match &step.tie {
            Tie::Member { .. } => {}
            Tie::Held { holders, .. } => {
                evidence.extend(holders.iter().map(|holder| &holder.evidence));
            }
            _ => evidence.push(&step.evidence),
        }
    }
    let mut sources: Vec<&str> = Vec::new();
    for source in evidence.iter().filter_map(|evidence| evidence.source.as_deref()) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    if !sources.is_empty() && evidence.iter().any(|evidence| evidence.source.is_none()) {
        sources.push("no source for a part of it");
    }
    let date = evidence.iter().filter_map(|evidence| evidence.date.clone()).max();
    ((!sources.is_empty()).then(|| sources.join("; ")), date)
}

/// What is declared of an operator, as the end of a sentence.
fn describe(operator: &OperatorFacts) -> String {
    let mut parts = Vec::new();
    parts.extend(operator.incorporation.as_ref().map(|code| format!("incorporated in {code}")));
    parts.extend(operator.headquarters.as_ref().map(|code| format!("led from {code}")));
    let owner = |owner: &Ownership| {
        let share = owner.capital.or(owner.votes);
        let share = share.map_or_else(|| "an undeclared share".to_owned(), |s| s.to_string());
        let whom = owner.jurisdiction.as_ref().map(|code| format!(", {code}")).unwrap_or_default();
        format!("{} ({share}{whom})", owner.owner)
    };
    let owners: Vec<String> = operator.owners.iter().map(owner).collect();
    if !owners.is_empty() {
        parts.push(format!("owned by {}", owners.join(", ")));
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}
