//! Acks: what the service answers.

use super::{BODY_LEN, BodyMac, FRAME_LEN, FrameError, MeterTime, Tag, VERSION, field};

const ACK_KIND: u8 = 129;

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

    /// Reads and verifies an ack, as a client does.
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
}
