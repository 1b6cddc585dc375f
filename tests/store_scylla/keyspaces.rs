//! Keyspaces for tests, on one server for all of them. Making tables is slow, so a keyspace is used again, emptied.

use std::sync::{Arc, LazyLock, Mutex};

use gastank::{
    entropy::OsEntropy,
    store::{ScyllaOptions, ScyllaStore},
};
use scylla::client::{session::Session, session_builder::SessionBuilder};

use super::cassandra::Server;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
static FREE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static MADE: Mutex<u32> = Mutex::new(0);

/// The server of these tests.
pub(crate) fn server() -> &'static Server {
    &SERVER
}

/// A keyspace that nobody else uses.
pub(crate) struct Lent(u32);

impl Lent {
    /// One without rows.
    pub(crate) async fn empty() -> Self {
        // Found while others wait: the server takes long to start.
        tokio::task::spawn_blocking(server).await.expect("the server starts");
        let free = FREE.lock().expect("no test panics in here").pop();
        let lent = Self(free.unwrap_or_else(|| {
            let mut made = MADE.lock().expect("no test panics in here");
            *made += 1;
            *made
        }));
        if free.is_some() {
            lent.wipe().await;
        } else {
            // Whoever borrows it may look at its tables first.
            drop(lent.open().await);
        }
        lent
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        format!("case_{}", self.0)
    }

    /// How a store is opened on it.
    pub(crate) fn options(&self) -> ScyllaOptions {
        ScyllaOptions::new(vec![server().addr().to_string()], self.name())
    }

    /// A store on it.
    pub(crate) async fn open(&self) -> ScyllaStore {
        ScyllaStore::open(&self.options(), Arc::new(OsEntropy)).await.expect("the store opens")
    }

    /// A session on it, to look and change what no store would.
    pub(crate) async fn session(&self) -> Session {
        let session = SessionBuilder::new().known_node(server().addr().to_string()).build().await.expect("it connects");
        session.use_keyspace(self.name(), true).await.expect("it is there");
        session
    }

    async fn wipe(&self) {
        let session = self.session().await;
        let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
        let tables = session.query_unpaged(tables, (self.name(),)).await.expect("works").into_rows_result();
        for row in tables.expect("rows").rows::<(String,)>().expect("text") {
            let (table,) = row.expect("a row");
            // A table that cannot be read for all that was deleted from it is not empty.
            let some = session.query_unpaged(format!("SELECT * FROM {table} LIMIT 1"), ()).await;
            let rows = some.map_or(1, |some| some.into_rows_result().expect("rows").rows_num());
            // Rows of the tests are older than the deletions of the tests before, which would have them too.
            let is_older = ["history", "checkpoints"].contains(&table.as_str());
            if table != "schema_version" && (rows > 0 || is_older) {
                session.query_unpaged(format!("TRUNCATE {table}"), ()).await.expect("works");
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        FREE.lock().expect("no test panics in here").push(self.0);
    }
}
