//! Ended sessions, remembered so that the acks to their clients carry the end reason.

use std::{collections::VecDeque, hash::BuildHasherDefault};

use papaya::HashMap;
use parking_lot::Mutex;

use crate::wire::{EndReason, SessionId};

use super::hot::IdHasher;

/// The remembered part of an ended session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// Why it ended.
    pub reason: EndReason,
    /// The rest of the tank at its end, in seconds.
    pub remaining_s: u32,
}

/// The newest ended sessions, at most as many as there is room for.
pub(super) struct EndedSessions {
    room: usize,
    map: HashMap<SessionId, EndedSession, BuildHasherDefault<IdHasher>>,
    oldest_first: Mutex<VecDeque<SessionId>>,
}

impl EndedSessions {
    pub(super) fn new(room: usize) -> Self {
        Self { room: room.max(1), map: HashMap::default(), oldest_first: Mutex::new(VecDeque::new()) }
    }

    pub(super) fn find(&self, session: &SessionId) -> Option<EndedSession> {
        self.map.pin().get(session).copied()
    }

    pub(super) fn remember_ended(&self, session: SessionId, ended_session: EndedSession) {
        let map = self.map.pin();
        let mut oldest_first = self.oldest_first.lock();
        if map.insert(session, ended_session).is_some() {
            return;
        }
        oldest_first.push_back(session);
        if oldest_first.len() > self.room
            && let Some(oldest) = oldest_first.pop_front()
        {
            map.remove(&oldest);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_is_no_room() {
        let ended_sessions = EndedSessions::new(2);
        let ended_session = EndedSession { reason: EndReason::TimedOut, remaining_s: 7 };
        for n in [1, 2, 2, 2, 3] {
            ended_sessions.remember_ended(id(n), ended_session);
        }
        assert_eq!(ended_sessions.find(&id(1)), None);
        assert_eq!(ended_sessions.find(&id(2)), Some(ended_session));
        assert_eq!(ended_sessions.find(&id(3)), Some(ended_session));
        assert_eq!(ended_sessions.len(), 2);
    }
}
