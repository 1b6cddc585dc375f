//! A node's way to the store: it delays, loses and cuts.
//!
//! A call travels, does its work, and its answer travels back. What is lost on the way there was not done; what is lost on
//! the way back was. Either way the caller learns only that time is up, and what was sent may still arrive after that.

mod store;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gastank::store::{Result, StoreError};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    chance::Chance,
    tables::{Reach, Tables},
};

pub use store::LinkedStore;

/// After this long a call has failed.
pub const DEADLINE: Duration = Duration::from_millis(1_000);
/// What was sent arrives by then, or never.
pub const LATE: u64 = 2_500;

/// How bad the way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Nothing gets through.
    pub cut: bool,
    /// How many calls of a hundred go wrong.
    pub loses: u64,
    /// How much longer a call may take, in ms.
    pub slow: u64,
}

/// The store as every node sees it at its best, and how bad it is for all of them.
pub struct Server {
    /// What it holds.
    pub tables: Tables,
    /// How bad it is for everybody.
    pub weather: Mutex<Weather>,
    chance: Chance,
    began: Instant,
    tickets: AtomicU64,
    /// Whether calls take time at all.
    is_far: bool,
}

impl Server {
    /// A server whose calls take time, and may go wrong.
    pub fn new(chance: Chance) -> Arc<Self> {
        Self::make(chance, true)
    }

    /// A server that answers at once and never fails.
    pub fn near(chance: Chance) -> Arc<Self> {
        Self::make(chance, false)
    }

    fn make(chance: Chance, is_far: bool) -> Arc<Self> {
        let tables = Tables::new(Chance::new(chance.branch()));
        let (weather, began, tickets) = (Mutex::default(), Instant::now(), AtomicU64::new(0));
        Arc::new(Self { tables, weather, chance, began, tickets, is_far })
    }

    /// Milliseconds since the run began.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("runs are short")
    }
}

/// A node's way to the store.
pub struct Link {
    server: Arc<Server>,
    /// How bad it is for this node.
    pub weather: Mutex<Weather>,
    /// The process is gone: what it has not sent it never will.
    pub dead: AtomicBool,
    /// The process stands still.
    pub stopped: AtomicBool,
    closed: AtomicBool,
    /// The era that the process lives in.
    era: AtomicU64,
}

/// What becomes of a call.
struct Fate {
    there: Option<u64>,
    back: Option<u64>,
    reach: Reach,
    /// Whether a failure shows at once rather than by time being up.
    fails_at_once: bool,
}

impl Link {
    /// A way to `server`.
    pub fn new(server: Arc<Server>) -> Arc<Self> {
        let (dead, stopped, closed, era) = Default::default();
        Arc::new(Self { server, weather: Mutex::default(), dead, stopped, closed, era })
    }

    fn is_cut(&self) -> bool {
        self.weather.lock().cut || self.server.weather.lock().cut
    }

    fn fate(&self) -> Fate {
        let chance = &self.server.chance;
        let (mine, all) = (*self.weather.lock(), *self.server.weather.lock());
        let (loses, slow) = (mine.loses.max(all.loses), mine.slow.max(all.slow));
        let trip = || 1 + chance.within(0, 4) + if slow > 0 { chance.within(0, slow) } else { 0 };
        let fate = Fate {
            there: Some(trip()),
            back: Some(trip()),
            reach: Reach(if chance.percent(50) { 3 } else { 2 }),
            fails_at_once: chance.percent(50),
        };
        if !chance.percent(loses) {
            return fate;
        }
        match chance.within(0, 4) {
            0 => Fate { there: None, ..fate },
            1 => Fate { back: None, ..fate },
            2 => Fate { there: Some(chance.within(0, LATE)), ..fate },
            _ => Fate { reach: Reach(chance.place(2)), ..fate },
        }
    }

    /// Does `work` at the store.
    async fn call<T, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Server>, Reach) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        if !self.server.is_far {
            return work(Arc::clone(&self.server), Reach(3)).await;
        }
        self.stand_still().await;
        let (fate, deadline) = (self.fate(), Instant::now() + DEADLINE);
        let work = work(Arc::clone(&self.server), fate.reach);
        let (tell, told) = oneshot::channel();
        let link = Arc::clone(self);
        tokio::spawn(async move {
            let Some(there) = fate.there.filter(|_| !link.is_cut()) else { return };
            sleep(Duration::from_millis(there)).await;
            if link.is_cut() {
                return;
            }
            let answer = work.await;
            let Some(back) = fate.back else { return };
            sleep(Duration::from_millis(back)).await;
            if !link.is_cut() {
                drop(tell.send(answer));
            }
        });
        let answer = timeout_at(deadline, told).await;
        if !matches!(answer, Ok(Ok(_))) && !fate.fails_at_once {
            sleep_until(deadline).await;
        }
        self.stand_still().await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable("time is up".to_owned())),
        }
    }

    /// Waits while the process stands still; for ever, if it is gone.
    async fn stand_still(&self) {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        while self.stopped.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}
