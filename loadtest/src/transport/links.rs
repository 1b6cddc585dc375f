//! Connections that are kept open by tasks of a [`Driver`]: what all protocols that need a runtime have in common.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, Semaphore};

use super::{
    Answer, Message, SendError, Tally, Transport,
    driver::{Driver, Inbox},
};
use crate::clock::Clock;

/// What runs over the connections.
pub(super) trait Protocol: Send + Sync + 'static {
    /// An open connection.
    type Line: Clone + Send + Sync + 'static;

    /// Opens a connection. Answers it, and what keeps it going until it breaks.
    fn open(&self, inbox: &Arc<Inbox>) -> impl Future<Output = anyhow::Result<(Self::Line, Serving)>> + Send;

    /// Sends a message without waiting; its answer goes to the inbox.
    fn send(&self, line: &Self::Line, inbox: &Arc<Inbox>, seq: u32, message: &Message) -> Result<(), SendError>;

    /// Drops a connection as a client does that has gone away.
    fn close(&self, line: Self::Line);

    /// Tells the server that nobody comes any more, where the system does not do so by itself.
    fn farewell(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Ends when the connection breaks.
pub(super) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A lane's connections.
pub(super) struct Links<P: Protocol> {
    driver: Driver,
    shared: Arc<Shared<P>>,
    slots: Vec<Arc<Slot<P::Line>>>,
}

struct Shared<P> {
    protocol: P,
    inbox: Arc<Inbox>,
    /// How many connections may be opened at a time: few at the start, any number in a storm.
    doors: Semaphore,
    connects: AtomicU64,
    broken: AtomicU64,
    why: Mutex<Option<anyhow::Error>>,
    opened: Notify,
}

/// The place of a connection.
struct Slot<L> {
    state: Mutex<State<L>>,
    renew: Notify,
}

struct State<L> {
    line: Option<L>,
    waiting: VecDeque<(u32, Message)>,
}

/// How many messages may wait for a connection that is being opened.
const QUEUE: usize = 1024;
/// How many connections are opened at a time at the start.
const DOORS: usize = 32;
/// How long opening a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long opening all of them may take.
const LONG_PATIENCE: Duration = Duration::from_secs(120);
/// How long after a failure a connection is opened again.
const REST: Duration = Duration::from_millis(100);
/// How long saying that all is over may take.
const FAREWELL: Duration = Duration::from_secs(1);

impl<P: Protocol> Links<P> {
    /// Opens `count` connections. `make` makes the protocol, inside the runtime.
    pub(super) fn open(clock: Clock, count: usize, make: impl FnOnce() -> anyhow::Result<P>) -> anyhow::Result<Self> {
        let driver = Driver::new(clock)?;
        let inside = driver.runtime().enter();
        let shared = Arc::new(Shared {
            protocol: make()?,
            inbox: Arc::clone(driver.inbox()),
            doors: Semaphore::new(DOORS),
            connects: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            why: Mutex::default(),
            opened: Notify::new(),
        });
        drop(inside);
        let slot = |_| {
            let state = Mutex::new(State { line: None, waiting: VecDeque::new() });
            let slot = Arc::new(Slot { state, renew: Notify::new() });
            driver.runtime().spawn(keep_open(Arc::clone(&shared), Arc::clone(&slot)));
            slot
        };
        let slots: Vec<_> = (0..count.max(1)).map(slot).collect();
        let all_open = async {
            while shared.connects.load(Ordering::Relaxed) < slots.len() as u64 {
                shared.opened.notified().await;
                // One that cannot be opened at the start is a wrong address, or a server that refuses: better told now.
                if let Some(error) = shared.why().take() {
                    return Err(error);
                }
            }
            Ok(())
        };
        let outcome = driver.until(async { tokio::time::timeout(LONG_PATIENCE, all_open).await });
        outcome.map_err(|_| anyhow::anyhow!("connections could not be opened in time"))??;
        shared.doors.add_permits(Semaphore::MAX_PERMITS / 2);
        Ok(Self { driver, shared, slots })
    }
}

/// Keeps one connection open for as long as the runtime lives.
async fn keep_open<P: Protocol>(shared: Arc<Shared<P>>, slot: Arc<Slot<P::Line>>) {
    loop {
        let opened = {
            let _door = shared.doors.acquire().await;
            tokio::time::timeout(PATIENCE, shared.protocol.open(&shared.inbox)).await
        };
        let error = match opened {
            Ok(Ok((line, serving))) => {
                shared.connects.fetch_add(1, Ordering::Relaxed);
                slot.put(&shared, &line);
                shared.opened.notify_one();
                let on_purpose = tokio::select! {
                    () = serving => false,
                    () = slot.renew.notified() => true,
                };
                slot.lock().line = None;
                shared.protocol.close(line);
                if on_purpose {
                    continue;
                }
                anyhow::anyhow!("a connection broke")
            }
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("a connection could not be opened in time"),
        };
        shared.broken.fetch_add(1, Ordering::Relaxed);
        *shared.why() = Some(error);
        shared.opened.notify_one();
        tokio::time::sleep(REST).await;
    }
}

impl<P: Protocol> Transport for Links<P> {
    fn send(&mut self, client: usize, seq: u32, message: &Message) -> Result<(), SendError> {
        let Shared { protocol, inbox, .. } = &*self.shared;
        let mut state = self.slots[client % self.slots.len()].lock();
        match &state.line {
            Some(line) => protocol.send(line, inbox, seq, message),
            None if state.waiting.len() < QUEUE => {
                state.waiting.push_back((seq, message.clone()));
                Ok(())
            }
            None => Err(SendError::Full),
        }
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        self.driver.turn(wait, answers)
    }

    fn reconnect(&mut self) {
        self.slots.iter().for_each(|slot| {
            // From now on messages wait for the new connection.
            slot.lock().line = None;
            slot.renew.notify_one();
        });
    }

    fn tally(&self) -> Tally {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally { dropped: 0, connects: load(&self.shared.connects), broken: load(&self.shared.broken) }
    }
}

/// A server that is not told holds a QUIC connection until it has been idle for long, and the next run may find no room.
impl<P: Protocol> Drop for Links<P> {
    fn drop(&mut self) {
        let farewell = self.shared.protocol.farewell();
        // Who does not hear it will find out.
        drop(self.driver.until(async { tokio::time::timeout(FAREWELL, farewell).await }));
    }
}

impl<P> Shared<P> {
    fn why(&self) -> MutexGuard<'_, Option<anyhow::Error>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Clone> Slot<L> {
    /// Takes a connection that has been opened, and sends what has waited for it.
    fn put<P: Protocol<Line = L>>(&self, shared: &Shared<P>, line: &L) {
        let mut state = self.lock();
        for (seq, message) in state.waiting.drain(..) {
            // What a fresh connection does not take is lost, and counted so.
            let _ = shared.protocol.send(line, &shared.inbox, seq, &message);
        }
        state.line = Some(line.clone());
    }

    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
