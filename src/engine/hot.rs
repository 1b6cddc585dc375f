//! The hot table: of every live session what a beat and a verdict need, and nothing else.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use papaya::HashMap;
use parking_lot::Mutex;

use crate::{
    time::{MeterTime, Millis, UnixMs},
    wire::{BodyMac, EndReason, SessionId, StateBits},
};

use super::{
    AccountId, Life, Sighting, StatusLists, TokenHash, Tokens, account::lapse, register::Register, status_list::LiveBit,
};

/// Into how many slices the table is cut, so that it can be swept a slice at a time.
pub const SLICES: usize = 16;

/// A live session.
///
/// The order of the fields is that of memory: a verdict reads from the first on, a beat from the second on, and what only
/// sweeps and acts need comes last. With a million sessions every cache line is a miss, so neighbours matter, and so
/// does every word: with its key and what the allocator adds, a session takes 192 bytes.
#[derive(Debug)]
#[repr(C)]
pub(super) struct HotSession {
    token: Mutex<TokenHashes>,
    register: Register,
    /// Meter time at which the tank is empty.
    runs_dry: AtomicU64,
    /// On the wall clock: by that verdicts go.
    token_expires: AtomicU64,
    pub(super) mac: BodyMac,
    pub(super) account: AccountId,
    /// The `last_seen` that is in the store; once the session has ended, the one it ended with.
    stored: AtomicU64,
}

/// What changes when a session gets another token.
#[derive(Debug)]
struct TokenHashes {
    current: TokenHash,
    /// The token before; the current one again if there was none, which is a word less than saying so.
    previous: TokenHash,
    /// The current token's bit in its status list. `None` if the list is gone, since the token has expired.
    status: Option<LiveBit>,
}

/// What a new entry of the hot table starts from.
pub(super) struct HotStart {
    pub(super) account: AccountId,
    pub(super) mac: BodyMac,
    pub(super) last_seen: MeterTime,
    pub(super) runs_dry: MeterTime,
    pub(super) tokens: (TokenHash, Option<TokenHash>),
    pub(super) token_expires: UnixMs,
    pub(super) status: Option<LiveBit>,
}

/// When sessions lapse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// How long after its last heartbeat a session is vouched for.
    pub(super) timeout: Millis,
    /// Whether this node alone hears of sessions. If not, one that has lapsed as far as it knows may go on elsewhere: its
    /// end is not said before it has been committed.
    pub(super) alone: bool,
}

/// What a node can say of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is vouched for.
    Open { last_seen: MeterTime },
    /// It is over.
    Ended { at: MeterTime, reason: EndReason },
    /// It has lapsed, as far as this node knows; another may know better.
    Doubtful,
}

impl State {
    /// What may be said of it. Among other nodes an end is not said before it has been committed, and then the session is
    /// in the hot table no more: if it never is, the session goes on elsewhere.
    pub(super) const fn said(self, ending: Ending) -> Self {
        match self {
            Self::Ended { .. } if !ending.alone => Self::Doubtful,
            state => state,
        }
    }
}

/// Whether a token is a session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenMatch {
    Current,
    Previous,
    None,
}

impl HotSession {
    pub(super) fn new(start: HotStart) -> Self {
        let (current, previous) = start.tokens;
        Self {
            account: start.account,
            mac: start.mac,
            register: Register::new(start.last_seen),
            runs_dry: AtomicU64::new(start.runs_dry.as_ms()),
            stored: AtomicU64::new(start.last_seen.as_ms()),
            token_expires: AtomicU64::new(start.token_expires.as_ms()),
            token: Mutex::new(TokenHashes { current, previous: previous.unwrap_or(current), status: start.status }),
        }
    }

    /// What can be said of the session at `now`. If it is over and nobody has said so yet, it ends here, unless other
    /// nodes are to be asked first.
    pub(super) fn settle(&self, now: MeterTime, ending: Ending) -> State {
        let mut life = self.register.load();
        loop {
            let last_seen = match life {
                Life::Ended { at, reason } => return State::Ended { at, reason },
                Life::Open { last_seen } => last_seen,
            };
            let Some((at, reason)) = lapse(last_seen, ending.timeout, self.runs_dry(), now) else {
                return State::Open { last_seen };
            };
            if !ending.alone {
                return State::Doubtful;
            }
            life = match self.seal(last_seen, at, reason) {
                Ok(ended) => {
                    self.end_status();
                    ended
                }
                Err(overtaken) => overtaken,
            };
        }
    }

