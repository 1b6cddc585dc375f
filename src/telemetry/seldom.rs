//! Log lines that others can cause: said seldom, however often there is cause.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A line is said once in this time, at most.
const EVERY: Duration = Duration::from_secs(10);

/// How often one line may be said.
pub struct Seldom {
    since: OnceLock<Instant>,
    /// Milliseconds after `since` from which on it may be said again.
    next: AtomicU64,
    unsaid: AtomicU64,
}

impl Seldom {
    /// It may be said at once.
    pub const fn new() -> Self {
        Self { since: OnceLock::new(), next: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Whether to say it now; then, how often it was not said since the last time.
    #[expect(clippy::disallowed_methods, reason = "how often a line is logged is told by the system's clock")]
    pub fn speak(&self) -> Option<u64> {
        let now = Instant::now();
        self.speak_at(now.saturating_duration_since(*self.since.get_or_init(|| now)))
    }

    fn speak_at(&self, now: Duration) -> Option<u64> {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let due = ms(now) >= next;
        if due && self.next.compare_exchange(next, ms(now + EVERY), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_while_and_tells_how_often_it_was_not() {
        let seldom = Seldom::new();
        let at = |ms| seldom.speak_at(Duration::from_millis(ms));
        assert_eq!(at(0), Some(0));
        assert!((1..10_000).all(|ms| at(ms).is_none()));
        assert_eq!(at(10_000), Some(9_999));
        assert_eq!(at(19_999), None);
        assert_eq!(at(60_000), Some(1));
    }
}
