//! The life of a session in one atomic word.
//!
//! While a session is open the word holds `last_seen`, and below it what the client said of itself then; once it has ended,
//! the end reason and the instant of the end, with the top bit set. A beat is `fetch_max`, which can only raise an open word and leaves a sealed one alone, and an
//! end is one compare-and-exchange. Beats and ends of different threads are thereby put in one order without a lock,
//! and no late beat can bring a session back to life.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    time::MeterTime,
    wire::{EndReason, StateBits},
};

const SEALED: u64 = 1 << 63;
const REASON_SHIFT: u32 = 59;
/// Bits that hold the time of an end: 18 million years of milliseconds.
const END_MASK: u64 = (1 << REASON_SHIFT) - 1;
/// Bits of a client's state, below the time of an open word: the later of two words is the greater one all the same.
const STATE_BITS: u32 = u16::BITS;
/// The latest time of an open word: 4 000 years of milliseconds.
const LATEST: u64 = (SEALED - 1) >> STATE_BITS;

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
        Self(AtomicU64::new(encode_open(last_seen, StateBits::default())))
    }

    pub(super) fn load(&self) -> Life {
        decode(self.0.load(Ordering::Acquire))
    }

    /// Reads the word and says nothing of it.
    pub(super) fn touch(&self) {
        std::hint::black_box(self.0.load(Ordering::Relaxed));
    }

    /// When it was last heard of, and what the client said of itself then; `None` once it has ended.
    pub(super) fn report(&self) -> Option<(MeterTime, StateBits)> {
        let word = self.0.load(Ordering::Acquire);
        let Life::Open { last_seen } = decode(word) else { return None };
        let state = u16::try_from(word & u64::from(u16::MAX)).expect("sixteen bits fit");
        Some((last_seen, StateBits(state)))
    }

    /// Raises `last_seen` to at least `seen`, with what the client said then, unless the register is sealed; answers what
    /// the register then holds.
    pub(super) fn raise(&self, seen: MeterTime, state: StateBits) -> Life {
        let word = encode_open(seen, state);
        decode(self.0.fetch_max(word, Ordering::AcqRel).max(word))
    }

    /// Ends the session, provided that it was last heard of at `last_seen` and has not ended.
    ///
    /// Answers what the register held instead if not.
    pub(super) fn seal(&self, last_seen: MeterTime, at: MeterTime, reason: EndReason) -> Result<(), Life> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            match decode(word) {
                Life::Open { last_seen: seen } if seen == last_seen => {}
                other => return Err(other),
            }
            let sealed = encode_end(at, reason);
            match self.0.compare_exchange_weak(word, sealed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                // Of the same instant, but with another state; or for no reason.
                Err(now) => word = now,
            }
        }
    }
}

fn encode_open(seen: MeterTime, state: StateBits) -> u64 {
    (seen.as_ms().min(LATEST) << STATE_BITS) | u64::from(state.0)
}

fn encode_end(at: MeterTime, reason: EndReason) -> u64 {
    SEALED | (u64::from(reason as u8) << REASON_SHIFT) | at.as_ms().min(END_MASK)
}

fn decode(word: u64) -> Life {
    if word & SEALED == 0 {
        return Life::Open { last_seen: MeterTime::from_ms(word >> STATE_BITS) };
    }
    let time = MeterTime::from_ms(word & END_MASK);
    let number = u8::try_from((word & !SEALED) >> REASON_SHIFT).expect("four bits fit a byte");
    let reason = EndReason::from_byte(number).expect("only `encode_end` seals, and it takes a reason");
    Life::Ended { at: time, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: StateBits = StateBits(StateBits::IDLE);
    const LOCKED: StateBits = StateBits(StateBits::LOCKED);

    const fn at(ms: u64) -> MeterTime {
        MeterTime::from_ms(ms)
    }

    #[test]
    fn a_sealed_register_is_not_raised_by_a_later_beat() {
        let register = Register::new(at(10));
        register.seal(at(10), at(100), EndReason::TimedOut).unwrap();
        let ended = Life::Ended { at: at(100), reason: EndReason::TimedOut };
        assert_eq!(register.raise(at(1_000_000), IDLE), ended);
        assert_eq!(register.raise(at(u64::MAX), StateBits(u16::MAX)), ended);
        assert_eq!(register.load(), ended);
    }

    #[test]
    fn a_seal_that_a_beat_overtook_is_refused() {
        let register = Register::new(at(10));
        register.raise(at(20), IDLE);
        assert_eq!(register.seal(at(10), at(100), EndReason::TimedOut), Err(Life::Open { last_seen: at(20) }));
    }

    #[test]
    fn what_the_client_said_goes_with_the_latest_time_it_was_heard_of() {
        let register = Register::new(at(10));
        assert_eq!(register.report(), Some((at(10), StateBits(0))));
        register.raise(at(30), IDLE);
        register.raise(at(20), LOCKED);
        assert_eq!(register.report(), Some((at(30), IDLE)));
        register.seal(at(30), at(40), EndReason::Revoked).unwrap();
        assert_eq!(register.report(), None);
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
        fn the_register_holds_the_greatest_time_it_was_told(beats: Vec<(u64, u16)>) {
            let register = Register::new(at(0));
            for (time, state) in &beats {
                let told = register.raise(at(*time), StateBits(*state));
                prop_assert_eq!(told, register.load());
            }
            let greatest = beats.iter().map(|(time, _)| *time).max().unwrap_or(0).min(LATEST);
            prop_assert_eq!(register.load(), Life::Open { last_seen: at(greatest) });
        }

        #[test]
        fn every_end_reads_back_as_it_was_written(time in 0..=END_MASK, number in 1u8..=8) {
            let reason = EndReason::from_byte(number).unwrap();
            prop_assert_eq!(decode(encode_end(at(time), reason)), Life::Ended { at: at(time), reason });
        }
    }
}
