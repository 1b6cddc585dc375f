//! Rows of the heartbeat history: when a session was heard of, and what its client said of itself then.
//!
//! A row is made for a checkpoint, not for a heartbeat: of all that was heard of a session between two checkpoints, the
//! latest. Rows are appended, read and dropped, and never changed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    engine::AccountId,
    time::{MeterTime, Millis, UnixMs},
    wire::{SessionId, StateBits},
};

/// Where rows are kept together, in time: a day in UTC.
const DAY: Millis = Millis::from_secs(86_400);

/// What was heard of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub key: HeardKey,
    /// What the client said of itself.
    pub state: StateBits,
}

/// A row's place in the history of its session: rows are in the order of the wall clock, and of an instant, of the meter.
/// A row with this key is written once; writing it again changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeardKey {
    /// When the session was heard of, on the wall clock of the node that heard it.
    pub at: UnixMs,
    /// The same in meter time.
    pub last_seen: MeterTime,
}

/// A row to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardRow {
    /// Whose session it is. When they are deleted, the row goes.
    pub account: AccountId,
    /// Which session.
    pub session: SessionId,
    /// What was heard of it.
    pub heard: Heard,
}

impl HeardKey {
    /// What comes right before every row of this instant and later.
    pub fn before(at: UnixMs) -> Self {
        Self { at: at.minus(Millis::new(1)), last_seen: MeterTime::from_ms(i64::MAX.cast_unsigned()) }
    }

    /// Reads a key as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (at, last_seen) = bytes.split_first_chunk::<8>()?;
        let (at, last_seen) = (u64::from_be_bytes(*at), u64::from_be_bytes(last_seen.try_into().ok()?));
        // What the store cannot hold is no key of its.
        i64::try_from(at.max(last_seen)).ok()?;
        Some(Self { at: UnixMs::from_ms(at), last_seen: MeterTime::from_ms(last_seen) })
    }
}

impl fmt::Display for HeardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.at.as_ms().to_be_bytes());
        bytes[8..].copy_from_slice(&self.last_seen.as_ms().to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The day that an instant is in, counted from 1970.
pub(super) fn day(at: UnixMs) -> i64 {
    i64::try_from(at.as_ms() / DAY.get()).expect("days are far fewer than milliseconds")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_read_back_and_come_after_what_is_before_them(
            at in 1..i64::MAX.cast_unsigned(),
            last_seen in 0..i64::MAX.cast_unsigned(),
        ) {
            let key = HeardKey { at: UnixMs::from_ms(at), last_seen: MeterTime::from_ms(last_seen) };
            prop_assert_eq!(HeardKey::parse(&key.to_string()), Some(key));
            prop_assert!(HeardKey::before(key.at) < key);
            prop_assert!(HeardKey::before(UnixMs::from_ms(at + 1)) > key);
        }

        #[test]
        fn text_that_is_no_key_is_refused(text: String) {
            if let Some(key) = HeardKey::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
