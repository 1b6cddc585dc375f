//! Heartbeats: what a client sends.

use core::fmt;

use crate::time::MeterTime;

use super::{BODY_LEN, BodyMac, FRAME_LEN, SessionId, Tag, VERSION, field};

/// What a client asks for with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeartbeatKind {
    /// "I am here": the session goes on.
    Beat = 1,
    /// "I am done": the session ends as deactivated.
    Stop = 2,
    /// "I hold the key": travels only as the body of `POST /v1/renew`, never alone.
    Renew = 3,
}

impl HeartbeatKind {
    /// Every kind, in the order of the wire's numbers.
    pub const ALL: [Self; 3] = [Self::Beat, Self::Stop, Self::Renew];

    /// The kind with this number, if there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Beat),
            2 => Some(Self::Stop),
            3 => Some(Self::Renew),
            _ => None,
        }
    }
}

/// What a client says of its own state. Never URLs, hosts or addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateBits(pub u16);

impl StateBits {
    /// The person is idle.
    pub const IDLE: u16 = 1 << 0;
    /// The person's screen is locked.
    pub const LOCKED: u16 = 1 << 1;
    /// The proxy is on.
    pub const PROXY_ON: u16 = 1 << 2;
    /// The client is behind a captive portal.
    pub const CAPTIVE_PORTAL: u16 = 1 << 3;
    /// The network is metered.
    pub const METERED: u16 = 1 << 4;
    /// A private window is open.
    pub const PRIVATE: u16 = 1 << 5;
    /// The client runs on battery.
    pub const BATTERY: u16 = 1 << 6;

    /// Class of the client's recent proxy errors: 0 none, 1 is a 407, 2 a 429, 3 a 502, 4 a failed connect.
    pub const fn proxy_error_class(self) -> u8 {
        ((self.0 >> 8) & 0x0f) as u8
    }

    /// The client's platform, a number from 0 to 15.
    pub const fn platform(self) -> u8 {
        (self.0 >> 12) as u8
    }
}

/// Why bytes are not a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// Not 48 bytes.
    Length,
    /// A version other than 1.
    Version,
    /// A kind that this direction does not have.
    Kind,
    /// The tag is not that of the session's key.
    Tag,
    /// A value that the format does not have.
    Value,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a frame is 48 bytes",
            Self::Version => "the frame's version is not 1",
            Self::Kind => "the frame's kind is not one of this direction",
            Self::Tag => "the frame's tag is wrong",
            Self::Value => "the frame holds a value that the format does not have",
        })
    }
}

impl core::error::Error for FrameError {}

/// A heartbeat's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// What is asked for.
    pub kind: HeartbeatKind,
    /// What the client says of itself.
    pub state: StateBits,
    /// The client's counter; echoed, and used for loss figures alone.
    pub seq: u32,
    /// The session this is for.
    pub session: SessionId,
    /// The client's estimate of meter time.
    pub clock: MeterTime,
}

impl Heartbeat {
    /// The bytes that the tag covers.
    pub fn body(&self) -> [u8; BODY_LEN] {
        let mut body = [0; BODY_LEN];
        body[0] = VERSION;
        body[1] = self.kind as u8;
        body[2..4].copy_from_slice(&self.state.0.to_le_bytes());
        body[4..8].copy_from_slice(&self.seq.to_le_bytes());
        body[8..24].copy_from_slice(self.session.as_bytes());
        body[24..32].copy_from_slice(&self.clock.as_ms().to_le_bytes());
        body
    }

    /// The signed frame, as it travels.
    pub fn sign(&self, mac: &BodyMac) -> [u8; FRAME_LEN] {
        let body = self.body();
        let mut frame = [0; FRAME_LEN];
        frame[..BODY_LEN].copy_from_slice(&body);
        frame[BODY_LEN..].copy_from_slice(mac.tag(&body).as_bytes());
        frame
    }
}

/// A heartbeat of the right shape whose tag has not been checked: it tells which session's key to check it with.
#[derive(Clone, Copy, Debug)]
pub struct SignedHeartbeat {
    heartbeat: Heartbeat,
    body: [u8; BODY_LEN],
    tag: Tag,
}

