//! Meter time, and the clocks that tell it.
//!
//! The meter runs only while the service is up. In a process it advances with the monotonic clock, so that steps of the
//! wall clock and a suspended machine do not touch it; on start it resumes from the latest instant that is durable, so
//! that an outage of any length neither charges nor times out anybody.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
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
///
/// The meter stands still until the service is ready and from when it has stopped answering: time in which nobody is
/// vouched for costs nobody anything.
#[derive(Debug)]
pub struct MeterClock {
    resumed_at: MeterTime,
    running_since: OnceLock<Instant>,
    stopped_at: OnceLock<MeterTime>,
}

impl MeterClock {
    /// A meter that stands where the store kept it.
    pub const fn resume(kept: Option<ClockFact>) -> Self {
        let resumed_at = match kept {
            Some(fact) => fact.last_alive,
            None => MeterTime::ZERO,
        };
        Self { resumed_at, running_since: OnceLock::new(), stopped_at: OnceLock::new() }
    }

    /// Lets the meter run. Once.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    pub fn start(&self) {
        self.running_since.get_or_init(Instant::now);
    }

    /// Stops the meter for good.
    pub fn stop(&self) {
        let now = self.now();
        self.stopped_at.get_or_init(|| now);
    }
}

impl Clock for MeterClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> MeterTime {
        if let Some(stopped_at) = self.stopped_at.get() {
            return *stopped_at;
        }
        let up = self.running_since.get().map_or(0, |since| since.elapsed().as_millis());
        self.resumed_at.plus(Millis::new(u64::try_from(up).unwrap_or(u64::MAX)))
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
        assert_eq!(clock.now(), MeterTime::from_ms(5_000));
        clock.start();
        let now = clock.now();
        assert!(now >= MeterTime::from_ms(5_000) && now < MeterTime::from_ms(65_000), "{now}");
    }

    #[test]
    fn a_meter_that_never_ran_starts_at_zero() {
        assert_eq!(MeterClock::resume(None).now(), MeterTime::ZERO);
    }

    #[test]
    fn the_meter_stands_still_before_the_service_is_ready_and_after_it_has_stopped() {
        let clock = MeterClock::resume(None);
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert_eq!(clock.now(), MeterTime::ZERO);
        clock.start();
        std::thread::sleep(std::time::Duration::from_millis(3));
        clock.stop();
        let stopped = clock.now();
        assert!(stopped > MeterTime::ZERO);
        std::thread::sleep(std::time::Duration::from_millis(3));
        clock.start();
        assert_eq!(clock.now(), stopped);
    }
}
