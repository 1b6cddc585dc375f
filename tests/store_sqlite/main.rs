//! The embedded store against what every store is held to.

#[macro_use]
#[path = "../store/mod.rs"]
mod store;

mod faults;

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

mod histories {
    use proptest::prelude::*;
    use store::{Subject, model};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(test);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_history_is_answered_as_the_model_answers_it(steps in model::history()) {
            run(async {
                let store: Subject = Arc::new(SqliteStore::open_in_memory().expect("opens"));
                model::agree(&store, &steps).await;
            });
        }

        #[test]
        fn any_history_is_still_there_when_the_file_is_opened_again(steps in model::history(), close: bool) {
            run(async {
                let dir = tempfile::tempdir().expect("a temporary directory");
                let open = || -> Subject {
                    let path = dir.path().join("gastank.db");
                    Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).expect("opens"))
                };
                let store = open();
                let model = model::agree(&store, &steps).await;
                if close {
                    store.close().await.expect("closes");
                }
                drop(store);
                model.is_held_by(&open()).await;
            });
        }
    }
}
