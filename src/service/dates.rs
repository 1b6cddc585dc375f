//! Whether the date is to be believed, before anything is thrown away by it.
//!
//! A wall clock that is set forward by mistake must not cost keys and records that nobody can bring back. So it is held
//! against the meter: where it has gone on by much more, what is due by the date waits until the new date has lasted. An outage
//! and a suspended machine look the same, and cost a delay.

use crate::time::{ClockFact, MeterTime, Millis, UnixMs};

/// By how much the wall clock may have gone on beyond the meter.
const TOLERANCE: Millis = Millis::from_secs(10 * 60);
/// For how long a date that has jumped must last, on the meter.
const LASTING: Millis = Millis::from_secs(60 * 60);

/// Holds the wall clock against the meter.
#[derive(Debug)]
pub(super) struct DateGuard {
    /// What both showed when the date was believed last.
    believed: ClockFact,
    /// When the wall clock was found ahead.
    ahead_since: Option<MeterTime>,
}

impl DateGuard {
    /// Goes by what both clocks showed when they were last kept.
    pub(super) const fn new(kept: ClockFact) -> Self {
        Self { believed: kept, ahead_since: None }
    }

    /// Whether the date is to be believed. To be asked now and then.
    pub(super) fn believes(&mut self, now: MeterTime, wall: UnixMs) -> bool {
        let expected = self.believed.wall.plus(now.since(self.believed.last_alive));
        let ahead = wall.since(expected);
        if ahead > TOLERANCE {
            let since = self.ahead_since.unwrap_or(now);
            if self.ahead_since.replace(since).is_none() {
                tracing::warn!(
                    ahead_s = ahead.as_secs(),
                    "the wall clock has gone on without the meter: nothing is dropped by its date for an hour"
                );
            }
            if now.since(since) < LASTING {
                return false;
            }
        }
        *self = Self::new(ClockFact { last_alive: now, wall });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: u64 = 365 * 86_400_000;
    const MINUTE_MS: u64 = 60_000;

    fn guard() -> DateGuard {
        DateGuard::new(ClockFact { last_alive: MeterTime::from_ms(5_000), wall: UnixMs::from_ms(YEAR_MS) })
    }

    fn asked(guard: &mut DateGuard, meter_ms: u64, wall_ms: u64) -> bool {
        guard.believes(MeterTime::from_ms(5_000 + meter_ms), UnixMs::from_ms(YEAR_MS + wall_ms))
    }

    #[test]
    fn a_clock_that_runs_as_the_meter_does_is_believed_whatever_it_has_drifted() {
        let mut guard = guard();
        for minute in 0..10_000 {
            assert!(asked(&mut guard, minute * MINUTE_MS, minute * (MINUTE_MS + 5_000)));
        }
    }

    #[test]
    fn a_jump_forward_is_believed_once_it_has_lasted_for_an_hour_of_meter_time() {
        let mut guard = guard();
        for minute in 0..60 {
            assert!(!asked(&mut guard, minute * MINUTE_MS, YEAR_MS + minute * MINUTE_MS));
        }
        assert!(asked(&mut guard, 60 * MINUTE_MS, YEAR_MS + 60 * MINUTE_MS));
        assert!(asked(&mut guard, 61 * MINUTE_MS, YEAR_MS + 61 * MINUTE_MS));
    }

    #[test]
    fn a_jump_that_is_taken_back_leaves_nothing_behind() {
        let mut guard = guard();
        assert!(!asked(&mut guard, 0, YEAR_MS));
        assert!(asked(&mut guard, MINUTE_MS, MINUTE_MS));
        assert!(!asked(&mut guard, 90 * MINUTE_MS, YEAR_MS), "another one begins anew");
        assert!(asked(&mut guard, 91 * MINUTE_MS, 0), "a clock that is set back throws nothing away");
    }
}
