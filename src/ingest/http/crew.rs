//! The threads that connections are spread over.
//!
//! Each thread has a runtime of its own: a connection's requests are read, answered and written where its socket is waited
//! for, and nobody is woken for it elsewhere. There are two crews. One serves everybody. Connections of edges, once they
//! have proved to be of edges, go on in the other, so that a flood of beats and a flood of verdicts are two sets of threads
//! between which the kernel divides the processors.

#![expect(clippy::disallowed_methods, reason = "how late a thread is, is told by the runtime's clock")]

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

/// How often a thread looks how late it is.
const LOOK: Duration = Duration::from_millis(100);
/// A thread that is so late refuses, at once, what it would otherwise answer later than anybody waits. All connections that
/// there may be, each with a request, make it late by a tenth of that.
const TOO_LATE: Duration = Duration::from_secs(1);
/// Lateness is told as pressure in this many steps: a little of it comes and goes.
const STEPS: u32 = 8;

thread_local! {
    static LATE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread has so much to do that it refuses.
pub(super) fn is_late() -> bool {
    LATE.get()
}

/// Runtimes that connections are spread over.
pub struct Crew(Box<[Hand]>);

/// One of the runtimes.
pub(super) struct Hand {
    pub(super) runtime: Handle,
    connections: Arc<AtomicUsize>,
    late_ms: Arc<AtomicU32>,
}

/// A connection that a hand has; it has one fewer when this is dropped.
pub(super) struct Held(Arc<AtomicUsize>);

impl Crew {
    /// A crew of one: the runtime that this is called in.
    pub fn here() -> Self {
        let hand = Hand { runtime: Handle::current(), connections: Arc::default(), late_ms: Arc::default() };
        Self([hand].into())
    }

    /// The one that has the fewest connections.
    pub(super) fn hand(&self) -> (&Hand, Held) {
        let fewest = self.0.iter().min_by_key(|hand| hand.connections.load(Ordering::Relaxed));
        let hand = fewest.expect("no crew is empty");
        hand.connections.fetch_add(1, Ordering::Relaxed);
        (hand, Held(Arc::clone(&hand.connections)))
    }

    /// How late the latest of them was when it last looked.
    pub fn late(&self) -> Duration {
        let latest = self.0.iter().map(|hand| hand.late_ms.load(Ordering::Relaxed)).max();
        Duration::from_millis(latest.unwrap_or(0).into())
    }

    /// How hard it is pressed: as much as it can bear once one of its threads is so late that it refuses.
    pub(super) fn pressure(&self) -> Pressure {
        let steps = self.late().as_millis() * u128::from(STEPS) / TOO_LATE.as_millis();
        Pressure::of(u32::try_from(steps).unwrap_or(STEPS), STEPS)
    }

    /// Tells how hard it is pressed, for ever, as often as its threads look how late they are.
    pub(super) async fn tell(self: Arc<Self>, handler: Arc<Handler>) {
        loop {
            handler.pressed(PressedBy::Http, self.pressure());
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The threads of the public listeners.
pub struct Threads {
    /// Serves everybody.
    pub clients: Arc<Crew>,
    /// Serves those who have proved to be edges.
    pub edges: Arc<Crew>,
    running: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Threads {
    /// Starts so many threads for each crew; for 0, half as many as there are processors, so that neither crew can take more
    /// than its half from the other.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn start(each: usize) -> io::Result<Self> {
        let (stop, ended, mut running) = (CancellationToken::new(), CancellationToken::new(), Vec::new());
        let each =
            if each == 0 { thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2)) } else { each };
        let mut crew = |name: &str| -> io::Result<Arc<Crew>> {
            let hands = (0..each).map(|number| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let late_ms = Arc::<AtomicU32>::default();
                let hand = Hand {
                    runtime: runtime.handle().clone(),
                    connections: Arc::default(),
                    late_ms: Arc::clone(&late_ms),
                };
                let (stop, ended) = (stop.clone(), ended.clone().drop_guard());
                let work = move || {
                    let _ended = ended;
                    runtime.block_on(stop.run_until_cancelled(watch_the_clock(&late_ms)));
                };
                running.push(thread::Builder::new().name(format!("{name}-{number}")).spawn(work)?);
                Ok(hand)
            });
            Ok(Arc::new(Crew(hands.collect::<io::Result<Box<[Hand]>>>()?)))
        };
        let (clients, edges) = (crew("http")?, crew("edge")?);
        Ok(Self { clients, edges, running, stop, ended })
    }

    /// Cancelled when one of the threads ends: it takes its connections with it, and would be given further ones.
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

/// A timer is heard when everything that was ready before it has had its turn.
async fn watch_the_clock(late_ms: &AtomicU32) {
    loop {
        let due = Instant::now() + LOOK;
        tokio::time::sleep_until(due).await;
        let late = due.elapsed();
        late_ms.store(u32::try_from(late.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
        LATE.set(late >= TOO_LATE);
    }
}
