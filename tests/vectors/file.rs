//! The shape of `heartbeat.json`. Bytes are lowercase hex; 64-bit integers are decimal strings, since many JSON readers
//! keep no more than 53 bits of a number.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vectors {
    pub(crate) about: String,
    pub(crate) keys: Vec<KeyCase>,
    pub(crate) heartbeats: Vec<HeartbeatCase>,
    pub(crate) acks: Vec<AckCase>,
    pub(crate) bad_heartbeats: Vec<BadCase>,
    pub(crate) bad_acks: Vec<BadCase>,
}

/// A session key and what it is derived from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyCase {
    pub(crate) name: String,
    pub(crate) cluster_secret: String,
    pub(crate) session_id: String,
    pub(crate) session_key: String,
}

/// A heartbeat that must be accepted, byte for byte.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatCase {
    pub(crate) name: String,
    pub(crate) session_key: String,
    pub(crate) kind: u8,
    pub(crate) state: u16,
    pub(crate) seq: u32,
    pub(crate) session_id: String,
    pub(crate) clock_ms: String,
    pub(crate) frame: String,
}

/// An ack that must be accepted, byte for byte.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AckCase {
    pub(crate) name: String,
    pub(crate) session_key: String,
    pub(crate) verdict: String,
    pub(crate) end_reason: Option<String>,
    pub(crate) seq: u32,
    pub(crate) meter_ms: String,
    pub(crate) echo_ms: String,
    pub(crate) remaining_s: u32,
    pub(crate) next_beat_100ms: u16,
    pub(crate) flags: u16,
    pub(crate) frame: String,
}

/// Bytes that must be refused, and at which check: `length`, `version`, `kind`, `tag`, `value`, in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BadCase {
    pub(crate) name: String,
    pub(crate) session_key: String,
    pub(crate) frame: String,
    pub(crate) refused_for: String,
}

impl Vectors {
    pub(crate) fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap();
        text.push('\n');
        text
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
