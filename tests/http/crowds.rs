//! Too many at once: of connections, of beats, of verdicts, of acts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gastank::wire::{HeartbeatKind, WireVerdict};
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    client::{Api, EdgeSecret, Session},
    raw::Raw,
    shapes::introspection,
    support::{Home, Service},
};

/// Connects from an address of the loopback interface.
async fn connect_from(from: &str, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse::<SocketAddr>().unwrap()).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

/// Whether the service keeps the connection, or says that there is no room.
async fn is_let_in(from: &str, to: &str) -> Option<Raw> {
    let mut raw = Raw::connect(to).await;
    raw.stream = connect_from(from, to).await;
    if raw.is_open(Duration::from_millis(150)).await {
        // The first byte of a refusal, if there is one.
        raw.send("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await;
        return raw.response().await.is_some_and(|answer| answer.status == 404).then_some(raw);
    }
    None
}

#[tokio::test]
async fn one_address_cannot_take_every_place_and_the_last_ones_are_for_edges() {
    let home = Home::new();
    let settings = [("GASTANK_HTTP_MAX_CONNECTIONS", "64"), ("GASTANK_HTTP_MAX_CONNECTIONS_PER_ADDRESS", "20")];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let http = service.listener("http").to_owned();
    let edge = api.edge().await;
    let session = api.open(&api.owner(1000).await).await;

    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(is_let_in("127.0.0.2", &http).await.expect("there is room"));
    }
    assert!(is_let_in("127.0.0.2", &http).await.is_none(), "the address has all it may have");
    assert!(api.metric("gastank_http_connections_refused_total", "reason=\"address\"").await >= 1.0);
    held.push(is_let_in("127.0.0.3", &http).await.expect("another address has its own"));

    // An edge proves itself from its address; from then on it may have more, and the last places.
    let mut proved = Raw::connect(&http).await;
    proved.stream = connect_from("127.0.0.9", &http).await;
    proved.send(introspection(&edge, &session.token, "")).await;
    assert_eq!(proved.response().await.unwrap().status, 200);
    for from in ["127.0.0.4", "127.0.0.5"] {
        for _ in 0..20 {
            let Some(raw) = is_let_in(from, &http).await else { break };
            held.push(raw);
        }
    }
    // Connections of before may still be ending, and leave their places to others.
    let mut turned_away = false;
    while !turned_away && held.len() < 64 {
        match is_let_in("127.0.0.6", &http).await {
            Some(raw) => held.push(raw),
            None => turned_away = true,
        }
    }
    assert!(turned_away, "what is left is kept");
    assert!(api.metric("gastank_http_connections_refused_total", "reason=\"full\"").await >= 1.0);
    held.push(is_let_in("127.0.0.9", &http).await.expect("a place is kept for edges"));
    drop(held);
}

/// Asks over and over, on so many connections, until told to stop. Counts answers 200.
fn flood(http: &str, connections: usize, request: Vec<u8>, stop: &Arc<AtomicBool>, done: &Arc<AtomicU64>) {
    for _ in 0..connections {
        let (http, request, stop, done) = (http.to_owned(), request.clone(), Arc::clone(stop), Arc::clone(done));
        tokio::spawn(async move {
            let mut raw = Raw::connect(&http).await;
            while !stop.load(Ordering::Relaxed) {
                raw.send(&request).await;
                match raw.response().await {
                    Some(answer) if answer.status == 200 => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    None => return,
                }
            }
        });
    }
}

fn beat(session: &mut Session) -> Vec<u8> {
    let mut request = b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 48\r\n\r\n".to_vec();
    request.extend_from_slice(&session.frame(HeartbeatKind::Beat));
    request
}

/// The longest of so many answers, one after another on a connection that is open already.
async fn slowest(raw: &mut Raw, times: usize, mut request: impl FnMut() -> Vec<u8>) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        raw.send(request()).await;
        assert_eq!(raw.response().await.unwrap().status, 200);
        slowest = slowest.max(start.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_beats_does_not_starve_verdicts_nor_the_other_way_round() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let api = Api::new(&service, &home);
    let http = service.listener("http").to_owned();
    let edge: EdgeSecret = api.edge().await;
    let mut session = api.open(&api.owner(1000).await).await;
    let question = introspection(&edge, &session.token, "");
    let (mut asking, mut beating) = (Raw::connect(&http).await, Raw::connect(&http).await);
    slowest(&mut asking, 1, || question.clone()).await;
    slowest(&mut beating, 1, || beat(&mut session)).await;

    for (flooded, request) in [("beats", beat(&mut session)), ("verdicts", question.clone())] {
        let (stop, done) = (Arc::default(), Arc::default());
        flood(&http, 100, request, &stop, &done);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let verdicts = slowest(&mut asking, 50, || question.clone()).await;
        let beats = slowest(&mut beating, 50, || beat(&mut session)).await;
        stop.store(true, Ordering::Relaxed);
        let count = done.load(Ordering::Relaxed);
        println!("{count} {flooded}; slowest verdict {verdicts:?}, slowest beat {beats:?}");
        assert!(count > 1000, "it was no flood");
        assert!(verdicts < Duration::from_secs(3) && beats < Duration::from_secs(3), "{verdicts:?} {beats:?}");
    }
    let ack = session.posted(&api, HeartbeatKind::Beat).await.unwrap();
    assert_eq!(ack.verdict, WireVerdict::Valid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_whose_bodies_do_not_come_keep_nobody_from_theirs() {
    let home = Home::new();
    let settings = [
        ("GASTANK_HTTP_BODY_TIMEOUT_MS", "20000"),
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000"),
        ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
    ];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let http = service.listener("http").to_owned();
    let (edge, owner) = (api.edge().await, api.owner(1000).await);
    let mut held = Vec::new();
    for _ in 0..1100 {
        let mut raw = Raw::connect_from("127.0.0.2", &http).await;
        raw.send(
            "POST /v1/renew HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\
             content-type: application/octet-stream\r\ncontent-length: 48\r\n\r\nx",
        )
        .await;
        held.push(raw);
    }
    // Beyond the share of an address they are refused at once.
    let shed = async || api.metric("gastank_http_requests_shed_total", "surface=\"acts\"").await;
    for _ in 0..100 {
        if shed().await >= 588.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shed().await, 588.0);
    assert_eq!(held.last_mut().unwrap().response().await.unwrap().status, 429);
    assert_eq!(api.metric("gastank_http_requests_in_flight", "surface=\"acts\"").await, 0.0);
    let start = Instant::now();
    api.activate(&owner).await.unwrap().must_be(200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let mut session = api.open(&owner).await;
    assert!(api.is_active(&edge, &session.token).await);
    assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
    let keys = format!("{}/.well-known/jwks.json", api.public);
    api.send(reqwest::Method::GET, keys, &[], Vec::new()).await.unwrap().must_be(200);
    drop(held);
}
