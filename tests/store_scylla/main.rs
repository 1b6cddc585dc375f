//! The distributed store on a real CQL server, against what every store is held to.

#[macro_use]
#[path = "../store/mod.rs"]
mod store;
#[macro_use]
#[path = "../store/nodes.rs"]
mod nodes;

#[expect(dead_code, reason = "one server is all it needs")]
#[path = "../support/cassandra/mod.rs"]
mod cassandra;

#[path = "../support/crowd.rs"]
mod crowd;
#[path = "../support/dice.rs"]
mod dice;

mod crashes;
mod keyspaces;
mod lanes;
mod leftovers;
mod moving;
mod proxy;
mod recovering;
mod unkind;
mod upgrades;

use std::sync::Arc;

use gastank::{entropy::OsEntropy, store::ScyllaStore};

use keyspaces::Lent;
use store::Subject;

/// Each case in a keyspace that is empty.
macro_rules! on_cql {
    ($($case:ident),* $(,)?) => {
        mod on_a_server {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let keyspace = Lent::empty().await;
                    store::conformance::$case(Arc::new(keyspace.open().await)).await;
                }
            )*
        }
    };
}

conformance_cases!(on_cql);

/// What many nodes ask of a store that they share.
macro_rules! nodes_on_cql {
    ($($case:ident),* $(,)?) => {
        mod for_many_nodes {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let keyspace = Lent::empty().await;
                    nodes::$case(Arc::new(keyspace.open().await)).await;
                }
            )*
        }
    };
}

node_cases!(nodes_on_cql);

mod histories {
    use proptest::prelude::*;
    use store::{Subject, model};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, ..ProptestConfig::default() })]

        #[test]
        fn any_history_is_answered_as_the_model_answers_it(steps in model::history()) {
            tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
                let keyspace = Lent::empty().await;
                let store: Subject = Arc::new(keyspace.open().await);
                let model = model::agree(&store, &steps).await;
                drop(store);
                model.is_held_by(&(Arc::new(keyspace.open().await) as Subject)).await;
            });
        }
    }
}
