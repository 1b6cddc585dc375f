//! Commits: from an act that is decided to a store that holds it and an engine that knows of it.
//!
//! From the moment a commit is sent to the store until the engine knows of it, it runs in a task of its own: a caller
//! that goes away meanwhile must not leave the engine behind the store.
//!
//! A store that fails may have written the act all the same. The account is then read again, at once and, as long as
//! that fails too, by every act that follows on the account and by a task in the background. Until it has been read, the
//! account is in *doubt*: beats and verdicts go on by what the engine knew.
//!
//! A session that turns out to have been opened after its caller was told that the store failed, or had gone away, is *taken
//! back*: nobody was given its token, so nobody can be vouched for by it, and nobody pays. It ends where it began.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    deadline,
    engine::{Account, AccountId, Act, Engine, Life, Moment, Sighting},
    store::{Actor, AuditKey, AuditRecord, Commit, Store, StoreError},
    time::Clock,
    wire::{EndReason, SessionId},
};

use super::{
    audit,
    peers::Peers,
    status::StatusKeeper,
    turns::{LineFull, Turn, Turns},
};

/// How long the background waits before it reads an account in doubt again: at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

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
    turns: Arc<Turns>,
    /// At most one for each account: an act that follows resolves it first.
    doubts: Mutex<HashMap<AccountId, Doubt>>,
}

/// Why an act was not committed, or not as far as its caller can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommitError {
    /// It was not written and will not be.
    NotDone(StoreError),
    /// Nobody can tell yet whether it was written.
    Unknown(StoreError),
}

/// An act of which nobody knows whether it was written.
#[derive(Clone)]
struct Doubt {
    act: Act,
    audit: AuditRecord,
    moment: Moment,
    /// The session that was open when it was decided.
    open: Option<SessionId>,
    peers: Option<Arc<dyn Peers>>,
}

impl Commits {
    pub(super) fn new(
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        witness: Arc<dyn Witness>,
        statuses: Arc<StatusKeeper>,
    ) -> Self {
        Self { engine, store, clock, witness, statuses, turns: Arc::new(Turns::new()), doubts: Mutex::default() }
    }

    /// Waits for the right to act on an account.
    pub(super) async fn turn(&self, account: &AccountId) -> Result<Turn, LineFull> {
        self.turns.turn(account).await
    }

    /// The account as the store holds it; the engine is in line with it afterwards. To be called in the account's turn.
    pub(super) async fn read(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let account = self.store.account(id).await?.map(|owned| owned.account);
        let doubt = self.doubts.lock().get(id).cloned();
        let (Some(account), Some(doubt)) = (account.clone(), doubt) else { return Ok(account) };
        let account = self.resolve_late(account, &doubt).await?;
        self.doubts.lock().remove(id);
        Ok(Some(account))
    }

    /// Commits an act that was decided on `before` in the account's `turn`, even if the caller goes away. The other nodes
    /// are told first. A session that was opened for a caller who has gone away is taken back.
    pub(super) async fn commit(
        self: &Arc<Self>,
        turn: Turn,
        before: &Account,
        act: Act,
        audit: AuditRecord,
        moment: Moment,
        peers: Option<Arc<dyn Peers>>,
    ) -> (Turn, Result<Commit, CommitError>) {
        let (this, open) = (Arc::clone(self), before.open().map(|session| session.id));
        let (before, doubt) = (before.clone(), Doubt { act, audit, moment, open, peers });
        let (answer, answered) = oneshot::channel();
        tokio::spawn(deadline::carry(async move {
            let committed = this.commit_now(&before, &doubt).await;
            if let Err((_turn, Ok(Commit::Done(account)))) = answer.send((turn, committed))
                && doubt.act.opens.is_some()
                && this.take_back(&account, doubt.peers.as_ref()).await.is_err()
            {
                this.put_in_doubt(doubt);
            }
        }));
        answered.await.expect("committing does not panic, and the runtime outlives its acts")
    }

    async fn commit_now(self: &Arc<Self>, before: &Account, doubt: &Doubt) -> Result<Commit, CommitError> {
        if let Some(peers) = &doubt.peers {
            peers.announce(before).await.map_err(CommitError::NotDone)?;
        }
        let issued = doubt.act.opens.as_ref().map(|session| &session.tokens).or(doubt.act.renews.as_ref());
        // Its bit would be wrong for good.
        if issued.is_some_and(|tokens| !self.statuses.is_in_hand(&tokens.status.list)) {
            let why = "the status list of the token may be another node's by now".to_owned();
            return Err(CommitError::NotDone(StoreError::Unavailable(why)));
        }
        match self.store.commit(&doubt.act, Some(&doubt.audit)).await {
            Ok(Commit::Done(account)) => {
                self.tell(&account, &doubt.act, &doubt.moment);
                Ok(Commit::Done(account))
            }
            Err(error @ StoreError::Unavailable(_)) => self.ask(doubt, error).await,
            other => other.map_err(CommitError::NotDone),
        }
    }

