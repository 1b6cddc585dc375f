//! Heartbeats: signed, and every ack verified.

use gastank::wire::{BODY_LEN, Heartbeat, HeartbeatKind, SessionId, StateBits};

use crate::{
    clock::MeterEstimate,
    record::Kind,
    session::{OpenSession, SessionIndex},
    transport::{Answer, Message, Reply},
    verify::{Bad, Rules, SentBeat, Track},
    window::Flavour,
    work::{Miss, Question, Turn, Work},
};

/// The heartbeats of a lane's sessions.
pub struct Beats {
    sessions: Vec<(SessionId, Track)>,
    rules: Rules,
    meter: MeterEstimate,
}

impl Beats {
    /// Beats for these sessions of `opened`.
    pub fn new(own: &[SessionIndex], opened: &[OpenSession], rules: Rules, meter: MeterEstimate) -> Self {
        let own = own.iter().map(|index| &opened[index.get()]);
        let sessions = own.map(|session| (session.id, Track::new(session.key.body_mac()))).collect();
        Self { sessions, rules, meter }
    }
}

impl Work for Beats {
    type Context = SentBeat;

    fn kind(&self) -> Kind {
        Kind::Beats
    }

    fn compose(&mut self, turn: &Turn, again: Option<&SentBeat>) -> Option<(SentBeat, Message)> {
        let (session, track) = &self.sessions[turn.place];
        let known = track.known();
        let asked = match again {
            Some(before) => SentBeat { known, ..*before },
            None => SentBeat { seq: turn.seq, clock: self.meter.at(turn.at), known },
        };
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits::default(),
            seq: asked.seq,
            session: *session,
            clock: asked.clock,
        };
        let mut frame = heartbeat.sign(track.mac());
        if let Flavour::Forged(bit) = turn.flavour {
            frame[BODY_LEN + usize::from(bit / 8)] ^= 1 << (bit % 8);
        }
        Some((asked, Message::Frame(frame)))
    }

    fn judge(&mut self, question: &Question<SentBeat>, answer: &Answer) -> Result<(), Miss> {
        let bytes: &[u8] = match &answer.reply {
            Reply::Frame(bytes) => bytes,
            Reply::Odd => &[],
            Reply::Http(reply) if reply.status == 200 => return Err(Miss::Bad(Bad::Length)),
            Reply::Http(reply) => return Err(Miss::Refused(reply.status)),
            Reply::Failed => return Err(Miss::Failed),
        };
        let (_, track) = &mut self.sessions[question.place];
        let ack = track.judge(&self.rules, &question.asked, bytes)?;
        self.meter = MeterEstimate::new(ack.now, answer.at);
        Ok(())
    }
}
