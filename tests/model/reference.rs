//! The service as a few dozen obvious lines. No formula of when a session dies: time passes a millisecond at a time, and
//! each one is burned by an open session or by nobody.

use std::collections::HashMap;

use gastank::wire::EndReason;

/// The least credit that opens a session, in ms.
const LEAST: i64 = 1000;
/// The longest that a token lives, and by how much it outlives the credit, in ms.
const LONGEST: i64 = 86_400_000;
const BEYOND: i64 = 500;
/// How many names of activations before the latest are remembered.
const REMEMBERED: usize = 8;

pub(crate) struct Reference {
    pub(crate) now: u64,
    pub(crate) timeout: u64,
    pub(crate) tanks: Vec<Tank>,
    pub(crate) lives: Vec<Life>,
    /// The latest instant that is durable.
    pub(crate) durable: u64,
}

/// An account.
#[derive(Default)]
pub(crate) struct Tank {
    /// What each row of the ledger is called, its amount, and what it adds to the debt.
    pub(crate) ledger: Vec<(Name, i64, i64)>,
    /// What was asked by debits: the tank may have had less.
    pub(crate) debits: HashMap<u8, i64>,
    /// The session whose usage is not in the ledger yet.
    pub(crate) unsettled: Option<usize>,
    pub(crate) deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Credit(u8),
    Usage(usize),
    Refund(u8),
    /// What the credit in this row paid of the debt.
    Repayment(usize),
}

/// A session.
pub(crate) struct Life {
    pub(crate) tank: usize,
    pub(crate) started: u64,
    pub(crate) last_seen: u64,
    /// The `last_seen` that survives a crash.
    pub(crate) checkpoint: u64,
    pub(crate) burned: i64,
    pub(crate) end: Option<(u64, EndReason)>,
    pub(crate) settled: bool,
    /// Whether the service remembers the end, and with how many seconds left.
    pub(crate) grave: Option<u32>,
    pub(crate) current: usize,
    pub(crate) previous: Option<usize>,
    /// When the current token expires: nobody is vouched for, or charged, beyond it.
    pub(crate) expires: u64,
    /// What it burned between the ends of tokens and the renewals that came after them.
    pub(crate) uncharged: i64,
    /// The clock and the counter of the last renewal.
    pub(crate) renewed: Option<(u64, u32)>,
    pub(crate) name: Option<u8>,
    pub(crate) superseded: bool,
}

/// What came of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activated {
    pub(crate) life: usize,
    pub(crate) superseded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Valid(i64),
    Invalid(EndReason),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Empty,
    Deleted,
    Ended(EndReason),
    WrongToken,
    Stale,
    LongOver,
    IdReused,
}

impl Reference {
    pub(crate) fn new(tanks: usize, timeout: u64) -> Self {
        let tanks = std::iter::repeat_with(Tank::default).take(tanks).collect();
        Self { now: 0, timeout, tanks, lives: Vec::new(), durable: 0 }
    }

    /// A millisecond passes.
    pub(crate) fn tick(&mut self) {
        self.now += 1;
        for tank in 0..self.tanks.len() {
            self.burn(tank);
        }
    }

    fn burn(&mut self, tank: usize) {
        let Some(life) = self.open(tank) else { return };
        let last = self.now - 1;
        if self.bought(tank) <= self.lives[life].burned - self.lives[life].uncharged {
            self.lives[life].end = Some((last, EndReason::Exhausted));
        } else if self.now > self.lives[life].last_seen + self.timeout {
            self.lives[life].end = Some((last, EndReason::TimedOut));
        } else {
            self.lives[life].burned += 1;
        }
    }

    pub(crate) fn left(&self, tank: usize) -> i64 {
        self.bought(tank) - self.tanks[tank].unsettled.map_or(0, |life| self.charge(life))
    }

    fn bought(&self, tank: usize) -> i64 {
        self.tanks[tank].ledger.iter().map(|(_, amount, _)| amount).sum()
    }

    /// What a session costs: what it has burned, but not between its tokens, and once it is over not beyond the last.
    fn charge(&self, life: usize) -> i64 {
        let it = &self.lives[life];
        let beyond = if it.end.is_some() { self.beyond_its_token(life) } else { 0 };
        (it.burned - beyond - it.uncharged).max(0)
    }

    /// What a session has burned since its token expired.
    fn beyond_its_token(&self, life: usize) -> i64 {
        let it = &self.lives[life];
        (it.burned - i64::try_from(it.expires - it.started).unwrap()).max(0)
    }

    /// A session gets another token, by a wall clock that shows `wall`. If the one before has expired, nobody was vouched for
    /// since.
    fn retoken(&mut self, life: usize, token: usize, previous: usize, wall: u64) {
        self.lives[life].uncharged += self.beyond_its_token(life);
        self.lives[life].expires = self.expiry(self.lives[life].tank, wall);
        (self.lives[life].previous, self.lives[life].current) = (Some(previous), token);
    }

