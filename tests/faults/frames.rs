//! Frames and bodies that are not what they should be.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::{
    time::MeterTime,
    wire::{ClusterSecret, Heartbeat, HeartbeatKind, SecretId, SessionId, StateBits, WireVerdict},
};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::{
    client::{Api, Session},
    support::{Home, Service},
};

/// Frames that no client makes, and what the figures call them.
fn bad_frames(session: &mut Session) -> Vec<(Vec<u8>, &'static str)> {
    let good = session.frame(HeartbeatKind::Beat);
    let mut frames = Vec::new();
    // Noise that can be repeated.
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        noise.to_be_bytes()[0]
    };
    for length in (0..=100).filter(|length| *length != 48) {
        let mut longer = good.to_vec();
        longer.resize(length, 0);
        frames.push((longer, "bad_length"));
        frames.push(((0..length).map(|_| byte()).collect(), "bad_length"));
    }
    for _ in 0..100 {
        let mut random: Vec<u8> = (0..48).map(|_| byte()).collect();
        (random[0], random[1]) = (1, 1);
        frames.push((random, "forged"));
    }
    for bit in 0..48 * 8 {
        let mut flipped = good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let outcome = match bit {
            0..8 => "bad_version",
            // Kind 1 with its second bit flipped is kind 3, which is known, but not with this tag.
            8..16 if flipped[1] > 3 || flipped[1] == 0 => "bad_kind",
            _ => "forged",
        };
        frames.push((flipped.to_vec(), outcome));
    }
    for (at, from) in [(0, 0), (0, 2), (0, 255), (1, 0), (1, 4), (1, 129), (1, 255)] {
        let mut signed = good;
        signed[at] = from;
        let tag = session.mac.tag(signed[..32].try_into().unwrap());
        signed[32..].copy_from_slice(tag.as_bytes());
        frames.push((signed.to_vec(), if at == 0 { "bad_version" } else { "bad_kind" }));
    }
    // A renewal is no heartbeat, however well it is signed.
    frames.push((session.frame(HeartbeatKind::Renew).to_vec(), "bad_kind"));
    frames
}

#[tokio::test]
async fn a_bad_frame_gets_silence_or_400_and_a_counter_and_changes_nothing() {
    let home = Home::new();
    // No checkpoints or timeouts of its own accord.
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let api = Api::new(&service, &home);
    let owner = api.owner(1000).await;
    let mut session = api.open(&owner).await;
    let (ledger, socket) = (api.ledger(&owner.account).await, api.socket().await);
    let frames = bad_frames(&mut session);
    let kinds = ["bad_length", "bad_version", "bad_kind", "forged"];

    for (frame, _) in &frames {
        socket.send(frame).await.unwrap();
    }
    settled(&api, "udp", u32::try_from(frames.len()).unwrap()).await;
    assert_eq!(waiting(&socket), None, "a bad frame was answered");
    for (frame, _) in &frames {
        let answer = api.post_frame(frame).await.unwrap();
        answer.must_be_problem(400, "bad_frame");
    }
    for transport in ["udp", "http"] {
        for kind in kinds {
            let expected = frames.iter().filter(|(_, outcome)| *outcome == kind).count();
            let labels = format!("transport=\"{transport}\",outcome=\"{kind}\"");
            let counted = api.metric("gastank_heartbeats_total", &labels).await;
            assert_eq!(counted, expected as f64, "{transport} {kind}");
        }
    }
    assert_eq!(last_seen(&home), session.started, "a bad frame kept a session alive");
    assert_eq!(api.ledger(&owner.account).await, ledger);
    let account = api.account(&owner.account).await;
    assert_eq!(
        (&account["session"]["session_id"], &account["session"]["end_reason"]),
        (&json!(session.id_text), &Value::Null)
    );

    // And a good one is as good as ever.
    assert_eq!(session.datagram(&socket, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
}

#[tokio::test]
async fn clocks_of_zero_and_of_the_end_of_time_are_held_to_the_meter() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "1500")]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    for clock in [0, u64::MAX, 0, u64::MAX] {
        let frame = session.frame_at(HeartbeatKind::Beat, clock);
        let ack = session.ack(&api.post_frame(&frame).await.unwrap().must_be(200).body);
        assert_eq!((ack.verdict, ack.echo.as_ms()), (WireVerdict::Valid, clock));
    }
    // Had the end of time been believed, it would live on for ever.
    tokio::time::sleep(std::time::Duration::from_millis(1700)).await;
    let frame = session.frame_at(HeartbeatKind::Beat, u64::MAX);
    let ack = session.ack(&api.post_frame(&frame).await.unwrap().must_be(200).body);
    assert_eq!(ack.verdict, WireVerdict::Invalid(gastank::wire::EndReason::TimedOut));
}

