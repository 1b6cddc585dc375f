//! Activations: accounts of their own, each of which opens a session again and again. The one before ends for it.

use std::time::Duration;

use gastank::wire::SessionId;

use crate::{
    api,
    record::Kind,
    session::{AccountKey, OpenSession, SessionIndex},
    transport::{Answer, Message, Reply},
    verify::Bad,
    work::{Miss, Question, Turn, Work},
};

/// Activations of some accounts.
pub struct Activations {
    accounts: Vec<Owned>,
    /// After what silence a session is over.
    timeout: Duration,
}

struct Owned {
    key: AccountKey,
    /// The session that was opened last, and when.
    session: SessionId,
    opened: Option<Duration>,
}

/// The session before, when it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    session: SessionId,
    opened: Option<Duration>,
}

impl Activations {
    /// Activations for these accounts of `opened`.
    pub fn new(own: &[SessionIndex], opened: &[OpenSession], timeout: Duration) -> Self {
        let owned = |index: &SessionIndex| {
            let session = &opened[index.get()];
            Owned { key: session.account_key.clone(), session: session.id, opened: None }
        };
        Self { accounts: own.iter().map(owned).collect(), timeout }
    }
}

impl Work for Activations {
    type Context = Before;

    fn kind(&self) -> Kind {
        Kind::Activations
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&Before>) -> Option<(Before, Message)> {
        let account = &self.accounts[turn.place];
        let before = Before { session: account.session, opened: account.opened };
        Some((before, Message::Call(api::activate(&account.key))))
    }

    fn judge(&mut self, question: &Question<Before>, answer: &Answer) -> Result<(), Miss> {
        let reply = match &answer.reply {
            Reply::Http(reply) => reply,
            Reply::Frame(_) | Reply::Odd => return Err(Bad::Shape.into()),
            Reply::Failed => return Err(Miss::Failed),
        };
        if reply.status != 200 {
            return Err(Miss::Refused(reply.status));
        }
        let activation = api::activation(&reply.body).map_err(|_| Bad::Shape)?;
        let before = &question.asked;
        if activation.id == before.session {
            return Err(Bad::NotNew.into());
        }
        // The session before lived when this one was opened, unless it had been silent for too long by then.
        let lived = before.opened.is_some_and(|opened| answer.at < opened + self.timeout);
        if lived && !activation.superseded {
            return Err(Bad::NotSuperseded.into());
        }
        let account = &mut self.accounts[question.place];
        account.session = activation.id;
        account.opened = Some(question.sent);
        Ok(())
    }
}
