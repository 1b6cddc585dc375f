//! Hub sessions: begun by a sign-in, found by their secret, ended one by one, all others, or everywhere.
//!
//! * A session is over when its row is gone, at its absolute end, when it has not been used for the idle time-out, or when its
//!   person's epoch has been raised since it began. All but the first are checked on each validation.
//! * *Everywhere* is one write, the epoch. A sign-in takes the epoch that it read before it made the session, so a session
//!   that is being made meanwhile is over.
//! * A validation never writes. When a session was used is written behind, so another node, or this one after a restart, may
//!   know of a use a little later; before a session is called idle, the store is asked.
//! * What changes something goes on when its caller goes away: the cache must not be left behind the store.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    control::{
        audit::{AuditLog, Deed},
        hooks::events::SignIns,
    },
    deadline,
    engine::AccountId,
    entropy::Entropy,
    store::{
        Actor, ActorKind, Added, AuditAct, Authentication, DeviceText, FoundHubSession, HubSessionId, HubSessionRecord,
        HubSighting, Identity, Person, Profile, Removed, Replaced, SecretDigest, Store, StoreError, Surface,
    },
    time::{Clock, Millis, UnixMs},
};

use super::{
    bus::Bus,
    cache::{CachedSession, TokenCache},
    secret::SessionSecret,
};

/// Hub sessions that a person may have at a time: one more, and the oldest ends.
pub(super) const MAX_SESSIONS: usize = 64;
/// Sightings that wait to be written, at most. One that is dropped is noted again by a later use.
const MAX_SIGHTINGS: usize = 1 << 16;
/// How often a profile is replaced anew because others replaced it meanwhile.
const TRIES: usize = 8;
/// How often a use of a session is written, at the most; or ten times in an idle time-out, if that is more.
const SEEN_EVERY: Millis = Millis::from_secs(60);

/// Why something was not done to hub sessions.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The account has been deleted, or there never was one.
    #[error("there is no such account")]
    NoSuchAccount,
    /// The provider's session that somebody signed in from has ended there meanwhile.
    #[error("the session at the identity provider has ended")]
    EndedAtProvider,
    /// The store failed, or others changed the same at the same time. Nobody is signed out by it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long hub sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// From the sign-in on, however much the session is used.
    pub absolute: Millis,
    /// Since the last use.
    pub idle: Millis,
}

/// A sign-in that has been verified.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Whose.
    pub account: AccountId,
    /// Who they are at their identity provider.
    pub identity: Identity,
    /// What the provider says of them.
    pub profile: Profile,
    /// When they proved to the provider who they are, if it tells.
    pub auth_time: Option<UnixMs>,
    /// The class of that (`acr`).
    pub acr: Option<String>,
    /// The methods of that (`amr`).
    pub amr: Vec<String>,
    /// What the provider calls its session (`sid`). A name of more than 256 bytes is not kept.
    pub provider_sid: Option<String>,
    /// The device, as the person will recognise it.
    pub device: DeviceText,
}

/// A hub session that is not over.
#[derive(Clone, Debug)]
pub struct HubSession {
    /// What it is called in lists, forms and ID tokens. Not its secret.
    pub id: HubSessionId,
    /// Whose it is.
    pub account: AccountId,
    /// Who they are at their identity provider.
    pub identity: Arc<Identity>,
    /// What is known of them.
    pub profile: Arc<Profile>,
    /// The device it began on.
    pub device: DeviceText,
    /// When it began.
    pub created: UnixMs,
    /// When it was last used.
    pub last_seen: UnixMs,
    /// How and when the person signed in: `auth_time`, `acr`, `amr`.
    pub authentication: Arc<Authentication>,
    /// What the provider calls its session.
    pub provider_sid: Option<Arc<str>>,
    /// When it ends, however much it is used.
    pub absolute_end: UnixMs,
    /// When it ends unless it is used.
    pub idle_end: UnixMs,
    /// The person's epoch when it began.
    pub epoch: u64,
}

