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
fn knock_and_run(told: &peer::Told, times: usize) -> Vec<UdpSocket> {
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
            listener
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
    // Nobody was sent more than three times what came from there (RFC 9000, 8.1).
    for socket in sockets {
        socket.set_nonblocking(true).unwrap();
        let mut packet = [0; 65_536];
        let sent: usize = std::iter::from_fn(|| socket.recv(&mut packet).ok()).sum();
        assert!(sent <= 3 * 1500, "{sent} bytes for one packet");
    }
}

#[tokio::test]
async fn noise_is_not_answered() {
    let home = Home::new();
    let service = Service::start(&home);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(service.listener("quic")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for length in [0, 1, 20, 48, 1000] {
        socket.send(&vec![0x40; length]).unwrap();
        socket.send(&vec![0; length]).unwrap();
    }
    let mut packet = [0; 2048];
    let heard = socket.recv(&mut packet).ok();
    // A packet of a connection that is not known may be answered with a reset, which is smaller.
    assert!(heard.is_none_or(|length| length < 1000), "{heard:?}");
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = timeout(PATIENCE, told.connect(&endpoint, FRAMES)).await.unwrap();
    beat(&connection, &mut session, HeartbeatKind::Beat).await;
}
