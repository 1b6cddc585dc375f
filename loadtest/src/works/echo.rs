//! Heartbeats for a bare server that knows no sessions: it need only answer.
//!
//! This is what the floors are measured with that the service is held against: the same frames, at the same pace, from the
//! same generator. A server that answers a frame with any 48 bytes that carry its `seq` will do; over HTTP, any 200.

use gastank::{
    time::MeterTime,
    wire::{BODY_LEN, BodyMac, Heartbeat, HeartbeatKind, SessionId, SessionKey, StateBits},
};

use crate::{
    record::Kind,
    session::SessionIndex,
    transport::{Answer, Message, Reply},
    verify::Bad,
    window::Flavour,
    work::{Miss, Question, Turn, Work},
};

/// The key that signs all frames: known to everyone.
pub const FLOOR_KEY: [u8; 32] = [7; 32];

/// Frames that any server can answer.
pub struct Echo {
    sessions: Vec<u32>,
    mac: BodyMac,
    kind: Kind,
}

impl Echo {
    /// Frames of these sessions; session number *n* has *n* as its id, little-endian.
    pub fn new(own: &[SessionIndex], kind: Kind) -> Self {
        let sessions = own.iter().map(|index| index.0).collect();
        Self { sessions, mac: SessionKey::from_bytes(FLOOR_KEY).body_mac(), kind }
    }
}

impl Work for Echo {
    type Context = ();

    fn kind(&self) -> Kind {
        self.kind
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&()>) -> Option<((), Message)> {
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits::default(),
            seq: turn.seq,
            session: SessionId::from_bytes(u128::from(self.sessions[turn.place]).to_le_bytes()),
            clock: MeterTime::from_ms(u64::try_from(turn.at.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut frame = heartbeat.sign(&self.mac);
        if let Flavour::Forged(bit) = turn.flavour {
            frame[BODY_LEN + usize::from(bit / 8)] ^= 1 << (bit % 8);
        }
        Some(((), Message::Frame(frame)))
    }

    fn judge(&mut self, _question: &Question<()>, answer: &Answer) -> Result<(), Miss> {
        match &answer.reply {
            Reply::Frame(_) => Ok(()),
            Reply::Http(reply) if reply.status == 200 => Ok(()),
            Reply::Http(reply) => Err(Miss::Refused(reply.status)),
            Reply::Odd => Err(Miss::Bad(Bad::Length)),
            Reply::Failed => Err(Miss::Failed),
        }
    }
}
