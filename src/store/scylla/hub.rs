//! The hub in the accounts' partitions: people in static columns, hub sessions in rows.
//!
//! What leads to a session is written before it and removed after it, and both go by the same TTL. When a session was last
//! used is the one cell that is written without a condition; of a session that has been removed it is all there is, and such
//! a row is no session.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::{DeserializeRow, SerializeRow, statement::prepared::PreparedStatement};

use crate::{
    engine::AccountId,
    store::{
        Added, FoundHubSession, HubSessionRecord, HubSighting, Identity, Participant, Person, Profile, Removed,
        Replaced, Result, SecretDigest, StoreError, hub::provider_session,
    },
    time::{Millis, UnixMs},
};

use super::{
    ScyllaStore,
    cluster::Values,
    options::MAX_TTL,
    rows::{bytes, int, there, unsigned, wall, wall_from},
};

/// How often a person's epoch is raised anew because others raised it meanwhile.
const TRIES: usize = 8;
/// Kinds of rows in an account's partition.
pub(super) const HUB_SESSIONS: i8 = 5;
pub(super) const HANDLES: i8 = 6;
/// Sessions that are written or read at a time.
const AT_ONCE: usize = 32;

/// The static columns of a person.
#[derive(DeserializeRow)]
pub(super) struct PersonRow {
    id: Vec<u8>,
    deleted: Option<bool>,
    hub_epoch: Option<i64>,
    hub_version: Option<i64>,
    hub_profile: Option<String>,
}

/// A session with the static columns of its account.
#[derive(DeserializeRow)]
struct SessionRow {
    name: Vec<u8>,
    deleted: Option<bool>,
    issuer: Option<String>,
    subject: Option<String>,
    hub_epoch: Option<i64>,
    hub_version: Option<i64>,
    hub_profile: Option<String>,
    hub_record: Option<String>,
    hub_seen: Option<i64>,
}

/// What `put_profile` writes.
#[derive(SerializeRow)]
struct PutProfile<'a> {
    id: &'a [u8],
    version: i64,
    profile: &'a str,
    was: Option<i64>,
}

/// What `raise_epoch` writes.
#[derive(SerializeRow)]
struct RaiseEpoch<'a> {
    id: &'a [u8],
    epoch: i64,
    was: Option<i64>,
}

fn person(epoch: Option<i64>, version: Option<i64>, profile: Option<&str>) -> Result<Person> {
    Ok(Person {
        epoch: epoch.map_or(Ok(0), |epoch| unsigned(Some(epoch)))?,
        version: version.map_or(Ok(0), |version| unsigned(Some(version)))?,
        profile: profile.map_or_else(|| Ok(Profile::default()), Profile::from_json)?,
    })
}

impl PersonRow {
    /// The person; `None` if there is no account, or it has been deleted.
    fn person(&self) -> Result<Option<Person>> {
        if self.deleted != Some(false) {
            return Ok(None);
        }
        person(self.hub_epoch, self.hub_version, self.hub_profile.as_deref()).map(Some)
    }

    /// The person that was written, if there is one.
    pub(super) fn written(&self) -> Result<Option<(AccountId, Person)>> {
        if self.hub_epoch.is_none() && self.hub_version.is_none() {
            return Ok(None);
        }
        let id = AccountId::from_bytes(bytes(&self.id)?);
        Ok(self.person()?.map(|person| (id, person)))
    }
}

impl SessionRow {
    /// The session; `None` of a row that is none any more, or of a deleted account.
    fn session(&self, account: &AccountId) -> Result<Option<HubSessionRecord>> {
        let (Some(false), Some(record)) = (self.deleted, &self.hub_record) else { return Ok(None) };
        session(*account, &self.name, record, self.hub_seen).map(Some)
    }

    fn found(self, account: &AccountId) -> Result<Option<FoundHubSession>> {
        let Some(session) = self.session(account)? else { return Ok(None) };
        let person = person(self.hub_epoch, self.hub_version, self.hub_profile.as_deref())?;
        let identity = Identity { issuer: there(self.issuer)?, subject: there(self.subject)? };
        Ok(Some(FoundHubSession { session, person, identity }))
    }
}

/// A session as it is written.
pub(super) fn session(account: AccountId, digest: &[u8], record: &str, seen: Option<i64>) -> Result<HubSessionRecord> {
    let seen = seen.map(|at| wall_from(Some(at))).transpose()?;
    HubSessionRecord::from_json(account, SecretDigest::from_bytes(bytes(digest)?), record, seen)
}

/// For how many seconds a row is kept that is to be there for so long.
pub(super) fn ttl(span: Millis) -> i32 {
    i32::try_from(span.as_secs().saturating_add(1)).unwrap_or(MAX_TTL).clamp(1, MAX_TTL)
}

