//! Acks: what the service answers.

use crate::time::MeterTime;

use super::{BODY_LEN, BodyMac, FRAME_LEN, FrameError, Tag, VERSION, field};

/// The kind byte of an ack. No heartbeat has it, so that neither frame can pass for the other.
pub const ACK_KIND: u8 = 129;

/// Why a session ended. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// A newer activation of the same account took its place.
    Superseded = 1,
    /// The tank ran empty.
    Exhausted = 2,
    /// Its heartbeats stopped.
    TimedOut = 3,
    /// The client closed the tap.
    Deactivated = 4,
    /// An operator or an edge revoked it.
    Revoked = 5,
    /// The person signed out.
    LoggedOut = 6,
    /// The account is gone.
    AccountDeleted = 7,
    /// It reached a date after which it is void.
    Expired = 8,
}

impl EndReason {
    /// Every reason, in the order of the wire's numbers.
    pub const ALL: [Self; 8] = [
        Self::Superseded,
        Self::Exhausted,
        Self::TimedOut,
        Self::Deactivated,
        Self::Revoked,
        Self::LoggedOut,
        Self::AccountDeleted,
        Self::Expired,
    ];

    /// The reason with this number, if there is one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if byte >= 1 && byte as usize <= Self::ALL.len() { Some(Self::ALL[byte as usize - 1]) } else { None }
    }

    /// The name that the HTTP interface, the metrics and the store use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Exhausted => "exhausted",
            Self::TimedOut => "timed_out",
            Self::Deactivated => "deactivated",
            Self::Revoked => "revoked",
            Self::LoggedOut => "logged_out",
            Self::AccountDeleted => "account_deleted",
            Self::Expired => "expired",
        }
    }
}

/// What an ack says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireVerdict {
    /// The token is good.
    Valid,
    /// The token is dead, and why.
    Invalid(EndReason),
    /// This node does not know. Never means invalid.
    Unknown,
}

/// What the client is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AckFlags(pub u16);

impl AckFlags {
    /// The token nears its end: renew it.
    pub const RENEW: u16 = 1;
    /// Little credit is left: tell the person.
    pub const LOW_CREDIT: u16 = 2;

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

/// An ack's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What the service says of the session.
    pub verdict: WireVerdict,
    /// The heartbeat's `seq`.
    pub seq: u32,
    /// Meter time when it was answered.
    pub now: MeterTime,
    /// The heartbeat's clock, for the client's round-trip estimate.
    pub echo: MeterTime,
    /// Credit left, in whole seconds.
    pub remaining_s: u32,
    /// When to beat next, from now, in units of 100 ms.
    pub next_beat_100ms: u16,
    /// What the client is asked to do.
    pub flags: AckFlags,
}

impl Ack {
    /// The bytes that the tag covers.
    pub fn body(&self) -> [u8; BODY_LEN] {
        let (verdict, reason) = match self.verdict {
            WireVerdict::Valid => (0, 0),
            WireVerdict::Invalid(reason) => (1, reason as u8),
            WireVerdict::Unknown => (2, 0),
        };
        let mut body = [0; BODY_LEN];
        body[0] = VERSION;
        body[1] = ACK_KIND;
        body[2] = verdict;
        body[3] = reason;
        body[4..8].copy_from_slice(&self.seq.to_le_bytes());
        body[8..16].copy_from_slice(&self.now.as_ms().to_le_bytes());
        body[16..24].copy_from_slice(&self.echo.as_ms().to_le_bytes());
        body[24..28].copy_from_slice(&self.remaining_s.to_le_bytes());
        body[28..30].copy_from_slice(&self.next_beat_100ms.to_le_bytes());
        body[30..32].copy_from_slice(&self.flags.0.to_le_bytes());
        body
    }

    /// The signed frame, as it travels.
    pub fn sign(&self, mac: &BodyMac) -> SignedAck {
        let body = self.body();
        let mut frame = [0; FRAME_LEN];
        frame[..BODY_LEN].copy_from_slice(&body);
        frame[BODY_LEN..].copy_from_slice(mac.tag(&body).as_bytes());
        SignedAck { frame, content: *self }
    }

