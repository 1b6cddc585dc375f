//! Verdicts, asked for as an edge does: tokens that must be good, and now and then one that must not be.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use crate::{
    api,
    credentials::Credentials,
    record::Kind,
    session::SessionIndex,
    transport::{Answer, Message, Reply},
    verify::Bad,
    work::{Miss, Question, Turn, Work},
};

/// Introspection of the tokens of a credentials.
pub struct Verdicts {
    sessions: Vec<usize>,
    credentials: Arc<Credentials>,
    edge: Arc<str>,
}

/// What the answer must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    active: bool,
    /// Whether nothing was changing when it was asked.
    certain: bool,
}

/// Every so many questions are about a token that is dead, where there is one.
const DEAD: u64 = 8;

/// The one answer about a token that is not good.
const INACTIVE: &[u8] = br#"{"active":false}"#;

#[derive(Deserialize)]
struct Introspection {
    active: bool,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    exp: Option<u64>,
}

impl Verdicts {
    /// Questions about these sessions, by the edge with these credentials.
    pub fn new(own: &[SessionIndex], credentials: Arc<Credentials>, edge: Arc<str>) -> Self {
        Self { sessions: own.iter().map(|index| index.get() % credentials.len().max(1)).collect(), credentials, edge }
    }
}

impl Work for Verdicts {
    type Context = Expected;

    fn kind(&self) -> Kind {
        Kind::Verdicts
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&Expected>) -> Option<(Expected, Message)> {
        let session_tokens = self.credentials.session_tokens(self.sessions[turn.place]);
        let dead = session_tokens.previous.as_ref().filter(|_| turn.draw.is_multiple_of(DEAD));
        let expected = Expected { active: dead.is_none(), certain: !session_tokens.changing };
        let token = dead.unwrap_or(&session_tokens.current);
        Some((expected, Message::Call(api::introspect(&self.edge, token))))
    }

    fn judge(&mut self, question: &Question<Expected>, answer: &Answer) -> Result<(), Miss> {
        let reply = match &answer.reply {
            Reply::Http(reply) => reply,
            Reply::Frame(_) | Reply::Odd => return Err(Bad::Shape.into()),
            Reply::Failed => return Err(Miss::Failed),
        };
        if reply.status != 200 {
            return Err(Miss::Refused(reply.status));
        }
        let said: Introspection = serde_json::from_slice(&reply.body).map_err(|_| Bad::Shape)?;
        if said.active && (said.sub.is_none() || said.exp.is_none()) || !said.active && reply.body != INACTIVE {
            return Err(Bad::Shape.into());
        }
        let is_unchanged_since = self.binds(question.place, question.sent);
        match (question.asked.certain && is_unchanged_since, question.asked.active, said.active) {
            (true, true, false) => Err(Bad::NotActive.into()),
            // A token that is dead stays dead, whatever changes.
            (_, false, true) if question.asked.certain => Err(Bad::StillActive.into()),
            _ => Ok(()),
        }
    }
}

impl Verdicts {
    fn binds(&self, place: usize, sent: Duration) -> bool {
        self.credentials.session_tokens(self.sessions[place]).is_unchanged_since(sent)
    }
}