#[tokio::test]
async fn a_good_tag_of_a_session_nobody_knows_is_answered_unknown() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let secret = fs::read_to_string(home.data_dir().join("cluster.secret")).unwrap();
    let secret: [u8; 32] =
        URL_SAFE_NO_PAD.decode(secret.trim().strip_prefix("0 ").unwrap()).unwrap().try_into().unwrap();
    let secret = ClusterSecret::from_bytes(secret);
    let stranger = SessionId::new(SecretId::new(0).unwrap(), [7; 16]);
    let mac = secret.session_key(&stranger).body_mac();
    for kind in [HeartbeatKind::Beat, HeartbeatKind::Stop] {
        let clock = MeterTime::from_ms(1);
        let frame = Heartbeat { kind, state: StateBits::default(), seq: 9, session: stranger, clock }.sign(&mac);
        let answer = api.post_frame(&frame).await.unwrap().must_be(200);
        assert_eq!(gastank::wire::Ack::verify(&answer.body, &mac).unwrap().verdict, WireVerdict::Unknown);
    }
    assert_eq!(api.metric("gastank_heartbeats_total", "outcome=\"unknown\"").await, 2.0);
    // A secret that there is not.
    let other = SessionId::new(SecretId::new(5).unwrap(), [7; 16]);
    let mac = secret.session_key(&other).body_mac();
    let clock = MeterTime::from_ms(1);
    let frame = Heartbeat { kind: HeartbeatKind::Beat, state: StateBits::default(), seq: 9, session: other, clock };
    api.post_frame(&frame.sign(&mac)).await.unwrap().must_be_problem(400, "bad_frame");
}

