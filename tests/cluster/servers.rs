//! What becomes of the service when servers of three hang, are killed or have no room, while people go on.

use std::time::Duration;

use crate::{
    client::Api,
    load::{At, Load},
    nodes::another,
    settings, skips,
    support::{Home, Service},
    three::Three,
};

/// Two nodes on three servers, and what goes on.
struct Scene {
    nodes: [Service; 2],
    apis: [Api; 2],
    other: Home,
    load: Load,
    /// How much the first node's log had when it was started.
    skipped: usize,
}

impl Scene {
    async fn set(three: &Three, timeout_ms: &str) -> Self {
        let mut settings = settings(&three.store);
        settings[1].1 = timeout_ms;
        let skipped = three.home.said().len();
        let first = Service::start_with(&three.home, &settings);
        let other = another(&three.home);
        let second = Service::start_with(&other, &settings);
        let apis = [Api::new(&first, &three.home), Api::new(&second, &other)];
        let places = [At::Node(0), At::Node(0), At::Node(1), At::Node(1), At::All];
        let load = Load::begin(&apis, &places).await;
        load.go_on_until("it has begun", async |so_far| so_far.acts >= 6).await;
        Self { nodes: [first, second], apis, other, load, skipped }
    }

    /// What both nodes said.
    fn said(&self, three: &Three) -> [String; 2] {
        [three.home.said()[self.skipped..].to_owned(), self.other.said()]
    }

    /// Calls to the store that failed, at both nodes.
    async fn failures(&self) -> f64 {
        let mut failures = 0.0;
        for api in &self.apis {
            failures += api.metric("gastank_store_operation_seconds_count", "outcome=\"error\"").await;
        }
        failures
    }

    /// All is well again, and was, as far as anybody was told.
    async fn ends_well(self, three: &Three) {
        self.load.recovers(0).await;
        let said = self.said(three);
        let mut aftermath = self.load.end().await;
        aftermath.everybody_pays_for_what_was_vouched_for().await;
        aftermath.nothing_is_lost().await;
        for said in said {
            assert!(!said.contains("this node cannot go on"), "{said}");
        }
        for node in self.nodes {
            assert!(node.stop().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_three_hangs_and_acts_go_on_without_it() {
    let Some(mut three) = Three::all_well().await else { return };
    let scene = Scene::set(&three, "60000").await;
    let failed = scene.failures().await;
    three.server(1).pause();
    // Whoever has a connection to it waits for an answer until it is known that none comes.
    let at_first = scene.load.go_on_for(Duration::from_secs(8)).await;
    println!("at first {at_first:?}");
    at_first.beats_went_on();
    at_first.nobody_was_turned_away();
    let then = scene.load.go_on_for(Duration::from_secs(8)).await;
    println!("then     {then:?}");
    then.beats_went_on();
    then.nobody_was_turned_away();
    assert!(then.acts > then.put_off + then.unknown, "two of three are enough: {then:?}");
    assert!(scene.failures().await > failed, "some were not answered");
    for said in scene.said(&three) {
        assert!(said.contains("keepalive request on connection to node 127.0.0.2"), "{said}");
    }
    for api in &scene.apis {
        assert_eq!(api.metric("gastank_nodes", "").await, 2.0, "nodes do not take each other for dead for it");
    }
    three.heal();
    scene.ends_well(&three).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_servers_are_killed_and_started_again_and_nobody_is_timed_out() {
    let Some(mut three) = Three::all_well().await else { return };
    let scene = Scene::set(&three, "20000").await;
    for n in 0..3 {
        three.server(n).kill();
    }
    for api in &scene.apis {
        scene.load.go_on_until("the store is missed", async |_| api.metric("gastank_store_up", "").await == 0.0).await;
    }
    // With what it takes to start them, for longer than a session may go unheard.
    let during = scene.load.go_on_for(Duration::from_secs(10)).await;
    println!("{during:?}");
    during.beats_went_on();
    during.nobody_was_turned_away();
    assert!(during.acts == 0 && during.put_off > 0, "{during:?}");
    let before = scene.load.tally();
    three.heal();
    for said in scene.said(&three) {
        assert!(said.contains("the store is not reachable; heartbeats and verdicts go on"), "{said}");
        assert!(said.contains("checkpoints wait in memory until the store is back"), "{said}");
    }
    for api in &scene.apis {
        scene.load.go_on_until("the store is there", async |_| api.metric("gastank_store_up", "").await == 1.0).await;
    }
    scene.load.recovers(0).await;
    (scene.load.tally() - before).beats_went_on();
    (scene.load.tally() - before).nobody_was_turned_away();
    for said in scene.said(&three) {
        assert!(said.contains("the store is reachable again"), "{said}");
    }
    scene.ends_well(&three).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_three_has_no_room_left_and_acts_go_on_without_it() {
    let Some(mut three) = Three::all_well().await else { return };
    if three.server(2).disk().is_none() {
        skips::skipped("this machine lets nobody mount a small disk in a namespace of their own");
        return;
    }
    let scene = Scene::set(&three, "60000").await;
    three.server(2).disk().unwrap().fill();
    let until_then = scene.load.go_on_until("the server has ended", async |_| !three.server(2).is_running()).await;
    println!("it ended after {until_then:?}");
    // Its log is memory that is mapped to files: to write there without room is fatal.
    let log = three.server(2).log();
    assert!(log.contains("SIGBUS"), "{log}");
    let without = scene.load.go_on_for(Duration::from_secs(5)).await;
    println!("without it {without:?}");
    without.beats_went_on();
    without.nobody_was_turned_away();
    assert!(without.acts > without.put_off + without.unknown, "two of three are enough: {without:?}");
    for api in &scene.apis {
        assert_eq!(api.metric("gastank_store_up", "").await, 1.0);
    }
    three.server(2).disk().unwrap().make_room();
    three.heal();
    scene.ends_well(&three).await;
}
