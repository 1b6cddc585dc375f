//! The rules: who is vouched for, until when, and what it costs.
//!
//! > A second is charged if and only if the service vouched for the token in that second.
//!
//! The engine is sans-I/O: it knows no socket, store, runtime or clock, and draws no random number. Bytes and commands
//! come in with the time; answers come out, and [`Act`]s for the store to commit. It has two halves.
//!
//! * [`Account`] decides acts (activation, credit, ends), as pure functions of what the store holds.
//! * [`Engine`] answers beats and verdicts from the hot table, lock-free, and learns of acts once they are committed.
//!
//! A session needs no timer to end: its end is computed from when it was last heard of, and whoever finds it over first
//! seals it there and then. From that moment on, no beat and no credit brings it back.

mod account;
mod credit;
mod earning;
mod earnings;
mod ended_sessions;
mod hot;
mod ids;
mod ledger;
mod others;
mod policy;
mod pressure;
mod register;
mod secret_ring;
mod session;
mod shuffle;
mod status_list;
#[cfg(test)]
mod tests;

pub use account::{Account, Act, Moment, Refusal, Sighting, Standing};
pub use credit::Credit;
pub use earnings::{Earnings, Offer, OfferId, Unearned, day_of, next_day};
pub use ended_sessions::EndedSession;
pub use hot::{BUCKETS, SLICES, bucket};
pub use ids::{AccountId, TokenHash, parse_session, session_text};
pub use ledger::{Entry, EntryKind, NewEntry, Source};
pub use policy::Policy;
pub use pressure::{PressedBy, Pressure};
pub use register::Life;
pub use secret_ring::SecretRing;
pub use session::{ActivationName, ActivationNames, End, RenewalName, Session, Tokens};
pub use status_list::{ListId, ListSeed, ListSize, StatusIndex, StatusList, StatusLists};

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use papaya::HashMap;

use crate::{
    time::{MeterTime, Millis, UnixMs},
    wire::{
        Ack, AckFlags, BodyMac, EndReason, FrameError, Heartbeat, HeartbeatKind, SecretId, SessionId, SignedAck,
        SignedHeartbeat, StateBits, WireVerdict,
    },
};
use ended_sessions::EndedSessions;
use hot::{Ending, HotSession, HotStart, HotTable, State, TokenMatch};
use pressure::Pressures;

/// What the edge is told of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Valid {
        /// What is left to burn.
        remaining: Millis,
    },
    /// It is dead.
    Invalid {
        /// Why.
        reason: EndReason,
    },
    /// This node has never heard of it. Never means invalid.
    Unknown,
}

/// What a heartbeat came to.
#[derive(Clone, Copy, Debug)]
pub enum Beat {
    /// Nothing is answered: the frame is not one of ours.
    Silence(FrameError),
    /// An ack goes back, before or after what `then` asks for.
    Answer {
        /// The signed ack.
        ack: SignedAck,
        /// What it says.
        verdict: WireVerdict,
        /// What is to be done before it is sent, or beside it.
        then: Then,
    },
}

/// What a heartbeat asks of the caller besides sending its ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Done,
    /// The session was stopped: commit its end *before* the ack is sent.
    Settle(AccountId),
    /// The session is not known here, but its key is right: look it up in the store, *after* the ack is sent.
    LookUp(SessionId),
}

/// A `last_seen` for the store to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// The session.
    pub session: SessionId,
    /// When it was last heard of.
    pub last_seen: MeterTime,
}

/// When a session was last heard of, and what its client said then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose session it is.
    pub account: AccountId,
    /// When it was last heard of.
    pub last_seen: MeterTime,
    /// What the client said of itself. Nothing, if it has not been heard of since it was read from the store.
    pub state: StateBits,
}

/// What a sweep over one slice of the hot table found.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Sessions heard of since the store last kept it. Empty unless asked for.
    pub dirty: Vec<Checkpoint>,
    /// Accounts whose open session is over and is to be settled.
    pub over: Vec<AccountId>,
    /// The greatest span any session has been heard of beyond what the store keeps.
    pub lag: Millis,
}

/// Answers beats and verdicts from memory.
pub struct Engine {
    policy: Policy,
    pressures: Pressures,
    /// Beats of sessions in the hot table do not come by here: their keys are in the table.
    secrets: ArcSwap<SecretRing>,
    hot: HotTable,
    ended_sessions: EndedSessions,
    lists: StatusLists,
    /// Which session of an account is in the hot table. `None` where no other node hears of the sessions: then only what
    /// this one does changes that.
    held: Option<HashMap<AccountId, SessionId>>,
    /// By how much the wall clock is ahead of the meter, in milliseconds.
    ahead: AtomicI64,
    /// Since when the store does not know all that was heard, in milliseconds of the meter, as the last sweep of each slice
    /// found it; 0 where it knows everything.
    unsaved_since: [AtomicU64; SLICES],
}

