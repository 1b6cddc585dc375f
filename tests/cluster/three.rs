//! Three servers with every row on each of them, two nodes, and one of each that is lost.

#![expect(clippy::print_stdout, reason = "why a test is skipped is told")]

use std::{
    fs,
    time::{Duration, Instant},
};

use gastank::wire::{HeartbeatKind, WireVerdict};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::{
    cassandra::{Cluster, Purpose, Server},
    client::{Api, Owner, Session},
    nodes::another,
    settings, skips,
    support::{self, Home, Service, stdout_of},
};

/// What three servers take, and some to spare.
const NEEDED_KB: u64 = 4_500_000;

/// Three servers, for one test at a time, and what the nodes on them have in common.
pub(crate) struct Three {
    cluster: Cluster,
    pub(crate) store: String,
    pub(crate) home: Home,
}

static THREE: OnceCell<Option<Mutex<Three>>> = OnceCell::const_new();

impl Three {
    /// The servers, all of them well. `None`, and it is said, where they have no room.
    pub(crate) async fn all_well() -> Option<MutexGuard<'static, Self>> {
        let three = THREE.get_or_init(async || tokio::task::spawn_blocking(Self::start).await.unwrap()).await;
        let Some(three) = three else {
            skips::skipped(&format!("three servers need {NEEDED_KB} KB of free memory"));
            return None;
        };
        let mut three = three.lock().await;
        three.heal();
        Some(three)
    }

    fn start() -> Option<Mutex<Self>> {
        if available_kb() < NEEDED_KB {
            return None;
        }
        let began = Instant::now();
        let cluster = Cluster::start(3, Purpose::Faults);
        println!("three servers were there after {:?}", began.elapsed());
        let store = format!("scylla://{}/three", cluster.nodes().join(","));
        // Three servers make tables slowly.
        stdout_of(&support::gastank().args(["store", "migrate", "--store", &store]).output().unwrap());
        Some(Mutex::new(Self { cluster, store, home: Home::new() }))
    }

    /// Brings back whatever hangs or has ended.
    pub(crate) fn heal(&mut self) {
        tokio::task::block_in_place(|| self.cluster.heal());
    }

    pub(crate) fn server(&mut self, n: usize) -> &mut Server {
        &mut self.cluster.servers()[n]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_three_and_a_node_of_two_are_lost_and_acts_and_beats_go_on() {
    let Some(mut three) = Three::all_well().await else { return };
    let first = Service::start_with(&three.home, &settings(&three.store));
    let other = another(&three.home);
    let second = Service::start_with(&other, &settings(&three.store));
    let (a, b) = (Api::new(&first, &three.home), Api::new(&second, &other));
    let (edge, owner) = (b.edge().await, a.owner(1000).await);
    let mut session = a.open(&owner).await;
    assert!(b.is_active(&edge, &session.token).await, "the other node has asked the store for it");
    let sockets = [a.socket().await, b.socket().await];
    let mut bought = 0;
    buy(&a, &owner.account, &mut bought).await;

    three.server(2).kill();
    for n in 0..20 {
        let ack = session.datagram(&sockets[n % 2], HeartbeatKind::Beat).await.expect("beats go on");
        assert_eq!(ack.verdict, WireVerdict::Valid);
        buy([&a, &b][n % 2], &owner.account, &mut bought).await;
    }
    first.kill();
    // The person of a session that was opened while all were there deals with one node and two servers.
    let mut renewed = reopen(&b, &owner).await;
    assert!(!b.is_active(&edge, &session.token).await);
    assert!(b.is_active(&edge, &renewed.token).await);
    let ack = renewed.datagram(&sockets[1], HeartbeatKind::Beat).await.expect("beats go on");
    assert_eq!(ack.verdict, WireVerdict::Valid);

    tokio::task::block_in_place(|| three.server(2).restart());
    three.server(1).kill();
    // What the third has missed is on the first: a majority knows everything.
    buy(&b, &owner.account, &mut bought).await;
    let ledger = b.ledger(&owner.account).await;
    let entered = ledger.iter().filter(|entry| entry["amount_ms"] == 10_000).count();
    assert_eq!(entered, bought, "each purchase once");
    assert!(second.stop().success());
}

/// Activates, however often it has to be asked for: an act that the lost server was to take part in may be put off.
async fn reopen(api: &Api, owner: &Owner) -> Session {
    let began = Instant::now();
    loop {
        match api.activate(owner).await {
            Ok(answer) if answer.status == 200 => return Session::of(&answer.json()),
            put_off => {
                assert!(began.elapsed() < Duration::from_secs(30), "two servers of three are enough: {put_off:?}")
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Buys once, however often it has to be asked for.
async fn buy(api: &Api, account: &str, bought: &mut usize) {
    let (key, began) = (format!("purchase-{bought}"), Instant::now());
    while api.credit(account, &key, 10).await.is_ok_and(|answer| answer.status != 200) {
        assert!(began.elapsed() < Duration::from_secs(30), "two servers of three are enough");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    *bought += 1;
}

fn available_kb() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