impl HubSession {
    /// What the person is called on pages.
    pub(super) fn shown_name(&self) -> &str {
        let profile = &self.profile;
        let name = [&profile.name, &profile.preferred_username, &profile.email].into_iter().flatten().next();
        name.unwrap_or(&self.identity.subject)
    }

    /// The person, as the audit log names who does something by this session.
    pub fn actor(&self) -> Actor {
        owner(Some(&self.id))
    }
}

/// All hub sessions. Cheap to clone.
#[derive(Clone)]
pub struct HubSessions(Arc<Shared>);

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) audit: AuditLog,
    pub(super) bus: Arc<dyn Bus>,
    lifetimes: Lifetimes,
    pub(super) cache: TokenCache,
    /// Whoever delivers the outbox is woken by this.
    pub(super) ended: Notify,
    /// The latest use of sessions, to be written.
    sightings: Mutex<HashMap<SecretDigest, HubSighting>>,
}

impl HubSessions {
    /// The hub sessions in this store.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        bus: Arc<dyn Bus>,
        lifetimes: Lifetimes,
    ) -> Self {
        let audit = AuditLog::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy));
        let (cache, ended, sightings) = (TokenCache::new(), Notify::new(), Mutex::default());
        Self(Arc::new(Shared { store, clock, entropy, audit, bus, lifetimes, cache, ended, sightings }))
    }

    /// Begins a session after a sign-in. `replaces` is the session that the browser had before: it ends, whoever it is of.
    ///
    /// # Errors
    ///
    /// [`HubError::NoSuchAccount`], [`HubError::EndedAtProvider`] and [`HubError::Store`].
    pub async fn begin(
        &self,
        sign_in: SignIn,
        replaces: Option<&SessionSecret>,
    ) -> Result<(SessionSecret, HubSession), HubError> {
        let shared = &self.0;
        let SignIn { account, identity, profile, auth_time, acr, amr, provider_sid, device } = sign_in;
        // The epoch is read before the session is made: an end of all sessions from here on is an end of this one.
        let person = shared.person(&account).await?;
        let secret = SessionSecret::new(&*shared.entropy);
        let created_at = shared.clock.wall();
        let record = HubSessionRecord {
            digest: secret.digest(),
            account,
            created_at,
            ends_at: created_at.plus(shared.lifetimes.absolute),
            last_seen: created_at,
            authentication: Authentication::new(auth_time, acr.as_deref(), &amr),
            issuer: identity.issuer.clone(),
            provider_sid: provider_sid.filter(|sid| sid.len() <= HubSessionRecord::MAX_SID),
            device,
            epoch: person.epoch,
        };
        let made = record.clone();
        let person = self
            .change(account, async move |shared| {
                let person = shared.keep_profile(&account, person, profile).await?;
                if shared.store.add_hub_session(&made).await? == Added::AccountGone {
                    return Err(HubError::NoSuchAccount);
                }
                shared.log(AuditAct::HubSignedIn, &account, &made.digest).await?;
                Ok(person)
            })
            .await?;
        if let Some(before) = replaces {
            self.end_replaced(before).await?;
        }
        if let Some(sid) = &record.provider_sid
            && shared.has_ended(&record.issuer, sid).await?
        {
            match self.remove(account, record.digest, provider(&record.issuer)).await? {
                Removed::Done | Removed::NotThere => return Err(HubError::EndedAtProvider),
            }
        }
        self.end_oldest(&account).await?;
        let found = FoundHubSession { session: record, person, identity };
        let session = CachedSession::new(found);
        Ok((secret, shared.view(&session)))
    }

    /// The session with this secret, unless it is over. That it is asked for is a use of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when nobody can tell: the session is not over by that.
    pub async fn find(&self, secret: &SessionSecret) -> Result<Option<HubSession>, StoreError> {
        let shared = &self.0;
        let (digest, now) = (secret.digest(), shared.clock.wall());
        let known = shared.cache.find(&digest).filter(|_| shared.bus.is_current());
        let session = match known.filter(|session| !shared.is_idle(session, now)) {
            Some(session) => session,
            None => match shared.read(&digest).await? {
                Some(session) => session,
                None => return Ok(None),
            },
        };
        if shared.is_over(&session, now) {
            return Ok(None);
        }
        shared.see(&session, now);
        Ok(Some(shared.view(&session)))
    }

    /// The sessions of an account that are not over, the latest first.
    ///
    /// # Errors
    ///
    /// [`HubError::NoSuchAccount`] and [`HubError::Store`].
    pub async fn list(&self, account: &AccountId) -> Result<Vec<HubSession>, HubError> {
        let mut sessions = self.0.live(account).await?;
        sessions.reverse();
        Ok(sessions.iter().map(|session| self.0.view(session)).collect())
    }

    /// Ends a session of an account.
    ///
    /// # Errors
    ///
    /// [`HubError::Store`].
    pub async fn end(&self, account: &AccountId, id: &HubSessionId) -> Result<Removed, HubError> {
        let sessions = self.0.store.hub_sessions(account).await?;
        match sessions.iter().find(|session| HubSessionId::of(&session.digest) == *id) {
            Some(session) => self.remove(*account, session.digest, owner(Some(id))).await,
            None => Ok(Removed::NotThere),
        }
    }

    /// Ends all sessions of an account but one.
    ///
    /// # Errors
    ///
    /// [`HubError::Store`]; some may have ended.
    pub async fn end_others(&self, account: &AccountId, keep: &HubSessionId) -> Result<(), HubError> {
        let sessions = self.0.store.hub_sessions(account).await?;
        for session in sessions.iter().filter(|session| HubSessionId::of(&session.digest) != *keep) {
            match self.remove(*account, session.digest, owner(Some(keep))).await? {
                Removed::Done | Removed::NotThere => {}
            }
        }
        Ok(())
    }

    /// Ends all sessions of an account, also those that are being made.
    ///
    /// # Errors
    ///
    /// [`HubError::NoSuchAccount`] and [`HubError::Store`].
    pub async fn end_everywhere(&self, account: &AccountId) -> Result<(), HubError> {
        self.end_everywhere_by(account, owner(None)).await
    }

    /// The same, for `actor`.
    ///
    /// # Errors
    ///
    /// [`HubError::NoSuchAccount`] and [`HubError::Store`].
    pub(super) async fn end_everywhere_by(&self, account: &AccountId, actor: Actor) -> Result<(), HubError> {
        let account = *account;
        self.change(account, async move |shared| {
            shared.store.raise_epoch(&account).await?.ok_or(HubError::NoSuchAccount)?;
            shared.ended.notify_one();
            Ok(shared.audit.write(&actor, Deed::new(AuditAct::HubSignedOutEverywhere).on(account)).await?)
        })
        .await
    }

    /// Ends the sessions that began from a session of an identity provider. Answers how many there were.
    ///
    /// # Errors
    ///
    /// [`HubError::Store`]; some may have ended.
    pub async fn end_of_provider(&self, issuer: &str, sid: &str, subject: Option<&str>) -> Result<usize, HubError> {
        let mut sessions = self.0.store.hub_sessions_of_provider(issuer, sid).await?;
        if let Some(subject) = subject {
            let identity = Identity { issuer: issuer.to_owned(), subject: subject.to_owned() };
            let account = self.0.store.account_of(&identity).await?;
            sessions.retain(|session| Some(session.account) == account);
        }
        let mut ended = 0;
        for session in sessions {
            match self.remove(session.account, session.digest, provider(issuer)).await? {
                Removed::Done => ended += 1,
                Removed::NotThere => {}
            }
        }
        Ok(ended)
    }

    /// Something of an account has changed in the store, by whomever: what is in memory of it is read again.
    pub fn forget(&self, account: &AccountId) {
        self.0.cache.forget(account);
        self.0.ended.notify_one();
    }

    /// Writes when sessions were last used. To be called now and then, and before the service stops.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what was not written waits for the next call.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let waiting: Vec<_> = std::mem::take(&mut *self.0.sightings.lock()).into_values().collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let written = self.0.store.see_hub_sessions(&waiting).await;
        if written.is_err() {
            let mut sightings = self.0.sightings.lock();
            let room = MAX_SIGHTINGS.saturating_sub(sightings.len());
            for seen in waiting.into_iter().take(room) {
                sightings.entry(seen.digest).or_insert(seen);
            }
        }
        written
    }

    /// Lets go of what is over, in memory and then in the store, `most` at a time. `false` if there is more in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn tidy(&self, most: usize) -> Result<bool, StoreError> {
        let now = self.0.clock.wall();
        self.0.cache.tidy(now);
        Ok(self.0.store.prune_hub_sessions(now, most).await? < most)
    }

    /// Ends the session that a browser had before. One that is of somebody else is theirs no more in this browser.
    async fn end_replaced(&self, before: &SessionSecret) -> Result<(), HubError> {
        let digest = before.digest();
        if let Some(found) = self.0.store.hub_session(&digest).await? {
            match self.remove(found.session.account, digest, Actor::system()).await? {
                Removed::Done | Removed::NotThere => {}
            }
        }
        Ok(())
    }

    /// Ends the oldest sessions of who has too many.
    async fn end_oldest(&self, account: &AccountId) -> Result<(), HubError> {
        let sessions = self.0.live(account).await?;
        for session in sessions.iter().take(sessions.len().saturating_sub(MAX_SESSIONS)) {
            match self.remove(*account, session.digest, Actor::system()).await? {
                Removed::Done | Removed::NotThere => {}
            }
        }
        Ok(())
    }

    async fn remove(&self, account: AccountId, digest: SecretDigest, actor: Actor) -> Result<Removed, HubError> {
        self.change(account, async move |shared| {
            let removed = shared.store.remove_hub_session(&account, &digest).await?;
            if removed == Removed::Done {
                shared.ended.notify_one();
                let id = HubSessionId::of(&digest).to_string();
                shared.audit.write(&actor, Deed::to(AuditAct::HubSignedOut, id).on(account)).await?;
            }
            Ok(removed)
        })
        .await
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Changes something of a person in the store, and then in memory, even if the caller goes away. The other nodes are told
    /// first.
    pub(super) async fn change<T, F>(
        &self,
        account: AccountId,
        work: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    ) -> Result<T, HubError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HubError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        let changing = tokio::spawn(deadline::carry(async move {
            shared.bus.announce(&account).await?;
            let done = work(Arc::clone(&shared)).await;
            // Also where it failed: it may have been written.
            shared.cache.forget(&account);
            done
        }));
        changing.await.expect("a change does not panic, and the runtime outlives its requests")
    }
}

