//! A keyspace that another store is moved into, as reads and writes of it work with it.

use crate::time::UnixMs;

use super::{ScyllaStore, statements::MovingStatements};

/// A keyspace, to be moved into.
pub struct ScyllaTarget {
    pub(super) store: ScyllaStore,
    pub(super) statements: MovingStatements,
    pub(super) keyspace: String,
    pub(super) now: UnixMs,
}
