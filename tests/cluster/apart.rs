//! Two nodes that cannot see each other. They meet in the store only, so one of them is cut off from it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};

use crate::{
    HANGS, SERVER,
    client::{Api, Session},
    load::{At, Load},
    nodes::{another, until, verdict},
    preload::detour,
    settings, store,
    support::{Home, Service},
    wire::Wire,
};

/// Two nodes, one of which reaches the store by a wire.
struct Pair {
    wire: Wire,
    nodes: [Service; 2],
    homes: [Home; 2],
    apis: [Api; 2],
}

impl Pair {
    async fn start(keyspace: &str, timeout_ms: &str) -> Self {
        let (home, store) = (Home::new(), store(keyspace).await);
        let mut settings = settings(&store);
        settings[1].1 = timeout_ms;
        let wire = Wire::to(SERVER.addr()).await;
        let detour = detour(SERVER.addr().port(), wire.port());
        let mut by_wire = settings.to_vec();
        by_wire.extend(detour.iter().map(|(name, value)| (*name, value.as_str())));
        // The wire is carried by this test's own threads.
        let first = tokio::task::block_in_place(|| Service::start_with(&home, &by_wire));
        let other = another(&home);
        let second = tokio::task::block_in_place(|| Service::start_with(&other, &settings));
        let apis = [Api::new(&first, &home), Api::new(&second, &other)];
        let [a, b] = &apis;
        until("both count two", async || {
            a.metric("gastank_nodes", "").await == 2.0 && b.metric("gastank_nodes", "").await == 2.0
        })
        .await;
        Self { wire, nodes: [first, second], homes: [home, other], apis }
    }

    fn stop(self) {
        for node in self.nodes {
            assert!(tokio::task::block_in_place(|| node.stop()).success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_vouches_from_memory_and_is_put_right_when_it_is_back() {
    let _calm = HANGS.read().await;
    let pair = Pair::start("apart", "15000").await;
    let [a, b] = &pair.apis;
    let load = Load::begin(&pair.apis, &[At::Node(0), At::Node(1), At::All]).await;
    let owner = a.owner(1000).await;
    let mut old = a.open(&owner).await;
    load.go_on_until("it has begun", async |so_far| so_far.acts >= 6).await;

    pair.wire.cut();
    load.go_on_until("the store is missed", async |_| a.metric("gastank_store_up", "").await == 0.0).await;
    // Somebody's next session is opened at the other node. Of this the one that is cut off knows nothing.
    let new = b.open(&owner).await;
    let socket = a.socket().await;
    assert_eq!(old.datagram(&socket, HeartbeatKind::Beat).await.expect("beats go on").verdict, WireVerdict::Valid);
    load.go_on_until("the other takes it for dead", async |_| b.metric("gastank_nodes", "").await == 1.0).await;
    assert_eq!(b.metric("gastank_store_up", "").await, 1.0);
    a.activate(&owner).await.unwrap().must_be_problem(503, "store_unavailable");
    // Whoever beats there alone has not been heard by anybody else.
    load.go_on_until("it is timed out", async |_| load.is_over(0, b).await).await;
    assert!(b.metric("gastank_sessions_ended_total", "timed_out").await >= 1.0);
    let during = load.go_on_for(Duration::from_secs(2)).await;
    println!("while it is cut off {during:?}");
    during.beats_went_on();
    assert!(during.acts > 0 && during.put_off > 0, "one node acts, the other does not: {during:?}");
    assert!(a.metric("gastank_changes_lag_seconds", "").await > 5.0);
    assert!(a.metric("gastank_checkpoint_lag_seconds", "").await > 5.0);

    pair.wire.mend();
    until("it knows what happened meanwhile", async || {
        let ack = old.datagram(&socket, HeartbeatKind::Beat).await;
        ack.is_some_and(|ack| ack.verdict == WireVerdict::Invalid(EndReason::Superseded))
    })
    .await;
    load.recovers(1).await;
    // What it asked while it was cut off may fail only now.
    until("it has the store again", async || a.metric("gastank_store_up", "").await == 1.0).await;
    until("both count two", async || {
        a.metric("gastank_nodes", "").await == 2.0 && b.metric("gastank_nodes", "").await == 2.0
    })
    .await;
    load.go_on_for(Duration::from_secs(2)).await;
    let said = pair.homes[0].said();
    for line in [
        "the store is not reachable; heartbeats and verdicts go on",
        "the lease could not be renewed; trying again",
        "changes could not be read; trying again",
        "checkpoints wait in memory until the store is back",
        "the store is reachable again",
    ] {
        assert!(said.contains(line), "{line} is missing from {said}");
    }
    assert!(!said.contains("this node cannot go on"), "the other has lived all the time: {said}");

    let mut aftermath = load.end().await;
    let unheard = aftermath.clients.remove(0);
    aftermath.everybody_pays_for_what_was_vouched_for().await;
    aftermath.nothing_is_lost().await;
    assert_eq!(unheard.ended, Some(EndReason::TimedOut));
    let charged = aftermath.charge_of(&unheard).await.expect("it is over");
    let vouched = unheard.vouched_until - unheard.session.started;
    println!("who was heard by the one alone pays for {charged} of {vouched} ms");
    assert!(charged <= vouched, "nobody pays for what was not vouched for");
    let edge = &aftermath.edge;
    for api in &aftermath.apis {
        assert_ne!(verdict(api, edge, &new.token).await, Some(true), "nobody has beaten for it");
    }
    pair.stop();
}

/// A network that was cut delivers what was sent before, however late. The others have been told of the act, and have
/// long ceased to look for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_arrives_when_nobody_looks_for_it_any_more_is_not_done() {
    let _calm = HANGS.read().await;
    let pair = Pair::start("late", "60000").await;
    let [a, b] = &pair.apis;
    let edge = a.edge().await;
    until("the edge is known", async || b.introspect(&edge, "no token").await.unwrap().status == 200).await;
    let owner = a.owner(1000).await;
    let mut session = a.open(&owner).await;
    assert!(b.is_active(&edge, &session.token).await);

    let account = URL_SAFE_NO_PAD.decode(&owner.account).unwrap();
    pair.wire.cut_before_an_act_with(&account);
    a.activate(&owner).await.unwrap().must_be_problem(503, "store_unavailable");
    assert!(pair.wire.is_cut());
    let put_off = std::time::Instant::now();
    let socket = b.socket().await;
    // For so long that the other node looks no more; the client goes on there.
    while put_off.elapsed() < Duration::from_secs(18) {
        assert!(b.is_active(&edge, &session.token).await);
        assert_eq!(session.datagram(&socket, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    pair.wire.mend();
    until("the node that was cut off acts again", async || {
        a.credit(&owner.account, "again", 1).await.unwrap().status == 200
    })
    .await;
    for _ in 0..20 {
        for api in [a, b] {
            assert_ne!(verdict(api, &edge, &session.token).await, Some(false), "what was put off so long is not done");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let open = b.account(&owner.account).await;
    assert_eq!(open["session"]["session_id"], session.id_text, "{open}");
    let next: Session = a.open(&owner).await;
    until("nodes are of one mind", async || {
        verdict(b, &edge, &session.token).await == Some(false) && verdict(b, &edge, &next.token).await == Some(true)
    })
    .await;
    pair.stop();
}