    /// What is left in the tank if all is charged that a session has burned.
    pub(crate) fn left_if_burned(&self, life: usize) -> i64 {
        let tank = self.lives[life].tank;
        self.left(tank) - (self.lives[life].burned - self.lives[life].uncharged - self.charge(life))
    }

    /// When a session ended, as the ledger has it.
    pub(crate) fn end_of(&self, life: usize) -> Option<(u64, EndReason)> {
        self.lives[life].end.map(|(at, reason)| (at.min(self.lives[life].expires), reason))
    }

    /// When a token expires that is issued now, by a wall clock that shows `wall`.
    fn expiry(&self, tank: usize, wall: u64) -> u64 {
        let lives = u64::try_from((self.left(tank) + BEYOND).min(LONGEST)).unwrap();
        self.now + (wall + lives).div_ceil(1000) * 1000 - wall
    }

    pub(crate) fn debt(&self, tank: usize) -> i64 {
        self.tanks[tank].ledger.iter().map(|(.., owed)| owed).sum()
    }

    fn left_s(&self, tank: usize) -> u32 {
        u32::try_from(self.left(tank) / 1000).unwrap()
    }

    /// The session that is open and good.
    pub(crate) fn open(&self, tank: usize) -> Option<usize> {
        self.tanks[tank].unsettled.filter(|life| self.lives[*life].end.is_none())
    }

    /// What is said of a token of a session.
    pub(crate) fn word(&self, life: usize, token: usize) -> Word {
        let it = &self.lives[life];
        match it.end {
            Some((_, reason)) if it.settled => it.grave.map_or(Word::Unknown, |_| Word::Invalid(reason)),
            _ if it.previous == Some(token) => Word::Invalid(EndReason::Superseded),
            _ if it.current != token => Word::Unknown,
            Some((_, reason)) => Word::Invalid(reason),
            None => Word::Valid(self.left(it.tank)),
        }
    }

    /// What is answered to a beat.
    pub(crate) fn beat(&mut self, life: usize, clock: u64) -> Word {
        let now = self.now;
        let it = &mut self.lives[life];
        if it.end.is_none() {
            it.last_seen = it.last_seen.max(clock.min(now));
        }
        let word = self.word(life, self.lives[life].current);
        if word == Word::Unknown {
            self.lives[life].grave = Some(0); // looked up in the store, for the next time
        }
        word
    }

    pub(crate) fn stop(&mut self, life: usize) -> Word {
        if self.lives[life].settled {
            return self.beat(life, 0);
        }
        self.end(self.lives[life].tank, EndReason::Deactivated);
        Word::Invalid(self.lives[life].end.unwrap().1)
    }

    /// Whatever is open ends, and what is over is written down.
    pub(crate) fn end(&mut self, tank: usize, reason: EndReason) {
        if let Some(life) = self.open(tank) {
            self.lives[life].end = Some((self.now, reason));
        }
        self.settle(tank);
    }

    pub(crate) fn settle(&mut self, tank: usize) {
        let Some(life) = self.tanks[tank].unsettled else { return };
        let Some((at, _)) = self.end_of(life) else { return };
        let charge = self.charge(life);
        self.tanks[tank].unsettled = None;
        self.tanks[tank].ledger.push((Name::Usage(life), -charge, 0));
        self.lives[life].settled = true;
        self.lives[life].grave = Some(self.left_s(tank));
        self.durable = self.durable.max(at);
    }

    /// Opens a session with this token, or answers again under a name that the open one has.
    pub(crate) fn activate(
        &mut self,
        tank: usize,
        name: Option<u8>,
        token: usize,
        wall: u64,
    ) -> Result<Activated, Refused> {
        self.alive(tank)?;
        if let Some(name) = name {
            let mine: Vec<usize> = (0..self.lives.len()).rev().filter(|life| self.lives[*life].tank == tank).collect();
            let latest = mine.first().copied().filter(|life| self.lives[*life].name == Some(name));
            let mut names = mine.iter().skip(1).filter_map(|life| self.lives[*life].name).take(REMEMBERED);
            match latest {
                Some(life) if !self.was_taken_back(life) => return self.answer_again(life, token, wall),
                Some(_) => {}
                None if names.any(|before| before == name) => return Err(Refused::LongOver),
                None => {}
            }
        }
        if self.left(tank) + self.open(tank).map_or(0, |life| self.beyond_its_token(life)) < LEAST {
            return Err(Refused::Empty);
        }
        let supersedes = self.open(tank).is_some();
        self.end(tank, EndReason::Superseded);
        let expires = self.expiry(tank, wall);
        self.tanks[tank].unsettled = Some(self.lives.len());
        self.lives.push(Life {
            tank,
            started: self.now,
            last_seen: self.now,
            checkpoint: self.now,
            burned: 0,
            end: None,
            settled: false,
            grave: None,
            current: token,
            previous: None,
            expires,
            uncharged: 0,
            renewed: None,
            name,
            superseded: supersedes,
        });
        self.durable = self.now;
        Ok(Activated { life: self.lives.len() - 1, superseded: supersedes })
    }

