//! Meter time, and the clocks that tell it.
//!
//! The meter runs only while the service is up. In a process it advances with the monotonic clock, so that steps of the
//! wall clock and a suspended machine do not touch it; on start it resumes from the latest instant that is durable, so
//! that an outage of any length neither charges nor times out anybody.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

pub use crate::wire::{MeterTime, Millis};
use crate::{engine::UnixMs, store::ClockFact};

/// Tells the time to the edges of the program; everything below takes it as a parameter.
pub trait Clock: Send + Sync + 'static {
    /// Meter time. Never goes backwards.
    fn now(&self) -> MeterTime;

    /// The wall clock. May step.
    fn wall(&self) -> UnixMs;

    /// The state to keep, so that the meter can resume from it.
    fn fact(&self) -> ClockFact {
        ClockFact { last_alive: self.now(), wall: self.wall() }
    }
}

/// The clock of a running service.
#[derive(Debug)]
pub struct MeterClock {
    resumed_at: MeterTime,
    since: Instant,
}

impl MeterClock {
    /// Resumes the meter from what the store kept of it.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    pub fn resume(kept: Option<ClockFact>) -> Self {
        Self { resumed_at: kept.map_or(MeterTime::ZERO, |fact| fact.last_alive), since: Instant::now() }
    }
}

impl Clock for MeterClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> MeterTime {
        let up = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.resumed_at.plus(Millis::new(up))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn wall(&self) -> UnixMs {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs::from_ms(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is told to move; for tests.
#[derive(Debug)]
pub struct FakeClock {
    meter: AtomicU64,
    wall: AtomicU64,
}

impl FakeClock {
    /// A clock that shows these times.
    pub const fn new(meter: MeterTime, wall: UnixMs) -> Self {
        Self { meter: AtomicU64::new(meter.as_ms()), wall: AtomicU64::new(wall.as_ms()) }
    }

    /// Lets time pass, on the meter and on the wall.
    pub fn advance(&self, span: Millis) {
        self.meter.fetch_add(span.get(), Ordering::SeqCst);
        self.wall.fetch_add(span.get(), Ordering::SeqCst);
    }

    /// Steps the wall clock; the meter does not notice.
    pub fn step_wall(&self, to: UnixMs) {
        self.wall.store(to.as_ms(), Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> MeterTime {
        MeterTime::from_ms(self.meter.load(Ordering::SeqCst))
    }

    fn wall(&self) -> UnixMs {
        UnixMs::from_ms(self.wall.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_resumes_from_where_it_stopped_however_long_ago_that_was() {
        let week_ago = UnixMs::from_ms(1_000);
        let clock = MeterClock::resume(Some(ClockFact { last_alive: MeterTime::from_ms(5_000), wall: week_ago }));
        let now = clock.now();
        assert!(now >= MeterTime::from_ms(5_000) && now < MeterTime::from_ms(65_000), "{now}");
    }

    #[test]
    fn a_meter_that_never_ran_starts_at_zero() {
        assert!(MeterClock::resume(None).now() < MeterTime::from_ms(60_000));
    }
}
