//! The embedded store against what every store is held to.

#[macro_use]
mod store;

use std::sync::Arc;

use gastank::store::{SqliteOptions, SqliteStore};

/// Each case on a file and in memory.
macro_rules! on_sqlite {
    ($($case:ident),* $(,)?) => {
        mod on_a_file {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let dir = tempfile::tempdir().expect("a temporary directory");
                    let path = dir.path().join("gastank.db");
                    let store = SqliteStore::open(&path, &SqliteOptions::default()).expect("opens");
                    store::conformance::$case(Arc::new(store)).await;
                }
            )*
        }

        mod in_memory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    store::conformance::$case(Arc::new(SqliteStore::open_in_memory().expect("opens"))).await;
                }
            )*
        }
    };
}

conformance_cases!(on_sqlite);
