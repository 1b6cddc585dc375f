//! What a run is judged by.

use serde::{Deserialize, Serialize};

use crate::{
    record::Kind,
    report::{Operation, ProcessReport, Total},
    siege::{AttackKind, AttackReport},
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
    /// How many newcomers may be turned away during a siege.
    pub newcomers_refused: Option<u64>,
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

    /// Judges a siege: whether everybody attacked, and whether newcomers were served.
    pub fn judge_attacks(&self, attacks: &[AttackReport]) -> Vec<Criterion> {
        if attacks.is_empty() {
            return Vec::new();
        }
        let idle: Vec<_> = attacks.iter().filter(|attack| attack.begun == 0).map(|attack| attack.kind.name()).collect();
        let newcomers = attacks.iter().filter(|attack| attack.kind == AttackKind::Newcomers);
        let (begun, refused) = newcomers.fold((0, 0), |sum, one| (sum.0 + one.begun, sum.1 + one.refused));
        let mut judged = vec![Criterion {
            name: "attacks",
            met: idle.is_empty(),
            value: Some(idle.len() as f64),
            limit: 0.0,
            detail: if idle.is_empty() { "all of them began".to_owned() } else { format!("no {}", idle.join(", ")) },
        }];
        judged.extend(self.newcomers_refused.map(|limit| Criterion {
            name: "newcomers_refused",
            met: begun > 0 && refused <= limit,
            value: Some(refused as f64),
            limit: limit as f64,
            detail: format!("{refused} newcomers were not served, of {begun} connections"),
        }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gauge::Sample, record::Quantiles};

    #[test]
    fn a_siege_is_judged_by_whether_it_took_place_and_whether_newcomers_were_served() {
        let report = |kind, begun, refused| AttackReport {
            kind,
            from: std::net::Ipv4Addr::LOCALHOST,
            at_once: 1,
            begun,
            refused,
        };
        let criteria = Criteria { newcomers_refused: Some(0), ..Criteria::default() };
        let judge = |attacks: &[AttackReport]| {
            criteria.judge_attacks(attacks).iter().map(|criterion| criterion.met).collect::<Vec<_>>()
        };
        let (streams, newcomers) = (AttackKind::Streams, AttackKind::Newcomers);
        assert_eq!(judge(&[report(streams, 1, 1), report(newcomers, 9, 0)]), [true, true]);
        assert_eq!(judge(&[report(streams, 0, 0), report(newcomers, 9, 1)]), [false, false]);
        assert_eq!(judge(&[report(streams, 1, 0)]), [true, false], "without newcomers nothing is shown");
        assert!(judge(&[]).is_empty());
    }

    fn operation(kind: Kind, lost: u64, ms: f64) -> Operation {
        let us = 1000.0 * ms;
        Operation {
            fleet: kind.name().to_owned(),
            kind,
            transport: "udp",
            sessions: 1,
            connections: 1,
            threads: 1,
            rate: 100.0,
            timeout_s: 1.0,
            sent: 1000,
            unsent: 0,
            on_time: 1000 - lost,
            late: 0,
            bad: 0,
            lost,
            loss: lost as f64 / 1000.0,
            bad_by_kind: [].into(),
            refused_by_status: [].into(),
            failed: 0,
            duplicates: 0,
            strays: 0,
            sent_per_s: 100.0,
            answered_per_s: 100.0,
            latency_us: Quantiles { mean: us, p50: us / 4.0, p90: us / 2.0, p99: us, p999: 2.0 * us, max: 3.0 * us },
            service_time_us: Quantiles::default(),
            send_lag_us: Quantiles::default(),
            series: Vec::new(),
        }
    }

    const TOTAL: Total = Total { sent: 1000, unsent: 0, answered: 1000, late: 0, bad: 0, lost: 0, sent_per_s: 100.0 };

    fn server(rss: &[u64]) -> ProcessReport {
        let sample = |(second, rss): (usize, &u64)| Sample { t_s: second as f64, cores: 0.5, rss: *rss };
        ProcessReport {
            pid: 1,
            cpu_s: 1.0,
            cores: 0.5,
            cpu_per_op_us: 1.0,
            first_rss: *rss.first().unwrap_or(&1),
            last_rss: *rss.last().unwrap_or(&1),
            max_rss: rss.iter().copied().max().unwrap_or(1),
            udp_drops: None,
            samples: rss.iter().enumerate().map(sample).collect(),
        }
    }

    /// Whether the criterion of this name is met; `None` where nobody asked.
    fn met(judged: &[Criterion], name: &str) -> Option<bool> {
        judged.iter().find(|criterion| criterion.name == name).map(|criterion| criterion.met)
    }

    #[test]
    fn a_figure_is_met_up_to_its_limit_and_not_beyond() {
        let operations = [operation(Kind::Beats, 10, 8.0), operation(Kind::Verdicts, 0, 3.0)];
        let total = Total { late: 5, bad: 2, unsent: 3, answered: 500, ..TOTAL };
        // Of `answered_per_s` less is worse.
        for (name, figure, better) in [
            ("loss", 0.01, 1.0),
            ("bad", 2.0, 1.0),
            ("unsent", 3.0, 1.0),
            ("late", 5.0, 1.0),
            ("p50_ms", 2.0, 1.0),
            ("p99_ms", 8.0, 1.0),
            ("p999_ms", 16.0, 1.0),
            ("verdict_p99_ms", 3.0, 1.0),
            ("answered_per_s", 50.0, -1.0),
        ] {
            let judge = |limit: f64| {
                let open = "bad = 9\nunsent = 9\n".lines().filter(|line| !line.starts_with(name));
                let text = open.chain([&*format!("{name} = {limit}")]).collect::<Vec<_>>().join("\n");
                met(&toml::from_str::<Criteria>(&text).unwrap().judge(&operations, &total), name)
            };
            let step = better * if name == "loss" { 0.001 } else { 1.0 };
            assert_eq!((judge(figure + step), judge(figure)), (Some(true), Some(true)), "{name}");
            assert_eq!(judge(figure - step), Some(false), "{name}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_not_judged_but_bad_answers_and_what_was_not_sent_always_are() {
        let judged = Criteria::default().judge(&[operation(Kind::Beats, 1000, 1e6)], &TOTAL);
        let names: Vec<_> = judged.iter().map(|criterion| criterion.name).collect();
        assert_eq!(names, ["bad", "unsent"]);
        assert!(judged.iter().all(|criterion| criterion.met));
        assert!(Criteria::default().judge_server(None).is_empty());
        let judged = Criteria::default().judge(&[], &Total { bad: 1, unsent: 1, ..TOTAL });
        assert_eq!((met(&judged, "bad"), met(&judged, "unsent")), (Some(false), Some(false)));
    }

    #[test]
    fn a_figure_that_is_missing_is_not_met() {
        let all = Criteria {
            p50_ms: Some(1e9),
            p99_ms: Some(1e9),
            p999_ms: Some(1e9),
            verdict_p99_ms: Some(1e9),
            answered_per_s: Some(1.0),
            loss: Some(1.0),
            server_cores: Some(1e9),
            server_rss_mb: Some(1e9),
            server_rss_growth: Some(1e9),
            ..Criteria::default()
        };
        let judged = all.judge(&[], &Total::default());
        for name in ["loss", "p50_ms", "p99_ms", "p999_ms", "verdict_p99_ms", "answered_per_s"] {
            assert_eq!(met(&judged, name), Some(false), "{name}");
        }
        let judged = all.judge_server(None);
        for name in ["server_cores", "server_rss_mb", "server_rss_growth"] {
            assert_eq!(met(&judged, name), Some(false), "{name}");
        }
        assert_eq!(met(&all.judge_server(Some(&server(&[]))), "server_rss_growth"), Some(false), "without samples");
    }

    #[test]
    fn the_operation_that_fares_worst_decides_and_forged_frames_are_not_lost() {
        let limit = Criteria { loss: Some(0.01), p99_ms: Some(5.0), ..Criteria::default() };
        let good = operation(Kind::Beats, 0, 1.0);
        let judge = |other: Operation| {
            let judged = limit.judge(&[good.clone(), other], &TOTAL);
            (met(&judged, "loss").unwrap(), met(&judged, "p99_ms").unwrap())
        };
        assert_eq!(judge(operation(Kind::Beats, 11, 6.0)), (false, false));
        assert_eq!(judge(operation(Kind::Verdicts, 11, 6.0)), (false, true));
        assert_eq!(judge(operation(Kind::Forged, 1000, 6.0)), (true, true));
    }

    #[test]
    fn a_service_is_judged_by_what_it_used_and_by_how_it_grew_after_a_fifth_of_the_way() {
        // What it takes while it warms up is not growth.
        let grown = server(&[
            10_000_000,
            50_000_000,
            100_000_000,
            104_000_000,
            104_000_000,
            105_000_000,
            106_000_000,
            107_000_000,
            108_000_000,
            110_000_000,
        ]);
        assert!((growth(&grown).unwrap() - 0.1).abs() < 1e-9);
        let judge = |cores, rss_mb, growth| {
            let (server_cores, server_rss_mb, server_rss_growth) = (Some(cores), Some(rss_mb), Some(growth));
            let criteria = Criteria { server_cores, server_rss_mb, server_rss_growth, ..Criteria::default() };
            criteria.judge_server(Some(&grown)).iter().map(|criterion| criterion.met).collect::<Vec<_>>()
        };
        assert_eq!(judge(0.5, 110.0, 0.11), [true, true, true]);
        assert_eq!(judge(0.49, 109.0, 0.09), [false, false, false]);
        assert!((growth(&server(&[100, 90])).unwrap() + 0.1).abs() < 1e-9, "it may shrink");
    }
}