impl Engine {
    /// An engine that knows no session yet and remembers up to `ended_sessions` ended ones.
    pub fn new(policy: Policy, secrets: SecretRing, ended_sessions: usize) -> Self {
        Self {
            policy,
            pressures: Pressures::default(),
            secrets: ArcSwap::from_pointee(secrets),
            hot: HotTable::new(),
            ended_sessions: EndedSessions::new(ended_sessions),
            lists: StatusLists::default(),
            held: None,
            ahead: AtomicI64::new(0),
            unsaved_since: [const { AtomicU64::new(0) }; SLICES],
        }
    }

    /// Learns what the wall clock shows, by which tokens expire. To be called now and then: it may be set.
    pub fn set_wall(&self, now: MeterTime, wall: UnixMs) {
        self.ahead.store(wall.as_ms().wrapping_sub(now.as_ms()).cast_signed(), Ordering::Relaxed);
    }

    /// What the wall clock shows at `now`.
    fn wall(&self, now: MeterTime) -> UnixMs {
        UnixMs::from_ms(now.as_ms().saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }

    /// The figures it works with.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Learns how hard those who take requests in are pressed. Acks ask for heartbeats further apart then.
    pub fn set_pressure(&self, by: PressedBy, pressure: Pressure) {
        self.pressures.set(by, pressure);
    }

    /// How hard the service is pressed.
    pub fn pressure(&self) -> Pressure {
        self.pressures.greatest()
    }

    /// The secrets it checks frames with, as they are now.
    pub fn secrets(&self) -> Arc<SecretRing> {
        self.secrets.load_full()
    }

    /// Works with other secrets from now on. Sessions in the hot table go on with the keys they have.
    pub fn replace_secrets(&self, secrets: SecretRing) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Which secrets the sessions in the hot table were given their keys by.
    pub fn secrets_in_use(&self) -> [bool; SecretId::COUNT] {
        let mut used = [false; SecretId::COUNT];
        for slice in 0..SLICES {
            self.hot.visit(slice, |session, _| used[usize::from(session.secret().get())] = true);
        }
        used
    }

    /// The token status lists. A list must be here before the sessions whose tokens are in it.
    pub const fn lists(&self) -> &StatusLists {
        &self.lists
    }

    /// Answers a frame that came over any transport.
    ///
    /// One lookup, one MAC, one `fetch_max`; no lock, no allocation, no store. A frame of kind renew is answered with
    /// silence: it travels only in [`Self::renewal`].
    pub fn beat(&self, frame: &[u8], now: MeterTime) -> Beat {
        match SignedHeartbeat::parse(frame) {
            Ok(signed) => self.answer(&signed, now).unwrap_or_else(Beat::Silence),
            Err(error) => Beat::Silence(error),
        }
    }

    /// Answers frames that came together; `answer` is told of each one's place and what it came to, in order.
    ///
    /// The same as [`Self::beat`] for each of them, but their sessions are looked for before the first frame is checked:
    /// with a million sessions each is somewhere else in memory, and the processor fetches many at a time when it knows
    /// of them in time.
    pub fn beats(&self, frames: &[&[u8]], now: MeterTime, mut answer: impl FnMut(usize, Beat)) {
        for (part, frames) in frames.chunks(AHEAD).enumerate() {
            let parsed: [_; AHEAD] = array::from_fn(|n| frames.get(n).map(|frame| SignedHeartbeat::parse(frame)));
            let sessions = parsed.each_ref().map(|frame| Some(frame.as_ref()?.as_ref().ok()?.session()));
            self.hot.with_all(&sessions, |n, hot| {
                let beat = match (&parsed[n], hot) {
                    (None, _) => return,
                    (Some(Err(error)), _) => Err(*error),
                    (Some(Ok(signed)), Some(hot)) => self.answer_hot(signed, hot, now),
                    (Some(Ok(signed)), None) => self.answer_cold(signed, now),
                };
                answer(part * AHEAD + n, beat.unwrap_or_else(Beat::Silence));
            });
        }
    }

    /// Checks the frame of a renewal; answers the session it is for and what tells the renewal from others.
    ///
    /// It counts as a beat, like every frame that proves the key.
    ///
    /// # Errors
    ///
    /// The [`FrameError`] of a frame that is malformed, forged or of another kind.
    pub fn renewal(&self, frame: &[u8], now: MeterTime) -> Result<(SessionId, RenewalName), FrameError> {
        let signed = SignedHeartbeat::parse(frame)?;
        let session = *signed.session();
        let heartbeat = match self.hot.with(&session, |hot| signed.verify(&hot.mac)) {
            Some(verified) => verified?,
            None => signed.verify(&self.derived_mac(&session)?)?,
        };
        if heartbeat.kind != HeartbeatKind::Renew {
            return Err(FrameError::Kind);
        }
        self.hot.with(&session, |hot| hot.beat(heartbeat.clock, heartbeat.state, now, self.ending()));
        Ok((session, RenewalName { clock: heartbeat.clock.min(now), seq: heartbeat.seq }))
    }

    /// What a token is worth at `now`. The token is known by its session and its hash.
    pub fn verdict(&self, session: &SessionId, token: &TokenHash, now: MeterTime) -> Verdict {
        let hot = self.hot.with(session, |hot| match hot.matches(token) {
            TokenMatch::None => Verdict::Unknown,
            TokenMatch::Previous => Verdict::Invalid { reason: EndReason::Superseded },
            TokenMatch::Current => match hot.settle(now, self.ending()).said(self.ending()) {
                State::Open { .. } => Verdict::Valid { remaining: hot.runs_dry().since(now) },
                State::Ended { reason, .. } => Verdict::Invalid { reason },
                State::Doubtful => Verdict::Unknown,
            },
        });
        hot.or_else(|| {
            self.ended_sessions.find(session).map(|ended_session| Verdict::Invalid { reason: ended_session.reason })
        })
        .unwrap_or(Verdict::Unknown)
    }

    /// Whether this node holds the session, or remembers how it ended.
    pub fn knows(&self, session: &SessionId) -> bool {
        self.hot.with(session, |_| ()).is_some() || self.ended_sessions.find(session).is_some()
    }

    /// Whether a session is in the hot table.
    pub fn holds(&self, session: &SessionId) -> bool {
        self.hot.with(session, |_| ()).is_some()
    }

    /// What this node has heard of a live session, for a [`Moment`]. A session that is over is sealed here, unless there
    /// are other nodes.
    pub fn sighting(&self, session: &SessionId, now: MeterTime) -> Option<Sighting> {
        self.hot.with(session, |hot| hot.sighting(now, self.ending()))
    }

    /// Takes over what an act changed. `account` is the account after it, and the act has been committed.
    ///
    /// What closes is sealed before what opens is let in: at no instant are two tokens valid.
    pub fn apply(&self, account: &Account, act: &Act, moment: &Moment) {
        self.set_wall(moment.now, moment.wall);
        if let Some((session, end)) = &act.closes {
            self.close(account, session, end.at, end.reason);
        }
        if act.opens.is_some() {
            self.restore(account, moment.now, moment);
        } else if let Some(session) = account.open() {
            self.hot.with(&session.id, |hot| {
                hot.fuel_until(runs_dry(session, account));
                if let Some(tokens) = &act.renews {
                    hot.retoken(tokens, expiry(tokens), &self.lists, self.ending());
                }
            });
        }
    }

    /// Takes over an account that others have acted on, or nobody knows who. `known` is the session that was open as far
    /// as this node knew.
    pub fn reconcile(&self, account: &Account, known: Option<SessionId>, moment: &Moment) {
        let open = account.open();
        if let Some(known) = known.filter(|known| open.is_none_or(|open| open.id != *known)) {
            let end = account.session.as_ref().filter(|session| session.id == known).and_then(|session| session.end);
            self.conclude(account, &known, end, moment.now);
        }
        let Some(session) = open else { return };
        let taken_over = self.hot.with(&session.id, |hot| {
            hot.fuel_until(runs_dry(session, account));
            hot.retoken(&session.tokens, expiry(&session.tokens), &self.lists, self.ending());
        });
        if taken_over.is_none() {
            self.restore(account, session.started, moment);
        }
    }

    /// Lets the open session of an account into the hot table, as last heard of at `last_seen`. One that is there stays.
    ///
    /// A session whose secret is no longer live is left out, since no frame of it can be checked.
    pub fn restore(&self, account: &Account, last_seen: MeterTime, moment: &Moment) {
        let Some(session) = account.open().filter(|session| !self.holds(&session.id)) else { return };
        let Some(key) = self.secrets().session_key(&session.id) else { return };
        let hot = HotSession::new(HotStart {
            account: account.id,
            mac: key.body_mac(),
            last_seen: last_seen.min(moment.now).max(session.started),
            runs_dry: runs_dry(session, account),
            tokens: (session.tokens.current, session.tokens.previous),
            token_expires: expiry(&session.tokens),
            status: self.lists.light(&session.tokens.status),
        });
        self.hot.insert(session.id, hot);
        if let Some(held) = &self.held {
            held.pin().insert(account.id, session.id);
        }
    }

    /// Remembers a session that is over.
    pub fn remember_ended(&self, session: SessionId, ended_session: EndedSession) {
        self.ended_sessions.remember_ended(session, ended_session);
    }

    /// Goes over one slice of the hot table: ends what is over, and says what the store should know.
    pub fn sweep(&self, slice: usize, now: MeterTime, collect_dirty: bool) -> Sweep {
        let mut sweep = Sweep::default();
        self.hot.visit(slice, |session, hot| {
            if !matches!(hot.settle(now, self.ending()), State::Open { .. }) {
                sweep.over.push(hot.account);
            }
            let Some(last_seen) = hot.last_seen() else { return };
            let lag = last_seen.since(hot.stored());
            if lag > Millis::ZERO {
                sweep.lag = sweep.lag.max(lag);
                if collect_dirty {
                    sweep.dirty.push(Checkpoint { session: *session, last_seen });
                }
            }
        });
        let since = if sweep.lag > Millis::ZERO { now.as_ms().saturating_sub(sweep.lag.get()).max(1) } else { 0 };
        self.unsaved_since[slice % SLICES].store(since, Ordering::Relaxed);
        sweep
    }

    /// For how long the store has not known all that was heard. It grows while nobody sweeps.
    pub fn checkpoint_lag(&self, now: MeterTime) -> Millis {
        let since = self.unsaved_since.iter().map(|since| since.load(Ordering::Relaxed)).filter(|since| *since > 0);
        since.min().map_or(Millis::ZERO, |since| now.since(MeterTime::from_ms(since)))
    }

    /// Ends every session that is over, so that the status lists say what a verdict at `now` would.
    pub fn settle(&self, now: MeterTime) {
        for slice in 0..SLICES {
            self.hot.visit(slice, |_, hot| {
                hot.settle(now, self.ending());
            });
        }
    }

    /// How long from `wall` on that token lives which lives the longest of those of open sessions. Goes over all of them.
    pub fn longest_token(&self, wall: UnixMs) -> Millis {
        let mut longest = Millis::ZERO;
        for slice in 0..SLICES {
            self.hot.visit(slice, |_, hot| longest = longest.max(hot.token_expires().since(wall)));
        }
        longest
    }

    /// Learns that the store keeps these.
    pub fn checkpointed(&self, rows: &[Checkpoint]) {
        for row in rows {
            self.hot.with(&row.session, |hot| hot.has_stored(row.last_seen));
        }
    }

    /// When a session was last heard of here and what its client said then; `None` if it is over or not here.
    pub fn report(&self, session: &SessionId) -> Option<Report> {
        let report = |hot: &HotSession| {
            let (last_seen, state) = hot.report()?;
            Some(Report { account: hot.account, last_seen, state })
        };
        self.hot.with(session, report).flatten()
    }

    /// How many sessions are in the hot table.
    pub fn live(&self) -> usize {
        self.hot.len()
    }

    /// How many ended sessions are remembered.
    pub fn remembered(&self) -> usize {
        self.ended_sessions.len()
    }

    const fn ending(&self) -> Ending {
        Ending { timeout: self.policy.timeout, alone: self.held.is_none() }
    }

    fn close(&self, account: &Account, session: &SessionId, at: MeterTime, reason: EndReason) {
        self.hot.with(session, |hot| hot.close(at, reason));
        self.ended_sessions
            .remember_ended(*session, EndedSession { reason, remaining_s: seconds(account.balance.fuel()) });
        self.hot.remove(session);
        if let Some(held) = &self.held {
            let held = held.pin();
            if held.get(&account.id) == Some(session) {
                held.remove(&account.id);
            }
        }
    }

    fn answer(&self, signed: &SignedHeartbeat, now: MeterTime) -> Result<Beat, FrameError> {
        let hot = self.hot.with(signed.session(), |hot| self.answer_hot(signed, hot, now));
        hot.unwrap_or_else(|| self.answer_cold(signed, now))
    }

    /// Answers for a session that is not in the hot table.
    fn answer_cold(&self, signed: &SignedHeartbeat, now: MeterTime) -> Result<Beat, FrameError> {
        let session = *signed.session();
        let mac = self.derived_mac(&session)?;
        let heartbeat = live_kind(signed.verify(&mac)?)?;
        let (verdict, remaining_s, then) = match self.ended_sessions.find(&session) {
            Some(ended_session) => (WireVerdict::Invalid(ended_session.reason), ended_session.remaining_s, Then::Done),
            None => (WireVerdict::Unknown, 0, Then::LookUp(session)),
        };
        let next_beat_100ms = match verdict {
            WireVerdict::Unknown => self.policy.next_beat_100ms(&session, now, self.policy.max_ttl, self.pressure()),
            _ => 0,
        };
        let ack = Ack {
            verdict,
            seq: heartbeat.seq,
            now,
            echo: heartbeat.clock,
            remaining_s,
            next_beat_100ms,
            flags: AckFlags(0),
        };
        Ok(Beat::Answer { ack: ack.sign(&mac), verdict, then })
    }

    fn answer_hot(&self, signed: &SignedHeartbeat, hot: &HotSession, now: MeterTime) -> Result<Beat, FrameError> {
        let heartbeat = live_kind(signed.verify(&hot.mac)?)?;
        let (state, then) = match heartbeat.kind {
            HeartbeatKind::Stop => (hot.end(now, self.ending(), EndReason::Deactivated), Then::Settle(hot.account)),
            HeartbeatKind::Beat | HeartbeatKind::Renew => {
                (hot.beat(heartbeat.clock, heartbeat.state, now, self.ending()).said(self.ending()), Then::Done)
            }
        };
        let next_beat = |remaining| self.policy.next_beat_100ms(&heartbeat.session, now, remaining, self.pressure());
        let (verdict, remaining, next_beat_100ms, then) = match state {
            State::Open { .. } => {
                let remaining = hot.runs_dry().since(now);
                (WireVerdict::Valid, remaining, next_beat(remaining), then)
            }
            State::Ended { at, reason } => (WireVerdict::Invalid(reason), hot.runs_dry().since(at), 0, then),
            State::Doubtful => {
                (WireVerdict::Unknown, Millis::ZERO, next_beat(self.policy.max_ttl), Then::LookUp(heartbeat.session))
            }
        };
        let ack = Ack {
            verdict,
            seq: heartbeat.seq,
            now,
            echo: heartbeat.clock,
            remaining_s: seconds(remaining),
            next_beat_100ms,
            flags: self.flags(hot, verdict, remaining, now),
        };
        Ok(Beat::Answer { ack: ack.sign(&hot.mac), verdict, then })
    }

    fn flags(&self, hot: &HotSession, verdict: WireVerdict, remaining: Millis, now: MeterTime) -> AckFlags {
        let mut flags = 0;
        if verdict == WireVerdict::Valid {
            if self.policy.is_renewal_due(hot.token_expires(), self.wall(now), remaining) {
                flags |= AckFlags::RENEW;
            }
            if remaining <= self.policy.low_credit {
                flags |= AckFlags::LOW_CREDIT;
            }
        }
        AckFlags(flags)
    }

    fn derived_mac(&self, session: &SessionId) -> Result<BodyMac, FrameError> {
        Ok(self.secrets.load().session_key(session).ok_or(FrameError::Tag)?.body_mac())
    }
}

/// How many sessions [`Engine::beats`] looks for before it checks the first frame.
const AHEAD: usize = 64;

/// A frame of kind renew means nothing by itself.
fn live_kind(heartbeat: Heartbeat) -> Result<Heartbeat, FrameError> {
    if heartbeat.kind == HeartbeatKind::Renew { Err(FrameError::Kind) } else { Ok(heartbeat) }
}

/// When the tank of an account is empty if its open session goes on until then.
fn runs_dry(session: &Session, account: &Account) -> MeterTime {
    session.runs_dry(account.balance.fuel())
}

/// When a token expires, as far as it matters for its renewal. One that was given in place of another nobody knows to
/// have arrived is to be renewed at once: the client may have either.
fn expiry(tokens: &Tokens) -> UnixMs {
    if tokens.renewed == Some(RenewalName::ANSWERED_AGAIN) { UnixMs::from_ms(0) } else { tokens.expires_at }
}

fn seconds(span: Millis) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}
