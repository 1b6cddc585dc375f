//! Requests whose end two parsers might see at different places, and requests that never end.

use std::time::Duration;

use gastank::wire::{HeartbeatKind, WireVerdict};

use crate::{
    client::{Api, EdgeSecret, Session},
    raw::{Raw, statuses},
    support::{Home, Service},
};

async fn started() -> (Home, Service, Api, Session) {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let api = Api::new(&service, &home);
    let session = api.open(&api.owner(1000).await).await;
    (home, service, api, session)
}

fn beat(session: &mut Session, headers: &str) -> Vec<u8> {
    let mut request = format!("POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\n{headers}\r\n").into_bytes();
    request.extend_from_slice(&session.frame(HeartbeatKind::Beat));
    request
}

/// The request that an attacker wants to be taken for one of somebody else's.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_request_hidden_in_another_is_never_answered() {
    let (_home, service, _api, mut session) = started().await;
    let http = service.listener("http").to_owned();
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    for (what, headers) in [
        ("both lengths", "content-length: 48\r\ntransfer-encoding: chunked\r\n".to_owned()),
        ("both lengths, the other way round", "transfer-encoding: chunked\r\ncontent-length: 48\r\n".to_owned()),
        ("two lengths", "content-length: 48\r\ncontent-length: 0\r\n".to_owned()),
        ("two lengths, first short", "content-length: 0\r\ncontent-length: 48\r\n".to_owned()),
        ("a list of lengths", "content-length: 48, 0\r\n".to_owned()),
        ("a signed length", "content-length: +48\r\n".to_owned()),
        ("a negative length", "content-length: -1\r\n".to_owned()),
        ("a hexadecimal length", "content-length: 0x30\r\n".to_owned()),
        ("an endless length", format!("content-length: {}\r\n", "9".repeat(40))),
        ("an unknown coding", "transfer-encoding: cow\r\n".to_owned()),
        ("chunked, but not last", "transfer-encoding: chunked, cow\r\n".to_owned()),
        ("a coding behind a tab", "transfer-encoding:\tchunked\r\ncontent-length: 48\r\n".to_owned()),
        ("a space before the colon", "content-length : 48\r\n".to_owned()),
        ("a space before the colon of the coding", "transfer-encoding : chunked\r\ncontent-length: 48\r\n".to_owned()),
        ("a folded line", "content-length: 48\r\nx: y\r\n transfer-encoding: chunked\r\n".to_owned()),
        ("a name with a space", "x y: z\r\ncontent-length: 48\r\n".to_owned()),
        ("a NUL in a value", "x: a\0b\r\ncontent-length: 48\r\n".to_owned()),
        ("a CR in a value", "x: a\rtransfer-encoding: chunked\r\ncontent-length: 48\r\n".to_owned()),
        ("no colon", "content-length\r\n".to_owned()),
    ] {
        let mut raw = Raw::connect(&http).await;
        raw.send(beat(&mut session, &headers)).await;
        raw.send(&chunked).await;
        raw.stream.set_nodelay(true).unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
        let answers = raw.rest().await;
        let text = String::from_utf8_lossy(&answers);
        let found = statuses(&answers);
        assert!(!found.contains(&"404".to_owned()), "{what}: the hidden request was answered: {text}");
        assert!(found.len() <= 1, "{what}: {text}");
        assert!(found.iter().all(|status| status.starts_with('4') || status == "200"), "{what}: {text}");
    }
    let answer = Raw::connect(&http).await;
    drop(answer);
}

