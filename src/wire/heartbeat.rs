//! Heartbeats: what a client sends.

use super::{BODY_LEN, BodyMac, FRAME_LEN, MeterTime, SessionId, Tag, VERSION, field};

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
    const fn from_byte(byte: u8) -> Option<Self> {
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

    /// The session whose key the frame claims to be signed with.
    pub const fn session(&self) -> &SessionId {
        &self.heartbeat.session
    }

    /// The content, if the tag is right.
    ///
    /// # Errors
    ///
    /// [`FrameError::Tag`].
    pub fn verify(self, mac: &BodyMac) -> Result<Heartbeat, FrameError> {
        if mac.tag(&self.body).matches(&self.tag) { Ok(self.heartbeat) } else { Err(FrameError::Tag) }
    }
}
