//! Sessions that this process has never heard of, looked up in the store.
//!
//! An edge that is shown made-up tokens asks about sessions that never were. Each costs one read; then it is remembered
//! for a while that there is no such session. Nobody can be shut out by that: ids are random and never used twice, so a
//! session that is not there now never will be. Several questions about one session wait for one read.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use parking_lot::Mutex;
use tokio::sync::Mutex as Gate;

use crate::{
    control::acts::{ActError, Acts},
    time::{MeterTime, Millis},
    wire::SessionId,
};

/// Sessions that are remembered not to be: about 400 kB.
const ABSENT: usize = 1 << 14;
/// Reads under way at a time; further questions wait.
const AT_ONCE: usize = 64;
/// Questions of one edge that wait for reads; further ones are refused, so that the others' are not behind them.
const WAITING: usize = 256;
/// How long it is remembered that there is no such session.
const MEMORY: Millis = Millis::from_secs(60);

/// A session that there is not, and how long that is remembered.
type Absent = (SessionId, MeterTime);

/// Looks sessions up, and remembers which there are not.
pub(super) struct Lookups {
    /// Each session has one place. A newcomer takes it from whoever had it.
    absent: Mutex<Vec<Option<Absent>>>,
    gates: Box<[Gate<()>]>,
    place: RandomState,
    /// Questions of each edge that wait.
    waiting: Mutex<HashMap<String, usize>>,
}

/// A place among the questions of an edge that wait, until it is dropped.
pub(super) struct Waiting<'a> {
    lookups: &'a Lookups,
    edge: String,
}

impl Lookups {
    pub(super) fn new() -> Self {
        let gates = std::iter::repeat_with(Gate::default).take(AT_ONCE).collect();
        Self { absent: Mutex::new(vec![None; ABSENT]), gates, place: RandomState::new(), waiting: Mutex::default() }
    }

    /// A place for a question of this edge, if not too many of its questions wait already.
    pub(super) fn place(&self, edge: &str) -> Option<Waiting<'_>> {
        let mut all = self.waiting.lock();
        let waiting = all.entry(edge.to_owned()).or_default();
        if *waiting >= WAITING {
            return None;
        }
        *waiting += 1;
        Some(Waiting { lookups: self, edge: edge.to_owned() })
    }

    /// Whether it is remembered that there is no such session.
    pub(super) fn is_known_absent(&self, session: &SessionId, now: MeterTime) -> bool {
        self.is_absent(self.place_of(session), session, now)
    }

    fn place_of(&self, session: &SessionId) -> usize {
        usize::try_from(self.place.hash_one(session) % ABSENT as u64).expect("it is below ABSENT")
    }

    /// Whether there is such a session. If there is, the engine knows what the store does afterwards.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`] when nobody can tell.
    pub(super) async fn find(&self, acts: &Acts, session: &SessionId, now: MeterTime) -> Result<bool, ActError> {
        let place = self.place_of(session);
        if self.is_absent(place, session, now) {
            return Ok(false);
        }
        let _gate = self.gates[place % AT_ONCE].lock().await;
        if self.is_absent(place, session, now) {
            return Ok(false);
        }
        let found = acts.look_up(session).await?;
        if !found {
            self.absent.lock()[place] = Some((*session, now.plus(MEMORY)));
        }
        Ok(found)
    }

    fn is_absent(&self, place: usize, session: &SessionId, now: MeterTime) -> bool {
        self.absent.lock()[place].is_some_and(|(absent, until)| absent == *session && now < until)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = self.lookups.waiting.lock();
        if let Some(waiting) = all.get_mut(&self.edge) {
            *waiting -= 1;
            if *waiting == 0 {
                all.remove(&self.edge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_questions_of_one_edge_leave_room_for_those_of_others() {
        let lookups = Lookups::new();
        let held: Vec<_> = std::iter::from_fn(|| lookups.place("one")).take(2 * WAITING).collect();
        assert_eq!(held.len(), WAITING);
        assert!(lookups.place("other").is_some());
        drop(held);
        assert!(lookups.place("one").is_some() && lookups.waiting.lock().is_empty());
    }
}
