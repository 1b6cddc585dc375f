//! The meter of a node among others.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    clock::Clock,
    engine::UnixMs,
    wire::{MeterTime, Millis},
};

/// The clocks of a machine.
pub trait Ticks: Send + Sync + 'static {
    /// Milliseconds since some instant in the past. Never goes backwards.
    fn elapsed(&self) -> Millis;

    /// The wall clock. May step.
    fn wall(&self) -> UnixMs;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct MonotonicTicks(Instant);

impl MonotonicTicks {
    /// Counts from now on.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Ticks for MonotonicTicks {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn elapsed(&self) -> Millis {
        Millis::new(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn wall(&self) -> UnixMs {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs::from_ms(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Far more than any meter or monotonic clock shows.
const BASE: u64 = 1 << 61;

/// A meter that runs with the monotonic clock and is never behind the others' for long. It stands still until the node is
/// ready, or joins others whose meters run; and from when it is stopped.
pub struct ClusterMeter {
    ticks: Arc<dyn Ticks>,
    stands_at: AtomicU64,
    /// [`BASE`] and what the meter shows beyond the ticks, or less what it shows short of them; 0 while it stands still.
    ahead: AtomicU64,
    stopped_at: OnceLock<MeterTime>,
}

impl ClusterMeter {
    /// A meter that stands still, at zero.
    pub fn new(ticks: Arc<dyn Ticks>) -> Self {
        Self { ticks, stands_at: AtomicU64::new(0), ahead: AtomicU64::new(0), stopped_at: OnceLock::new() }
    }

    /// The clocks it runs by.
    pub fn ticks(&self) -> &dyn Ticks {
        &*self.ticks
    }

    /// Shows at least `now` from now on.
    pub(super) fn reach(&self, now: MeterTime) {
        self.stands_at.fetch_max(now.as_ms(), Ordering::AcqRel);
        if self.ahead.load(Ordering::Acquire) > 0 {
            self.start();
        }
    }

    /// Runs from now on.
    pub(super) fn start(&self) {
        let shown = self.stands_at.load(Ordering::Acquire);
        self.ahead.fetch_max((BASE + shown).saturating_sub(self.ticks.elapsed().get()), Ordering::AcqRel);
    }

    /// Stops the meter for good.
    pub fn stop(&self) {
        let now = self.now();
        self.stopped_at.get_or_init(|| now);
    }
}

impl Clock for ClusterMeter {
    fn now(&self) -> MeterTime {
        if let Some(stopped_at) = self.stopped_at.get() {
            return *stopped_at;
        }
        match self.ahead.load(Ordering::Acquire) {
            0 => MeterTime::from_ms(self.stands_at.load(Ordering::Acquire)),
            ahead => MeterTime::from_ms((ahead + self.ticks.elapsed().get()).saturating_sub(BASE)),
        }
    }

    fn wall(&self) -> UnixMs {
        self.ticks.wall()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Ticks for Hand {
        fn elapsed(&self) -> Millis {
            Millis::new(self.0.load(Ordering::SeqCst))
        }

        fn wall(&self) -> UnixMs {
            UnixMs::from_ms(0)
        }
    }

    const fn at(ms: u64) -> MeterTime {
        MeterTime::from_ms(ms)
    }

    #[test]
    fn a_meter_stands_still_until_it_is_started_and_then_only_goes_forward() {
        let hand = Arc::new(Hand::default());
        let meter = ClusterMeter::new(Arc::<Hand>::clone(&hand));
        meter.reach(at(5_000));
        hand.0.store(700, Ordering::SeqCst);
        assert_eq!(meter.now(), at(5_000));
        meter.start();
        assert_eq!(meter.now(), at(5_000));
        hand.0.store(900, Ordering::SeqCst);
        assert_eq!(meter.now(), at(5_200));
        meter.reach(at(5_100));
        assert_eq!(meter.now(), at(5_200), "it is ahead already");
        meter.reach(at(5_250));
        assert_eq!(meter.now(), at(5_250));
        meter.stop();
        hand.0.store(2_000, Ordering::SeqCst);
        assert_eq!(meter.now(), at(5_250));
    }
}
