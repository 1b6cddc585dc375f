//! Checkpoints, and the meter clock: maxima, written at themselves as timestamps, so that the last write is the greatest.
//!
//! A row is written without asking whether its session is open; whoever reads rows asks the accounts. Deletions carry the
//! wall clock as their timestamp, which is far beyond the meter: no late checkpoint brings a row back.

use std::sync::atomic::Ordering;

use crate::{
    engine::{Checkpoint, End, UnixMs, bucket},
    store::{ClusterStore, Result, is_void, stamp},
    wire::{MeterTime, SessionId},
};

use super::{
    ScyllaStore,
    batcher::Row,
    rows::{int, meter, wall},
};

/// The partition that a bucket is in.
pub(super) fn shard(bucket: u8) -> i8 {
    i8::try_from(bucket / 16).expect("a sixteenth of a byte")
}

impl ScyllaStore {
    pub(super) async fn write_checkpoints(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        let row = |row| Row::new(bucket, row, self.stamped(row.last_seen)?);
        let rows = rows.iter().map(row).collect::<Result<_>>()?;
        self.batcher.write(shard(bucket), rows, &self.cluster).await
    }

    /// Takes away the checkpoint of a session that is over. The clock may not fall behind it: another node's meter may have
    /// been ahead of the one that the end is by.
    pub(super) async fn drop_checkpoint(&self, session: &SessionId, end: &End) -> Result<()> {
        let bucket = bucket(session);
        let kept = self.heard(bucket, &[*session]).await?;
        // Not if it is further ahead than any meter of the era can be: then a node wrote it that had been left behind.
        let ahead = kept.first().filter(|row| !is_void(row.last_seen, end.at)).map(|row| row.last_seen.since(end.at));
        if let Some(ahead) = ahead.filter(|ahead| ahead.get() > 0) {
            self.raise_clock(end.at.plus(ahead), end.at_wall.plus(ahead)).await?;
        }
        let values = (shard(bucket), i16::from(bucket), session.as_bytes().as_slice());
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
