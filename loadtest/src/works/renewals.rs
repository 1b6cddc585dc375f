//! Renewals: each gives a session a fresh token and kills the one before.

use std::{sync::Arc, time::Duration};

use gastank::wire::{Heartbeat, HeartbeatKind, StateBits};

use crate::{
    api::{self, Renewal},
    clock::MeterEstimate,
    record::Kind,
    session::SessionIndex,
    transport::{Answer, Message, Reply},
    verify::Bad,
    wallet::Wallet,
    work::{Miss, Question, Turn, Work},
};

/// Renewals of the tokens of a wallet.
pub struct Renewals {
    sessions: Vec<usize>,
    wallet: Arc<Wallet>,
    meter: MeterEstimate,
}

/// After how long a renewal whose answer never came may be tried again.
const GIVE_UP: Duration = Duration::from_secs(10);

impl Renewals {
    /// Renewals for these sessions.
    pub fn new(own: &[SessionIndex], wallet: Arc<Wallet>, meter: MeterEstimate) -> Self {
        Self { sessions: own.iter().map(|index| index.get() % wallet.len().max(1)).collect(), wallet, meter }
    }
}

impl Work for Renewals {
    type Asked = ();

    fn kind(&self) -> Kind {
        Kind::Renewals
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&()>) -> Option<((), Message)> {
        let mut purse = self.wallet.purse(self.sessions[turn.place]);
        if purse.changing && turn.at < purse.changed + GIVE_UP {
            return None;
        }
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Renew,
            state: StateBits::default(),
            seq: turn.seq,
            session: purse.session,
            clock: self.meter.at(turn.at),
        };
        let call = api::renew(&purse.current, &heartbeat.sign(&purse.mac));
        purse.changing = true;
        purse.changed = turn.at;
        Some(((), Message::Call(call)))
    }

    fn judge(&mut self, question: &Question<()>, answer: &Answer) -> Result<(), Miss> {
        let mut purse = self.wallet.purse(self.sessions[question.place]);
        let reply = match &answer.reply {
            Reply::Http(reply) => reply,
            Reply::Frame(_) | Reply::Odd => return Err(Bad::Shape.into()),
            // It may have been done: which token is good is not known.
            Reply::Failed => return Err(Miss::Failed),
        };
        purse.changed = answer.at;
        if reply.status != 200 {
            purse.changing = false;
            return Err(Miss::Refused(reply.status));
        }
        let renewal: Renewal = serde_json::from_slice(&reply.body).map_err(|_| Bad::Shape)?;
        if renewal.expires_in_s == 0 || renewal.remaining_s == 0 || renewal.token.split('.').count() != 3 {
            return Err(Bad::Shape.into());
        }
        if *renewal.token == *purse.current {
            return Err(Bad::NotNew.into());
        }
        let before = std::mem::replace(&mut purse.current, renewal.token.into());
        purse.previous = Some(before);
        purse.changing = false;
        Ok(())
    }
}
