//! Configurations that several test files start from.
use havre_model::{BlobId, Geometry, ShardIndex, SiteSet};
use havre_policy::{
    CoalitionSpec, Facts, GuaranteeSpec, OnOutage, OperatorFacts, PartyKind, Permit,
    PlacementPolicy, PolicyError, PolicySpec, SiteFacts,
};

pub(crate) fn site(name: &str, operator: &str, location: &str) -> SiteFacts {
    SiteFacts { name: name.into(), operator: operator.into(), location: location.into() }
}

pub(crate) fn operator(name: &str) -> OperatorFacts {
    OperatorFacts { name: name.into(), ..OperatorFacts::default() }
}

/// Sites `s1`, `s2`, ...: two in each of so many jurisdictions `XA`, `XB`, ..., and as many
/// operators `o0`, `o1`, ..., each with one site in its own jurisdiction and one in the next.
pub(crate) fn two_in_each(jurisdictions: u8) -> Facts {
    let mut sites = Vec::new();
    for pair in 0..jurisdictions {
        let code = format!("X{}", char::from(b'A' + pair));
        for member in 0..2 {
            let operator = format!("o{}", (pair + member) % jurisdictions);
            sites.push(site(&format!("s{}", 2 * pair + member + 1), &operator, &code));
        }
    }
    let operators = (0..jurisdictions).map(|n| operator(&format!("o{n}"))).collect();
    Facts::new(sites, operators, 0.25).expect("the facts are sound")
}

pub(crate) fn any_jurisdiction() -> GuaranteeSpec {
    let any = vec![CoalitionSpec::AnyOne(PartyKind::Jurisdiction)];
    GuaranteeSpec { cannot_read: any.clone(), cannot_cut_off: any }
}

pub(crate) fn spec(k: u8, m: u8, guarantee: GuaranteeSpec) -> PolicySpec {
    PolicySpec {
        name: "p".into(),
        k,
        m,
        sites: None,
        exclude: vec![],
        guarantee,
        on_outage: OnOutage::Refuse,
    }
}

pub(crate) fn policy(facts: &Facts, k: u8, m: u8) -> Result<PlacementPolicy, PolicyError> {
    PlacementPolicy::new(facts, spec(k, m, any_jurisdiction()))
}

pub(crate) fn blob(number: u64) -> BlobId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    BlobId::from_bytes(bytes)
}

pub(crate) fn index(raw: u8, geometry: Geometry) -> ShardIndex {
    ShardIndex::new(raw, geometry).expect("the index is of the geometry")
}

pub(crate) fn set(positions: &[usize]) -> SiteSet {
    positions.iter().copied().collect()
}

/// Where a blob's permits lie.
pub(crate) fn sites_of(facts: &Facts, permits: &[Permit]) -> Vec<usize> {
    let position = |permit: &Permit| facts.position(permit.site()).expect("a declared site");
    permits.iter().map(position).collect()
}

/// Every subset of `of`.
pub(crate) fn subsets(of: SiteSet) -> impl Iterator<Item = SiteSet> {
    let positions: Vec<usize> = of.iter().collect();
    (0_u32..1 << positions.len()).map(move |bits| {
        let chosen = positions.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
        chosen.map(|(_, position)| *position).collect()
    })
}
