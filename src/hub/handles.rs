//! Handles: what a client has for one hub session. One is over when its session is, and when it is revoked.

use std::sync::Arc;

use crate::{
    control::audit::Deed,
    engine::AccountId,
    store::{
        Actor, ActorKind, Added, AuditAct, HandleRecord, HubClient, HubSessionId, Participant, Redeemed, Removed,
        SecretDigest, StoreError, Surface,
    },
    time::{Millis, UnixMs},
};

use super::{
    cache::CachedHandle,
    secret::Handle,
    sessions::{HubError, HubSession, HubSessions, Shared},
};

/// Live handles of one session and client: two tabs that sign in at once both work. One more, and the oldest ends.
const MAX_HANDLES: usize = 4;
/// How long it is remembered that a code has been redeemed: for longer than any is good.
const REMEMBERED: Millis = Millis::from_secs(600);

/// A handle that is not over.
#[derive(Clone, Debug)]
pub struct LiveHandle {
    /// The client that it was given to.
    pub client_id: String,
    /// What it is good for.
    pub scope: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// Its hub session.
    pub session: HubSession,
}

impl LiveHandle {
    /// Whether it is good for this.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|known| known == scope)
    }
}

impl HubSessions {
    /// Redeems a code for a handle of a session. `None` if the code was redeemed before, and then what it was redeemed for
    /// ends; or if the session is over.
    pub(super) async fn redeem(
        &self,
        code: &SecretDigest,
        session: &SecretDigest,
        client: &HubClient,
        scope: &str,
    ) -> Result<Option<(Handle, HubSession)>, HubError> {
        let (code, shared) = (*code, self.shared());
        let Some(session) = shared.read(session).await? else { return Ok(None) };
        let now = shared.clock.wall();
        if shared.is_over(&session, now) {
            return Ok(None);
        }
        let handle = Handle::new(&*shared.entropy);
        let record = HandleRecord {
            digest: handle.digest(),
            account: session.owner.account,
            session: session.digest,
            client_id: client.client_id.clone(),
            scope: scope.to_owned(),
            created_at: now,
            ends_at: session.ends_at,
        };
        let participant = client.backchannel_logout_uri.is_some().then(|| Participant {
            session: session.digest,
            account: record.account,
            client_id: record.client_id.clone(),
            ends_at: session.ends_at,
        });
        let made = self
            .change(record.account, async move |shared| {
                let account = record.account;
                let until = now.plus(REMEMBERED);
                if let Some(participant) = &participant
                    && shared.store.add_participant(participant, now).await? == Added::AccountGone
                {
                    return Err(HubError::NoSuchAccount);
                }
                // The handle comes first: whoever redeems the code once more finds it, and ends it.
                if shared.store.add_handle(&record).await? == Added::AccountGone {
                    return Err(HubError::NoSuchAccount);
                }
                match shared.store.redeem_code(&code, &account, &record.digest, now, until).await? {
                    Redeemed::Now => {}
                    Redeemed::Before(of, first) => {
                        // Somebody else has it too: nobody is to have anything by it (RFC 6749, 4.1.2).
                        shared.end_handle(&of, &first).await?;
                        shared.end_handle(&account, &record.digest).await?;
                        return Ok(false);
                    }
                }
                // What ends the session from here on finds the participant.
                let still = shared.read(&record.session).await?;
                if still.is_none_or(|session| shared.is_over(&session, shared.clock.wall())) {
                    return Ok(false);
                }
                shared.end_oldest_handles(&record).await?;
                let actor = Actor::named(ActorKind::HubClient, record.client_id.as_str(), Surface::Http);
                let session = HubSessionId::of(&record.session).to_string();
                shared.audit.write(&actor, Deed::to(AuditAct::HandleIssued, session).on(account)).await?;
                Ok(true)
            })
            .await?;
        Ok(made.then(|| (handle, shared.view(&session))))
    }

    /// What a handle is good for, unless it is over. That it is asked for is a use of its session.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when nobody can tell: the handle is not over by that.
    pub async fn find_handle(&self, handle: &Handle) -> Result<Option<LiveHandle>, StoreError> {
        let shared = self.shared();
        let (digest, now) = (handle.digest(), shared.clock.wall());
        let known = shared.cache.find_handle(&digest).filter(|_| shared.bus.is_current());
        let found = match known.filter(|handle| !shared.is_idle(&handle.session, now)) {
            Some(found) => found,
            None => match shared.read_handle(&digest).await? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if now >= found.record.ends_at || shared.is_over(&found.session, now) {
            return Ok(None);
        }
        shared.see(&found.session, now);
        Ok(Some(LiveHandle {
            client_id: found.record.client_id.clone(),
            scope: found.record.scope.clone(),
            created_at: found.record.created_at,
            session: shared.view(&found.session),
        }))
    }

    /// Ends a handle of a client. One that is another client's, or none, is left alone.
    ///
    /// # Errors
    ///
    /// [`HubError::Store`].
    pub async fn end_handle(&self, handle: &Handle, client_id: &str) -> Result<(), HubError> {
        let digest = handle.digest();
        let found = self.shared().store.handle(&digest).await?;
        let Some(found) = found.filter(|found| found.handle.client_id == client_id) else { return Ok(()) };
        let account = found.handle.account;
        self.change(account, async move |shared| shared.end_handle(&account, &digest).await).await
    }
}

impl Shared {
    async fn end_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<(), HubError> {
        match self.store.remove_handle(account, digest).await? {
            Removed::Done | Removed::NotThere => Ok(()),
        }
    }

    /// Ends the oldest handles of a session and client that has too many.
    async fn end_oldest_handles(&self, latest: &HandleRecord) -> Result<(), HubError> {
        let handles = self.store.handles(&latest.account).await?;
        let of_both = |handle: &&HandleRecord| {
            (handle.session, &handle.client_id) == (latest.session, &latest.client_id) && handle.digest != latest.digest
        };
        let others: Vec<_> = handles.iter().filter(of_both).collect();
        for handle in others.iter().take((others.len() + 1).saturating_sub(MAX_HANDLES)) {
            self.end_handle(&latest.account, &handle.digest).await?;
        }
        Ok(())
    }

    async fn read_handle(&self, digest: &SecretDigest) -> Result<Option<Arc<CachedHandle>>, StoreError> {
        let since = self.cache.generations();
        let found = self.store.handle(digest).await?;
        let keep = self.bus.is_current();
        Ok(found.map(
            |found| {
                if keep { self.cache.learn_handle(&since, found) } else { Arc::new(CachedHandle::new(found)) }
            },
        ))
    }
}
