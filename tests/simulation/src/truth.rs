//! What is true: everything that was committed, in order, and what follows from it. No node knows as much.

use std::collections::{BTreeMap, HashMap};

use gastank::{
    engine::{AccountId, End, TokenHash},
    time::{MeterTime, Millis},
    wire::SessionId,
};

use crate::tables::{Applied, Tables};

/// A session, as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Whose it is.
    pub(crate) account: AccountId,
    /// When it was opened, in meter time.
    pub(crate) started: MeterTime,
    /// When that was committed, in virtual time.
    pub(crate) opened_at: u64,
    /// The token that is good.
    pub(crate) current: TokenHash,
    /// When it expires, in meter time: nobody is charged beyond it.
    pub(crate) expires: Option<MeterTime>,
    /// How long nobody was vouched for between its tokens.
    pub(crate) uncharged: Millis,
    /// How it ended, and when that was committed.
    pub(crate) end: Option<(End, u64)>,
}

/// Everything that was committed.
#[derive(Default)]
pub(crate) struct Truth {
    seen: usize,
    /// Every session there was, in the order of their ids.
    pub(crate) lives: BTreeMap<SessionKey, Life>,
    open: HashMap<AccountId, SessionKey>,
    /// When a token died, in virtual time.
    dead: HashMap<[u8; 16], u64>,
    /// The numbers of sessions, for people to read.
    numbers: HashMap<SessionKey, usize>,
}

/// A session's id.
pub(crate) type SessionKey = [u8; 16];

impl Life {
    /// What a session costs that ended so.
    pub(crate) fn cost(&self, end: &End) -> Millis {
        end.at.since(self.started).minus(self.uncharged)
    }
}

impl Truth {
    /// Takes note of what was committed since.
    pub(crate) fn catch_up(&mut self, tables: &Tables) -> Vec<Applied> {
        let fresh = tables.applied_since(self.seen);
        self.seen += fresh.len();
        for Applied { at, act } in &fresh {
            if let Some((session, end)) = &act.closes {
                self.open.remove(&act.account);
                if let Some(life) = self.lives.get_mut(session.as_bytes()) {
                    life.end = Some((*end, *at));
                    self.dead.insert(*life.current.as_bytes(), *at);
                }
            }
            if let Some(tokens) = &act.renews
                && let Some(life) = self.open.get(&act.account).and_then(|open| self.lives.get_mut(open))
            {
                self.dead.insert(*life.current.as_bytes(), *at);
                (life.current, life.expires) = (tokens.current, tokens.expires);
                life.uncharged = tokens.uncharged;
            }
            if let Some(session) = &act.opens {
                let key = *session.id.as_bytes();
                let number = self.numbers.len();
                self.numbers.insert(key, number);
                self.open.insert(act.account, key);
                let life = Life {
                    account: act.account,
                    started: session.started,
                    opened_at: *at,
                    current: session.tokens.current,
                    expires: session.tokens.expires,
                    uncharged: session.tokens.uncharged,
                    end: None,
                };
                self.lives.insert(key, life);
            }
        }
        fresh
    }

    /// When a token died. `None` while it is good, or has never been.
    pub(crate) fn died(&self, token: &TokenHash) -> Option<u64> {
        self.dead.get(token.as_bytes()).copied()
    }

    /// A session's end.
    pub(crate) fn end(&self, session: &SessionId) -> Option<(End, u64)> {
        self.lives.get(session.as_bytes())?.end
    }

    /// A session's number.
    pub(crate) fn number(&self, session: &SessionId) -> usize {
        self.numbers.get(session.as_bytes()).copied().unwrap_or(usize::MAX)
    }
}
