//! What acts come to, and why they are not done.

use crate::{
    control::{commits::CommitError, keys::KeyError},
    deadline::Late,
    engine::{Entry, Moment, Refusal},
    store::{Owned, StoreError},
    time::{MeterTime, Millis},
    wire::{FrameError, SessionId, SessionKey},
};

/// Why an act was not done. Nothing has changed, except where it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such account, session or key.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The credentials are wrong.
    #[error("the credentials are wrong")]
    BadCredentials,
    /// The frame of a renewal is not one.
    #[error("the frame is not valid")]
    BadFrame(FrameError),
    /// The same name was given to another entry before.
    #[error("this id was used before, for another amount or account")]
    IdReused,
    /// The provider has told that this person is gone.
    #[error("the person is gone")]
    Gone,
    /// As much credit is held for somebody who has no account as may be.
    #[error("too much is held for this identity")]
    HeldFull,
    /// The store failed. This act was not done; what it takes several steps to do may have been done in part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed when the act was to be written. It may have been done, or be done yet.
    #[error("it is not known whether it was done: {0}")]
    Unknown(StoreError),
    /// It had to wait too long.
    #[error(transparent)]
    Late(#[from] Late),
    /// Another node has not told yet what it has heard of the account's session.
    #[error("the other nodes have not told yet what they have heard of a session")]
    Untold,
    /// Others were faster every time.
    #[error("too many acts on this account at the same time")]
    Contended,
    /// A token could not be signed.
    #[error(transparent)]
    Signing(#[from] KeyError),
}

/// What came of an activation.
pub struct Activation {
    /// The new session.
    pub session: SessionId,
    /// Its heartbeat key.
    pub key: SessionKey,
    /// Its token.
    pub token: Token,
    /// Meter time of the activation.
    pub now: MeterTime,
    /// What is left to burn.
    pub remaining: Millis,
    /// Whether another session ended for it.
    pub superseded: bool,
}

/// A token and how long it lives.
pub struct Token {
    /// The token.
    pub text: String,
    /// How long it lives from now.
    pub expires_in: Millis,
}

/// What came of a renewal.
pub struct Renewal {
    /// The new token. The old one is dead.
    pub token: Token,
    /// What is left to burn.
    pub remaining: Millis,
}

/// What came of entering credit.
#[derive(Debug)]
pub struct Credited {
    /// The entry; of a repeated one, the entry it repeats.
    pub entry: Entry,
    /// What is left to burn.
    pub remaining: Millis,
    /// Whether it had been entered before.
    pub repeated: bool,
}

/// An account as it stands at a moment.
#[derive(Debug)]
pub struct View {
    /// The account and whose it is.
    pub owned: Owned,
    /// The moment.
    pub moment: Moment,
    /// What is left to burn.
    pub remaining: Millis,
}

impl From<CommitError> for ActError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotDone(error) => Self::Store(error),
            CommitError::Unknown(error) => Self::Unknown(error),
        }
    }
}
