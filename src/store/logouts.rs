//! Clients that take part in hub sessions, and the outbox: what they are yet to be told of sessions that have ended.
//!
//! A participant turns into an entry of the outbox when its hub session ends, in the same act or so that nothing is lost if the
//! service dies between: the store does it, whatever ended the session. Entries outlive the account.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    engine::AccountId,
    time::{Millis, UnixMs},
};

use super::{HubSessionId, Result, SecretDigest, StoreError};

/// A client that a person signed in to by a hub session, and that wants to be told when that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The hub session.
    pub session: SecretDigest,
    /// Whose it is.
    pub account: AccountId,
    /// The client.
    pub client_id: String,
    /// When the session ends at the latest.
    pub ends_at: UnixMs,
}

/// An entry of the outbox: what a client is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRecord {
    /// The client.
    pub client_id: String,
    /// Whose hub session has ended.
    pub account: AccountId,
    /// Which one; `None`: all of the account's.
    pub session: Option<HubSessionId>,
    /// Not to be told before. A node that is about to tell it moves this on, so that no other does.
    pub due: UnixMs,
    /// When it was first tried.
    pub since: Option<UnixMs>,
    /// How often it was tried.
    pub tries: u32,
}

/// A participant as it is written, but for its key.
#[derive(Serialize, Deserialize)]
struct ParticipantDocument {
    ends_at: u64,
}

impl Participant {
    /// How long the row is kept if it is made now.
    pub(super) const fn lifetime(&self, now: UnixMs) -> Millis {
        self.ends_at.since(now)
    }

    /// What the row goes by among those of its account.
    pub(super) fn name(&self) -> Vec<u8> {
        [self.session.as_bytes().as_slice(), self.client_id.as_bytes()].concat()
    }

    /// `{"ends_at":ms}`
    pub(super) fn to_json(&self) -> String {
        let document = ParticipantDocument { ends_at: self.ends_at.as_ms() };
        serde_json::to_string(&document).expect("a number is always JSON")
    }

    /// Reads it back.
    pub(super) fn from_json(account: AccountId, name: &[u8], text: &str) -> Result<Self> {
        let damaged = || StoreError::Damaged("a client that takes part in a hub session cannot be read".to_owned());
        let (session, client_id) = name.split_first_chunk::<32>().ok_or_else(damaged)?;
        let document: ParticipantDocument = serde_json::from_str(text).map_err(|_| damaged())?;
        Ok(Self {
            session: SecretDigest::from_bytes(*session),
            account,
            client_id: String::from_utf8(client_id.to_vec()).map_err(|_| damaged())?,
            ends_at: UnixMs::from_ms(document.ends_at),
        })
    }
}

impl LogoutRecord {
    /// What these participants are to be told: each that its session has ended; and if it was `everywhere`, each client once
    /// that all have, of which it may know some that nobody else does any more.
    pub fn owed<'a>(participants: impl IntoIterator<Item = &'a Participant>, everywhere: bool) -> Vec<Self> {
        let (mut owed, mut clients) = (Vec::new(), BTreeSet::new());
        let record = |participant: &Participant, session| Self {
            client_id: participant.client_id.clone(),
            account: participant.account,
            session,
            due: UnixMs::from_ms(0),
            since: None,
            tries: 0,
        };
        for participant in participants {
            owed.push(record(participant, Some(HubSessionId::of(&participant.session))));
            if everywhere && clients.insert(participant.client_id.as_str()) {
                owed.push(record(participant, None));
            }
        }
        owed
    }

    /// The same, tried at `now` and not to be tried again before `due`.
    #[must_use]
    pub fn postponed(&self, now: UnixMs, due: UnixMs) -> Self {
        Self { due, since: self.since.or(Some(now)), tries: self.tries.saturating_add(1), ..self.clone() }
    }

    /// The hub session, as a part of the row's key. Empty for all.
    pub(super) fn sid(&self) -> &[u8] {
        self.session.as_ref().map_or(&[], |session| session.as_bytes().as_slice())
    }

    /// Reads it back.
    pub(super) fn sid_from(bytes: &[u8]) -> Result<Option<HubSessionId>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let id = bytes.try_into().map_err(|_| StoreError::Damaged("the id of a hub session has 16 bytes".to_owned()));
        id.map(|id| Some(HubSessionId::from_bytes(id)))
    }
}