    /// The update rule of a heartbeat: raises `last_seen` to what the client says, but not past `now`.
    pub(super) fn beat(&self, clock: MeterTime, state: StateBits, now: MeterTime, ending: Ending) -> State {
        match self.settle(now, ending) {
            State::Open { .. } => match self.register.raise(clock.min(now), state) {
                Life::Open { last_seen } => State::Open { last_seen },
                Life::Ended { at, reason } => State::Ended { at, reason },
            },
            over => over,
        }
    }

    /// Ends the session at `now` for `reason`, unless it is over already or in doubt; answers what it is then. Among other
    /// nodes its status list says so when the end has been committed: if it never is, the session goes on elsewhere.
    pub(super) fn end(&self, now: MeterTime, ending: Ending, reason: EndReason) -> State {
        loop {
            match self.settle(now, ending) {
                State::Open { last_seen } => {
                    if self.seal(last_seen, now, reason).is_ok() {
                        if ending.alone {
                            self.end_status();
                        }
                        return State::Ended { at: now, reason };
                    }
                }
                over => return over,
            }
        }
    }

    /// Ends the session as it has been committed.
    pub(super) fn close(&self, at: MeterTime, reason: EndReason) {
        let mut life = self.register.load();
        while let Life::Open { last_seen } = life {
            life = self.seal(last_seen, at, reason).unwrap_or_else(|overtaken| overtaken);
        }
        self.end_status();
    }

    /// Other nodes have heard of the session at `last_seen`.
    pub(super) fn hear(&self, last_seen: MeterTime) {
        self.register.raise(last_seen, StateBits::default());
        self.has_stored(last_seen);
    }

    /// What this node has heard of the session.
    pub(super) fn sighting(&self, now: MeterTime, ending: Ending) -> Sighting {
        match self.settle(now, ending) {
            State::Ended { at, reason } => Sighting { life: Life::Ended { at, reason }, last_seen: self.stored() },
            State::Open { last_seen } => Sighting::open(last_seen),
            State::Doubtful => match self.register.load() {
                Life::Open { last_seen } => Sighting::open(last_seen),
                life @ Life::Ended { .. } => Sighting { life, last_seen: self.stored() },
            },
        }
    }

    /// When it was last heard of, unless it has ended.
    pub(super) fn last_seen(&self) -> Option<MeterTime> {
        match self.register.load() {
            Life::Open { last_seen } => Some(last_seen),
            Life::Ended { .. } => None,
        }
    }

    /// When it was last heard of and what its client said of itself then, unless it has ended.
    pub(super) fn report(&self) -> Option<(MeterTime, StateBits)> {
        self.register.report()
    }

    pub(super) fn runs_dry(&self) -> MeterTime {
        MeterTime::from_ms(self.runs_dry.load(Ordering::Acquire))
    }

    /// The tank is empty at this instant now.
    pub(super) fn fuel_until(&self, runs_dry: MeterTime) {
        self.runs_dry.store(runs_dry.as_ms(), Ordering::Release);
    }

    pub(super) fn stored(&self) -> MeterTime {
        MeterTime::from_ms(self.stored.load(Ordering::Acquire))
    }

    pub(super) fn has_stored(&self, last_seen: MeterTime) {
        if matches!(self.register.load(), Life::Open { .. }) {
            self.stored.fetch_max(last_seen.as_ms(), Ordering::AcqRel);
        }
    }

    /// What is in the store does not count: it is to be written again, even if nothing is heard.
    pub(super) fn doubt_stored(&self) {
        if let Life::Open { last_seen } = self.register.load() {
            let before = last_seen.as_ms().saturating_sub(1);
            self.stored.fetch_min(before, Ordering::AcqRel);
        }
    }

    pub(super) fn token_expires(&self) -> UnixMs {
        UnixMs::from_ms(self.token_expires.load(Ordering::Relaxed))
    }

    /// The session has these tokens from now on. The bit of the one before, if it was another, says so.
    pub(super) fn retoken(&self, tokens: &Tokens, expires: UnixMs, lists: &StatusLists, ending: Ending) {
        self.token_expires.store(expires.as_ms(), Ordering::Relaxed);
        let mut held = self.token.lock();
        (held.current, held.previous) = (tokens.current, tokens.previous.unwrap_or(tokens.current));
        if held.status.as_ref().is_some_and(|bit| bit.is_at(&tokens.status)) {
            return;
        }
        if let Some(before) = held.status.take() {
            before.end();
        }
        held.status = lists.light(&tokens.status);
        // An end that came before has put out the bit that was here then. One that comes now waits for this lock.
        if ending.alone
            && matches!(self.register.load(), Life::Ended { .. })
            && let Some(bit) = &held.status
        {
            bit.end();
        }
    }

