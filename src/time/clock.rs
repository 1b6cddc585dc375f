//! Meter time, and the clocks that tell it.
//!
//! The meter runs only while the service does. In a process it advances with the monotonic clock, but by ticks: between
//! two ticks it runs on by at most [`RUN_ON`]. So steps of the wall clock, a suspended machine and a process that was frozen
//! do not touch it. On start it resumes from the latest instant that is durable, so that an outage of any length neither
//! charges nor times out anybody.

use std::{
    io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::{MeterTime, Millis, UnixMs};

/// For how long the meter runs on after a tick.
pub const RUN_ON: Millis = Millis::from_secs(1);
/// How often it ticks.
const TICK: Duration = Duration::from_millis(100);

/// The durable state of the meter clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFact {
    /// The latest instant that the meter is known to have reached.
    pub last_alive: MeterTime,
    /// The wall clock then.
    pub wall: UnixMs,
}

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

/// The meter of a running service.
///
/// It stands still until the service is ready and from when it has stopped answering: time in which nobody is vouched for
/// costs nobody anything. In between it must be [ticked](Self::tick).
///
/// Reading takes no lock. What it shows is `min(ahead + elapsed, limit)`, where a tick moves `limit` on; after a gap it
/// first takes what is beyond the limit from `ahead`. Readers load `limit`, `ahead` and the monotonic clock in this order,
/// so that none of them sees a new limit with an old `ahead`, or a clock from before a gap with an `ahead` from after it.
/// Hence what is read lies between what the meter showed when reading began and what it shows when it ends.
pub struct MeterClock {
    ticks: Arc<dyn Ticks>,
    /// What it shows at most; while it stands still, what it shows.
    limit: AtomicU64,
    /// [`BASE`] and what the meter shows beyond the monotonic clock, or less what it shows short of it; 0 while it stands
    /// still.
    ahead: AtomicU64,
    /// What gaps between ticks have been left out.
    left_out: AtomicU64,
    /// Who moves the meter does so alone.
    moving: Mutex<()>,
    stopped_at: OnceLock<MeterTime>,
}

impl MeterClock {
    /// A meter that stands still, at zero.
    pub fn new(ticks: Arc<dyn Ticks>) -> Self {
        Self {
            ticks,
            limit: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            moving: Mutex::new(()),
            stopped_at: OnceLock::new(),
        }
    }

    /// A meter of this machine that stands where the store kept it.
    pub fn resume(kept: Option<ClockFact>) -> Self {
        let meter = Self::new(Arc::new(MonotonicTicks::start()));
        meter.reach(kept.map_or(MeterTime::ZERO, |fact| fact.last_alive));
        meter
    }

    /// The clocks it runs by.
    pub fn ticks(&self) -> &dyn Ticks {
        &*self.ticks
    }

