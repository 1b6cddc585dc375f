//! What is written to the data file. Each function runs within a savepoint of the writer: an error undoes all of it.

use rusqlite::{Connection, params};

use crate::{
    engine::{Account, AccountId, Act, Checkpoint, End, Entry, ListId, Session, Source, bucket},
    store::{
        AccountKey, Added, AuditRecord, Commit, Created, Edge, Granted, Held, HeldCredit, Identity, Leased, Owned,
        Removed, Result, Retired, SealedKey, StatusLease, StoreError, fits::fits,
    },
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::{
    audit, facts, history, hub, read,
    rows::{int, meter, wall},
};

pub(super) fn create_account(
    conn: &Connection,
    id: &AccountId,
    identity: &Identity,
    at: UnixMs,
) -> Result<(Owned, Created)> {
    if let Some(known) = read::account_of(conn, identity)? {
        return Ok((
            read::owned(conn, &known)?.ok_or_else(|| broken("an identity without its account"))?,
            Created::AlreadyThere,
        ));
    }
    if read::account(conn, id)?.is_some() {
        return Err(broken("an account id that was drawn twice"));
    }
    conn.prepare_cached(
        "INSERT INTO accounts (id, version, balance, entries, created_at, deleted) VALUES (?1, 0, 0, 0, ?2, 0)",
    )?
    .execute(params![id.as_bytes(), wall(at)?])?;
    conn.prepare_cached("INSERT INTO identities (issuer, subject, account) VALUES (?1, ?2, ?3)")?.execute(params![
        identity.issuer,
        identity.subject,
        id.as_bytes()
    ])?;
    Ok((Owned { account: Account::new(*id), identity: Some(identity.clone()), created_at: at }, Created::New))
}

pub(super) fn commit(conn: &Connection, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
    let Some(before) = read::account(conn, &act.account)? else { return Ok(Commit::Conflict) };
    if before.version != act.expects || before.deleted {
        return Ok(Commit::Conflict);
    }
    for entry in &act.entries {
        if let Some(known) = read::entry(conn, &act.account, entry.source, &entry.external_id)? {
            return Ok(Commit::Repeated(known));
        }
    }
    fits(&before, act).map_err(broken)?;
    let after = before.after(act);
    put_account(conn, &after)?;
    if let Some((session, end)) = &act.closes {
        close_session(conn, session, end)?;
        raise_clock(conn, end.at, end.at_wall)?;
    }
    if let Some(session) = &act.opens {
        open_session(conn, &act.account, session)?;
        raise_clock(conn, session.started, session.started_at)?;
    }
    for entry in &act.entries {
        add_entry(conn, &act.account, entry)?;
    }
    if act.deletes {
        erase(conn, &act.account)?;
    }
    if let Some(row) = audit {
        audit::append(conn, row)?;
    }
    Ok(Commit::Done(after))
}

pub(super) fn checkpoint(conn: &Connection, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "UPDATE checkpoints SET last_seen = ?3 WHERE bucket = ?1 AND session = ?2 AND last_seen < ?3",
    )?;
    let mut latest = MeterTime::ZERO;
    for row in rows {
        if statement.execute(params![bucket, row.session.as_bytes(), meter(row.last_seen)?])? > 0 {
            latest = latest.max(row.last_seen);
        }
    }
    // Nobody said what the wall clock was then. Both clocks run at the same rate, so it is as much later.
    conn.prepare_cached(
        "UPDATE clock SET wall = wall + min(?1 - last_alive, ?2 - wall), last_alive = ?1 WHERE last_alive < ?1",
    )?
    .execute([meter(latest)?, i64::MAX])?;
    Ok(())
}

pub(super) fn keep_clock(conn: &Connection, fact: ClockFact) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO clock (one, last_alive, wall) VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE \
         SET last_alive = excluded.last_alive, wall = excluded.wall WHERE excluded.last_alive >= clock.last_alive",
    )?
    .execute([meter(fact.last_alive)?, wall(fact.wall)?])?;
    Ok(())
}

pub(super) fn add_account_key(conn: &Connection, key: &AccountKey) -> Result<Added> {
    if read::account(conn, &key.account)?.is_none_or(|account| account.deleted) {
        return Ok(Added::AccountGone);
    }
    conn.prepare_cached(
        "INSERT INTO account_keys (account, key_id, hash, created_at, scope) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (account, key_id) DO UPDATE SET hash = excluded.hash, created_at = excluded.created_at, \
         scope = excluded.scope",
    )?
    .execute(params![key.account.as_bytes(), key.key_id, key.hash, wall(key.created_at)?, key.scope.name()])?;
    Ok(Added::Done)
}

