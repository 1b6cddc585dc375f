//! What an account is, and the rules that decide every act on it.
//!
//! Each rule is a pure function from the account as the store holds it and a [`Moment`] to an [`Act`]: what to write,
//! all of it or nothing. The store commits an act only if the account still has the version it was decided on. That is
//! the whole concurrency control, on one machine and on many.
//!
//! The usage of a session is written once, when it ends. While it is open, the balance is therefore all the fuel it
//! may burn, whatever credit arrives meanwhile: `runs_dry = started + balance`.
//!
//! A refund may ask for more than the tank has. It takes what is there; the rest is *debt*, which later credit pays
//! first. Both are in the ledger and nowhere else: each entry says what it changes of the balance (`amount`) and of the
//! debt (`owed`), so `balance` is the sum of the one and `debt` the sum of the other.

use crate::wire::{EndReason, MeterTime, Millis, SessionId};

use super::{AccountId, Credit, Life, Policy, StatusIndex, TokenHash, UnixMs, session_text};

/// An account, as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its internal id.
    pub id: AccountId,
    /// How many acts have been committed on it.
    pub version: u64,
    /// The sum of its credit entries.
    pub balance: Credit,
    /// What refunds asked for and the tank did not have: the sum of what its entries are `owed`. Never negative.
    pub debt: Credit,
    /// How many credit entries it has.
    pub entries: u64,
    /// Its latest session, open or ended.
    pub session: Option<Session>,
    /// Whether it has been deleted. Deletion is final.
    pub deleted: bool,
}

/// One activation of an account, as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// When it was activated.
    pub started: MeterTime,
    /// When it was activated, on the wall clock; for people to read.
    pub started_at: UnixMs,
    /// The edge its tokens are for.
    pub audience: String,
    /// Its tokens.
    pub tokens: Tokens,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// The tokens of a session that mean something to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The one valid token.
    pub current: TokenHash,
    /// The token the current one was asked with, dead, but good for asking again: replies get lost.
    pub previous: Option<TokenHash>,
    /// When the current one expires.
    pub expires_at: UnixMs,
    /// Where the current one's bit is.
    pub status: StatusIndex,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// The last instant it was vouched for.
    pub at: MeterTime,
    /// The same on the wall clock; for people to read.
    pub at_wall: UnixMs,
    /// When it was last heard of.
    pub last_seen: MeterTime,
}

/// One immutable row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the account's ledger, from 1.
    pub number: u64,
    /// What it stands for.
    pub kind: EntryKind,
    /// How much it adds, or takes away.
    pub amount: Credit,
    /// How much it adds to the account's debt, or pays of it. Of a refund, what the tank did not have.
    pub owed: Credit,
    /// Who names it.
    pub source: Source,
    /// Its name there. `(source, external_id)` is unique within the account.
    pub external_id: String,
    /// A note for people.
    pub reason: Option<String>,
    /// When it was written, on the wall clock.
    pub at: UnixMs,
}

/// What a credit entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Time that was bought.
    Purchase,
    /// Time that was earned.
    Reward,
    /// Time an operator gave.
    Grant,
    /// Time a session burned.
    Usage,
    /// Time taken back.
    Refund,
    /// Time that became void.
    Expiry,
    /// Time that paid the debt of refunds.
    Repayment,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Purchase, Self::Reward, Self::Grant, Self::Usage, Self::Refund, Self::Expiry, Self::Repayment];

    /// The name that the HTTP interface, the metrics and the store use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Reward => "reward",
            Self::Grant => "grant",
            Self::Usage => "usage",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
            Self::Repayment => "repayment",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Who names a credit entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A session's settlement; named by the session's id.
    Session,
    /// The administration; named by the `Idempotency-Key`.
    Admin,
    /// A credit webhook; named by the `webhook-id`.
    Webhook,
    /// A debt that is paid; named by the number of the entry whose credit pays it.
    Debt,
    /// A subscription that gives credit; named by what was subscribed to and the period.
    Subscription,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 5] = [Self::Session, Self::Admin, Self::Webhook, Self::Debt, Self::Subscription];

    /// The name that the HTTP interface and the store use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Admin => "admin",
            Self::Webhook => "webhook",
            Self::Debt => "debt",
            Self::Subscription => "subscription",
        }
    }

    /// The source with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// What is known when an act is decided.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Meter time.
    pub now: MeterTime,
    /// Wall-clock time.
    pub wall: UnixMs,
    /// The account's open session, as this node has heard of it. `None` where there is none.
    pub sighting: Option<Sighting>,
}

