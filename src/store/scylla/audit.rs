//! The audit log: appended twice, by the hour and by account. Rows go by their TTL.

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::DeserializeRow;

use crate::{
    engine::AccountId,
    store::{Actor, ActorKind, AuditAct, AuditDay, AuditKey, AuditRecord, Result, Surface},
    wire::Millis,
};

use super::{
    ScyllaStore,
    rows::{at_most, bytes, int, odd, there, wall, wall_from},
};

/// Rows that are appended at a time.
const AT_ONCE: usize = 16;
const HOUR: Millis = Millis::from_secs(3600);
const HOURS_OF_A_DAY: u64 = 24;

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
                    Some(known) => self.write_of_account(&known.record()?, self.audit_ttl).await,
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
        self.write_audit_for(row, self.audit_ttl).await
    }

    /// The same, for so many seconds.
    pub(super) async fn write_audit_for(&self, row: &AuditRecord, ttl: i32) -> Result<()> {
        let values = (
            int(hour(row.key))?,
            wall(row.key.at)?,
            row.key.id,
            row.act.name(),
            row.actor.kind.name(),
            row.actor.name.as_deref(),
            row.actor.surface.name(),
            row.account.as_ref().map(|id| id.as_bytes().as_slice()),
            row.target.as_deref(),
            row.detail.as_deref(),
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
            row.actor.name.as_deref(),
            row.actor.surface.name(),
            row.target.as_deref(),
            row.detail.as_deref(),
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
    fn hours_make_up_days() {
        let day = AuditDay::from_number(20_000);
        let key = |at| AuditKey { at, id: [0; 8] };
        assert_eq!(hour(key(day.begins())) + HOURS_OF_A_DAY, hour(key(day.ends())));
    }
}
