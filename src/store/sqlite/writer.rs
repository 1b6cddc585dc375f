//! The one thread that writes.
//!
//! Acts and write-behind work wait in two bounded queues. The thread takes what is waiting, runs it as one transaction
//! with a savepoint for each piece, commits once, and only then answers: a hundred acts cost one sync of the disk. A
//! piece that fails is undone alone; trouble with the file undoes all of them, and each is told so.
//!
//! Nothing is done for who has stopped waiting: a piece whose caller has gone away, or whose [deadline](crate::deadline) is
//! over, is dropped before it is run, also while another program has the file locked.
//!
//! A sync of the log that failed may have lost what was written before it, though the system still shows it: whoever
//! synced again would be told that all is well. So nothing is added to such a log. All of it is copied into the file, and a log
//! is begun anew; until that has been done, nothing is written.
//!
//! Acts go first. Write-behind work gets a turn when no act waits, or after [`TURNS`] groups of acts; its groups are
//! bounded by rows, so that an act never waits for more than one bucket of checkpoints.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    deadline::{self, within},
    store::{Result, StoreError},
};

use super::{
    file::{Durability, Lock, set_durability},
    options::SqliteOptions,
};

/// How many groups of acts go ahead of write-behind work that waits.
const TURNS: u32 = 8;
/// How many rows of write-behind work make one transaction, unless a single piece has more.
const ROWS: usize = 4096;
/// How often it is looked, while the file is locked, who has stopped waiting.
const LOOK: Duration = Duration::from_millis(50);

/// The way to the thread that writes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    acts: Arc<Semaphore>,
    behind: Arc<Semaphore>,
    patience: Duration,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    ended: CancellationToken,
}

/// What a piece of work is to the thread that writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Durable before it is answered.
    Act,
    /// May be lost in a power cut. So many rows.
    Behind(usize),
}

impl Writer {
    pub(super) fn start(conn: Connection, lock: Option<Lock>, options: &SqliteOptions) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let (group, busy) = (options.group.max(1), options.busy_timeout);
        let ended = CancellationToken::new();
        let ends = ended.clone().drop_guard();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _ends = ends;
                let closer = Closer(of_thread);
                work(&conn, &closer.0, group, busy);
                finish(conn, busy);
                drop(lock);
            })
            .map_err(|error| StoreError::Unavailable(format!("cannot start the writer: {error}")))?;
        Ok(Self {
            shared,
            acts: Arc::new(Semaphore::new(options.queue.max(1))),
            behind: Arc::new(Semaphore::new(options.queue.max(1))),
            patience: options.queue_wait,
            thread: Mutex::new(Some(thread)),
            ended,
        })
    }

    /// Cancelled when the thread ends: nothing is written any more.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Has `work` done by the thread that writes, and waits until it is committed.
    pub(super) async fn run<T, F>(&self, kind: Kind, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let places = match kind {
            Kind::Act => &self.acts,
            Kind::Behind(_) => &self.behind,
        };
        let place = within(self.patience, Arc::clone(places).acquire_owned())
            .await
            .map_err(|_| StoreError::Unavailable("too much is waiting to be written".to_owned()))?
            .map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let until = deadline::current().map(deadline::Deadline::into_std);
        let task = Task { work: Some(work), done: None, reply: Some(reply), until, _place: place };
        self.shared.push(kind, Box::new(task))?;
        answer.await.map_err(|_| closed())?
    }

    /// Lets no more work in, and waits until what is in is done and the file is let go. Blocks.
    pub(super) fn stop(&self) {
        self.acts.close();
        self.behind.close();
        self.shared.close();
        // Held while waiting, so that of two callers neither comes back early.
        let mut thread = self.thread.lock();
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had failed");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

/// A piece of work, without the types of what it does.
trait Job: Send {
    fn run(&mut self, conn: &Connection) -> Result<()>;
    /// Whether nobody waits for it any more.
    fn is_late(&self, now: Instant) -> bool;
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Task<T, F> {
    work: Option<F>,
    done: Option<T>,
    reply: Option<oneshot::Sender<Result<T>>>,
    until: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, conn: &Connection) -> Result<()> {
        let work = self.work.take().ok_or_else(closed)?;
        self.done = Some(work(conn)?);
        Ok(())
    }

    fn is_late(&self, now: Instant) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed) || self.until.is_some_and(|until| until <= now)
    }

    fn answer(mut self: Box<Self>, outcome: Result<()>) {
        let answer = outcome.and_then(|()| self.done.take().ok_or_else(closed));
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have gone away; what was committed stays.
            let _ = reply.send(answer);
        }
    }
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queues {
    acts: VecDeque<Box<dyn Job>>,
    behind: VecDeque<(usize, Box<dyn Job>)>,
    /// Groups of acts since write-behind work had its turn.
    turns: u32,
    closed: bool,
}

