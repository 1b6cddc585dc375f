//! Two nodes that share one store, and clients that go from one to the other.

#![expect(clippy::print_stdout, reason = "how long things took is told with the test")]

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    HANGS,
    client::{Api, EdgeSecret, Session, text},
    lists::listed,
    settings, store,
    support::{Home, Service},
};

/// How long it may take until what one node did is known to the other, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(20);
/// Activations at once.
const RACERS: usize = 50;
/// Acts whose way to the other node is timed.
const TIMED: usize = 20;

/// A data directory for another node of the same store.
pub(crate) fn another(home: &Home) -> Home {
    let other = Home::new();
    fs::create_dir_all(other.data_dir()).unwrap();
    fs::copy(home.data_dir().join("cluster.secret"), other.data_dir().join("cluster.secret")).unwrap();
    other
}

/// Asks a node until it says so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < SOON, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

async fn is_known(api: &Api, edge: &EdgeSecret) -> bool {
    api.introspect(edge, "no token").await.unwrap().status == 200
}

/// Whether the edge would let the token pass, when the node knows.
pub(crate) async fn verdict(api: &Api, edge: &EdgeSecret, token: &str) -> Option<bool> {
    let answer = api.introspect(edge, token).await.unwrap();
    (answer.status == 200).then(|| answer.json()["active"].as_bool().unwrap())
}

/// What the payload of a JWT says.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_any_act_any_beat_and_any_question() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("nodes").await);
    let first = Service::start_with(&home, &settings(&store));
    let other = another(&home);
    let second = Service::start_with(&other, &settings(&store));
    let (a, b) = (Api::new(&first, &home), Api::new(&second, &other));
    until("both count two", async || {
        a.metric("gastank_nodes", "").await == 2.0 && b.metric("gastank_nodes", "").await == 2.0
    })
    .await;
    assert_eq!(b.ready().await.json()["nodes"], 2);

    // What is registered at one node is known to the other.
    let edge = a.edge().await;
    until("the edge is known", async || is_known(&b, &edge).await).await;
    a.admin(Method::POST, "/admin/keys/rotate", &[], &Value::Null).await.unwrap().must_be(200);
    let keys = async |api: &Api| {
        let path = format!("{}/.well-known/jwks.json", api.public);
        let set = api.send(Method::GET, path, &[], Vec::new()).await.unwrap().must_be(200).json();
        set["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect::<Vec<_>>()
    };
    until("the new key is published", async || keys(&b).await.len() == 2).await;

    one_of_many_activations_is_left(&a, &b, &edge).await;
    ends_are_known_elsewhere(&a, &b, &edge).await;

    // A node is killed, and its client goes on at the other.
    let owner = a.owner(1000).await;
    let mut session = a.open(&owner).await;
    until("the list is told of", async || listed(&b, &session.token).await.is_some()).await;
    assert_eq!(
        listed(&b, &session.token).await,
        Some(true),
        "a list says of no token that it is bad because it is new"
    );
    let socket = b.socket().await;
    first.kill();
    for _ in 0..5 {
        let ack = session.datagram(&socket, HeartbeatKind::Beat).await.expect("the other node answers");
        assert!(matches!(ack.verdict, WireVerdict::Valid | WireVerdict::Unknown), "{ack:?}");
    }
    until("the session is known there", async || {
        let ack = session.datagram(&socket, HeartbeatKind::Beat).await.expect("the other node answers");
        ack.verdict == WireVerdict::Valid
    })
    .await;
    assert!(b.is_active(&edge, &session.token).await);

    // It comes back, and knows what happened meanwhile.
    assert_eq!(b.credit(&owner.account, "meanwhile", 10).await.unwrap().status, 200);
    let renewed = session.frame(HeartbeatKind::Renew);
    let renewed = text(&b.renew(&session, renewed).await.unwrap().must_be(200).json()["token"]);
    let began = Instant::now();
    let first = Service::start_with(&home, &settings(&store));
    println!("a killed node was back after {:?}", began.elapsed());
    let a = Api::new(&first, &home);
    assert!(a.is_active(&edge, &renewed).await);
    assert!(!a.is_active(&edge, &session.token).await);

    assert!(first.stop().success());
    until("who has left is not counted", async || b.metric("gastank_nodes", "").await == 1.0).await;
    assert!(second.stop().success());
}

