//! Sessions that this process has never heard of, looked up in the store.
//!
//! An edge that is shown made-up tokens asks about sessions that never were. Each costs one read; then it is remembered
//! for a while that there is no such session. Nobody can be shut out by that: ids are random and never used twice, so a
//! session that is not there now never will be. Several questions about one session wait for one read.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use tokio::sync::Mutex as Gate;

use crate::{
    control::acts::{ActError, Acts},
    wire::{MeterTime, Millis, SessionId},
};

/// Sessions that are remembered not to be: about 400 kB.
const ABSENT: usize = 1 << 14;
/// Reads under way at a time; further questions wait.
const AT_ONCE: usize = 64;
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
}

impl Lookups {
    pub(super) fn new() -> Self {
        let gates = std::iter::repeat_with(Gate::default).take(AT_ONCE).collect();
        Self { absent: Mutex::new(vec![None; ABSENT]), gates, place: RandomState::new() }
    }

    /// Whether there is such a session. If there is, the engine knows what the store does afterwards.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`] when nobody can tell.
    pub(super) async fn find(&self, acts: &Acts, session: &SessionId, now: MeterTime) -> Result<bool, ActError> {
        let place = usize::try_from(self.place.hash_one(session) % ABSENT as u64).expect("it is below ABSENT");
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
