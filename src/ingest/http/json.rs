//! Heartbeats as JSON, for clients that have no bytes at worker. The tag is that of the binary frame.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::wire::{FRAME_LEN, SignedAck, TAG_LEN};

/// A heartbeat, field by field. See `docs/protocol.md`.
#[derive(Debug, Deserialize)]
struct JsonHeartbeat {
    version: u8,
    kind: u8,
    state: u16,
    seq: u32,
    session_id: String,
    clock_ms: u64,
    tag: String,
}

/// An ack, field by field. See `docs/protocol.md`.
#[derive(Debug, Serialize)]
struct JsonAck {
    version: u8,
    kind: u8,
    verdict: &'static str,
    end_reason: Option<&'static str>,
    seq: u32,
    meter_ms: u64,
    echo_ms: u64,
    remaining_s: u32,
    next_beat_100ms: u16,
    flags: u16,
    tag: String,
}

/// The frame that a JSON heartbeat stands for. `None` if the text is not one.
pub(super) fn frame(text: &[u8]) -> Option<[u8; FRAME_LEN]> {
    let heartbeat: JsonHeartbeat = serde_json::from_slice(text).ok()?;
    let mut session = [0; 16];
    let length = URL_SAFE_NO_PAD.decode_slice(&heartbeat.session_id, &mut session).ok()?;
    if length != session.len() {
        return None;
    }
    let mut frame = [0; FRAME_LEN];
    frame[0] = heartbeat.version;
    frame[1] = heartbeat.kind;
    frame[2..4].copy_from_slice(&heartbeat.state.to_le_bytes());
    frame[4..8].copy_from_slice(&heartbeat.seq.to_le_bytes());
    frame[8..24].copy_from_slice(&session);
    frame[24..32].copy_from_slice(&heartbeat.clock_ms.to_le_bytes());
    hex::decode_to_slice(&heartbeat.tag, &mut frame[32..]).ok()?;
    Some(frame)
}

/// An ack as JSON.
pub(super) fn ack(ack: &SignedAck) -> Vec<u8> {
    let content = ack.content();
    let (verdict, end_reason) = match content.verdict {
        crate::wire::WireVerdict::Valid => ("valid", None),
        crate::wire::WireVerdict::Invalid(reason) => ("invalid", Some(reason.name())),
        crate::wire::WireVerdict::Unknown => ("unknown", None),
    };
    let [version, kind, ..] = *ack.as_bytes();
    let json = JsonAck {
        version,
        kind,
        verdict,
        end_reason,
        seq: content.seq,
        meter_ms: content.now.as_ms(),
        echo_ms: content.echo.as_ms(),
        remaining_s: content.remaining_s,
        next_beat_100ms: content.next_beat_100ms,
        flags: content.flags.0,
        tag: hex::encode(&ack.as_bytes()[FRAME_LEN - TAG_LEN..]),
    };
    serde_json::to_vec(&json).expect("numbers and short strings are always JSON")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        time::MeterTime,
        wire::{Ack, AckFlags, EndReason, Heartbeat, HeartbeatKind, SessionId, SessionKey, StateBits, WireVerdict},
    };

    proptest! {
        #[test]
        fn a_heartbeat_in_json_is_the_same_frame(key: [u8; 32], session: [u8; 16], state: u16, seq: u32, clock: u64) {
            let mac = SessionKey::from_bytes(key).body_mac();
            let heartbeat = Heartbeat {
                kind: HeartbeatKind::Beat,
                state: StateBits(state),
                seq,
                session: SessionId::from_bytes(session),
                clock: MeterTime::from_ms(clock),
            };
            let signed = heartbeat.sign(&mac);
            let text = serde_json::json!({
                "version": 1, "kind": 1, "state": state, "seq": seq, "clock_ms": clock,
                "session_id": URL_SAFE_NO_PAD.encode(session), "tag": hex::encode(&signed[32..]), "more": {"is": "ignored"},
            });
            prop_assert_eq!(frame(text.to_string().as_bytes()), Some(signed));
        }
    }

    #[test]
    fn an_ack_in_json_names_its_verdict_and_reason() {
        let mac = SessionKey::from_bytes([1; 32]).body_mac();
        let signed = Ack {
            verdict: WireVerdict::Invalid(EndReason::Superseded),
            seq: 7,
            now: MeterTime::from_ms(10),
            echo: MeterTime::from_ms(9),
            remaining_s: 3,
            next_beat_100ms: 0,
            flags: AckFlags(0),
        }
        .sign(&mac);
        let json: serde_json::Value = serde_json::from_slice(&ack(&signed)).unwrap();
        assert_eq!(json["verdict"], "invalid");
        assert_eq!(json["end_reason"], "superseded");
        assert_eq!(json["meter_ms"], 10);
        assert_eq!(json["kind"], 129);
        assert_eq!(json["tag"].as_str().map(str::len), Some(32));
    }

    #[test]
    fn what_is_not_a_heartbeat_is_refused() {
        let good = r#"{"version":1,"kind":1,"state":0,"seq":1,"session_id":"AAAAAAAAAAAAAAAAAAAAAA","clock_ms":1,"tag":"00000000000000000000000000000000"}"#;
        assert!(frame(good.as_bytes()).is_some());
        for (from, to) in [
            ("\"version\":1", "\"version\":256"),
            ("\"state\":0", "\"state\":-1"),
            ("AAAAAAAAAAAAAAAAAAAAAA", "AAAA"),
            ("\"tag\":\"0", "\"tag\":\"x"),
            ("\"tag\":\"0", "\"tag\":\""),
            ("\"seq\":1", "\"seq\":\"1\""),
            ("{", "["),
        ] {
            assert_eq!(frame(good.replacen(from, to, 1).as_bytes()), None, "{from} {to}");
        }
        assert_eq!(frame(b"\xff\xfe"), None);
    }
}
