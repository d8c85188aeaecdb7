//! The table and the JSON of a bench.
//!
//! **Invariant.** Both hold the same figures; the table rounds them.
//!
//! **Deliberately absent.** Verdicts: whether a figure is good stands in the budget, not here.
//!
//! **Crash.** Nothing is kept.

use super::Options;
use super::workload::{Operation, Turn, Workload};
use serde_json::{Value, json};

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// One workload at one server.
pub(super) struct Row {
    workload: String,
    server: String,
    operations_per_second: f64,
    mib_per_second: f64,
    keys_per_second: Option<f64>,
    p50_ms: f64,
    p99_ms: f64,
    cpu_seconds_per_gib: Option<f64>,
    cpu_us_per_operation: f64,
    client_cpu_share: f64,
    peak_memory_mib: f64,
    fsyncs_per_object: Option<f64>,
    requests_per_object: Option<f64>,
    ratio: Option<f64>,
}

impl Row {
    pub(super) fn new(load: &Workload, server: &str, turns: &[Turn], ratio: Option<f64>) -> Self {
        let sum = |field: fn(&Turn) -> f64| turns.iter().map(field).sum::<f64>();
        let (seconds, bytes) = (sum(|turn| turn.seconds), sum(|turn| turn.bytes as f64));
        let (operations, cpu) = (sum(|turn| turn.operations as f64), sum(|turn| turn.cpu_seconds));
        let mut latencies: Vec<u32> =
            turns.iter().flat_map(|turn| turn.latencies_us.iter().copied()).collect();
        latencies.sort_unstable();
        let objects = match load.operation {
            Operation::Put(_) => sum(|turn| turn.written as f64),
            _ => operations,
        };
        let counted = |name: &str| {
            let values = turns.iter().filter_map(|turn| turn.counters.get(name));
            let has = turns.iter().any(|turn| turn.counters.contains_key(name));
            has.then(|| values.sum::<f64>() / objects)
        };
        let is_list = load.operation == Operation::List;
        Self {
            workload: load.name.clone(),
            server: server.to_owned(),
            operations_per_second: operations / seconds,
            mib_per_second: bytes / MIB / seconds,
            keys_per_second: is_list.then(|| sum(|turn| turn.keys as f64) / seconds),
            p50_ms: percentile(&latencies, 50),
            p99_ms: percentile(&latencies, 99),
            // A listing's bytes are XML; its cost is counted by operation.
            cpu_seconds_per_gib: (!is_list && bytes > 0.0).then(|| cpu / (bytes / GIB)),
            cpu_us_per_operation: cpu / operations * 1e6,
            client_cpu_share: sum(|turn| turn.client_cpu_seconds) / seconds,
            peak_memory_mib: turns
                .iter()
                .map(|turn| turn.peak_memory_bytes as f64 / MIB)
                .fold(0.0, f64::max),
            fsyncs_per_object: counted("havre_site_fsyncs_total"),
            requests_per_object: counted("havre_site_requests_total"),
            ratio,
        }
    }

    pub(super) fn line(&self) -> String {
        let optional = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let rate = match self.keys_per_second {
            Some(keys) => format!("{keys:.0} keys"),
            None => format!("{:.0}", self.operations_per_second),
        };
        format!(
            "{:<20}{:<8}{:>13}{:>9.1}{:>9.2}{:>9.2}{:>9}{:>8.0}{:>8.2}{:>8.0}{:>9}{:>9}{:>8}",
            self.workload,
            self.server,
            rate,
            self.mib_per_second,
            self.p50_ms,
            self.p99_ms,
            optional(self.cpu_seconds_per_gib, 2),
            self.cpu_us_per_operation,
            self.client_cpu_share,
            self.peak_memory_mib,
            optional(self.fsyncs_per_object, 3),
            optional(self.requests_per_object, 3),
            optional(self.ratio, 2),
        )
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.workload,
            "server": self.server,
            "operations_per_second": self.operations_per_second,
            "mib_per_second": self.mib_per_second,
            "keys_per_second": self.keys_per_second,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "cpu_seconds_per_gib": self.cpu_seconds_per_gib,
            "cpu_us_per_operation": self.cpu_us_per_operation,
            "client_cpu_share": self.client_cpu_share,
            "peak_memory_mib": self.peak_memory_mib,
            "fsyncs_per_object": self.fsyncs_per_object,
            "site_requests_per_object": self.requests_per_object,
            "ratio_to_yardstick": self.ratio,
        })
    }
}

/// Heads of the columns. The client's CPU is a share of one core; where it nears the machine's, the
/// client was what was measured.
pub(super) fn header() -> String {
    format!(
        "{:<20}{:<8}{:>13}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>9}{:>9}{:>8}",
        "workload",
        "server",
        "ops/s",
        "MiB/s",
        "p50 ms",
        "p99 ms",
        "CPU/GiB",
        "CPU us",
        "client",
        "MiB",
        "fsyncs",
        "site rq",
        "ratio"
    )
}

/// The whole run.
pub(super) fn json(rows: &[Row], options: &Options) -> Value {
    json!({
        "policy": options.policy.as_deref().unwrap_or("default"),
        "turn_seconds": options.seconds,
        "turns": options.rounds,
        "yardstick_nodelay": options.nodelay,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    })
}

/// The value below which so many percent lie, in milliseconds. `sorted` holds microseconds.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    f64::from(sorted[last * percent / 100]) / 1000.0
}

/// The median over the turns of one server's rate divided by the other's in the turn beside it.
pub(super) fn median_ratio(ours: &[Turn], theirs: &[Turn]) -> f64 {
    let rate = |turn: &Turn| (turn.operations.max(turn.keys)) as f64 / turn.seconds;
    let mut ratios: Vec<f64> =
        ours.iter().zip(theirs).map(|(ours, theirs)| rate(ours) / rate(theirs)).collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => ratios[count / 2],
        count => f64::midpoint(ratios[count / 2 - 1], ratios[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_the_sorted_list() {
        let sorted: Vec<u32> = (1..=101).map(|ms| ms * 1000).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (51.0, 100.0));
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn one_bad_turn_does_not_move_the_ratio() {
        let turn = |operations| Turn { operations, seconds: 1.0, ..Turn::default() };
        let ours = [turn(20), turn(2), turn(22)];
        let theirs = [turn(10), turn(10), turn(10)];
        assert_eq!(median_ratio(&ours, &theirs), 2.0);
    }
}