    /// A session that is revoked in the instant it was opened counts as one that was never given to anybody.
    fn was_taken_back(&self, life: usize) -> bool {
        self.lives[life].end == Some((self.lives[life].started, EndReason::Revoked))
    }

    fn answer_again(&mut self, life: usize, token: usize, wall: u64) -> Result<Activated, Refused> {
        let it = &self.lives[life];
        if let Some((_, reason)) = it.end {
            return Err(Refused::Ended(reason));
        }
        if it.renewed.is_some() {
            return Err(Refused::Stale);
        }
        let superseded = it.superseded;
        self.retoken(life, token, it.current, wall);
        Ok(Activated { life, superseded })
    }

    /// `with` is the token that is shown, `new` the one that would be issued.
    pub(crate) fn renew(
        &mut self,
        life: usize,
        (clock, seq): (u64, u32),
        with: usize,
        new: usize,
        wall: u64,
    ) -> Result<(), Refused> {
        if !self.lives[life].settled {
            self.beat(life, clock);
        }
        let name = (clock.min(self.now), seq);
        let it = &self.lives[life];
        match it.end {
            Some((_, reason)) if it.settled => return Err(Refused::Ended(reason)),
            _ if it.current != with && it.previous != Some(with) => return Err(Refused::WrongToken),
            Some((_, reason)) => return Err(Refused::Ended(reason)),
            None if it.renewed >= Some(name) => return Err(Refused::Stale),
            None => {}
        }
        self.lives[life].renewed = Some(name);
        self.retoken(life, new, with, wall);
        Ok(())
    }

    /// Answers whether it was entered before.
    pub(crate) fn credit(&mut self, tank: usize, name: u8, amount: i64) -> Result<bool, Refused> {
        self.alive(tank)?;
        if let Some((_, before, _)) = self.tanks[tank].ledger.iter().find(|(known, ..)| *known == Name::Credit(name)) {
            let asked = self.tanks[tank].debits.get(&name).unwrap_or(before);
            return if *asked == amount { Ok(true) } else { Err(Refused::IdReused) };
        }
        if amount <= 0 {
            self.tanks[tank].debits.insert(name, amount);
        }
        let over = self.tanks[tank].unsettled;
        self.settle(tank);
        let amount = amount.max(-self.left(tank));
        let debt = self.debt(tank);
        let ledger = &mut self.tanks[tank].ledger;
        ledger.push((Name::Credit(name), amount, 0));
        if amount > 0 && debt > 0 {
            let (row, repaid) = (ledger.len(), amount.min(debt));
            ledger.push((Name::Repayment(row), -repaid, -repaid));
        }
        self.settled_with(tank, over);
        Ok(false)
    }

    /// Answers whether it was entered before.
    pub(crate) fn refund(&mut self, tank: usize, name: u8, amount: i64) -> Result<bool, Refused> {
        self.alive(tank)?;
        if let Some((_, took, owed)) = self.tanks[tank].ledger.iter().find(|(known, ..)| *known == Name::Refund(name)) {
            return if took - owed == -amount { Ok(true) } else { Err(Refused::IdReused) };
        }
        let over = self.tanks[tank].unsettled;
        self.settle(tank);
        let took = amount.min(self.left(tank));
        self.tanks[tank].ledger.push((Name::Refund(name), -took, amount - took));
        self.settled_with(tank, over);
        Ok(false)
    }

    /// What was settled and credited in one act is remembered with what is left after both.
    fn settled_with(&mut self, tank: usize, over: Option<usize>) {
        if let Some(over) = over.filter(|life| self.lives[*life].settled) {
            self.lives[over].grave = Some(self.left_s(tank));
        }
    }

    pub(crate) fn delete(&mut self, tank: usize) {
        if !self.tanks[tank].deleted {
            self.end(tank, EndReason::AccountDeleted);
            self.tanks[tank].deleted = true;
        }
    }

    pub(crate) fn keep_clock(&mut self) {
        self.durable = self.durable.max(self.now);
    }

    /// What a sweep does to an account.
    pub(crate) fn sweep(&mut self, tank: usize) {
        match self.open(tank) {
            Some(life) => {
                self.lives[life].checkpoint = self.lives[life].last_seen;
                self.durable = self.durable.max(self.lives[life].last_seen);
            }
            None => self.settle(tank),
        }
    }

    /// Only what is durable is left, and the meter resumes: every unsettled session is lived through again.
    pub(crate) fn crash(&mut self) {
        for life in &mut self.lives {
            life.grave = None;
        }
        for tank in 0..self.tanks.len() {
            let Some(life) = self.tanks[tank].unsettled else { continue };
            let it = &mut self.lives[life];
            (it.last_seen, it.burned, it.end) = (it.checkpoint, 0, None);
            self.now = it.started;
            while self.now < self.durable {
                self.now += 1;
                self.burn(tank);
            }
        }
        self.now = self.durable;
    }

    fn alive(&self, tank: usize) -> Result<(), Refused> {
        if self.tanks[tank].deleted { Err(Refused::Deleted) } else { Ok(()) }
    }
}
