//! The tokens of a run's first sessions, shared by those who ask about them and those who change them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gastank::wire::{BodyMac, SessionId};

use crate::session::OpenSession;

/// The tokens of some sessions.
pub struct Credentials {
    all: Vec<Mutex<SessionTokens>>,
}

/// A session's tokens.
pub struct SessionTokens {
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

impl Credentials {
    /// The tokens of those sessions that came with one, from the first to the first without.
    pub fn new(opened: &[OpenSession]) -> Self {
        let session_tokens = |session: &OpenSession| {
            Some(Mutex::new(SessionTokens {
                session: session.id,
                mac: session.key.body_mac(),
                current: session.token.as_deref()?.into(),
                previous: None,
                changed: Duration::ZERO,
                changing: false,
            }))
        };
        Self { all: opened.iter().map_while(session_tokens).collect() }
    }

    /// How many sessions there are.
    pub const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The session_tokens of session `number`, which must be less than [`Self::len`].
    pub fn session_tokens(&self, number: usize) -> MutexGuard<'_, SessionTokens> {
        self.all[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionTokens {
    /// Whether nothing has changed since `asked`, so that an answer binds.
    pub const fn is_unchanged_since(&self, asked: Duration) -> bool {
        !self.changing && self.changed.as_nanos() < asked.as_nanos()
    }
}
