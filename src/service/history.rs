//! The heartbeat history: of each checkpoint, when its session was heard of and what the client said then.
//!
//! Nobody waits for it. Rows are put into a queue once their checkpoint is in the store, and appended from there. What the
//! queue has no room for, and what the store does not take in time, is dropped and counted.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    control::peers::Membership,
    engine::{Checkpoint, Engine},
    store::{Heard, HeardKey, HeardRow, Store, StoreError},
    telemetry::{HistoryOutcome, Telemetry},
    time::{Clock, MeterTime, Millis},
};

/// Rows of the audit log or the heartbeat history that are dropped at once, and how often in a row.
pub(super) const PIECE: usize = 2048;
pub(super) const PIECES: usize = 64;
/// Rows that wait at most: 7 MB of them, or two of the sixteen parts of a million sessions.
const WAITING: usize = 1 << 17;
/// Rows that are appended at a time.
const AT_ONCE: usize = 4096;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for more to append together, once there is something.
const GATHERING: Duration = Duration::from_millis(100);
/// How long the last rows may take when the service stops.
const LAST: Duration = Duration::from_secs(1);
/// How often it is said that rows are dropped.
const SAY_EVERY: Millis = Millis::from_secs(60);

/// How long it rests between pieces of a history that is to go.
const REST: Duration = Duration::from_millis(200);

/// Drops a history that is not to be kept any longer, piece by piece.
pub(super) async fn forget(store: &dyn Store, clock: &dyn Clock) {
    // The day that goes on has ended by then.
    let tomorrow = clock.wall().plus(Millis::from_secs(86_400));
    loop {
        match store.prune_history(tomorrow, PIECE).await {
            Ok(dropped) if dropped < PIECE => return,
            Ok(_) => sleep(REST).await,
            Err(error) => {
                return tracing::warn!(%error, "the heartbeat history is off, and what there is could not be dropped");
            }
        }
    }
}

/// Writes down when sessions were heard of.
pub struct History {
    keep: Millis,
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    membership: Arc<dyn Membership>,
    telemetry: Telemetry,
    waiting: Mutex<VecDeque<HeardRow>>,
    came: Notify,
    /// When it was last said that rows are dropped.
    said: Mutex<Option<MeterTime>>,
}

impl History {
    /// A history that is kept for so long.
    pub fn new(
        keep: Millis,
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        membership: Arc<dyn Membership>,
        telemetry: Telemetry,
    ) -> Self {
        let (waiting, came, said) = Default::default();
        Self { keep, engine, store, clock, membership, telemetry, waiting, came, said }
    }

    /// What there is to write down of these checkpoints. To be asked before they are written: a session may be over when
    /// they are.
    pub fn rows_of(&self, checkpoints: &[Checkpoint]) -> Vec<HeardRow> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let row = |checkpoint: &Checkpoint| {
            let report = self.engine.report(&checkpoint.session)?;
            let key = HeardKey { at: wall.minus(now.since(checkpoint.last_seen)), last_seen: checkpoint.last_seen };
            let heard = Heard { key, state: report.state };
            Some(HeardRow { account: report.account, session: checkpoint.session, heard })
        };
        checkpoints.iter().filter_map(row).collect()
    }

    /// Has rows appended, if there is room for them. Never waits.
    pub fn note(&self, rows: Vec<HeardRow>) {
        let mut waiting = self.waiting.lock();
        let taken = rows.len().min(WAITING - waiting.len());
        waiting.extend(&rows[..taken]);
        drop(waiting);
        self.came.notify_one();
        self.lose(rows.len() - taken, "too many wait to be written");
    }

    /// Appends what comes, for ever.
    pub async fn write_for_ever(&self) {
        loop {
            self.came.notified().await;
            sleep(GATHERING).await;
            while self.append_some().await {}
        }
    }

    /// Appends what is left, as far as that can be done soon. The last thing it does.
    pub async fn finish(&self) {
        let all = async { while self.append_some().await {} };
        if timeout(LAST, all).await.is_err() {
            let left = std::mem::take(&mut *self.waiting.lock());
            self.lose(left.len(), "the service stops");
        }
    }

    /// Drops the days whose time has come, so many rows at a time that no act waits for long. `false` if there are more.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the next call goes on.
    pub async fn prune(&self) -> Result<bool, StoreError> {
        let before = self.clock.wall().minus(self.keep);
        for _ in 0..PIECES {
            if self.store.prune_history(before, PIECE).await? < PIECE {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Appends rows that wait. `false` if there are none.
    async fn append_some(&self) -> bool {
        let rows: Vec<HeardRow> = {
            let mut waiting = self.waiting.lock();
            let most = waiting.len().min(AT_ONCE);
            waiting.drain(..most).collect()
        };
        if rows.is_empty() {
            return false;
        }
        let mut taken = Taken { history: self, rows: rows.len(), why: "it was cut off".to_owned() };
        let append = async {
            let _may = self.membership.confirm().await?;
            self.store.append_history(&rows).await
        };
        match timeout(PATIENCE, append).await {
            Ok(Ok(())) => taken.are_kept(),
            Ok(Err(error)) => taken.why = error.to_string(),
            Err(_) => taken.why = "the store took too long".to_owned(),
        }
        true
    }

    fn lose(&self, rows: usize, why: &str) {
        if rows == 0 {
            return;
        }
        self.telemetry.history_rows(HistoryOutcome::Dropped).increment(rows as u64);
        let now = self.clock.now();
        let mut said = self.said.lock();
        if said.is_none_or(|said| now.since(said) >= SAY_EVERY) {
            *said = Some(now);
            tracing::warn!(rows, why, "rows of the heartbeat history are dropped; everything else goes on");
        }
    }
}

/// Rows that are being appended: lost, whatever happens, unless they are said to be kept.
struct Taken<'a> {
    history: &'a History,
    rows: usize,
    why: String,
}

impl Taken<'_> {
    fn are_kept(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.history.telemetry.history_rows(HistoryOutcome::Kept).increment(rows as u64);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.history.lose(self.rows, &self.why);
    }
}
