//! Acts: what changes an account, from the rule that decides it to the store that keeps it.
//!
//! Every act goes the same way: read the account, decide by a pure rule, commit on the condition that nobody was faster,
//! and only then tell the engine. A lost race is decided anew. What a caller is told has been durable before.

mod credit;
mod others;
mod outcomes;
mod people;
mod rewards;
mod sessions;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    deadline::Deadline,
    engine::{Account, AccountId, Act, Engine, Entry, Moment},
    entropy::Entropy,
    store::{Actor, Commit, Store, StoreError},
    time::Clock,
};

pub use super::commits::Witness;
use super::{
    audit::{self, AuditLog, Deed},
    commits::Commits,
    peers::Peers,
    status::StatusKeeper,
    tokens::Issuer,
    turns::{LineFull, Turn},
};
pub use outcomes::{ActError, Activation, Credited, Renewal, Token, View};
pub use rewards::Rewarded;

/// How often an act is decided anew before its caller is told to come back.
const ATTEMPTS: usize = 8;

/// How long an act may take, with all that it waits for; and all acts that one request brings about together.
pub const ACT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is asked whether other nodes have told what they heard of a session that has lapsed, and how many times.
const ASK_AGAIN: (Duration, usize) = (Duration::from_millis(100), 40);

/// Does acts, for somebody: for the service itself, unless [`Acts::by`] says for whom.
#[derive(Clone)]
pub struct Acts {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    issuer: Arc<Issuer>,
    statuses: Arc<StatusKeeper>,
    commits: Arc<Commits>,
    actor: Actor,
    /// Until when all acts of a request are to be done. `None`: each has a deadline of its own.
    deadline: Option<Deadline>,
    audit: Arc<AuditLog>,
    /// `None` on a node that is alone.
    peers: Option<Arc<dyn Peers>>,
}

/// What a rule came to.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for the length of one act")]
enum Decision<T> {
    Write(Act, T),
    Nothing(T),
}

/// What an act came to: what the rule answered, the account after it, and the moment it was decided at.
struct Outcome<T> {
    answer: T,
    account: Account,
    moment: Moment,
    repeated: Option<Entry>,
}