/// What a node has heard of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whether it goes on.
    pub life: Life,
    /// When it was last heard of.
    pub last_seen: MeterTime,
}

impl Sighting {
    /// A session that goes on and was last heard of at `last_seen`.
    pub const fn open(last_seen: MeterTime) -> Self {
        Self { life: Life::Open { last_seen }, last_seen }
    }
}

/// What an account's tank is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No session is open.
    Idle,
    /// A session is open and good.
    Running {
        /// What it has burned until now.
        burned: Millis,
        /// When it was last heard of.
        last_seen: MeterTime,
    },
    /// A session is open in the store, but over: it is to be settled.
    Over(End),
}

/// Why an act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is less than a second of credit.
    #[error("the tank is empty")]
    TankEmpty,
    /// The account has been deleted.
    #[error("the account has been deleted")]
    Deleted,
    /// The session in question is over.
    #[error("the session has ended: {}", .0.name())]
    SessionEnded(EndReason),
    /// The token is neither the session's current one nor the one before it.
    #[error("the token is not the session's")]
    WrongToken,
}

/// Credit to be entered into an account's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What it stands for.
    pub kind: EntryKind,
    /// How much to add; or to take away, as far as the tank has it.
    pub amount: Credit,
    /// Who names it.
    pub source: Source,
    /// Its name there.
    pub external_id: String,
    /// A note for people.
    pub reason: Option<String>,
}

/// What is to be written, all of it or nothing, if the account still has the version it was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The account it was decided on.
    pub account: AccountId,
    /// The version it was decided on.
    pub expects: u64,
    /// The open session ends.
    pub closes: Option<(SessionId, End)>,
    /// A session opens; whatever was open closes in the same act.
    pub opens: Option<Session>,
    /// The open session gets other tokens.
    pub renews: Option<Tokens>,
    /// Rows for the ledger.
    pub entries: Vec<Entry>,
    /// The account is deleted, and all that is known of the person with it.
    pub deletes: bool,
}

impl Account {
    /// A new account without credit.
    pub const fn new(id: AccountId) -> Self {
        Self { id, version: 0, balance: Credit::ZERO, debt: Credit::ZERO, entries: 0, session: None, deleted: false }
    }

    /// Its session, if one is open.
    pub fn open(&self) -> Option<&Session> {
        self.session.as_ref().filter(|session| session.end.is_none())
    }

    /// What the tank is doing.
    pub fn standing(&self, moment: &Moment, timeout: Millis) -> Standing {
        let Some(session) = self.open() else { return Standing::Idle };
        let sighting = moment.sighting.unwrap_or(Sighting::open(session.started));
        let over = |at: MeterTime, reason| {
            let at_wall = moment.wall.minus(moment.now.since(at));
            Standing::Over(End { reason, at, at_wall, last_seen: sighting.last_seen })
        };
        match sighting.life {
            Life::Ended { at, reason } => over(at, reason),
            Life::Open { last_seen } => {
                match lapse(last_seen, timeout, session.started.plus(self.balance.fuel()), moment.now) {
                    Some((at, reason)) => over(at, reason),
                    None => Standing::Running { burned: moment.now.since(session.started), last_seen },
                }
            }
        }
    }

    /// When and why the open session came to its end by itself, if it has, going by what the moment says of it.
    pub fn lapsed(&self, moment: &Moment, timeout: Millis) -> Option<(MeterTime, EndReason)> {
        let session = self.open()?;
        match moment.sighting.unwrap_or(Sighting::open(session.started)).life {
            Life::Ended { .. } => None,
            Life::Open { last_seen } => {
                lapse(last_seen, timeout, session.started.plus(self.balance.fuel()), moment.now)
            }
        }
    }

    /// The tank: what is left to burn.
    pub fn remaining(&self, moment: &Moment, timeout: Millis) -> Millis {
        let fuel = self.balance.fuel();
        match self.standing(moment, timeout) {
            Standing::Idle => fuel,
            Standing::Running { burned, .. } => fuel.minus(burned),
            Standing::Over(end) => fuel.minus(self.burned_until(end.at)),
        }
    }

