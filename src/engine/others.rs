//! What an engine does differently as one of many, which hear of the same sessions.
//!
//! A beat lands on one node. The others learn of it from the store, where checkpoints are maxima. So a session that has
//! lapsed as far as this node knows may go on elsewhere: it is in *doubt*, neither vouched for nor called dead, until it
//! is heard of again or its end has been committed.

use papaya::HashMap;

use crate::{
    time::{MeterTime, Millis},
    wire::{EndReason, SessionId},
};

use super::{Account, AccountId, Checkpoint, End, Engine, SLICES, hot::State};

impl Engine {
    /// The same engine as one of many, which hear of the same sessions. One that has lapsed as far as this engine knows is
    /// in doubt then: neither vouched for nor called dead, until its end has been committed or it is heard of again.
    #[must_use]
    pub fn among_others(self) -> Self {
        Self { held: Some(HashMap::new()), ..self }
    }

    /// Whether no verdict of [`Verdict::Unknown`] about a session is the last word here: the store, or others, may know
    /// better.
    pub fn is_unsure(&self, session: &SessionId) -> bool {
        self.held.is_some() || !self.knows(session)
    }

    /// Whether a session has lapsed as far as this node knows, and its end is not said yet.
    pub fn doubts(&self, session: &SessionId, now: MeterTime) -> bool {
        self.hot.with(session, |hot| hot.settle(now, self.ending()).said(self.ending())) == Some(State::Doubtful)
    }

    /// The session of an account that is in the hot table.
    pub fn held_of(&self, account: &AccountId) -> Option<SessionId> {
        self.held.as_ref()?.pin().get(account).copied()
    }

    /// Learns what the store keeps of sessions, which others may have written. A row may be ahead of `now` by as much as
    /// the meters of nodes `differ`. One that is further ahead says nothing: no node that lives has lived that.
    pub fn hear(&self, rows: &[Checkpoint], now: MeterTime, differ: Millis) {
        for row in rows.iter().filter(|row| row.last_seen <= now.plus(differ)) {
            self.hot.with(&row.session, |hot| hot.hear(row.last_seen.min(now)));
        }
    }

    /// What the store keeps of every session is to be written again: by this era, and not by the one before.
    pub fn doubt_checkpoints(&self) {
        for slice in 0..SLICES {
            self.hot.visit(slice, |_, hot| hot.doubt_stored());
        }
    }

    /// The sessions of a slice that will have lapsed `ahead` from now, as far as this node knows.
    pub fn quiet(&self, slice: usize, now: MeterTime, ahead: Millis) -> Vec<SessionId> {
        let mut quiet = Vec::new();
        self.hot.visit(slice, |session, hot| {
            if hot.last_seen().is_some_and(|last_seen| last_seen.plus(self.policy.timeout) <= now.plus(ahead)) {
                quiet.push(*session);
            }
        });
        quiet
    }

    /// What this node has heard of sessions of a slice that will have lapsed `ahead` from now, as far as the store knows.
    pub fn pressing(&self, slice: usize, now: MeterTime, ahead: Millis) -> Vec<Checkpoint> {
        let mut pressing = Vec::new();
        self.hot.visit(slice, |session, hot| {
            let stored = hot.stored();
            if let Some(last_seen) = hot.last_seen().filter(|last_seen| *last_seen > stored)
                && stored.plus(self.policy.timeout) <= now.plus(ahead)
            {
                pressing.push(Checkpoint { session: *session, last_seen });
            }
        });
        pressing
    }

    /// Takes over how a session ended that is not its account's latest any more. Without an `end`, others have ended it,
    /// nobody knows how.
    pub fn conclude(&self, account: &Account, session: &SessionId, end: Option<End>, now: MeterTime) {
        let unsaid = if account.deleted { EndReason::AccountDeleted } else { EndReason::Superseded };
        let (at, reason) = end.map_or((now, unsaid), |end| (end.at, end.reason));
        self.close(account, session, at, reason);
    }
}