impl SignedHeartbeat {
    /// Reads the shape of a frame.
    ///
    /// # Errors
    ///
    /// [`FrameError::Length`], [`FrameError::Version`] or [`FrameError::Kind`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame: &[u8; FRAME_LEN] = bytes.try_into().map_err(|_| FrameError::Length)?;
        if frame[0] != VERSION {
            return Err(FrameError::Version);
        }
        let kind = HeartbeatKind::from_byte(frame[1]).ok_or(FrameError::Kind)?;
        let heartbeat = Heartbeat {
            kind,
            state: StateBits(u16::from_le_bytes(field(frame, 2))),
            seq: u32::from_le_bytes(field(frame, 4)),
            session: SessionId::from_bytes(field(frame, 8)),
            clock: MeterTime::from_ms(u64::from_le_bytes(field(frame, 24))),
        };
        Ok(Self { heartbeat, body: field(frame, 0), tag: Tag::from_bytes(field(frame, BODY_LEN)) })
    }

    /// A frame whose fields came one by one, as in the JSON form. The tag is as unchecked as after [`Self::parse`].
    pub fn from_parts(heartbeat: Heartbeat, tag: Tag) -> Self {
        Self { heartbeat, body: heartbeat.body(), tag }
    }

    /// The session whose key the frame claims to be signed with.
    pub const fn session(&self) -> &SessionId {
        &self.heartbeat.session
    }

    /// The content, if the tag is right.
    ///
    /// # Errors
    ///
    /// [`FrameError::Tag`].
    pub fn verify(&self, mac: &BodyMac) -> Result<Heartbeat, FrameError> {
        if mac.tag(&self.body).matches(&self.tag) { Ok(self.heartbeat) } else { Err(FrameError::Tag) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{SessionKey, TAG_LEN},
        *,
    };

    fn any_heartbeat() -> impl Strategy<Value = Heartbeat> {
        (prop::sample::select(&HeartbeatKind::ALL), any::<(u16, u32, [u8; 16], u64)>()).prop_map(
            |(kind, (state, seq, session, clock))| Heartbeat {
                kind,
                state: StateBits(state),
                seq,
                session: SessionId::from_bytes(session),
                clock: MeterTime::from_ms(clock),
            },
        )
    }

    fn a_heartbeat() -> Heartbeat {
        Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits(StateBits::PROXY_ON),
            seq: 7,
            session: SessionId::from_bytes([0x5a; 16]),
            clock: MeterTime::from_ms(123_456),
        }
    }

    fn mac() -> BodyMac {
        SessionKey::from_bytes([9; 32]).body_mac()
    }

    /// What a receiver that holds the key makes of `bytes`.
    fn read(bytes: &[u8]) -> Result<Heartbeat, FrameError> {
        SignedHeartbeat::parse(bytes)?.verify(&mac())
    }

    /// A frame with this byte set, and the tag that is then right.
    fn signed_with(at: usize, value: u8) -> [u8; FRAME_LEN] {
        let mut body = a_heartbeat().body();
        body[at] = value;
        let mut frame = [0; FRAME_LEN];
        frame[..BODY_LEN].copy_from_slice(&body);
        frame[BODY_LEN..].copy_from_slice(mac().tag(&body).as_bytes());
        frame
    }

    proptest! {
        #[test]
        fn what_is_signed_is_what_is_read(heartbeat in any_heartbeat(), key: [u8; 32]) {
            let mac = SessionKey::from_bytes(key).body_mac();
            let signed = SignedHeartbeat::parse(&heartbeat.sign(&mac)).unwrap();
            prop_assert_eq!(signed.session(), &heartbeat.session);
            prop_assert_eq!(signed.verify(&mac), Ok(heartbeat));
        }

        #[test]
        fn the_fields_one_by_one_and_the_bytes_are_the_same_frame(heartbeat in any_heartbeat()) {
            let frame = heartbeat.sign(&mac());
            let signed = SignedHeartbeat::from_parts(heartbeat, Tag::from_bytes(field(&frame, BODY_LEN)));
            prop_assert_eq!(signed.verify(&mac()), Ok(heartbeat));
        }

        #[test]
        fn any_bytes_of_the_right_shape_come_back_byte_for_byte(mut frame: [u8; FRAME_LEN], kind in 1_u8..=3) {
            frame[0] = VERSION;
            frame[1] = kind;
            let parsed = SignedHeartbeat::parse(&frame).unwrap();
            prop_assert_eq!(&parsed.heartbeat.body(), &frame[..BODY_LEN]);
            prop_assert_eq!(&parsed.body, &frame[..BODY_LEN]);
            prop_assert_eq!(parsed.tag.as_bytes(), &frame[BODY_LEN..]);
        }

        #[test]
        fn a_frame_signed_with_another_key_is_refused(heartbeat in any_heartbeat(), key: [u8; 32]) {
            prop_assume!(key != [9; 32]);
            let frame = heartbeat.sign(&SessionKey::from_bytes(key).body_mac());
            prop_assert_eq!(read(&frame), Err(FrameError::Tag));
        }

        #[test]
        fn random_bytes_are_never_a_heartbeat(bytes in prop::collection::vec(any::<u8>(), 0..=100)) {
            prop_assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn only_48_bytes_are_a_frame() {
        let frame = a_heartbeat().sign(&mac());
        let mut long = [0; 100];
        long[..FRAME_LEN].copy_from_slice(&frame);
        for length in 0..=100 {
            let expected = if length == FRAME_LEN { Ok(a_heartbeat()) } else { Err(FrameError::Length) };
            assert_eq!(read(&long[..length]), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let frame = a_heartbeat().sign(&mac());
        for bit in 0..FRAME_LEN * 8 {
            let mut flipped = frame;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0 => FrameError::Version,
                // 1 (beat) with bit 1 flipped is 3 (renew): a kind there is, under a tag that is not its own.
                1 if bit == 9 => FrameError::Tag,
                1 => FrameError::Kind,
                _ => FrameError::Tag,
            };
            assert_eq!(read(&flipped), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn only_version_1_is_read_even_under_a_right_tag() {
        for version in 0..=u8::MAX {
            let expected = if version == VERSION { Ok(a_heartbeat()) } else { Err(FrameError::Version) };
            assert_eq!(read(&signed_with(0, version)), expected, "version {version}");
        }
    }

    #[test]
    fn only_kinds_1_to_3_are_heartbeats_even_under_a_right_tag() {
        for kind in 0..=u8::MAX {
            let expected = HeartbeatKind::from_byte(kind).ok_or(FrameError::Kind);
            assert_eq!(read(&signed_with(1, kind)).map(|heartbeat| heartbeat.kind), expected, "kind {kind}");
            assert_eq!(expected.is_ok(), (1..=3).contains(&kind), "kind {kind}");
        }
    }

    #[test]
    fn the_extremes_of_every_integer_travel() {
        for extreme in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let [seq_low, .., state_low, _] = extreme.to_be_bytes();
            let heartbeat = Heartbeat {
                kind: HeartbeatKind::Stop,
                state: StateBits(u16::from_be_bytes([state_low; 2])),
                seq: u32::from_be_bytes([seq_low; 4]),
                session: SessionId::from_bytes([seq_low; 16]),
                clock: MeterTime::from_ms(extreme),
            };
            assert_eq!(read(&heartbeat.sign(&mac())), Ok(heartbeat));
        }
    }

    #[test]
    fn the_layout_is_that_of_the_protocol() {
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Renew,
            state: StateBits(0x0201),
            seq: 0x0605_0403,
            session: SessionId::from_bytes(core::array::from_fn(|i| 0x10 + u8::try_from(i).unwrap())),
            clock: MeterTime::from_ms(0x2726_2524_2322_2120),
        };
        let expected = [
            0x01, 0x03, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
            0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
        ];
        assert_eq!(heartbeat.body(), expected);
        assert_eq!(heartbeat.sign(&mac())[..BODY_LEN], expected);
        assert_eq!(heartbeat.sign(&mac()).len(), BODY_LEN + TAG_LEN);
    }

    #[test]
    fn state_bits_hold_an_error_class_and_a_platform() {
        let state = StateBits(0xa301 | StateBits::PROXY_ON);
        assert_eq!((state.proxy_error_class(), state.platform()), (3, 10));
        assert_eq!((StateBits(u16::MAX).proxy_error_class(), StateBits(u16::MAX).platform()), (15, 15));
        let flags = [
            StateBits::IDLE,
            StateBits::LOCKED,
            StateBits::PROXY_ON,
            StateBits::CAPTIVE_PORTAL,
            StateBits::METERED,
            StateBits::PRIVATE,
            StateBits::BATTERY,
        ];
        assert_eq!(flags.iter().fold(0, |all, flag| all ^ flag), 0x007f);
    }
}
