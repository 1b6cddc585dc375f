//! What goes on besides answering: sweeping the hot table, settling what is over, keeping the meter.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, join_all},
    stream,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    control::{
        acts::{ActError, Acts},
        audit::Deed,
        keyring::{Keyring, KeyringError},
        peers::{MayWrite, Membership},
        secrets::Secrets,
        status::StatusKeeper,
    },
    engine::{AccountId, Checkpoint, EndedSession, Engine, SLICES, bucket},
    hub::HubSessions,
    ingest::Followup,
    store::{AuditAct, LEFTOVER_PARTS, Store, StoreError},
    telemetry::{Housekeeping, Telemetry},
    time::{Clock, ClockFact, MeterTime, Millis},
    wire::SessionId,
};

use super::{
    dates::DateGuard,
    history::{History, PIECE, PIECES},
    rounds::{self, Rounds},
    supervisor::Supervisor,
};

/// How often each session is looked at, at the least: how late the ledger may learn that one is over.
const ROUND: Millis = Millis::from_secs(5);
/// How often the meter's state is kept.
const KEEP_METER: Duration = Duration::from_millis(250);
/// How often it is written when hub sessions were used.
const WRITE_HUB_SESSIONS: Duration = Duration::from_secs(30);
/// How often the metrics take in what was recorded, whether somebody scrapes them or not.
const TAKE_IN_METRICS: Duration = Duration::from_secs(5);
/// How often keys and status lists whose last token has died are looked for.
const TIDY: Duration = Duration::from_secs(60);
/// How many parts of what acts may have left behind are looked through after each [`TIDY`]: all of them in half a day.
const LEFTOVERS_AT_ONCE: u16 = 6;
/// Checkpoints that are written at once when the service stops: a store that is 80 ms away takes them in half a second.
const FLUSHED_AT_ONCE: usize = 32_768;
/// Accounts and sessions that wait to be settled or looked up; there will be another sweep for the others.
const WAITING: usize = 8192;
/// Acts of the upkeep that are under way at a time: enough to fill the store's commits, not to crowd out callers.
const AT_ONCE: usize = 64;

/// What upkeep works with.
#[derive(Clone)]
pub struct Upkeep {
    /// What it sweeps.
    pub engine: Arc<Engine>,
    /// Where it writes.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether this node may write.
    pub membership: Arc<dyn Membership>,
    /// What settles sessions.
    pub acts: Arc<Acts>,
    /// The hub sessions.
    pub hub_sessions: HubSessions,
    /// The signing keys.
    pub keyring: Arc<Keyring>,
    /// The status lists.
    pub keeper: Arc<StatusKeeper>,
    /// The cluster secrets.
    pub secrets: Arc<Secrets>,
    /// How long rows of the audit log are kept.
    pub audit_retention: Millis,
    /// Who writes down what was heard of sessions, if that is to be.
    pub history: Option<Arc<History>>,
    /// How old a signing key gets before another one is made.
    pub rotate_keys: Option<Millis>,
    /// Who is told.
    pub telemetry: Telemetry,
    /// How often each session that moved is written.
    pub checkpoint_interval: Millis,
    /// The wall clock is not that of other nodes: nothing is made or thrown away by its date.
    pub skewed: Arc<AtomicBool>,
    /// When each kind of housekeeping last did all there was to do.
    pub rounds: Arc<Rounds>,
    /// The data file, if the store is one.
    pub data_file: Option<PathBuf>,
    /// What both clocks showed when the service was last up, if it ever was.
    pub kept: Option<ClockFact>,
}

/// Something to do for a session, found by a sweep or a heartbeat.
enum Chore {
    Settle(AccountId),
    LookUp(SessionId),
}

/// Hands chores to the upkeep.
#[derive(Clone)]
pub struct Chores {
    queue: mpsc::Sender<Chore>,
    acts: Arc<Acts>,
    /// Where acts are done, whatever thread a heartbeat came to.
    runtime: Handle,
}

#[async_trait]
impl Followup for Chores {
    async fn settle(&self, account: AccountId) -> bool {
        let acts = Arc::clone(&self.acts);
        let settling = self.runtime.spawn(async move { acts.settle(&account).await.is_ok() });
        settling.await.expect("settling does not panic, and the runtime outlives its acts")
    }

    fn look_up(&self, session: SessionId) {
        // Full: the client's next beat asks again.
        drop(self.queue.try_send(Chore::LookUp(session)));
    }
}

/// A queue for chores, and the end that [`Upkeep::start`] takes.
pub fn chores(acts: Arc<Acts>) -> (Chores, ChoreQueue) {
    let (queue, waiting) = mpsc::channel(WAITING);
    (Chores { queue, acts, runtime: Handle::current() }, ChoreQueue(waiting))
}

