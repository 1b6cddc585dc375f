//! Rate limits: so many a second on average and so many at once, for each key.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

/// So many a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_s: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// This rate; `None` if either figure is zero, which turns a limit off.
    pub fn new(per_s: u32, burst: u32) -> Option<Self> {
        Some(Self { per_s: NonZeroU32::new(per_s)?, burst: NonZeroU32::new(burst)? })
    }
}

/// How many checks go by between two cleanings.
const CLEAN_EVERY: u32 = 4096;

/// One limit for each key. A key is kept only while it has used some of its burst, so that what is kept is bounded by
/// the rate of requests times the seconds a burst takes to refill.
pub struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    /// This rate for each key.
    pub fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_s).allow_burst(rate.burst);
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), checks: AtomicU32::new(0) }
    }

    /// Seconds until the key may ask again; zero when it may now.
    pub fn wait_s(&self, key: &K) -> u32 {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(key) {
            Ok(()) => 0,
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_have_not_asked_for_long_are_forgotten() {
        let keyed = Keyed::new(Rate::new(1_000_000, 1).unwrap());
        for key in 0..CLEAN_EVERY * 8 {
            keyed.wait_s(&key);
        }
        assert!(keyed.limiter.len() < 3 * CLEAN_EVERY as usize, "{}", keyed.limiter.len());
    }
}
