//! `gastank/1`.

use std::time::Duration;

use bytes::Bytes;
use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};
use tokio::time::timeout;

use crate::{
    client::Api,
    peer::{self, PATIENCE, QUIET, beat, endpoint, open, silent},
    support::{Home, Service},
};

const FRAMES: &[u8] = b"gastank/1";

#[tokio::test]
async fn beats_are_acked_and_a_stop_is_settled_before_its_ack() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(100).await;
    let (mut session, told) = open(&api, &owner).await;
    assert_eq!(told.addr, peer::addr(&service));
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, FRAMES).await;
    for _ in 0..3 {
        assert_eq!(beat(&connection, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    }
    assert_eq!(api.metric("gastank_udp_threads", "listener=\"quic\"").await, 1.0, "it has one socket");
    for buffer in ["receive", "send"] {
        let labels = format!("listener=\"quic\",buffer=\"{buffer}\"");
        assert!(api.metric("gastank_udp_socket_buffer_bytes", &labels).await >= 4096.0);
    }
    let ack = beat(&connection, &mut session, HeartbeatKind::Stop).await;
    assert_eq!(ack.verdict, WireVerdict::Invalid(EndReason::Deactivated));
    // Killed now, it has the end all the same.
    service.kill();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    assert_eq!(api.account(&owner.account).await["session"]["end_reason"], "deactivated");
    assert_eq!(api.ledger(&owner.account).await.len(), 2);
}

#[tokio::test]
async fn bad_frames_are_met_with_silence_and_change_nothing() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, FRAMES).await;
    let mut forged = session.frame(HeartbeatKind::Stop);
    forged[47] ^= 1;
    let renewal = session.frame(HeartbeatKind::Renew);
    let largest = vec![1; connection.max_datagram_size().unwrap()];
    for bad in [&forged[..], &renewal, &forged[..47], &[], &largest] {
        connection.send_datagram(Bytes::copy_from_slice(bad)).unwrap();
    }
    silent(timeout(QUIET, connection.read_datagram()).await);
    assert_eq!(beat(&connection, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    assert_eq!(
        api.metric("gastank_heartbeats_total", "outcome=\"forged\",transport=\"quic\"").await
            + api.metric("gastank_heartbeats_total", "transport=\"quic\",outcome=\"forged\"").await,
        1.0
    );
    assert_eq!(api.metric("gastank_heartbeats_total", "bad_length").await, 3.0);
}

#[tokio::test]
async fn a_client_that_comes_back_beats_in_its_first_packet() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let config = told.config(FRAMES);
    let first = endpoint.connect_with(config.clone(), told.addr, "localhost").unwrap();
    let connection = first.await.unwrap();
    assert_eq!(beat(&connection, &mut session, HeartbeatKind::Beat).await.verdict, WireVerdict::Valid);
    tokio::time::sleep(Duration::from_millis(100)).await;
    connection.close(0_u32.into(), b"");

    let again = endpoint.connect_with(config, told.addr, "localhost").unwrap();
    let (connection, accepted) = again.into_0rtt().unwrap_or_else(|_| panic!("there is no ticket for early data"));
    let frame = session.frame(HeartbeatKind::Beat);
    connection.send_datagram(Bytes::copy_from_slice(&frame)).unwrap();
    let ack = timeout(PATIENCE, connection.read_datagram()).await.unwrap().unwrap();
    assert_eq!(session.ack(&ack).verdict, WireVerdict::Valid);
    assert!(accepted.await, "early data was refused");
    assert_eq!(connection.stats().frame_tx.datagram, 1, "the beat was not sent again after the handshake");
}

#[tokio::test]
async fn a_client_that_moves_to_another_network_goes_on_beating() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, FRAMES).await;
    beat(&connection, &mut session, HeartbeatKind::Beat).await;
    for to in ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"] {
        let before = endpoint.local_addr().unwrap();
        endpoint.rebind(std::net::UdpSocket::bind(to).unwrap()).unwrap();
        assert_ne!(endpoint.local_addr().unwrap(), before);
        let ack = beat(&connection, &mut session, HeartbeatKind::Beat).await;
        assert_eq!(ack.verdict, WireVerdict::Valid);
    }
    assert_eq!(api.metric("gastank_quic_connections_open", "gastank").await, 1.0);
}

