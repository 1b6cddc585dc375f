//! Sessions that are over, remembered so that a client which comes back is told why.

use std::{collections::VecDeque, hash::BuildHasherDefault};

use papaya::HashMap;
use parking_lot::Mutex;

use crate::wire::{EndReason, SessionId};

use super::hot::IdHasher;

/// What is remembered of a session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grave {
    /// Why it ended.
    pub reason: EndReason,
    /// What the account had left then, in seconds.
    pub remaining_s: u32,
}

/// The newest ended sessions, at most as many as there is room for.
pub(super) struct Graves {
    room: usize,
    map: HashMap<SessionId, Grave, BuildHasherDefault<IdHasher>>,
    oldest_first: Mutex<VecDeque<SessionId>>,
}

impl Graves {
    pub(super) fn new(room: usize) -> Self {
        Self { room: room.max(1), map: HashMap::default(), oldest_first: Mutex::new(VecDeque::new()) }
    }

    pub(super) fn find(&self, session: &SessionId) -> Option<Grave> {
        self.map.pin().get(session).copied()
    }

    pub(super) fn bury(&self, session: SessionId, grave: Grave) {
        let map = self.map.pin();
        let mut oldest_first = self.oldest_first.lock();
        if map.insert(session, grave).is_some() {
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
        let graves = Graves::new(2);
        let grave = Grave { reason: EndReason::TimedOut, remaining_s: 7 };
        for n in [1, 2, 2, 2, 3] {
            graves.bury(id(n), grave);
        }
        assert_eq!(graves.find(&id(1)), None);
        assert_eq!(graves.find(&id(2)), Some(grave));
        assert_eq!(graves.find(&id(3)), Some(grave));
        assert_eq!(graves.len(), 2);
    }
}