struct Group {
    jobs: Vec<Box<dyn Job>>,
    durability: Durability,
}

impl Shared {
    fn push(&self, kind: Kind, job: Box<dyn Job>) -> Result<()> {
        let mut queues = self.queues.lock();
        if queues.closed {
            return Err(closed());
        }
        match kind {
            Kind::Act => queues.acts.push_back(job),
            Kind::Behind(rows) => queues.behind.push_back((rows, job)),
        }
        drop(queues);
        self.arrived.notify_one();
        Ok(())
    }

    fn close(&self) {
        self.queues.lock().closed = true;
        self.arrived.notify_one();
    }

    /// What goes into the next transaction. `None` once all is done and nothing more can come.
    fn next(&self, most: usize) -> Option<Group> {
        let mut queues = self.queues.lock();
        loop {
            if let Some(group) = queues.next(most) {
                return Some(group);
            }
            if queues.closed {
                return None;
            }
            self.arrived.wait(&mut queues);
        }
    }
}

impl Queues {
    fn next(&mut self, most: usize) -> Option<Group> {
        let behinds_turn = !self.behind.is_empty() && (self.acts.is_empty() || self.turns >= TURNS);
        if behinds_turn {
            self.turns = 0;
            return Some(Group { jobs: self.take_behind(), durability: Durability::Normal });
        }
        if self.acts.is_empty() {
            return None;
        }
        self.turns = self.turns.saturating_add(1);
        let take = self.acts.len().min(most);
        Some(Group { jobs: self.acts.drain(..take).collect(), durability: Durability::Full })
    }

    fn take_behind(&mut self) -> Vec<Box<dyn Job>> {
        let mut jobs = Vec::new();
        let mut room = ROWS;
        while let Some((rows, _)) = self.behind.front()
            && (jobs.is_empty() || *rows <= room)
            && let Some((rows, job)) = self.behind.pop_front()
        {
            room = room.saturating_sub(rows);
            jobs.push(job);
        }
        jobs
    }
}

/// However the thread ends, nobody waits for it in vain.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        let mut queues = self.0.queues.lock();
        queues.closed = true;
        queues.acts.clear();
        queues.behind.clear();
    }
}

fn work(conn: &Connection, shared: &Shared, most: usize, busy: Duration) {
    if let Err(error) = conn.busy_timeout(busy.min(LOOK)) {
        tracing::warn!(%error, "the writer waits for others as long as it was opened to");
    }
    // Not known at first, so that the first group sets it.
    let mut log = Log::default();
    while let Some(group) = shared.next(most) {
        let done = panic::catch_unwind(AssertUnwindSafe(|| {
            let outcomes = match log.begin_anew_if_lost(conn) {
                Ok(()) => transact(conn, group.jobs, group.durability, &mut log, busy),
                Err(error) => group.jobs.into_iter().map(|job| (job, Err(undone(&error)))).collect(),
            };
            for (job, outcome) in outcomes {
                job.answer(outcome);
            }
        }));
        if done.is_err() {
            // Whoever waited for the group is told that nobody knows whether it was written. What was begun is undone.
            log.durability = None;
            if !conn.is_autocommit() && conn.execute_batch("ROLLBACK").is_err() {
                return;
            }
        }
    }
}

/// What is known of the log.
#[derive(Default)]
struct Log {
    /// How durable transactions are, if that is known.
    durability: Option<Durability>,
    /// A sync has failed since it was begun.
    may_be_lost: bool,
}

impl Log {
    fn begin_anew_if_lost(&mut self, conn: &Connection) -> Result<()> {
        if !self.may_be_lost {
            return Ok(());
        }
        self.durability = None;
        set_durability(conn, Durability::Full)?;
        let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(StoreError::Unavailable("a sync failed, and the log is still being read".to_owned()));
        }
        self.may_be_lost = false;
        tracing::warn!("a sync of the store's log had failed; the log was begun anew");
        Ok(())
    }

    fn commit(&mut self, conn: &Connection) -> Result<()> {
        let committed = conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        self.may_be_lost |=
            committed.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure));
        committed?;
        Ok(())
    }
}

type Outcome = (Box<dyn Job>, Result<()>);

