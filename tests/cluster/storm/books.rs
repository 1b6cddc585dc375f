//! What people and edges were told, and what must follow from it. It knows acks, tokens and the ledger, and when which node
//! was in trouble; nothing of what nodes decided.

use std::collections::{BTreeMap, HashSet};

use gastank::wire::WireVerdict;
use parking_lot::Mutex;

use super::{LIST_TTL, ORDER, TIMEOUT};

/// How long after its trouble a node may not be trusted yet, and how long before it what it heard may be lost: a checkpoint
/// interval, and what it takes.
const AFTER: u64 = 15_000;
const BEFORE: u64 = 8_000;
/// How long after an end on one node another in good order may vouch, and by how much meters may differ.
const BOUND: u64 = 4_000;
/// By how much what a session is charged may be more than the time that passed: the meter of a node that has stood still
/// without knowing goes on for as long as its lease, and then makes up for it.
const UNEQUAL: u64 = 8_000;
/// A frame bears the clock of the moment it is made, a little after it is noted.
const NOTED: u64 = 200;
/// How long tokens that are dead are asked about.
const REMEMBERED: u64 = 90_000;

/// A frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// When it was sent, in ms since the run began, and answered.
    pub(super) at: u64,
    pub(super) answered: u64,
    pub(super) node: usize,
    /// What it says of the meter.
    pub(super) clock: u64,
    /// The verdict of its ack, and what the meter showed.
    pub(super) acked: Option<(WireVerdict, u64)>,
}

/// A token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) list: String,
    pub(super) idx: usize,
    from: u64,
    /// Since when it may be dead, as far as its client knows, and since when it is.
    may_be_dead: Option<u64>,
    dead: Option<u64>,
    life: usize,
    number: usize,
}

/// A session, as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct Life {
    person: usize,
    id: String,
    /// What the meter showed, and when it was asked for.
    started: u64,
    asked: u64,
    expires: u64,
    /// How long nobody may have been vouched for between its tokens, at most: this is not charged.
    gaps: u64,
    beats: Vec<Beat>,
    tokens: Vec<Token>,
    /// When its end was asked for, if it was.
    may_be_over: Option<u64>,
}

/// Whether somebody was told that a token is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) asked: u64,
    pub(super) told: u64,
    pub(super) node: usize,
    pub(super) kind: Kind,
    pub(super) good: bool,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Verdict,
}

#[derive(Default)]
struct Inner {
    lives: Vec<Life>,
    sightings: Vec<(usize, usize, Sighting)>,
    /// Of each node: when it was in trouble.
    troubles: Vec<Vec<(u64, u64)>>,
    deep: Vec<u64>,
    clock_was_set: Vec<bool>,
    charges: BTreeMap<String, (u64, String)>,
    wrong: Vec<String>,
    is_closing: bool,
    longest: u64,
}

/// The books.
pub(super) struct Books(Mutex<Inner>);

impl Token {
    pub(super) fn new(text: &str, list: &str, idx: usize, from: u64) -> Self {
        let (text, list) = (text.to_owned(), list.to_owned());
        Self { text, list, idx, from, may_be_dead: None, dead: None, life: 0, number: 0 }
    }
}

impl Life {
    pub(super) fn new(person: usize, id: &str, started: u64, asked: u64, token: Token, expires: u64) -> Self {
        let (beats, tokens) = (Vec::new(), vec![token]);
        Self { person, id: id.to_owned(), started, asked, expires, gaps: 0, beats, tokens, may_be_over: None }
    }
}

impl Inner {
    fn trouble_at(&self, node: usize, from: u64, until: u64) -> bool {
        self.troubles[node].iter().any(|(begun, ended)| *begun <= until && ended.saturating_add(AFTER) >= from)
    }

    /// Whether a node was in good order when it answered, and for long enough after that for what it heard to count.
    fn is_sound(&self, beat: &Beat) -> bool {
        !self.trouble_at(beat.node, beat.at, beat.answered + BEFORE)
    }

    /// Whether no node had been in trouble for long enough for everything to be in order.
    fn all_in_order(&self, at: u64) -> bool {
        let calm = |ended: &u64| ended.saturating_add(ORDER) < at;
        self.troubles.iter().flatten().filter(|(begun, _)| *begun <= at).all(|(_, ended)| calm(ended))
    }
}

impl Books {
    pub(super) fn new(nodes: usize) -> Self {
        let (troubles, deep, clock_was_set) = (vec![Vec::new(); nodes], vec![0; nodes], vec![false; nodes]);
        Self(Mutex::new(Inner { troubles, deep, clock_was_set, ..Inner::default() }))
    }

