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

use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    clock::{Clock, MeterClock},
    control::acts::{ActError, Acts},
    engine::AccountId,
    store::{CHANGES_KEPT, Change, ClusterStore, NodeId, change_slot},
    wire::{MeterTime, Millis, SessionId},
};

use super::{ClusterError, ClusterSettings};

/// How far ahead another node's meter may be.
const AHEAD: Millis = Millis::from_secs(3);
/// How long it takes at first until an account whose act has not been committed is read again, and at most.
const PATIENCE: (Millis, Millis) = (Millis::new(50), Millis::from_secs(1));
/// Accounts that are read at a time.
const AT_ONCE: usize = 64;

/// Follows what other nodes change.
pub struct Feed {
    me: NodeId,
    acts: Arc<Acts>,
    store: Arc<dyn ClusterStore>,
    meter: Arc<MeterClock>,
    settings: ClusterSettings,
    progress: Mutex<Progress>,
}

struct Progress {
    /// All changes told before this instant have been seen, but for those that come late.
    read_until: MeterTime,
    /// When to look further back.
    look_back_at: MeterTime,
    seen: BTreeSet<Change>,
    waiting: BTreeMap<AccountId, Waiting>,
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
        let progress = Progress {
            read_until: from,
            look_back_at: MeterTime::ZERO,
            seen: BTreeSet::new(),
            waiting: BTreeMap::new(),
        };
        Self { me, acts, store, meter, settings, progress: Mutex::new(progress) }
    }

    /// Looks for changes, and reads the accounts again that have changed. To be called once every
    /// [`ClusterSettings::tail_every`].
    ///
    /// # Errors
    ///
    /// [`ClusterError::Store`]: what was not read is read the next time. [`ClusterError::Missed`]: this node has to start
    /// again.
    pub async fn tail(&self) -> Result<(), ClusterError> {
        let mut progress = self.progress.lock().await;
        self.look(&mut progress).await?;
        self.read(&mut progress).await?;
        Ok(())
    }

    /// How long ago, in meter time, all changes were known.
    pub async fn lag(&self) -> Millis {
        let read_until = self.progress.lock().await.read_until;
        self.meter.now().since(read_until)
    }

    /// Whether a node has announced an act of which nobody knows yet whether it will be done.
    pub async fn waits_for(&self, node: &NodeId) -> bool {
        self.progress.lock().await.waiting.values().any(|waiting| waiting.by.contains(node))
    }

    async fn look(&self, progress: &mut Progress) -> Result<(), ClusterError> {
        let now = self.meter.now();
        if now.since(progress.read_until).plus(self.settings.look_back) > CHANGES_KEPT {
            return Err(ClusterError::Missed(progress.read_until));
        }
        let pause = Millis::new(u64::try_from(self.settings.tail_every.as_millis()).unwrap_or(u64::MAX));
        let is_late = now.since(progress.read_until) > self.settings.glance.plus(pause);
        let far = is_late || now >= progress.look_back_at;
        let back = if far { self.settings.look_back } else { self.settings.glance };
        let from = MeterTime::from_ms(progress.read_until.as_ms().saturating_sub(back.get()));
        for slot in change_slot(from)..=change_slot(now.plus(AHEAD)) {
            let mut changes = self.store.changes(slot, from).await?;
            changes.sort_unstable();
            for change in changes {
                if change.node != self.me && progress.seen.insert(change) {
                    progress.note(&change, now, self.settings.dead_after);
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

    async fn read(&self, progress: &mut Progress) -> Result<(), ClusterError> {
        let now = self.meter.now();
        let due = progress.waiting.iter().filter(|(_, waiting)| waiting.next <= now);
        let due: Vec<(AccountId, Vec<SessionId>, Option<u64>)> = due
            .map(|(account, waiting)| {
                let overdue = (now > waiting.until).then_some(waiting.version);
                (*account, waiting.open.iter().copied().collect(), overdue)
            })
            .collect();
        let mut due = due.into_iter();
        let mut readers = JoinSet::new();
        let mut failed = None;
        loop {
            while readers.len() < AT_ONCE
                && let Some((account, open, overdue)) = due.next()
            {
                let acts = Arc::clone(&self.acts);
                readers.spawn(async move { (account, read_again(&acts, account, &open, overdue).await) });
            }
            let Some(read) = readers.join_next().await else { break };
            let (account, read) = read.expect("reading an account does not panic");
            match read {
                Ok(version) => progress.have(account, version, self.meter.now()),
                Err(ActError::Store(error) | ActError::Unknown(error)) => failed = Some(error),
                Err(error) => tracing::warn!(%error, "an account that has changed could not be read"),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Reads an account. Its version; where it need not have the one that is overdue any more, that one.
async fn read_again(
    acts: &Acts,
    account: AccountId,
    open: &[SessionId],
    overdue: Option<u64>,
) -> Result<u64, ActError> {
    let version = acts.refresh(&account, open).await?;
    match overdue {
        Some(overdue) if version < overdue && acts.forestall(&account, overdue).await? => Ok(overdue),
        Some(_) | None => Ok(version),
    }
}

impl Progress {
    fn note(&mut self, change: &Change, now: MeterTime, decided_after: Millis) {
        let until = change.at.max(now).plus(decided_after);
        let waiting = self.waiting.entry(change.account).or_insert_with(|| Waiting {
            version: 0,
            open: BTreeSet::new(),
            next: now,
            wait: PATIENCE.0,
            until,
            by: BTreeSet::new(),
        });
        waiting.by.insert(change.node);
        waiting.version = waiting.version.max(change.version);
        waiting.open.extend(change.open);
        waiting.until = waiting.until.max(until);
        (waiting.next, waiting.wait) = (now, PATIENCE.0);
    }

    /// An account has been read.
    fn have(&mut self, account: AccountId, version: u64, now: MeterTime) {
        let Some(waiting) = self.waiting.get_mut(&account) else { return };
        if version >= waiting.version {
            self.waiting.remove(&account);
            return;
        }
        waiting.next = now.plus(waiting.wait);
        waiting.wait = PATIENCE.1.min(Millis::new(waiting.wait.get() * 2));
    }
}
