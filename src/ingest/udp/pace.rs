//! When a thread rests for a moment, so that its next wake-up takes several datagrams.
//!
//! Where datagrams come thick but not so thick that batches fill, a thread would be woken for each: half of what a beat
//! costs then is going to sleep and waking up. A rest costs a wake-up as well, and takes all that came meanwhile. Where they
//! come thin nobody rests, and each is answered at once.

use std::{thread, time::Duration};

/// How long a rest is; the kernel makes about 50 µs more of it. What comes during a rest is answered so much later.
const REST: Duration = Duration::from_micros(300);
/// A rest is worth it where so many datagrams are expected to come during one.
const WORTH: u64 = 2 * ONE;
/// Batches of so many are large enough without one.
const PLENTY: usize = 32;
/// How many batches the expectation looks back on, about.
const MEMORY: u64 = 8;
/// A datagram, in the unit that expectations are reckoned in.
const ONE: u64 = 1 << 10;

/// How thick datagrams come to a thread.
pub(super) struct Pace {
    /// When the last batch was answered, on a clock that begins anywhere.
    last: Duration,
    /// Datagrams that come during a rest.
    expected: u64,
}

impl Pace {
    pub(super) const fn new(now: Duration) -> Self {
        Self { last: now, expected: 0 }
    }

    /// A batch of `count` has been answered. Whether to rest now.
    pub(super) fn batch(&mut self, count: usize, now: Duration) -> bool {
        let gap = now.saturating_sub(self.last).max(Duration::from_nanos(1));
        self.last = now;
        let during_a_rest = (count as u64 * ONE).saturating_mul(nanos(REST)) / nanos(gap);
        self.expected = (self.expected * (MEMORY - 1) + during_a_rest.min(PLENTY as u64 * ONE)) / MEMORY;
        self.expected >= WORTH && count < PLENTY
    }

    /// Rests.
    pub(super) fn rest() {
        thread::sleep(REST);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Datagrams that come at regular intervals, taken as soon as there is one or after a rest: how often there was one,
    /// in so many batches.
    fn rests(interval: Duration, batches: u32) -> u32 {
        let (mut pace, mut now, mut next, mut rests) = (Pace::new(Duration::ZERO), Duration::ZERO, interval, 0);
        for _ in 0..batches {
            now = now.max(next);
            let mut count = 0;
            while next <= now {
                (next, count) = (next + interval, count + 1);
            }
            if pace.batch(count, now) {
                rests += 1;
                now += REST;
            }
        }
        rests
    }

    #[test]
    fn datagrams_that_come_thin_are_answered_at_once() {
        assert_eq!(rests(REST, 1000), 0);
        assert_eq!(rests(REST * 2 / 3, 1000), 0);
    }

    #[test]
    fn between_datagrams_that_come_thick_there_is_a_rest() {
        assert!(rests(REST / 4, 1000) > 900);
        assert!(rests(REST / 20, 1000) > 900);
    }

    #[test]
    fn batches_that_fill_by_themselves_are_not_waited_for() {
        let mut pace = Pace::new(Duration::ZERO);
        assert!((1..1000).all(|n| !pace.batch(PLENTY, Duration::from_micros(n * 100))));
    }

    proptest! {
        #[test]
        fn after_a_rush_a_few_lonely_datagrams_end_the_rests(counts in proptest::collection::vec(0usize..64, 0..100)) {
            let (mut pace, mut now) = (Pace::new(Duration::ZERO), Duration::ZERO);
            for count in counts {
                now += Duration::from_micros(1);
                pace.batch(count, now);
            }
            let rested = (0..100).filter(|_| {
                now += Duration::from_millis(10);
                pace.batch(1, now)
            });
            prop_assert!(rested.count() < 25);
        }
    }
}
