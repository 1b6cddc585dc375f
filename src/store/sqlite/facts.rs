//! What providers told of people, in the data file. One row for each identity, so that it is read as it was written.

use rusqlite::{Connection, Row, params};

use crate::store::{Identity, ProviderFacts, Replaced, Result, facts_json};

use super::{
    read::first,
    rows::{int, unsigned, wall, wall_if_any},
};

pub(super) fn read(conn: &Connection, identity: &Identity) -> Result<ProviderFacts> {
    const SQL: &str = "SELECT revision, gone_at, password_changed_at, capabilities, events FROM provider_facts \
                       WHERE identity = ?1";
    Ok(first(conn, SQL, [identity.digest()], facts)?.unwrap_or_default())
}

pub(super) fn put(conn: &Connection, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
    let sql = if facts.revision == 0 {
        "INSERT OR IGNORE INTO provider_facts (identity, revision, gone_at, password_changed_at, capabilities, events) \
         VALUES (?1, ?2 + 1, ?3, ?4, ?5, ?6)"
    } else {
        "UPDATE provider_facts SET revision = ?2 + 1, gone_at = ?3, password_changed_at = ?4, capabilities = ?5, \
         events = ?6 WHERE identity = ?1 AND revision = ?2"
    };
    let written = conn.prepare_cached(sql)?.execute(params![
        identity.digest(),
        int(facts.revision)?,
        facts.gone_at.map(wall).transpose()?,
        facts.password_changed_at.map(wall).transpose()?,
        facts_json::capabilities(facts),
        facts_json::events(facts),
    ])?;
    Ok(Replaced::when(written > 0))
}

/// Forgets what was told of an identity, unless it is that it is gone.
pub(super) fn forget(conn: &Connection, identity: &Identity) -> Result<()> {
    conn.prepare_cached("DELETE FROM provider_facts WHERE identity = ?1 AND gone_at IS NULL")?
        .execute([identity.digest()])?;
    Ok(())
}

pub(super) fn facts(row: &Row<'_>) -> Result<ProviderFacts> {
    let (capabilities, events): (String, String) = (row.get(3)?, row.get(4)?);
    let (capabilities, events) = facts_json::parse(&capabilities, &events)?;
    Ok(ProviderFacts {
        revision: unsigned(row, 0)?,
        gone_at: wall_if_any(row, 1)?,
        password_changed_at: wall_if_any(row, 2)?,
        capabilities,
        events,
    })
}
