//! Connections that only read.

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    deadline::within,
    store::{Result, StoreError},
};

use super::{file, options::SqliteOptions};

/// A few connections that only read, lent to one reader at a time.
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
    busy: Duration,
    patience: Duration,
    most: u32,
}

impl Readers {
    pub(super) fn open(path: PathBuf, options: &SqliteOptions) -> Result<Self> {
        let most = options.readers.clamp(1, 64);
        let idle = (0..most).map(|_| file::reading(&path, options.busy_timeout)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            path,
            free: Arc::new(Semaphore::new(idle.len())),
            idle: Arc::new(Mutex::new(idle)),
            busy: options.busy_timeout,
            patience: options.queue_wait,
            most,
        })
    }

    /// Runs `read` on a connection, on a thread that may block.
    pub(super) async fn run<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = within(self.patience, Arc::clone(&self.free).acquire_owned())
            .await
            .map_err(|_| StoreError::Unavailable("too many are waiting to read".to_owned()))?
            .map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let path = self.path.clone();
        let busy = self.busy;
        spawn_blocking(move || {
            // Moved in, so that it is given back only with the connection, also if the caller goes away.
            let _permit = permit;
            // One is missing only after a reader panicked with it.
            let lent = idle.lock().pop();
            let conn = lent.map_or_else(|| file::reading(&path, busy), Ok)?;
            let found = read(&conn);
            idle.lock().push(conn);
            found
        })
        .await
        .map_err(|_| StoreError::Unavailable("a reader failed".to_owned()))?
    }

    /// Lets no more readers in, waits for those that are, and closes the connections.
    pub(super) async fn stop(&self) {
        // Nobody new gets past those who wait already, and each of them is bounded.
        if let Ok(permits) = self.free.acquire_many(self.most).await {
            self.free.close();
            drop(permits);
        }
        self.idle.lock().clear();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