/// The owner of an account, by a hub session.
fn owner(id: Option<&HubSessionId>) -> Actor {
    Actor { kind: ActorKind::HubSession, name: id.map(ToString::to_string), surface: Surface::Http }
}

/// An identity provider that tells something.
pub(super) fn provider(issuer: &str) -> Actor {
    Actor::named(ActorKind::Provider, issuer, Surface::Hooks)
}

/// People change their password at their provider: what they had before is over.
#[async_trait]
impl SignIns for HubSessions {
    async fn end_all(&self, account: &AccountId, by: &Actor) -> Result<(), StoreError> {
        match self.end_everywhere_by(account, by.clone()).await {
            Ok(()) | Err(HubError::NoSuchAccount | HubError::EndedAtProvider) => Ok(()),
            Err(HubError::Store(error)) => Err(error),
        }
    }
}

impl Shared {
    async fn person(&self, account: &AccountId) -> Result<Person, HubError> {
        self.store.person(account).await?.ok_or(HubError::NoSuchAccount)
    }

    /// Keeps what the provider says of a person, if it is new. The person as they are now.
    async fn keep_profile(
        &self,
        account: &AccountId,
        mut person: Person,
        profile: Profile,
    ) -> Result<Person, HubError> {
        for _ in 0..TRIES {
            if person.profile == profile {
                return Ok(person);
            }
            match self.store.put_profile(account, person.version, &profile).await? {
                Replaced::Done => {
                    return Ok(Person { version: person.version.saturating_add(1), profile, ..person });
                }
                Replaced::Outdated => person = self.person(account).await?,
            }
        }
        Err(StoreError::Unavailable("others kept changing the profile".to_owned()).into())
    }

