//! The life of a session in one atomic word.
//!
//! While a session is open the word holds `last_seen`; once it has ended, the end reason and the instant of the end,
//! with the top bit set. A beat is `fetch_max`, which can only raise an open word and leaves a sealed one alone, and an
//! end is one compare-and-exchange. Beats and ends of different threads are thereby put in one order without a lock,
//! and no late beat can bring a session back to life.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::{EndReason, MeterTime};

const SEALED: u64 = 1 << 63;
const REASON_SHIFT: u32 = 59;
/// Bits that hold a time: 18 million years of milliseconds.
const TIME_MASK: u64 = (1 << REASON_SHIFT) - 1;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It goes on.
    Open {
        /// When it was last heard of.
        last_seen: MeterTime,
    },
    /// It is over.
    Ended {
        /// The last instant it was vouched for.
        at: MeterTime,
        /// Why.
        reason: EndReason,
    },
}

/// A max-register of `last_seen` that can be sealed once.
#[derive(Debug)]
pub(super) struct Register(AtomicU64);

impl Register {
    pub(super) fn new(last_seen: MeterTime) -> Self {
        Self(AtomicU64::new(last_seen.as_ms().min(TIME_MASK)))
    }

    pub(super) fn load(&self) -> Life {
        decode(self.0.load(Ordering::Acquire))
    }

    /// Reads the word and says nothing of it.
    pub(super) fn touch(&self) {
        std::hint::black_box(self.0.load(Ordering::Relaxed));
    }

    /// Raises `last_seen` to at least `seen`, unless the register is sealed; answers what the register then holds.
    pub(super) fn raise(&self, seen: MeterTime) -> Life {
        let seen = seen.as_ms().min(TIME_MASK);
        match decode(self.0.fetch_max(seen, Ordering::AcqRel)) {
            Life::Open { last_seen } => Life::Open { last_seen: last_seen.max(MeterTime::from_ms(seen)) },
            ended @ Life::Ended { .. } => ended,
        }
    }

    /// Ends the session, provided that it was last heard of at `last_seen` and has not ended.
    ///
    /// Answers what the register held instead if not.
    pub(super) fn seal(&self, last_seen: MeterTime, at: MeterTime, reason: EndReason) -> Result<(), Life> {
        self.0
            .compare_exchange(last_seen.as_ms(), encode_end(at, reason), Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(decode)
    }
}

fn encode_end(at: MeterTime, reason: EndReason) -> u64 {
    SEALED | (u64::from(reason as u8) << REASON_SHIFT) | at.as_ms().min(TIME_MASK)
}

fn decode(word: u64) -> Life {
    let time = MeterTime::from_ms(word & TIME_MASK);
    if word & SEALED == 0 {
        return Life::Open { last_seen: time };
    }
    let number = u8::try_from((word & !SEALED) >> REASON_SHIFT).expect("four bits fit a byte");
    let reason = EndReason::from_byte(number).expect("only `encode_end` seals, and it takes a reason");
    Life::Ended { at: time, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(ms: u64) -> MeterTime {
        MeterTime::from_ms(ms)
    }

    #[test]
    fn a_sealed_register_is_not_raised_by_a_later_beat() {
        let register = Register::new(at(10));
        register.seal(at(10), at(100), EndReason::TimedOut).unwrap();
        let ended = Life::Ended { at: at(100), reason: EndReason::TimedOut };
        assert_eq!(register.raise(at(1_000_000)), ended);
        assert_eq!(register.raise(at(u64::MAX)), ended);
        assert_eq!(register.load(), ended);
    }

    #[test]
    fn a_seal_that_a_beat_overtook_is_refused() {
        let register = Register::new(at(10));
        register.raise(at(20));
        assert_eq!(register.seal(at(10), at(100), EndReason::TimedOut), Err(Life::Open { last_seen: at(20) }));
    }

    #[test]
    fn a_session_ends_once() {
        let register = Register::new(at(10));
        register.seal(at(10), at(50), EndReason::Superseded).unwrap();
        let ended = Life::Ended { at: at(50), reason: EndReason::Superseded };
        assert_eq!(register.seal(at(10), at(60), EndReason::Revoked), Err(ended));
    }

    proptest! {
        #[test]
        fn the_register_holds_the_greatest_time_it_was_told(times: Vec<u64>) {
            let register = Register::new(at(0));
            for time in &times {
                register.raise(at(*time));
            }
            let greatest = times.iter().copied().max().unwrap_or(0).min(TIME_MASK);
            prop_assert_eq!(register.load(), Life::Open { last_seen: at(greatest) });
        }

        #[test]
        fn every_end_reads_back_as_it_was_written(time in 0..=TIME_MASK, number in 1u8..=8) {
            let reason = EndReason::from_byte(number).unwrap();
            prop_assert_eq!(decode(encode_end(at(time), reason)), Life::Ended { at: at(time), reason });
        }
    }
}
