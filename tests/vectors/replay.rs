//! Reads the file as an outsider would and holds the implementation to it.

use gastank::{
    time::MeterTime,
    wire::{
        Ack, AckFlags, BodyMac, ClusterSecret, EndReason, FrameError, Heartbeat, HeartbeatKind, SessionId, SessionKey,
        SignedHeartbeat, StateBits, WireVerdict,
    },
};

use crate::file::{Vectors, from_hex, to_hex};

fn read() -> Vectors {
    serde_json::from_str(&std::fs::read_to_string(crate::PATH).unwrap()).unwrap()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    from_hex(hex).try_into().unwrap()
}

fn mac(session_key: &str) -> BodyMac {
    SessionKey::from_bytes(array(session_key)).body_mac()
}

fn meter(ms: &str) -> MeterTime {
    MeterTime::from_ms(ms.parse().unwrap())
}

const fn check_name(error: FrameError) -> &'static str {
    match error {
        FrameError::Length => "length",
        FrameError::Version => "version",
        FrameError::Kind => "kind",
        FrameError::Tag => "tag",
        FrameError::Value => "value",
    }
}

#[test]
fn session_keys_are_derived_as_in_the_file() {
    let cases = read().keys;
    assert!(!cases.is_empty());
    for case in cases {
        let secret = ClusterSecret::from_bytes(array(&case.cluster_secret));
        let key = secret.session_key(&SessionId::from_bytes(array(&case.session_id)));
        assert_eq!(to_hex(key.expose_bytes()), case.session_key, "{}", case.name);
    }
}

#[test]
fn heartbeats_are_written_and_read_as_in_the_file() {
    let cases = read().heartbeats;
    assert!(HeartbeatKind::ALL.iter().all(|kind| cases.iter().any(|case| case.kind == *kind as u8)));
    for case in cases {
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::from_byte(case.kind).unwrap(),
            state: StateBits(case.state),
            seq: case.seq,
            session: SessionId::from_bytes(array(&case.session_id)),
            clock: meter(&case.clock_ms),
        };
        let mac = mac(&case.session_key);
        assert_eq!(to_hex(&heartbeat.sign(&mac)), case.frame, "{}", case.name);
        let signed = SignedHeartbeat::parse(&from_hex(&case.frame)).unwrap();
        assert_eq!(signed.verify(&mac), Ok(heartbeat), "{}", case.name);
    }
}

#[test]
fn acks_are_written_and_read_as_in_the_file() {
    let cases = read().acks;
    let reasons = cases.iter().filter_map(|case| case.end_reason.as_deref());
    assert_eq!(reasons.collect::<std::collections::BTreeSet<_>>().len(), EndReason::ALL.len());
    for case in cases {
        let reason =
            case.end_reason.map(|name| EndReason::ALL.into_iter().find(|reason| reason.name() == name).unwrap());
        let verdict = match (case.verdict.as_str(), reason) {
            ("valid", None) => WireVerdict::Valid,
            ("invalid", Some(reason)) => WireVerdict::Invalid(reason),
            ("unknown", None) => WireVerdict::Unknown,
            other => panic!("{}: {other:?}", case.name),
        };
        let ack = Ack {
            verdict,
            seq: case.seq,
            now: meter(&case.meter_ms),
            echo: meter(&case.echo_ms),
            remaining_s: case.remaining_s,
            next_beat_100ms: case.next_beat_100ms,
            flags: AckFlags(case.flags),
        };
        let mac = mac(&case.session_key);
        assert_eq!(to_hex(ack.sign(&mac).as_bytes()), case.frame, "{}", case.name);
        assert_eq!(Ack::verify(&from_hex(&case.frame), &mac), Ok(ack), "{}", case.name);
    }
}

#[test]
fn bad_heartbeats_are_refused_for_the_reason_in_the_file() {
    let cases = read().bad_heartbeats;
    assert!(!cases.is_empty());
    for case in cases {
        let bytes = from_hex(&case.frame);
        let read = SignedHeartbeat::parse(&bytes).and_then(|signed| signed.verify(&mac(&case.session_key)));
        assert_eq!(read.map_err(check_name), Err(case.refused_for.as_str()), "{}", case.name);
    }
}

#[test]
fn bad_acks_are_refused_for_the_reason_in_the_file() {
    let cases = read().bad_acks;
    assert!(!cases.is_empty());
    for case in cases {
        let read = Ack::verify(&from_hex(&case.frame), &mac(&case.session_key));
        assert_eq!(read.map_err(check_name), Err(case.refused_for.as_str()), "{}", case.name);
    }
}

#[test]
fn the_worked_example_of_the_document_is_the_first_of_each_in_the_file() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let dense: String = document.split_whitespace().collect();
    let file = read();
    let (key, beat, ack) = (&file.keys[0], &file.heartbeats[0], &file.acks[0]);
    assert!(document.contains(&key.session_id) && document.contains(&key.session_key));
    for frame in [&beat.frame, &ack.frame] {
        let (body, tag) = frame.split_at(64);
        assert!(dense.contains(body), "{body}");
        assert!(document.contains(&format!("\n{tag} ")), "{tag}");
        assert!(document.contains(&format!("\"tag\": \"{tag}\"")), "{tag}");
    }
}
