//! The open connections of a listener, and how they are timed out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{telemetry::OpenConnection, web::admission::ConnectionPermit};

use super::{site::HttpLimits, watch::Watch};

/// The longest interval between two checks for connections that have timed out.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// An admitted connection: its permit and counters are released on drop.
pub(super) struct AdmittedConnection {
    pub(super) watch: Watch,
    pub(super) permit: ConnectionPermit,
    pub(super) _open: ConnectionEntry,
    pub(super) _counted: OpenConnection,
}

/// The open connections of a listener.
#[derive(Default)]
pub(super) struct OpenConnections(Mutex<(u64, HashMap<u64, Watch>)>);

/// The entry of an open connection; removed on drop.
pub(super) struct ConnectionEntry {
    open: Arc<OpenConnections>,
    number: u64,
}

impl OpenConnections {
    pub(super) fn enter(self: &Arc<Self>, watch: Watch) -> ConnectionEntry {
        let (next, open) = &mut *self.0.lock();
        *next += 1;
        open.insert(*next, watch);
        ConnectionEntry { open: Arc::clone(self), number: *next }
    }

    /// Closes connections that have timed out. Never returns.
    #[expect(clippy::disallowed_methods, reason = "time-outs of connections are told by the runtime's clock")]
    pub(super) async fn enforce_timeouts(self: Arc<Self>, limits: HttpLimits) {
        let shortest = limits.head.min(limits.body).min(limits.idle);
        let mut ticks = tokio::time::interval((shortest / 8).clamp(Duration::from_millis(5), CHECK_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let over = |watch: &&Watch| !watch.is_cut() && watch.is_timed_out(now);
            let cut: Vec<_> = self.0.lock().1.values().filter(over).cloned().collect();
            cut.iter().for_each(Watch::cut);
        }
    }

    pub(super) fn stop(&self) {
        let open: Vec<_> = self.0.lock().1.values().cloned().collect();
        open.iter().for_each(Watch::stop);
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        self.open.0.lock().1.remove(&self.number);
    }
}
