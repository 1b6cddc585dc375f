//! The listener with TLS, spoken to by curl, and by peers that speak no TLS or never finish saying hello.

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};

use gastank::wire::{HeartbeatKind, WireVerdict};

use crate::{
    client::{Api, Session},
    raw::Raw,
    shapes::introspection,
    support::{Home, Service},
};

const TLS: (&str, &str) = ("GASTANK_HTTPS_ADDR", "127.0.0.1:0");

fn curl(service: &Service, options: &[&str], path: &str) -> Output {
    // The service made its certificate itself: what is trusted is that very file.
    let own = service.data_dir().join("development.pem");
    Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", "10", "--cacert", &own.display().to_string()])
        .args(options)
        .args([
            "-w",
            "%{stderr}%{http_version} %{response_code}",
            &format!("https://{}{path}", service.listener("https")),
        ])
        .output()
        .expect("curl is missing: run tests/setup.sh")
}

async fn started(more: &[(&str, &str)]) -> (Home, Service, Api, Session) {
    let home = Home::new();
    let settings = [&[TLS, ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")], more].concat();
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let session = api.open(&api.owner(1000).await).await;
    (home, service, api, session)
}

#[tokio::test]
async fn beats_verdicts_and_documents_come_over_tls_in_both_versions_of_http() {
    let (home, service, api, mut session) = started(&[]).await;
    let edge = api.edge().await;
    let file = home.log().with_extension("frame");
    for (version, told) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
        fs::write(&file, session.frame(HeartbeatKind::Beat)).unwrap();
        let data = format!("@{}", file.display());
        let octets = ["-H", "content-type: application/octet-stream", "--data-binary", &data];
        let output = curl(&service, &[&[version], &octets[..]].concat(), "/v1/heartbeat");
        assert_eq!(String::from_utf8_lossy(&output.stderr), told);
        assert_eq!(session.ack(&output.stdout).verdict, WireVerdict::Valid);
        let (user, token) = (format!("{}:{}", edge.client_id, edge.secret), format!("token={}", session.token));
        let output = curl(&service, &[version, "-u", &user, "--data", &token], "/oauth/introspect");
        assert_eq!(String::from_utf8_lossy(&output.stderr), told);
        assert!(output.stdout.starts_with(b"{\"active\":true"), "{}", String::from_utf8_lossy(&output.stdout));
        let output = curl(&service, &[version], "/.well-known/jwks.json");
        assert_eq!(String::from_utf8_lossy(&output.stderr), told);
    }
    assert!(api.metric("gastank_tls_handshakes_total", "outcome=\"full\"").await >= 6.0);
    assert_eq!(api.metric("gastank_tls_handshakes_total", "outcome=\"failed\"").await, 0.0);
    assert!(service.stop().success());
}

#[tokio::test]
async fn who_speaks_no_tls_is_let_go_and_nobody_else_notices() {
    let (_home, service, api, mut session) = started(&[("GASTANK_HTTP_HEADER_TIMEOUT_MS", "800")]).await;
    let https = service.listener("https").to_owned();
    let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 100]].concat();
    for (what, bytes) in [
        ("plain HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("noise", (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("half a hello", hello[..60].to_vec()),
        ("a hello that is none", [&hello[..], &[255; 600]].concat()),
        ("nothing", Vec::new()),
    ] {
        let start = Instant::now();
        let mut raw = Raw::connect(&https).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &bytes).await;
        raw.rest().await;
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: let go after {:?}", start.elapsed());
    }
    assert!(api.metric("gastank_tls_handshakes_total", "outcome=\"failed\"").await >= 6.0);
    assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
}

#[tokio::test]
async fn handshakes_that_are_never_finished_take_a_bounded_room_and_give_it_back() {
    let settings = [
        ("GASTANK_HTTPS_MAX_HANDSHAKES", "40"),
        ("GASTANK_HTTPS_MAX_HANDSHAKES_PER_ADDRESS", "20"),
        ("GASTANK_HTTP_HEADER_TIMEOUT_MS", "1500"),
    ];
    let (_home, service, api, _session) = started(&settings).await;
    let https = service.listener("https").to_owned();
    let mut slow = Vec::new();
    for _ in 0..60 {
        let mut raw = Raw::connect_from("127.0.0.2", &https).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &[22, 3, 1]).await;
        slow.push(raw);
    }
    for _ in 0..100 {
        if api.metric("gastank_http_connections_refused_total", "reason=\"address_handshakes\"").await >= 40.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(api.metric("gastank_http_connections_refused_total", "reason=\"address_handshakes\"").await, 40.0);
    // From elsewhere hands are shaken meanwhile.
    let output = curl(&service, &[], "/.well-known/jwks.json");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "2 200");
    // More places than one address has: the others are refused for what there is in all.
    for _ in 0..60 {
        let mut raw = Raw::connect_from("127.0.0.3", &https).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &[22, 3, 1]).await;
        slow.push(raw);
    }
    for _ in 0..100 {
        if api.metric("gastank_http_connections_refused_total", "reason=\"handshakes\"").await >= 40.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(api.metric("gastank_http_connections_refused_total", "reason=\"handshakes\"").await >= 40.0);
    // They have had their time: there is room again while they are still there.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let output = curl(&service, &[], "/.well-known/jwks.json");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "2 200");
    drop(slow);
}

#[tokio::test]
async fn a_connection_goes_on_in_another_crew_with_all_that_was_sent() {
    let (_home, service, api, mut session) = started(&[]).await;
    let edge = api.edge().await;
    let mut raw = Raw::connect(service.listener("http")).await;
    // One write, in the middle of which the edge proves itself; then again when it has moved.
    for _ in 0..3 {
        let mut all = Vec::new();
        let mut frames = Vec::new();
        for _ in 0..20 {
            all.extend(introspection(&edge, &session.token, ""));
            let frame = session.frame(HeartbeatKind::Beat);
            all.extend(b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 48\r\n\r\n");
            all.extend(frame);
            frames.push(frame);
        }
        raw.send(all).await;
        for _ in 0..20 {
            assert!(raw.response().await.unwrap().body.starts_with(b"{\"active\":true"));
            assert_eq!(raw.response().await.unwrap().body.len(), 48);
        }
    }
    // By way of hyper too.
    let mut raw = Raw::connect(service.listener("http")).await;
    for _ in 0..3 {
        raw.send(introspection(&edge, &session.token, "te: trailers\r\n")).await;
        assert_eq!(raw.response().await.unwrap().status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
