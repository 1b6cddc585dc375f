//! Those who take more than their share.

use std::{net::UdpSocket, time::Duration};

use gastank::wire::{HeartbeatKind, WireVerdict};
use quinn::{ConnectionError, Endpoint};
use tokio::time::timeout;

use crate::{
    client::Api,
    peer::{self, PATIENCE, beat, endpoint, open, until},
    support::{Home, Service},
};

const FRAMES: &[u8] = b"gastank/1";

#[tokio::test]
async fn connections_are_limited_from_one_address_and_who_leaves_makes_room() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_QUIC_MAX_CONNECTIONS_PER_ADDRESS", "3")]);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(told.connect(&endpoint, FRAMES).await);
    }
    // A handshake is over for the client before it is for the service.
    let open = async || api.metric("gastank_quic_connections_open", "protocol=\"gastank\"").await;
    until("all are counted for the address", async || open().await >= 3.0).await;
    let refused = endpoint.connect_with(told.config(FRAMES), told.addr, "localhost").unwrap().await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    assert_eq!(api.metric("gastank_quic_arrivals_total", "address").await, 1.0);
    inside.pop().unwrap().close(0_u32.into(), b"");
    until("there is room", async || {
        endpoint.connect_with(told.config(FRAMES), told.addr, "localhost").unwrap().await.is_ok()
    })
    .await;
    let ack = beat(&inside[0], &mut session, HeartbeatKind::Beat).await;
    assert_eq!(ack.verdict, WireVerdict::Valid);
}

#[tokio::test]
async fn connections_are_limited_in_all() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_QUIC_MAX_CONNECTIONS", "2")]);
    let api = Api::new(&service, &home);
    let (_, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let _inside = (told.connect(&endpoint, FRAMES).await, told.connect(&endpoint, b"h3").await);
    let refused = endpoint.connect_with(told.config(FRAMES), told.addr, "localhost").unwrap().await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    assert_eq!(api.metric("gastank_quic_arrivals_total", "full").await, 1.0);
}

#[tokio::test]
async fn who_speaks_another_protocol_is_not_let_in() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (_, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    for protocol in [&b"gastank/2"[..], b"h2", b"http/1.1"] {
        let refused = endpoint.connect_with(told.config(protocol), told.addr, "localhost").unwrap().await;
        assert!(refused.is_err(), "{protocol:?}");
    }
    until("they are counted", async || api.metric("gastank_quic_arrivals_total", "failed").await == 3.0).await;
    assert_eq!(api.metric("gastank_quic_connections_open", "").await, 0.0);
}

