//! What the hub keeps, in memory.

use super::*;

#[async_trait]
impl HubStore for MemoryStore {
    async fn person(&self, account: &AccountId) -> Result<Option<Person>> {
        Ok(self.0.lock().person(account))
    }

    async fn put_profile(&self, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
        let mut tables = self.0.lock();
        let Some(known) = tables.person(account).filter(|known| known.version == version) else {
            return Ok(Replaced::Outdated);
        };
        tables.people.insert(*account, Person { version: version + 1, profile: profile.clone(), ..known });
        Ok(Replaced::Done)
    }

    async fn raise_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        let mut tables = self.0.lock();
        let Some(known) = tables.person(account) else { return Ok(None) };
        let epoch = known.epoch + 1;
        tables.people.insert(*account, Person { epoch, ..known });
        tables.end_participants(|of| of.account == *account, true);
        Ok(Some(epoch))
    }

    async fn add_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        let mut tables = self.0.lock();
        let alive = tables.person(&session.account).is_some();
        if alive {
            tables.hub_sessions.entry(session.digest).or_insert_with(|| session.clone());
        }
        Ok(Added::when(alive))
    }

    async fn hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        Ok(self.0.lock().hub_session(digest))
    }

    async fn hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        let tables = self.0.lock();
        let mut sessions: Vec<_> =
            tables.hub_sessions.values().filter(|session| session.account == *account).cloned().collect();
        sessions.sort_by_key(|session| (session.created_at, session.digest));
        Ok(sessions)
    }

    async fn hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        let tables = self.0.lock();
        let of_it = |session: &&HubSessionRecord| {
            (session.issuer.as_str(), session.provider_sid.as_deref()) == (issuer, Some(sid))
        };
        Ok(tables.hub_sessions.values().filter(of_it).cloned().collect())
    }

    async fn see_hub_sessions(&self, sightings: &[HubSighting]) -> Result<()> {
        let mut tables = self.0.lock();
        for seen in sightings {
            if let Some(session) = tables.hub_sessions.get_mut(&seen.digest) {
                session.last_seen = session.last_seen.max(seen.at);
            }
        }
        Ok(())
    }

    async fn remove_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        let mut tables = self.0.lock();
        let theirs = tables.hub_sessions.get(digest).is_some_and(|session| session.account == *account);
        if theirs {
            tables.hub_sessions.remove(digest);
            tables.handles.retain(|_, handle| handle.session != *digest);
            tables.end_participants(|of| of.session == *digest, false);
        }
        Ok(Removed::when(theirs))
    }

    async fn put_hub_client(&self, client: &HubClient) -> Result<()> {
        self.0.lock().hub_clients.insert(client.client_id.clone(), client.clone());
        Ok(())
    }

    async fn hub_clients(&self) -> Result<Vec<HubClient>> {
        Ok(self.0.lock().hub_clients.values().cloned().collect())
    }

    async fn remove_hub_client(&self, client_id: &str) -> Result<Removed> {
        let mut tables = self.0.lock();
        tables.logouts.retain(|logout| logout.client_id != client_id);
        Ok(Removed::when(tables.hub_clients.remove(client_id).is_some()))
    }

    async fn redeem_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        _now: UnixMs,
        until: UnixMs,
    ) -> Result<Redeemed> {
        let mut tables = self.0.lock();
        let (known, of, _) = *tables.codes.entry(*code).or_insert((*account, *handle, until));
        Ok(if of == *handle { Redeemed::Now } else { Redeemed::Before(known, of) })
    }

    async fn is_redeemed(&self, code: &SecretDigest) -> Result<bool> {
        Ok(self.0.lock().codes.contains_key(code))
    }

    async fn add_handle(&self, handle: &HandleRecord) -> Result<Added> {
        let mut tables = self.0.lock();
        let alive = tables.person(&handle.account).is_some();
        if alive {
            tables.handles.entry(handle.digest).or_insert_with(|| handle.clone());
        }
        Ok(Added::when(alive))
    }

    async fn handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        let tables = self.0.lock();
        let Some(handle) = tables.handles.get(digest).cloned() else { return Ok(None) };
        Ok(tables.hub_session(&handle.session).map(|session| FoundHandle { handle, session }))
    }

    async fn handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        let tables = self.0.lock();
        let mut handles: Vec<_> =
            tables.handles.values().filter(|handle| handle.account == *account).cloned().collect();
        handles.sort_by_key(|handle| (handle.created_at, handle.digest));
        Ok(handles)
    }

    async fn remove_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        let handles = &mut self.0.lock().handles;
        let theirs = handles.get(digest).is_some_and(|handle| handle.account == *account);
        Ok(Removed::when(theirs && handles.remove(digest).is_some()))
    }

    async fn add_participant(&self, participant: &Participant, _now: UnixMs) -> Result<Added> {
        let mut tables = self.0.lock();
        let alive = tables.person(&participant.account).is_some();
        if alive {
            let key = (participant.session, participant.client_id.clone());
            tables.participants.entry(key).or_insert_with(|| participant.clone());
        }
        Ok(Added::when(alive))
    }

    async fn due_logouts(&self, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
        let tables = self.0.lock();
        let is_due = |logout: &&LogoutRecord| logout.client_id == client_id && logout.due <= now;
        let mut due: Vec<_> = tables.logouts.iter().filter(is_due).cloned().collect();
        due.sort_by_key(|logout| logout.due);
        due.truncate(limit);
        Ok(due)
    }

    async fn postpone_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        let mut tables = self.0.lock();
        let Some(known) = tables.logouts.iter_mut().find(|known| *known == from) else { return Ok(Replaced::Outdated) };
        *known = to.clone();
        Ok(Replaced::Done)
    }

    async fn remove_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        let logouts = &mut self.0.lock().logouts;
        let before = logouts.len();
        logouts.retain(|known| known != logout);
        Ok(Removed::when(logouts.len() < before))
    }

    async fn prune_hub_sessions(&self, before: UnixMs, most: usize) -> Result<usize> {
        let sessions = &mut self.0.lock().hub_sessions;
        let over = sessions.values().filter(|session| session.ends_at < before).map(|session| session.digest);
        let over: Vec<_> = over.take(most).collect();
        over.iter().for_each(|digest| drop(sessions.remove(digest)));
        Ok(over.len())
    }
}
