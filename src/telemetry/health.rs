//! Is the process alive, and may traffic come?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use serde::Serialize;

/// Where the service is in its life. Phases only ever go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// It opens its store and its listeners.
    Starting = 0,
    /// It reads the open sessions; a verdict now would be a guess.
    WarmingUp = 1,
    /// It takes traffic.
    Ready = 2,
    /// It finishes what it began and takes nothing new.
    Draining = 3,
}

/// What `/health/live` and `/health/ready` show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// Where the service is in its life.
    pub phase: Phase,
    /// Sessions read so far while warming up.
    pub warmed: u64,
    /// Sessions to read while warming up, as far as known.
    pub to_warm: u64,
    /// Whether the store can be reached.
    pub store_reachable: bool,
    /// Nodes that live and share the store, this one counted, once it has joined them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
}

/// The shared state of the service's health. Clones are the same state; every call is a few atomics.
#[derive(Clone, Debug)]
pub struct Health(Arc<State>);

#[derive(Debug)]
struct State {
    phase: AtomicU8,
    warmed: AtomicU64,
    to_warm: AtomicU64,
    store_reachable: AtomicBool,
    /// 0 where the store is not shared.
    nodes: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// A service that starts, its store not reached yet.
    pub fn new() -> Self {
        Self(Arc::new(State {
            phase: AtomicU8::new(Phase::Starting as u8),
            warmed: AtomicU64::new(0),
            to_warm: AtomicU64::new(0),
            store_reachable: AtomicBool::new(false),
            nodes: AtomicU64::new(0),
        }))
    }

    /// Enters a phase; one that lies behind is not entered again.
    pub fn enter(&self, phase: Phase) {
        self.0.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Tells how far warming up has come, in sessions.
    pub fn warmed(&self, done: u64, total: u64) {
        self.0.to_warm.store(total, Ordering::Relaxed);
        self.0.warmed.store(done, Ordering::Relaxed);
    }

    /// Tells whether the store can be reached. True when it changed, so that the caller can log it once.
    pub fn store_reachable(&self, reachable: bool) -> bool {
        self.0.store_reachable.swap(reachable, Ordering::AcqRel) != reachable
    }

    /// Tells how many nodes share the store, this one counted.
    pub fn nodes(&self, living: u64) {
        self.0.nodes.store(living, Ordering::Relaxed);
    }

    /// Where the service is in its life.
    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::WarmingUp,
            2 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// May traffic come?
    ///
    /// A store that cannot be reached does not make a node unready: it still answers beats and verdicts from memory,
    /// and sending its clients elsewhere would help none of them, since the others have lost the same store.
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Is memory complete, so that a verdict may be given? Stays true while draining.
    pub fn is_warm(&self) -> bool {
        self.phase() >= Phase::Ready
    }

    /// All of it at once.
    pub fn report(&self) -> HealthReport {
        HealthReport {
            phase: self.phase(),
            warmed: self.0.warmed.load(Ordering::Relaxed),
            to_warm: self.0.to_warm.load(Ordering::Relaxed),
            store_reachable: self.0.store_reachable.load(Ordering::Acquire),
            nodes: Some(self.0.nodes.load(Ordering::Relaxed)).filter(|nodes| *nodes > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_becomes_ready_once_and_never_again_after_draining() {
        let health = Health::new();
        assert!(!health.is_ready() && !health.is_warm());
        health.enter(Phase::WarmingUp);
        assert!(!health.is_ready() && !health.is_warm());
        health.enter(Phase::Ready);
        assert!(health.is_ready() && health.is_warm());
        health.enter(Phase::Draining);
        assert!(!health.is_ready() && health.is_warm());
        health.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::Draining);
    }

    #[test]
    fn a_lost_store_is_told_once_and_does_not_make_the_node_unready() {
        let health = Health::new();
        health.enter(Phase::Ready);
        assert!(health.store_reachable(true));
        assert!(!health.store_reachable(true));
        assert!(health.store_reachable(false));
        assert!(health.is_ready());
        assert!(!health.report().store_reachable);
    }

    #[test]
    fn clones_share_one_state_and_the_report_reads_as_json() {
        let health = Health::new();
        let clone = health.clone();
        clone.enter(Phase::WarmingUp);
        clone.warmed(3, 10);
        let report = serde_json::to_value(health.report()).expect("is plain data");
        let expected = serde_json::json!({"phase": "warming_up", "warmed": 3, "to_warm": 10, "store_reachable": false});
        assert_eq!(report, expected);
    }
}
