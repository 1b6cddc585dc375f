//! What a run counts.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::verify::BadAck;

/// The counts and latencies of one lane; those of a run once all lanes are merged.
#[derive(Clone)]
pub struct Record {
    /// Beats sent, forged frames left out.
    pub sent: u64,
    /// Beats that were due and never sent: the generator or the socket could not keep up.
    pub unsent: u64,
    /// Good acks within the timeout.
    pub on_time: u64,
    /// Good acks after the timeout.
    pub late: u64,
    /// Bad acks, by what is wrong with them.
    pub bad: BTreeMap<BadAck, u64>,
    /// Beats answered with an HTTP status other than 200, by status. They count as lost.
    pub refused: BTreeMap<u16, u64>,
    /// Beats whose exchange failed (connection refused, reset, timed out). They count as lost.
    pub failed: u64,
    /// Second answers to the same beat.
    pub duplicates: u64,
    /// Datagrams that answer no beat in the window.
    pub strays: u64,
    /// Forged frames sent.
    pub forged: u64,
    /// When the last beat was sent.
    pub last_sent: Duration,
    latency: Histogram<u64>,
    service: Histogram<u64>,
    send_lag: Histogram<u64>,
}

impl Default for Record {
    fn default() -> Self {
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
            forged: 0,
            last_sent: Duration::ZERO,
            latency: histogram(),
            service: histogram(),
            send_lag: histogram(),
        }
    }
}

impl Record {
    /// A beat that was due at `due` has been sent at `at`.
    pub fn sent(&mut self, due: Duration, at: Duration) {
        self.sent += 1;
        self.last_sent = at;
        self.send_lag.saturating_record(nanos(at.saturating_sub(due)));
    }

    /// The good ack of a beat that was due at `due` and sent at `sent` has come at `at`.
    pub fn acked(&mut self, due: Duration, sent: Duration, at: Duration, timeout: Duration) {
        let latency = at.saturating_sub(due);
        if latency <= timeout {
            self.on_time += 1;
        } else {
            self.late += 1;
        }
        self.latency.saturating_record(nanos(latency));
        self.service.saturating_record(nanos(at.saturating_sub(sent)));
    }

    /// A bad ack has come.
    pub fn bad(&mut self, bad: BadAck) {
        *self.bad.entry(bad).or_default() += 1;
    }

    /// A beat has been answered with this HTTP status.
    pub fn refused(&mut self, status: u16) {
        *self.refused.entry(status).or_default() += 1;
    }

    /// How many acks were bad.
    pub fn bad_acks(&self) -> u64 {
        self.bad.values().sum()
    }

    /// Beats that were sent and never got an ack, good or bad. An answer to a forged frame is no beat's ack.
    pub fn lost(&self) -> u64 {
        let to_forged = self.bad.get(&BadAck::ForgedAnswered).copied().unwrap_or_default();
        let answered = self.on_time + self.late + self.bad_acks() - to_forged;
        self.sent.saturating_sub(answered)
    }

    /// From when beats were due to their good acks, late ones included.
    pub fn latency(&self) -> Quantiles {
        Quantiles::of(&self.latency)
    }

    /// From when beats were sent to their good acks, late ones included.
    pub fn service_time(&self) -> Quantiles {
        Quantiles::of(&self.service)
    }

    /// From when beats were due to when they were sent: how late the generator itself was.
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
        self.forged += other.forged;
        self.last_sent = self.last_sent.max(other.last_sent);
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
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
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
    acked: AtomicU64,
    bad: AtomicU64,
    overdue: AtomicU64,
}

/// What [`Live`] shows at an instant.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are those of `Record`")]
pub struct Glance {
    pub sent: u64,
    pub acked: u64,
    pub bad: u64,
    pub overdue: u64,
}

impl Live {
    /// Shows the counts of a lane as they are now.
    pub fn show(&self, record: &Record, overdue: u64) {
        self.sent.store(record.sent, Ordering::Relaxed);
        self.acked.store(record.on_time + record.late, Ordering::Relaxed);
        self.bad.store(record.bad_acks(), Ordering::Relaxed);
        self.overdue.store(overdue, Ordering::Relaxed);
    }

    /// The sum over lanes.
    pub fn sum<'a>(lanes: impl IntoIterator<Item = &'a Self>) -> Glance {
        lanes.into_iter().fold(Glance::default(), |sum, lane| Glance {
            sent: sum.sent + lane.sent.load(Ordering::Relaxed),
            acked: sum.acked + lane.acked.load(Ordering::Relaxed),
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

    #[test]
    fn latency_counts_from_when_a_beat_was_due() {
        let mut record = Record::default();
        record.sent(10 * MS, 40 * MS);
        record.acked(10 * MS, 40 * MS, 60 * MS, TIMEOUT);
        for (quantiles, expected) in
            [(record.latency(), 50_000.0), (record.service_time(), 20_000.0), (record.send_lag(), 30_000.0)]
        {
            assert!((quantiles.p50 - expected).abs() < expected / 500.0, "{quantiles:?}");
        }
    }

    #[test]
    fn an_ack_after_the_timeout_is_late_and_not_lost() {
        let mut record = Record::default();
        for _ in 0..3 {
            record.sent(MS, MS);
        }
        record.acked(MS, MS, MS + TIMEOUT, TIMEOUT);
        record.acked(MS, MS, 2 * MS + TIMEOUT, TIMEOUT);
        assert_eq!((record.on_time, record.late, record.lost()), (1, 1, 1));
    }

    #[test]
    fn refused_and_failed_beats_are_lost_and_bad_acks_are_not() {
        let mut record = Record::default();
        for _ in 0..4 {
            record.sent(MS, MS);
        }
        record.refused(503);
        record.failed += 1;
        record.bad(BadAck::Tag);
        record.bad(BadAck::ForgedAnswered);
        assert_eq!((record.bad_acks(), record.lost()), (2, 3));
    }

    #[test]
    fn merging_adds_everything_up() {
        let mut one = Record::default();
        one.sent(MS, MS);
        one.acked(MS, MS, 2 * MS, TIMEOUT);
        one.bad(BadAck::Tag);
        one.refused(503);
        let mut both = one.clone();
        both.merge(&one);
        assert_eq!((both.sent, both.on_time, both.bad_acks(), both.refused[&503]), (2, 2, 2, 2));
        assert_eq!(both.latency.len(), 2);
    }
}
