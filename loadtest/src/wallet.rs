//! The tokens of a run's first sessions, shared by those who ask about them and those who change them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gastank::wire::{BodyMac, SessionId};

use crate::session::OpenSession;

/// The tokens of some sessions.
pub struct Wallet {
    purses: Vec<Mutex<Purse>>,
}

/// A session's tokens.
pub struct Purse {
    /// The session.
    pub session: SessionId,
    /// What signs its frames.
    pub mac: BodyMac,
    /// The token that is good. Never shown.
    pub current: Arc<str>,
    /// The token before it, which is not. Never shown.
    pub previous: Option<Arc<str>>,
    /// When a change was last under way or done, on the program's clock.
    pub changed: Duration,
    /// Whether a change is under way: then nobody knows which token is good.
    pub changing: bool,
}

impl Wallet {
    /// The tokens of those sessions that came with one, from the first to the first without.
    pub fn new(crew: &[OpenSession]) -> Self {
        let purse = |session: &OpenSession| {
            Some(Mutex::new(Purse {
                session: session.id,
                mac: session.key.body_mac(),
                current: session.token.as_deref()?.into(),
                previous: None,
                changed: Duration::ZERO,
                changing: false,
            }))
        };
        Self { purses: crew.iter().map_while(purse).collect() }
    }

    /// How many sessions there are.
    pub const fn len(&self) -> usize {
        self.purses.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.purses.is_empty()
    }

    /// The purse of session `number`, which must be less than [`Self::len`].
    pub fn purse(&self, number: usize) -> MutexGuard<'_, Purse> {
        self.purses[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Purse {
    /// Whether nothing has changed since `asked`, so that an answer binds.
    pub const fn stood_still(&self, asked: Duration) -> bool {
        !self.changing && self.changed.as_nanos() < asked.as_nanos()
    }
}