    /// People are to go.
    pub(super) fn close(&self) {
        self.0.lock().is_closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.0.lock().is_closing
    }

    /// A node is in trouble, perhaps not for one reason only.
    pub(super) fn trouble_begins(&self, node: usize, at: u64) {
        let mut inner = self.0.lock();
        inner.deep[node] += 1;
        if inner.deep[node] == 1 {
            inner.troubles[node].push((at, u64::MAX));
        }
    }

    pub(super) fn trouble_ends(&self, node: usize, at: u64) {
        let mut inner = self.0.lock();
        inner.deep[node] -= 1;
        if inner.deep[node] == 0 {
            inner.troubles[node].last_mut().unwrap().1 = at;
        }
    }

    /// A node's wall clock has been off, from now on.
    pub(super) fn clock_is_set(&self, node: usize) {
        self.0.lock().clock_was_set[node] = true;
    }

    /// Something that cannot be.
    pub(super) fn is_wrong(&self, what: String) {
        self.0.lock().wrong.push(what);
    }

    /// A session was opened. Its place here.
    pub(super) fn opened(&self, mut life: Life) -> usize {
        let mut inner = self.0.lock();
        life.tokens[0].life = inner.lives.len();
        inner.lives.push(life);
        inner.lives.len() - 1
    }

    /// An act is under way that makes a token or its session end.
    pub(super) fn may_die(&self, life: usize, at: u64) {
        let life = &mut self.0.lock().lives[life];
        let token = life.tokens.last_mut().unwrap();
        token.may_be_dead = token.may_be_dead.or(Some(at));
    }

    /// A session has ended, as its client was told.
    pub(super) fn has_died(&self, life: usize, at: u64) {
        let life = &mut self.0.lock().lives[life];
        life.may_be_over = life.may_be_over.or(Some(at));
        for token in &mut life.tokens {
            token.may_be_dead = token.may_be_dead.or(Some(at));
            token.dead = token.dead.or(Some(at));
        }
    }

    /// A session has another token, given when the meter showed `now`. Those before are dead.
    pub(super) fn renewed(&self, life: usize, token: Token, now: u64, expires: u64, at: u64) {
        let of = &mut self.0.lock().lives[life];
        of.tokens.iter_mut().for_each(|token| token.dead = token.dead.or(Some(at)));
        of.gaps += now.saturating_sub(of.expires);
        of.expires = of.expires.max(expires);
        of.tokens.push(Token { life, number: of.tokens.len(), ..token });
    }

    pub(super) fn beat(&self, life: usize, beat: Beat) {
        self.0.lock().lives[life].beats.push(beat);
    }

    /// The tokens that were given lately, or are not known to be dead.
    pub(super) fn tokens(&self, at: u64) -> Vec<Token> {
        let inner = self.0.lock();
        let recent = |token: &&Token| token.dead.unwrap_or(token.from.max(at)) + REMEMBERED > at;
        inner.lives.iter().rev().take(200).flat_map(|life| life.tokens.iter().filter(recent)).cloned().collect()
    }

    pub(super) fn sighted(&self, token: &Token, sighting: Sighting) {
        self.0.lock().sightings.push((token.life, token.number, sighting));
    }

    /// What the ledger of a person says of sessions: what each was charged, and why it ended.
    pub(super) fn charged(&self, person: usize, usages: Vec<(String, (u64, String))>, unanswered: usize) {
        let mut inner = self.0.lock();
        let known: HashSet<String> =
            inner.lives.iter().filter(|life| life.person == person).map(|life| life.id.clone()).collect();
        let mut strangers = 0;
        for (id, (charged, reason)) in usages {
            if !known.contains(&id) {
                strangers += 1;
                // Nobody was given its token; its node died before it could take it back.
                if charged > TIMEOUT {
                    inner.wrong.push(format!("person {person} pays {charged} ms for a session that nobody was given"));
                }
            }
            if inner.charges.insert(id.clone(), (charged, reason)).is_some() {
                inner.wrong.push(format!("session {id} was charged twice"));
            }
        }
        if strangers > unanswered {
            inner.wrong.push(format!("person {person} pays for {strangers} sessions beyond {unanswered} unanswered"));
        }
    }