    fn tell(&self, account: &Account, act: &Act, moment: &Moment) {
        self.engine.apply(account, act, moment);
        self.witness.committed(act);
    }

    /// What became of an act that the store has failed on; `error` if it was not written or nobody can tell.
    async fn ask(self: &Arc<Self>, doubt: &Doubt, error: StoreError) -> Result<Commit, CommitError> {
        let resolved = match self.store.account(&doubt.act.account).await {
            Ok(Some(owned)) => self.resolve(&owned.account, doubt).await.map(|done| done.then_some(owned.account)),
            Ok(None) => Ok(None),
            Err(unread) => Err(unread),
        };
        match resolved {
            Ok(done) => done.map(Commit::Done).ok_or(CommitError::NotDone(error)),
            Err(_) => {
                self.put_in_doubt(doubt.clone());
                Err(CommitError::Unknown(error))
            }
        }
    }

    fn put_in_doubt(self: &Arc<Self>, doubt: Doubt) {
        let id = doubt.act.account;
        self.doubts.lock().insert(id, doubt);
        tokio::spawn(Arc::clone(self).clear_up(id));
    }

    /// Ends the open session of an account where it began: nobody was given its token. To be called in the account's turn.
    /// The account after it.
    pub(super) async fn take_back(
        &self,
        account: &Account,
        peers: Option<&Arc<dyn Peers>>,
    ) -> Result<Account, StoreError> {
        let Some(session) = account.open() else { return Ok(account.clone()) };
        let life = Life::Ended { at: session.started, reason: EndReason::Revoked };
        let sighting = Some(Sighting { life, last_seen: session.started });
        let moment = Moment { now: self.clock.now(), wall: self.clock.wall(), sighting };
        let Some(act) = account.settle(&moment, self.engine.policy()) else { return Ok(account.clone()) };
        // Half of a session's id is as good as a draw, and the same when this is done again.
        let mut id = [0; 8];
        id.copy_from_slice(&session.id.as_bytes()[8..]);
        let key = AuditKey { at: session.started_at, id };
        let row = audit::record(account, &act, &Actor::system(), key);
        if let Some(peers) = peers {
            peers.announce(account).await?;
        }
        match self.store.commit(&act, Some(&row)).await? {
            Commit::Done(after) => {
                self.tell(&after, &act, &moment);
                tracing::info!(account = ?account.id, "a session was taken back: nobody was given its token");
                Ok(after)
            }
            Commit::Conflict | Commit::Repeated(_) => {
                Err(StoreError::Unavailable("others changed the account meanwhile".to_owned()))
            }
        }
    }

    /// Reads an account in doubt until that succeeds.
    async fn clear_up(self: Arc<Self>, id: AccountId) {
        let (mut wait, longest) = PATIENCE;
        loop {
            tokio::time::sleep(wait).await;
            wait = longest.min(wait * 2);
            let Ok(_turn) = self.turn(&id).await else { continue };
            if !self.doubts.lock().contains_key(&id) || self.read(&id).await.is_ok() {
                return;
            }
        }
    }

    /// Brings the engine in line with an account that was in doubt after the act's caller was told so. The account after it:
    /// a session that the act opened is over.
    async fn resolve_late(&self, account: Account, doubt: &Doubt) -> Result<Account, StoreError> {
        let Some(opened) = doubt.act.opens.as_ref().map(|session| session.id) else {
            self.resolve(&account, doubt).await?;
            return Ok(account);
        };
        if account.open().is_none_or(|open| open.id != opened) {
            self.resolve(&account, doubt).await?;
            // It was taken back before, and that was not answered either.
            if self.engine.holds(&opened) {
                let end =
                    account.session.as_ref().filter(|session| session.id == opened).and_then(|session| session.end);
                self.engine.conclude(&account, &opened, end, self.clock.now());
            }
            return Ok(account);
        }
        self.store.append_audit(std::slice::from_ref(&doubt.audit)).await?;
        let after = self.take_back(&account, doubt.peers.as_ref()).await?;
        self.witness.committed(&doubt.act);
        if let Some((closed, end)) = &doubt.act.closes {
            self.engine.conclude(&after, closed, Some(*end), self.clock.now());
        }
        Ok(after)
    }

    /// Brings the engine in line with an account that was in doubt. Answers whether it is what the act made of it.
    async fn resolve(&self, account: &Account, doubt: &Doubt) -> Result<bool, StoreError> {
        let Doubt { act, audit, moment, open, .. } = doubt;
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
