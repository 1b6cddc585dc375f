//! The generator's own clock, and its estimate of the service's.

use std::time::{Duration, Instant};

use gastank::time::MeterTime;

/// Time since the program started. The one place that reads a clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the edge of the program: all else takes the time from here")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was started.
    #[expect(clippy::disallowed_methods, reason = "this is the edge of the program: all else takes the time from here")]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What the generator believes meter time to be: what the service said last, and how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterEstimate {
    meter: MeterTime,
    at: Duration,
}

impl MeterEstimate {
    /// The service said `meter`, and it was heard at `at`.
    pub const fn new(meter: MeterTime, at: Duration) -> Self {
        Self { meter, at }
    }

    /// The estimate at `now`.
    pub fn at(&self, now: Duration) -> MeterTime {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        MeterTime::from_ms(self.meter.as_ms().saturating_add(passed))
    }
}

/// The wall clock, in seconds since 1970: it dates reports and decides nothing.
#[expect(clippy::disallowed_methods, reason = "this is the edge of the program: all else takes the time from here")]
pub fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
