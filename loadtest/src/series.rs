//! How a fleet did over time: counts and latencies for each short span, by when operations were due.

use std::time::Duration;

/// What came of the operations that were due in one span.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Sent.
    pub sent: u64,
    /// Answered well, late ones included.
    pub good: u64,
    /// Answered well after the timeout.
    pub late: u64,
    /// Answered badly.
    pub bad: u64,
    /// The longest latency, in microseconds.
    pub max_us: u64,
    /// Empty until the first latency.
    counts: Vec<u32>,
}

/// A sequence of spans of the same width.
#[derive(Clone, Debug)]
pub struct Series {
    width: Duration,
    spans: Vec<Span>,
}

/// The most spans that are kept: an hour of seconds.
const MOST: u64 = 3600;
/// Each octave of latencies is cut into this many parts: quantiles are right to about 3 %.
const PARTS: u32 = 32;
/// Latencies of 2^30 us, about 18 minutes, and more count as that.
const BUCKETS: usize = (30 * PARTS) as usize;

impl Series {
    /// Spans for a run of this length: of one second, or of more where there would be too many.
    pub fn new(length: Duration) -> Self {
        Self { width: Duration::from_secs(length.as_secs().div_ceil(MOST).max(1)), spans: Vec::new() }
    }

    /// How wide a span is.
    pub const fn width(&self) -> Duration {
        self.width
    }

    /// The spans so far.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The span of what was due at `due`, from the start of the run.
    pub fn at(&mut self, due: Duration) -> &mut Span {
        let number = usize::try_from(due.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX);
        // What is due after the last span cannot be: the schedule ends with the run.
        let number = number.min(usize::try_from(MOST).expect("it is small"));
        if number >= self.spans.len() {
            self.spans.resize_with(number + 1, Span::default);
        }
        &mut self.spans[number]
    }

    /// Adds what another lane counted.
    pub fn merge(&mut self, other: &Self) {
        if self.spans.len() < other.spans.len() {
            self.spans.resize_with(other.spans.len(), Span::default);
        }
        for (mine, theirs) in self.spans.iter_mut().zip(&other.spans) {
            mine.merge(theirs);
        }
    }
}

impl Span {
    /// Counts a good answer.
    pub fn answered(&mut self, latency: Duration, late: bool) {
        self.good += 1;
        self.late += u64::from(late);
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.max_us = self.max_us.max(us);
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        self.counts[bucket(us)] += 1;
    }

    /// The latency that this share of the good answers did not exceed, in microseconds; 0 where there are none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let all: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let mut left = share * all as f64;
        for (number, count) in self.counts.iter().enumerate() {
            left -= f64::from(*count);
            if *count > 0 && left <= 0.0 {
                return highest(number).min(self.max_us);
            }
        }
        self.max_us
    }

    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.good += other.good;
        self.late += other.late;
        self.bad += other.bad;
        self.max_us = self.max_us.max(other.max_us);
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine += theirs;
            }
        }
    }
}

/// Below 32 us each microsecond has a bucket of its own, then each octave has 32.
fn bucket(us: u64) -> usize {
    let us = us.clamp(1, (1 << 30) - 1);
    let octave = u64::BITS - 1 - us.leading_zeros();
    let shift = octave.saturating_sub(PARTS.ilog2());
    let number = u64::from(shift * PARTS) + (us >> shift);
    usize::try_from(number).expect("it is small").min(BUCKETS - 1)
}

/// The greatest latency of a bucket.
fn highest(number: usize) -> u64 {
    let (number, parts) = (number as u64, u64::from(PARTS));
    let shift = (number / parts).saturating_sub(1);
    ((number - shift * parts + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_in_its_bucket_and_buckets_are_narrow() {
        for us in (1..5000).chain([10_000, 123_456, 9_999_999, (1 << 30) - 1]) {
            let (number, high) = (bucket(us), highest(bucket(us)));
            assert!(high >= us && (high - us) as f64 <= us as f64 / 31.0, "{us}: {high}");
            assert!(number == 0 || highest(number - 1) < us, "{us}");
        }
        assert_eq!(bucket(u64::MAX), bucket((1 << 30) - 1));
    }

    #[test]
    fn quantiles_are_those_of_the_latencies() {
        let mut span = Span::default();
        for ms in 1..=100 {
            span.answered(Duration::from_millis(ms), ms > 90);
        }
        assert_eq!((span.good, span.late, span.max_us), (100, 10, 100_000));
        for (share, ms) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0)] {
            let us = span.quantile_us(share) as f64;
            assert!((us / 1000.0 - ms).abs() <= ms / 30.0, "{share}: {us}");
        }
        assert_eq!(Span::default().quantile_us(0.5), 0);
    }

    #[test]
    fn spans_go_by_when_operations_were_due_and_lanes_add_up() {
        let mut one = Series::new(Duration::from_secs(10));
        one.at(Duration::from_millis(2500)).sent += 1;
        one.at(Duration::from_millis(2500)).answered(Duration::from_secs(5), true);
        let mut both = one.clone();
        both.merge(&one);
        assert_eq!(both.spans().len(), 3);
        assert_eq!((both.spans()[2].sent, both.spans()[2].good), (2, 2));
    }

    #[test]
    fn long_runs_have_wider_spans_and_never_too_many() {
        assert_eq!(Series::new(Duration::from_secs(3600)).width(), Duration::from_secs(1));
        let mut week = Series::new(Duration::from_hours(168));
        assert_eq!(week.width(), Duration::from_secs(168));
        week.at(Duration::from_hours(168)).sent += 1;
        week.at(Duration::from_hours(999)).sent += 1;
        assert_eq!(week.spans().len(), 3601);
    }
}
