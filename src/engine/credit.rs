//! Amounts of credit.

use crate::time::Millis;

/// An amount of credit in milliseconds; negative when it takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credit(i64);

impl Credit {
    /// No credit.
    pub const ZERO: Self = Self(0);
    /// The most that an account may hold or an entry may move: about 146 million years.
    pub const MAX: Self = Self(1 << 62);

    /// `ms` milliseconds, held within [`Self::MAX`] either way.
    pub const fn from_ms(ms: i64) -> Self {
        if ms > Self::MAX.0 {
            Self::MAX
        } else if ms < -Self::MAX.0 {
            Self(-Self::MAX.0)
        } else {
            Self(ms)
        }
    }

    /// `seconds` seconds, held within [`Self::MAX`] either way.
    pub const fn from_secs(seconds: i64) -> Self {
        Self::from_ms(seconds.saturating_mul(1000))
    }

    /// What using `span` costs: a negative amount.
    pub fn usage(span: Millis) -> Self {
        Self::from_ms(-i64::try_from(span.get()).unwrap_or(i64::MAX))
    }

    /// Milliseconds; negative when it takes away.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// The sum, held within [`Self::MAX`] either way.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::from_ms(self.0.saturating_add(other.0))
    }

    /// As much the other way.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(-self.0)
    }

    /// As a span that can be burned: nothing when it is negative.
    pub fn fuel(self) -> Millis {
        Millis::new(u64::try_from(self.0).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn credit_never_leaves_its_bounds(a: i64, b: i64) {
            let sum = Credit::from_ms(a).plus(Credit::from_secs(b));
            prop_assert!(sum <= Credit::MAX && sum.as_ms() >= -Credit::MAX.as_ms());
        }
    }
}