/// Of many activations of one account over both nodes, one is left; the others' clients are told.
async fn one_of_many_activations_is_left(a: &Api, b: &Api, edge: &EdgeSecret) {
    let owner = a.owner(1000).await;
    let began = Instant::now();
    let racers = (0..RACERS).map(|n| if n % 2 == 0 { a.activate(&owner) } else { b.activate(&owner) });
    let answers = join_all(racers).await;
    let took = began.elapsed();
    let mut opened: Vec<Session> = Vec::new();
    for answer in answers {
        let answer = answer.unwrap();
        match answer.status {
            200 => opened.push(Session::of(&answer.json())),
            503 => answer.must_be_problem(503, "overloaded"),
            _ => panic!("{answer:?}"),
        }
    }
    println!("{} of {RACERS} activations at once were done, in {took:?}", opened.len());
    assert!(opened.len() > 1);
    let mut left = Vec::new();
    let agreed = until("one token is good, the same one on both nodes", async || {
        left.clear();
        for session in &opened {
            for api in [a, b] {
                match verdict(api, edge, &session.token).await {
                    Some(true) => left.push(session.id_text.clone()),
                    Some(false) => {}
                    None => return false,
                }
            }
        }
        left.len() == 2 && left[0] == left[1]
    });
    println!("both nodes were of one mind after {:?}", agreed.await);
    for session in opened.iter_mut().filter(|session| session.id_text != left[0]) {
        for api in [a, b] {
            let ack = session.posted(api, HeartbeatKind::Beat).await.expect("it is answered");
            assert_eq!(ack.verdict, WireVerdict::Invalid(EndReason::Superseded));
        }
    }
    let open = a.account(&owner.account).await;
    assert_eq!(open["session"]["session_id"], json!(left[0]), "{open}");
}

/// What one node ends is not good any more at the other, soon.
async fn ends_are_known_elsewhere(a: &Api, b: &Api, edge: &EdgeSecret) {
    let mut took = Vec::new();
    for n in 0..TIMED {
        let owner = a.owner(1000).await;
        let session = a.open(&owner).await;
        assert_eq!(verdict(b, edge, &session.token).await, Some(true), "a token is good everywhere when it is given");
        if n % 2 == 0 {
            a.revoke(&session.id_text).await.unwrap().must_be(200);
        } else {
            a.open(&owner).await;
        }
        assert_eq!(verdict(a, edge, &session.token).await, Some(false));
        took.push(until("the end is known", async || verdict(b, edge, &session.token).await == Some(false)).await);
    }
    took.sort_unstable();
    println!(
        "ends were known to the other node after {:?} (median), {:?} (latest of {TIMED})",
        took[TIMED / 2],
        took[TIMED - 1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_others_have_gone_on_without_says_so_and_ends() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("fenced").await);
    let addresses = ["127.0.0.1:0"; 3].map(str::to_owned);
    let first = Service::start_with(&home, &settings(&store));
    let other = another(&home);
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &first.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    let began = Instant::now();
    let second = Service::start_at(&other, &addresses, &settings(&store));
    println!("the next era began after {:?}", began.elapsed());
    signal("-CONT");
    let status = first.wait();
    assert_eq!(status.code(), Some(1));
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("the other nodes have begun era 2 without this one"), "{log}");

    // What it wrote when it went on moves nobody's meter.
    let b = Api::new(&second, &other);
    let (before, opened) = (b.open(&b.owner(1000).await).await, Instant::now());
    second.kill();
    let third = Service::start_with(&other, &settings(&store));
    let c = Api::new(&third, &other);
    let after = c.open(&c.owner(1000).await).await;
    let (shown, passed) = (after.started - before.started, u64::try_from(opened.elapsed().as_millis()).unwrap());
    println!("the meter went on by {shown} ms in {passed} ms");
    // It stands still for the twelve seconds in which nobody lives.
    assert!(shown + 8_000 < passed, "{shown} of {passed} ms");
    assert!(third.stop().success());
}