    /// Whether a session may be opened; answers how much it may burn.
    ///
    /// # Errors
    ///
    /// [`Refusal::TankEmpty`] and [`Refusal::Deleted`].
    pub fn may_activate(&self, moment: &Moment, policy: &Policy) -> Result<Millis, Refusal> {
        self.alive()?;
        let remaining = self.remaining(moment, policy.timeout);
        if remaining.as_secs() == 0 { Err(Refusal::TankEmpty) } else { Ok(remaining) }
    }

    /// Opens a session, in place of the one that is open. A person's act; it [may](Self::may_activate).
    pub fn activate(&self, moment: &Moment, policy: &Policy, session: Session) -> Act {
        let mut act = self.ending(moment, policy, EndReason::Superseded);
        act.opens = Some(session);
        act
    }

    /// Whether the open session may have another token, asked with `presented`; answers how much is left to burn.
    ///
    /// # Errors
    ///
    /// [`Refusal::SessionEnded`], [`Refusal::WrongToken`] and [`Refusal::Deleted`].
    pub fn may_renew(
        &self,
        moment: &Moment,
        policy: &Policy,
        session: SessionId,
        presented: TokenHash,
    ) -> Result<(&Session, Millis), Refusal> {
        let known = self.session.as_ref().filter(|known| known.id == session).ok_or(Refusal::WrongToken)?;
        if let Some(end) = known.end {
            return Err(Refusal::SessionEnded(end.reason));
        }
        self.alive()?;
        if known.tokens.current != presented && known.tokens.previous != Some(presented) {
            return Err(Refusal::WrongToken);
        }
        match self.standing(moment, policy.timeout) {
            Standing::Idle => Err(Refusal::WrongToken),
            Standing::Over(end) => Err(Refusal::SessionEnded(end.reason)),
            Standing::Running { burned, .. } => Ok((known, self.balance.fuel().minus(burned))),
        }
    }

    /// Gives the open session other tokens; the current one dies. Never opens anything; it [may](Self::may_renew).
    pub fn renew(&self, tokens: Tokens) -> Act {
        Act { renews: Some(tokens), ..self.nothing() }
    }

    /// Enters credit. What it takes away is at most what the tank has; what it adds, at most what there is room for below
    /// [`Credit::MAX`], so that the ledger always adds up to the balance. Of what it adds, debt is paid at once.
    ///
    /// # Errors
    ///
    /// [`Refusal::Deleted`].
    pub fn credit(&self, moment: &Moment, policy: &Policy, new: NewEntry) -> Result<Act, Refusal> {
        self.alive()?;
        let remaining = Credit::usage(self.remaining(moment, policy.timeout));
        let mut act = self.settle(moment, policy).unwrap_or_else(|| self.nothing());
        let balance = act.entries.iter().fold(self.balance, |sum, entry| sum.plus(entry.amount));
        let room = Credit::from_ms(Credit::MAX.as_ms() - balance.as_ms().max(0));
        let amount = new.amount.max(remaining).min(room);
        let credit = self.enter(&mut act, moment, new, amount, Credit::ZERO);
        let repaid = amount.min(self.debt);
        if repaid > Credit::ZERO {
            let repayment = NewEntry {
                kind: EntryKind::Repayment,
                amount: repaid.negated(),
                source: Source::Debt,
                external_id: credit.to_string(),
                reason: None,
            };
            self.enter(&mut act, moment, repayment, repaid.negated(), repaid.negated());
        }
        Ok(act)
    }

    /// Takes credit back: all that `new` asks for, a negative amount. What the tank does not have becomes debt, at most
    /// [`Credit::MAX`] of it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Deleted`].
    pub fn refund(&self, moment: &Moment, policy: &Policy, new: NewEntry) -> Result<Act, Refusal> {
        self.alive()?;
        let asked = new.amount.min(Credit::ZERO);
        let amount = asked.max(Credit::usage(self.remaining(moment, policy.timeout)));
        let room = Credit::from_ms(Credit::MAX.as_ms() - self.debt.as_ms());
        let owed = amount.plus(asked.negated()).min(room);
        let mut act = self.settle(moment, policy).unwrap_or_else(|| self.nothing());
        self.enter(&mut act, moment, new, amount, owed);
        Ok(act)
    }

