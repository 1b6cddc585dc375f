//! The data file, read from its first row to its last.

use async_trait::async_trait;
use rusqlite::{Connection, Row as SqlRow};
use tokio::sync::mpsc;

use crate::{
    engine::AccountId,
    store::{
        Identity, Result, StoreError,
        moving::{OpenSession, PAGE, RememberedSession, Row, Source},
    },
    wire::SessionId,
};

use super::{
    SqliteStore, audit, facts, hub, logouts,
    read::OWNED,
    rewards,
    rows::{self, meter_at, wall_at},
};

#[async_trait]
impl Source for SqliteStore {
    async fn read_out(&self, pages: mpsc::Sender<Vec<Row>>) -> Result<()> {
        self.read(move |conn| {
            let mut out = Out { page: Vec::with_capacity(PAGE), pages };
            everything(conn, &mut out)?;
            out.turn()
        })
        .await
    }
}

/// Rows on their way.
struct Out {
    page: Vec<Row>,
    pages: mpsc::Sender<Vec<Row>>,
}

impl Out {
    fn put(&mut self, row: Row) -> Result<()> {
        self.page.push(row);
        if self.page.len() >= PAGE { self.turn() } else { Ok(()) }
    }

    fn turn(&mut self) -> Result<()> {
        let page = std::mem::replace(&mut self.page, Vec::with_capacity(PAGE));
        self.pages.blocking_send(page).map_err(|_| StoreError::Unavailable("nobody reads any more".to_owned()))
    }
}

/// Each table in the order of its primary key.
fn everything(conn: &Connection, out: &mut Out) -> Result<()> {
    each(
        conn,
        "SELECT kid, algorithm, sealed, created_at, signs_from, retires_at FROM signing_keys ORDER BY kid",
        |row| out.put(Row::SigningKey(rows::sealed_key(row)?)),
    )?;
    each(conn, "SELECT client_id, name, audience, secret_hashes, created_at FROM edges ORDER BY client_id", |row| {
        out.put(Row::Edge(rows::edge(row)?))
    })?;
    each(conn, "SELECT id, entries, seed, granted, leased_at, retires_at FROM status_lists ORDER BY id", |row| {
        out.put(Row::StatusList(rows::status_lease(row)?))
    })?;
    each(conn, &format!("{OWNED} ORDER BY a.id"), |row| out.put(Row::Account(Box::new(rows::owned(row)?))))?;
    each(
        conn,
        "SELECT number, kind, amount, source, external_id, reason, at, owed, account FROM entries \
         ORDER BY account, number",
        |row| out.put(Row::Entry(account(row, 8)?, rows::entry(row)?)),
    )?;
    each(
        conn,
        "SELECT id, account, started, started_at, end_reason, end_at, end_at_wall, end_last_seen FROM sessions \
         ORDER BY id",
        |row| {
            out.put(Row::Session(RememberedSession {
                id: SessionId::from_bytes(row.get(0)?),
                account: account(row, 1)?,
                started: meter_at(row, 2)?,
                started_at: wall_at(row, 3)?,
                end: rows::end(row, 4)?,
            }))
        },
    )?;
    each(conn, "SELECT key_id, account, hash, created_at, scope FROM account_keys ORDER BY account, key_id", |row| {
        out.put(Row::AccountKey(rows::account_key(row)?))
    })?;
    each(conn, "SELECT session, account, last_seen FROM checkpoints ORDER BY bucket, session", |row| {
        out.put(Row::Checkpoint(OpenSession {
            session: SessionId::from_bytes(row.get(0)?),
            account: account(row, 1)?,
            last_seen: meter_at(row, 2)?,
        }))
    })?;
    held(conn, out)?;
    each(
        conn,
        "SELECT revision, gone_at, password_changed_at, capabilities, events, identity FROM provider_facts \
         ORDER BY identity",
        |row| out.put(Row::Facts(row.get(5)?, facts::facts(row)?)),
    )?;
    each(
        conn,
        "SELECT at, id, act, actor, actor_name, surface, account, target, detail FROM audit ORDER BY at, id",
        |row| out.put(Row::Audit(audit::record(row)?)),
    )?;
    each(conn, "SELECT epoch, version, profile, account FROM hub_people ORDER BY account", |row| {
        out.put(Row::Person(account(row, 3)?, hub::read_person(row)?))
    })?;
    each(conn, "SELECT digest, account, last_seen, record FROM hub_sessions ORDER BY digest", |row| {
        out.put(Row::HubSession(Box::new(hub::session(row)?)))
    })?;
    each(conn, "SELECT part, name, revision, content FROM reward_records ORDER BY part, name", |row| {
        let (key, record) = rewards::record(row)?;
        out.put(Row::Reward(key, record))
    })?;
    each(conn, "SELECT client_id, record FROM hub_clients ORDER BY client_id", |row| {
        out.put(Row::HubClient(hub::client(row)?))
    })?;
    each(conn, "SELECT digest, account, record FROM hub_handles ORDER BY digest", |row| {
        out.put(Row::Handle(hub::handle(row)?))
    })?;
    each(
        conn,
        "SELECT session, client_id, account, ends_at FROM hub_participants ORDER BY session, client_id",
        |row| out.put(Row::Participant(logouts::participant(row)?)),
    )?;
    each(
        conn,
        "SELECT client_id, account, sid, due, since, tries FROM hub_logouts ORDER BY client_id, account, sid",
        |row| out.put(Row::Logout(logouts::logout(row)?)),
    )?;
    match super::read::clock(conn)? {
        Some(clock) => out.put(Row::Clock(clock)),
        None => Ok(()),
    }
}

/// What is held for one person goes together.
fn held(conn: &Connection, out: &mut Out) -> Result<()> {
    let mut of: Option<(Identity, Vec<_>)> = None;
    each(
        conn,
        "SELECT kind, amount, source, external_id, reason, at, issuer, subject FROM held_credit \
         ORDER BY issuer, subject, source, external_id",
        |row| {
            let identity = Identity { issuer: row.get(6)?, subject: row.get(7)? };
            let credit = rows::held_credit(row)?;
            match &mut of {
                Some((whose, credits)) if *whose == identity => credits.push(credit),
                _ => {
                    if let Some((whose, credits)) = of.replace((identity, vec![credit])) {
                        out.put(Row::Held(whose, credits))?;
                    }
                }
            }
            Ok(())
        },
    )?;
    match of {
        Some((whose, credits)) => out.put(Row::Held(whose, credits)),
        None => Ok(()),
    }
}

fn each(conn: &Connection, sql: &str, mut see: impl FnMut(&SqlRow<'_>) -> Result<()>) -> Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        see(row)?;
    }
    Ok(())
}

fn account(row: &SqlRow<'_>, column: usize) -> Result<AccountId> {
    Ok(AccountId::from_bytes(row.get(column)?))
}
