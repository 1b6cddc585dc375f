//! HTTP/2 as attackers speak it: frame by frame.

use std::time::Duration;

use gastank::wire::{HeartbeatKind, WireVerdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::Api,
    support::{Home, Service},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request's header block without compression: literals that nobody has to remember.
fn block(method: &str, path: &str) -> Vec<u8> {
    block_with(method, path, &[])
}

fn block_with(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")];
    for (name, value) in pseudo.iter().chain(more) {
        block.push(0);
        for text in [*name, *value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// What came until the connection ended, frame by frame: kind, flags, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        frames.push((head[3], head[4], stream, payload.to_vec()));
        bytes = rest;
    }
    frames
}

struct Peer(TcpStream);

impl Peer {
    async fn connect(http: &str) -> Self {
        let mut stream = TcpStream::connect(http).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        Self(stream)
    }

    /// Sends until the service has had enough. Whether it closed, and what it said.
    async fn pour(self, mut next: impl FnMut(u32) -> Vec<u8>, most: u32) -> (bool, Vec<(u8, u8, u32, Vec<u8>)>) {
        let (mut reader, mut writer) = self.0.into_split();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            let ended = timeout(Duration::from_secs(10), reader.read_to_end(&mut all)).await.is_ok();
            (ended, all)
        });
        for number in 0..most {
            let writing = timeout(Duration::from_secs(5), writer.write_all(&next(number))).await;
            if !matches!(writing, Ok(Ok(()))) || reading.is_finished() {
                break;
            }
        }
        let (ended, all) = reading.await.unwrap();
        (ended, frames(&all))
    }
}

