//! Acts: what changes an account, from the rule that decides it to the store that keeps it.
//!
//! Every act goes the same way: read the account, decide by a pure rule, commit on the condition that nobody was faster,
//! and only then tell the engine. A lost race is decided anew. What a caller is told has been durable before.

mod credit;
mod others;
mod people;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    deadline::{Deadline, Late},
    engine::{
        Account, AccountId, Act, ActivationName, ActivationNames, Engine, Entry, Moment, Refusal, RenewalName, Session,
        TokenHash, Tokens,
    },
    entropy::{Entropy, draw},
    store::{Actor, Commit, Owned, Store, StoreError},
    time::{Clock, MeterTime, Millis, UnixMs},
    wire::{EndReason, FrameError, SessionId, SessionKey},
};

pub use super::commits::Witness;
use super::{
    audit::{self, AuditLog, Deed},
    commits::{CommitError, Commits},
    keys::KeyError,
    peers::Peers,
    status::{StatusKeeper, Ticket},
    tokens::{Issuer, TokenRequest, session_of},
    turns::{LineFull, Turn},
};

/// How often an act is decided anew before its caller is told to come back.
const ATTEMPTS: usize = 8;

/// How long an act may take, with all that it waits for; and all acts that one request brings about together.
pub const ACT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is asked whether other nodes have told what they heard of a session that has lapsed, and how many times.
const ASK_AGAIN: (Duration, usize) = (Duration::from_millis(100), 40);

