//! Connecting to a cluster.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{entropy::Entropy, store::Result};

use super::{
    batcher::Batcher,
    cluster::{self, Cluster},
    datacenters,
    options::{MAX_TTL, ScyllaOptions},
    schema,
    store::ScyllaStore,
};

impl ScyllaStore {
    /// Connects to a cluster, and makes or migrates the keyspace. Any number of processes may.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if a newer version of this program wrote the keyspace, a copy into it has not ended, or
    /// decisions on it are made elsewhere than configured;
    /// [`StoreError::Unavailable`] if the cluster cannot be reached or does not answer in time.
    ///
    /// [`StoreError::Refused`]: crate::store::StoreError::Refused
    /// [`StoreError::Unavailable`]: crate::store::StoreError::Unavailable
    pub async fn open(options: &ScyllaOptions, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let store = Self::reach(options, entropy).await?;
        if let Some(moving) = store.read_moving().await?
            && let Some(refused) = moving.unfinished(&format!("the keyspace {}", options.keyspace))
        {
            return Err(refused);
        }
        Ok(store)
    }

    /// The same, whatever is in the keyspace.
    pub(super) async fn reach(options: &ScyllaOptions, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let session = cluster::connect(options).await?;
        let scope = datacenters::scope(options, &session)?;
        Box::pin(schema::bring_up_to_date(&session, options, &*entropy)).await?;
        let cluster = Arc::new(Box::pin(Cluster::new(session, options)).await?);
        let ttl = |span: Duration| i32::try_from(span.as_secs()).unwrap_or(MAX_TTL).clamp(1, MAX_TTL);
        let store = Self {
            cluster,
            entropy,
            audit_ttl: ttl(options.audit_ttl),
            history_ttl: ttl(options.history_ttl),
            doubts: Mutex::default(),
            batcher: Batcher::default(),
            era: AtomicU64::new(0),
            remembered: Mutex::default(),
        };
        store.agree_on(&scope).await?;
        Ok(store)
    }
}
