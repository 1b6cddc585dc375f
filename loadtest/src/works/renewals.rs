//! Renewals: each gives a session a fresh token and kills the one before.

use std::{sync::Arc, time::Duration};

use gastank::wire::{Heartbeat, HeartbeatKind, StateBits};

use crate::{
    api::{self, Renewal},
    clock::MeterEstimate,
    credentials::Credentials,
    record::Kind,
    session::SessionIndex,
    transport::{Answer, Message, Reply},
    verify::Bad,
    work::{Miss, Question, Turn, Work},
};

/// Renewals of the tokens of a credentials.
pub struct Renewals {
    sessions: Vec<usize>,
    credentials: Arc<Credentials>,
    meter: MeterEstimate,
}

/// After how long a renewal whose answer never came may be tried again.
const GIVE_UP: Duration = Duration::from_secs(10);

impl Renewals {
    /// Renewals for these sessions.
    pub fn new(own: &[SessionIndex], credentials: Arc<Credentials>, meter: MeterEstimate) -> Self {
        Self { sessions: own.iter().map(|index| index.get() % credentials.len().max(1)).collect(), credentials, meter }
    }
}

impl Work for Renewals {
    type Context = ();

    fn kind(&self) -> Kind {
        Kind::Renewals
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&()>) -> Option<((), Message)> {
        let mut session_tokens = self.credentials.session_tokens(self.sessions[turn.place]);
        if session_tokens.changing && turn.at < session_tokens.changed + GIVE_UP {
            return None;
        }
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Renew,
            state: StateBits::default(),
            seq: turn.seq,
            session: session_tokens.session,
            clock: self.meter.at(turn.at),
        };
        let call = api::renew(&session_tokens.current, &heartbeat.sign(&session_tokens.mac));
        session_tokens.changing = true;
        session_tokens.changed = turn.at;
        Some(((), Message::Call(call)))
    }

    fn judge(&mut self, question: &Question<()>, answer: &Answer) -> Result<(), Miss> {
        let mut session_tokens = self.credentials.session_tokens(self.sessions[question.place]);
        let reply = match &answer.reply {
            Reply::Http(reply) => reply,
            Reply::Frame(_) | Reply::Odd => return Err(Bad::Shape.into()),
            // It may have been done: which token is good is not known.
            Reply::Failed => return Err(Miss::Failed),
        };
        session_tokens.changed = answer.at;
        if reply.status != 200 {
            session_tokens.changing = false;
            return Err(Miss::Refused(reply.status));
        }
        let renewal: Renewal = serde_json::from_slice(&reply.body).map_err(|_| Bad::Shape)?;
        if renewal.expires_in_s == 0 || renewal.remaining_s == 0 || renewal.token.split('.').count() != 3 {
            return Err(Bad::Shape.into());
        }
        if *renewal.token == *session_tokens.current {
            return Err(Bad::NotNew.into());
        }
        let before = std::mem::replace(&mut session_tokens.current, renewal.token.into());
        session_tokens.previous = Some(before);
        session_tokens.changing = false;
        Ok(())
    }
}