    /// Ticks every 100 ms from now on, in a thread of its own, for as long as the meter is there: nothing that goes on in a
    /// runtime may hold it up. `ends` is dropped when the thread ends: without it the meter stands still.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn tick_for_ever(self: &Arc<Self>, ends: impl Send + 'static) -> io::Result<()> {
        let meter: Weak<Self> = Arc::downgrade(self);
        let ticking = move || {
            let _ends = ends;
            while let Some(meter) = meter.upgrade() {
                meter.tick();
                drop(meter);
                thread::sleep(TICK);
            }
        };
        thread::Builder::new().name("meter".to_owned()).spawn(ticking).map(drop)
    }

    /// Lets the meter run on for [`RUN_ON`] from now. What has passed since it could not run on is left out.
    pub fn tick(&self) {
        let _moving = self.moving.lock();
        if let Some((shown, elapsed)) = self.running() {
            self.set(shown, elapsed);
        }
    }

    /// Shows at least `now` from now on.
    pub fn reach(&self, now: MeterTime) {
        let _moving = self.moving.lock();
        match self.running() {
            Some((shown, elapsed)) => self.set(shown.max(now.as_ms()), elapsed),
            None => drop(self.limit.fetch_max(now.as_ms(), Ordering::AcqRel)),
        }
    }

    /// Lets the meter run.
    pub fn start(&self) {
        let _moving = self.moving.lock();
        if self.ahead.load(Ordering::Acquire) == 0 {
            self.set(self.limit.load(Ordering::Acquire), self.ticks.elapsed().get());
        }
    }

    /// Stops the meter for good.
    pub fn stop(&self) {
        let now = self.now();
        self.stopped_at.get_or_init(|| now);
    }

    /// For how long it has stood still, in all, because it was not ticked.
    pub fn left_out(&self) -> Millis {
        let _moving = self.moving.lock();
        let before = self.left_out.load(Ordering::Acquire);
        let pending = self.running().map_or(0, |(shown, elapsed)| self.beyond(shown, elapsed));
        Millis::new(before + pending)
    }

    /// What it shows, and the monotonic clock then; `None` while it stands still. To be called by who moves it.
    fn running(&self) -> Option<(u64, u64)> {
        let (limit, ahead) = (self.limit.load(Ordering::Acquire), self.ahead.load(Ordering::Acquire));
        let elapsed = self.ticks.elapsed().get();
        (ahead > 0).then(|| ((ahead + elapsed).saturating_sub(BASE).min(limit), elapsed))
    }

    /// By how much the monotonic clock has gone beyond what the meter shows.
    fn beyond(&self, shown: u64, elapsed: u64) -> u64 {
        (self.ahead.load(Ordering::Acquire) + elapsed).saturating_sub(BASE + shown)
    }

    /// Shows `shown` and runs on from there.
    fn set(&self, shown: u64, elapsed: u64) {
        if self.ahead.load(Ordering::Acquire) > 0 {
            self.left_out.fetch_add(self.beyond(shown, elapsed), Ordering::AcqRel);
        }
        self.ahead.store((BASE + shown).saturating_sub(elapsed), Ordering::Release);
        self.limit.store(shown + RUN_ON.get(), Ordering::Release);
    }
}

impl Clock for MeterClock {
    fn now(&self) -> MeterTime {
        if let Some(stopped_at) = self.stopped_at.get() {
            return *stopped_at;
        }
        // In this order; see above.
        let limit = self.limit.load(Ordering::Acquire);
        match self.ahead.load(Ordering::Acquire) {
            0 => MeterTime::from_ms(limit),
            ahead => MeterTime::from_ms((ahead + self.ticks.elapsed().get()).saturating_sub(BASE).min(limit)),
        }
    }

