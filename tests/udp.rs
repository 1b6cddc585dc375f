//! Datagrams at the running program: floods, strange lengths, many sockets, both versions of IP, and nothing at all.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who measures it"
)]
#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "support/client.rs"]
mod client;
#[path = "udp/flood.rs"]
mod flood;
mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use gastank::wire::{FRAME_LEN, HeartbeatKind, WireVerdict};

use crate::{
    client::Api,
    flood::Flood,
    support::{Home, Service},
};

/// Sessions do not time out while a test floods.
const PATIENT: (&str, &str) = ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000");

#[tokio::test]
async fn no_datagram_is_answered_with_more_bytes_than_it_has() {
    let home = Home::new();
    let service = Service::start_with(&home, &[PATIENT]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let socket = api.socket().await;
    let good = session.frame(HeartbeatKind::Beat);
    // Whoever names somebody else as the sender of these would have the answers sent there.
    for length in (0..=200).chain([576, 1200, 1472, 9000]) {
        let mut datagram = good.to_vec();
        datagram.resize(length, 0x55);
        socket.send(&datagram).await.unwrap();
    }
    let mut answers = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(got) = tokio::time::timeout(Duration::from_millis(700), socket.recv(&mut buffer)).await {
        answers.push(got.unwrap());
    }
    assert_eq!(answers, [FRAME_LEN], "only the one that is a frame is answered, with as many bytes");
    assert_eq!(api.metric("gastank_heartbeats_total", "transport=\"udp\",outcome=\"bad_length\"").await, 204.0);
}

#[tokio::test]
async fn a_stop_is_acked_once_the_ledger_has_what_was_used() {
    let home = Home::new();
    let service = Service::start_with(&home, &[PATIENT]);
    let api = Api::new(&service, &home);
    let owner = api.owner(1000).await;
    let mut session = api.open(&owner).await;
    let socket = api.socket().await;
    let ack = session.datagram(&socket, HeartbeatKind::Stop).await.unwrap();
    assert!(matches!(ack.verdict, WireVerdict::Invalid(_)), "{ack:?}");
    assert_eq!(api.ledger(&owner.account).await.len(), 2, "the credit, and the usage");
}

#[tokio::test]
async fn a_flood_of_forged_frames_takes_nothing_from_who_beats_honestly() {
    let home = Home::new();
    let service = Service::start_with(&home, &[PATIENT]);
    let api = Api::new(&service, &home);
    let edge = api.edge().await;
    let mut session = api.open(&api.owner(1000).await).await;
    let socket = api.socket().await;
    let mut forged = session.frame(HeartbeatKind::Stop);
    forged[40] ^= 1;

    let flood = Flood::start(&api.udp, forged);
    let until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while Instant::now() < until {
        // A datagram may be lost to the flood in the kernel's buffer; what may not be lost is the session.
        let frame = session.frame(HeartbeatKind::Beat);
        socket.send(&frame).await.unwrap();
        assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
        assert!(api.is_active(&edge, &session.token).await);
        rounds += 1;
    }
    let sent = flood.stop();
    assert!(rounds > 3 && sent > 1000, "{rounds} {sent}");
    // What is still waiting is forged and soon gone.
    let mut acked = None;
    for _ in 0..10 {
        acked = acked.or(session.datagram(&socket, HeartbeatKind::Beat).await);
    }
    assert_eq!(acked.unwrap().verdict, WireVerdict::Valid);
    assert!(api.metric("gastank_heartbeats_total", "transport=\"udp\",outcome=\"forged\"").await > 1000.0);
    assert_eq!(api.metric("gastank_heartbeats_total", "outcome=\"stop\"").await, 0.0);
}

#[tokio::test]
async fn told_to_stop_in_a_flood_it_stops() {
    let home = Home::new();
    let service = Service::start_with(&home, &[PATIENT]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let flood = Flood::start(&api.udp, session.frame(HeartbeatKind::Beat));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopped = tokio::task::spawn_blocking(move || service.stop()).await.unwrap();
    flood.stop();
    assert!(stopped.success(), "{stopped}");
}

#[tokio::test]
async fn every_client_is_answered_whichever_thread_it_falls_to() {
    let home = Home::new();
    let service = Service::start_with(&home, &[PATIENT, ("GASTANK_UDP_THREADS", "4")]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    for _ in 0..40 {
        let socket = api.socket().await;
        assert_eq!(session.datagram(&socket, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
    }
    assert_eq!(api.metric("gastank_udp_threads", "listener=\"udp\"").await, 4.0);
    for buffer in ["receive", "send"] {
        let labels = format!("listener=\"udp\",buffer=\"{buffer}\"");
        assert!(api.metric("gastank_udp_socket_buffer_bytes", &labels).await >= 4096.0);
    }
    assert_eq!(threads(&service).len(), 4);
    assert_eq!(api.metric("gastank_acks_total", "transport=\"udp\"").await, 40.0);
}

#[tokio::test]
async fn one_listener_answers_both_versions_of_ip() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let home = Home::new();
    let addresses = ["127.0.0.1:0", "[::]:0", "127.0.0.1:0"].map(str::to_owned);
    let service = Service::start_at(&home, &addresses, &[PATIENT]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let port = api.udp.rsplit_once(':').unwrap().1.to_owned();
    for (from, to) in [("127.0.0.1:0", format!("127.0.0.1:{port}")), ("[::1]:0", format!("[::1]:{port}"))] {
        let socket = tokio::net::UdpSocket::bind(from).await.unwrap();
        socket.connect(&to).await.unwrap();
        assert_eq!(session.datagram(&socket, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid, "{to}");
        assert!(session.datagram(&socket, HeartbeatKind::Beat).await.is_some());
    }
}

#[tokio::test]
async fn a_port_that_another_gastank_has_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let service = Service::start(&home);
    let taken = service.listener("udp").to_owned();
    let addresses = ["127.0.0.1:0".to_owned(), taken.clone(), "127.0.0.1:0".to_owned()];
    let output = Service::command(&other, &addresses, &[]).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("cannot listen on udp {taken}")), "{said}");
}

#[tokio::test]
async fn with_nothing_to_do_the_threads_sleep_and_wake_at_once() {
    let home = Home::new();
    let service = Service::start_with(&home, &[PATIENT]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let socket = api.socket().await;
    let threads = threads(&service);
    assert!(!threads.is_empty());
    let busy = || threads.iter().map(|thread| run_time(&service, thread)).sum::<Duration>();
    let before = busy();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let used = busy() - before;
    assert!(used < Duration::from_millis(50), "{used:?} in 2.5 s of nothing");
    // They look up once a second by themselves: twenty acks that had to wait for that would take ten seconds.
    let began = Instant::now();
    for _ in 0..20 {
        session.datagram(&socket, HeartbeatKind::Beat).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// The ids of the threads that answer datagrams.
fn threads(service: &Service) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", service.id())).unwrap();
    let named = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap().starts_with("udp-");
    tasks.map(Result::unwrap).filter(named).map(|task| task.file_name().into_string().unwrap()).collect()
}

/// How long a thread has run, as the kernel counts it.
fn run_time(service: &Service, thread: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/task/{thread}/schedstat", service.id())).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
