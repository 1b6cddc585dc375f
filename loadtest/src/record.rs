//! What a run counts.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{series::Series, verify::Bad};

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Heartbeats.
    Beats,
    /// Frames with a wrong tag.
    Forged,
    /// Frames that were sent and answered before.
    Replayed,
    /// Introspection, as an edge does it.
    Verdicts,
    /// Activations, each of which ends the account's session before it.
    Activations,
    /// Renewals of tokens.
    Renewals,
    /// Fetches of status lists.
    StatusLists,
}

impl Kind {
    /// The name that files and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beats => "beats",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Verdicts => "verdicts",
            Self::Activations => "activations",
            Self::Renewals => "renewals",
            Self::StatusLists => "status-lists",
        }
    }
}

/// The counts and latencies of one kind of operation in one lane; those of a run once all lanes are merged.
#[derive(Clone)]
pub struct Record {
    /// Sent.
    pub sent: u64,
    /// Due and never sent: the generator or the socket could not keep up.
    pub unsent: u64,
    /// Good answers within the timeout.
    pub on_time: u64,
    /// Good answers after the timeout.
    pub late: u64,
    /// Bad answers, by what is wrong with them.
    pub bad: BTreeMap<Bad, u64>,
    /// Answers with an HTTP status that says no, by status. They count as lost.
    pub refused: BTreeMap<u16, u64>,
    /// Exchanges that failed (connection refused, reset, timed out). They count as lost.
    pub failed: u64,
    /// Second answers to the same message.
    pub duplicates: u64,
    /// Answers to nothing in the window.
    pub strays: u64,
    /// When the last one was sent.
    pub last_sent: Duration,
    /// How it went over time.
    pub series: Series,
    /// Whether no answer is what is wanted.
    silent: bool,
    latency: Histogram<u64>,
    service: Histogram<u64>,
    send_lag: Histogram<u64>,
}

/// What happened to one message, in time.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When the run started.
    pub start: Duration,
    /// When it was due.
    pub due: Duration,
    /// When it was sent.
    pub sent: Duration,
}

impl Record {
    /// An empty record for a run of this length.
    pub fn new(kind: Kind, length: Duration) -> Self {
        let histogram = || Histogram::new_with_bounds(1, nanos(LONGEST), 3).expect("the bounds are in order");
        Self {
            sent: 0,
            unsent: 0,
            on_time: 0,
            late: 0,
            bad: BTreeMap::new(),
            refused: BTreeMap::new(),
            failed: 0,
            duplicates: 0,
            strays: 0,
            last_sent: Duration::ZERO,
            series: Series::new(length),
            silent: kind == Kind::Forged,
            latency: histogram(),
            service: histogram(),
            send_lag: histogram(),
        }
    }

    /// A message has been sent.
    pub fn sent(&mut self, times: &Times) {
        self.sent += 1;
        self.last_sent = times.sent;
        self.send_lag.saturating_record(nanos(times.sent.saturating_sub(times.due)));
        self.series.at(times.due.saturating_sub(times.start)).sent += 1;
    }

    /// The good answer to a message has come at `at`.
    pub fn answered(&mut self, times: &Times, at: Duration, timeout: Duration) {
        let latency = at.saturating_sub(times.due);
        let late = latency > timeout;
        if late {
            self.late += 1;
        } else {
            self.on_time += 1;
        }
        self.latency.saturating_record(nanos(latency));
        self.service.saturating_record(nanos(at.saturating_sub(times.sent)));
        self.series.at(times.due.saturating_sub(times.start)).answered(latency, late);
    }

    /// A bad answer has come.
    pub fn bad(&mut self, bad: Bad, times: Option<&Times>) {
        *self.bad.entry(bad).or_default() += 1;
        if let Some(times) = times {
            self.series.at(times.due.saturating_sub(times.start)).bad += 1;
        }
    }

    /// A message has been answered with this HTTP status.
    pub fn refused(&mut self, status: u16) {
        *self.refused.entry(status).or_default() += 1;
    }

    /// How many answers were bad.
    pub fn bad_answers(&self) -> u64 {
        self.bad.values().sum()
    }

    /// Good answers.
    pub const fn good(&self) -> u64 {
        self.on_time + self.late
    }

    /// Messages that were sent and got no answer, good or bad. A message that nobody may answer cannot be lost.
    pub fn lost(&self) -> u64 {
        if self.silent { 0 } else { self.sent.saturating_sub(self.good() + self.bad_answers()) }
    }

    /// From when messages were due to their good answers, late ones included.
    pub fn latency(&self) -> Quantiles {
        Quantiles::of(&self.latency)
    }

    /// From when messages were sent to their good answers, late ones included.
    pub fn service_time(&self) -> Quantiles {
        Quantiles::of(&self.service)
    }

    /// From when messages were due to when they were sent: how late the generator itself was.
    pub fn send_lag(&self) -> Quantiles {
        Quantiles::of(&self.send_lag)
    }