#[tokio::test]
async fn chunks_end_where_they_say_whatever_is_said_beside_them() {
    let (_home, service, _api, mut session) = started().await;
    let head = "POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, size, end) in [
        ("plain", "30", "0\r\n\r\n"),
        ("an extension", "30;name=value", "0;x\r\n\r\n"),
        ("leading zeros", "0030", "0\r\n\r\n"),
        ("a trailer", "30", "0\r\nx: y\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(service.listener("http")).await;
        let frame = session.frame(HeartbeatKind::Beat);
        let body = [format!("{size}\r\n").as_bytes(), &frame, b"\r\n", end.as_bytes()].concat();
        raw.send([head.as_bytes(), &body, SMUGGLED.as_bytes()].concat()).await;
        let answer = raw.response().await.unwrap();
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(session.ack(&answer.body).verdict, WireVerdict::Valid, "{what}");
        assert_eq!(raw.response().await.unwrap().status, 404, "{what}: what follows is a request of its own");
    }
    for (what, body) in [
        ("no digits", "x\r\n".to_owned()),
        ("a size that overflows", format!("{}\r\n", "f".repeat(20))),
        ("a size with a sign", "+30\r\n".to_owned()),
        ("an extension without end", format!("30;{}", "x".repeat(64 << 10))),
        ("a chunk that goes on", format!("2\r\nabcd{SMUGGLED}")),
    ] {
        let mut raw = Raw::connect(service.listener("http")).await;
        // The service may have closed before all of it is sent.
        let all = [head.as_bytes(), body.as_bytes()].concat();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &all).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await;
        let answers = raw.rest().await;
        let found = statuses(&answers);
        assert!(
            found.len() <= 1 && !found.contains(&"200".to_owned()),
            "{what}: {}",
            String::from_utf8_lossy(&answers)
        );
    }
}

#[tokio::test]
async fn a_beat_is_answered_wherever_its_bytes_are_cut() {
    let (_home, service, _api, mut session) = started().await;
    let mut raw = Raw::connect(service.listener("http")).await;
    raw.stream.set_nodelay(true).unwrap();
    let length = beat(&mut session, "content-length: 48\r\n").len();
    for cut in (1..length).step_by(7) {
        let request = beat(&mut session, "content-length: 48\r\n");
        raw.send(&request[..cut]).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
        raw.send(&request[cut..]).await;
        let answer = raw.response().await.unwrap();
        assert_eq!((answer.status, session.ack(&answer.body).verdict), (200, WireVerdict::Valid), "cut at {cut}");
    }
}

