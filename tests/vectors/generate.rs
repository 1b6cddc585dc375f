//! Writes the vectors. Nothing here is random: the same code writes the same file.

use gastank::{
    time::MeterTime,
    wire::{
        Ack, AckFlags, ClusterSecret, EndReason, FRAME_LEN, Heartbeat, HeartbeatKind, SecretId, SessionId, SessionKey,
        StateBits, WireVerdict,
    },
};

use crate::file::{AckCase, BadCase, HeartbeatCase, KeyCase, Vectors, to_hex};

const ABOUT: &str = "Frames of the gastank heartbeat protocol, version 1 (docs/protocol.md). Bytes are lowercase hex, 64-bit \
    integers are decimal strings. An implementation must build each frame of `heartbeats` and `acks` from its fields, \
    read the same fields back, and refuse each of `bad_heartbeats` and `bad_acks` at the check named by `refused_for`.";

pub(crate) fn vectors() -> Vectors {
    Vectors {
        about: ABOUT.to_owned(),
        keys: keys(),
        heartbeats: heartbeats(),
        acks: acks(),
        bad_heartbeats: bad_heartbeats(),
        bad_acks: bad_acks(),
    }
}

/// Bytes that differ from each other, from `first` up.
fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut next = first;
    [(); N].map(|()| {
        let byte = next;
        next = next.wrapping_add(1);
        byte
    })
}

/// The session of the worked example in `docs/protocol.md`.
fn session() -> SessionId {
    SessionId::new(SecretId::default(), counting(0x00))
}

fn session_key() -> SessionKey {
    ClusterSecret::from_bytes(counting(0x40)).session_key(&session())
}

fn keys() -> Vec<KeyCase> {
    let case = |name: &str, secret: [u8; 32], session: SessionId| KeyCase {
        name: name.to_owned(),
        cluster_secret: to_hex(&secret),
        session_id: to_hex(session.as_bytes()),
        session_key: to_hex(ClusterSecret::from_bytes(secret).session_key(&session).expose_bytes()),
    };
    let mut cases = vec![
        case("the worked example", counting(0x40), session()),
        case("all zero", [0; 32], SessionId::from_bytes([0; 16])),
        case("all ones", [0xff; 32], SessionId::from_bytes([0xff; 16])),
        case("another secret, same session", counting(0x41), session()),
        case("same secret, a session one bit off", counting(0x40), SessionId::from_bytes(counting(0x01))),
    ];
    for number in 0..16 {
        let id = SecretId::new(number).unwrap();
        cases.push(case(&format!("secret id {number}"), counting(0x40), SessionId::new(id, counting(0xa0))));
    }
    cases
}

fn heartbeat(kind: HeartbeatKind) -> Heartbeat {
    Heartbeat {
        kind,
        state: StateBits(StateBits::PROXY_ON),
        seq: 7,
        session: session(),
        clock: MeterTime::from_ms(123_456_789),
    }
}

fn heartbeats() -> Vec<HeartbeatCase> {
    let mut cases = Vec::new();
    let mut push = |name: String, key: SessionKey, heartbeat: Heartbeat| {
        cases.push(HeartbeatCase {
            name,
            session_key: to_hex(key.expose_bytes()),
            kind: heartbeat.kind as u8,
            state: heartbeat.state.0,
            seq: heartbeat.seq,
            session_id: to_hex(heartbeat.session.as_bytes()),
            clock_ms: heartbeat.clock.as_ms().to_string(),
            frame: to_hex(&heartbeat.sign(&key.body_mac())),
        });
    };
    let beat = heartbeat(HeartbeatKind::Beat);
    push("the worked example: a beat".to_owned(), session_key(), beat);
    push("a stop".to_owned(), session_key(), heartbeat(HeartbeatKind::Stop));
    push("a renew".to_owned(), session_key(), heartbeat(HeartbeatKind::Renew));
    for bit in 0..u16::BITS {
        push(format!("state bit {bit}"), session_key(), Heartbeat { state: StateBits(1 << bit), ..beat });
    }
    for state in [0, u16::MAX] {
        push(format!("state {state}"), session_key(), Heartbeat { state: StateBits(state), ..beat });
    }
    for seq in [0, 1, 0x0102_0304, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        push(format!("seq {seq}"), session_key(), Heartbeat { seq, ..beat });
    }
    for clock in MILLISECONDS {
        push(format!("clock {clock}"), session_key(), Heartbeat { clock: MeterTime::from_ms(clock), ..beat });
    }
    for byte in [0x00, 0xff] {
        let session = SessionId::from_bytes([byte; 16]);
        push(format!("a session id of {byte:02x} bytes"), session_key(), Heartbeat { session, ..beat });
        push(format!("a key of {byte:02x} bytes"), SessionKey::from_bytes([byte; 32]), beat);
    }
    cases
}

const MILLISECONDS: [u64; 8] =
    [0, 1, 0x0102_0304_0506_0708, (1 << 53) - 1, 1 << 53, u64::MAX / 2, u64::MAX - 1, u64::MAX];

fn ack(verdict: WireVerdict) -> Ack {
    Ack {
        verdict,
        seq: 7,
        now: MeterTime::from_ms(123_456_840),
        echo: MeterTime::from_ms(123_456_789),
        remaining_s: 3_600,
        next_beat_100ms: 297,
        flags: AckFlags(0),
    }
}