pub(super) fn remove_account_key(conn: &Connection, account: &AccountId, key_id: &str) -> Result<Removed> {
    let mut statement = conn.prepare_cached("DELETE FROM account_keys WHERE account = ?1 AND key_id = ?2")?;
    Ok(Removed::when(statement.execute(params![account.as_bytes(), key_id])? > 0))
}

pub(super) fn put_edge(conn: &Connection, edge: &Edge) -> Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO edges (client_id, name, audience, secret_hashes, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        edge.client_id,
        edge.name,
        edge.audience,
        edge.secret_hashes.as_flattened(),
        wall(edge.created_at)?
    ])?;
    Ok(())
}

pub(super) fn remove_edge(conn: &Connection, client_id: &str) -> Result<Removed> {
    let removed = conn.prepare_cached("DELETE FROM edges WHERE client_id = ?1")?.execute([client_id])?;
    Ok(Removed::when(removed > 0))
}

pub(super) fn put_signing_key(conn: &Connection, key: &SealedKey) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO signing_keys (kid, algorithm, sealed, created_at, signs_from, retires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (kid) DO UPDATE SET sealed = excluded.sealed, \
         signs_from = excluded.signs_from, retires_at = excluded.retires_at",
    )?
    .execute(params![
        key.kid,
        key.algorithm,
        key.sealed,
        wall(key.created_at)?,
        wall(key.signs_from)?,
        key.retires_at.map(wall).transpose()?
    ])?;
    Ok(())
}

pub(super) fn remove_signing_key(conn: &Connection, kid: &str) -> Result<Removed> {
    let removed = conn.prepare_cached("DELETE FROM signing_keys WHERE kid = ?1")?.execute([kid])?;
    Ok(Removed::when(removed > 0))
}

pub(super) fn hold_credit(conn: &Connection, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
    let HeldCredit { entry, at } = held;
    if let Some(known) = read::held(conn, identity, entry)? {
        return Ok(Held::Repeated(known));
    }
    if read::held_credit(conn, identity, most)?.len() >= most {
        return Ok(Held::Full);
    }
    conn.prepare_cached(
        "INSERT INTO held_credit (issuer, subject, source, external_id, kind, amount, reason, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        identity.issuer,
        identity.subject,
        entry.source.name(),
        entry.external_id,
        entry.kind.name(),
        entry.amount.as_ms(),
        entry.reason,
        wall(*at)?
    ])?;
    Ok(Held::Kept)
}

pub(super) fn release_credit(
    conn: &Connection,
    identity: &Identity,
    source: Source,
    external_id: &str,
) -> Result<Removed> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM held_credit WHERE issuer = ?1 AND subject = ?2 AND source = ?3 AND external_id = ?4",
    )?;
    let removed = statement.execute(params![identity.issuer, identity.subject, source.name(), external_id])?;
    Ok(Removed::when(removed > 0))
}

pub(super) fn lease_status_list(conn: &Connection, lease: &StatusLease) -> Result<Leased> {
    let mut statement = conn.prepare_cached(
        "INSERT OR IGNORE INTO status_lists (id, entries, seed, granted, leased_at, retires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let new = statement.execute(params![
        lease.id.as_bytes(),
        lease.size.entries(),
        lease.seed.expose_bytes(),
        lease.granted,
        wall(lease.leased_at)?,
        lease.retires_at.map(wall).transpose()?
    ])?;
    Ok(Leased::when(new > 0))
}

pub(super) fn grant_status(conn: &Connection, list: &ListId, from: u32, to: u32) -> Result<Granted> {
    let mut statement = conn
        .prepare_cached("UPDATE status_lists SET granted = ?3 WHERE id = ?1 AND granted = ?2 AND retires_at IS NULL")?;
    Ok(Granted::when(statement.execute(params![list.as_bytes(), from, to])? > 0))
}

pub(super) fn retire_status_list(conn: &Connection, list: &ListId, at: UnixMs) -> Result<Retired> {
    let mut statement = conn.prepare_cached("UPDATE status_lists SET retires_at = ?2 WHERE id = ?1")?;
    Ok(Retired::when(statement.execute(params![list.as_bytes(), wall(at)?])? > 0))
}

pub(super) fn remove_status_list(conn: &Connection, list: &ListId) -> Result<Removed> {
    let removed = conn.prepare_cached("DELETE FROM status_lists WHERE id = ?1")?.execute([list.as_bytes()])?;
    Ok(Removed::when(removed > 0))
}

