//! HTTP/3 and WebTransport, as the crate that the service uses speaks them as a client, and as nobody should.

use std::time::Duration;

use bytes::{Buf, Bytes};
use gastank::wire::{HeartbeatKind, WireVerdict};
use h3::client::SendRequest;
use hyper::{Method, Request, StatusCode};
use quinn::Connection;
use tokio::time::timeout;

use crate::{
    client::{Api, Session},
    peer::{self, PATIENCE, QUIET, Told, endpoint, open, silent},
    support::{Home, Service},
};

const H3: &[u8] = b"h3";

pub(crate) type Asked = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;
pub(crate) type Http = SendRequest<h3_quinn::OpenStreams, Bytes>;

/// HTTP/3 on a connection.
pub(crate) async fn speak(connection: &Connection) -> Http {
    let mut builder = h3::client::builder();
    builder.send_grease(false).enable_datagram(true).enable_extended_connect(true);
    let built = builder.build(h3_quinn::Connection::new(connection.clone())).await;
    let (mut driver, http) = built.unwrap();
    tokio::spawn(async move { driver.wait_idle().await });
    http
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap()
}

async fn send(http: &mut Http, request: Request<()>, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let mut stream = http.send_request(request).await.unwrap();
    if !body.is_empty() {
        // A body that is too long is refused before its end.
        drop(stream.send_data(Bytes::copy_from_slice(body)).await);
    }
    drop(stream.finish().await);
    let response = timeout(PATIENCE, stream.recv_response()).await.expect("an answer comes").unwrap();
    let mut text = Vec::new();
    while let Ok(Some(mut data)) = stream.recv_data().await {
        text.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    (response.status(), text)
}

/// Opens a WebTransport session; its status and its number.
pub(crate) async fn session_at(http: &mut Http, origin: Option<&str>) -> (StatusCode, u64, Asked) {
    let mut asked = request(Method::CONNECT, "/v1/webtransport");
    asked.extensions_mut().insert(h3::ext::Protocol::WEB_TRANSPORT);
    if let Some(origin) = origin {
        asked.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let mut stream = http.send_request(asked).await.unwrap();
    let response = timeout(PATIENCE, stream.recv_response()).await.expect("an answer comes").unwrap();
    (response.status(), stream.id().into_inner(), stream)
}

/// A frame in a datagram of a session, and its ack.
async fn beat_in(connection: &Connection, number: u64, session: &mut Session) -> Option<WireVerdict> {
    let quarter = u8::try_from(number / 4).unwrap();
    assert!(quarter < 64);
    let datagram = [&[quarter][..], &session.frame(HeartbeatKind::Beat)].concat();
    connection.send_datagram(datagram.into()).unwrap();
    let ack = timeout(QUIET * 3, connection.read_datagram()).await.ok()?.unwrap();
    assert_eq!(ack[0], quarter);
    Some(session.ack(&ack[1..]).verdict)
}

#[tokio::test]
async fn requests_and_sessions_share_a_connection() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, H3).await;
    let mut http = speak(&connection).await;
    let frame = session.frame(HeartbeatKind::Beat);
    let (status, ack) = send(&mut http, request(Method::POST, "/v1/heartbeat"), &frame).await;
    assert_eq!(status, 200);
    assert_eq!(session.ack(&ack).verdict, WireVerdict::Valid);
    let (status, number, stream) = session_at(&mut http, None).await;
    assert_eq!(status, 200);
    assert_eq!(beat_in(&connection, number, &mut session).await, Some(WireVerdict::Valid));
    let (status, _) = send(&mut http, request(Method::GET, "/.well-known/jwks.json"), b"").await;
    assert_eq!(status, 200);
    let (status, problem) = send(&mut http, request(Method::POST, "/v1/activate"), &[b'x'; 80_000]).await;
    assert!(status == 401 || status == 413, "{status} {}", String::from_utf8_lossy(&problem));
    drop(stream);
    peer::until("the session ends with its stream", async || {
        api.metric("gastank_webtransport_sessions_open", "").await == 0.0
    })
    .await;
    assert_eq!(beat_in(&connection, number, &mut session).await, None);
    assert_eq!(api.metric("gastank_quic_datagrams_dropped_total", "no_session").await, 1.0);
}

#[tokio::test]
async fn a_session_goes_on_when_its_browser_moves_to_another_network() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, H3).await;
    let mut http = speak(&connection).await;
    let (status, number, _stream) = session_at(&mut http, None).await;
    assert_eq!(status, 200);
    assert_eq!(beat_in(&connection, number, &mut session).await, Some(WireVerdict::Valid));
    endpoint.rebind(std::net::UdpSocket::bind("127.0.0.2:0").unwrap()).unwrap();
    assert_eq!(beat_in(&connection, number, &mut session).await, Some(WireVerdict::Valid));
    let (status, _) = send(&mut http, request(Method::GET, "/.well-known/jwks.json"), b"").await;
    assert_eq!(status, 200);
    assert_eq!(api.metric("gastank_quic_connections_open", "").await, 1.0, "it is the same connection");
}

