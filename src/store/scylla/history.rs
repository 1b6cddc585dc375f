//! The heartbeat history: appended in batches of one partition, read day after day. Rows go by their TTL.
//!
//! A row's timestamp is when the session was heard of, and a deletion's is when it is made: what was heard of a deleted
//! person's session stays deleted, also where it is appended later.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::{DeserializeRow, SerializeRow};

use crate::{
    engine::AccountId,
    store::{Heard, HeardKey, HeardRow, Result, history::day},
    time::UnixMs,
    wire::{SessionId, StateBits},
};

use super::{
    ScyllaStore,
    rows::{at_most, bytes, int, meter, meter_from, odd, there, wall, wall_from},
};

/// Rows of a batch.
const ROWS_AT_ONCE: usize = 200;
/// Batches that are under way at a time: fewer than checkpoints have, who go first.
const BATCHES_AT_ONCE: usize = 8;
/// Days that are erased at a time.
const DAYS_AT_ONCE: usize = 16;
/// Days before the end of a session that may have rows which have not gone by themselves.
const DAYS_KEPT: i64 = 400;
/// Microseconds of a millisecond: timestamps of CQL are in these.
const MICROS: u64 = 1000;

/// What `heard_of` writes.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct Values {
    part: i16,
    day: i64,
    session: [u8; 16],
    at: i64,
    last_seen: i64,
    state: i32,
    timestamp: i64,
    ttl: i32,
}

/// A row of `at, last_seen, state`.
#[derive(DeserializeRow)]
struct HistoryRow {
    at: i64,
    last_seen: i64,
    state: Option<i32>,
}

impl ScyllaStore {
    pub(super) async fn write_history(&self, rows: &[HeardRow]) -> Result<()> {
        let mut partitions: BTreeMap<(i16, i64), Vec<Values>> = BTreeMap::new();
        for row in rows {
            let values = self.values(row)?;
            partitions.entry((values.part, values.day)).or_default().push(values);
        }
        let mut batches = Vec::with_capacity(partitions.len());
        for mut rows in partitions.into_values() {
            while rows.len() > ROWS_AT_ONCE {
                batches.push(rows.split_off(rows.len() - ROWS_AT_ONCE));
            }
            batches.push(rows);
        }
        stream::iter(batches)
            .map(|batch| async move { self.cluster.write_all(&self.cluster.statements.heard_of, &batch).await })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await
    }

    pub(super) async fn read_history(
        &self,
        session: &SessionId,
        after: HeardKey,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Heard>> {
        let (at, last_seen, until_at) = (wall(after.at)?, meter(after.last_seen)?, wall(until)?);
        let mut found: Vec<Heard> = Vec::new();
        for day in day(after.at)..=day(until) {
            if found.len() >= limit {
                break;
            }
            let rest = limit - found.len();
            let id = session.as_bytes().as_slice();
            let values = (part(session), day, id, at, last_seen, until_at, 0_i64, at_most(rest));
            let rows: Vec<HistoryRow> = self.cluster.pages(&self.cluster.statements.history, values, rest).await?;
            for row in rows {
                found.push(row.heard()?);
            }
        }
        Ok(found)
    }

    /// Erases what was heard of an account's sessions, as far as it has not gone by itself.
    pub(super) async fn erase_history(&self, account: &AccountId) -> Result<()> {
        let statements = &self.cluster.statements;
        let sessions: Vec<(Vec<u8>, Option<i64>, Option<i64>)> =
            self.cluster.pages(&statements.sessions_of, (account.as_bytes().as_slice(),), usize::MAX).await?;
        let mut places = Vec::new();
        for (session, opened_at, ended_at) in sessions {
            let session = SessionId::from_bytes(bytes(&session)?);
            let opened = day(wall_from(opened_at)?);
            let ended =
                ended_at.map_or(Ok(opened), |at| Ok::<_, crate::store::StoreError>(day(wall_from(Some(at))?)))?;
            places.push((session, opened, ended));
        }
        let latest = places.iter().map(|(_, _, ended)| *ended).max().unwrap_or_default();
        // Clocks of nodes differ a little, and midnight is in between.
        let days = places.into_iter().flat_map(|(session, opened, ended)| {
            ((opened - 1).max(latest - DAYS_KEPT)..=ended + 1).map(move |day| (session, day))
        });
        stream::iter(days)
            .map(|(session, day)| async move {
                let values = (part(&session), day, session.as_bytes().as_slice());
                self.cluster.write(&statements.erase_history, values).await
            })
            .buffer_unordered(DAYS_AT_ONCE)
            .try_collect()
            .await
    }

    fn values(&self, row: &HeardRow) -> Result<Values> {
        let HeardKey { at, last_seen } = row.heard.key;
        Ok(Values {
            part: part(&row.session),
            day: day(at),
            session: *row.session.as_bytes(),
            at: wall(at)?,
            last_seen: meter(last_seen)?,
            state: row.heard.state.0.into(),
            timestamp: int(at.as_ms().saturating_mul(MICROS))?,
            ttl: self.history_ttl,
        })
    }
}

impl HistoryRow {
    fn heard(self) -> Result<Heard> {
        let state = there(self.state)?;
        Ok(Heard {
            key: HeardKey { at: wall_from(Some(self.at))?, last_seen: meter_from(Some(self.last_seen))? },
            state: StateBits(u16::try_from(state).map_err(|_| odd("state of a client", &state.to_string()))?),
        })
    }
}

/// Which 4096th of all sessions it is in: a bucket of checkpoints has sixteen of them.
fn part(session: &SessionId) -> i16 {
    let id = session.as_bytes();
    i16::from(id[15]) << 4 | i16::from(id[14] & 0x0f)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_bucket_of_checkpoints_has_sixteen_parts() {
        let parts = |bucket: u8| -> BTreeSet<i16> {
            let session = |n: u8| SessionId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n, bucket]);
            (0..=u8::MAX).map(|n| part(&session(n))).collect()
        };
        assert_eq!(parts(0), (0..16).collect());
        assert_eq!(parts(u8::MAX), (4080..4096).collect());
    }
}