fn put_account(conn: &Connection, account: &Account) -> Result<()> {
    let session = account.session.as_ref();
    let end = session.and_then(|session| session.end);
    conn.prepare_cached(
        "UPDATE accounts SET version = ?2, balance = ?3, entries = ?4, deleted = ?5, session = ?6, started = ?7, \
         started_at = ?8, audience = ?9, token = ?10, token_before = ?11, token_expires_at = ?12, \
         status_list = ?13, status_idx = ?14, end_reason = ?15, end_at = ?16, end_at_wall = ?17, end_last_seen = ?18, \
         debt = ?19, token_expires_meter = ?20, renewed_clock = ?21, renewed_seq = ?22, activations = ?23, \
         uncharged = ?24, earnings = ?25 WHERE id = ?1",
    )?
    .execute(params![
        account.id.as_bytes(),
        int(account.version)?,
        account.balance.as_ms(),
        int(account.entries)?,
        account.deleted,
        session.map(|session| session.id.as_bytes()),
        session.map(|session| meter(session.started)).transpose()?,
        session.map(|session| wall(session.started_at)).transpose()?,
        session.map(|session| &session.audience),
        session.map(|session| session.tokens.current.as_bytes()),
        session.and_then(|session| session.tokens.previous.as_ref()).map(|hash| hash.as_bytes()),
        session.map(|session| wall(session.tokens.expires_at)).transpose()?,
        session.map(|session| session.tokens.status.list.as_bytes()),
        session.map(|session| session.tokens.status.idx),
        end.map(|end| end.reason.name()),
        end.map(|end| meter(end.at)).transpose()?,
        end.map(|end| wall(end.at_wall)).transpose()?,
        end.map(|end| meter(end.last_seen)).transpose()?,
        account.debt.as_ms(),
        session.and_then(|session| session.tokens.expires).map(meter).transpose()?,
        session.and_then(|session| session.tokens.renewed).map(|renewed| meter(renewed.clock)).transpose()?,
        session.and_then(|session| session.tokens.renewed).map(|renewed| renewed.seq),
        session.map(|session| session.names.to_bytes()),
        session.map(|session| int(session.tokens.uncharged.get())).transpose()?,
        Some(account.earnings.to_bytes()).filter(|bytes| !bytes.is_empty()),
    ])?;
    Ok(())
}

fn open_session(conn: &Connection, account: &AccountId, session: &Session) -> Result<()> {
    conn.prepare_cached("INSERT INTO sessions (id, account, started, started_at) VALUES (?1, ?2, ?3, ?4)")?.execute(
        params![session.id.as_bytes(), account.as_bytes(), meter(session.started)?, wall(session.started_at)?],
    )?;
    conn.prepare_cached("INSERT INTO checkpoints (bucket, session, account, last_seen) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![bucket(&session.id), session.id.as_bytes(), account.as_bytes(), meter(session.started)?])?;
    Ok(())
}

fn close_session(conn: &Connection, session: &SessionId, end: &End) -> Result<()> {
    conn.prepare_cached(
        "UPDATE sessions SET end_reason = ?2, end_at = ?3, end_at_wall = ?4, end_last_seen = ?5 WHERE id = ?1",
    )?
    .execute(params![
        session.as_bytes(),
        end.reason.name(),
        meter(end.at)?,
        wall(end.at_wall)?,
        meter(end.last_seen)?
    ])?;
    conn.prepare_cached("DELETE FROM checkpoints WHERE bucket = ?1 AND session = ?2")?
        .execute(params![bucket(session), session.as_bytes()])?;
    Ok(())
}

fn add_entry(conn: &Connection, account: &AccountId, entry: &Entry) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO entries (account, number, kind, amount, source, external_id, reason, at, owed) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        account.as_bytes(),
        int(entry.number)?,
        entry.kind.name(),
        entry.amount.as_ms(),
        entry.source.name(),
        entry.external_id,
        entry.reason,
        wall(entry.at)?,
        entry.owed.as_ms()
    ])?;
    Ok(())
}

fn erase(conn: &Connection, account: &AccountId) -> Result<()> {
    if let Some(identity) = read::owned(conn, account)?.and_then(|owned| owned.identity) {
        facts::forget(conn, &identity)?;
    }
    for sql in [
        "DELETE FROM entries WHERE account = ?1",
        "DELETE FROM held_credit \
         WHERE (issuer, subject) IN (SELECT issuer, subject FROM identities WHERE account = ?1)",
        "DELETE FROM identities WHERE account = ?1",
        "DELETE FROM account_keys WHERE account = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([account.as_bytes()])?;
    }
    hub::erase(conn, account)?;
    history::erase(conn, account)
}

/// The meter has been seen at `last_alive`: whatever is durable lies in its past when it is next started.
fn raise_clock(conn: &Connection, last_alive: MeterTime, at_wall: UnixMs) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO clock (one, last_alive, wall) VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE \
         SET last_alive = excluded.last_alive, wall = excluded.wall WHERE excluded.last_alive > clock.last_alive",
    )?
    .execute([meter(last_alive)?, wall(at_wall)?])?;
    Ok(())
}

fn broken(what: &str) -> StoreError {
    StoreError::Damaged(format!("refused {what}"))
}