    /// Reads and verifies an ack, as a client does. That it answers the client's own heartbeat, the caller sees from
    /// `seq` and `echo`.
    ///
    /// # Errors
    ///
    /// Any [`FrameError`]; the tag is checked before any value is believed.
    pub fn verify(bytes: &[u8], mac: &BodyMac) -> Result<Self, FrameError> {
        let frame: &[u8; FRAME_LEN] = bytes.try_into().map_err(|_| FrameError::Length)?;
        if frame[0] != VERSION {
            return Err(FrameError::Version);
        }
        if frame[1] != ACK_KIND {
            return Err(FrameError::Kind);
        }
        if !mac.tag(&field(frame, 0)).matches(&Tag::from_bytes(field(frame, BODY_LEN))) {
            return Err(FrameError::Tag);
        }
        let verdict = match (frame[2], frame[3]) {
            (0, 0) => WireVerdict::Valid,
            (1, reason) => WireVerdict::Invalid(EndReason::from_byte(reason).ok_or(FrameError::Value)?),
            (2, 0) => WireVerdict::Unknown,
            _ => return Err(FrameError::Value),
        };
        Ok(Self {
            verdict,
            seq: u32::from_le_bytes(field(frame, 4)),
            now: MeterTime::from_ms(u64::from_le_bytes(field(frame, 8))),
            echo: MeterTime::from_ms(u64::from_le_bytes(field(frame, 16))),
            remaining_s: u32::from_le_bytes(field(frame, 24)),
            next_beat_100ms: u16::from_le_bytes(field(frame, 28)),
            flags: AckFlags(u16::from_le_bytes(field(frame, 30))),
        })
    }
}

/// A signed ack, ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct SignedAck {
    frame: [u8; FRAME_LEN],
    content: Ack,
}

impl SignedAck {
    /// What it says.
    pub const fn content(&self) -> &Ack {
        &self.content
    }

    /// The 48 bytes.
    pub const fn as_bytes(&self) -> &[u8; FRAME_LEN] {
        &self.frame
    }

