//! What the store holds of a session: its tokens, the names of the acts on it, its end.

use crate::{
    time::{MeterTime, Millis, UnixMs},
    wire::{EndReason, SessionId},
};

use super::{StatusIndex, TokenHash};

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
    /// What its activation was called, and those before it.
    pub names: ActivationNames,
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
    /// The same on the meter: beyond it nobody was vouched for. `None` if a version issued it that did not keep this.
    pub expires: Option<MeterTime>,
    /// How long, of the session until now, nobody was vouched for: from the end of a token to the renewal that came after
    /// it. Nobody is charged for it.
    pub uncharged: Millis,
    /// The last renewal that was done. `None` until there is one.
    pub renewed: Option<RenewalName>,
    /// Where the current one's bit is.
    pub status: StatusIndex,
}

/// What tells a renewal from others of its session, and which of two is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RenewalName {
    /// The clock of its frame, but not beyond the meter when it came.
    pub clock: MeterTime,
    /// The counter of its frame.
    pub seq: u32,
}

impl RenewalName {
    /// No renewal, but an activation that was answered again with another token: nobody knows which of the two arrived.
    pub const ANSWERED_AGAIN: Self = Self { clock: MeterTime::ZERO, seq: 0 };
}

/// What an activation is called: the first 128 bits of the SHA-256 of its `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationName([u8; 16]);

impl ActivationName {
    /// The name that an `Idempotency-Key` gives.
    pub fn of(key: &str) -> Self {
        Self(*TokenHash::of(key.as_bytes()).as_bytes())
    }
}

/// What the activation of a session was called, and the activations before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivationNames {
    /// Its own name, if it has one.
    pub own: Option<ActivationName>,
    /// Whether it ended another session.
    pub superseded: bool,
    /// Those of the account's sessions before, the latest first; [`Self::REMEMBERED`] at most.
    earlier: Vec<ActivationName>,
}

impl ActivationNames {
    /// How many names of sessions before are remembered.
    pub const REMEMBERED: usize = 8;

    /// The names after another activation.
    #[must_use]
    pub fn then(before: Option<&Self>, own: Option<ActivationName>, superseded: bool) -> Self {
        let known = before.map_or(&[][..], |names| &names.earlier);
        let latest = before.and_then(|names| names.own);
        let earlier = latest.into_iter().chain(known.iter().copied()).take(Self::REMEMBERED).collect();
        Self { own, superseded, earlier }
    }

    /// Whether one of the account's sessions before was called so.
    pub fn was_called(&self, name: ActivationName) -> bool {
        self.earlier.contains(&name)
    }

    /// As the store keeps it: a byte of flags (1: it has a name, 2: it ended another session), then the names, 16 bytes
    /// each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.own.is_some()) | u8::from(self.superseded) << 1;
        let names = self.own.iter().chain(&self.earlier).flat_map(|name| name.0);
        std::iter::once(flags).chain(names).collect()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, names) = bytes.split_first()?;
        let (names, rest) = names.as_chunks::<16>();
        let mut names = names.iter().copied().map(ActivationName);
        let own = if flags & 1 == 0 { None } else { Some(names.next()?) };
        let fits = *flags < 4 && rest.is_empty() && names.len() <= Self::REMEMBERED;
        fits.then(|| Self { own, superseded: flags & 2 != 0, earlier: names.collect() })
    }
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

impl Session {
    /// What it has burned of its tank at `at`, if its token was good until then.
    pub(super) fn burned_until(&self, at: MeterTime) -> Millis {
        at.since(self.started).minus(self.tokens.uncharged)
    }

    /// When it has burned all of `fuel`.
    pub(super) fn runs_dry(&self, fuel: Millis) -> MeterTime {
        self.started.plus(self.tokens.uncharged).plus(fuel)
    }

    /// How long nobody is vouched for if another token is given at `now`: since the end of the one before.
    pub(super) fn unvouched_at(&self, now: MeterTime) -> Millis {
        now.since(self.vouched_until(now))
    }

    /// Until when anybody was vouched for of a session that ended at `at`: not beyond its token.
    pub(super) fn vouched_until(&self, at: MeterTime) -> MeterTime {
        self.tokens.expires.map_or(at, |expires| at.min(expires.max(self.started)))
    }
}
