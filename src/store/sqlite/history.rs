//! The heartbeat history in the data file. A day's rows lie together, and in them an account's.

use rusqlite::{Connection, Row, params};

use crate::{
    engine::AccountId,
    store::{Heard, HeardKey, HeardRow, Result, history::day},
    time::UnixMs,
    wire::{SessionId, StateBits},
};

use super::{
    read::{all, at_most, first},
    rows::{meter, meter_at, wall, wall_at},
};

/// Rows of a transaction: each is somewhere else in the table.
pub(super) const PIECE: usize = 1024;

pub(super) fn append(conn: &Connection, rows: &[HeardRow]) -> Result<()> {
    // Rows may have waited while their account was deleted.
    let mut statement = conn.prepare_cached(
        "INSERT OR IGNORE INTO history (day, account, session, at, last_seen, state) SELECT ?1, ?2, ?3, ?4, ?5, ?6 \
         WHERE EXISTS (SELECT 1 FROM accounts WHERE id = ?2 AND deleted = 0)",
    )?;
    for HeardRow { account, session, heard } in rows {
        let HeardKey { at, last_seen } = heard.key;
        let (account, session) = (account.as_bytes(), session.as_bytes());
        statement.execute(params![day(at), account, session, wall(at)?, meter(last_seen)?, heard.state.0])?;
    }
    Ok(())
}

pub(super) fn read(
    conn: &Connection,
    session: &SessionId,
    after: HeardKey,
    until: UnixMs,
    limit: usize,
) -> Result<Vec<Heard>> {
    const OWNER: &str = "SELECT account FROM sessions WHERE id = ?1";
    const SQL: &str = "SELECT at, last_seen, state FROM history WHERE day = ?1 AND account = ?2 AND session = ?3 \
                       AND (at, last_seen) > (?4, ?5) AND at < ?6 ORDER BY at, last_seen LIMIT ?7";
    let session = session.as_bytes();
    let Some(account) = first(conn, OWNER, [session], |row| Ok(row.get::<_, [u8; 16]>(0)?))? else {
        return Ok(Vec::new());
    };
    let (at, last_seen, until) = (wall(after.at)?, meter(after.last_seen)?, wall(until)?);
    let mut found = Vec::new();
    let mut next = day_from(conn, day(after.at))?;
    while let Some(day) = next
        && found.len() < limit
    {
        let rest = at_most(limit - found.len());
        found.extend(all(conn, SQL, params![day, account, session, at, last_seen, until, rest], heard)?);
        next = day_from(conn, day + 1)?;
    }
    Ok(found)
}

pub(super) fn prune(conn: &Connection, before: UnixMs, most: usize) -> Result<usize> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM history WHERE (day, account, session, at, last_seen) IN \
         (SELECT day, account, session, at, last_seen FROM history WHERE day < ?1 ORDER BY day LIMIT ?2)",
    )?;
    Ok(statement.execute(params![day(before), at_most(most)])?)
}

/// Erases what was heard of an account's sessions.
pub(super) fn erase(conn: &Connection, account: &AccountId) -> Result<()> {
    let mut next = day_from(conn, i64::MIN)?;
    while let Some(day) = next {
        conn.prepare_cached("DELETE FROM history WHERE day = ?1 AND account = ?2")?
            .execute(params![day, account.as_bytes()])?;
        next = day_from(conn, day + 1)?;
    }
    Ok(())
}

/// The first day that has rows, from one on.
fn day_from(conn: &Connection, day: i64) -> Result<Option<i64>> {
    let found = first(conn, "SELECT min(day) FROM history WHERE day >= ?1", [day], |row| Ok(row.get(0)?))?;
    Ok(found.flatten())
}

fn heard(row: &Row<'_>) -> Result<Heard> {
    let key = HeardKey { at: wall_at(row, 0)?, last_seen: meter_at(row, 1)? };
    Ok(Heard { key, state: StateBits(row.get(2)?) })
}
