//! One lane: a thread that sends what is due, takes what has come, and judges it.

use std::{
    io,
    iter::Peekable,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gastank::wire::{BODY_LEN, FRAME_LEN, Heartbeat, HeartbeatKind, SessionId, StateBits};

use crate::{
    clock::{Clock, MeterEstimate},
    record::{Live, Record},
    schedule::{Due, LaneSchedule},
    session::OpenSession,
    transport::{Answer, Reply, Transport},
    verify::{Asked, BadAck, Rules, Track},
    window::{Find, Sent, Window},
};

/// What all lanes of a run share.
#[derive(Clone)]
pub struct Terms {
    /// The program's clock.
    pub clock: Clock,
    /// When the schedule starts, on that clock.
    pub start: Duration,
    /// How long the schedule lasts.
    pub duration: Duration,
    /// After how long an ack is late.
    pub timeout: Duration,
    /// What acks are held against.
    pub rules: Rules,
    /// Set when the run is to end early.
    pub stop: Arc<AtomicBool>,
}

/// A lane, ready to run.
pub struct Lane<T> {
    terms: Terms,
    schedule: Peekable<LaneSchedule>,
    sessions: Vec<(SessionId, Track)>,
    transport: T,
    window: Window,
    meter: MeterEstimate,
    record: Record,
    live: Arc<Live>,
}

/// How many beats are sent before answers get their turn.
const BURST: usize = 32;
/// How long a lane sleeps at most before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(50);

impl<T: Transport> Lane<T> {
    /// A lane that carries out `schedule` for its share of `crew` (all sessions of the run).
    pub fn new(
        terms: Terms,
        schedule: LaneSchedule,
        crew: &[OpenSession],
        transport: T,
        window: Window,
        meter: MeterEstimate,
        live: Arc<Live>,
    ) -> Self {
        let own = schedule.sessions().iter().map(|index| &crew[index.get()]);
        let sessions = own.map(|session| (session.id, Track::new(session.key.body_mac()))).collect();
        let schedule = schedule.peekable();
        Self { terms, schedule, sessions, transport, window, meter, record: Record::default(), live }
    }

    /// Runs until the last beat is answered or given up: a beat is given up when it has been late for as long as it
    /// had been given to be on time. Answers what was counted, and how many answers this machine dropped.
    ///
    /// # Errors
    ///
    /// A transport that broke down.
    pub fn run(mut self) -> io::Result<(Record, u64)> {
        let mut answers = Vec::with_capacity(2 * BURST);
        wake_on_time();
        let give_up = self.terms.start + self.terms.duration + self.terms.timeout;
        loop {
            let now = self.terms.clock.now();
            self.window.tick(now);
            let stopped = self.terms.stop.load(Ordering::Relaxed);
            if stopped || now > give_up {
                self.skip_the_rest(stopped);
            }
            self.send_due(now);
            let next = self.schedule.peek().map(|due| self.terms.start + due.at);
            if next.is_none() && (self.window.waiting() == 0 || now > give_up + self.terms.timeout) {
                break;
            }
            self.transport.receive(next.map_or(NAP, |due| due.saturating_sub(now).min(NAP)), &mut answers)?;
            for answer in answers.drain(..) {
                self.take(&answer);
            }
            self.live.show(&self.record, self.window.overdue());
        }
        Ok((self.record, self.transport.dropped()))
    }

    fn send_due(&mut self, now: Duration) {
        for _ in 0..BURST {
            let start = self.terms.start;
            let Some(due) = self.schedule.next_if(|due| start + due.at <= now) else { return };
            self.beat(&due);
            if let Some(bit) = due.forgery {
                self.forge(&due, bit);
            }
        }
    }

    fn beat(&mut self, due: &Due) {
        let (sent, frame) = self.frame(due, false);
        if self.transport.send(due.session, sent.asked.seq, &frame).is_ok() {
            self.record.sent(sent.due, sent.at);
            self.window.push(sent);
        } else {
            self.record.unsent += 1;
        }
    }

    fn forge(&mut self, due: &Due, bit: u8) {
        let (sent, mut frame) = self.frame(due, true);
        frame[BODY_LEN + usize::from(bit / 8)] ^= 1 << (bit % 8);
        if self.transport.send(due.session, sent.asked.seq, &frame).is_ok() {
            self.record.forged += 1;
            self.window.push(sent);
        }
    }

    fn frame(&self, due: &Due, forged: bool) -> (Sent, [u8; FRAME_LEN]) {
        let (session, track) = &self.sessions[due.place];
        let at = self.terms.clock.now();
        let asked = Asked { seq: self.window.next_seq(), clock: self.meter.at(at), forged, known: track.known() };
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits::default(),
            seq: asked.seq,
            session: *session,
            clock: asked.clock,
        };
        (Sent { place: due.place, due: self.terms.start + due.at, at, asked }, heartbeat.sign(track.mac()))
    }

    fn take(&mut self, answer: &Answer) {
        let Some(seq) = answer.seq else { return self.record.bad(BadAck::Length) };
        let sent = match self.window.find(seq) {
            Find::Waiting(sent) => sent,
            Find::Answered => return self.record.duplicates += 1,
            Find::Stranger => return self.record.strays += 1,
        };
        let bytes: &[u8] = match &answer.reply {
            Reply::Frame(bytes) => bytes,
            Reply::Odd => &[],
            Reply::Refused(_) | Reply::Failed => return self.give_up(seq, &sent, &answer.reply),
        };
        let (_, track) = &mut self.sessions[sent.place];
        match track.judge(&self.terms.rules, &sent.asked, bytes) {
            Ok(ack) => {
                self.record.acked(sent.due, sent.at, answer.at, self.terms.timeout);
                self.meter = MeterEstimate::new(ack.now, answer.at);
            }
            Err(bad) => self.record.bad(bad),
        }
        self.window.answered(seq);
    }

    /// A forged frame is to be refused; a beat is not.
    fn give_up(&mut self, seq: u32, sent: &Sent, reply: &Reply) {
        self.window.answered(seq);
        match reply {
            _ if sent.asked.forged => {}
            Reply::Refused(status) => self.record.refused(*status),
            _ => self.record.failed += 1,
        }
    }

    /// Beats that were due and have not been sent by now never will be; those of a run that is stopped are not due.
    fn skip_the_rest(&mut self, stopped: bool) {
        let rest = self.schedule.by_ref().count() as u64;
        self.record.unsent += if stopped { 0 } else { rest };
    }
}

/// The system may let a sleeper oversleep by 50 us, to save power; here that would count as the service's latency.
fn wake_on_time() {
    #[cfg(target_os = "linux")]
    {
        // Where it cannot be had, `send lag` tells.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}
