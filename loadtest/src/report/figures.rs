//! The figures of a report, made of what was recorded.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    fleet::FleetPlan,
    gauge::{Gauge, Sample},
    record::{Kind, Quantiles, Record},
    series::Series,
};

/// One kind of operation of one fleet. Each message that was sent is one of on time, late, bad and lost; of forged ones
/// each is silent or bad.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// The fleet's name.
    pub fleet: String,
    /// What was done.
    pub kind: Kind,
    /// How messages travelled.
    pub transport: &'static str,
    /// How many sessions took turns.
    pub sessions: u32,
    /// How many sockets or connections there were.
    pub connections: u16,
    /// How many threads shared the work.
    pub threads: u16,
    /// Operations a second that were asked for.
    pub rate: f64,
    /// After how long an answer was late, in seconds.
    pub timeout_s: f64,
    /// Sent.
    pub sent: u64,
    /// Due and not sent.
    pub unsent: u64,
    /// Good answers within the timeout.
    pub on_time: u64,
    /// Good answers after it.
    pub late: u64,
    /// Bad answers.
    pub bad: u64,
    /// Sent and not answered.
    pub lost: u64,
    /// `lost / sent`.
    pub loss: f64,
    /// The bad ones, by what is wrong with them.
    pub bad_by_kind: BTreeMap<String, u64>,
    /// Among the lost: answers with an HTTP status that says no.
    pub refused_by_status: BTreeMap<u16, u64>,
    /// Among the lost: exchanges that failed.
    pub failed: u64,
    /// Messages that were answered more than once.
    pub duplicates: u64,
    /// Answers to nothing.
    pub strays: u64,
    /// Sent a second.
    pub sent_per_s: f64,
    /// Good answers a second.
    pub answered_per_s: f64,
    /// From when operations were due to their good answers, late ones included.
    pub latency_us: Quantiles,
    /// From when they were sent to their good answers.
    pub service_time_us: Quantiles,
    /// From when they were due to when they were sent.
    pub send_lag_us: Quantiles,
    /// How it went over time.
    pub series: Vec<Row>,
}

/// A span of time, by when operations were due.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of `Operation`")]
pub struct Row {
    /// Its start, in seconds from that of the run.
    pub t_s: f64,
    /// How long it is, in seconds.
    pub width_s: f64,
    pub sent: u64,
    pub good: u64,
    pub late: u64,
    pub bad: u64,
    pub lost: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// All operations together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names are those of `Operation`")]
pub struct Total {
    pub sent: u64,
    pub unsent: u64,
    pub answered: u64,
    pub late: u64,
    pub bad: u64,
    pub lost: u64,
    pub sent_per_s: f64,
}

/// What a process used during the run.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessReport {
    /// Its id.
    pub pid: u32,
    /// Processor time, user and system, in seconds.
    pub cpu_s: f64,
    /// The same as a share of one core: 1.5 is one core and a half.
    pub cores: f64,
    /// The same for each operation that was sent, in microseconds.
    pub cpu_per_op_us: f64,
    /// Memory that was resident at the start, in bytes.
    pub first_rss: u64,
    /// Memory that was resident at the end, in bytes.
    pub last_rss: u64,
    /// The most memory that was resident, in bytes.
    pub max_rss: u64,
    /// Datagrams its socket dropped because its queue was full, where that could be told.
    pub udp_drops: Option<u64>,
    /// Once a second.
    pub samples: Vec<Sample>,
}

impl Operation {
    pub(super) fn new(plan: &FleetPlan, kind: Kind, record: &Record, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let lost = record.lost();
        Self {
            fleet: plan.name.clone(),
            kind,
            transport: plan.transport.name(),
            sessions: plan.sessions,
            connections: plan.connections,
            threads: plan.threads,
            rate: plan.rate.per_second(),
            timeout_s: plan.timeout.as_secs_f64(),
            sent: record.sent,
            unsent: record.unsent,
            on_time: record.on_time,
            late: record.late,
            bad: record.bad_answers(),
            lost,
            loss: if record.sent == 0 { 0.0 } else { lost as f64 / record.sent as f64 },
            bad_by_kind: record.bad.iter().map(|(bad, count)| (bad.name(), *count)).collect(),
            refused_by_status: record.refused.clone(),
            failed: record.failed,
            duplicates: record.duplicates,
            strays: record.strays,
            sent_per_s: record.sent as f64 / seconds,
            answered_per_s: record.good() as f64 / seconds,
            latency_us: record.latency(),
            service_time_us: record.service_time(),
            send_lag_us: record.send_lag(),
            series: rows(&record.series, kind),
        }
    }
}

fn rows(series: &Series, kind: Kind) -> Vec<Row> {
    let width_s = series.width().as_secs_f64();
    let row = |(number, span): (usize, &crate::series::Span)| Row {
        t_s: number as f64 * width_s,
        width_s,
        sent: span.sent,
        good: span.good,
        late: span.late,
        bad: span.bad,
        lost: if kind == Kind::Forged { 0 } else { span.sent.saturating_sub(span.good + span.bad) },
        p50_us: span.quantile_us(0.5),
        p90_us: span.quantile_us(0.9),
        p99_us: span.quantile_us(0.99),
        p999_us: span.quantile_us(0.999),
        max_us: span.max_us,
    };
    series.spans().iter().enumerate().map(row).collect()
}

impl Total {
    pub(super) fn of(operations: &[Operation], elapsed: Duration) -> Self {
        let mut total = Self::default();
        for operation in operations {
            total.sent += operation.sent;
            total.unsent += operation.unsent;
            total.answered += operation.on_time + operation.late;
            total.late += operation.late;
            total.bad += operation.bad;
            total.lost += operation.lost;
        }
        total.sent_per_s = total.sent as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        total
    }
}

impl ProcessReport {
    pub(super) fn new(gauge: &Gauge, sent: u64) -> Self {
        let cpu_s = gauge.cpu().as_secs_f64();
        Self {
            pid: gauge.pid().0,
            cpu_s,
            cores: cpu_s / gauge.watched().as_secs_f64().max(f64::MIN_POSITIVE),
            cpu_per_op_us: if sent == 0 { 0.0 } else { cpu_s * 1e6 / sent as f64 },
            first_rss: gauge.first_rss(),
            last_rss: gauge.last_rss(),
            max_rss: gauge.max_rss(),
            udp_drops: None,
            samples: gauge.samples().to_vec(),
        }
    }
}
