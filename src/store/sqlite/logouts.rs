//! Who takes part in hub sessions, and the outbox of logouts, in the data file. What ends a session turns its participants into
//! entries of the outbox in the same transaction.

use rusqlite::{Connection, Row, params};

use crate::{
    engine::AccountId,
    store::{Added, LogoutRecord, Participant, Removed, Replaced, Result, SecretDigest},
    time::UnixMs,
};

use super::{
    read::{self, all, at_most},
    rows::{wall, wall_at},
};

const COLUMNS: &str = "session, client_id, account, ends_at";

pub(super) fn add(conn: &Connection, participant: &Participant) -> Result<Added> {
    if read::account(conn, &participant.account)?.is_none_or(|account| account.deleted) {
        return Ok(Added::AccountGone);
    }
    conn.prepare_cached(
        "INSERT OR IGNORE INTO hub_participants (session, client_id, account, ends_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        participant.session.as_bytes(),
        participant.client_id,
        participant.account.as_bytes(),
        wall(participant.ends_at)?
    ])?;
    Ok(Added::Done)
}

/// The session has ended.
pub(super) fn session_ended(conn: &Connection, session: &SecretDigest) -> Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM hub_participants WHERE session = ?1");
    owe(conn, &LogoutRecord::owed(&all(conn, &sql, [session.as_bytes()], participant)?, false))?;
    conn.prepare_cached("DELETE FROM hub_participants WHERE session = ?1")?.execute([session.as_bytes()])?;
    Ok(())
}

/// All sessions of an account have ended.
pub(super) fn all_ended(conn: &Connection, account: &AccountId) -> Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM hub_participants WHERE account = ?1");
    owe(conn, &LogoutRecord::owed(&all(conn, &sql, [account.as_bytes()], participant)?, true))?;
    conn.prepare_cached("DELETE FROM hub_participants WHERE account = ?1")?.execute([account.as_bytes()])?;
    Ok(())
}

/// A client that is not there any more is owed nothing.
fn owe(conn: &Connection, logouts: &[LogoutRecord]) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "INSERT OR REPLACE INTO hub_logouts (client_id, account, sid, due, since, tries) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM hub_clients WHERE client_id = ?1",
    )?;
    for logout in logouts {
        statement.execute(params![
            logout.client_id,
            logout.account.as_bytes(),
            logout.sid(),
            wall(logout.due)?,
            logout.since.map(wall).transpose()?,
            logout.tries
        ])?;
    }
    Ok(())
}

pub(super) fn due(conn: &Connection, client_id: &str, now: UnixMs, limit: usize) -> Result<Vec<LogoutRecord>> {
    const SQL: &str = "SELECT client_id, account, sid, due, since, tries FROM hub_logouts \
                       WHERE client_id = ?1 AND due <= ?2 ORDER BY due LIMIT ?3";
    all(conn, SQL, params![client_id, wall(now)?, at_most(limit)], logout)
}

pub(super) fn postpone(conn: &Connection, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
    let mut statement = conn.prepare_cached(
        "UPDATE hub_logouts SET due = ?5, since = ?6, tries = ?7 \
         WHERE client_id = ?1 AND account = ?2 AND sid = ?3 AND due = ?4",
    )?;
    let changed = statement.execute(params![
        from.client_id,
        from.account.as_bytes(),
        from.sid(),
        wall(from.due)?,
        wall(to.due)?,
        to.since.map(wall).transpose()?,
        to.tries
    ])?;
    Ok(if changed > 0 { Replaced::Done } else { Replaced::Outdated })
}

pub(super) fn remove(conn: &Connection, logout: &LogoutRecord) -> Result<Removed> {
    let mut statement =
        conn.prepare_cached("DELETE FROM hub_logouts WHERE client_id = ?1 AND account = ?2 AND sid = ?3 AND due = ?4")?;
    let removed =
        statement.execute(params![logout.client_id, logout.account.as_bytes(), logout.sid(), wall(logout.due)?])?;
    Ok(Removed::when(removed > 0))
}

/// A row of `session, client_id, account, ends_at`.
pub(super) fn participant(row: &Row<'_>) -> Result<Participant> {
    Ok(Participant {
        session: SecretDigest::from_bytes(row.get(0)?),
        client_id: row.get(1)?,
        account: AccountId::from_bytes(row.get(2)?),
        ends_at: wall_at(row, 3)?,
    })
}

/// A row of `client_id, account, sid, due, since, tries`.
pub(super) fn logout(row: &Row<'_>) -> Result<LogoutRecord> {
    let (sid, since): (Vec<u8>, Option<i64>) = (row.get(2)?, row.get(4)?);
    Ok(LogoutRecord {
        client_id: row.get(0)?,
        account: AccountId::from_bytes(row.get(1)?),
        session: LogoutRecord::sid_from(&sid)?,
        due: wall_at(row, 3)?,
        since: since.map(|_| wall_at(row, 4)).transpose()?,
        tries: row.get(5)?,
    })
}
