//! Heartbeats from the network: bytes in, the engine, bytes out.
//!
//! Every transport feeds the same [`Handler`]. What a transport adds is how bytes come and go, and nothing else.

mod connection;
pub mod http;
mod json;
pub mod quic;
pub mod udp;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    clock::Clock,
    engine::{AccountId, Beat, Engine, Then},
    telemetry::{Telemetry, Transport},
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
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    followup: Arc<dyn Followup>,
    telemetry: Telemetry,
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
        let counters = self.telemetry.heartbeats(transport);
        match self.engine.beat(frame, self.clock.now()) {
            Beat::Silence(error) => {
                counters.bad(error).increment(1);
                Reply::Silence(error)
            }
            Beat::Answer { ack, verdict, then } => {
                let counter = match (then, verdict) {
                    (Then::Settle(_), _) => counters.stop(),
                    (_, WireVerdict::Valid) => counters.valid(),
                    (_, WireVerdict::Invalid(reason)) => counters.invalid(reason),
                    (_, WireVerdict::Unknown) => counters.unknown(),
                };
                counter.increment(1);
                match then {
                    Then::Done => Reply::Now(ack),
                    Then::Settle(account) => Reply::Settled(ack, account),
                    Then::LookUp(session) => {
                        self.followup.look_up(session);
                        Reply::Now(ack)
                    }
                }
            }
        }
    }

    /// Commits the end that a stop brought about. `true` once it is durable and its ack may be sent.
    pub async fn settle(&self, account: AccountId) -> bool {
        self.followup.settle(account).await
    }

    /// Counts an ack that was handed to the network.
    pub fn sent(&self, transport: Transport) {
        self.telemetry.acks(transport).increment(1);
    }
}

/// For the fuzzer: reads a heartbeat in JSON. Whether it is one.
#[cfg(fuzzing)]
pub fn fuzz_json(text: &[u8]) -> bool {
    json::frame(text).is_some()
}
