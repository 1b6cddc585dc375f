//! What goes to the server by which way, where ways are bad ([`proxy`](super::proxy)).

use std::{sync::Arc, time::Duration};

use gastank::{
    entropy::OsEntropy,
    store::{ClusterStore, NodeId, NodeLease, ScyllaStore, StoreError, roles::*},
    time::{MeterTime, UnixMs},
};

use super::{
    keyspaces::{self, Lent},
    proxy::Proxy,
    store::*,
};

const TIMEOUT: Duration = Duration::from_millis(500);
/// How late what is late comes: when whoever sent it has given up.
pub(crate) const LATE: Duration = Duration::from_millis(1_300);

/// A store on its own way to the server, which is good at first.
pub(crate) async fn on_a_bad_way(keyspace: &Lent, seed: u64) -> (Arc<Proxy>, Arc<ScyllaStore>) {
    let proxy = Proxy::to(keyspaces::server().addr(), seed, LATE).await;
    let mut options = keyspace.options();
    (options.nodes, options.request_timeout) = (vec![proxy.addr().to_string()], TIMEOUT);
    let store = ScyllaStore::open(&options, Arc::new(OsEntropy)).await.expect("the way is good at first");
    (Arc::new(proxy), Arc::new(store))
}

/// A node whose acts stand still in the network is not taken for dead: its lease goes another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_while_acts_stand_still() {
    let keyspace = Lent::empty().await;
    let (proxy, store) = on_a_bad_way(&keyspace, 1).await;
    let subject: Subject = Arc::<ScyllaStore>::clone(&store);
    let account = made(&subject, 1).await;
    let act = granting(&account, 5, "held");
    proxy.holds(b"held");
    let asked = Arc::clone(&store);
    let held = tokio::spawn(async move { asked.commit(&act, None).await });
    assert!(matches!(held.await.expect("no panic"), Err(StoreError::Unavailable(_))));
    assert!(matches!(store.account(&account.id).await, Err(StoreError::Unavailable(_))), "it goes the same way");
    let lease = NodeLease {
        node: NodeId::from_bytes([1; 16]),
        name: "a node".to_owned(),
        era: 1,
        renewals: 1,
        meter: MeterTime::from_ms(5),
        told_until: MeterTime::ZERO,
        is_behind: false,
        wall: UnixMs::from_ms(7),
    };
    store.put_node(&lease).await.expect("it goes another way");
    assert_eq!(store.nodes().await.expect("it goes another way"), [lease]);
    assert_eq!(store.era().await.expect("it goes another way"), None);
}