    fn wall(&self) -> UnixMs {
        self.ticks.wall()
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
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[derive(Default)]
    struct ManualTicks(AtomicU64);

    impl ManualTicks {
        fn show(&self, ms: u64) {
            self.0.store(ms, Ordering::SeqCst);
        }
    }

    impl Ticks for ManualTicks {
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

    fn meter() -> (Arc<ManualTicks>, MeterClock) {
        let hand = Arc::new(ManualTicks::default());
        (Arc::clone(&hand), MeterClock::new(hand))
    }

    #[test]
    fn the_meter_resumes_from_where_it_stopped_however_long_ago_that_was() {
        let week_ago = UnixMs::from_ms(1_000);
        let clock = MeterClock::resume(Some(ClockFact { last_alive: MeterTime::from_ms(5_000), wall: week_ago }));
        assert_eq!(clock.now(), MeterTime::from_ms(5_000));
        clock.start();
        let now = clock.now();
        assert!(now >= MeterTime::from_ms(5_000) && now <= MeterTime::from_ms(6_000), "{now}");
    }

    #[test]
    fn a_meter_that_never_ran_starts_at_zero() {
        assert_eq!(MeterClock::resume(None).now(), MeterTime::ZERO);
    }

    #[test]
    fn the_meter_stands_still_before_the_service_is_ready_and_after_it_has_stopped() {
        let (hand, clock) = meter();
        hand.show(300);
        clock.tick();
        assert_eq!(clock.now(), MeterTime::ZERO);
        clock.start();
        hand.show(303);
        clock.stop();
        assert_eq!(clock.now(), at(3));
        hand.show(400);
        clock.start();
        clock.tick();
        assert_eq!(clock.now(), at(3));
    }

    #[test]
    fn a_meter_that_others_are_ahead_of_only_goes_forward() {
        let (hand, meter) = meter();
        meter.reach(at(5_000));
        hand.show(700);
        assert_eq!(meter.now(), at(5_000));
        meter.start();
        assert_eq!(meter.now(), at(5_000));
        hand.show(900);
        assert_eq!(meter.now(), at(5_200));
        meter.reach(at(5_100));
        assert_eq!(meter.now(), at(5_200), "it is ahead already");
        meter.reach(at(5_250));
        assert_eq!((meter.now(), meter.left_out()), (at(5_250), Millis::ZERO));
        meter.stop();
        hand.show(2_000);
        assert_eq!(meter.now(), at(5_250));
    }

    #[test]
    fn a_gap_between_ticks_costs_a_second_however_long_it_is() {
        let (hand, meter) = meter();
        meter.start();
        for ms in (0..=2_000).step_by(100) {
            hand.show(ms);
            meter.tick();
            assert_eq!(meter.now(), at(ms));
        }
        // Frozen: nobody ticks, and who reads first when it goes on reads this.
        hand.show(3_600_000);
        assert_eq!((meter.now(), meter.left_out()), (at(3_000), Millis::new(3_597_000)));
        meter.tick();
        assert_eq!((meter.now(), meter.left_out()), (at(3_000), Millis::new(3_597_000)));
        hand.show(3_600_250);
        assert_eq!(meter.now(), at(3_250));
        // Others, who were not frozen, are ahead.
        meter.reach(at(9_000));
        assert_eq!((meter.now(), meter.left_out()), (at(9_000), Millis::new(3_597_000)));
    }

    #[test]
    fn whoever_reads_while_it_ticks_after_gaps_reads_nothing_that_goes_backwards() {
        let (hand, meter) = meter();
        let (meter, done) = (Arc::new(meter), Arc::new(AtomicBool::new(false)));
        meter.start();
        let reading = || {
            let (meter, done) = (Arc::clone(&meter), Arc::clone(&done));
            thread::spawn(move || {
                let mut before = MeterTime::ZERO;
                while !done.load(Ordering::Relaxed) {
                    let now = meter.now();
                    assert!(now >= before, "{now} after {before}");
                    before = now;
                }
            })
        };
        let readers = [reading(), reading()];
        let mut elapsed = 0;
        for round in 0..20_000_u64 {
            // Every tenth time it was frozen for a minute.
            elapsed += if round % 10 == 0 { 60_000 } else { 100 };
            hand.show(elapsed);
            let before = meter.now();
            meter.tick();
            if round % 7 == 0 {
                meter.reach(at(meter.now().as_ms() + 300));
            }
            assert!(meter.now() >= before);
        }
        done.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().all(|reader| reader.join().is_ok()), "a reader saw the meter go backwards");
        assert!(meter.now() < at(20_000 * 1_300));
    }

    #[test]
    fn it_is_told_when_the_thread_that_ticks_panics() {
        struct Broken;
        impl Ticks for Broken {
            fn elapsed(&self) -> Millis {
                panic!("the clock is broken")
            }
            fn wall(&self) -> UnixMs {
                UnixMs::from_ms(0)
            }
        }
        let meter = Arc::new(MeterClock::new(Arc::new(Broken)));
        let (ends, ended) = std::sync::mpsc::sync_channel::<()>(1);
        meter.tick_for_ever(ends).expect("there is room for a thread");
        let told = ended.recv_timeout(Duration::from_secs(30));
        assert_eq!(told, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the thread ticks by the real clock")]
    fn the_thread_that_ticks_keeps_the_meter_running_and_ends_with_it() {
        let meter = Arc::new(MeterClock::resume(None));
        meter.start();
        let lives = Arc::new(());
        meter.tick_for_ever(Arc::clone(&lives)).expect("there is room for a thread");
        let waited = Instant::now();
        while meter.now() <= at(RUN_ON.get() + 50) {
            assert!(waited.elapsed() < Duration::from_secs(30), "it stands at {}", meter.now());
            thread::sleep(Duration::from_millis(5));
        }
        let gone = Arc::downgrade(&meter);
        drop(meter);
        while gone.upgrade().is_some() || Arc::strong_count(&lives) > 1 {
            assert!(waited.elapsed() < Duration::from_secs(30), "the thread does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
