//! The whole service on a CQL cluster: it survives its own death and the cluster's silence, and is one of many.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]
#![expect(clippy::disallowed_methods, reason = "the program under test runs by the real clock")]

#[path = "../support/cassandra/mod.rs"]
mod cassandra;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/crowd.rs"]
mod crowd;
#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/outage.rs"]
mod outage;
#[path = "../support/preload.rs"]
mod preload;
#[path = "../support/skips.rs"]
mod skips;
#[path = "../support/mod.rs"]
mod support;

mod apart;
mod clocks;
mod guarded;
mod history;
mod lists;
mod load;
mod migrating;
mod moving;
mod nodes;
mod servers;
mod spread;
mod storm;
mod three;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};
use tokio::sync::RwLock;

use cassandra::Server;
use client::Api;
use outage::Bench;
use support::{Home, Service, stdout_of};

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
/// Who makes the server hang has it alone.
static HANGS: RwLock<()> = RwLock::const_new(());

/// The store's URL, on the server of these tests, which is started if it is not running. Its tables are there: making
/// them takes a server that has much else to do longer than a service may take to start.
async fn store(keyspace: &str) -> String {
    let keyspace = keyspace.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let store = format!("scylla://{}/{keyspace}", SERVER.addr());
        stdout_of(&support::gastank().args(["store", "migrate", "--store", &store]).output().unwrap());
        store
    });
    made.await.expect("the server starts")
}

fn settings(store: &str) -> [(&str, &str); 5] {
    [
        ("GASTANK_STORE", store),
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000"),
        ("GASTANK_SCYLLA_REQUEST_TIMEOUT_MS", "1500"),
        ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"),
        ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_service_has_lost_nothing_that_it_acknowledged() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("killed").await);
    let mut service = Service::start_with(&home, &settings(&store));
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let (edge, owner, buyer) = (api.edge().await, api.owner(100_000).await, api.owner(0).await);
    let mut session = api.open(&owner).await;
    let socket = api.socket().await;

    // Credit keys that were acknowledged, by whether they were.
    let bought = Arc::new(Mutex::new(BTreeMap::new()));
    let enough = Arc::new(AtomicBool::new(false));
    let shops: Vec<_> = (0..4)
        .map(|shop| {
            let (api, buyer, bought, enough) = (api.clone(), buyer.clone(), Arc::clone(&bought), Arc::clone(&enough));
            tokio::spawn(async move {
                for n in 0.. {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("shop-{shop}-{n}");
                    let acked = api.credit(&buyer.account, &key, 10).await.is_ok_and(|answer| answer.status == 200);
                    bought.lock().unwrap().insert(key, acked);
                    if !acked {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            })
        })
        .collect();

    let mut token = session.token.clone();
    for kill in 0..2 {
        tokio::time::sleep(Duration::from_millis(700 + 400 * kill)).await;
        let frame = session.frame(HeartbeatKind::Renew);
        let renewed = api.renew(&session, frame).await.unwrap().must_be(200).json();
        let old = std::mem::replace(&mut token, client::text(&renewed["token"]));
        session.token.clone_from(&token);
        service.kill();
        service = Service::start_at(&home, &addresses, &settings(&store));
        assert!(api.is_active(&edge, &token).await, "a renewal that was acknowledged is there");
        assert!(!api.is_active(&edge, &old).await);
        let ack = session.datagram(&socket, HeartbeatKind::Beat).await.expect("it is heard again");
        assert_eq!(ack.verdict, WireVerdict::Valid);
    }
    enough.store(true, Ordering::Relaxed);
    for shop in shops {
        shop.await.unwrap();
    }

    let ledger = api.ledger(&buyer.account).await;
    let bought = std::mem::take(&mut *bought.lock().unwrap());
    let mut sum = 0;
    for (n, entry) in ledger.iter().enumerate() {
        assert_eq!(entry["number"], n + 1);
        sum += entry["amount_ms"].as_i64().unwrap();
    }
    for (key, acked) in &bought {
        let entered = ledger.iter().filter(|entry| entry["external_id"] == **key).count();
        assert!(entered == 1 || (entered == 0 && !acked), "{key} was entered {entered} times; acknowledged: {acked}");
    }
    assert!(bought.values().filter(|acked| **acked).count() > 20, "the shops were not idle");
    assert_eq!(api.account(&buyer.account).await["remaining_s"], sum / 1000);

    let ack = session.datagram(&socket, HeartbeatKind::Stop).await.unwrap();
    assert_eq!(ack.verdict, WireVerdict::Invalid(EndReason::Deactivated));
    assert!(service.stop().success());

    // Who is told to stop leaves, and the next start does not wait until it is taken for dead.
    let began = Instant::now();
    let service = Service::start_at(&home, &addresses, &settings(&store));
    println!("started in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!api.is_active(&edge, &token).await);
    assert!(service.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_cluster_hangs_beats_and_verdicts_go_on_and_acts_are_put_off() {
    let (home, store) = (Home::new(), store("hangs").await);
    let service = {
        let _calm = HANGS.read().await;
        Service::start_with(&home, &settings(&store))
    };
    let _alone = HANGS.write().await;
    let mut bench = Bench::new(&service, &home).await;
    SERVER.pause();
    bench.suffers().await;
    SERVER.resume();
    bench.heals().await;
    assert!(service.stop().success());
}
