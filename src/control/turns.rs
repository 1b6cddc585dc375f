//! Turns: acts on one account wait for each other here rather than fail each other in the store.
//!
//! Each account has a line of its own, of bounded length: whoever finds it full is told at once, and nobody else waits for
//! them. A line is there only while somebody stands in it.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

use crate::engine::AccountId;

/// Acts on one account that are under way or wait.
pub(super) const MOST_IN_LINE: usize = 128;
/// Parts that the lines are kept in.
const PARTS: usize = 64;

/// The line of an account is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineFull;

/// The lines of all accounts.
#[derive(Debug)]
pub(super) struct Turns {
    parts: Vec<Mutex<HashMap<AccountId, Line>>>,
    hash: std::hash::RandomState,
}

#[derive(Debug, Default)]
struct Line {
    gate: Arc<Gate<()>>,
    members: usize,
}

/// The right to act on an account.
#[derive(Debug)]
pub(super) struct Turn {
    // Given up in this order.
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place in an account's line.
#[derive(Debug)]
struct Place {
    turns: Arc<Turns>,
    account: AccountId,
}

impl Turns {
    pub(super) fn new() -> Self {
        let parts = std::iter::repeat_with(Mutex::default).take(PARTS).collect();
        Self { parts, hash: std::hash::RandomState::new() }
    }

    /// Waits for the right to act on an account.
    pub(super) async fn turn(self: &Arc<Self>, account: &AccountId) -> Result<Turn, LineFull> {
        let gate = {
            let mut part = self.part(account).lock();
            let line = part.entry(*account).or_default();
            if line.members >= MOST_IN_LINE {
                return Err(LineFull);
            }
            line.members += 1;
            Arc::clone(&line.gate)
        };
        // From here on, whoever goes away leaves the line.
        let place = Place { turns: Arc::clone(self), account: *account };
        Ok(Turn { _held: gate.lock_owned().await, _place: place })
    }

    fn part(&self, account: &AccountId) -> &Mutex<HashMap<AccountId, Line>> {
        let at = self.hash.hash_one(account) % PARTS as u64;
        &self.parts[usize::try_from(at).expect("it is below PARTS")]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut part = self.turns.part(&self.account).lock();
        if let Some(line) = part.get_mut(&self.account) {
            line.members -= 1;
            if line.members == 0 {
                part.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: AccountId = AccountId::from_bytes([1; 16]);
    const B: AccountId = AccountId::from_bytes([2; 16]);

    fn lines(turns: &Turns) -> usize {
        turns.parts.iter().map(|part| part.lock().len()).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_turns_away_its_own_and_nobody_else() {
        let turns = Arc::new(Turns::new());
        let first = turns.turn(&A).await.unwrap();
        let waiting: Vec<_> = (1..MOST_IN_LINE)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.turn(&A).await.map(drop) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(turns.turn(&A).await.map(drop), Err(LineFull));
        assert!(turns.turn(&B).await.is_ok());
        // Who goes away makes room.
        waiting[0].abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let late = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.turn(&A).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(first);
        for waited in waiting.into_iter().skip(1).chain([late]) {
            assert_eq!(waited.await.unwrap(), Ok(()));
        }
        assert_eq!(lines(&turns), 0, "an empty line is forgotten");
    }
}