    pub(super) async fn read(&self, digest: &SecretDigest) -> Result<Option<Arc<CachedSession>>, StoreError> {
        let since = self.cache.generations();
        let found = self.store.hub_session(digest).await?;
        // Of what others have changed meanwhile, nobody would tell.
        let keep = self.bus.is_current();
        Ok(found.map(|found| if keep { self.cache.learn(&since, found) } else { Arc::new(CachedSession::new(found)) }))
    }

    /// The sessions of an account that are not over, the oldest first.
    async fn live(&self, account: &AccountId) -> Result<Vec<CachedSession>, HubError> {
        let person = self.person(account).await?;
        let identity = self.store.account(account).await?.and_then(|owned| owned.identity);
        let identity = identity.ok_or(HubError::NoSuchAccount)?;
        let (sessions, now) = (self.store.hub_sessions(account).await?, self.clock.wall());
        let seen = sessions.into_iter().map(|session| {
            // A use that is not written yet is known here.
            let used = self.cache.find(&session.digest).map_or(session.last_seen, |known| known.last_seen());
            let session = HubSessionRecord { last_seen: session.last_seen.max(used), ..session };
            let found = FoundHubSession { session, person: person.clone(), identity: identity.clone() };
            CachedSession::new(found)
        });
        Ok(seen.filter(|session| !self.is_over(session, now)).collect())
    }

