//! Checkpoints, and the meter clock: maxima, written at themselves as timestamps, so that the last write is the greatest.
//!
//! A row is written without asking whether its session is open; whoever reads rows asks the accounts. Deletions carry the
//! meter as their timestamp too, an hour beyond the end of the session: no checkpoint that is written late brings a row
//! back, and once the meter has gone on for as long, the cluster may forget the deletion. By the wall clock, which is far
//! beyond the meter, it never could: it does not forget a deletion while anything older is written to the partition.

use std::sync::atomic::Ordering;

use crate::{
    engine::{Checkpoint, End, bucket},
    store::{ClusterStore, Result, is_void, stamp},
    time::{MeterTime, Millis, UnixMs},
    wire::SessionId,
};

use super::{
    ScyllaStore,
    batcher::Row,
    rows::{int, meter, shard, wall},
};

/// How long after the end of a session, in meter time, no node writes a checkpoint of it any more, and how long after an
/// activation began it has succeeded or never will. A checkpoint that comes later still is without an account, and is
/// cleared away.
pub(super) const MARGIN: Millis = Millis::from_secs(3600);

impl ScyllaStore {
    pub(super) async fn write_checkpoints(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        let row = |row| Row::new(bucket, row, self.stamped(row.last_seen)?);
        let rows = rows.iter().map(row).collect::<Result<_>>()?;
        self.batcher.write(shard(bucket), rows, &self.cluster).await
    }

    /// Takes away the checkpoint of a session that is over. The clock may not fall behind it: another node's meter may have
    /// been ahead of the one that the end is by. `written` is the timestamp of what is known to be there: a node that has
    /// not joined yet is of no era.
    pub(super) async fn drop_checkpoint(&self, session: &SessionId, end: &End, written: i64) -> Result<()> {
        let bucket = bucket(session);
        let kept = self.heard(bucket, &[*session]).await?;
        // Not if it is further ahead than any meter of the era can be: then a node wrote it that had been left behind.
        let kept = kept.first().map(|row| row.last_seen).filter(|kept| !is_void(*kept, end.at));
        let ahead = kept.map_or(Millis::ZERO, |kept| kept.since(end.at));
        if ahead > Millis::ZERO {
            self.raise_clock(end.at.plus(ahead), end.at_wall.plus(ahead)).await?;
        }
        self.delete_checkpoint(session, self.stamped(end.at.plus(ahead).plus(MARGIN))?.max(written)).await
    }

    /// Takes away what was written of a checkpoint by this timestamp or an earlier one.
    pub(super) async fn delete_checkpoint(&self, session: &SessionId, stamp: i64) -> Result<()> {
        let bucket = bucket(session);
        let values = (stamp, shard(bucket), i16::from(bucket), session.as_bytes().as_slice());
        self.cluster.write(&self.cluster.statements.drop_checkpoint, values).await
    }

    pub(super) async fn raise_clock(&self, last_alive: MeterTime, at_wall: UnixMs) -> Result<()> {
        let values = (meter(last_alive)?, wall(at_wall)?, self.stamped(last_alive)?);
        self.cluster.write(&self.cluster.statements.keep_clock, values).await
    }

    /// The timestamp of what is written of an instant of the meter without a condition. Deletions of such cells need one
    /// that is no less.
    pub(super) fn stamped(&self, at: MeterTime) -> Result<i64> {
        int(stamp(self.era.load(Ordering::Acquire), at))
    }
}
