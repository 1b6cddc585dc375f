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
#[path = "support/skips.rs"]
mod skips;
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
async fn in_a_flood_acks_ask_for_patience_and_no_longer_when_it_is_over() {
    let home = Home::new();
    // Pressed as hard as can be, beats are asked for 20 s apart in place of 0.3 s.
    let service = Service::start_with(&home, &[PATIENT, ("GASTANK_UDP_THREADS", "1")]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let calm = session.posted(&api, HeartbeatKind::Beat).await.unwrap().next_beat_100ms;
    assert!(calm <= 3, "{calm}");
    let frame = session.frame(HeartbeatKind::Beat);
    let floods = [Flood::start(&api.udp, frame), Flood::start(&api.udp, frame)];
    let (mut pressure, mut longest) = (0.0_f64, 0);
    let until = Instant::now() + Duration::from_secs(20);
    while (pressure == 0.0 || longest <= calm) && Instant::now() < until {
        pressure = pressure.max(api.metric("gastank_pressure_ratio", "").await);
        longest = longest.max(session.posted(&api, HeartbeatKind::Beat).await.unwrap().next_beat_100ms);
    }
    let sent: u64 = floods.into_iter().map(Flood::stop).sum();
    assert!(pressure > 0.0 && pressure <= 1.0, "{pressure} with {sent} datagrams");
    assert!(longest > calm && longest <= 200, "{longest}: never later than a third of the time-out");
    let until = Instant::now() + Duration::from_secs(10);
    while api.metric("gastank_pressure_ratio", "").await > 0.0 {
        assert!(Instant::now() < until, "it is still pressed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().next_beat_100ms <= 3);
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
        skips::skipped("this machine has no IPv6");
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
    // Nor does anybody else: what is left is a look at the clock here and there.
    let all = every_thread(&service);
    let busy = || all.iter().map(|thread| run_time(&service, thread)).sum::<Duration>();
    let before = busy();
    tokio::time::sleep(Duration::from_millis(2000)).await;
    let used = busy() - before;
    assert!(used < Duration::from_millis(200), "{used:?} of all threads in 2 s of nothing");
    // The least of them is what the service takes; the others waited for a processor. Threads look up once a second by
    // themselves: an ack that had to wait for that would take far longer.
    let mut least = Duration::MAX;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let began = Instant::now();
        session.datagram(&socket, HeartbeatKind::Beat).await.unwrap();
        least = least.min(began.elapsed());
    }
    assert!(least < Duration::from_millis(1), "{least:?}");
}

/// The ids of the threads that answer datagrams.
fn threads(service: &Service) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", service.id())).unwrap();
    let named = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap().starts_with("udp-");
    tasks.map(Result::unwrap).filter(named).map(|task| task.file_name().into_string().unwrap()).collect()
}

/// The ids of all threads.
fn every_thread(service: &Service) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", service.id())).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

/// How long a thread has run, as the kernel counts it.
fn run_time(service: &Service, thread: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/task/{thread}/schedstat", service.id())).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Addresses of this machine, by which it may be sent to.
fn own_ipv6() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let global = table.lines().filter(|line| line.split_whitespace().nth(3) == Some("00"));
    let addresses = global.filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
    addresses.map(|bits| std::net::Ipv6Addr::from(bits).to_string()).collect()
}

#[tokio::test]
async fn a_client_that_has_connected_hears_its_ack_whichever_address_of_the_service_it_has_sent_to() {
    let mut sixes = own_ipv6();
    let has_ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
    sixes.push("::1".to_owned());
    let fours = ["127.0.0.1", "127.0.0.2"].map(str::to_owned).to_vec();
    let both = [fours.clone(), sixes].concat();
    let all = [("0.0.0.0", fours), ("[::]", both)];
    for (bound, addresses) in all.into_iter().filter(|(bound, _)| has_ipv6 || *bound != "[::]") {
        let home = Home::new();
        let at = ["127.0.0.1:0".to_owned(), format!("{bound}:0"), "127.0.0.1:0".to_owned()];
        let service = Service::start_at(&home, &at, &[PATIENT]);
        let port: u16 = service.listener("udp").rsplit_once(':').unwrap().1.parse().unwrap();
        let api = Api::new(&service, &home);
        for address in addresses {
            let mut session = api.open(&api.owner(1000).await).await;
            // From an address that the service would not answer by itself.
            let from = if address.contains(':') { "[::1]:0" } else { "127.0.0.1:0" };
            let socket = tokio::net::UdpSocket::bind(from).await.unwrap();
            socket.connect((address.parse::<std::net::IpAddr>().unwrap(), port)).await.unwrap();
            for kind in [HeartbeatKind::Beat, HeartbeatKind::Beat, HeartbeatKind::Stop] {
                let ack = session.datagram(&socket, kind).await;
                assert!(ack.is_some(), "bound to {bound}, sent to {address}: no ack of {kind:?} came back from there");
            }
        }
    }
}