/// Why an act was not done. Nothing has changed, except where it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such account, session or key.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The credentials are wrong.
    #[error("the credentials are wrong")]
    BadCredentials,
    /// The frame of a renewal is not one.
    #[error("the frame is not valid")]
    BadFrame(FrameError),
    /// The same name was given to another entry before.
    #[error("this id was used before, for another amount or account")]
    IdReused,
    /// The provider has told that this person is gone.
    #[error("the person is gone")]
    Gone,
    /// As much credit is held for somebody who has no account as may be.
    #[error("too much is held for this identity")]
    HeldFull,
    /// The store failed. This act was not done; what it takes several steps to do may have been done in part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed when the act was to be written. It may have been done, or be done yet.
    #[error("it is not known whether it was done: {0}")]
    Unknown(StoreError),
    /// It had to wait too long.
    #[error(transparent)]
    Late(#[from] Late),
    /// Another node has not told yet what it has heard of the account's session.
    #[error("the other nodes have not told yet what they have heard of a session")]
    Untold,
    /// Others were faster every time.
    #[error("too many acts on this account at the same time")]
    Contended,
    /// A token could not be signed.
    #[error(transparent)]
    Signing(#[from] KeyError),
}

/// What came of an activation.
pub struct Activation {
    /// The new session.
    pub session: SessionId,
    /// Its heartbeat key.
    pub key: SessionKey,
    /// Its token.
    pub token: Token,
    /// Meter time of the activation.
    pub now: MeterTime,
    /// What is left to burn.
    pub remaining: Millis,
    /// Whether another session ended for it.
    pub superseded: bool,
}

/// A token and how long it lives.
pub struct Token {
    /// The token.
    pub text: String,
    /// How long it lives from now.
    pub expires_in: Millis,
}

/// What came of a renewal.
pub struct Renewal {
    /// The new token. The old one is dead.
    pub token: Token,
    /// What is left to burn.
    pub remaining: Millis,
}

/// What came of entering credit.
#[derive(Debug)]
pub struct Credited {
    /// The entry; of a repeated one, the entry it repeats.
    pub entry: Entry,
    /// What is left to burn.
    pub remaining: Millis,
    /// Whether it had been entered before.
    pub repeated: bool,
}

/// An account as it stands at a moment.
#[derive(Debug)]
pub struct View {
    /// The account and whose it is.
    pub owned: Owned,
    /// The moment.
    pub moment: Moment,
    /// What is left to burn.
    pub remaining: Millis,
}

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

    /// Opens a session for an account, in place of the one that is open.
    ///
    /// # Errors
    ///
    /// [`ActError::Refused`] when the tank is empty, [`ActError::NotFound`], [`ActError::Store`].
    pub async fn activate(&self, account: &AccountId, audience: &str) -> Result<Activation, ActError> {
        self.activate_named(account, audience, None).await
    }

    /// The same, under a name: while the session is open that it opened, a repeated activation answers that session with
    /// another token, and opens nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Self::activate`]; [`ActError::Refused`] as well for a repeated one that may not be answered again.
    pub async fn activate_named(
        &self,
        account: &AccountId,
        audience: &str,
        name: Option<ActivationName>,
    ) -> Result<Activation, ActError> {
        let policy = *self.engine.policy();
        let mut ticket = self.in_time(self.statuses.draw()).await?;
        let outcome = self
            .act(account, |account, moment| {
                let again = name.map(|name| account.may_answer_again(moment, &policy, name, audience)).transpose()?;
                if let Some((known, remaining)) = again.flatten() {
                    let (text, tokens) = self.token(known.id, account.id, audience, moment, remaining, &mut ticket)?;
                    let tokens = Tokens {
                        previous: Some(known.tokens.current),
                        renewed: Some(RenewalName::ANSWERED_AGAIN),
                        ..tokens
                    };
                    let answer = (known.id, text, remaining, known.names.superseded);
                    return Ok(Decision::Write(account.renew(tokens), answer));
                }
                let remaining = account.may_activate(moment, &policy)?;
                let (secret, _) = self.engine.secrets().current();
                let id = SessionId::new(secret, draw(&*self.entropy));
                let (text, tokens) = self.token(id, account.id, audience, moment, remaining, &mut ticket)?;
                let session = Session {
                    id,
                    started: moment.now,
                    started_at: moment.wall,
                    audience: audience.to_owned(),
                    tokens,
                    names: ActivationNames::default(),
                    end: None,
                };
                let mut act = account.activate(moment, &policy, session);
                let superseded = act.closes.is_some_and(|(_, end)| end.reason == EndReason::Superseded);
                if let Some(session) = &mut act.opens {
                    let before = account.session.as_ref().map(|before| &before.names);
                    session.names = ActivationNames::then(before, name, superseded);
                }
                Ok(Decision::Write(act, (id, text, remaining, superseded)))
            })
            .await?;
        let (session, text, remaining, superseded) = outcome.answer;
        // It was given the current secret, now or when it was opened; then that may have been retired since.
        let key = self.engine.secrets().session_key(&session).ok_or(ActError::NotFound("session"))?;
        let token = self.live(text, &outcome.account, &outcome.moment);
        Ok(Activation { session, key, token, now: outcome.moment.now, remaining, superseded })
    }

    /// Gives the current session of a token another token. `frame` proves that the client holds the session's key.
    ///
    /// # Errors
    ///
    /// [`ActError::BadFrame`], [`ActError::BadCredentials`], [`ActError::Refused`] with the reason the session ended for,
    /// [`ActError::Store`].
    pub async fn renew(&self, token: &str, frame: &[u8]) -> Result<Renewal, ActError> {
        let (session, name) = self.engine.renewal(frame, self.clock.now()).map_err(ActError::BadFrame)?;
        if session_of(token.as_bytes()) != Some(session) {
            return Err(ActError::BadCredentials);
        }
        let record = self.in_time(self.store.session(&session)).await?.ok_or(ActError::BadCredentials)?;
        if let Some(end) = record.end {
            return Err(Refusal::SessionEnded(end.reason).into());
        }
        let policy = *self.engine.policy();
        let presented = TokenHash::of(token.as_bytes());
        let mut ticket = self.in_time(self.statuses.draw()).await?;
        let outcome = self
            .act(&record.account, |account, moment| {
                let (known, remaining) = account.may_renew(moment, &policy, session, presented, name)?;
                let (text, tokens) =
                    self.token(session, account.id, &known.audience, moment, remaining, &mut ticket)?;
                let tokens = Tokens { previous: Some(presented), renewed: Some(name), ..tokens };
                Ok(Decision::Write(account.renew(tokens), (text, remaining)))
            })
            .await;
        match outcome {
            Ok(outcome) => {
                let (text, remaining) = outcome.answer;
                Ok(Renewal { token: self.live(text, &outcome.account, &outcome.moment), remaining })
            }
            // The session ended between the two reads.
            Err(ActError::Refused(Refusal::WrongToken)) => {
                match self.store.session(&session).await?.and_then(|s| s.end) {
                    Some(end) => Err(Refusal::SessionEnded(end.reason).into()),
                    None => Err(ActError::BadCredentials),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the open session of an account, if there is one. Answers what is left to burn.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] and [`ActError::Store`].
    pub async fn end(&self, account: &AccountId, reason: EndReason) -> Result<Millis, ActError> {
        self.end_only(account, reason, None).await
    }

    /// The same; if a session is named, only if it is the one that is open.
    ///
    /// # Errors
    ///
    /// Those of [`Self::end`].
    pub async fn end_only(
        &self,
        account: &AccountId,
        reason: EndReason,
        only: Option<SessionId>,
    ) -> Result<Millis, ActError> {
        let policy = *self.engine.policy();
        let outcome = self
            .act(account, |account, moment| {
                let meant = account.open().is_some_and(|open| only.is_none_or(|only| only == open.id));
                Ok(meant.then(|| account.end(moment, &policy, reason)).flatten().into())
            })
            .await?;
        Ok(outcome.account.remaining(&outcome.moment, policy.timeout))
    }

    /// Revokes a session. Answers what its account has left. A session that is over stays as it is.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] and [`ActError::Store`].
    pub async fn revoke(&self, session: &SessionId) -> Result<Millis, ActError> {
        let record = self.in_time(self.store.session(session)).await?.ok_or(ActError::NotFound("session"))?;
        let policy = *self.engine.policy();
        let outcome = self
            .act(&record.account, |account, moment| {
                let open = account.open().is_some_and(|open| open.id == *session);
                Ok(open.then(|| account.end(moment, &policy, EndReason::Revoked)).flatten().into())
            })
            .await?;
        Ok(outcome.account.remaining(&outcome.moment, policy.timeout))
    }

    /// Revokes the session that a token is the current one of, if it is for this audience. Any other token changes nothing.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`]; the token lives on then, as far as anybody knows.
    pub async fn revoke_token(&self, token: &str, audience: &str) -> Result<(), ActError> {
        let Some(id) = session_of(token.as_bytes()) else { return Ok(()) };
        let Some(record) = self.store.session(&id).await?.filter(|record| record.end.is_none()) else { return Ok(()) };
        let (hash, policy) = (TokenHash::of(token.as_bytes()), *self.engine.policy());
        let revoked = self
            .act(&record.account, |account, moment| {
                let open = account
                    .open()
                    .filter(|open| open.id == id && open.audience == audience && open.tokens.current == hash);
                let ends = open.is_some();
                Ok(ends.then(|| account.end(moment, &policy, EndReason::Revoked)).flatten().into())
            })
            .await;
        match revoked {
            Ok(_) | Err(ActError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the open session of an account, if it was opened before `at`.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`].
    pub async fn log_out(&self, account: &AccountId, at: UnixMs) -> Result<(), ActError> {
        let policy = *self.engine.policy();
        let ended = self
            .act(account, |account, moment| {
                let before = account.open().is_some_and(|open| open.started_at < at);
                Ok(before.then(|| account.end(moment, &policy, EndReason::LoggedOut)).flatten().into())
            })
            .await;
        match ended {
            Ok(_) | Err(ActError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
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

    fn token(
        &self,
        session: SessionId,
        account: AccountId,
        audience: &str,
        moment: &Moment,
        remaining: Millis,
        ticket: &mut Ticket,
    ) -> Result<(String, Tokens), KeyError> {
        let ttl = self.engine.policy().token_ttl(remaining);
        let (nonce, status) = (draw(&*self.entropy), ticket.redeem());
        let issued =
            self.issuer.issue(&TokenRequest { session, account, audience, now: moment.wall, ttl, nonce, status })?;
        let tokens = Tokens {
            current: issued.hash,
            previous: None,
            expires_at: issued.expires_at,
            expires: Some(moment.now.plus(issued.expires_at.since(moment.wall))),
            renewed: None,
            status,
        };
        Ok((issued.text, tokens))
    }

    fn live(&self, text: String, account: &Account, moment: &Moment) -> Token {
        let expires_at = account.session.as_ref().map_or(moment.wall, |session| session.tokens.expires_at);
        Token { text, expires_in: expires_at.since(moment.wall) }
    }
}

impl From<CommitError> for ActError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotDone(error) => Self::Store(error),
            CommitError::Unknown(error) => Self::Unknown(error),
        }
    }
}

impl From<Option<Act>> for Decision<()> {
    fn from(act: Option<Act>) -> Self {
        act.map_or(Self::Nothing(()), |act| Self::Write(act, ()))
    }
}
