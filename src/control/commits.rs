//! Commits: from an act that is decided to a store that holds it and an engine that knows of it.
//!
//! From the moment a commit is sent to the store until the engine knows of it, it runs in a task of its own: a caller
//! that goes away meanwhile must not leave the engine behind the store.
//!
//! A store that fails may have written the act all the same. The account is then read again, at once and, as long as
//! that fails too, by every act that follows on the account and by a task in the background. Until it has been read, the
//! account is in *doubt*: beats and verdicts go on by what the engine knew.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

use crate::{
    clock::Clock,
    engine::{Account, AccountId, Act, Engine, Moment},
    store::{AuditRecord, Commit, Store, StoreError},
    wire::SessionId,
};

use super::{peers::Peers, status::StatusKeeper};

/// Acts on one account wait for each other here rather than fail each other in the store.
const STRIPES: usize = 1024;
/// How long the background waits before it reads an account in doubt again: at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The right to act on the accounts of a stripe.
pub(super) type Turn = OwnedMutexGuard<()>;

/// Is told of every act that has been committed.
pub trait Witness: Send + Sync + 'static {
    /// `act` has been committed.
    fn committed(&self, act: &Act);
}

/// Commits acts and tells the engine.
pub(super) struct Commits {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    witness: Arc<dyn Witness>,
    statuses: Arc<StatusKeeper>,
    turns: Vec<Arc<Gate<()>>>,
    /// At most one for each account: an act that follows resolves it first.
    doubts: Mutex<HashMap<AccountId, Doubt>>,
}

/// An act of which nobody knows whether it was written.
#[derive(Clone)]
struct Doubt {
    act: Act,
    audit: AuditRecord,
    moment: Moment,
    /// The session that was open when it was decided.
    open: Option<SessionId>,
}

impl Commits {
    pub(super) fn new(
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        witness: Arc<dyn Witness>,
        statuses: Arc<StatusKeeper>,
    ) -> Self {
        let turns = std::iter::repeat_with(Arc::default).take(STRIPES).collect();
        Self { engine, store, clock, witness, statuses, turns, doubts: Mutex::default() }
    }

    /// Waits for the right to act on an account.
    pub(super) async fn turn(&self, account: &AccountId) -> Turn {
        // Ids are drawn by the service: their bytes are as good as a hash.
        let [a, b, ..] = *account.as_bytes();
        Arc::clone(&self.turns[usize::from(u16::from_le_bytes([a, b])) % STRIPES]).lock_owned().await
    }

    /// The account as the store holds it; the engine is in line with it afterwards. To be called in the account's turn.
    pub(super) async fn read(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let account = self.store.account(id).await?.map(|owned| owned.account);
        let doubt = self.doubts.lock().get(id).cloned();
        if let (Some(account), Some(doubt)) = (&account, doubt) {
            self.resolve(account, &doubt).await?;
            self.doubts.lock().remove(id);
        }
        Ok(account)
    }

    /// Commits an act that was decided on `before` in the account's `turn`, even if the caller goes away. The other nodes
    /// are told first.
    pub(super) async fn commit(
        self: &Arc<Self>,
        turn: Turn,
        before: &Account,
        act: Act,
        audit: AuditRecord,
        moment: Moment,
        peers: Option<Arc<dyn Peers>>,
    ) -> (Turn, Result<Commit, StoreError>) {
        let (this, before) = (Arc::clone(self), before.clone());
        let task = tokio::spawn(async move {
            if let Some(peers) = peers
                && let Err(error) = peers.announce(&before).await
            {
                return (turn, Err(error));
            }
            let issued = act.opens.as_ref().map(|session| &session.tokens).or(act.renews.as_ref());
            // Its bit would be wrong for good.
            if issued.is_some_and(|tokens| !this.statuses.is_in_hand(&tokens.status.list)) {
                let why = "the status list of the token may be another node's by now".to_owned();
                return (turn, Err(StoreError::Unavailable(why)));
            }
            let open = before.open().map(|session| session.id);
            let committed = match this.store.commit(&act, Some(&audit)).await {
                Ok(Commit::Done(account)) => {
                    this.tell(&account, &act, &moment);
                    Ok(Commit::Done(account))
                }
                Err(error @ StoreError::Unavailable(_)) => this.ask(Doubt { act, audit, moment, open }, error).await,
                other => other,
            };
            (turn, committed)
        });
        task.await.expect("committing does not panic, and the runtime outlives its acts")
    }

    fn tell(&self, account: &Account, act: &Act, moment: &Moment) {
        self.engine.apply(account, act, moment);
        self.witness.committed(act);
    }

    /// What became of an act that the store has failed on; `error` if it was not written or nobody can tell.
    async fn ask(self: &Arc<Self>, doubt: Doubt, error: StoreError) -> Result<Commit, StoreError> {
        let id = doubt.act.account;
        let resolved = match self.store.account(&id).await {
            Ok(Some(owned)) => self.resolve(&owned.account, &doubt).await.map(|done| done.then_some(owned.account)),
            Ok(None) => Ok(None),
            Err(unread) => Err(unread),
        };
        match resolved {
            Ok(done) => done.map(Commit::Done).ok_or(error),
            Err(_) => {
                self.doubts.lock().insert(id, doubt);
                tokio::spawn(Arc::clone(self).clear_up(id));
                Err(error)
            }
        }
    }

    /// Reads an account in doubt until that succeeds.
    async fn clear_up(self: Arc<Self>, id: AccountId) {
        let (mut wait, longest) = PATIENCE;
        loop {
            tokio::time::sleep(wait).await;
            let _turn = self.turn(&id).await;
            if !self.doubts.lock().contains_key(&id) || self.read(&id).await.is_ok() {
                return;
            }
            wait = longest.min(wait * 2);
        }
    }

    /// Brings the engine in line with an account that was in doubt. Answers whether it is what the act made of it.
    async fn resolve(&self, account: &Account, doubt: &Doubt) -> Result<bool, StoreError> {
        let Doubt { act, audit, moment, open } = doubt;
        if account.version <= act.expects {
            return Ok(false);
        }
        if account.version == act.expects + 1 && self.was_written(account, act).await? {
            // A store that does not write it together with the act may not have come to it.
            self.store.append_audit(std::slice::from_ref(audit)).await?;
            self.tell(account, act, moment);
            return Ok(true);
        }
        let now = Moment { now: self.clock.now(), wall: self.clock.wall(), sighting: None };
        self.engine.reconcile(account, *open, &now);
        Ok(false)
    }

    /// Whether it was this act, and not another node's, that made the account what it is.
    async fn was_written(&self, account: &Account, act: &Act) -> Result<bool, StoreError> {
        let session = account.session.as_ref();
        if let Some(opened) = &act.opens {
            return Ok(session.is_some_and(|session| session.id == opened.id));
        }
        if let Some(tokens) = &act.renews {
            return Ok(session.is_some_and(|session| session.tokens == *tokens));
        }
        if act.deletes {
            return Ok(account.deleted);
        }
        for entry in &act.entries {
            if self.store.entry(&act.account, entry.source, &entry.external_id).await?.as_ref() != Some(entry) {
                return Ok(false);
            }
        }
        Ok(!act.entries.is_empty())
    }
}
