//! The change feed: what others are about to change is read again here.
//!
//! A change is told before its act is committed, so that none goes untold, whoever dies. Who reads it reads the account,
//! again and again for a while if the act has not been committed yet. If it never is, it may still be on its way: a network
//! that was cut delivers what was sent before. So the account is then given the version that the act was to bring, and
//! nothing else, and the act cannot be committed any more. Changes are looked for a little into the past, since
//! meters differ by a little and writes take their time, and now and then further.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as Gate, Semaphore},
    task::JoinSet,
};

use crate::{
    control::acts::{ActError, Acts},
    engine::AccountId,
    store::{CHANGES_KEPT, Change, ClusterStore, NodeId, StoreError, change_slot},
    time::{Clock, MeterClock, MeterTime, Millis},
    wire::SessionId,
};

use super::{ClusterError, ClusterSettings};

/// How far ahead another node's meter may be.
const AHEAD: Millis = Millis::from_secs(3);
/// How long it takes at first until an account whose act has not been committed is read again, and at most.
const PATIENCE: (Millis, Millis) = (Millis::new(50), Millis::from_secs(1));
/// Accounts that are read at a time.
const AT_ONCE: usize = 64;
/// Slots of changes that are read at a time.
const SLOTS_AT_ONCE: usize = 8;

/// Follows what other nodes change.
pub struct Feed {
    me: NodeId,
    acts: Arc<Acts>,
    store: Arc<dyn ClusterStore>,
    meter: Arc<MeterClock>,
    settings: ClusterSettings,
    progress: Gate<Progress>,
    accounts: Arc<Accounts>,
    /// Those that read accounts; they end with this.
    readers: Mutex<JoinSet<()>>,
    room: Arc<Semaphore>,
}

struct Progress {
    /// All changes told before this instant have been seen, but for those that come late.
    read_until: MeterTime,
    /// When to look further back.
    look_back_at: MeterTime,
    seen: BTreeSet<Change>,
}

/// The accounts that are to be read.
#[derive(Default)]
struct Accounts {
    waiting: Mutex<BTreeMap<AccountId, Waiting>>,
    /// What became of the last one that could not be read.
    failed: Mutex<Option<StoreError>>,
}

/// An account that is to be read.
struct Waiting {
    /// The version it is to have.
    version: u64,
    /// Sessions that may have ended.
    open: BTreeSet<SessionId>,
    next: MeterTime,
    wait: Millis,
    /// Whoever decided on the act has given up by then.
    until: MeterTime,
    /// Who announced acts on it.
    by: BTreeSet<NodeId>,
    /// How many changes of it have been noted: what is being read may be older than the last.
    notes: u64,
    /// It is being read in the background.
    is_being_read: bool,
}

/// What is to be read of an account.
struct Due {
    account: AccountId,
    open: Vec<SessionId>,
    /// The version that it should have had before now.
    overdue: Option<u64>,
    notes: u64,
}