    /// Adds what another lane counted.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.unsent += other.unsent;
        self.on_time += other.on_time;
        self.late += other.late;
        self.failed += other.failed;
        self.duplicates += other.duplicates;
        self.strays += other.strays;
        self.last_sent = self.last_sent.max(other.last_sent);
        self.series.merge(&other.series);
        for (bad, count) in &other.bad {
            *self.bad.entry(*bad).or_default() += count;
        }
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.send_lag, &other.send_lag),
        ] {
            mine.add(theirs).expect("all lanes use the same bounds");
        }
    }
}

/// Quantiles of a span of time, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Self {
            mean: histogram.mean() / 1000.0,
            p50: micros(histogram.value_at_quantile(0.5)),
            p90: micros(histogram.value_at_quantile(0.9)),
            p99: micros(histogram.value_at_quantile(0.99)),
            p999: micros(histogram.value_at_quantile(0.999)),
            max: micros(histogram.max()),
        }
    }
}

/// Counts that a lane shows while it runs.
#[derive(Debug, Default)]
pub struct Live {
    sent: AtomicU64,
    good: AtomicU64,
    bad: AtomicU64,
    overdue: AtomicU64,
}

/// What [`Live`] shows at an instant.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are those of `Record`")]
pub struct Glance {
    pub sent: u64,
    pub good: u64,
    pub bad: u64,
    pub overdue: u64,
}

impl Live {
    /// Shows the counts of a lane as they are now.
    pub fn show<'a>(&self, records: impl Iterator<Item = &'a Record>, overdue: u64) {
        let sum = records.fold(Glance::default(), |sum, record| Glance {
            sent: sum.sent + record.sent,
            good: sum.good + record.good(),
            bad: sum.bad + record.bad_answers(),
            overdue,
        });
        self.sent.store(sum.sent, Ordering::Relaxed);
        self.good.store(sum.good, Ordering::Relaxed);
        self.bad.store(sum.bad, Ordering::Relaxed);
        self.overdue.store(overdue, Ordering::Relaxed);
    }

    /// The sum over lanes.
    pub fn sum<'a>(lanes: impl IntoIterator<Item = &'a Self>) -> Glance {
        lanes.into_iter().fold(Glance::default(), |sum, lane| Glance {
            sent: sum.sent + lane.sent.load(Ordering::Relaxed),
            good: sum.good + lane.good.load(Ordering::Relaxed),
            bad: sum.bad + lane.bad.load(Ordering::Relaxed),
            overdue: sum.overdue + lane.overdue.load(Ordering::Relaxed),
        })
    }
}

/// What the histograms hold at most; longer spans count as this.
const LONGEST: Duration = Duration::from_secs(600);

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TIMEOUT: Duration = Duration::from_millis(100);

    fn record(kind: Kind) -> Record {
        Record::new(kind, Duration::from_secs(10))
    }

    fn times(due: Duration, sent: Duration) -> Times {
        Times { start: Duration::ZERO, due, sent }
    }

    #[test]
    fn latency_counts_from_when_an_operation_was_due() {
        let mut record = record(Kind::Beats);
        let times = times(10 * MS, 40 * MS);
        record.sent(&times);
        record.answered(&times, 60 * MS, TIMEOUT);
        for (quantiles, expected) in
            [(record.latency(), 50_000.0), (record.service_time(), 20_000.0), (record.send_lag(), 30_000.0)]
        {
            assert!((quantiles.p50 - expected).abs() < expected / 500.0, "{quantiles:?}");
        }
    }

    #[test]
    fn an_answer_after_the_timeout_is_late_and_not_lost() {
        let mut record = record(Kind::Beats);
        let times = times(MS, MS);
        for _ in 0..3 {
            record.sent(&times);
        }
        record.answered(&times, MS + TIMEOUT, TIMEOUT);
        record.answered(&times, 2 * MS + TIMEOUT, TIMEOUT);
        assert_eq!((record.on_time, record.late, record.lost()), (1, 1, 1));
        let span = &record.series.spans()[0];
        assert_eq!((span.sent, span.good, span.late), (3, 2, 1));
    }

    #[test]
    fn what_was_refused_or_failed_is_lost_and_what_was_answered_badly_is_not() {
        let mut record = record(Kind::Beats);
        let times = times(MS, MS);
        for _ in 0..4 {
            record.sent(&times);
        }
        record.refused(503);
        record.failed += 1;
        record.bad(Bad::Tag, Some(&times));
        assert_eq!((record.bad_answers(), record.lost()), (1, 3));
    }

    #[test]
    fn what_nobody_may_answer_cannot_be_lost() {
        let mut record = record(Kind::Forged);
        record.sent(&times(MS, MS));
        assert_eq!(record.lost(), 0);
    }

    #[test]
    fn merging_adds_everything_up() {
        let mut one = record(Kind::Beats);
        let times = times(MS, MS);
        one.sent(&times);
        one.answered(&times, 2 * MS, TIMEOUT);
        one.bad(Bad::Tag, None);
        one.refused(503);
        let mut both = one.clone();
        both.merge(&one);
        assert_eq!((both.sent, both.on_time, both.bad_answers(), both.refused[&503]), (2, 2, 2, 2));
        assert_eq!((both.latency.len(), both.series.spans()[0].good), (2, 2));
    }
}