#[tokio::test]
async fn a_client_may_beat_on_a_stream_and_one_that_takes_no_acks_holds_no_memory() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, FRAMES).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    for _ in 0..3 {
        send.write_all(&session.frame(HeartbeatKind::Beat)).await.unwrap();
        let mut ack = [0; 48];
        timeout(PATIENCE, recv.read_exact(&mut ack)).await.unwrap().unwrap();
        assert_eq!(session.ack(&ack).verdict, WireVerdict::Valid);
    }

    // Another that sends for ever and never reads: what the service keeps for it is bounded by its windows.
    let greedy = told.connect(&endpoint, FRAMES).await;
    greedy.set_receive_window(1000_u32.into());
    let before = api.metric("process_resident_memory_bytes", "").await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(greedy.open_bi().await.unwrap());
    }
    let frames: Vec<u8> = (0..1000).flat_map(|_| session.frame(HeartbeatKind::Beat)).collect();
    let flood = streams.iter_mut().map(async |(send, _)| send.write_all(&frames).await);
    let flood: Vec<_> = flood.collect();
    drop(
        timeout(Duration::from_secs(2), async {
            for one in flood {
                drop(timeout(Duration::from_millis(60), one).await);
            }
        })
        .await,
    );
    let grown = api.metric("process_resident_memory_bytes", "").await - before;
    assert!(grown < 8e6, "a connection that reads nothing holds {grown} bytes");
    send.write_all(&session.frame(HeartbeatKind::Beat)).await.unwrap();
    let mut ack = [0; 48];
    timeout(PATIENCE, recv.read_exact(&mut ack)).await.unwrap().unwrap();
    session.ack(&ack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_one_beat_from_each_of_many_connections_is_answered_whole() {
    // As many as fit a socket's buffer where the kernel grants no more than it usually does.
    const MANY: usize = 200;
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let api = Api::new(&service, &home);
    let (session, told) = open(&api, &api.owner(1000).await).await;
    let endpoint = endpoint();
    let mut connections = Vec::new();
    for _ in 0..MANY {
        connections.push(told.connect(&endpoint, FRAMES).await);
    }
    let frame = Bytes::copy_from_slice(&session.clone().frame(HeartbeatKind::Beat));
    for connection in &connections {
        connection.send_datagram(frame.clone()).unwrap();
    }
    for connection in &connections {
        let ack = timeout(PATIENCE, connection.read_datagram()).await.expect("no ack is lost").unwrap();
        assert_eq!(ack.len(), 48);
    }
    assert_eq!(api.metric("gastank_quic_connections_open", "gastank").await, MANY as f64);
    endpoint.close(0_u32.into(), b"");
    peer::until("everybody leaves", async || api.metric("gastank_quic_connections_open", "").await == 0.0).await;
    assert_eq!(api.metric("gastank_quic_datagrams_dropped_total", "").await, 0.0);
}

#[tokio::test]
async fn a_service_that_stops_settles_what_it_was_told_and_closes_its_connections() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(100).await;
    let (mut session, told) = open(&api, &owner).await;
    let endpoint = endpoint();
    let idle = told.connect(&endpoint, b"h3").await;
    let connection = told.connect(&endpoint, FRAMES).await;
    beat(&connection, &mut session, HeartbeatKind::Beat).await;
    connection.send_datagram(Bytes::copy_from_slice(&session.frame(HeartbeatKind::Stop))).unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let stopping = std::thread::spawn(move || service.stop());
    let ack = timeout(PATIENCE, connection.read_datagram()).await.unwrap().unwrap();
    assert_eq!(session.ack(&ack).verdict, WireVerdict::Invalid(EndReason::Deactivated));
    timeout(PATIENCE, connection.closed()).await.expect("it is closed");
    timeout(PATIENCE, idle.closed()).await.expect("it is closed");
    assert!(stopping.join().unwrap().success());
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    assert_eq!(api.account(&owner.account).await["session"]["end_reason"], "deactivated");
}