/// Runs a group as one transaction. What it answers is true of the file when it returns.
fn transact(
    conn: &Connection,
    jobs: Vec<Box<dyn Job>>,
    durability: Durability,
    log: &mut Log,
    busy: Duration,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(jobs.len());
    let mut jobs = jobs;
    let begun = (|| {
        // One that could not be undone would be in the way of all others.
        if !conn.is_autocommit() {
            execute(conn, "ROLLBACK")?;
        }
        if log.durability != Some(durability) {
            set_durability(conn, durability)?;
            log.durability = Some(durability);
        }
        begin(conn, &mut jobs, busy)
    })();
    let mut jobs = jobs.into_iter();
    let all = begun.and_then(|()| {
        for mut job in jobs.by_ref() {
            let outcome = attempt(conn, job.as_mut());
            let spoilt = outcome.as_ref().err().filter(|error| matches!(error, StoreError::Unavailable(_))).cloned();
            outcomes.push((job, outcome));
            if let Some(error) = spoilt {
                return Err(error);
            }
        }
        log.commit(conn)
    });
    if let Err(error) = all {
        // Everybody in it is told, and the service says when the store is lost and when it is back.
        tracing::debug!(%error, acts = outcomes.len() + jobs.len(), "a transaction was not committed");
        // Some errors have rolled back already.
        if !conn.is_autocommit()
            && let Err(error) = execute(conn, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
        for (_, outcome) in &mut outcomes {
            if outcome.is_ok() {
                *outcome = Err(undone(&error));
            }
        }
        outcomes.extend(jobs.map(|job| (job, Err(undone(&error)))));
    }
    outcomes
}

/// Begins a transaction, as soon as no other program has the file locked and in `busy` at most. Meanwhile and before, those
/// that nobody waits for are let go.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a lock is waited for, and who waits, is all that depends on it"
)]
fn begin(conn: &Connection, jobs: &mut Vec<Box<dyn Job>>, busy: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = Instant::now();
        for job in jobs.extract_if(.., |job| job.is_late(now)) {
            job.answer(Err(StoreError::Unavailable(
                "it was not written in time, and is not written any more".to_owned(),
            )));
        }
        match conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && !jobs.is_empty()
                    && now.duration_since(began) < busy => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs one piece within a savepoint; an error leaves nothing of it.
fn attempt(conn: &Connection, job: &mut dyn Job) -> Result<()> {
    execute(conn, "SAVEPOINT piece")?;
    let outcome = job.run(conn);
    if outcome.is_err() && !conn.is_autocommit() {
        execute(conn, "ROLLBACK TO piece")?;
    }
    if conn.is_autocommit() {
        // The transaction is gone, and the pieces before this one with it.
        let text = outcome.err().map_or_else(String::new, |error| error.to_string());
        return Err(StoreError::Unavailable(format!("a transaction was undone: {text}")));
    }
    execute(conn, "RELEASE piece")?;
    outcome
}

/// A transaction that is not committed has changed nothing, so whatever it failed by, its pieces may be tried again.
fn undone(error: &StoreError) -> StoreError {
    match error {
        StoreError::Damaged(text) => StoreError::Damaged(text.clone()),
        StoreError::Unavailable(text) | StoreError::Refused(text) => StoreError::Unavailable(text.clone()),
    }
}

fn execute(conn: &Connection, sql: &str) -> Result<()> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Moves the log into the file, so that the file alone is the whole of the data, and closes it.
fn finish(conn: Connection, busy: Duration) {
    if let Err(error) = conn.busy_timeout(busy) {
        tracing::warn!(%error, "the store's log is merged only if nobody uses it");
    }
    let merged: rusqlite::Result<i64> = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    match merged {
        Ok(0) => {}
        // Nothing is lost: the log is read again when the file is next opened.
        Ok(_) => tracing::warn!("the store's log is in use and stays beside the data file"),
        Err(error) => tracing::warn!(%error, "the store's log could not be merged and stays beside the data file"),
    }
    conn.flush_prepared_statement_cache();
    if let Err((_, error)) = conn.close() {
        tracing::warn!(%error, "the data file was not closed cleanly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_undone_and_the_thread_goes_on() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let writer = Writer::start(conn, None, &SqliteOptions::default()).unwrap();
        let insert = |conn: &Connection| Ok(conn.execute("INSERT INTO t VALUES (1)", [])?);
        let panicked = writer.run(Kind::Act, move |conn| {
            insert(conn)?;
            assert!(conn.is_autocommit(), "it is in a transaction");
            Ok(())
        });
        assert!(panicked.await.is_err());
        writer.run(Kind::Act, insert).await.unwrap();
        let count = |conn: &Connection| Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?);
        assert_eq!(writer.run(Kind::Act, count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_transaction_that_was_not_undone_is_undone_before_the_next_one() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER); BEGIN; INSERT INTO t VALUES (1)").unwrap();
        let writer = Writer::start(conn, None, &SqliteOptions::default()).unwrap();
        let count = |conn: &Connection| Ok(conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?);
        assert_eq!(writer.run(Kind::Act, count).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn whoever_watches_the_thread_is_told_when_it_ends() {
        let conn = Connection::open_in_memory().unwrap();
        let writer = Writer::start(conn, None, &SqliteOptions::default()).unwrap();
        let ended = writer.ended();
        writer.run(Kind::Act, |_| Ok(())).await.unwrap();
        assert!(!ended.is_cancelled());
        writer.stop();
        assert!(ended.is_cancelled());
    }
}