/// The chores that wait.
pub struct ChoreQueue(mpsc::Receiver<Chore>);

impl Upkeep {
    /// Starts everything that runs until `stop`.
    pub fn start(
        &self,
        chores: Chores,
        queue: ChoreQueue,
        supervisor: &Supervisor,
        stop: &CancellationToken,
    ) -> TaskTracker {
        let tasks = TaskTracker::new();
        self.rounds.begin(self.clock.now());
        let again = |part, begin: fn(Self) -> BoxFuture<'static, ()>| {
            let upkeep = self.clone();
            tasks.spawn(supervisor.clone().again(part, stop.clone(), move || begin(upkeep.clone())));
        };
        again("meter", |upkeep| Box::pin(upkeep.keep_meter()));
        again("tidying", |upkeep| Box::pin(upkeep.tidy()));
        again("leftovers", |upkeep| Box::pin(upkeep.clear_for_ever()));
        again("hub sessions", |upkeep| Box::pin(upkeep.write_hub_sessions()));
        again("metrics", |upkeep| Box::pin(upkeep.take_in_metrics()));
        let upkeep = self.clone();
        let sweep = move || upkeep.clone().sweep_for_ever(chores.clone());
        tasks.spawn(supervisor.clone().again("sweep", stop.clone(), sweep));
        let doing = until(stop.clone(), self.clone().do_chores(queue));
        tasks.spawn(supervisor.clone().once("chores", stop.clone(), doing));
        if let Some(history) = self.history.clone() {
            let write = move || {
                let history = Arc::clone(&history);
                async move { history.write_for_ever().await }
            };
            tasks.spawn(supervisor.clone().again("heartbeat history", stop.clone(), write));
        }
        tasks.close();
        tasks
    }

    /// Writes down everything that memory knows better than the store. The last thing a service does. It goes on for as
    /// long as the store takes pieces of it within `patience` each.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if not all heartbeats could be written.
    pub async fn flush(&self, patience: Duration) -> Result<(), StoreError> {
        let (mut dirty, mut over) = (Vec::new(), Vec::new());
        for slice in 0..SLICES {
            let sweep = self.engine.sweep(slice, self.clock.now(), true);
            dirty.extend(sweep.dirty);
            over.extend(sweep.over);
        }
        let write = |piece| async move { self.checkpoint(piece, self.membership.confirm().await?).await };
        piece_by_piece(dirty, patience, write).await?;
        let keep = || async { self.keep_clock(self.membership.confirm().await?).await };
        in_time(patience, keep()).await?;
        // What is left of these is settled by other nodes, or by the next start.
        let left = &AtomicUsize::new(over.len());
        let settled = stream::iter(over)
            .map(|account| async move {
                match self.acts.settle_if_told(&account).await {
                    Err(ActError::Store(error) | ActError::Unknown(error)) => Err(error),
                    Ok(()) | Err(_) => {
                        left.fetch_sub(1, Ordering::Relaxed);
                        Ok(())
                    }
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        if let Err(error) = in_time(patience, settled).await {
            tracing::warn!(%error, sessions = left.load(Ordering::Relaxed), "sessions that are over are left to be settled later");
        }
        if let Err(error) = in_time(patience, self.hub_sessions.flush()).await {
            tracing::warn!(%error, "when hub sessions were last used is not all written");
        }
        in_time(patience, keep()).await
    }

    async fn keep_clock(&self, _: MayWrite) -> Result<(), StoreError> {
        self.store.keep_clock(self.clock.fact()).await
    }

    /// Visits slice after slice. A slice's sessions are checkpointed once an interval; the slices take turns, so that
    /// the writes are spread over it.
    async fn sweep_for_ever(self, chores: Chores) {
        let round = ROUND.min(Millis::new(self.checkpoint_interval.get() / 2)).get().max(1);
        let period = Duration::from_millis(round).div_f64(SLICES as f64);
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pause = self.checkpoint_interval.minus(Millis::new(round));
        let start = self.clock.now();
        let mut due: [MeterTime; SLICES] =
            std::array::from_fn(|slice| start.plus(Millis::new(pause.get() * (slice as u64 + 1) / SLICES as u64)));
        loop {
            for (slice, due) in due.iter_mut().enumerate() {
                ticks.tick().await;
                let now = self.clock.now();
                let collect = now >= *due;
                let sweep = self.engine.sweep(slice, now, collect);
                for account in sweep.over {
                    // Full: the next sweep finds it again.
                    if chores.queue.try_send(Chore::Settle(account)).is_err() {
                        break;
                    }
                }
                if collect {
                    let written = match self.membership.may_write() {
                        Ok(may) => self.checkpoint(sweep.dirty, may).await,
                        Err(error) => Err(error),
                    };
                    match written {
                        Ok(()) => *due = now.plus(pause),
                        Err(error) => tracing::warn!(%error, "checkpoints wait in memory until the store is back"),
                    }
                }
            }
        }
    }

    /// Writes the checkpoints of a slice, each bucket by itself, all buckets at once: a store that can writes them together.
    async fn checkpoint(&self, mut rows: Vec<Checkpoint>, _: MayWrite) -> Result<(), StoreError> {
        rows.sort_unstable_by_key(|row| (bucket(&row.session), row.session));
        let batches = rows.chunk_by(|a, b| bucket(&a.session) == bucket(&b.session));
        let writing = batches.map(|batch| async move {
            let heard = self.history.as_ref().map(|history| (history, history.rows_of(batch)));
            self.store.checkpoint(bucket(&batch[0].session), batch).await?;
            self.engine.checkpointed(batch);
            self.telemetry.checkpoint_written(batch.len());
            if let Some((history, rows)) = heard {
                history.note(rows);
            }
            Ok(())
        });
        let written = join_all(writing).await;
        let failed = written.iter().filter(|written| written.is_err()).count();
        self.telemetry.checkpoint_failures().increment(failed as u64);
        written.into_iter().collect()
    }

    async fn do_chores(self, mut queue: ChoreQueue) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(chore) = queue.0.recv().await {
            let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
            let upkeep = self.clone();
            tokio::spawn(async move {
                match chore {
                    // A failure is told by the store's metrics; the next sweep tries again.
                    Chore::Settle(account) => drop(upkeep.acts.settle_if_told(&account).await),
                    Chore::LookUp(session) => upkeep.look_up(session).await,
                }
                drop(place);
            });
        }
    }

    /// Remembers how a session ended that a client still beats for, so that its next ack can say so.
    async fn look_up(&self, session: SessionId) {
        let Ok(Some(record)) = self.store.session(&session).await else { return };
        let Some(end) = record.end else {
            // It goes on: another node opened it, or heard of it. A failure is told by the store's metrics.
            return drop(self.acts.look_up(&session).await);
        };
        let remaining_s = match self.acts.view(&record.account).await {
            Ok(view) => u32::try_from(view.remaining.as_secs()).unwrap_or(u32::MAX),
            Err(_) => 0,
        };
        self.engine.remember_ended(session, EndedSession { reason: end.reason, remaining_s });
    }

    async fn keep_meter(self) {
        let mut ticks = interval(KEEP_METER);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.clock.now();
            self.engine.set_wall(now, self.clock.wall());
            self.telemetry.meter_time(now);
            // Whether the store is there is known before the right to write runs out.
            let Ok(may) = self.membership.may_write() else { continue };
            let kept = self.keep_clock(may).await;
            if self.telemetry.health().store_reachable(kept.is_ok()) {
                match kept {
                    Ok(()) => tracing::info!("the store is reachable again"),
                    Err(error) => tracing::error!(%error, "the store is not reachable; heartbeats and verdicts go on"),
                }
            }
        }
    }

    /// Writes when hub sessions were used.
    async fn write_hub_sessions(self) {
        let mut ticks = interval(WRITE_HUB_SESSIONS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.hub_sessions.flush().await {
                tracing::warn!(%error, "when hub sessions were used waits in memory until the store is back");
            }
        }
    }

    async fn take_in_metrics(self) {
        let mut ticks = interval(TAKE_IN_METRICS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.telemetry.upkeep();
            self.rounds.tell(self.clock.now(), &self.telemetry);
            if let Some(file) = &self.data_file {
                rounds::tell_sizes(file, &self.telemetry).await;
            }
        }
    }

    async fn tidy(self) {
        let mut ticks = interval(TIDY);
        let mut dates = DateGuard::new(self.kept.unwrap_or_else(|| self.clock.fact()));
        loop {
            ticks.tick().await;
            let believed = dates.believes(self.clock.now(), self.clock.wall());
            if believed && !self.skewed.load(Ordering::Relaxed) && self.tidy_by_date().await {
                self.rounds.done(Housekeeping::Dates, self.clock.now());
            }
            if let Err(error) = self.secrets.tend().await {
                tracing::warn!(%error, "the cluster secrets could not be looked after yet");
            }
        }
    }

    /// Clears away what acts left behind that were cut off in the middle, part after part.
    async fn clear_for_ever(self) {
        let mut ticks = interval(TIDY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut from = 0;
        loop {
            ticks.tick().await;
            let until = LEFTOVER_PARTS.min(from + LEFTOVERS_AT_ONCE);
            match self.store.clear_leftovers(self.clock.now(), from..until).await {
                Ok(()) => self.rounds.done(Housekeeping::Leftovers, self.clock.now()),
                Err(error) => tracing::warn!(%error, "what acts left behind could not be cleared away yet"),
            }
            from = if until == LEFTOVER_PARTS { 0 } else { until };
        }
    }

    /// Makes and throws away what the wall clock says the time has come of. `false` if anything is left to do.
    async fn tidy_by_date(&self) -> bool {
        let mut all = true;
        self.keyring.tokens_live(self.engine.longest_token(self.clock.wall()), self.clock.wall());
        if let Err(error) = self.rotate_when_due().await {
            tracing::warn!(%error, "a new signing key is due and could not be made yet");
            all = false;
        }
        if let Err(error) = self.keyring.tidy(&*self.store, self.clock.wall()).await {
            tracing::warn!(%error, "retired signing keys could not be dropped yet");
            all = false;
        }
        if let Err(error) = self.keeper.tidy().await {
            tracing::warn!(%error, "status lists could not be closed or forgotten yet");
            all = false;
        }
        all &= self.prune_audit().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "old rows of the audit log could not be dropped yet");
            false
        });
        all &= self.hub_sessions.tidy(PIECE).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "hub sessions that are over could not be dropped yet");
            false
        });
        if let Some(history) = &self.history {
            all &= history.prune().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "old days of the heartbeat history could not be dropped yet");
                false
            });
        }
        all
    }

    /// Drops the rows of the audit log whose time has come, so many at a time that no act waits for long. `false` if
    /// there are more.
    async fn prune_audit(&self) -> Result<bool, StoreError> {
        let before = self.clock.wall().minus(self.audit_retention);
        for _ in 0..PIECES {
            if self.store.prune_audit(before, PIECE).await? < PIECE {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn rotate_when_due(&self) -> Result<(), KeyringError> {
        let now = self.clock.wall();
        if !self.rotate_keys.is_some_and(|every| self.keyring.is_due(every, now)) {
            return Ok(());
        }
        self.keyring.rotate(&*self.store, &self.engine.secrets(), now).await?;
        if let Err(error) = self.acts.write_down(Deed::new(AuditAct::SigningKeyRotated)).await {
            tracing::warn!(%error, "the new signing key is not in the audit log");
        }
        tracing::info!("a new signing key is published, and signs when every cached key set has run out");
        Ok(())
    }
}

/// Has rows written for as long as each piece of them is written within `patience`.
async fn piece_by_piece<W: Future<Output = Result<(), StoreError>>>(
    mut rows: Vec<Checkpoint>,
    patience: Duration,
    write: impl Fn(Vec<Checkpoint>) -> W,
) -> Result<(), StoreError> {
    let all = rows.len();
    while !rows.is_empty() {
        let piece = rows.split_off(rows.len().saturating_sub(FLUSHED_AT_ONCE));
        in_time(patience, write(piece)).await?;
        if all > FLUSHED_AT_ONCE {
            tracing::info!(written = all - rows.len(), of = all, "writing the last checkpoints");
        }
    }
    Ok(())
}

async fn in_time(patience: Duration, work: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    let late = || StoreError::Unavailable("the last writes took too long".to_owned());
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(late()))
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    /// Writes four pieces, each of which takes so long. Answers how long it took, and how many were written.
    #[expect(clippy::disallowed_methods, reason = "the clock of the runtime, which is paused")]
    async fn stop(each: Duration) -> (Result<(), StoreError>, Duration, usize) {
        let row = Checkpoint { session: SessionId::from_bytes([1; 16]), last_seen: MeterTime::from_ms(1) };
        let (began, pieces) = (Instant::now(), AtomicUsize::new(0));
        let write = |_| async {
            sleep(each).await;
            pieces.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let stopped = piece_by_piece(vec![row; 3 * FLUSHED_AT_ONCE + 1], PATIENCE, write).await;
        (stopped, began.elapsed(), pieces.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_goes_on_for_as_long_as_it_gets_on() {
        assert_eq!(stop(Duration::from_secs(2)).await, (Ok(()), Duration::from_secs(8), 4));
        let (stopped, took, pieces) = stop(Duration::from_secs(4)).await;
        assert!(stopped.is_err());
        assert_eq!((took, pieces), (PATIENCE, 0), "a store that does not answer is not waited for");
    }
}
