//! The hub's rows in the data file.

use rusqlite::{Connection, Row, params};

use crate::{
    engine::AccountId,
    store::{
        Added, FoundHandle, FoundHubSession, HandleRecord, HubClient, HubSessionRecord, HubSighting, Person, Profile,
        Redeemed, Removed, Replaced, Result, SecretDigest, StoreError, hub::provider_session,
    },
    time::UnixMs,
};

use super::{
    logouts,
    read::{self, all, at_most, first},
    rows::{int, unsigned, wall, wall_at},
};

/// Rows of a transaction.
pub(super) const PIECE: usize = 1024;

pub(super) fn person(conn: &Connection, account: &AccountId) -> Result<Option<Person>> {
    if !exists(conn, account)? {
        return Ok(None);
    }
    const SQL: &str = "SELECT epoch, version, profile FROM hub_people WHERE account = ?1";
    Ok(Some(first(conn, SQL, [account.as_bytes()], read_person)?.unwrap_or_default()))
}

/// A row of `epoch, version, profile`.
pub(super) fn read_person(row: &Row<'_>) -> Result<Person> {
    let profile: String = row.get(2)?;
    Ok(Person { epoch: unsigned(row, 0)?, version: unsigned(row, 1)?, profile: Profile::from_json(&profile)? })
}

pub(super) fn put_profile(conn: &Connection, account: &AccountId, version: u64, profile: &Profile) -> Result<Replaced> {
    let Some(known) = person(conn, account)?.filter(|known| known.version == version) else {
        return Ok(Replaced::Outdated);
    };
    put_person(conn, account, &Person { version: version.saturating_add(1), profile: profile.clone(), ..known })?;
    Ok(Replaced::Done)
}

pub(super) fn raise_epoch(conn: &Connection, account: &AccountId) -> Result<Option<u64>> {
    let Some(known) = person(conn, account)? else { return Ok(None) };
    let epoch = known.epoch.saturating_add(1);
    put_person(conn, account, &Person { epoch, ..known })?;
    logouts::all_ended(conn, account)?;
    Ok(Some(epoch))
}

fn put_person(conn: &Connection, account: &AccountId, person: &Person) -> Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO hub_people (account, epoch, version, profile) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![account.as_bytes(), int(person.epoch)?, int(person.version)?, person.profile.to_json()])?;
    Ok(())
}

pub(super) fn add(conn: &Connection, session: &HubSessionRecord) -> Result<Added> {
    if !exists(conn, &session.account)? {
        return Ok(Added::AccountGone);
    }
    conn.prepare_cached(
        "INSERT OR IGNORE INTO hub_sessions (digest, account, ends_at, last_seen, provider, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        session.digest.as_bytes(),
        session.account.as_bytes(),
        wall(session.ends_at)?,
        wall(session.last_seen)?,
        session.provider_name(),
        session.to_json()
    ])?;
    Ok(Added::Done)
}

pub(super) fn find(conn: &Connection, digest: &SecretDigest) -> Result<Option<FoundHubSession>> {
    const SQL: &str = "SELECT digest, account, last_seen, record FROM hub_sessions WHERE digest = ?1";
    let Some(session) = first(conn, SQL, [digest.as_bytes()], session)? else { return Ok(None) };
    let identity = read::owned(conn, &session.account)?.and_then(|owned| owned.identity);
    let (Some(identity), Some(person)) = (identity, person(conn, &session.account)?) else {
        return Err(StoreError::Damaged("a hub session without its account".to_owned()));
    };
    Ok(Some(FoundHubSession { session, person, identity }))
}

pub(super) fn of_account(conn: &Connection, account: &AccountId) -> Result<Vec<HubSessionRecord>> {
    const SQL: &str = "SELECT digest, account, last_seen, record FROM hub_sessions WHERE account = ?1";
    let mut sessions = all(conn, SQL, [account.as_bytes()], session)?;
    sessions.sort_by_key(|session| (session.created_at, session.digest));
    Ok(sessions)
}

pub(super) fn of_provider(conn: &Connection, issuer: &str, sid: &str) -> Result<Vec<HubSessionRecord>> {
    const SQL: &str = "SELECT digest, account, last_seen, record FROM hub_sessions WHERE provider = ?1";
    all(conn, SQL, [provider_session(issuer, sid)], session)
}

pub(super) fn see(conn: &Connection, sightings: &[HubSighting]) -> Result<()> {
    let mut statement =
        conn.prepare_cached("UPDATE hub_sessions SET last_seen = ?2 WHERE digest = ?1 AND last_seen < ?2")?;
    for seen in sightings {
        statement.execute(params![seen.digest.as_bytes(), wall(seen.at)?])?;
    }
    Ok(())
}

pub(super) fn remove(conn: &Connection, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
    let mut statement = conn.prepare_cached("DELETE FROM hub_sessions WHERE digest = ?1 AND account = ?2")?;
    let removed = statement.execute(params![digest.as_bytes(), account.as_bytes()])? > 0;
    if removed {
        conn.prepare_cached("DELETE FROM hub_handles WHERE session = ?1")?.execute([digest.as_bytes()])?;
        logouts::session_ended(conn, digest)?;
    }
    Ok(Removed::when(removed))
}

pub(super) fn put_client(conn: &Connection, client: &HubClient) -> Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO hub_clients (client_id, record) VALUES (?1, ?2)")?
        .execute(params![client.client_id, client.to_json()])?;
    Ok(())
}

pub(super) fn clients(conn: &Connection) -> Result<Vec<HubClient>> {
    all(conn, "SELECT client_id, record FROM hub_clients ORDER BY client_id", [], client)
}