#[tokio::test]
async fn a_bad_body_is_answered_with_a_problem_document() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(1000).await;
    let admin = format!("Bearer {}", api.admin_token);
    let user = format!("Bearer {}", owner.key);
    let credit = format!("{}/admin/accounts/{}/credit", api.admin, owner.account);
    let activate = format!("{}/v1/activate", api.public);
    let beat = format!("{}/v1/heartbeat", api.public);
    let introspect = format!("{}/oauth/introspect", api.public);
    let deep = [vec![b'['; 30_000], vec![b']'; 30_000]].concat();
    let deep_field = [br#"{"seconds":"#.to_vec(), vec![b'['; 20_000], vec![b']'; 20_000], b"}".to_vec()].concat();
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let cases: Vec<Case<'_>> = vec![
        (&credit, &admin, json, vec![b' '; 70_000], 413, "body_too_large"),
        (&credit, &admin, json, b"\xff\xfe{}".to_vec(), 400, "bad_request"),
        (&credit, &admin, json, br#"{"seconds":1,"reason":"\xff"}"#.to_vec(), 400, "bad_request"),
        (&credit, &admin, json, b"{\"seconds\":1,\"reason\":\"\xff\"}".to_vec(), 400, "bad_request"),
        (&credit, &admin, json, deep.clone(), 400, "bad_request"),
        (&credit, &admin, json, deep_field, 400, "bad_request"),
        (&credit, &admin, json, br#"{"seconds":"1"}"#.to_vec(), 400, "bad_request"),
        (&credit, &admin, json, br#"{"seconds":1.5}"#.to_vec(), 400, "bad_request"),
        (&credit, &admin, json, br#"{"seconds":99999999999999999999}"#.to_vec(), 400, "bad_request"),
        (&credit, &admin, json, br#"{"seconds":9223372036854775807}"#.to_vec(), 400, "bad_request"),
        (&credit, &admin, json, br#"{"seconds":0}"#.to_vec(), 400, "bad_request"),
        (&credit, &admin, json, b"{".to_vec(), 400, "bad_request"),
        (&credit, &admin, json, b"[]".to_vec(), 400, "bad_request"),
        (&credit, &admin, "text/plain", b"{\"seconds\":1}".to_vec(), 415, "unsupported_media_type"),
        (&activate, &user, json, vec![b' '; 70_000], 413, "body_too_large"),
        (&activate, &user, json, deep, 400, "bad_request"),
        (&activate, &user, json, br#"{"audience":7}"#.to_vec(), 400, "bad_request"),
        (&activate, &user, json, br#"{"audience":"nobody"}"#.to_vec(), 400, "unknown_audience"),
        (&activate, &user, json, b"\xc3\x28".to_vec(), 400, "bad_request"),
        (&activate, "Bearer nonsense", json, b"{}".to_vec(), 401, "bad_credentials"),
        (&activate, "Bearer gtk_nonsense", json, b"{}".to_vec(), 401, "bad_credentials"),
        (&activate, "Basic Og==", json, b"{}".to_vec(), 401, "bad_credentials"),
        (&beat, &user, "application/octet-stream", vec![0; 1025], 413, "body_too_large"),
        (&beat, &user, json, vec![b' '; 1025], 413, "body_too_large"),
        (&beat, &user, json, b"\xff".to_vec(), 400, "bad_frame"),
        (&beat, &user, json, br#"{"version":1}"#.to_vec(), 400, "bad_frame"),
        (&beat, &user, json, [vec![b'['; 400], vec![b']'; 400]].concat(), 400, "bad_frame"),
        (&beat, &user, "text/html", vec![0; 48], 415, "unsupported_media_type"),
        (&introspect, "", form, vec![b'a'; 70_000], 413, "body_too_large"),
        (&introspect, "", form, b"token=a&token=b".to_vec(), 400, "bad_request"),
        (&introspect, "", form, b"token=a&client_id=x&client_secret=%ff".to_vec(), 401, "bad_credentials"),
        (&introspect, "", json, b"{}".to_vec(), 415, "unsupported_media_type"),
    ];
    let before = api.account(&owner.account).await;
    for (url, authorization, content_type, body, status, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let mut headers = vec![("content-type", content_type), ("idempotency-key", "a-bad-one")];
        if !authorization.is_empty() {
            headers.push(("authorization", authorization));
        }
        // After a body that was not read to its end the connection is closed: a client that was about to use it again
        // connects anew.
        let mut answer = api.send(Method::POST, url.to_owned(), &headers, body.clone()).await;
        for _ in 0..3 {
            if answer.is_err() {
                answer = api.send(Method::POST, url.to_owned(), &headers, body.clone()).await;
            }
        }
        let answer = answer.unwrap();
        println!("{url} {shown}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        answer.must_be_problem(status, code);
    }
    for (method, url) in [(Method::GET, &beat), (Method::DELETE, &activate), (Method::GET, &introspect)] {
        let answer = api.send(method, url.clone(), &[("authorization", &user)], Vec::new()).await.unwrap();
        answer.must_be_problem(405, "method_not_allowed");
        assert!(!answer.header("allow").is_empty());
    }
    let nowhere = api.send(Method::GET, format!("{}/nowhere", api.public), &[], Vec::new()).await.unwrap();
    nowhere.must_be_problem(404, "not_found");
    assert_eq!(api.account(&owner.account).await, before, "a bad request changed the account");
    assert_eq!(api.ledger(&owner.account).await.len(), 1);
}

/// URL, `Authorization`, content type and body of a request; status and code of its answer.
type Case<'a> = (&'a str, &'a str, &'a str, Vec<u8>, u16, &'a str);

/// Waits until the service has counted so many heartbeats by a transport.
async fn settled(api: &Api, transport: &str, count: u32) {
    for _ in 0..100 {
        let labels = format!("transport=\"{transport}\"");
        if api.metric("gastank_heartbeats_total", &labels).await >= f64::from(count) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the service did not count {count} frames");
}

/// What waits at a socket.
fn waiting(socket: &UdpSocket) -> Option<usize> {
    socket.try_recv(&mut [0; 64]).ok()
}

/// When the one open session was last heard of, as the store knows after a checkpoint.
fn last_seen(home: &Home) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(700));
    let conn = Connection::open(home.data_dir().join("gastank.db")).unwrap();
    let seen: i64 = conn.query_row("SELECT last_seen FROM checkpoints", [], |row| row.get(0)).unwrap();
    u64::try_from(seen).unwrap()
}