    /// Ends the open session for `reason`, or for the one it has ended by already. `None` where none is open.
    pub fn end(&self, moment: &Moment, policy: &Policy, reason: EndReason) -> Option<Act> {
        self.open()?;
        Some(self.ending(moment, policy, reason))
    }

    /// Writes down the end of a session that is over. `None` where there is nothing to write.
    pub fn settle(&self, moment: &Moment, policy: &Policy) -> Option<Act> {
        match self.standing(moment, policy.timeout) {
            Standing::Over(end) => Some(self.closing(moment, end)),
            Standing::Idle | Standing::Running { .. } => None,
        }
    }

    /// Deletes the account. `None` where it is deleted already.
    pub fn delete(&self, moment: &Moment, policy: &Policy) -> Option<Act> {
        self.alive().ok()?;
        let mut act = self.ending(moment, policy, EndReason::AccountDeleted);
        act.deletes = true;
        Some(act)
    }

    /// The account once `act` has been committed.
    #[must_use]
    pub fn after(mut self, act: &Act) -> Self {
        debug_assert_eq!(self.version, act.expects, "an act is decided on one version and applies to no other");
        self.version += 1;
        self.entries += act.entries.len() as u64;
        self.balance = act.entries.iter().fold(self.balance, |sum, entry| sum.plus(entry.amount));
        self.debt = act.entries.iter().fold(self.debt, |sum, entry| sum.plus(entry.owed));
        if let (Some((_, end)), Some(session)) = (act.closes, &mut self.session) {
            session.end = Some(end);
        }
        if let (Some(tokens), Some(session)) = (&act.renews, &mut self.session) {
            session.tokens = tokens.clone();
        }
        if let Some(session) = &act.opens {
            self.session = Some(session.clone());
        }
        if act.deletes {
            self.deleted = true;
            self.session = None;
        }
        self
    }

    fn alive(&self) -> Result<(), Refusal> {
        if self.deleted { Err(Refusal::Deleted) } else { Ok(()) }
    }

    /// An act that changes nothing. Once it is committed, none that was decided on the account as it is can be.
    pub fn nothing(&self) -> Act {
        Act {
            account: self.id,
            expects: self.version,
            closes: None,
            opens: None,
            renews: None,
            entries: Vec::new(),
            deletes: false,
        }
    }

    /// Adds a row to an act; answers its number.
    fn enter(&self, act: &mut Act, moment: &Moment, new: NewEntry, amount: Credit, owed: Credit) -> u64 {
        let number = self.entries + act.entries.len() as u64 + 1;
        let NewEntry { kind, source, external_id, reason, .. } = new;
        act.entries.push(Entry { number, kind, amount, owed, source, external_id, reason, at: moment.wall });
        number
    }

    /// Ends whatever is open: as it has ended already, or now, for `reason`.
    fn ending(&self, moment: &Moment, policy: &Policy, reason: EndReason) -> Act {
        match self.standing(moment, policy.timeout) {
            Standing::Idle => self.nothing(),
            Standing::Over(end) => self.closing(moment, end),
            Standing::Running { last_seen, .. } => {
                self.closing(moment, End { reason, at: moment.now, at_wall: moment.wall, last_seen })
            }
        }
    }

    fn closing(&self, moment: &Moment, end: End) -> Act {
        let Some(session) = self.open() else { return self.nothing() };
        let mut act = self.nothing();
        act.closes = Some((session.id, end));
        act.entries.push(Entry {
            number: self.entries + 1,
            kind: EntryKind::Usage,
            amount: Credit::usage(self.burned_until(end.at)),
            owed: Credit::ZERO,
            source: Source::Session,
            external_id: session_text(&session.id),
            reason: Some(end.reason.name().to_owned()),
            at: moment.wall,
        });
        act
    }

    fn burned_until(&self, at: MeterTime) -> Millis {
        self.open().map_or(Millis::ZERO, |session| at.since(session.started))
    }
}

/// When and why a session that was last heard of at `last_seen` came to its end by itself, if it has.
pub(super) fn lapse(
    last_seen: MeterTime,
    timeout: Millis,
    runs_dry: MeterTime,
    now: MeterTime,
) -> Option<(MeterTime, EndReason)> {
    let silent = last_seen.plus(timeout);
    let (valid_until, reason) =
        if runs_dry <= silent { (runs_dry, EndReason::Exhausted) } else { (silent, EndReason::TimedOut) };
    (now > valid_until).then_some((valid_until, reason))
}