    /// The tag, which the JSON form carries by itself.
    pub const fn tag(&self) -> Tag {
        Tag::from_bytes(field(&self.frame, BODY_LEN))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Heartbeat, HeartbeatKind, SessionId, SessionKey, SignedHeartbeat, StateBits},
        *,
    };

    fn every_verdict() -> Vec<WireVerdict> {
        let invalid = EndReason::ALL.into_iter().map(WireVerdict::Invalid);
        [WireVerdict::Valid, WireVerdict::Unknown].into_iter().chain(invalid).collect()
    }

    fn any_ack() -> impl Strategy<Value = Ack> {
        (prop::sample::select(every_verdict()), any::<(u32, u64, u64, u32, u16, u16)>()).prop_map(
            |(verdict, (seq, now, echo, remaining_s, next_beat_100ms, flags))| Ack {
                verdict,
                seq,
                now: MeterTime::from_ms(now),
                echo: MeterTime::from_ms(echo),
                remaining_s,
                next_beat_100ms,
                flags: AckFlags(flags),
            },
        )
    }

    fn an_ack() -> Ack {
        Ack {
            verdict: WireVerdict::Invalid(EndReason::Superseded),
            seq: 7,
            now: MeterTime::from_ms(123_460),
            echo: MeterTime::from_ms(123_456),
            remaining_s: 3600,
            next_beat_100ms: 300,
            flags: AckFlags(AckFlags::RENEW),
        }
    }

    fn mac() -> BodyMac {
        SessionKey::from_bytes([9; 32]).body_mac()
    }

    /// An ack with these bytes set, and the tag that is then right.
    fn signed_with(changes: &[(usize, u8)]) -> [u8; FRAME_LEN] {
        let mut body = an_ack().body();
        for (at, value) in changes {
            body[*at] = *value;
        }
        let mut frame = [0; FRAME_LEN];
        frame[..BODY_LEN].copy_from_slice(&body);
        frame[BODY_LEN..].copy_from_slice(mac().tag(&body).as_bytes());
        frame
    }

    proptest! {
        #[test]
        fn what_is_signed_is_what_is_read(ack in any_ack(), key: [u8; 32]) {
            let mac = SessionKey::from_bytes(key).body_mac();
            let signed = ack.sign(&mac);
            prop_assert!(signed.tag().matches(&mac.tag(&ack.body())));
            prop_assert_eq!(signed.content(), &ack);
            prop_assert_eq!(Ack::verify(signed.as_bytes(), &mac), Ok(ack));
        }

        #[test]
        fn an_ack_signed_with_another_key_is_refused(ack in any_ack(), key: [u8; 32]) {
            prop_assume!(key != [9; 32]);
            let signed = ack.sign(&SessionKey::from_bytes(key).body_mac());
            prop_assert_eq!(Ack::verify(signed.as_bytes(), &mac()), Err(FrameError::Tag));
        }

        #[test]
        fn random_bytes_are_never_an_ack(bytes in prop::collection::vec(any::<u8>(), 0..=100)) {
            prop_assert!(Ack::verify(&bytes, &mac()).is_err());
        }

        #[test]
        fn an_ack_sent_back_is_not_a_heartbeat(ack in any_ack()) {
            prop_assert_eq!(SignedHeartbeat::parse(ack.sign(&mac()).as_bytes()).unwrap_err(), FrameError::Kind);
        }
    }

    #[test]
    fn a_heartbeat_sent_back_is_not_an_ack() {
        for kind in HeartbeatKind::ALL {
            let session = SessionId::from_bytes([1; 16]);
            let beat = Heartbeat { kind, state: StateBits(0), seq: 1, session, clock: MeterTime::ZERO };
            assert_eq!(Ack::verify(&beat.sign(&mac()), &mac()), Err(FrameError::Kind));
        }
    }

    #[test]
    fn only_48_bytes_are_an_ack() {
        let mut long = [0; 100];
        long[..FRAME_LEN].copy_from_slice(an_ack().sign(&mac()).as_bytes());
        for length in 0..=100 {
            let expected = if length == FRAME_LEN { Ok(an_ack()) } else { Err(FrameError::Length) };
            assert_eq!(Ack::verify(&long[..length], &mac()), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let frame = *an_ack().sign(&mac()).as_bytes();
        for bit in 0..FRAME_LEN * 8 {
            let mut flipped = frame;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                0 => FrameError::Version,
                1 => FrameError::Kind,
                _ => FrameError::Tag,
            };
            assert_eq!(Ack::verify(&flipped, &mac()), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn other_versions_and_kinds_are_refused_even_under_a_right_tag() {
        for byte in 0..=u8::MAX {
            let version = if byte == VERSION { Ok(an_ack()) } else { Err(FrameError::Version) };
            assert_eq!(Ack::verify(&signed_with(&[(0, byte)]), &mac()), version, "version {byte}");
            let kind = if byte == ACK_KIND { Ok(an_ack()) } else { Err(FrameError::Kind) };
            assert_eq!(Ack::verify(&signed_with(&[(1, byte)]), &mac()), kind, "kind {byte}");
        }
    }

    #[test]
    fn a_verdict_and_a_reason_that_cannot_go_together_are_refused() {
        for verdict in 0..=u8::MAX {
            for reason in 0..=u8::MAX {
                let read = Ack::verify(&signed_with(&[(2, verdict), (3, reason)]), &mac());
                let expected = match (verdict, reason) {
                    (0, 0) => Ok(WireVerdict::Valid),
                    (1, 1..=8) => Ok(WireVerdict::Invalid(EndReason::ALL[usize::from(reason) - 1])),
                    (2, 0) => Ok(WireVerdict::Unknown),
                    _ => Err(FrameError::Value),
                };
                assert_eq!(read.map(|ack| ack.verdict), expected, "verdict {verdict}, reason {reason}");
            }
        }
    }

    #[test]
    fn the_tag_is_checked_before_any_value_is_believed() {
        let mut frame = signed_with(&[(2, 9)]);
        assert_eq!(Ack::verify(&frame, &mac()), Err(FrameError::Value));
        frame[47] ^= 1;
        assert_eq!(Ack::verify(&frame, &mac()), Err(FrameError::Tag));
    }

    #[test]
    fn the_extremes_of_every_integer_travel() {
        for verdict in every_verdict() {
            for (low, high) in [(0, u64::MAX), (u64::MAX, 0)] {
                let ack = Ack {
                    verdict,
                    seq: if low == 0 { 0 } else { u32::MAX },
                    now: MeterTime::from_ms(low),
                    echo: MeterTime::from_ms(high),
                    remaining_s: if high == 0 { 0 } else { u32::MAX },
                    next_beat_100ms: if low == 0 { 0 } else { u16::MAX },
                    flags: AckFlags(if high == 0 { 0 } else { u16::MAX }),
                };
                assert_eq!(Ack::verify(ack.sign(&mac()).as_bytes(), &mac()), Ok(ack));
            }
        }
    }

    #[test]
    fn the_layout_is_that_of_the_protocol() {
        let ack = Ack {
            verdict: WireVerdict::Invalid(EndReason::Expired),
            seq: 0x0706_0504,
            now: MeterTime::from_ms(0x0f0e_0d0c_0b0a_0908),
            echo: MeterTime::from_ms(0x1716_1514_1312_1110),
            remaining_s: 0x1b1a_1918,
            next_beat_100ms: 0x1d1c,
            flags: AckFlags(0x1f1e),
        };
        let mut expected: [u8; BODY_LEN] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        expected[..4].copy_from_slice(&[1, 129, 1, 8]);
        assert_eq!(ack.body(), expected);
    }

    #[test]
    fn end_reasons_keep_their_numbers_and_have_names_of_their_own() {
        for (number, reason) in (1..).zip(EndReason::ALL) {
            assert_eq!((reason as u8, EndReason::from_byte(number)), (number, Some(reason)));
        }
        for none in (9..=u8::MAX).chain([0]) {
            assert_eq!(EndReason::from_byte(none), None, "{none}");
        }
        let mut names = EndReason::ALL.map(EndReason::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn flags_are_read_one_by_one() {
        assert!(AckFlags(3).has(AckFlags::RENEW) && AckFlags(3).has(AckFlags::LOW_CREDIT));
        assert!(!AckFlags(1).has(AckFlags::LOW_CREDIT) && !AckFlags(1).has(3));
    }
}
