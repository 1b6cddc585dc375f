//! Checkpoints, and the meter clock: maxima, written at themselves as timestamps, so that the last write is the greatest.
//!
//! A row is written without asking whether its session is open; whoever reads rows asks the accounts. Deletions carry the
//! wall clock as their timestamp, which is far beyond the meter: no late checkpoint brings a row back.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    engine::{Checkpoint, End, UnixMs, bucket},
    store::{ClockFact, ClusterStore, OpenAccount, Result},
    wire::{MeterTime, SessionId},
};

use super::{
    ScyllaStore,
    batcher::Row,
    rows::{self, CheckpointRow, Found, meter, wall},
};

/// Accounts of a bucket that are read at a time.
const ACCOUNTS_AT_ONCE: usize = 64;
/// Buckets that are looked through at a time for where the meter was.
const BUCKETS_AT_ONCE: usize = 16;

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

    pub(super) async fn recover_bucket(&self, bucket: u8) -> Result<Vec<OpenAccount>> {
        let found = self.checkpoints(bucket).await?;
        let open: Vec<_> = stream::iter(found)
            .map(|found| self.open_account(found))
            .buffer_unordered(ACCOUNTS_AT_ONCE)
            .try_collect()
            .await?;
        let mut open: Vec<_> = open.into_iter().flatten().collect();
        open.sort_unstable_by_key(|open: &OpenAccount| open.account.id);
        Ok(open)
    }

    /// Where the meter was, whatever a crash left undone: no earlier than what is kept, and than the checkpoint and the
    /// start of any open session.
    pub(super) async fn read_clock(&self) -> Result<Option<ClockFact>> {
        let kept: Option<(Option<i64>, Option<i64>)> = self.cluster.row(&self.cluster.statements.clock, ()).await?;
        let kept = kept.map(rows::clock).transpose()?;
        let later = move |found: &Found| kept.is_none_or(|kept| found.last_seen > kept.last_alive);
        let ahead: Vec<Vec<_>> = stream::iter(0..=u8::MAX)
            .map(|bucket| async move {
                let found = self.checkpoints(bucket).await?;
                Ok::<_, crate::store::StoreError>(found.into_iter().filter(later).collect())
            })
            .buffer_unordered(BUCKETS_AT_ONCE)
            .try_collect()
            .await?;
        // From the latest on: the first whose session is open is where the meter was.
        let mut ahead: Vec<Found> = ahead.into_iter().flatten().collect();
        ahead.sort_unstable_by_key(|found| std::cmp::Reverse(found.last_seen));
        for found in ahead {
            if let Some(OpenAccount { account, last_seen }) = self.open_account(found).await?
                && let Some(session) = account.open()
            {
                // Nobody said what the wall clock was then. Both clocks run at the same rate.
                let wall = session.started_at.plus(last_seen.since(session.started));
                return Ok(Some(ClockFact { last_alive: last_seen, wall }));
            }
        }
        Ok(kept)
    }

    pub(super) async fn raise_clock(&self, last_alive: MeterTime, at_wall: UnixMs) -> Result<()> {
        let at = meter(last_alive)?;
        self.cluster.write(&self.cluster.statements.keep_clock, (at, wall(at_wall)?, at)).await
    }

    async fn checkpoints(&self, bucket: u8) -> Result<Vec<Found>> {
        let statement = &self.cluster.statements.checkpoints;
        let rows: Vec<CheckpointRow> =
            self.cluster.pages(statement, (shard(bucket), i16::from(bucket)), usize::MAX).await?;
        rows.into_iter().filter_map(|row| row.found().transpose()).collect()
    }

    /// The account of a checkpoint, if the checkpoint is one of its open session. What is left of a session that ended
    /// is cleared away.
    async fn open_account(&self, found: Found) -> Result<Option<OpenAccount>> {
        let owned = self.read_account(&found.account).await?;
        if let Some(account) = owned.map(|owned| owned.account)
            && let Some(session) = account.open()
            && session.id == found.session
        {
            let last_seen = found.last_seen.max(session.started);
            return Ok(Some(OpenAccount { account, last_seen }));
        }
        // A session that nobody knows may be about to open.
        if let Some(end) = self.read_session(&found.session).await?.and_then(|record| record.end) {
            self.drop_checkpoint(&found.session, &end).await?;
        }
        Ok(None)
    }
}
