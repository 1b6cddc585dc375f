//! Forged frames alone: ids that nobody gave, keyed by a secret that the service has, under tags that are wrong.
//!
//! So the service has to do the work of telling: find the secret, derive the key, compute the tag.

use gastank::{
    time::MeterTime,
    wire::{BodyMac, Heartbeat, HeartbeatKind, SecretId, SessionId, SessionKey, StateBits},
};

use crate::{
    record::Kind,
    schedule::mix,
    session::SessionIndex,
    transport::{Answer, Message},
    verify::Bad,
    work::{Miss, Question, Turn, Work},
};

/// A flood of forged frames.
pub struct Flood {
    sessions: Vec<u32>,
    secret: SecretId,
    mac: BodyMac,
}

impl Flood {
    /// Frames of as many sessions that there are not, keyed by this secret.
    pub fn new(own: &[SessionIndex], secret: SecretId) -> Self {
        Self {
            sessions: own.iter().map(|index| index.0).collect(),
            secret,
            mac: SessionKey::from_bytes([0x66; 32]).body_mac(),
        }
    }
}

impl Work for Flood {
    type Context = ();

    fn kind(&self) -> Kind {
        Kind::Forged
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&()>) -> Option<((), Message)> {
        let number = u64::from(self.sessions[turn.place]);
        let mut random = [0; 16];
        random[..8].copy_from_slice(&mix(1, number).to_le_bytes());
        random[8..].copy_from_slice(&mix(2, number).to_le_bytes());
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits::default(),
            seq: turn.seq,
            session: SessionId::new(self.secret, random),
            clock: MeterTime::from_ms(u64::try_from(turn.at.as_millis()).unwrap_or(u64::MAX)),
        };
        // Its key is not the session's, so that the tag is wrong.
        Some(((), Message::Frame(heartbeat.sign(&self.mac))))
    }

    fn judge(&mut self, _question: &Question<()>, _answer: &Answer) -> Result<(), Miss> {
        Err(Bad::ForgedAnswered.into())
    }
}