pub(super) fn remove_client(conn: &Connection, client_id: &str) -> Result<Removed> {
    let removed = conn.prepare_cached("DELETE FROM hub_clients WHERE client_id = ?1")?.execute([client_id])?;
    conn.prepare_cached("DELETE FROM hub_logouts WHERE client_id = ?1")?.execute([client_id])?;
    Ok(Removed::when(removed > 0))
}

pub(super) fn redeem(
    conn: &Connection,
    code: &SecretDigest,
    account: &AccountId,
    handle: &SecretDigest,
    until: UnixMs,
) -> Result<Redeemed> {
    const SQL: &str = "SELECT account, handle FROM hub_codes WHERE code = ?1";
    let known = first(conn, SQL, [code.as_bytes()], |row| {
        Ok((AccountId::from_bytes(row.get(0)?), SecretDigest::from_bytes(row.get(1)?)))
    })?;
    match known {
        Some((_, of)) if of == *handle => return Ok(Redeemed::Now),
        Some((account, of)) => return Ok(Redeemed::Before(account, of)),
        None => {}
    }
    conn.prepare_cached("INSERT INTO hub_codes (code, account, handle, until) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![code.as_bytes(), account.as_bytes(), handle.as_bytes(), wall(until)?])?;
    Ok(Redeemed::Now)
}

pub(super) fn is_redeemed(conn: &Connection, code: &SecretDigest) -> Result<bool> {
    let known = first(conn, "SELECT 1 FROM hub_codes WHERE code = ?1", [code.as_bytes()], |_| Ok(()))?;
    Ok(known.is_some())
}

pub(super) fn add_handle(conn: &Connection, handle: &HandleRecord) -> Result<Added> {
    if !exists(conn, &handle.account)? {
        return Ok(Added::AccountGone);
    }
    conn.prepare_cached(
        "INSERT OR IGNORE INTO hub_handles (digest, account, session, ends_at, record) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        handle.digest.as_bytes(),
        handle.account.as_bytes(),
        handle.session.as_bytes(),
        wall(handle.ends_at)?,
        handle.to_json()
    ])?;
    Ok(Added::Done)
}

pub(super) fn find_handle(conn: &Connection, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
    const SQL: &str = "SELECT digest, account, record FROM hub_handles WHERE digest = ?1";
    let Some(handle) = first(conn, SQL, [digest.as_bytes()], handle)? else { return Ok(None) };
    Ok(find(conn, &handle.session)?.map(|session| FoundHandle { handle, session }))
}

pub(super) fn handles_of(conn: &Connection, account: &AccountId) -> Result<Vec<HandleRecord>> {
    const SQL: &str = "SELECT digest, account, record FROM hub_handles WHERE account = ?1";
    let mut handles = all(conn, SQL, [account.as_bytes()], handle)?;
    handles.sort_by_key(|handle| (handle.created_at, handle.digest));
    Ok(handles)
}

pub(super) fn remove_handle(conn: &Connection, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
    let mut statement = conn.prepare_cached("DELETE FROM hub_handles WHERE digest = ?1 AND account = ?2")?;
    Ok(Removed::when(statement.execute(params![digest.as_bytes(), account.as_bytes()])? > 0))
}

pub(super) fn prune(conn: &Connection, before: UnixMs, most: usize) -> Result<usize> {
    let mut dropped = 0;
    for sql in [
        "DELETE FROM hub_sessions WHERE digest IN \
         (SELECT digest FROM hub_sessions WHERE ends_at < ?1 ORDER BY ends_at LIMIT ?2)",
        "DELETE FROM hub_handles WHERE digest IN \
         (SELECT digest FROM hub_handles WHERE ends_at < ?1 ORDER BY ends_at LIMIT ?2)",
        "DELETE FROM hub_participants WHERE (session, client_id) IN \
         (SELECT session, client_id FROM hub_participants WHERE ends_at < ?1 ORDER BY ends_at LIMIT ?2)",
        "DELETE FROM hub_codes WHERE code IN (SELECT code FROM hub_codes WHERE until < ?1 ORDER BY until LIMIT ?2)",
    ] {
        dropped += conn.prepare_cached(sql)?.execute(params![wall(before)?, at_most(most - dropped)])?;
    }
    Ok(dropped)
}

/// Of a deleted account, nothing is left but what its participants are owed.
pub(super) fn erase(conn: &Connection, account: &AccountId) -> Result<()> {
    logouts::all_ended(conn, account)?;
    for sql in [
        "DELETE FROM hub_sessions WHERE account = ?1",
        "DELETE FROM hub_handles WHERE account = ?1",
        "DELETE FROM hub_people WHERE account = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([account.as_bytes()])?;
    }
    Ok(())
}

fn exists(conn: &Connection, account: &AccountId) -> Result<bool> {
    Ok(read::account(conn, account)?.is_some_and(|account| !account.deleted))
}

/// A row of `digest, account, last_seen, record`.
pub(super) fn session(row: &Row<'_>) -> Result<HubSessionRecord> {
    let (digest, account) = (SecretDigest::from_bytes(row.get(0)?), AccountId::from_bytes(row.get(1)?));
    let record: String = row.get(3)?;
    HubSessionRecord::from_json(account, digest, &record, Some(wall_at(row, 2)?))
}

/// A row of `client_id, record`.
pub(super) fn client(row: &Row<'_>) -> Result<HubClient> {
    let record: String = row.get(1)?;
    HubClient::from_json(row.get(0)?, &record)
}

/// A row of `digest, account, record`.
pub(super) fn handle(row: &Row<'_>) -> Result<HandleRecord> {
    let (digest, account) = (SecretDigest::from_bytes(row.get(0)?), AccountId::from_bytes(row.get(1)?));
    let record: String = row.get(2)?;
    HandleRecord::from_json(account, digest, &record)
}
