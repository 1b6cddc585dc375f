//! Records of rewards and shops, in the data file.

use rusqlite::{Connection, Row, params};

use crate::store::{Removed, Replaced, Result, RewardKey, RewardRecord};

use super::{
    read::{all, at_most, first},
    rows::{int, unsigned},
};

pub(super) fn read(conn: &Connection, key: &RewardKey) -> Result<RewardRecord> {
    const SQL: &str = "SELECT part, name, revision, content FROM reward_records WHERE part = ?1 AND name = ?2";
    Ok(first(conn, SQL, [&key.part, &key.name], record)?.map(|(_, record)| record).unwrap_or_default())
}

pub(super) fn put(conn: &Connection, key: &RewardKey, record: &RewardRecord) -> Result<Replaced> {
    let sql = if record.revision == 0 {
        "INSERT OR IGNORE INTO reward_records (part, name, revision, content) VALUES (?1, ?2, ?3 + 1, ?4)"
    } else {
        "UPDATE reward_records SET revision = ?3 + 1, content = ?4 WHERE part = ?1 AND name = ?2 AND revision = ?3"
    };
    let written =
        conn.prepare_cached(sql)?.execute(params![key.part, key.name, int(record.revision)?, record.content])?;
    Ok(Replaced::when(written > 0))
}

pub(super) fn list(
    conn: &Connection,
    part: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(RewardKey, RewardRecord)>> {
    const SQL: &str = "SELECT part, name, revision, content FROM reward_records \
                       WHERE part = ?1 AND (?2 IS NULL OR name > ?2) ORDER BY name LIMIT ?3";
    all(conn, SQL, params![part, after, at_most(limit)], record)
}

pub(super) fn remove(conn: &Connection, key: &RewardKey) -> Result<Removed> {
    let mut statement = conn.prepare_cached("DELETE FROM reward_records WHERE part = ?1 AND name = ?2")?;
    Ok(Removed::when(statement.execute([&key.part, &key.name])? > 0))
}

/// A row of `part, name, revision, content`.
pub(super) fn record(row: &Row<'_>) -> Result<(RewardKey, RewardRecord)> {
    let key = RewardKey { part: row.get(0)?, name: row.get(1)? };
    Ok((key, RewardRecord { revision: unsigned(row, 2)?, content: row.get(3)? }))
}
