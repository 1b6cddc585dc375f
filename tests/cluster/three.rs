//! Three servers with every row on each of them, two nodes, and one of each that is lost.

use std::{
    fs,
    time::{Duration, Instant},
};

use gastank::wire::{HeartbeatKind, WireVerdict};

use crate::{
    HANGS,
    cassandra::Cluster,
    client::{Api, Owner, Session},
    nodes::another,
    settings,
    support::{self, Home, Service, stdout_of},
};

/// What three servers take, and some to spare.
const NEEDED_KB: u64 = 4_500_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_three_and_a_node_of_two_are_lost_and_acts_and_beats_go_on() {
    if available_kb() < NEEDED_KB {
        println!("skipped: three servers need {NEEDED_KB} KB of free memory");
        return;
    }
    let _calm = HANGS.read().await;
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start(3)).await.unwrap();
    let store = format!("scylla://{}/three", cluster.nodes().join(","));
    // Three servers make tables slowly.
    stdout_of(&support::gastank().args(["store", "migrate", "--store", &store]).output().unwrap());
    let home = Home::new();
    let first = Service::start_with(&home, &settings(&store));
    let other = another(&home);
    let second = Service::start_with(&other, &settings(&store));
    let (a, b) = (Api::new(&first, &home), Api::new(&second, &other));
    let (edge, owner) = (b.edge().await, a.owner(1000).await);
    let mut session = a.open(&owner).await;
    let sockets = [a.socket().await, b.socket().await];
    let mut bought = 0;
    buy(&a, &owner.account, &mut bought).await;

    cluster.servers()[2].kill();
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

    let mut cluster = tokio::task::spawn_blocking(move || {
        cluster.servers()[2].restart();
        cluster.servers()[1].kill();
        cluster
    })
    .await
    .unwrap();
    // What the third has missed is on the first: a majority knows everything.
    buy(&b, &owner.account, &mut bought).await;
    let ledger = b.ledger(&owner.account).await;
    let entered = ledger.iter().filter(|entry| entry["amount_ms"] == 10_000).count();
    assert_eq!(entered, bought, "each purchase once");
    assert!(second.stop().success());
    cluster.servers()[0].kill();
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
