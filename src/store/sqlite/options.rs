//! How a data file is used.

use std::time::Duration;

/// How a data file is used. The defaults are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How many connections read.
    pub readers: u32,
    /// How long to wait for another program that has locked the file, such as a backup.
    pub busy_timeout: Duration,
    /// How long a call waits for its turn before it is answered with [`StoreError::Unavailable`](crate::store::StoreError::Unavailable).
    pub queue_wait: Duration,
    /// How many acts may wait to be written, and as many pieces of write-behind work.
    pub queue: usize,
    /// How many acts share a transaction at most.
    pub group: usize,
    /// The most pages of 4096 bytes the file may have. `None` is as many as the disk takes.
    pub max_pages: Option<u32>,
    /// Whether to check the whole file on opening: seconds for each gigabyte.
    pub verify: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 3,
            busy_timeout: Duration::from_secs(2),
            queue_wait: Duration::from_secs(5),
            queue: 1024,
            group: 256,
            max_pages: None,
            verify: false,
        }
    }
}