impl ScyllaStore {
    pub(super) async fn read_person(&self, account: &AccountId) -> Result<Option<Person>> {
        let values = (account.as_bytes().as_slice(),);
        let row: Option<PersonRow> = self.cluster.row(&self.cluster.statements.person, values).await?;
        row.map_or(Ok(None), |row| row.person())
    }

    pub(super) async fn replace_profile(
        &self,
        account: &AccountId,
        version: u64,
        profile: &Profile,
    ) -> Result<Replaced> {
        let was = (version > 0).then(|| int(version)).transpose()?;
        let profile = profile.to_json();
        let values =
            PutProfile { id: account.as_bytes(), version: int(version.saturating_add(1))?, profile: &profile, was };
        let _turn = self.cluster.turn(account.as_bytes()).await;
        Ok(Replaced::when(self.cluster.decide(&self.cluster.statements.put_profile, values).await?))
    }

    pub(super) async fn raise_hub_epoch(&self, account: &AccountId) -> Result<Option<u64>> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let _turn = self.cluster.turn(account.as_bytes()).await;
        let participants = self.read_participants(account).await?;
        self.owe(&participants, true).await?;
        for _ in 0..TRIES {
            let row: Option<PersonRow> = self.cluster.row(&statements.person, (id,)).await?;
            let Some(row) = row.filter(|row| row.deleted == Some(false)) else { return Ok(None) };
            let epoch = row.hub_epoch.unwrap_or(0).saturating_add(1);
            let values = RaiseEpoch { id, epoch, was: row.hub_epoch };
            if self.cluster.decide(&statements.raise_epoch, values).await? {
                let epoch = unsigned(Some(epoch))?;
                self.end_participants(account, participants, epoch).await?;
                return Ok(Some(epoch));
            }
        }
        Err(StoreError::Unavailable("others kept raising the epoch".to_owned()))
    }

    /// Sees to who took part in sessions of an earlier epoch: those of `owed` are, others have come meanwhile.
    async fn end_participants(&self, account: &AccountId, owed: Vec<Participant>, epoch: u64) -> Result<()> {
        let sessions = self.read_hub_sessions(account).await?;
        let is_over = |of: &Participant| !sessions.iter().any(|one| one.digest == of.session && one.epoch >= epoch);
        let mut late = self.read_participants(account).await?;
        late.retain(|of| is_over(of) && !owed.contains(of));
        self.owe(&late, true).await?;
        let over: Vec<_> = owed.into_iter().filter(is_over).chain(late).collect();
        self.drop_participants(account, &over).await
    }

    pub(super) async fn put_hub_session(&self, session: &HubSessionRecord) -> Result<Added> {
        let statements = &self.cluster.statements;
        let (id, digest) = (session.account.as_bytes().as_slice(), session.digest.as_bytes().as_slice());
        let ttl = ttl(session.lifetime());
        self.point_to_hub_session(session, ttl).await?;
        let _turn = self.cluster.turn(session.account.as_bytes()).await;
        let decision: Vec<(&PreparedStatement, Values<'_>)> = vec![
            (&statements.is_alive, Box::new((id,))),
            (&statements.put_hub_session, Box::new((id, digest, session.to_json(), ttl))),
        ];
        if self.cluster.decide_all(decision).await? {
            return Ok(Added::Done);
        }
        self.unpoint_hub_session(session).await?;
        Ok(Added::AccountGone)
    }

    pub(super) async fn point_to_hub_session(&self, session: &HubSessionRecord, ttl: i32) -> Result<()> {
        let statements = &self.cluster.statements;
        let (id, digest) = (session.account.as_bytes().as_slice(), session.digest.as_bytes().as_slice());
        self.cluster.write(&statements.point_to_hub_session, (digest, id, ttl)).await?;
        if let Some(name) = session.provider_name() {
            self.cluster.write(&statements.point_from_provider, (name, digest, id, ttl)).await?;
        }
        Ok(())
    }

    async fn unpoint_hub_session(&self, session: &HubSessionRecord) -> Result<()> {
        let statements = &self.cluster.statements;
        let digest = session.digest.as_bytes().as_slice();
        self.cluster.write(&statements.unpoint_hub_session, (digest,)).await?;
        match session.provider_name() {
            Some(name) => self.cluster.write(&statements.unpoint_from_provider, (name, digest)).await,
            None => Ok(()),
        }
    }

    pub(super) async fn find_hub_session(&self, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
        let statement = &self.cluster.statements.hub_pointer;
        let pointer: Option<(Option<Vec<u8>>,)> = self.cluster.row(statement, (digest.as_bytes().as_slice(),)).await?;
        let Some((Some(account),)) = pointer else { return Ok(None) };
        self.find_hub_session_of(&AccountId::from_bytes(bytes(&account)?), digest).await
    }

    pub(super) async fn find_hub_session_of(
        &self,
        account: &AccountId,
        digest: &SecretDigest,
    ) -> Result<Option<FoundHubSession>> {
        let row = self.hub_session_row(account, digest).await?;
        row.map_or(Ok(None), |row| row.found(account))
    }

    async fn hub_session_row(&self, account: &AccountId, digest: &SecretDigest) -> Result<Option<SessionRow>> {
        let values = (account.as_bytes().as_slice(), digest.as_bytes().as_slice());
        self.cluster.row(&self.cluster.statements.hub_session, values).await
    }

    pub(super) async fn read_hub_sessions(&self, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
        let values = (account.as_bytes().as_slice(),);
        let statement = &self.cluster.statements.hub_sessions;
        let rows: Vec<SessionRow> = self.cluster.pages(statement, values, usize::MAX).await?;
        let sessions = rows.iter().filter_map(|row| row.session(account).transpose());
        let mut sessions = sessions.collect::<Result<Vec<_>>>()?;
        sessions.sort_by_key(|session| (session.created_at, session.digest));
        Ok(sessions)
    }

    pub(super) async fn read_hub_sessions_of_provider(&self, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
        let statement = &self.cluster.statements.provider_pointers;
        let pointers: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            self.cluster.pages(statement, (provider_session(issuer, sid),), usize::MAX).await?;
        let found: Vec<_> = stream::iter(pointers)
            .map(|(digest, account)| async move {
                let Some(account) = account else { return Ok(None) };
                let account = AccountId::from_bytes(bytes(&account)?);
                let row = self.hub_session_row(&account, &SecretDigest::from_bytes(bytes(&digest)?)).await?;
                row.map_or(Ok(None), |row| row.session(&account))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn write_sightings(&self, sightings: &[HubSighting]) -> Result<()> {
        let see = |seen: HubSighting| self.write_sighting(seen, ttl(seen.ends_at.since(seen.at)));
        each(sightings.iter().copied().map(see)).await
    }

    pub(super) async fn write_sighting(&self, seen: HubSighting, ttl: i32) -> Result<()> {
        let at = wall(seen.at)?;
        let values = (ttl, at, at, seen.account.as_bytes().as_slice(), seen.digest.as_bytes().as_slice());
        self.cluster.write(&self.cluster.statements.see_hub_session, values).await
    }

    pub(super) async fn drop_hub_session(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        let statements = &self.cluster.statements;
        let _turn = self.cluster.turn(account.as_bytes()).await;
        let row = self.hub_session_row(account, digest).await?;
        let Some(session) = row.map_or(Ok(None), |row| row.session(account))? else { return Ok(Removed::NotThere) };
        let owed = self.read_participants_of(account, digest).await?;
        self.owe(&owed, false).await?;
        let values = (account.as_bytes().as_slice(), digest.as_bytes().as_slice());
        // Its handles first: what is interrupted leaves the session, and is done again.
        for handle in self.read_handles(account).await?.into_iter().filter(|handle| handle.session == *digest) {
            self.drop_handle_in_turn(account, &handle.digest).await?;
        }
        let dropped = self.cluster.decide(&statements.drop_hub_session, values).await?;
        // Some may have come meanwhile.
        let participants = self.read_participants_of(account, digest).await?;
        let late: Vec<_> = participants.iter().filter(|of| !owed.contains(of)).cloned().collect();
        self.owe(&late, false).await?;
        self.drop_participants(account, &participants).await?;
        self.unpoint_hub_session(&session).await?;
        Ok(Removed::when(dropped))
    }

    /// Removes what leads to the hub sessions or handles of a deleted account, and answers the digests of their rows.
    pub(super) async fn unpoint_hub_rows(&self, account: &AccountId, kind: i8) -> Result<Vec<Vec<u8>>> {
        let statements = &self.cluster.statements;
        let values = (account.as_bytes().as_slice(), kind);
        let rows: Vec<(Vec<u8>, Option<String>)> =
            self.cluster.pages(&statements.erasable_hub_rows, values, usize::MAX).await?;
        for (digest, record) in &rows {
            match record {
                Some(record) if kind == HUB_SESSIONS => {
                    self.unpoint_hub_session(&session(*account, digest, record, None)?).await?;
                }
                _ => self.cluster.write(&statements.unpoint_hub_session, (digest,)).await?,
            }
        }
        Ok(rows.into_iter().map(|(digest, _)| digest).collect())
    }
}

async fn each(writes: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
}

/// When a session was seen, as moving writes it.
pub(super) fn sighting(session: &HubSessionRecord) -> HubSighting {
    HubSighting { account: session.account, digest: session.digest, at: session.last_seen, ends_at: session.ends_at }
}

/// How long a row that is moved stays: until it ends, and for `at_least`.
pub(super) fn ttl_of_moved(ends_at: UnixMs, now: UnixMs, at_least: Millis) -> i32 {
    ttl(ends_at.since(now).max(at_least))
}
