//! The store itself: what its methods, in the files beside this one, work with.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{engine::AccountId, entropy::Entropy};

use super::{
    batcher::Batcher,
    cluster::Cluster,
    pending::{Doubt, Remembered},
};

/// A store in a keyspace of a CQL cluster.
pub struct ScyllaStore {
    pub(super) cluster: Arc<Cluster>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// Seconds.
    pub(super) audit_ttl: i32,
    /// Seconds.
    pub(super) history_ttl: i32,
    /// Acts whose outcome is not known yet: at most one for each account, as who commits waits for it.
    pub(super) doubts: Mutex<HashMap<AccountId, Doubt>>,
    pub(super) batcher: Batcher,
    /// The era that this node lives in; 0 before it has joined any.
    pub(super) era: AtomicU64,
    pub(super) remembered: Mutex<Remembered>,
}

impl ScyllaStore {
    /// How many batches of checkpoints have been sent to the cluster.
    pub fn checkpoint_batches(&self) -> u64 {
        self.batcher.batches().load(Ordering::Relaxed)
    }

    /// How many conditional round trips the cluster was asked for: what costs most there.
    pub fn decisions(&self) -> u64 {
        self.cluster.decisions()
    }

    /// How many reads of a row, or of a few, were asked for.
    pub fn reads(&self) -> u64 {
        self.cluster.reads()
    }

    /// What counts the batches of checkpoints, for who shows it.
    pub fn checkpoint_batch_counter(&self) -> Arc<AtomicU64> {
        self.batcher.batches()
    }
}