async fn started() -> (Home, Service, Api) {
    let home = Home::new();
    let settings = [
        ("GASTANK_HTTP_IDLE_TIMEOUT_MS", "3000"),
        ("GASTANK_HTTP_BODY_TIMEOUT_MS", "2000"),
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    (home, service, api)
}

/// The service is well after what it went through: it answers, and has not grown.
async fn is_well(api: &Api, before: f64) {
    let mut session = api.open(&api.owner(1000).await).await;
    assert_eq!(session.posted(api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
    let grown = api.metric("process_resident_memory_bytes", "").await - before;
    assert!(grown < 48.0 * 1024.0 * 1024.0, "{grown} bytes");
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_without_end_end_the_connection() {
    let (_home, service, api) = started().await;
    let before = api.metric("process_resident_memory_bytes", "").await;
    let peer = Peer::connect(service.listener("http")).await;
    let block = block("GET", "/.well-known/jwks.json");
    let burst = |number: u32| {
        let each = |index: u32| {
            let stream = 2 * (number * 100 + index) + 1;
            [
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &block),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        };
        (0..100).flat_map(each).collect()
    };
    let (ended, said) = peer.pour(burst, 2000).await;
    assert!(ended, "the connection is still open");
    let goaway = said.iter().find(|(kind, ..)| *kind == GOAWAY).map(|(.., payload)| payload[4..8].to_vec());
    // A reset on the way back may swallow what was said.
    assert!(goaway.is_none_or(|code| code == [0, 0, 0, 11]), "not ENHANCE_YOUR_CALM");
    is_well(&api, before).await;
}

#[tokio::test]
async fn a_service_that_stops_says_so_and_finishes_what_it_was_asked() {
    let (_home, service, api) = started().await;
    let mut session = api.open(&api.owner(1000).await).await;
    let mut peer = Peer::connect(service.listener("http")).await;
    peer.0.write_all(&frame(HEADERS, END_HEADERS, 1, &block("POST", "/v1/heartbeat"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = tokio::task::spawn_blocking(move || service.stop());
    let (mut all, mut seen, mut asked) = (Vec::new(), 0, false);
    let mut buffer = [0; 4096];
    loop {
        let length = timeout(Duration::from_secs(5), peer.0.read(&mut buffer)).await.expect("it ends").unwrap();
        if length == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..length]);
        for (kind, flags, _, payload) in frames(&all).drain(..).skip(seen) {
            seen += 1;
            if kind == PING && flags == 0 {
                peer.0.write_all(&frame(PING, 1, 0, &payload)).await.unwrap();
            }
            if kind == GOAWAY && !std::mem::replace(&mut asked, true) {
                // What was begun before is said to its end only now.
                let beat = session.frame(HeartbeatKind::Beat);
                peer.0.write_all(&frame(DATA, END_STREAM, 1, &beat)).await.unwrap();
            }
        }
    }
    let said = frames(&all);
    let goaways: Vec<_> = said.iter().filter(|(kind, ..)| *kind == GOAWAY).map(|(.., payload)| payload).collect();
    assert!(!goaways.is_empty() && goaways.iter().all(|payload| payload[4..8] == [0; 4]), "no error: {said:?}");
    assert_eq!(goaways.last().unwrap()[..4], [0, 0, 0, 1], "the last stream that is answered");
    let of = |wanted| said.iter().find(|(kind, _, stream, _)| (*kind, *stream) == (wanted, 1)).unwrap();
    // The first entry of HPACK's table that has a status: 200.
    assert_eq!(of(HEADERS).3[0], 0x88);
    assert_eq!(session.ack(&of(DATA).3).verdict, WireVerdict::Valid);
    assert!(stopping.await.unwrap().success());
}

#[tokio::test]
async fn a_head_that_is_continued_without_end_ends_the_connection() {
    let (_home, service, api) = started().await;
    let before = api.metric("process_resident_memory_bytes", "").await;
    for piece in [vec![], vec![0; 1000]] {
        let peer = Peer::connect(service.listener("http")).await;
        let first = frame(HEADERS, END_STREAM, 1, &block("GET", "/"));
        let next = |number| match number {
            0 => first.clone(),
            _ => frame(CONTINUATION, 0, 1, &piece).repeat(100),
        };
        let (ended, _) = peer.pour(next, 10_000).await;
        assert!(ended, "the connection is still open");
    }
    is_well(&api, before).await;
}

#[tokio::test]
async fn a_peer_is_told_how_many_streams_it_may_open_and_how_long_heads_may_be() {
    let (_home, service, _api) = started().await;
    let mut peer = Peer::connect(service.listener("http")).await;
    let mut all = vec![0; 4096];
    let length = timeout(Duration::from_secs(5), peer.0.read(&mut all)).await.unwrap().unwrap();
    let said = frames(&all[..length]);
    let (kind, _, _, settings) = &said[0];
    assert_eq!(*kind, SETTINGS);
    let value = |wanted: u16| {
        let of = |setting: &[u8]| u32::from_be_bytes(setting[2..6].try_into().unwrap());
        settings.chunks(6).find(|setting| setting[..2] == wanted.to_be_bytes()).map(of)
    };
    assert_eq!((value(3), value(6)), (Some(128), Some(16 << 10)));
    assert_eq!(value(4), Some(64 << 10), "a stream may bring a body before it is read, and no more");
}

#[tokio::test]
async fn streams_whose_bodies_never_come_keep_nobody_from_acts_and_verdicts() {
    let (_home, service, api) = started().await;
    let edge = api.edge().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let head = block_with("POST", "/oauth/revoke", &[form]);
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = Peer::connect(service.listener("http")).await;
        let streams: Vec<u8> = (0..128).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &head)).collect();
        peer.0.write_all(&streams).await.unwrap();
        peers.push(peer);
    }
    // One address has a quarter of the places for bodies: what is beyond is refused at once.
    let shed = async || api.metric("gastank_http_requests_shed_total", "surface=\"acts\"").await;
    for _ in 0..100 {
        if shed().await >= 512.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shed().await, 512.0);
    let mut session = api.open(&api.owner(1000).await).await;
    assert!(api.is_active(&edge, &session.token).await);
    assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
    let taken = api.metric("gastank_http_requests_in_flight", "surface=\"acts\"").await;
    assert_eq!(taken, 0.0, "what waits for a body takes no place of an act");
    drop(peers);
}

#[tokio::test]
async fn a_peer_that_only_pings_or_only_dribbles_bodies_is_let_go() {
    let (_home, service, api) = started().await;
    let before = api.metric("process_resident_memory_bytes", "").await;
    let peer = Peer::connect(service.listener("http")).await;
    let started = std::time::Instant::now();
    let (ended, _) = peer.pour(|_| frame(PING, 0, 0, &[0; 8]).repeat(50), 100_000).await;
    assert!(ended, "pings keep a connection open: {:?}", started.elapsed());
    let peer = Peer::connect(service.listener("http")).await;
    let open = |number: u32| {
        let stream = 2 * number + 1;
        if number < 128 {
            frame(HEADERS, END_HEADERS, stream, &block("POST", "/v1/heartbeat"))
        } else {
            std::thread::sleep(Duration::from_millis(20));
            frame(DATA, 0, 1, b"x")
        }
    };
    let (_, said) = peer.pour(open, 300).await;
    assert!(said.iter().any(|(kind, ..)| *kind == HEADERS || *kind == GOAWAY || *kind == RST_STREAM), "{said:?}");
    is_well(&api, before).await;
}
