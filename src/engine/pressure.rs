//! How hard the service is pressed, as those who take requests in see it. Under pressure, acks ask for fewer heartbeats.

use std::sync::atomic::{AtomicU8, Ordering};

/// How hard something is pressed: from not at all to as much as it can bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pressure(u8);

impl Pressure {
    /// Not at all.
    pub const NONE: Self = Self(0);
    /// As much as can be borne.
    pub const FULL: Self = Self(u8::MAX);

    /// `part` of `whole`, at most all of it.
    pub fn of(part: u32, whole: u32) -> Self {
        let share = u64::from(part) * u64::from(u8::MAX) / u64::from(whole.max(1));
        Self(u8::try_from(share).unwrap_or(u8::MAX))
    }

    /// This share of `amount`, rounded down.
    pub const fn share_of(self, amount: u64) -> u64 {
        amount / Self::FULL.0 as u64 * self.0 as u64
            + amount % Self::FULL.0 as u64 * self.0 as u64 / Self::FULL.0 as u64
    }

    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(Self::FULL.0)
    }
}

/// Who tells of pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PressedBy {
    /// Datagrams that wait.
    Udp,
    /// Requests that wait.
    Http,
}

/// The pressures that were told last.
#[derive(Debug, Default)]
pub(super) struct Pressures([AtomicU8; 2]);

impl Pressures {
    pub(super) fn set(&self, by: PressedBy, pressure: Pressure) {
        self.0[by as usize].store(pressure.0, Ordering::Relaxed);
    }

    /// The greatest of them.
    pub(super) fn greatest(&self) -> Pressure {
        Pressure(self.0.iter().map(|pressure| pressure.load(Ordering::Relaxed)).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_share_is_never_more_than_all_and_grows_with_the_pressure(part: u32, whole: u32, amount: u64) {
            let pressure = Pressure::of(part, whole);
            prop_assert!(pressure.share_of(amount) <= amount);
            prop_assert!(pressure <= Pressure::of(part.saturating_add(1), whole));
            prop_assert_eq!(Pressure::FULL.share_of(amount), amount);
            prop_assert_eq!(Pressure::NONE.share_of(amount), 0);
        }
    }

    #[test]
    fn the_greatest_pressure_counts() {
        let pressures = Pressures::default();
        pressures.set(PressedBy::Udp, Pressure::of(1, 2));
        pressures.set(PressedBy::Http, Pressure::of(1, 4));
        assert_eq!(pressures.greatest(), Pressure::of(1, 2));
        pressures.set(PressedBy::Udp, Pressure::NONE);
        assert_eq!(pressures.greatest(), Pressure::of(1, 4));
    }
}
