//! Checkpoints, and the meter clock: maxima, written at themselves as timestamps, so that the last write is the greatest.
//!
//! A row is written without asking whether its session is open; whoever reads rows asks the accounts. Deletions carry the
//! wall clock as their timestamp, which is far beyond the meter: no late checkpoint brings a row back.

use crate::{
    engine::{Checkpoint, End, UnixMs, bucket},
    store::{ClusterStore, Result},
    wire::{MeterTime, SessionId},
};

use super::{
    ScyllaStore,
    batcher::Row,
    rows::{meter, wall},
};

/// The partition that a bucket is in.
pub(super) fn shard(bucket: u8) -> i8 {
    i8::try_from(bucket / 16).expect("a sixteenth of a byte")
}

impl ScyllaStore {
    pub(super) async fn write_checkpoints(&self, bucket: u8, rows: &[Checkpoint]) -> Result<()> {
        let rows = rows.iter().map(|row| Row::new(bucket, row)).collect::<Result<_>>()?;
        self.batcher.write(shard(bucket), rows, &self.cluster).await
    }

    /// Takes away the checkpoint of a session that is over. The clock may not fall behind it: another node's meter may have
    /// been ahead of the one that the end is by.
    pub(super) async fn drop_checkpoint(&self, session: &SessionId, end: &End) -> Result<()> {
        let bucket = bucket(session);
        let kept = self.heard(bucket, &[*session]).await?;
        if let Some(ahead) = kept.first().map(|row| row.last_seen.since(end.at)).filter(|ahead| ahead.get() > 0) {
            self.raise_clock(end.at.plus(ahead), end.at_wall.plus(ahead)).await?;
        }
        let values = (shard(bucket), i16::from(bucket), session.as_bytes().as_slice());
        self.cluster.write(&self.cluster.statements.drop_checkpoint, values).await
    }

    pub(super) async fn raise_clock(&self, last_alive: MeterTime, at_wall: UnixMs) -> Result<()> {
        let at = meter(last_alive)?;
        self.cluster.write(&self.cluster.statements.keep_clock, (at, wall(at_wall)?, at)).await
    }
}
