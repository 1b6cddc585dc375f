//! One handler for all transports: a frame in, the engine, what goes back.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    engine::{AccountId, Beat, Engine, PressedBy, Pressure, Then},
    telemetry::{BeatOutcome, BeatTally, Telemetry, Transport},
    time::Clock,
    wire::{FrameError, SessionId, SignedAck, WireVerdict},
};

/// What a heartbeat may ask for that takes longer than answering it.
#[async_trait]
pub trait Followup: Send + Sync + 'static {
    /// Commits the end of an account's session. `true` once it is durable.
    async fn settle(&self, account: AccountId) -> bool;

    /// Asks that a session be looked up in the store. A hint: it may be dropped when there are too many.
    fn look_up(&self, session: SessionId);
}

/// Answers heartbeats, whatever they came by.
pub struct Handler {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) followup: Arc<dyn Followup>,
    pub(super) telemetry: Telemetry,
}

/// What goes back for a heartbeat.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// Nothing, or over HTTP an error.
    Silence(FrameError),
    /// This ack, now.
    Now(SignedAck),
    /// This ack, once [`Handler::settle`] says that the end is durable.
    Settled(SignedAck, AccountId),
}

impl Handler {
    /// A handler for all transports.
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>, followup: Arc<dyn Followup>, telemetry: Telemetry) -> Self {
        Self { engine, clock, followup, telemetry }
    }

    /// Answers one frame.
    pub fn beat(&self, transport: Transport, frame: &[u8]) -> Reply {
        let beat = self.engine.beat(frame, self.clock.now());
        self.telemetry.heartbeats(transport).of(outcome(&beat)).increment(1);
        self.reply(beat)
    }

    /// Answers frames that came together; `answer` is told of each one's place and what goes back for it, in order.
    /// They all came now: the clock is read once.
    pub fn beats(&self, transport: Transport, frames: &[&[u8]], mut answer: impl FnMut(usize, Reply)) {
        let mut tally = BeatTally::default();
        self.engine.beats(frames, self.clock.now(), |n, beat| {
            tally.count(outcome(&beat));
            answer(n, self.reply(beat));
        });
        self.telemetry.heartbeats(transport).add(&tally);
    }

    fn reply(&self, beat: Beat) -> Reply {
        match beat {
            Beat::Silence(error) => Reply::Silence(error),
            Beat::Answer { ack, then: Then::Done, .. } => Reply::Now(ack),
            Beat::Answer { ack, then: Then::Settle(account), .. } => Reply::Settled(ack, account),
            Beat::Answer { ack, then: Then::LookUp(session), .. } => {
                self.followup.look_up(session);
                Reply::Now(ack)
            }
        }
    }

    /// Commits the end that a stop brought about. `true` once it is durable and its ack may be sent.
    pub async fn settle(&self, account: AccountId) -> bool {
        self.followup.settle(account).await
    }

    /// Tells how hard a transport is pressed.
    pub fn pressed(&self, by: PressedBy, pressure: Pressure) {
        self.engine.set_pressure(by, pressure);
    }

    /// Counts an ack that was handed to the network.
    pub fn sent(&self, transport: Transport) {
        self.sent_together(transport, 1);
    }

    /// Counts acks that were handed to the network together.
    pub fn sent_together(&self, transport: Transport, acks: usize) {
        self.telemetry.acks(transport).increment(acks as u64);
    }
}

/// What a beat counts as.
const fn outcome(beat: &Beat) -> BeatOutcome {
    match beat {
        Beat::Silence(error) => BeatOutcome::Bad(*error),
        Beat::Answer { then: Then::Settle(_), .. } => BeatOutcome::Stop,
        Beat::Answer { verdict: WireVerdict::Valid, .. } => BeatOutcome::Valid,
        Beat::Answer { verdict: WireVerdict::Invalid(reason), .. } => BeatOutcome::Invalid(*reason),
        Beat::Answer { verdict: WireVerdict::Unknown, .. } => BeatOutcome::Unknown,
    }
}

#[cfg(test)]
pub(super) mod tests;
