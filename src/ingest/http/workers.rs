//! The worker pools: threads that serve HTTP connections.
//!
//! Each worker has its own runtime: it reads, answers and writes the requests of its connections without waking another
//! thread. There are two pools. One serves all connections at first. A connection that has proved to be an edge's moves to
//! the other, so that the kernel divides the processors between a flood of beats and a flood of verdicts.

#![expect(clippy::disallowed_methods, reason = "lateness is measured by the runtime's clock")]

use std::{
    cell::Cell,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{PressedBy, Pressure},
    ingest::Handler,
};

/// Interval between two measurements of lateness.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// A worker that is this late refuses requests, since their callers would no longer wait for the answer. One request on each
/// of the maximum number of connections makes it late by a tenth of that.
const TOO_LATE: Duration = Duration::from_secs(1);
/// Steps in which lateness is reported as pressure, so that small variations do not matter.
const STEPS: u32 = 8;

thread_local! {
    static LATE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is overloaded and refuses requests.
pub(super) fn is_late() -> bool {
    LATE.get()
}

/// A pool of workers.
pub struct WorkerPool(Box<[Worker]>);

/// One thread with its runtime.
pub(super) struct Worker {
    pub(super) runtime: Handle,
    connections: Arc<AtomicUsize>,
    late_ms: Arc<AtomicU32>,
}

/// Counts a connection of a worker until it is dropped.
pub(super) struct ConnectionCount(Arc<AtomicUsize>);

impl WorkerPool {
    /// A pool with the current runtime as its only worker.
    pub fn here() -> Self {
        let worker = Worker { runtime: Handle::current(), connections: Arc::default(), late_ms: Arc::default() };
        Self([worker].into())
    }

    /// The worker with the fewest connections.
    pub(super) fn least_busy(&self) -> (&Worker, ConnectionCount) {
        let fewest = self.0.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let worker = fewest.expect("no pool is empty");
        worker.connections.fetch_add(1, Ordering::Relaxed);
        (worker, ConnectionCount(Arc::clone(&worker.connections)))
    }

    /// The largest lateness of its workers, as last measured.
    pub fn late(&self) -> Duration {
        let latest = self.0.iter().map(|worker| worker.late_ms.load(Ordering::Relaxed)).max();
        Duration::from_millis(latest.unwrap_or(0).into())
    }

    /// Its load: at the maximum once one of its workers is late enough to refuse requests.
    pub(super) fn pressure(&self) -> Pressure {
        let steps = self.late().as_millis() * u128::from(STEPS) / TOO_LATE.as_millis();
        Pressure::of(u32::try_from(steps).unwrap_or(STEPS), STEPS)
    }

    /// Reports its load to the handler, after each measurement. Never returns.
    pub(super) async fn report_pressure(self: Arc<Self>, handler: Arc<Handler>) {
        loop {
            handler.pressed(PressedBy::Http, self.pressure());
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The threads of the public listeners.
pub struct Threads {
    /// Serves all connections at first.
    pub clients: Arc<WorkerPool>,
    /// Serves connections that have proved to be an edge's.
    pub edges: Arc<WorkerPool>,
    running: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Threads {
    /// Starts `each` threads per pool; for 0, half as many as there are processors, so that neither pool can use more than
    /// half of them while both are busy.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn start(each: usize) -> io::Result<Self> {
        let (stop, ended, mut running) = (CancellationToken::new(), CancellationToken::new(), Vec::new());
        let each =
            if each == 0 { thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2)) } else { each };
        let mut pool = |name: &str| -> io::Result<Arc<WorkerPool>> {
            let workers = (0..each).map(|number| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let late_ms = Arc::<AtomicU32>::default();
                let worker = Worker {
                    runtime: runtime.handle().clone(),
                    connections: Arc::default(),
                    late_ms: Arc::clone(&late_ms),
                };
                let (stop, ended) = (stop.clone(), ended.clone().drop_guard());
                let work = move || {
                    let _ended = ended;
                    runtime.block_on(stop.run_until_cancelled(measure_lateness(&late_ms)));
                };
                running.push(thread::Builder::new().name(format!("{name}-{number}")).spawn(work)?);
                Ok(worker)
            });
            Ok(Arc::new(WorkerPool(workers.collect::<io::Result<Box<[Worker]>>>()?)))
        };
        let (clients, edges) = (pool("http")?, pool("edge")?);
        Ok(Self { clients, edges, running, stop, ended })
    }

    /// Cancelled when one of the threads ends: its connections are lost, and it would be assigned further ones.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Ends all threads. Connections that are still open are cut.
    pub async fn end(self) {
        self.stop.cancel();
        let join = || self.running.into_iter().for_each(|thread| drop(thread.join()));
        drop(tokio::task::spawn_blocking(join).await);
    }
}

/// Measures how late a timer fires: tasks that were ready before it run first.
async fn measure_lateness(late_ms: &AtomicU32) {
    loop {
        let due = Instant::now() + CHECK_INTERVAL;
        tokio::time::sleep_until(due).await;
        let late = due.elapsed();
        late_ms.store(u32::try_from(late.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
        LATE.set(late >= TOO_LATE);
    }
}
