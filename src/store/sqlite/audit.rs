//! The audit log in the data file.

use rusqlite::{Connection, Row, params};

use crate::{
    engine::AccountId,
    store::{Actor, ActorKind, AuditAct, AuditDay, AuditKey, AuditRecord, Result, Surface},
    time::UnixMs,
};

use super::{
    read::{all, at_most},
    rows::{odd, wall, wall_at},
};

/// Part of the transaction of the act that it is about, or of its own.
pub(super) fn append(conn: &Connection, row: &AuditRecord) -> Result<()> {
    conn.prepare_cached(
        "INSERT OR IGNORE INTO audit (at, id, act, actor, actor_name, surface, account, target, detail) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        wall(row.key.at)?,
        row.key.id,
        row.act.name(),
        row.actor.kind.name(),
        row.actor.name,
        row.actor.surface.name(),
        row.account.as_ref().map(AccountId::as_bytes),
        row.target,
        row.detail,
    ])?;
    Ok(())
}

pub(super) fn of_day(
    conn: &Connection,
    day: AuditDay,
    after: Option<AuditKey>,
    limit: usize,
) -> Result<Vec<AuditRecord>> {
    const SQL: &str = "SELECT at, id, act, actor, actor_name, surface, account, target, detail FROM audit \
                       WHERE at >= ?1 AND at < ?2 AND (at, id) > (?3, ?4) ORDER BY at, id LIMIT ?5";
    let (at, id) = from(after)?;
    all(conn, SQL, params![wall(day.begins())?, wall(day.ends())?, at, id, at_most(limit)], record)
}

pub(super) fn of_account(
    conn: &Connection,
    account: &AccountId,
    after: Option<AuditKey>,
    limit: usize,
) -> Result<Vec<AuditRecord>> {
    const SQL: &str = "SELECT at, id, act, actor, actor_name, surface, account, target, detail FROM audit \
                       WHERE account = ?1 AND (at, id) > (?2, ?3) ORDER BY at, id LIMIT ?4";
    let (at, id) = from(after)?;
    all(conn, SQL, params![account.as_bytes(), at, id, at_most(limit)], record)
}

pub(super) fn prune(conn: &Connection, before: UnixMs, most: usize) -> Result<usize> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM audit WHERE (at, id) IN (SELECT at, id FROM audit WHERE at < ?1 ORDER BY at, id LIMIT ?2)",
    )?;
    Ok(statement.execute(params![wall(before)?, at_most(most)])?)
}

/// What the first row comes after; the empty blob is before every id.
fn from(after: Option<AuditKey>) -> Result<(i64, Vec<u8>)> {
    Ok(match after {
        Some(key) => (wall(key.at)?, key.id.to_vec()),
        None => (0, Vec::new()),
    })
}

pub(super) fn record(row: &Row<'_>) -> Result<AuditRecord> {
    fn named<T>(row: &Row<'_>, column: usize, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
        let name: String = row.get(column)?;
        parse(&name).ok_or_else(|| odd(what, &name))
    }
    Ok(AuditRecord {
        key: AuditKey { at: wall_at(row, 0)?, id: row.get(1)? },
        act: named(row, 2, "act of the audit log", AuditAct::parse)?,
        actor: Actor {
            kind: named(row, 3, "actor of the audit log", ActorKind::parse)?,
            name: row.get(4)?,
            surface: named(row, 5, "surface of the audit log", Surface::parse)?,
        },
        account: row.get::<_, Option<[u8; 16]>>(6)?.map(AccountId::from_bytes),
        target: row.get(7)?,
        detail: row.get(8)?,
    })
}
