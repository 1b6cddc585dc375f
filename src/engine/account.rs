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

use crate::{
    time::{MeterTime, Millis, UnixMs},
    wire::{EndReason, SessionId},
};

use super::{
    AccountId, ActivationName, Credit, Earnings, End, Entry, EntryKind, Life, NewEntry, Policy, RenewalName, Session,
    Source, TokenHash, Tokens, session_text,
};

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
    /// What it has earned lately.
    pub earnings: Earnings,
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
    /// A later renewal of the session, or this one, has been done.
    #[error("a later renewal has been done")]
    StaleRenewal {
        /// What the meter shows.
        now: MeterTime,
    },
    /// The name of an activation was given to another one, of another kind.
    #[error("another activation has this name")]
    NameReused,
    /// The session of an activation of this name is over, and others have followed it.
    #[error("the session of this activation is long over")]
    StaleActivation,
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
    /// A reward is among the entries: what the account has earned lately, with it.
    pub earns: Option<Earnings>,
}

impl Account {
    /// A new account without credit.
    pub const fn new(id: AccountId) -> Self {
        Self {
            id,
            version: 0,
            balance: Credit::ZERO,
            debt: Credit::ZERO,
            entries: 0,
            session: None,
            deleted: false,
            earnings: Earnings::NONE,
        }
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
            let at = session.vouched_until(at);
            let at_wall = moment.wall.minus(moment.now.since(at));
            Standing::Over(End { reason, at, at_wall, last_seen: sighting.last_seen })
        };
        match sighting.life {
            // A node may have ended it before it heard that another had taken credit out of the tank.
            Life::Ended { at, reason } => over(at.min(session.runs_dry(self.balance.fuel())), reason),
            Life::Open { last_seen } => {
                match lapse(last_seen, timeout, session.runs_dry(self.balance.fuel()), moment.now) {
                    Some((at, reason)) => over(at, reason),
                    None => Standing::Running { burned: session.burned_until(moment.now), last_seen },
                }
            }
        }
    }

    /// When and why the open session came to its end by itself, if it has, going by what the moment says of it.
    pub fn lapsed(&self, moment: &Moment, timeout: Millis) -> Option<(MeterTime, EndReason)> {
        let session = self.open()?;
        match moment.sighting.unwrap_or(Sighting::open(session.started)).life {
            Life::Ended { .. } => None,
            Life::Open { last_seen } => lapse(last_seen, timeout, session.runs_dry(self.balance.fuel()), moment.now),
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
        let remaining = match (self.standing(moment, policy.timeout), self.open()) {
            // It ends for this one, and is not charged beyond its token.
            (Standing::Running { .. }, Some(open)) => self.left_by_token(open, moment.now),
            _ => self.remaining(moment, policy.timeout),
        };
        if remaining.as_secs() == 0 { Err(Refusal::TankEmpty) } else { Ok(remaining) }
    }

    /// Opens a session, in place of the one that is open. A person's act; it [may](Self::may_activate).
    pub fn activate(&self, moment: &Moment, policy: &Policy, session: Session) -> Act {
        let mut act = self.ending(moment, policy, EndReason::Superseded);
        act.opens = Some(session);
        act
    }

    /// Whether an activation of this name has been done, so that it may only be answered again; answers its session, with
    /// how much is left to burn. `None`: it is a new one, or one that was taken back.
    ///
    /// # Errors
    ///
    /// [`Refusal::Deleted`]; [`Refusal::SessionEnded`] and [`Refusal::StaleActivation`] when its session is over;
    /// [`Refusal::NameReused`] if it was for another audience; [`Refusal::StaleRenewal`] once the token it gave has been
    /// renewed: then its answer has arrived.
    pub fn may_answer_again(
        &self,
        moment: &Moment,
        policy: &Policy,
        name: ActivationName,
        audience: &str,
    ) -> Result<Option<(&Session, Millis)>, Refusal> {
        self.alive()?;
        let Some(known) = &self.session else { return Ok(None) };
        if known.names.own != Some(name) {
            return if known.names.was_called(name) { Err(Refusal::StaleActivation) } else { Ok(None) };
        }
        if known.audience != audience {
            return Err(Refusal::NameReused);
        }
        // Taken back in the instant it was opened, since nobody was given its token: that has not been done.
        let taken_back = |end: End| end.reason == EndReason::Revoked && end.at == known.started;
        let over = |end: End| if taken_back(end) { Ok(None) } else { Err(Refusal::SessionEnded(end.reason)) };
        if let Some(end) = known.end {
            return over(end);
        }
        match self.standing(moment, policy.timeout) {
            Standing::Idle => Ok(None),
            Standing::Over(end) => over(end),
            Standing::Running { .. } if known.tokens.renewed > Some(RenewalName::ANSWERED_AGAIN) => {
                Err(Refusal::StaleRenewal { now: moment.now })
            }
            Standing::Running { .. } => Ok(Some((known, self.left_by_token(known, moment.now)))),
        }
    }

    /// Whether the open session may have another token, asked with `presented` and a frame that makes it `name`; answers
    /// how much is left to burn.
    ///
    /// # Errors
    ///
    /// [`Refusal::SessionEnded`], [`Refusal::WrongToken`], [`Refusal::StaleRenewal`] and [`Refusal::Deleted`].
    pub fn may_renew(
        &self,
        moment: &Moment,
        policy: &Policy,
        session: SessionId,
        presented: TokenHash,
        name: RenewalName,
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
            Standing::Running { .. } if known.tokens.renewed >= Some(name) => {
                Err(Refusal::StaleRenewal { now: moment.now })
            }
            Standing::Running { .. } => Ok((known, self.left_by_token(known, moment.now))),
        }
    }

    /// Gives the open session other tokens; the current one dies. Never opens anything; it [may](Self::may_renew).
    ///
    /// If the current one has expired, nobody was vouched for since, and nobody is charged for that time.
    pub fn renew(&self, moment: &Moment, tokens: Tokens) -> Act {
        let uncharged =
            self.open().map_or(Millis::ZERO, |open| open.tokens.uncharged.plus(open.unvouched_at(moment.now)));
        Act { renews: Some(Tokens { uncharged, ..tokens }), ..self.nothing() }
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
        if let Some(earnings) = &act.earns {
            self.earnings = earnings.clone();
        }
        if act.deletes {
            self.deleted = true;
            self.session = None;
            self.earnings = Earnings::NONE;
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
            earns: None,
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
                let at = self.open().map_or(moment.now, |session| session.vouched_until(moment.now));
                let at_wall = moment.wall.minus(moment.now.since(at));
                self.closing(moment, End { reason, at, at_wall, last_seen })
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
        self.open().map_or(Millis::ZERO, |session| session.burned_until(at))
    }

    /// What is left to burn if the session is charged no further than its token goes.
    fn left_by_token(&self, session: &Session, now: MeterTime) -> Millis {
        self.balance.fuel().minus(session.burned_until(session.vouched_until(now)))
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
