//! Answers that were given before the request had been read, requests one behind the other, and requests for no host.

use std::time::{Duration, Instant};

use gastank::wire::HeartbeatKind;
use tokio::io::AsyncWriteExt;

use crate::{
    client::Api,
    raw::Raw,
    support::{Home, Service},
};

/// Whether an answer says that no other will follow.
fn closes(head: &str) -> bool {
    head.lines().any(|line| line.eq_ignore_ascii_case("connection: close"))
}

const NEXT: &str = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_body_that_nobody_waited_for_does_not_end_the_connection() {
    let home = Home::new();
    let service = Service::start(&home);
    for (line, status) in [
        ("PUT /.well-known/jwks.json", 405),
        ("GET /.well-known/jwks.json", 200),
        ("POST /nowhere", 404),
        ("POST /v1/activate", 401),
        ("PUT /v1/heartbeat", 405),
        ("GET /v1/account", 401),
        ("POST /oauth/revoke", 415),
    ] {
        for framing in ["content-length: 3000\r\n", "transfer-encoding: chunked\r\n"] {
            let mut raw = Raw::connect(service.listener("http")).await;
            raw.stream.set_nodelay(true).unwrap();
            let body = "x".repeat(3000);
            let body = if framing.contains("chunked") { format!("bb8\r\n{body}\r\n0\r\n\r\n") } else { body };
            for round in 0..10 {
                raw.send(format!("{line} HTTP/1.1\r\nhost: x\r\n{framing}\r\n{}", &body[..500])).await;
                // The service has answered by the time that the rest comes, or is about to.
                if round % 2 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                raw.send(&body[500..]).await;
                let answer = raw.response().await.unwrap_or_else(|| panic!("{line}: no answer in round {round}"));
                assert_eq!(answer.status, status, "{line}: {answer:?}");
                assert!(!closes(&answer.head), "{line}: {answer:?}");
                raw.send(NEXT).await;
                let next = raw.response().await;
                assert_eq!(next.map(|next| next.status), Some(200), "{line} {framing}: round {round}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_after_which_the_connection_ends_says_so_and_arrives() {
    let home = Home::new();
    let service = Service::start(&home);
    let large = format!("content-length: {}\r\n", 1 << 20);
    for (what, headers, sent) in [
        ("a large body", large.as_str(), 1 << 20),
        ("a body that stops coming", "content-length: 1000\r\n", 10),
        ("a body that waits to be asked for", "content-length: 10\r\nexpect: 100-continue\r\n", 0),
    ] {
        let mut raw = Raw::connect(service.listener("http")).await;
        let begun = Instant::now();
        raw.send(format!("PUT /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        let (_, mut writer) = raw.stream.split();
        let _ = writer.write_all(&vec![b'x'; sent]).await;
        let answer = raw.response().await.unwrap_or_else(|| panic!("{what}: no answer"));
        assert!(begun.elapsed() < Duration::from_secs(8), "{what}: {:?}", begun.elapsed());
        assert_eq!(answer.status, 405, "{what}: {answer:?}");
        assert!(closes(&answer.head), "{what}: {answer:?}");
        let _ = raw.stream.shutdown().await;
        raw.rest().await;
    }
}

#[tokio::test]
async fn a_client_that_sends_ahead_is_not_cut_while_it_makes_progress() {
    let home = Home::new();
    let settings = [("GASTANK_HTTP_HEADER_TIMEOUT_MS", "1500"), ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let mut raw = Raw::connect(service.listener("http")).await;
    raw.stream.set_nodelay(true).unwrap();
    let mut request = || {
        let head = "POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 48\r\n\r\n";
        [head.as_bytes(), &session.frame(HeartbeatKind::Beat)].concat()
    };
    let mut half = request();
    raw.send(&half[..20]).await;
    let begun = Instant::now();
    // At every moment the service is in the middle of a head.
    while begun.elapsed() < Duration::from_millis(3500) {
        let next = request();
        raw.send([&half[20..], &next[..20]].concat()).await;
        half = next;
        assert_eq!(raw.response().await.expect("it was cut").status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answers = raw.rest().await;
    assert!(answers.is_empty(), "half a head is given up in the end");
}

#[tokio::test]
async fn a_request_for_no_host_or_for_two_is_refused() {
    let home = Home::new();
    let service = Service::start(&home);
    let two = "host: x\r\nhost: x\r\n";
    for (line, version, headers, status) in [
        ("GET /.well-known/jwks.json", "1.1", "", 400),
        ("GET /.well-known/jwks.json", "1.1", two, 400),
        ("GET /.well-known/jwks.json", "1.0", "", 200),
        ("GET /.well-known/jwks.json", "1.0", two, 400),
        ("POST /v1/heartbeat", "1.1", "content-length: 0\r\n", 400),
        ("POST /oauth/introspect", "1.1", two, 400),
        ("GET /.well-known/jwks.json", "1.1", "host: x\r\n", 200),
    ] {
        for listener in ["http", "admin"] {
            if listener == "admin" && status == 200 {
                continue;
            }
            let mut raw = Raw::connect(service.listener(listener)).await;
            raw.send(format!("{line} HTTP/{version}\r\n{headers}\r\n")).await;
            let answer = raw.response().await.unwrap();
            assert_eq!(answer.status, status, "{line} {version} {headers:?} at {listener}: {answer:?}");
            if status == 400 {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(text.contains("bad_request") && text.contains("Host"), "{text}");
            }
        }
    }
}