impl Feed {
    /// A feed that has seen nothing since `from`: when this node began to read what the store holds.
    pub fn new(
        me: NodeId,
        acts: Arc<Acts>,
        store: Arc<dyn ClusterStore>,
        meter: Arc<MeterClock>,
        settings: ClusterSettings,
        from: MeterTime,
    ) -> Self {
        let progress = Progress { read_until: from, look_back_at: MeterTime::ZERO, seen: BTreeSet::new() };
        let (progress, accounts, readers) = (Gate::new(progress), Arc::default(), Mutex::default());
        Self { me, acts, store, meter, settings, progress, accounts, readers, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Looks for changes, and has the accounts read again that have changed. It does not wait for them: one that takes long
    /// holds up no other. To be called once every [`ClusterSettings::tail_every`].
    ///
    /// # Errors
    ///
    /// [`ClusterError::Store`]: what was not read is read the next time. [`ClusterError::Missed`]: this node has to start
    /// again.
    pub async fn tail(&self) -> Result<(), ClusterError> {
        self.look(false).await?;
        self.read_due();
        self.accounts.failed.lock().take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Looks for changes, and reads all accounts that have changed: what was committed before the call is known after it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::tail`].
    pub async fn catch_up(&self) -> Result<(), ClusterError> {
        self.catch_up_from(false).await
    }

    /// The same, with the changes that were told as late as changes ever are: for what is decided for good.
    ///
    /// # Errors
    ///
    /// Those of [`Self::tail`].
    pub async fn catch_up_with_late_ones(&self) -> Result<(), ClusterError> {
        self.catch_up_from(true).await
    }

    async fn catch_up_from(&self, far: bool) -> Result<(), ClusterError> {
        self.look(far).await?;
        let due = self.accounts.due(self.meter.now(), false);
        let mut reads = stream::iter(due)
            .map(|due| async move { self.accounts.done(&due, read_again(&self.acts, &due).await, self.meter.now()) })
            .buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some(read) = reads.next().await {
            failed = read.err().or(failed);
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// How long ago, in meter time, all changes were known.
    pub async fn lag(&self) -> Millis {
        let read_until = self.progress.lock().await.read_until;
        self.meter.now().since(read_until)
    }

    /// Whether a node has announced an act of which nobody knows yet whether it will be done.
    pub fn waits_for(&self, node: &NodeId) -> bool {
        self.accounts.waiting.lock().values().any(|waiting| waiting.by.contains(node))
    }

    /// Looks for changes; `far` back, if it has to be.
    async fn look(&self, far: bool) -> Result<(), ClusterError> {
        let mut progress = self.progress.lock().await;
        let now = self.meter.now();
        if now.since(progress.read_until).plus(self.settings.look_back) > CHANGES_KEPT {
            return Err(ClusterError::Missed(progress.read_until));
        }
        let pause = Millis::new(u64::try_from(self.settings.tail_every.as_millis()).unwrap_or(u64::MAX));
        let is_late = now.since(progress.read_until) > self.settings.glance.plus(pause);
        let far = far || is_late || now >= progress.look_back_at;
        let back = if far { self.settings.look_back } else { self.settings.glance };
        let from = MeterTime::from_ms(progress.read_until.as_ms().saturating_sub(back.get()));
        let mut slots = stream::iter(change_slot(from)..=change_slot(now.plus(AHEAD)))
            .map(|slot| self.store.changes(slot, from))
            .buffered(SLOTS_AT_ONCE);
        while let Some(changes) = slots.next().await {
            let mut changes = changes?;
            changes.sort_unstable();
            for change in changes {
                if change.node != self.me && progress.seen.insert(change) {
                    self.accounts.note(&change, now, self.settings.dead_after);
                }
            }
        }
        progress.read_until = now;
        if far {
            let half = Millis::new(self.settings.look_back.get() / 4);
            progress.look_back_at = now.plus(half);
            let forget = now.as_ms().saturating_sub(2 * self.settings.look_back.get());
            progress.seen.retain(|change| change.at.as_ms() >= forget);
        }
        Ok(())
    }

    /// Has the accounts read that are due and that nobody reads.
    fn read_due(&self) {
        let mut readers = self.readers.lock();
        while let Some(read) = readers.try_join_next() {
            read.expect("reading an account does not panic");
        }
        for due in self.accounts.due(self.meter.now(), true) {
            let (acts, accounts) = (Arc::clone(&self.acts), Arc::clone(&self.accounts));
            let (meter, room) = (Arc::clone(&self.meter), Arc::clone(&self.room));
            readers.spawn(async move {
                let _place = room.acquire().await.expect("the semaphore is never closed");
                if let Err(error) = accounts.done(&due, read_again(&acts, &due).await, meter.now()) {
                    *accounts.failed.lock() = Some(error);
                }
            });
        }
    }
}

/// Reads an account. Its version; where it need not have the one that is overdue any more, that one.
async fn read_again(acts: &Acts, due: &Due) -> Result<u64, ActError> {
    let version = acts.refresh(&due.account, &due.open).await?;
    match due.overdue {
        Some(overdue) if version < overdue && acts.forestall(&due.account, overdue).await? => Ok(overdue),
        Some(_) | None => Ok(version),
    }
}

impl Accounts {
    fn note(&self, change: &Change, now: MeterTime, decided_after: Millis) {
        let until = change.at.max(now).plus(decided_after);
        let mut all = self.waiting.lock();
        let waiting = all.entry(change.account).or_insert_with(|| Waiting {
            version: 0,
            open: BTreeSet::new(),
            next: now,
            wait: PATIENCE.0,
            until,
            by: BTreeSet::new(),
            notes: 0,
            is_being_read: false,
        });
        waiting.by.insert(change.node);
        waiting.version = waiting.version.max(change.version);
        waiting.open.extend(change.open);
        waiting.until = waiting.until.max(until);
        waiting.notes += 1;
        (waiting.next, waiting.wait) = (now, PATIENCE.0);
    }

    /// The accounts that are to be read at `now`: for the `background`, those that it does not read already.
    fn due(&self, now: MeterTime, background: bool) -> Vec<Due> {
        let mut all = self.waiting.lock();
        let due = all.iter_mut().filter(|(_, waiting)| waiting.next <= now && !(background && waiting.is_being_read));
        due.map(|(account, waiting)| {
            waiting.is_being_read |= background;
            Due {
                account: *account,
                open: waiting.open.iter().copied().collect(),
                overdue: (now > waiting.until).then_some(waiting.version),
                notes: waiting.notes,
            }
        })
        .collect()
    }

    /// An account has been read, or not.
    fn done(&self, due: &Due, read: Result<u64, ActError>, now: MeterTime) -> Result<(), StoreError> {
        let mut all = self.waiting.lock();
        let Some(waiting) = all.get_mut(&due.account) else { return Ok(()) };
        waiting.is_being_read = false;
        match read {
            Ok(version) if version >= waiting.version && due.notes == waiting.notes => drop(all.remove(&due.account)),
            // Another change was told meanwhile: it is read again at once.
            Ok(_) if due.notes != waiting.notes => {}
            Ok(_) => {
                waiting.next = now.plus(waiting.wait);
                waiting.wait = PATIENCE.1.min(Millis::new(waiting.wait.get() * 2));
            }
            Err(ActError::Store(error) | ActError::Unknown(error)) => return Err(error),
            Err(error) => tracing::warn!(%error, "cannot read an account that another node changed"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NodeId;

    const fn at(ms: u64) -> MeterTime {
        MeterTime::from_ms(ms)
    }

    fn change(account: u8, version: u64) -> Change {
        let account = AccountId::from_bytes([account; 16]);
        Change { at: at(1_000), account, version, node: NodeId::from_bytes([9; 16]), open: None }
    }

    fn noted(accounts: &Accounts, account: u8, version: u64) {
        accounts.note(&change(account, version), at(1_000), Millis::from_secs(12));
    }

    #[test]
    fn an_account_that_is_being_read_holds_up_no_other() {
        let accounts = Accounts::default();
        noted(&accounts, 1, 5);
        assert_eq!(accounts.due(at(1_000), true).len(), 1);
        noted(&accounts, 2, 7);
        let due = accounts.due(at(1_200), true);
        assert_eq!(due.len(), 1, "the first has not been answered, and is not asked for again");
        assert_eq!(due[0].account, AccountId::from_bytes([2; 16]));
        accounts.done(&due[0], Ok(7), at(1_300)).unwrap();
        assert!(accounts.due(at(1_400), true).is_empty());
        assert_eq!(accounts.due(at(1_400), false).len(), 1, "who wants all that is known reads it all the same");
    }

    #[test]
    fn what_is_told_while_an_account_is_read_is_read_again() {
        let accounts = Accounts::default();
        noted(&accounts, 1, 5);
        let first = accounts.due(at(1_000), true);
        // The same version, of another node, which may have had another session open.
        noted(&accounts, 1, 5);
        accounts.done(&first[0], Ok(5), at(1_100)).unwrap();
        let second = accounts.due(at(1_100), true);
        assert_eq!(second.len(), 1);
        accounts.done(&second[0], Ok(5), at(1_200)).unwrap();
        assert!(accounts.waiting.lock().is_empty());
    }

    #[test]
    fn an_account_that_cannot_be_read_is_asked_for_again() {
        let accounts = Accounts::default();
        noted(&accounts, 1, 5);
        let due = accounts.due(at(1_000), true);
        let away = || ActError::Store(StoreError::Unavailable("away".to_owned()));
        accounts.done(&due[0], Err(away()), at(1_100)).unwrap_err();
        let due = accounts.due(at(1_100), true);
        assert_eq!(due.len(), 1);
        accounts.done(&due[0], Ok(4), at(1_200)).unwrap();
        assert!(accounts.due(at(1_249), true).is_empty(), "its act has not been committed yet");
        assert_eq!(accounts.due(at(1_250), true).len(), 1);
    }
}
