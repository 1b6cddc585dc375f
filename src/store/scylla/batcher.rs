//! Checkpoints that come together are written together.
//!
//! A call brings the rows of one bucket; sixteen buckets are a partition, and their calls come at about the same time. So who
//! has the partition's turn writes what all of them have brought, in batches of one partition, and each is told.
//! Nothing is kept here beyond a call: what is dirty stays so in the hot table until it has been written.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use scylla::SerializeRow;
use tokio::sync::{Mutex as Gate, oneshot};

use crate::{
    engine::Checkpoint,
    store::{Result, StoreError},
};

use super::{
    cluster::Cluster,
    rows::{meter, shard},
};

/// Partitions of checkpoints.
const SHARDS: usize = 16;
/// Rows of a batch: some 20 KB on the wire. More rows do not make a row cheaper, and clusters warn of far more.
const ROWS_AT_ONCE: usize = 200;
/// Batches of a partition that are under way at a time.
const BATCHES_AT_ONCE: usize = 2;

/// A row to be written.
#[derive(Clone, Copy)]
pub(super) struct Row {
    stamp: i64,
    last_seen: i64,
    bucket: u8,
    session: [u8; 16],
}

/// [`Row`] as the statement takes it.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct Values {
    stamp: i64,
    last_seen: i64,
    shard: i8,
    bucket: i16,
    session: [u8; 16],
}

/// Rows that wait for their partition's turn.
struct Waiting {
    rows: Vec<Row>,
    done: oneshot::Sender<Result<()>>,
}

#[derive(Default)]
struct Shard {
    waiting: Mutex<Vec<Waiting>>,
    turn: Gate<()>,
}

/// The rows of all calls that are under way.
#[derive(Default)]
pub(super) struct Batcher {
    shards: [Shard; SHARDS],
    batches: Arc<AtomicU64>,
}

impl Row {
    pub(super) fn new(bucket: u8, row: &Checkpoint, stamp: i64) -> Result<Self> {
        Ok(Self { stamp, last_seen: meter(row.last_seen)?, bucket, session: *row.session.as_bytes() })
    }
}

impl From<Row> for Values {
    fn from(Row { stamp, last_seen, bucket, session }: Row) -> Self {
        Self { stamp, last_seen, shard: shard(bucket), bucket: bucket.into(), session }
    }
}

impl Batcher {
    /// How many batches have been sent: a counter that goes on counting.
    pub(super) fn batches(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.batches)
    }

    /// Writes rows of one partition, together with what others have brought for it.
    pub(super) async fn write(&self, shard: i8, rows: Vec<Row>, cluster: &Cluster) -> Result<()> {
        let shard = &self.shards[usize::try_from(shard).expect("shards count from 0")];
        let (done, mut answer) = oneshot::channel();
        shard.waiting.lock().push(Waiting { rows, done });
        // Who comes at the same time is not here yet.
        tokio::task::yield_now().await;
        let turn = shard.turn.lock().await;
        if let Ok(answer) = answer.try_recv() {
            return answer;
        }
        let all = std::mem::take(&mut *shard.waiting.lock());
        let rows = all.iter().flat_map(|waiting| waiting.rows.iter().copied().map(Values::from)).collect();
        let written = self.write_all(rows, cluster).await;
        for waiting in all {
            // Who has gone away does not want to know.
            drop(waiting.done.send(written.clone()));
        }
        drop(turn);
        // It had been taken by somebody who was then cut off.
        answer.try_recv().unwrap_or_else(|_| Err(StoreError::Unavailable("checkpoints were cut off".to_owned())))
    }

    async fn write_all(&self, mut rows: Vec<Values>, cluster: &Cluster) -> Result<()> {
        let mut batches = Vec::with_capacity(rows.len().div_ceil(ROWS_AT_ONCE));
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(ROWS_AT_ONCE));
            batches.push(std::mem::replace(&mut rows, rest));
        }
        self.batches.fetch_add(batches.len() as u64, Ordering::Relaxed);
        stream::iter(batches)
            .map(|batch| async move { cluster.write_all(&cluster.statements.checkpoint, &batch).await })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await
    }
}