impl Acts {
    /// Does acts with these.
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        issuer: Arc<Issuer>,
        statuses: Arc<StatusKeeper>,
        witness: Arc<dyn Witness>,
    ) -> Self {
        let audit = Arc::new(AuditLog::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy)));
        let commits = Arc::new(Commits::new(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock),
            witness,
            Arc::clone(&statuses),
        ));
        Self {
            engine,
            store,
            clock,
            entropy,
            issuer,
            statuses,
            commits,
            actor: Actor::system(),
            deadline: None,
            audit,
            peers: None,
        }
    }

    /// Does acts as one node of many.
    #[must_use]
    pub fn among(self, peers: Arc<dyn Peers>) -> Self {
        Self { peers: Some(peers), ..self }
    }

    /// The same, for somebody else, for one request of theirs: what is done by it is written down as theirs, and all of it
    /// together may take [`ACT_TIMEOUT`] from now.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        let deadline = self.deadline.or_else(|| Some(Deadline::after(ACT_TIMEOUT)));
        Self { actor, deadline, ..self.clone() }
    }

    /// For whom acts are done.
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Does something that belongs to an act before its deadline.
    ///
    /// # Errors
    ///
    /// [`ActError::Late`], and those of `work`.
    pub fn in_time<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> impl Future<Output = Result<T, ActError>>
    where
        ActError: From<E>,
    {
        let held = self.deadline.unwrap_or_else(|| Deadline::after(ACT_TIMEOUT)).hold(work);
        async move { Ok(held.await??) }
    }

    /// Does several things that belong to an act before its deadline. Some of them may be done when it is over: whoever asks
    /// again finds out.
    ///
    /// # Errors
    ///
    /// [`ActError::Unknown`], and those of `work`.
    pub async fn all_in_time<T>(&self, work: impl Future<Output = Result<T, ActError>>) -> Result<T, ActError> {
        match self.in_time(work).await {
            Err(ActError::Late(late)) => Err(ActError::Unknown(StoreError::Unavailable(late.to_string()))),
            other => other,
        }
    }

    /// Waits for the right to act on an account.
    pub(super) async fn turn(&self, account: &AccountId) -> Result<Turn, ActError> {
        self.commits.turn(account).await.map_err(|LineFull| ActError::Contended)
    }

    /// Writes down what has been done. To be called when it is durable and before it is answered.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`]: it has been done, and its caller is not to be told so.
    pub async fn write_down(&self, deed: Deed) -> Result<(), ActError> {
        Ok(self.audit.write(&self.actor, deed).await?)
    }

    /// The audit log that these acts are written down in.
    pub const fn audit(&self) -> &Arc<AuditLog> {
        &self.audit
    }

    /// Writes down the end of an account's session, if it is over.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] and [`ActError::Store`].
    pub async fn settle(&self, account: &AccountId) -> Result<(), ActError> {
        let policy = *self.engine.policy();
        self.act(account, |account, moment| Ok(account.settle(moment, &policy).into())).await?;
        Ok(())
    }

    /// An account as it stands now. A session that is over is settled first.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] (also when it has been deleted) and [`ActError::Store`].
    pub async fn view(&self, account: &AccountId) -> Result<View, ActError> {
        self.settle(account).await?;
        self.in_time(self.view_settled(account)).await
    }

    async fn view_settled(&self, account: &AccountId) -> Result<View, ActError> {
        // Between the two reads below no act may end the session.
        let _turn = self.turn(account).await?;
        let owned = self.store.account(account).await?.ok_or(ActError::NotFound("account"))?;
        if owned.account.deleted {
            return Err(ActError::NotFound("account"));
        }
        self.catch_up(&owned.account, &[]).await?;
        let moment = self.moment(&owned.account).await?.ok_or(ActError::Untold)?;
        let remaining = owned.account.remaining(&moment, self.engine.policy().timeout);
        Ok(View { owned, moment, remaining })
    }

    async fn act<T>(
        &self,
        id: &AccountId,
        decide: impl FnMut(&Account, &Moment) -> Result<Decision<T>, ActError>,
    ) -> Result<Outcome<T>, ActError> {
        self.decide(id, true, decide).await
    }

    /// Does an act before its deadline. If `patient`, waits for other nodes to tell what they have heard of a session that has
    /// lapsed.
    async fn decide<T>(
        &self,
        id: &AccountId,
        patient: bool,
        decide: impl FnMut(&Account, &Moment) -> Result<Decision<T>, ActError>,
    ) -> Result<Outcome<T>, ActError> {
        let committing = AtomicBool::new(false);
        match self.in_time(self.try_decide(id, patient, &committing, decide)).await {
            Err(ActError::Late(late)) if committing.into_inner() => {
                Err(ActError::Unknown(StoreError::Unavailable(late.to_string())))
            }
            other => other,
        }
    }

    async fn try_decide<T>(
        &self,
        id: &AccountId,
        patient: bool,
        committing: &AtomicBool,
        mut decide: impl FnMut(&Account, &Moment) -> Result<Decision<T>, ActError>,
    ) -> Result<Outcome<T>, ActError> {
        let mut turn = self.turn(id).await?;
        let (mut before, mut asked, mut decided) = (None, 0, 0);
        while decided < ATTEMPTS {
            let account = self.commits.read(id).await?.ok_or(ActError::NotFound("account"))?;
            self.catch_up(&account, before.as_slice()).await?;
            let Some(moment) = self.moment(&account).await? else {
                if !patient || asked == ASK_AGAIN.1 {
                    return Err(ActError::Untold);
                }
                asked += 1;
                drop(turn);
                tokio::time::sleep(ASK_AGAIN.0).await;
                turn = self.turn(id).await?;
                continue;
            };
            decided += 1;
            let (act, answer) = match decide(&account, &moment)? {
                Decision::Nothing(answer) => return Ok(Outcome { answer, account, moment, repeated: None }),
                Decision::Write(act, answer) => (act, answer),
            };
            committing.store(true, Ordering::Relaxed);
            let committed;
            let row = audit::record(&account, &act, &self.actor, self.audit.next_key());
            (turn, committed) = self.commits.commit(turn, &account, act, row, moment, self.peers.clone()).await;
            committing.store(false, Ordering::Relaxed);
            match committed? {
                Commit::Done(account) => return Ok(Outcome { answer, account, moment, repeated: None }),
                Commit::Repeated(entry) => return Ok(Outcome { answer, account, moment, repeated: Some(entry) }),
                Commit::Conflict => before = account.open().map(|session| session.id),
            }
        }
        drop(turn);
        Err(ActError::Contended)
    }
}

impl From<Option<Act>> for Decision<()> {
    fn from(act: Option<Act>) -> Self {
        act.map_or(Self::Nothing(()), |act| Self::Write(act, ()))
    }
}
