//! The audit log: appended twice, by the hour and by account. Rows go by their TTL.

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::DeserializeRow;

use crate::{
    engine::AccountId,
    store::{Actor, ActorKind, AuditAct, AuditDay, AuditKey, AuditRecord, Result, Surface},
    time::{Millis, UnixMs},
};

use super::{
    ScyllaStore,
    rows::{at_most, bytes, cell, int, odd, there, wall, wall_from},
};

/// Rows that are appended at a time.
const AT_ONCE: usize = 16;
const HOUR: Millis = Millis::from_secs(3600);
const HOURS_OF_A_DAY: u64 = 24;
/// The last second, and a day less, that servers which count seconds in 32 bits let a row live until: 2038-01-18. They
/// refuse a write that goes further; those that know later times take it.
const LAST_SECOND: u64 = i32::MAX as u64 - 86_400;
/// Rows of before are from another store, or a clock that is wrong: 2026-12-01.
const NOT_NOW: u64 = 1_796_083_200;
/// Whoever runs this when so few seconds are left has servers that know later times.
const TOO_FEW: u64 = 90 * 86_400;

/// A row of either table.
#[derive(DeserializeRow)]
pub(super) struct AuditRow {
    at: i64,
    id: Vec<u8>,
    act: Option<String>,
    actor: Option<String>,
    actor_name: Option<String>,
    surface: Option<String>,
    account: Option<Vec<u8>>,
    target: Option<String>,
    detail: Option<String>,
}

impl ScyllaStore {
    /// Appends rows. Of one that is there, only what a crash left out is written.
    pub(super) async fn append(&self, rows: &[AuditRecord]) -> Result<()> {
        stream::iter(rows.to_vec())
            .map(|row| async move {
                let key = (int(hour(row.key))?, wall(row.key.at)?, row.key.id);
                let known: Option<AuditRow> = self.cluster.row(&self.cluster.statements.audited, key).await?;
                match known {
                    Some(known) => {
                        let known = known.record()?;
                        self.write_of_account(&known, ttl_at(known.key.at, self.audit_ttl)).await
                    }
                    None => self.write_audit(&row).await,
                }
            })
            // In order: of two rows with one key, the first counts.
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Appends a row that is new, or the same.
    pub(super) async fn write_audit(&self, row: &AuditRecord) -> Result<()> {
        self.write_audit_for(row, ttl_at(row.key.at, self.audit_ttl)).await
    }

    /// The same, for so many seconds.
    pub(super) async fn write_audit_for(&self, row: &AuditRecord, ttl: i32) -> Result<()> {
        let values = (
            int(hour(row.key))?,
            wall(row.key.at)?,
            row.key.id,
            row.act.name(),
            row.actor.kind.name(),
            cell(false, row.actor.name.as_deref()),
            row.actor.surface.name(),
            cell(false, row.account.as_ref().map(|id| id.as_bytes().as_slice())),
            cell(false, row.target.as_deref()),
            cell(false, row.detail.as_deref()),
            ttl,
        );
        tokio::try_join!(self.cluster.write(&self.cluster.statements.audit, values), self.write_of_account(row, ttl))?;
        Ok(())
    }

    pub(super) async fn read_audit_of_day(
        &self,
        day: AuditDay,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        let begins = AuditKey { at: day.begins(), id: [0; 8] };
        let first = hour(after.unwrap_or(begins).max(begins));
        let ends = hour(begins) + HOURS_OF_A_DAY;
        let mut found = Vec::new();
        for hour in first..ends {
            if found.len() >= limit {
                break;
            }
            let (at, id) = place(after)?;
            let rest = limit - found.len();
            let values = (int(hour)?, at, id, at_most(rest));
            let rows: Vec<AuditRow> = self.cluster.pages(&self.cluster.statements.audit_in_hour, values, rest).await?;
            for row in rows {
                found.push(row.record()?);
            }
        }
        Ok(found)
    }

    pub(super) async fn read_audit_of_account(
        &self,
        account: &AccountId,
        after: Option<AuditKey>,
        limit: usize,
    ) -> Result<Vec<AuditRecord>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (at, id) = place(after)?;
        let values = (account.as_bytes().as_slice(), at, id, at_most(limit));
        let rows: Vec<AuditRow> = self.cluster.pages(&self.cluster.statements.audit_in_account, values, limit).await?;
        rows.into_iter().map(AuditRow::record).collect()
    }

    async fn write_of_account(&self, row: &AuditRecord, ttl: i32) -> Result<()> {
        let Some(account) = &row.account else { return Ok(()) };
        let values = (
            account.as_bytes().as_slice(),
            wall(row.key.at)?,
            row.key.id,
            row.act.name(),
            row.actor.kind.name(),
            cell(false, row.actor.name.as_deref()),
            row.actor.surface.name(),
            cell(false, row.target.as_deref()),
            cell(false, row.detail.as_deref()),
            ttl,
        );
        self.cluster.write(&self.cluster.statements.audit_of_account, values).await
    }
}

impl AuditRow {
    pub(super) fn record(self) -> Result<AuditRecord> {
        fn named<T>(name: Option<String>, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
            let name = there(name)?;
            parse(&name).ok_or_else(|| odd(what, &name))
        }
        Ok(AuditRecord {
            key: AuditKey { at: wall_from(Some(self.at))?, id: bytes(&self.id)? },
            act: named(self.act, "act of the audit log", AuditAct::parse)?,
            actor: Actor {
                kind: named(self.actor, "actor of the audit log", ActorKind::parse)?,
                name: self.actor_name,
                surface: named(self.surface, "surface of the audit log", Surface::parse)?,
            },
            account: self.account.map(|id| bytes(&id).map(AccountId::from_bytes)).transpose()?,
            target: self.target,
            detail: self.detail,
        })
    }
}

/// For how many seconds a row that is written at an instant may live, if `ttl` is wanted.
pub(super) fn ttl_at(at: UnixMs, ttl: i32) -> i32 {
    let now = (at.as_ms() / 1000).max(NOT_NOW);
    match LAST_SECOND.saturating_sub(now) {
        0..TOO_FEW => ttl,
        most => ttl.min(i32::try_from(most).unwrap_or(i32::MAX)),
    }
}

/// What the first row comes after; the empty blob is before every id.
fn place(after: Option<AuditKey>) -> Result<(i64, Vec<u8>)> {
    Ok(match after {
        Some(key) => (wall(key.at)?, key.id.to_vec()),
        None => (0, Vec::new()),
    })
}

/// The hour that a row is in, since 1970.
fn hour(key: AuditKey) -> u64 {
    key.at.as_ms() / HOUR.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_to_live_beyond_what_a_server_can_count() {
        let at = |seconds: u64| UnixMs::from_ms(seconds * 1000);
        let (year, most) = (365 * 86_400, 20 * 365 * 86_400);
        assert_eq!(ttl_at(at(NOT_NOW), year), year);
        assert_eq!(NOT_NOW + u64::try_from(ttl_at(at(NOT_NOW), most)).unwrap(), LAST_SECOND);
        assert_eq!(ttl_at(at(0), most), ttl_at(at(NOT_NOW), most));
        assert_eq!(ttl_at(at(LAST_SECOND - TOO_FEW + 1), most), most);
        assert_eq!(ttl_at(at(LAST_SECOND + 1), most), most);
    }

    #[test]
    fn hours_make_up_days() {
        let day = AuditDay::from_number(20_000);
        let key = |at| AuditKey { at, id: [0; 8] };
        assert_eq!(hour(key(day.begins())) + HOURS_OF_A_DAY, hour(key(day.ends())));
    }
}
