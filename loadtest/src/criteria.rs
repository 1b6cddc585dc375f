//! What a run is judged by.

use serde::{Deserialize, Serialize};

use crate::{
    record::Kind,
    report::{Operation, ProcessReport, Total},
};

/// What a run is judged by. What is not named is not judged, but for bad answers and for what was not sent: none of
/// either is accepted unless a figure says so.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criteria {
    /// The share of messages that may be lost, over each kind of operation.
    pub loss: Option<f64>,
    /// How many answers may be bad.
    #[serde(default)]
    pub bad: u64,
    /// How many operations may be due and not sent.
    #[serde(default)]
    pub unsent: u64,
    /// How many answers may be late.
    pub late: Option<u64>,
    /// The median latency of beats, in ms.
    pub p50_ms: Option<f64>,
    /// The latency that 99 of 100 beats may have at most, in ms.
    pub p99_ms: Option<f64>,
    /// The latency that 999 of 1000 beats may have at most, in ms.
    pub p999_ms: Option<f64>,
    /// The latency that 99 of 100 verdicts may have at most, in ms.
    pub verdict_p99_ms: Option<f64>,
    /// Operations a second that must be answered well, all together.
    pub answered_per_s: Option<f64>,
    /// Processor time of the service as a share of one core.
    pub server_cores: Option<f64>,
    /// Memory of the service, in MB.
    pub server_rss_mb: Option<f64>,
    /// How much larger its memory may be at the end than a fifth of the way through, as a share.
    pub server_rss_growth: Option<f64>,
}

/// Something a run is judged by, and how it fared.
#[derive(Clone, Debug, Serialize)]
pub struct Criterion {
    /// What it is about.
    pub name: &'static str,
    /// Whether it is met.
    pub met: bool,
    /// The figure; null where there is none.
    pub value: Option<f64>,
    /// What the figure may be.
    pub limit: f64,
    /// The figures in words.
    pub detail: String,
}

impl Criteria {
    /// Judges what came of the operations.
    pub fn judge(&self, operations: &[Operation], total: &Total) -> Vec<Criterion> {
        let mut judged = Vec::new();
        if let Some(limit) = self.loss {
            judged.push(loss(operations, limit));
        }
        let at_most = |name, value: f64, limit: f64, detail| Criterion {
            name,
            met: value <= limit,
            value: Some(value),
            limit,
            detail,
        };
        judged.push(at_most("bad", total.bad as f64, self.bad as f64, format!("{} bad answers", total.bad)));
        let unsent = format!("{} operations were due and not sent", total.unsent);
        judged.push(at_most("unsent", total.unsent as f64, self.unsent as f64, unsent));
        if let Some(limit) = self.late {
            judged.push(at_most("late", total.late as f64, limit as f64, format!("{} late", total.late)));
        }
        for (name, kind, limit, of) in [
            ("p50_ms", Kind::Beats, self.p50_ms, (|q| q.latency_us.p50) as fn(&Operation) -> f64),
            ("p99_ms", Kind::Beats, self.p99_ms, |q| q.latency_us.p99),
            ("p999_ms", Kind::Beats, self.p999_ms, |q| q.latency_us.p999),
            ("verdict_p99_ms", Kind::Verdicts, self.verdict_p99_ms, |q| q.latency_us.p99),
        ] {
            let Some(limit) = limit else { continue };
            let ms = operations.iter().filter(|operation| operation.kind == kind).map(of).reduce(f64::max);
            let ms = ms.map(|us| us / 1000.0);
            judged.push(Criterion {
                name,
                met: ms.is_some_and(|ms| ms <= limit),
                value: ms,
                limit,
                detail: format!("{:.3} ms, {limit} accepted", ms.unwrap_or(f64::NAN)),
            });
        }
        if let Some(limit) = self.answered_per_s {
            let share = if total.sent == 0 { 0.0 } else { total.answered as f64 / total.sent as f64 };
            let rate = total.sent_per_s * share;
            judged.push(Criterion {
                name: "answered_per_s",
                met: rate >= limit,
                value: Some(rate),
                limit,
                detail: format!("{rate:.0} a second, at least {limit:.0} wanted"),
            });
        }
        judged
    }

    /// Judges what the service used. What could not be measured is not met.
    pub fn judge_server(&self, server: Option<&ProcessReport>) -> Vec<Criterion> {
        let cores = server.map(|server| server.cores);
        let rss_mb = server.map(|server| server.max_rss as f64 / 1e6);
        let growth = server.and_then(growth);
        [
            ("server_cores", self.server_cores, cores),
            ("server_rss_mb", self.server_rss_mb, rss_mb),
            ("server_rss_growth", self.server_rss_growth, growth),
        ]
        .into_iter()
        .filter_map(|(name, limit, value)| {
            let limit = limit?;
            let detail = match value {
                Some(value) => format!("{value:.3}, {limit} accepted"),
                None => "could not be measured".to_owned(),
            };
            Some(Criterion { name, met: value.is_some_and(|value| value <= limit), value, limit, detail })
        })
        .collect()
    }
}

/// The loss of the operations that fare worst.
fn loss(operations: &[Operation], limit: f64) -> Criterion {
    let nobody_answers = |operation: &&Operation| operation.kind != Kind::Forged;
    let worst = operations.iter().filter(nobody_answers).max_by(|a, b| a.loss.total_cmp(&b.loss));
    let counted: u64 = operations.iter().filter(nobody_answers).map(|operation| operation.sent).sum();
    let sent: u64 = operations.iter().map(|operation| operation.sent).sum();
    let percent = 100.0 * limit;
    Criterion {
        name: "loss",
        met: sent > 0 && worst.is_none_or(|worst| worst.loss <= limit),
        value: worst.map(|worst| worst.loss),
        limit,
        detail: match worst {
            Some(worst) if worst.lost == 0 => format!("none of {counted} lost, {percent:.4} % accepted"),
            Some(worst) => format!(
                "{} of {} {} lost, {percent:.4} % accepted",
                worst.lost,
                worst.sent,
                if worst.fleet == worst.kind.name() {
                    worst.fleet.clone()
                } else {
                    format!("{} ({})", worst.kind.name(), worst.fleet)
                }
            ),
            None => "nothing to lose".to_owned(),
        },
    }
}

/// How much larger memory was at the end than a fifth of the way through.
fn growth(server: &ProcessReport) -> Option<f64> {
    let early = server.samples.get(server.samples.len() / 5)?.rss as f64;
    Some(server.last_rss as f64 / early - 1.0)
}