#[tokio::test]
async fn plain_requests_and_others_are_answered_alike_on_one_connection() {
    let (_home, service, api, mut session) = started().await;
    let edge = api.edge().await;
    let mut raw = Raw::connect(service.listener("http")).await;
    let mut answers = Vec::new();
    // The first is plain, the second asks for something that is not, the third is plain again.
    for more in ["", "connection: Keep-Alive\r\n", "te: trailers\r\n", "expect: 100-continue\r\n", ""] {
        raw.send(beat(&mut session, &format!("content-length: 48\r\n{more}"))).await;
        let mut answer = raw.response().await.unwrap();
        if answer.status == 100 {
            answer = raw.response().await.unwrap();
        }
        assert_eq!(session.ack(&answer.body).verdict, WireVerdict::Valid, "{more:?}");
        answers.push(without_date(&answer.head));
        raw.send(introspection(&edge, &session.token, "")).await;
        let answer = raw.response().await.unwrap();
        assert!(
            String::from_utf8_lossy(&answer.body).starts_with(r#"{"active":true,"token_type":"Bearer","iss""#),
            "{answer:?}"
        );
        answers.push(without_date(&answer.head));
    }
    let (beats, verdicts): (Vec<_>, Vec<_>) = answers.chunks(2).map(|pair| (&pair[0], &pair[1])).unzip();
    assert!(beats.windows(2).all(|pair| pair[0] == pair[1]), "{beats:#?}");
    assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{verdicts:#?}");
}

/// The lines of a head but for the date, in the order of the alphabet.
fn without_date(head: &str) -> Vec<String> {
    let mut lines: Vec<_> = head.lines().map(str::to_lowercase).filter(|line| !line.starts_with("date: ")).collect();
    assert!(lines.len() + 1 == head.lines().count(), "every answer has a date: {head}");
    lines.sort();
    lines
}

pub(crate) fn introspection(edge: &EdgeSecret, token: &str, headers: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let known = STANDARD.encode(format!("{}:{}", edge.client_id, edge.secret));
    let body = format!("token={token}");
    format!(
        "POST /oauth/introspect HTTP/1.1\r\nhost: x\r\nauthorization: Basic {known}\r\n{headers}\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn a_verdict_is_the_same_by_either_way_for_good_tokens_and_for_bad_ones() {
    let (_home, service, api, session) = started().await;
    let edge = api.edge().await;
    let wrong = EdgeSecret { client_id: edge.client_id.clone(), secret: "gts_wrong".to_owned() };
    let mut broken = session.token.clone();
    broken.pop();
    let unknown = format!("{}.{}", "a".repeat(40), "b".repeat(200));
    for (who, token) in [
        (&edge, &session.token),
        (&edge, &broken),
        (&edge, &unknown),
        (&edge, &String::new()),
        (&wrong, &session.token),
    ] {
        let mut bodies = Vec::new();
        for headers in ["", "te: trailers\r\n", "te: trailers\r\nconnection: te\r\n"] {
            let mut raw = Raw::connect(service.listener("http")).await;
            raw.send(introspection(who, token, headers)).await;
            let answer = raw.response().await.unwrap();
            bodies.push((answer.status, answer.body, without_date(&answer.head)));
        }
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{token}: {bodies:?}");
    }
    // A connection on which an edge has proved itself does not vouch for another secret, nor for one that is revoked.
    let mut raw = Raw::connect(service.listener("http")).await;
    for (who, status) in [(&edge, 200), (&edge, 200), (&wrong, 401), (&edge, 200)] {
        raw.send(introspection(who, &session.token, "")).await;
        assert_eq!(raw.response().await.unwrap().status, status);
    }
    let path = format!("/admin/edges/{}", edge.client_id);
    api.admin(reqwest::Method::DELETE, &path, &[], &serde_json::Value::Null).await.unwrap().must_be(204);
    raw.send(introspection(&edge, &session.token, "")).await;
    assert_eq!(raw.response().await.unwrap().status, 401);
}

#[tokio::test]
async fn a_peer_that_says_no_more_still_gets_its_answer() {
    let (_home, service, _api, mut session) = started().await;
    for headers in ["content-length: 48\r\n", "content-length: 48\r\nte: trailers\r\n"] {
        let mut raw = Raw::connect(service.listener("http")).await;
        raw.send(beat(&mut session, headers)).await;
        tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
        let answer = raw.response().await.unwrap();
        assert_eq!(session.ack(&answer.body).verdict, WireVerdict::Valid);
        assert!(raw.rest().await.is_empty());
    }
}

#[tokio::test]
async fn heads_that_do_not_end_are_refused_and_cost_nobody_anything() {
    let (_home, service, api, mut session) = started().await;
    let before = api.metric("process_resident_memory_bytes", "").await;
    for (what, head) in [
        ("one long header", format!("x: {}", "a".repeat(1 << 20))),
        ("many headers", "a: b\r\n".repeat(100_000)),
        ("a long line", "a".repeat(1 << 20)),
    ] {
        for start in ["POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\n", "GET /nowhere HTTP/1.1\r\nhost: x\r\n"] {
            let mut raw = Raw::connect(service.listener("http")).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, format!("{start}{head}").as_bytes()).await;
            let answers = raw.rest().await;
            let found = statuses(&answers);
            // The service closes with bytes unread, so its answer may be lost to a reset.
            assert!(found.is_empty() || found == ["431"] || found == ["400"], "{what}: {found:?}");
        }
    }
    assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
    let grown = api.metric("process_resident_memory_bytes", "").await - before;
    assert!(grown < 32.0 * 1024.0 * 1024.0, "{grown} bytes");
}

#[tokio::test]
async fn answers_that_are_not_read_do_not_pile_up() {
    let (_home, service, api, mut session) = started().await;
    let before = api.metric("process_resident_memory_bytes", "").await;
    let one = beat(&mut session, "content-length: 48\r\n");
    let many: Vec<u8> = one.iter().copied().cycle().take(one.len() * 1000).collect();
    let mut raw = Raw::connect(service.listener("http")).await;
    let mut sent = 0;
    // As much as the service and the two sockets' buffers take.
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(500), tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &many))
            .await
    {
        sent += many.len();
        assert!(sent < 256 << 20, "the service takes whatever it is sent");
    }
    let grown = api.metric("process_resident_memory_bytes", "").await - before;
    assert!(grown < 32.0 * 1024.0 * 1024.0, "{grown} bytes for {sent}");
    assert_eq!(session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
}