fn acks() -> Vec<AckCase> {
    let key = session_key();
    let mut cases = Vec::new();
    let mut push = |name: String, ack: Ack| {
        let (verdict, end_reason) = match ack.verdict {
            WireVerdict::Valid => ("valid", None),
            WireVerdict::Invalid(reason) => ("invalid", Some(reason.name().to_owned())),
            WireVerdict::Unknown => ("unknown", None),
        };
        cases.push(AckCase {
            name,
            session_key: to_hex(key.expose_bytes()),
            verdict: verdict.to_owned(),
            end_reason,
            seq: ack.seq,
            meter_ms: ack.now.as_ms().to_string(),
            echo_ms: ack.echo.as_ms().to_string(),
            remaining_s: ack.remaining_s,
            next_beat_100ms: ack.next_beat_100ms,
            flags: ack.flags.0,
            frame: to_hex(ack.sign(&key.body_mac()).as_bytes()),
        });
    };
    let valid = ack(WireVerdict::Valid);
    push("the worked example: a valid ack".to_owned(), valid);
    push("unknown".to_owned(), ack(WireVerdict::Unknown));
    for reason in EndReason::ALL {
        push(format!("invalid: {}", reason.name()), ack(WireVerdict::Invalid(reason)));
    }
    for flags in [AckFlags::RENEW, AckFlags::LOW_CREDIT, AckFlags::RENEW | AckFlags::LOW_CREDIT, 0x8000, u16::MAX] {
        push(format!("flags {flags:#06x}"), Ack { flags: AckFlags(flags), ..valid });
    }
    for extreme in [0, 1, u32::MAX - 1, u32::MAX] {
        push(format!("seq {extreme}"), Ack { seq: extreme, ..valid });
        push(format!("remaining {extreme} s"), Ack { remaining_s: extreme, ..valid });
    }
    for extreme in [0, 1, u16::MAX - 1, u16::MAX] {
        push(format!("next beat in {extreme} tenths"), Ack { next_beat_100ms: extreme, ..valid });
    }
    for extreme in MILLISECONDS {
        push(format!("meter {extreme}"), Ack { now: MeterTime::from_ms(extreme), ..valid });
        push(format!("echo {extreme}"), Ack { echo: MeterTime::from_ms(extreme), ..valid });
    }
    cases
}

/// Frames of both directions are refused for the same things; this makes those cases.
struct BadCases {
    /// The body of a good frame.
    body: [u8; 32],
    cases: Vec<BadCase>,
}

impl BadCases {
    fn push(&mut self, name: String, frame: &[u8], refused_for: &str) {
        self.cases.push(BadCase {
            name,
            session_key: to_hex(session_key().expose_bytes()),
            frame: to_hex(frame),
            refused_for: refused_for.to_owned(),
        });
    }

    /// The good frame with these bytes set, under the tag that is then right: only the named check can refuse it.
    fn signed(&mut self, name: String, changes: &[(usize, u8)], refused_for: &str) {
        let mut body = self.body;
        for (at, value) in changes {
            body[*at] = *value;
        }
        let frame = [&body[..], session_key().body_mac().tag(&body).as_bytes()].concat();
        self.push(name, &frame, refused_for);
    }

    fn common(&mut self) {
        let good = [&self.body[..], session_key().body_mac().tag(&self.body).as_bytes()].concat();
        for length in [0, 1, 31, 32, 47] {
            self.push(format!("{length} bytes"), &good[..length], "length");
        }
        for length in [49, 96, 100] {
            let mut long = good.repeat(3);
            long.truncate(length);
            self.push(format!("{length} bytes"), &long, "length");
        }
        for version in [0, 2, 127, 128, 255] {
            self.signed(format!("version {version}"), &[(0, version)], "version");
        }
        for at in 2..FRAME_LEN {
            let mut flipped = good.clone();
            flipped[at] ^= if at.is_multiple_of(2) { 0x01 } else { 0x80 };
            self.push(format!("a bit of byte {at} flipped"), &flipped, "tag");
        }
        let mut zeroed = good.clone();
        zeroed[32..].fill(0);
        self.push("no tag".to_owned(), &zeroed, "tag");
        let key = ClusterSecret::from_bytes(counting(0x41)).session_key(&session());
        let foreign = [&self.body[..], key.body_mac().tag(&self.body).as_bytes()].concat();
        self.push("the key of another cluster secret".to_owned(), &foreign, "tag");
    }
}

fn bad_heartbeats() -> Vec<BadCase> {
    let mut bad = BadCases { body: heartbeat(HeartbeatKind::Beat).body(), cases: Vec::new() };
    bad.common();
    for kind in [0, 4, 127, 128, 130, 255] {
        bad.signed(format!("reserved kind {kind}"), &[(1, kind)], "kind");
    }
    bad.push("an ack".to_owned(), ack(WireVerdict::Valid).sign(&session_key().body_mac()).as_bytes(), "kind");
    bad.cases
}

fn bad_acks() -> Vec<BadCase> {
    let mut bad = BadCases { body: ack(WireVerdict::Valid).body(), cases: Vec::new() };
    bad.common();
    for kind in [0, 1, 2, 3, 128, 130, 255] {
        bad.signed(format!("kind {kind}"), &[(1, kind)], "kind");
    }
    bad.push("a heartbeat".to_owned(), &heartbeat(HeartbeatKind::Beat).sign(&session_key().body_mac()), "kind");
    for (verdict, reason) in [(0, 1), (0, 8), (1, 0), (1, 9), (1, 255), (2, 1), (2, 8), (3, 0), (3, 1), (255, 0)] {
        bad.signed(format!("verdict {verdict} with reason {reason}"), &[(2, verdict), (3, reason)], "value");
    }
    bad.cases
}
