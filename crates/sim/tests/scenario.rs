//! The simulation itself: that a seed repeats, that nothing breaks, and that the checkers find what
//! is broken on purpose.

use havre_sim::ledger::Rule;
use havre_sim::scenario::{Options, Report, STEPS, Sabotage, run};

fn play(seed: u64, sabotage: Sabotage) -> Report {
    let measures = matches!(
        sabotage,
        Sabotage::DeleteFirst | Sabotage::IgnoreExclusions | Sabotage::ForgetGuarantee
    );
    run(Options { seed, steps: STEPS, prints: false, measures, sabotage })
}

#[test]
fn a_seed_gives_one_trace_and_another_seed_another() {
    for seed in [3, 8, 21] {
        let (first, second) = (play(seed, Sabotage::Nothing), play(seed, Sabotage::Nothing));
        assert!(first.lines > 100, "{} events", first.lines);
        assert_eq!((first.hash, first.lines), (second.hash, second.lines));
        assert_ne!(first.hash, play(seed + 100, Sabotage::Nothing).hash);
    }
}

#[test]
fn nothing_breaks_and_much_happens() {
    let mut total = Report::default();
    for seed in 1..=24 {
        let report = play(seed, Sabotage::Nothing);
        let command = havre_sim::command(seed, STEPS, false);
        assert!(report.violations.is_empty(), "{:?}; {command}", report.violations);
        total.operations += report.operations;
        total.packs += report.packs;
        total.kills += report.kills;
        total.recoveries += report.recoveries;
        total.collections += report.collections;
        total.inspections += report.inspections;
        total.checks += report.checks;
    }
    assert!(total.operations > 2_000 && total.packs > 400, "{total:?}");
    assert!(total.kills > 60 && total.recoveries > 20 && total.collections > 60, "{total:?}");
    assert!(total.checks > 5_000, "{total:?}");
}

/// Whether a measure breaks a rule, a run of many rounds tells (`cargo xtask sim --measures`).
#[test]
fn measures_are_taken() {
    let mut total = Report::default();
    for seed in 1..=12 {
        let sabotage = Sabotage::Nothing;
        let report = run(Options { seed, steps: STEPS, prints: false, measures: true, sabotage });
        total.passes += report.passes;
        total.exclusions += report.exclusions;
        total.facts += report.facts;
        total.changes += report.changes;
        total.cuts += report.cuts;
    }
    assert!(total.passes > 100 && total.cuts > 10, "{total:?}");
    assert!(total.exclusions > 25 && total.facts > 5 && total.changes > 2, "{total:?}");
}

/// Some of the seeds show the defect, and each that does breaks one of the rules.
#[track_caller]
fn check(sabotage: Sabotage, rules: &[Rule]) {
    let found: Vec<Rule> = (1..=8)
        .flat_map(|seed| play(seed, sabotage).violations)
        .map(|violation| violation.rule)
        .collect();
    assert!(found.iter().any(|rule| rules.contains(rule)), "{sabotage:?}: {found:?}");
}

#[test]
fn sites_that_throw_away_what_they_confirmed_are_found() {
    check(Sabotage::DropAcknowledged, &[Rule::AcknowledgedIsReadable]);
}

#[test]
fn an_answer_before_the_shards_are_stored_is_found() {
    check(Sabotage::ConfirmEarly, &[Rule::AcknowledgedWithinGuarantee]);
}

#[test]
fn a_garbage_collection_that_takes_everything_is_found() {
    check(Sabotage::CollectAll, &[Rule::NothingNeededIsCollected]);
}

#[test]
fn a_site_that_comes_to_hold_too_much_is_found() {
    check(Sabotage::Leak, &[Rule::NoCoalitionHoldsK]);
}

#[test]
fn other_bytes_than_were_written_are_found() {
    check(Sabotage::Misremember, &[Rule::NeverWrongBytes]);
}

#[test]
fn a_move_that_deletes_before_the_copy_is_stored_is_found() {
    check(Sabotage::DeleteFirst, &[Rule::StaysWithinGuarantee]);
}

#[test]
fn a_gateway_that_goes_on_placing_at_excluded_sites_is_found() {
    check(Sabotage::IgnoreExclusions, &[Rule::ClosedSitesGetNothing]);
}

#[test]
fn a_keeper_that_forgets_the_guarantee_is_found() {
    check(Sabotage::ForgetGuarantee, &[Rule::NoCoalitionHoldsK]);
}