/// First packets of as many connections as there are, each from a socket of its own that never answers.
/// The sockets, and how long each packet was.
fn knock_and_run(told: &peer::Told, times: usize) -> Vec<(UdpSocket, usize)> {
    (0..times)
        .map(|_| {
            // A real client writes the packet to a socket that passes it on, and nothing comes back.
            let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
            listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
            let connecting = client.connect_with(told.config(FRAMES), listener.local_addr().unwrap(), "localhost");
            let mut packet = [0; 2048];
            let length = listener.recv(&mut packet).unwrap();
            drop(connecting);
            listener.send_to(&packet[..length], told.addr).unwrap();
            (listener, length)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_never_finished_do_not_keep_others_out() {
    let home = Home::new();
    let limits = [("GASTANK_QUIC_MAX_HANDSHAKES", "40"), ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")];
    let service = Service::start_with(&home, &limits);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let before = told.connect(&endpoint, FRAMES).await;
    let sockets = knock_and_run(&told, 100);
    until("addresses are to be proven", async || api.metric("gastank_quic_arrivals_total", "retry").await >= 80.0)
        .await;
    assert!(api.metric("gastank_quic_handshakes_open", "").await <= 11.0);
    // Who proves its address is let in, and who is in goes on.
    let connection = told.connect(&endpoint, FRAMES).await;
    assert_eq!(beat(&connection, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    assert_eq!(beat(&before, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    for _ in 0..300 {
        if api.metric("gastank_quic_handshakes_open", "").await == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(api.metric("gastank_quic_handshakes_open", "").await, 0.0, "they are given up");
    // By then everything has been sent, repeated packets too. Nobody was sent more than three times what came from there
    // (RFC 9000, 8.1).
    let mut answered = 0;
    for (socket, received) in sockets {
        socket.set_nonblocking(true).unwrap();
        let mut packet = [0; 65_536];
        let sent: usize = std::iter::from_fn(|| socket.recv(&mut packet).ok()).sum();
        assert!(sent <= 3 * received, "{sent} bytes for {received}");
        answered += usize::from(sent > 0);
    }
    assert!(answered >= 80, "what was sent was not looked at: {answered}");
}

#[tokio::test]
async fn who_says_nothing_for_long_is_let_go() {
    let home = Home::new();
    let limits = [("GASTANK_QUIC_IDLE_TIMEOUT_MS", "1000"), ("GASTANK_HTTP_IDLE_TIMEOUT_MS", "1000")];
    let service = Service::start_with(&home, &limits);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let (silent, http) = (told.connect(&endpoint, FRAMES).await, told.connect(&endpoint, b"h3").await);
    // It would be let go of as one that is silent, but that it says something without asking anything.
    let mut kept = told.config(b"h3");
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(200)));
    kept.transport_config(std::sync::Arc::new(transport));
    let pinging = endpoint.connect_with(kept, told.addr, "localhost").unwrap().await.unwrap();
    let mut control = pinging.open_uni().await.unwrap();
    control.write_all(&[0x00, 0x04, 0x00]).await.unwrap();
    assert_eq!(beat(&silent, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    assert_eq!(api.metric("gastank_quic_connections_open", "").await, 3.0);
    for (who, connection) in [("frames", &silent), ("h3", &http), ("h3 that pings", &pinging)] {
        timeout(PATIENCE, connection.closed()).await.unwrap_or_else(|_| panic!("{who} is still open"));
    }
    until("they are counted", async || api.metric("gastank_quic_connections_open", "").await == 0.0).await;
    let connection = told.connect(&endpoint, FRAMES).await;
    assert_eq!(beat(&connection, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
}

#[tokio::test]
async fn what_brings_no_valid_frame_is_let_go_whatever_else_it_sends() {
    let home = Home::new();
    let limits = [("GASTANK_QUIC_FIRST_FRAME_TIMEOUT_MS", "700")];
    let service = Service::start_with(&home, &limits);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let pinging = |protocol| {
        let mut config = told.config(protocol);
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(200)));
        config.transport_config(std::sync::Arc::new(transport));
        endpoint.connect_with(config, told.addr, "localhost").unwrap()
    };
    let (idle, forging, good) =
        (pinging(FRAMES).await.unwrap(), pinging(FRAMES).await.unwrap(), pinging(FRAMES).await.unwrap());
    assert_eq!(beat(&good, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    let web = pinging(b"h3").await.unwrap();
    let mut http = crate::http::speak(&web).await;
    let (status, _, mut asked) = crate::http::session_at(&mut http, None).await;
    assert_eq!(status, 200);
    let forged = tokio::spawn({
        let (forging, frame) = (forging.clone(), [7; 48]);
        async move {
            while forging.send_datagram(frame.to_vec().into()).is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    for (who, connection) in [("idle", &idle), ("forging", &forging)] {
        let why = timeout(PATIENCE, connection.closed()).await.unwrap_or_else(|_| panic!("{who} is still open"));
        assert!(
            matches!(why, ConnectionError::ApplicationClosed(ref closed) if closed.error_code == 1_u32.into()),
            "{why:?}"
        );
    }
    // The session of WebTransport is closed by a capsule, and its stream ends.
    let closed = timeout(PATIENCE, async { while let Ok(Some(_)) = asked.recv_data().await {} }).await;
    assert!(closed.is_ok(), "the session is still open");
    forged.await.unwrap();
    assert_eq!(beat(&good, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
}

#[tokio::test]
async fn sessions_of_webtransport_are_limited_from_one_address() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_WEBTRANSPORT_MAX_SESSIONS_PER_ADDRESS", "2")]);
    let api = Api::new(&service, &home);
    let (_, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, b"h3").await;
    let mut http = crate::http::speak(&connection).await;
    let mut held = Vec::new();
    for status in [200, 200, 429] {
        let (told, _, asked) = crate::http::session_at(&mut http, None).await;
        assert_eq!(told, status);
        held.push(asked);
    }
    assert_eq!(api.metric("gastank_webtransport_sessions_total", "outcome=\"address\"").await, 1.0);
}

#[tokio::test]
async fn noise_is_answered_with_fewer_bytes_than_it_has_if_at_all() {
    let home = Home::new();
    let service = Service::start(&home);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(service.listener("quic")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    let mut packet = [0; 65_536];
    for length in [0, 1, 20, 21, 22, 38, 43, 48, 100, 1000, 1200, 1472] {
        // A packet of a connection that is not known may be answered with a reset, which is smaller; one of a version
        // that is not known with those that are.
        for first in [0x40, 0x00, 0xc0, 0xff] {
            socket.send(&vec![first; length]).unwrap();
            let heard: usize = std::iter::from_fn(|| socket.recv(&mut packet).ok()).sum();
            assert!(heard == 0 || heard < length, "{heard} bytes for {length} of {first:#x}");
        }
    }
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = timeout(PATIENCE, told.connect(&endpoint, FRAMES)).await.unwrap();
    beat(&connection, &mut session, HeartbeatKind::Beat).await;
}