    pub(super) fn matches(&self, token: &TokenHash) -> TokenMatch {
        let (current, previous) = {
            let held = self.token.lock();
            (held.current, held.previous)
        };
        if current == *token {
            TokenMatch::Current
        } else if previous == *token {
            TokenMatch::Previous
        } else {
            TokenMatch::None
        }
    }

    /// Reads a byte of each cache line that a beat reads, so that they are on their way when they are needed.
    fn touch(&self) {
        self.register.touch();
        self.mac.touch();
    }

    fn seal(&self, last_seen: MeterTime, at: MeterTime, reason: EndReason) -> Result<Life, Life> {
        self.register.seal(last_seen, at, reason)?;
        self.stored.store(last_seen.as_ms(), Ordering::Release);
        Ok(Life::Ended { at, reason })
    }

    /// The status list says from now on that the session is over.
    fn end_status(&self) {
        if let Some(bit) = &self.token.lock().status {
            bit.end();
        }
    }
}

/// All live sessions. Looking one up takes no lock.
pub(super) struct HotTable {
    slices: [HashMap<SessionId, HotSession, BuildHasherDefault<IdHasher>>; SLICES],
}

impl HotTable {
    pub(super) fn new() -> Self {
        Self { slices: std::array::from_fn(|_| HashMap::default()) }
    }

    /// Does `work` with a session, if it is here.
    pub(super) fn with<T>(&self, session: &SessionId, work: impl FnOnce(&HotSession) -> T) -> Option<T> {
        self.slice(session).pin().get(session).map(work)
    }

    /// Does `work` with each of these sessions in order, and its place; with `None` for those that are not here.
    ///
    /// All are looked for first, and what a beat reads of them is touched, so that the processor fetches them side by
    /// side and not one after another.
    pub(super) fn with_all<const N: usize>(
        &self,
        sessions: &[Option<&SessionId>; N],
        mut work: impl FnMut(usize, Option<&HotSession>),
    ) {
        let mut guards = [const { None }; SLICES];
        for session in sessions.iter().flatten() {
            let slice = slice_of(session);
            guards[slice].get_or_insert_with(|| self.slices[slice].guard());
        }
        let found = sessions.map(|session| {
            let session = session?;
            let slice = slice_of(session);
            self.slices[slice].get(session, guards[slice].as_ref()?)
        });
        for hot in found.iter().flatten() {
            hot.touch();
        }
        for (n, hot) in found.into_iter().enumerate() {
            work(n, hot);
        }
    }

    pub(super) fn insert(&self, session: SessionId, hot: HotSession) {
        self.slice(&session).pin().insert(session, hot);
    }

    pub(super) fn remove(&self, session: &SessionId) {
        self.slice(session).pin().remove(session);
    }

    pub(super) fn len(&self) -> usize {
        self.slices.iter().map(HashMap::len).sum()
    }

    /// Visits every session of one slice.
    pub(super) fn visit(&self, slice: usize, mut visitor: impl FnMut(&SessionId, &HotSession)) {
        for (session, hot) in &self.slices[slice % SLICES].pin() {
            visitor(session, hot);
        }
    }

    fn slice(&self, session: &SessionId) -> &HashMap<SessionId, HotSession, BuildHasherDefault<IdHasher>> {
        &self.slices[slice_of(session)]
    }
}

fn slice_of(session: &SessionId) -> usize {
    usize::from(bucket(session)) * SLICES / BUCKETS
}

/// How many partitions the store's checkpoints are spread over.
pub const BUCKETS: usize = 256;

/// The partition that holds a session's checkpoint. A slice of the hot table is a run of these.
pub const fn bucket(session: &SessionId) -> u8 {
    session.as_bytes()[15]
}

/// Session ids are random and made by the service alone: eight of their bytes are a hash already.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.get(4..12).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            self.0 = u64::from_le_bytes(bytes);
        }
    }

    /// The length that an array puts before its bytes.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_with_its_key_takes_no_more_than_it_says() {
        // The allocator's own word comes on top, in steps of two words.
        assert!(size_of::<(SessionId, HotSession)>() <= 184, "{}", size_of::<(SessionId, HotSession)>());
    }
}