#[tokio::test]
async fn a_service_that_stops_closes_its_sessions_in_order() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, H3).await;
    let mut http = speak(&connection).await;
    let (_, number, mut stream) = session_at(&mut http, None).await;
    assert_eq!(beat_in(&connection, number, &mut session).await, Some(WireVerdict::Valid));
    let stopping = std::thread::spawn(move || service.stop());
    let mut said = Vec::new();
    while let Some(mut data) = timeout(PATIENCE, stream.recv_data()).await.expect("it is closed").unwrap() {
        said.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    assert_eq!(said, [0x68, 0x43, 4, 0, 0, 0, 0], "a capsule that closes the session, and the end of its stream");
    let closed = timeout(PATIENCE, connection.closed()).await.expect("it is closed");
    assert!(
        matches!(&closed, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == 0x100_u32.into())
    );
    assert!(stopping.join().unwrap().success());
}

#[tokio::test]
async fn sessions_are_limited_by_origin_by_connection_and_in_all() {
    let home = Home::new();
    let limits = [
        ("GASTANK_WEBTRANSPORT_ORIGINS", "https://app.example.org"),
        ("GASTANK_WEBTRANSPORT_MAX_SESSIONS", "3"),
        ("GASTANK_WEBTRANSPORT_MAX_SESSIONS_PER_CONNECTION", "2"),
    ];
    let service = Service::start_with(&home, &limits);
    let api = Api::new(&service, &home);
    let (_, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let (first, second) = (told.connect(&endpoint, H3).await, told.connect(&endpoint, H3).await);
    let (mut first, mut second) = (speak(&first).await, speak(&second).await);
    assert_eq!(session_at(&mut first, Some("chrome-extension://abc")).await.0, 403);
    let one = session_at(&mut first, Some("https://app.example.org")).await;
    let two = session_at(&mut first, None).await;
    assert_eq!((one.0.as_u16(), two.0.as_u16()), (200, 200));
    assert_eq!(session_at(&mut first, None).await.0, 503, "two on a connection");
    let three = session_at(&mut second, None).await;
    assert_eq!(three.0, 200);
    assert_eq!(session_at(&mut second, None).await.0, 503, "three in all");
    drop(one);
    peer::until("there is room again", async || session_at(&mut second, None).await.0 == 200).await;
    assert_eq!(api.metric("gastank_webtransport_sessions_total", "origin").await, 1.0);
}

#[tokio::test]
async fn a_head_without_end_and_streams_that_say_nothing_are_given_up() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HTTP_HEADER_TIMEOUT_MS", "500")]);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let before = api.metric("process_resident_memory_bytes", "").await;
    let connection = told.connect(&endpoint, H3).await;
    // A frame of heads that claims to be 64 MiB long, and goes on for as long as it is taken.
    let (mut send_half, _recv) = connection.open_bi().await.unwrap();
    let endless = async {
        send_half.write_all(&[0x01, 0x84, 0, 0, 0]).await?;
        loop {
            send_half.write_all(&[0; 8192]).await?;
        }
        #[expect(unreachable_code, reason = "says what the errors are")]
        Ok::<(), quinn::WriteError>(())
    };
    let refused = timeout(PATIENCE, endless).await.expect("it is stopped");
    assert!(refused.is_err());
    // The control stream may not go on for ever either.
    let connection = told.connect(&endpoint, H3).await;
    let mut control = connection.open_uni().await.unwrap();
    control.write_all(&[0x00, 0x04, 0x84, 0, 0, 0]).await.unwrap();
    let endless = async { while control.write_all(&[0; 8192]).await.is_ok() {} };
    timeout(PATIENCE, endless).await.expect("it is stopped");
    let grown = api.metric("process_resident_memory_bytes", "").await - before;
    assert!(grown < 8e6, "endless heads hold {grown} bytes");
    // Streams that are opened and left.
    let connection = told.connect(&endpoint, H3).await;
    let mut http = speak(&connection).await;
    let mut left = Vec::new();
    for _ in 0..20 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[0x01]).await.unwrap();
        left.push((send, recv));
    }
    for (_, recv) in &mut left {
        drop(timeout(PATIENCE, recv.read_to_end(10)).await.expect("it is given up"));
    }
    let frame = session.frame(HeartbeatKind::Beat);
    let (status, ack) = send(&mut http, request(Method::POST, "/v1/heartbeat"), &frame).await;
    assert_eq!((status.as_u16(), session.ack(&ack).verdict), (200, WireVerdict::Valid));
}

#[tokio::test]
async fn a_connection_whose_streams_come_to_nothing_again_and_again_is_closed() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (_, told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, H3).await;
    let resets = async {
        while let Ok((mut send, _)) = connection.open_bi().await {
            drop(send.write_all(&[0x40]).await);
            drop(send.reset(0_u32.into()));
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), resets).await.expect("it is closed");
}

#[tokio::test]
async fn datagrams_without_a_session_are_not_answered_and_do_not_pile_up() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told): (Session, Told) = open(&api, &api.owner(100).await).await;
    let endpoint = endpoint();
    let connection = told.connect(&endpoint, H3).await;
    for _ in 0..2000 {
        let datagram = [&[0][..], &session.frame(HeartbeatKind::Beat)].concat();
        connection.send_datagram_wait(datagram.into()).await.unwrap();
    }
    silent(timeout(QUIET, connection.read_datagram()).await);
    let mut http = speak(&connection).await;
    let (status, _) = send(&mut http, request(Method::GET, "/.well-known/jwks.json"), b"").await;
    assert_eq!(status, 200);
    connection.close(0_u32.into(), b"");
    let unread = async || api.metric("gastank_quic_datagrams_dropped_total", "unread").await;
    peer::until("they are counted", async || unread().await > 1000.0).await;
    assert!(unread().await <= 2000.0);
}
