//! How fast the generator itself is: `cargo test --release -p loadtest --test capacity -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{io, sync::Arc, time::Duration};

use gastank::{
    time::Millis,
    wire::{Ack, AckFlags, BodyMac, SessionId, SessionKey, SignedHeartbeat, WireVerdict},
};
use loadtest::{
    clock::{Clock, MeterEstimate},
    lane::{Blend, Lane, Terms},
    profile::{Pace, Phase, Rate},
    record::Kind,
    schedule::Schedule,
    session::{AccountKey, OpenSession},
    transport::{Answer, Message, Reply, SendError, Transport},
    verify::Rules,
    window::Window,
    works::Beats,
};

/// Answers every frame at once, without a socket: what remains is the generator's own work, and that of signing the
/// answers.
struct Mirror {
    clock: Clock,
    macs: Vec<BodyMac>,
    answers: Vec<Answer>,
}

impl Transport for Mirror {
    fn send(&mut self, client: usize, seq: u32, message: &Message) -> Result<(), SendError> {
        let Message::Frame(frame) = message else { return Err(SendError::FramesAlone) };
        let mac = &self.macs[client];
        let heartbeat = SignedHeartbeat::parse(frame).unwrap().verify(mac).unwrap();
        let now_ms = heartbeat.clock.as_ms();
        let ack = Ack {
            verdict: WireVerdict::Valid,
            seq,
            now: heartbeat.clock,
            echo: heartbeat.clock,
            remaining_s: u32::try_from((1_000_000_000 - now_ms) / 1000).unwrap(),
            next_beat_100ms: 300,
            flags: AckFlags(0),
        };
        let reply = Reply::Frame(*ack.sign(mac).as_bytes());
        self.answers.push(Answer { at: self.clock.now(), seq: Some(seq), reply });
        Ok(())
    }

    fn receive(&mut self, _wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        answers.append(&mut self.answers);
        Ok(())
    }
}

#[test]
#[ignore = "a measurement"]
fn beats_a_second_that_one_thread_makes_and_verifies_without_sockets() {
    for sessions in [1000u32, 100_000] {
        let key = |n: u32| {
            let mut bytes = [5; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            SessionKey::from_bytes(bytes)
        };
        let session = |n: u32| OpenSession {
            account: String::new().into(),
            account_key: AccountKey::new(String::new()),
            id: SessionId::from_bytes(u128::from(n).to_le_bytes()),
            key: key(n),
            token: None,
        };
        let opened: Vec<_> = (0..sessions).map(session).collect();
        let clock = Clock::start();
        let duration = Duration::from_secs(2);
        // More than it can do: it is always behind its schedule.
        let pace = Pace::new(&[Phase::steady(duration * 10)], Rate::MAX, 0);
        let schedule = Schedule::new(sessions, pace, 1).lane(0, 1);
        let macs = schedule.sessions().iter().map(|index| opened[index.get()].key.body_mac()).collect();
        let terms = Terms {
            clock,
            start: clock.now(),
            duration,
            timeout: Duration::from_secs(1),
            storms: Vec::new(),
            blend: Blend::default(),
            stop: Arc::default(),
        };
        let rules = Rules { interval: Millis::from_secs(30), longest: Millis::from_secs(30), credit_may_arrive: false };
        let transport = Mirror { clock, macs, answers: Vec::new() };
        let meter = MeterEstimate::new(gastank::time::MeterTime::from_ms(1000), clock.now());
        let window = Window::new(1, terms.timeout);
        let work = Beats::new(schedule.sessions(), &opened, rules, meter);
        let lane = Lane::new(terms.clone(), schedule, work, transport, window, Arc::default());
        let outcome = lane.run().unwrap();
        let (_, record) = outcome.records.iter().find(|(kind, _)| *kind == Kind::Beats).unwrap();
        assert_eq!((record.bad_answers(), record.lost()), (0, 0));
        let seconds = (record.last_sent - terms.start).as_secs_f64();
        println!("{sessions} sessions: {:.0} beats a second", record.sent as f64 / seconds);
    }
}