    /// What is wrong so far.
    pub(super) fn judge(&self) -> Vec<String> {
        let mut inner = self.0.lock();
        let mut wrong = inner.wrong.clone();
        let mut longest = 0;
        let nothing = (0, "was not charged".to_owned());
        for life in &inner.lives {
            // Before the ledgers are known nothing can be said.
            if inner.charges.is_empty() {
                break;
            }
            let (charged, reason) = inner.charges.get(&life.id).unwrap_or(&nothing);
            longest = longest.max(inner.judge_charge(life, *charged, reason, &mut wrong));
        }
        let lived: Vec<u64> = inner.lives.iter().map(|life| inner.vouched_for_until(life)).collect();
        for (life, token, sighting) in &inner.sightings {
            inner.judge_sighting(&inner.lives[*life], lived[*life], *token, *sighting, &mut wrong);
        }
        inner.longest = longest;
        wrong
    }

    /// The most that a session was charged beyond the time that passed, in ms.
    pub(super) fn longest(&self) -> u64 {
        self.0.lock().longest
    }
}

impl Inner {
    /// A second is charged if and only if the service vouched for it. By how much more than what passed, in ms.
    fn judge_charge(&self, life: &Life, charged: u64, reason: &str, wrong: &mut Vec<String>) -> u64 {
        let session = format!("session {} of person {}, opened at {}", life.id, life.person, life.asked);
        let mut say = |what: String| wrong.push(format!("{session}, {reason}: {what}"));
        // Between the two: time between its tokens may not have been charged.
        let (end, latest) = (life.started + charged, life.started + charged + life.gaps);
        // Nobody was heard after the last frame that was sent.
        let sent = life.beats.iter().map(|beat| beat.clock).max().unwrap_or(life.started).max(life.started);
        if end > sent + NOTED + TIMEOUT {
            say(format!("charged until {end}, but nothing was sent after {sent}"));
        }
        // The meter never runs faster than time.
        let last = life.beats.iter().map(|beat| beat.answered).max().unwrap_or(life.asked) + TIMEOUT;
        let passed = last.min(life.may_be_over.unwrap_or(u64::MAX)) - life.asked;
        if charged > passed + UNEQUAL {
            let over = life.may_be_over;
            say(format!(
                "charged for {charged} ms from {} on, of which {passed} passed: over at {over:?}, last frames {:?}",
                life.started,
                &life.beats[life.beats.len().saturating_sub(8)..]
            ));
        }
        let sound = life.beats.iter().filter(|beat| self.is_sound(beat));
        for beat in sound {
            match beat.acked {
                Some((WireVerdict::Valid, now)) => {
                    // What is acked after the token has expired is not charged, unless the token is renewed.
                    if now.min(life.expires) > latest + BOUND {
                        say(format!("vouched for at {now}, charged until {end}: {beat:?}"));
                    }
                    let over = beat.clock.min(now) + TIMEOUT;
                    if reason == "timed_out" && latest < over.min(life.expires) {
                        say(format!("timed out at {end}, but was heard until {over}: {beat:?}"));
                    }
                }
                Some((WireVerdict::Invalid(_), now)) if now + BOUND < end => {
                    say(format!("called dead at {now}, charged until {end}: {beat:?}"));
                }
                _ => {}
            }
        }
        charged.saturating_sub(passed)
    }

    /// When a node in good order last vouched for a session, in ms since the run began.
    fn vouched_for_until(&self, life: &Life) -> u64 {
        let valid = life.beats.iter().filter(|beat| matches!(beat.acked, Some((WireVerdict::Valid, _))));
        let vouched = valid.filter(|beat| beat.clock < life.expires && self.is_sound(beat));
        vouched.map(|beat| beat.at).max().unwrap_or(0)
    }

    /// `lived` is when a node in good order last vouched for the session.
    fn judge_sighting(&self, life: &Life, lived: u64, token: usize, sighting: Sighting, wrong: &mut Vec<String>) {
        let Sighting { asked, told, node, kind, good } = sighting;
        let token = &life.tokens[token];
        let what = || {
            let by = if kind == Kind::List { "a list of" } else { "introspection at" };
            let given = token.from;
            format!(
                "{told}: {by} node {node}, a token of session {} of person {}, given at {given}",
                life.id, life.person
            )
        };
        if !good {
            // It was good for as long as its session was vouched for, and nothing was done to either.
            let good_until = lived.min(token.may_be_dead.unwrap_or(u64::MAX));
            // By a wall clock that is off it may have expired.
            let by_date = kind == Kind::Verdict && self.clock_was_set[node];
            if token.from <= asked && told < good_until && !by_date {
                wrong.push(format!("{}: INVALID, but good until {good_until}", what()));
            }
        } else if let Some(dead) = token.dead {
            let late = if kind == Kind::List { LIST_TTL + BOUND } else { BOUND };
            if asked > dead + late && self.all_in_order(asked) {
                wrong.push(format!("{}: good, but dead since {dead}", what()));
            }
        }
    }
}
