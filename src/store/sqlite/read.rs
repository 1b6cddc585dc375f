//! What is read from the data file.

use rusqlite::{Connection, Params, Row, params};

use crate::{
    engine::{Account, AccountId, Entry, NewEntry, Source},
    store::{
        AccountKey, Edge, HeldCredit, Identity, OpenAccount, Owned, Result, SealedKey, SessionRecord, StatusLease,
    },
    time::ClockFact,
    wire::SessionId,
};

use super::rows::{self, ACCOUNT_WIDTH, account_columns};

/// What [`rows::owned`] reads, of all accounts.
pub(super) const OWNED: &str = concat!(
    "SELECT ",
    account_columns!(),
    ", a.created_at, i.issuer, i.subject FROM accounts a LEFT JOIN identities i ON i.account = a.id "
);

pub(super) fn account(conn: &Connection, id: &AccountId) -> Result<Option<Account>> {
    const SQL: &str = concat!("SELECT ", account_columns!(), " FROM accounts a WHERE a.id = ?1");
    first(conn, SQL, [id.as_bytes()], rows::account)
}

pub(super) fn owned(conn: &Connection, id: &AccountId) -> Result<Option<Owned>> {
    first(conn, &format!("{OWNED} WHERE a.id = ?1"), [id.as_bytes()], rows::owned)
}

pub(super) fn account_of(conn: &Connection, identity: &Identity) -> Result<Option<AccountId>> {
    const SQL: &str = "SELECT account FROM identities WHERE issuer = ?1 AND subject = ?2";
    first(conn, SQL, [&identity.issuer, &identity.subject], account_id)
}

pub(super) fn accounts(conn: &Connection, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
    // The empty blob comes before every id.
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    let sql = format!("{OWNED} WHERE a.id > ?1 AND a.deleted = 0 ORDER BY a.id LIMIT ?2");
    all(conn, &sql, params![after, at_most(limit)], rows::owned)
}

pub(super) fn entry(
    conn: &Connection,
    account: &AccountId,
    source: Source,
    external_id: &str,
) -> Result<Option<Entry>> {
    const SQL: &str = "SELECT number, kind, amount, source, external_id, reason, at, owed FROM entries \
                       WHERE account = ?1 AND source = ?2 AND external_id = ?3";
    first(conn, SQL, params![account.as_bytes(), source.name(), external_id], rows::entry)
}

pub(super) fn entries(conn: &Connection, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
    const SQL: &str = "SELECT number, kind, amount, source, external_id, reason, at, owed FROM entries \
                       WHERE account = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    all(conn, SQL, params![account.as_bytes(), after, at_most(limit)], rows::entry)
}

pub(super) fn session(conn: &Connection, id: &SessionId) -> Result<Option<SessionRecord>> {
    const SQL: &str = "SELECT account, end_reason, end_at, end_at_wall, end_last_seen FROM sessions WHERE id = ?1";
    first(conn, SQL, [id.as_bytes()], |row| Ok(SessionRecord { account: account_id(row)?, end: rows::end(row, 1)? }))
}

pub(super) fn recover(conn: &Connection, bucket: u8) -> Result<Vec<OpenAccount>> {
    const SQL: &str = concat!(
        "SELECT ",
        account_columns!(),
        ", c.last_seen FROM checkpoints c CROSS JOIN accounts a ON a.id = c.account \
         WHERE c.bucket = ?1 AND a.session = c.session AND a.end_reason IS NULL"
    );
    all(conn, SQL, [bucket], |row| {
        Ok(OpenAccount { account: rows::account(row)?, last_seen: rows::meter_at(row, ACCOUNT_WIDTH)? })
    })
}

pub(super) fn clock(conn: &Connection) -> Result<Option<ClockFact>> {
    first(conn, "SELECT last_alive, wall FROM clock", [], |row| {
        Ok(ClockFact { last_alive: rows::meter_at(row, 0)?, wall: rows::wall_at(row, 1)? })
    })
}

pub(super) fn account_by_key(conn: &Connection, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
    const SQL: &str = "SELECT key_id, account, hash, created_at, scope FROM account_keys WHERE hash = ?1";
    first(conn, SQL, [hash], rows::account_key)
}

pub(super) fn account_keys(conn: &Connection, account: &AccountId) -> Result<Vec<AccountKey>> {
    const SQL: &str =
        "SELECT key_id, account, hash, created_at, scope FROM account_keys WHERE account = ?1 ORDER BY key_id";
    all(conn, SQL, [account.as_bytes()], rows::account_key)
}

pub(super) fn edges(conn: &Connection) -> Result<Vec<Edge>> {
    const SQL: &str = "SELECT client_id, name, audience, secret_hashes, created_at FROM edges ORDER BY client_id";
    all(conn, SQL, [], rows::edge)
}

pub(super) fn status_lists(conn: &Connection) -> Result<Vec<StatusLease>> {
    const SQL: &str = "SELECT id, entries, seed, granted, leased_at, retires_at FROM status_lists ORDER BY id";
    all(conn, SQL, [], rows::status_lease)
}

pub(super) fn signing_keys(conn: &Connection) -> Result<Vec<SealedKey>> {
    const SQL: &str =
        "SELECT kid, algorithm, sealed, created_at, signs_from, retires_at FROM signing_keys ORDER BY kid";
    all(conn, SQL, [], rows::sealed_key)
}

pub(super) fn held_credit(conn: &Connection, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
    const SQL: &str = "SELECT kind, amount, source, external_id, reason, at FROM held_credit \
                       WHERE issuer = ?1 AND subject = ?2 ORDER BY at, source, external_id LIMIT ?3";
    all(conn, SQL, params![identity.issuer, identity.subject, at_most(limit)], rows::held_credit)
}

/// The credit that is held for an identity under this name.
pub(super) fn held(conn: &Connection, identity: &Identity, entry: &NewEntry) -> Result<Option<HeldCredit>> {
    const SQL: &str = "SELECT kind, amount, source, external_id, reason, at FROM held_credit \
                       WHERE issuer = ?1 AND subject = ?2 AND source = ?3 AND external_id = ?4";
    let named = params![identity.issuer, identity.subject, entry.source.name(), entry.external_id];
    first(conn, SQL, named, rows::held_credit)
}

fn account_id(row: &Row<'_>) -> Result<AccountId> {
    Ok(AccountId::from_bytes(row.get(0)?))
}

pub(super) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn first<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
