//! The simulated store against what every store is held to: it is not kinder than a real one.

#[macro_use]
#[path = "../../store/mod.rs"]
mod store;
#[macro_use]
#[path = "../../store/nodes.rs"]
mod nodes;

#[path = "conformance/lists.rs"]
mod lists;

use std::sync::Arc;

use simulation::{
    chance::Chance,
    link::{Link, LinkedStore, Server},
};

fn near() -> Arc<LinkedStore> {
    Arc::new(LinkedStore(Link::new(Server::near(Chance::new(1)))))
}

macro_rules! on_the_model {
    ($($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                store::conformance::$case(near()).await;
            }
        )*
    };
}

macro_rules! nodes_on_the_model {
    ($($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                nodes::$case(near()).await;
            }
        )*
    };
}

conformance_cases!(on_the_model);
node_cases!(nodes_on_the_model);

mod histories {
    use proptest::prelude::*;
    use store::{Subject, model};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_history_is_answered_as_the_model_answers_it(steps in model::history()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(async {
                let store: Subject = near();
                let model = model::agree(&store, &steps).await;
                model.is_held_by(&store).await;
            });
        }
    }
}