    pub(super) fn is_idle(&self, session: &CachedSession, now: UnixMs) -> bool {
        now.since(session.last_seen()) >= self.lifetimes.idle
    }

    pub(super) fn is_over(&self, session: &CachedSession, now: UnixMs) -> bool {
        now >= session.ends_at || self.is_idle(session, now) || session.epoch < session.owner.epoch
    }

    fn seen_every(&self) -> Millis {
        SEEN_EVERY.min(Millis::new(self.lifetimes.idle.get() / 10))
    }

    /// A session is used now. That is written now and then.
    pub(super) fn see(&self, session: &CachedSession, now: UnixMs) {
        if session.see(now, self.seen_every()) {
            self.note(session, now);
        }
    }

    fn note(&self, session: &CachedSession, at: UnixMs) {
        let seen = HubSighting { account: session.owner.account, digest: session.digest, at, ends_at: session.ends_at };
        let mut sightings = self.sightings.lock();
        if sightings.len() < MAX_SIGHTINGS {
            sightings.insert(seen.digest, seen);
        }
    }

    async fn log(&self, act: AuditAct, account: &AccountId, of: &SecretDigest) -> Result<(), HubError> {
        let id = HubSessionId::of(of);
        Ok(self.audit.write(&owner(Some(&id)), Deed::to(act, id.to_string()).on(*account)).await?)
    }

    pub(super) fn view(&self, session: &CachedSession) -> HubSession {
        let last_seen = session.last_seen();
        HubSession {
            id: session.id,
            account: session.owner.account,
            identity: Arc::clone(&session.owner.identity),
            profile: Arc::clone(&session.owner.profile),
            device: session.device.clone(),
            created: session.created_at,
            last_seen,
            authentication: Arc::clone(&session.authentication),
            provider_sid: session.provider_sid.clone(),
            absolute_end: session.ends_at,
            idle_end: session.ends_at.min(last_seen.plus(self.lifetimes.idle)),
            epoch: session.epoch,
        }
    }
}
