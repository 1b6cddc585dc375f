//! Connections that are slow, idle, too many, or in a hurry.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

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

#[tokio::test]
async fn a_client_that_trickles_is_let_go_in_time() {
    let home = Home::new();
    let settings = [
        ("GASTANK_HTTP_HEADER_TIMEOUT_MS", "600"),
        ("GASTANK_HTTP_BODY_TIMEOUT_MS", "600"),
        ("GASTANK_HTTP_IDLE_TIMEOUT_MS", "1500"),
    ];
    let service = Service::start_with(&home, &settings);
    let http = service.listener("http");
    let head = "POST /v1/activate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let body = "content-length: 48\r\nauthorization: Bearer gtk_x\r\n\r\n";
    let beat = "POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 48\r\n\r\n";
    for (what, sent) in [
        ("nothing", String::new()),
        ("half a head", head.to_owned()),
        ("a head without its body", format!("{head}{body}")),
        ("a heartbeat without its frame", beat.to_owned()),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ] {
        let start = Instant::now();
        let mut stream = TcpStream::connect(http).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        // One more byte now and then must not help.
        let trickle = tokio::spawn(async move {
            while !sent.is_empty() && writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            writer
        });
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(8), reader.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{what}: the connection was still open after {:?}", start.elapsed());
        trickle.abort();
        let answer = String::from_utf8_lossy(&answer);
        if what.contains("without") {
            assert!(answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
            assert!(answer.contains("application/problem+json"), "{what}: {answer}");
        }
        println!("{what}: let go after {:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_do_not_keep_beats_and_verdicts_from_going_on() {
    // The test has as many descriptors open as the service.
    let idle = descriptors().saturating_sub(500).min(10_000);
    let most = idle + 50;
    let home = Home::new();
    let most_text = most.to_string();
    let settings = [
        ("GASTANK_HTTP_MAX_CONNECTIONS", most_text.as_str()),
        ("GASTANK_HTTP_HEADER_TIMEOUT_MS", "60000"),
        ("GASTANK_HTTP_IDLE_TIMEOUT_MS", "60000"),
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let (edge, owner) = (api.edge().await, api.owner(1000).await);
    let mut session = api.open(&owner).await;
    let http = service.listener("http").to_owned();
    // An address of an edge may have them all.
    assert!(api.is_active(&edge, &session.token).await);
    let before = api.metric("process_resident_memory_bytes", "").await;

    let mut connections = Vec::with_capacity(idle);
    for _ in 0..idle {
        connections.push(TcpStream::connect(&http).await.unwrap());
    }
    wait_until(async || api.metric("gastank_http_connections_open", "public").await >= idle as f64).await;
    let each = (api.metric("process_resident_memory_bytes", "").await - before) / idle as f64;
    println!("{idle} idle connections, {each:.0} bytes each");
    assert!(each < 16.0 * 1024.0, "an idle connection costs {each:.0} bytes");
    let socket = api.socket().await;
    let start = Instant::now();
    for _ in 0..50 {
        let ack = session.datagram(&socket, HeartbeatKind::Beat).await.expect("beats go on");
        assert_eq!(ack.verdict, WireVerdict::Valid);
        assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
        assert!(api.is_active(&edge, &session.token).await);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());

    // Over the limit there is 503 and no more.
    let mut refused = 0;
    for _ in 0..100 {
        let Ok(mut stream) = TcpStream::connect(&http).await else { continue };
        let mut answer = Vec::new();
        match timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await {
            Ok(_) if answer.starts_with(b"HTTP/1.1 503 ") => {
                assert!(String::from_utf8_lossy(&answer).contains("retry-after"));
                refused += 1;
                if refused == 5 {
                    break;
                }
            }
            // Still room: it is kept.
            Ok(_) | Err(_) => connections.push(stream),
        }
    }
    assert_eq!(refused, 5, "nobody was refused");
    assert!(api.metric("gastank_http_connections_refused_total", "public").await >= 5.0);
    assert!(api.is_active(&edge, &session.token).await, "a connection from before is served");
    drop(connections);
    wait_until(async || api.metric("gastank_http_connections_open", "public").await < 50.0).await;
    assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
}

#[tokio::test]
async fn requests_in_a_pipeline_are_answered_in_order() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.extend_from_slice(b"POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 48\r\n\r\n");
        requests.extend_from_slice(&session.frame(HeartbeatKind::Beat));
        requests.extend_from_slice(b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n");
        requests.extend_from_slice(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n");
    }
    requests.extend_from_slice(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(service.listener("http")).await.unwrap();
    stream.write_all(&requests).await.unwrap();
    let mut answers = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answers)).await.unwrap().unwrap();
    let answers = String::from_utf8_lossy(&answers);
    let statuses: Vec<&str> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses.len(), 61);
    for three in statuses[..60].chunks(3) {
        assert_eq!(three, ["200", "200", "404"]);
    }
}

#[tokio::test]
async fn http_2_in_cleartext_is_spoken() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let frame = tempfile::NamedTempFile::new().unwrap();
    fs::write(frame.path(), session.frame(HeartbeatKind::Beat)).unwrap();
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--http2-prior-knowledge", "--max-time", "10"])
        .args(["-H", "content-type: application/octet-stream", "--data-binary"])
        .arg(format!("@{}", frame.path().display()))
        .args(["-w", "%{stderr}%{http_version} %{response_code}", &format!("{}/v1/heartbeat", api.public)])
        .output()
        .expect("curl is missing: run tests/setup.sh");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "2 200");
    assert_eq!(session.ack(&output.stdout).verdict, WireVerdict::Valid);
}

/// The descriptors that a process may have open.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("what was waited for did not happen");
}
