//! Instants and spans. `core` only: the frames are made of them.

use core::fmt;

/// An instant on the service's meter clock, in milliseconds since the meter first ran.
///
/// The meter runs only while the service is up; it is neither wall-clock nor process time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterTime(u64);

impl MeterTime {
    /// The instant the meter first ran.
    pub const ZERO: Self = Self(0);

    /// The instant `ms` milliseconds after the meter first ran.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the meter first ran.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This instant and `span` later, or the end of time.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for MeterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `ms` milliseconds.
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// `s` seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// The number of milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The sum, or the longest span there is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// An instant of the wall clock: milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(u64);

impl UnixMs {
    /// The instant `ms` milliseconds after 1970 began.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970 began.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970 began, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The first instant from this one on at which a second begins.
    #[must_use]
    pub const fn next_second(self) -> Self {
        Self(self.0.div_ceil(1000).saturating_mul(1000))
    }

    /// This instant and `span` later.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.get()))
    }

    /// This instant and `span` earlier.
    #[must_use]
    pub const fn minus(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.get()))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis::new(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instants_and_spans_saturate_and_never_wrap(a: u64, b: u64) {
            let (instant, span) = (MeterTime::from_ms(a), Millis::new(b));
            prop_assert!(instant.plus(span) >= instant);
            prop_assert_eq!(instant.plus(span).as_ms(), a.saturating_add(b));
            prop_assert_eq!(instant.since(MeterTime::from_ms(b)).get(), a.saturating_sub(b));
            prop_assert_eq!(Millis::new(a).plus(span).get(), a.saturating_add(b));
            prop_assert_eq!(Millis::new(a).minus(span).get(), a.saturating_sub(b));
        }

        #[test]
        fn later_minus_earlier_brings_back_the_span(a in 0..u64::MAX / 2, b in 0..u64::MAX / 2) {
            let earlier = MeterTime::from_ms(a);
            prop_assert_eq!(earlier.plus(Millis::new(b)).since(earlier), Millis::new(b));
        }
    }

    #[test]
    fn seconds_round_down_and_saturate() {
        assert_eq!(Millis::new(1999).as_secs(), 1);
        assert_eq!(Millis::from_secs(2).get(), 2000);
        assert_eq!(Millis::from_secs(u64::MAX).get(), u64::MAX);
    }
}
