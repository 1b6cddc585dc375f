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

use crate::{
    clock::Clock,
    record::{Kind, Live, Record, Times},
    schedule::{Due, LaneSchedule},
    transport::{Answer, Reply, Tally, Transport},
    verify::Bad,
    window::{Find, Flavour, Sent, Window},
    work::{Miss, Question, Turn, Work},
};

/// What all lanes of a fleet share.
#[derive(Clone)]
pub struct Terms {
    /// The program's clock.
    pub clock: Clock,
    /// When the schedule starts, on that clock.
    pub start: Duration,
    /// How long the schedule lasts.
    pub duration: Duration,
    /// When connections are to be dropped and opened again, from the start.
    pub storms: Vec<Duration>,
    /// After how long an answer is late.
    pub timeout: Duration,
    /// What is sent beside, or in place of, plain messages.
    pub blend: Blend,
    /// Set when the run is to end early.
    pub stop: Arc<AtomicBool>,
}

/// What is sent beside, or in place of, plain messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blend {
    /// Beside every hundred plain messages, so many forged ones.
    pub forged_percent: u8,
    /// Beside every hundred plain messages, so many that were sent before.
    pub replayed_percent: u8,
    /// Only forged messages.
    pub only_forged: bool,
}

/// A lane, ready to run.
pub struct Lane<W: Work, T> {
    terms: Terms,
    schedule: Peekable<LaneSchedule>,
    work: W,
    transport: T,
    window: Window<W::Context>,
    next_storm: usize,
    plain: Record,
    forged: Record,
    replayed: Record,
    live: Arc<Live>,
}

/// What came of a lane, or of a fleet once its lanes are merged.
pub struct Outcome {
    /// What was counted, by kind.
    pub records: Vec<(Kind, Record)>,
    /// What the transport counted.
    pub tally: Tally,
}

/// How many turns are taken before answers get theirs.
const BURST: usize = 64;
/// How long a lane sleeps at most before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(50);
/// How long an answer that nobody may give is listened for.
const LINGER: Duration = Duration::from_millis(200);
/// How close together turns must be before several are taken in one go, for the time that waking up costs.
const CROWDED: Duration = Duration::from_micros(50);
/// For how long turns are gathered then.
const GATHER: Duration = Duration::from_micros(100);

impl<W: Work, T: Transport> Lane<W, T> {
    /// A lane that carries out `schedule`.
    pub fn new(
        terms: Terms,
        schedule: LaneSchedule,
        work: W,
        transport: T,
        window: Window<W::Context>,
        live: Arc<Live>,
    ) -> Self {
        let record = |kind| Record::new(kind, terms.duration);
        let (plain, forged, replayed) = (record(work.kind()), record(Kind::Forged), record(Kind::Replayed));
        let schedule = schedule.peekable();
        Self { terms, schedule, work, transport, window, next_storm: 0, plain, forged, replayed, live }
    }

    /// Runs until the last message is answered or given up: one is given up when it has been late for as long as it had
    /// been given to be on time.
    ///
    /// # Errors
    ///
    /// A transport that broke down.
    pub fn run(mut self) -> io::Result<Outcome> {
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
            self.brave_storms(now);
            self.send_due(now);
            let next = self.schedule.peek().map(|due| self.terms.start + due.at);
            let quiet = self.window.waiting() == 0 && now >= self.forged.last_sent + self.linger();
            if next.is_none() && (quiet || now > give_up + self.terms.timeout) {
                break;
            }
            self.transport.receive(self.nap(now, next), &mut answers)?;
            for answer in answers.drain(..) {
                self.take(&answer);
            }
            self.live.show([&self.plain, &self.forged, &self.replayed].into_iter(), self.window.overdue());
        }
        let mut records =
            vec![(self.work.kind(), self.plain), (Kind::Forged, self.forged), (Kind::Replayed, self.replayed)];
        // What a fleet is there for is told even if nothing came of it.
        let wanted = if self.terms.blend.only_forged { Kind::Forged } else { self.work.kind() };
        if self.terms.blend.only_forged {
            records.remove(0);
        }
        records.retain(|(kind, record)| *kind == wanted || record.sent + record.unsent > 0);
        Ok(Outcome { records, tally: self.transport.tally() })
    }

    /// For how long to listen after the last forged frame, which is not to be answered.
    fn linger(&self) -> Duration {
        if self.forged.sent > 0 { LINGER.min(self.terms.timeout) } else { Duration::ZERO }
    }

    /// How long to wait for answers before the next turn.
    fn nap(&self, now: Duration, next: Option<Duration>) -> Duration {
        let Some(next) = next else { return NAP };
        let wait = next.saturating_sub(now).min(NAP);
        if !wait.is_zero() && wait < CROWDED { GATHER } else { wait }
    }

    fn brave_storms(&mut self, now: Duration) {
        while self.terms.storms.get(self.next_storm).is_some_and(|storm| self.terms.start + *storm <= now) {
            self.next_storm += 1;
            self.transport.reconnect();
        }
    }

    fn send_due(&mut self, now: Duration) {
        let start = self.terms.start;
        for _ in 0..BURST {
            let Some(due) = self.schedule.next_if(|due| start + due.at <= now) else { break };
            self.turn(&due);
        }
        self.transport.flush();
    }

    fn turn(&mut self, due: &Due) {
        let Blend { forged_percent, replayed_percent, only_forged } = self.terms.blend;
        // Independent parts of the draw.
        let bit = u8::try_from(due.draw >> 57).expect("seven bits are left");
        let chance = |shift: u32, percent: u8| (due.draw >> shift) % 100 < u64::from(percent);
        if only_forged {
            return self.dispatch(due, Flavour::Forged(bit));
        }
        self.dispatch(due, Flavour::Plain);
        if chance(0, forged_percent) {
            self.dispatch(due, Flavour::Forged(bit));
        }
        if chance(20, replayed_percent) {
            self.replay(due);
        }
    }

    fn dispatch(&mut self, due: &Due, flavour: Flavour) {
        let at = self.terms.clock.now();
        let seq = self.window.next_seq();
        let turn = Turn { place: due.place, seq, at, flavour, draw: due.draw };
        let Some((asked, message)) = self.work.compose(&turn, None) else {
            self.record(flavour).unsent += 1;
            return;
        };
        let sent = Sent { place: due.place, flavour, due: self.terms.start + due.at, at, asked };
        let accepted = self.transport.send(due.place, seq, &message).is_ok();
        let times = self.times(&sent);
        let record = self.record(flavour);
        if accepted {
            record.sent(&times);
            self.window.push(sent);
        } else {
            record.unsent += 1;
        }
    }

    /// Sends once more what was sent a while ago, if that has been answered.
    fn replay(&mut self, due: &Due) {
        let next = self.window.next_seq();
        let back = u32::try_from(due.draw >> 40).expect("24 bits are left") % next.clamp(1, 256);
        let seq = next.wrapping_sub(1 + back);
        let Find::Answered(before) = self.window.find(seq) else { return };
        if before.flavour != Flavour::Plain {
            return;
        }
        let at = self.terms.clock.now();
        let turn = Turn { place: before.place, seq, at, flavour: Flavour::Replayed, draw: due.draw };
        let Some((asked, message)) = self.work.compose(&turn, Some(&before.asked)) else { return };
        let sent = Sent { place: before.place, flavour: Flavour::Replayed, due: self.terms.start + due.at, at, asked };
        let times = self.times(&sent);
        if self.transport.send(before.place, seq, &message).is_ok() {
            self.replayed.sent(&times);
            self.window.await_again(seq, sent);
        } else {
            self.replayed.unsent += 1;
        }
    }

    fn take(&mut self, answer: &Answer) {
        let Some(seq) = answer.seq else { return self.main().bad(Bad::Length, None) };
        let sent = match self.window.find(seq) {
            Find::Waiting(sent) => sent,
            Find::Answered(_) => return self.main().duplicates += 1,
            Find::Stranger => return self.main().strays += 1,
        };
        self.window.answered(seq);
        let times = self.times(&sent);
        let timeout = self.terms.timeout;
        if let Flavour::Forged(_) = sent.flavour {
            return match &answer.reply {
                Reply::Frame(_) | Reply::Odd => self.forged.bad(Bad::ForgedAnswered, Some(&times)),
                Reply::Http(reply) if reply.status == 200 => self.forged.bad(Bad::ForgedAnswered, Some(&times)),
                Reply::Http(reply) => self.forged.refused(reply.status),
                Reply::Failed => self.forged.failed += 1,
            };
        }
        let question = Question { place: sent.place, sent: sent.at, asked: sent.asked };
        let verdict = self.work.judge(&question, answer);
        let record = self.record(sent.flavour);
        match verdict {
            Ok(()) => record.answered(&times, answer.at, timeout),
            Err(Miss::Bad(bad)) => record.bad(bad, Some(&times)),
            Err(Miss::Refused(status)) => record.refused(status),
            Err(Miss::Failed) => record.failed += 1,
        }
    }

    const fn times(&self, sent: &Sent<W::Context>) -> Times {
        Times { start: self.terms.start, due: sent.due, sent: sent.at }
    }

    const fn record(&mut self, flavour: Flavour) -> &mut Record {
        match flavour {
            Flavour::Plain => &mut self.plain,
            Flavour::Forged(_) => &mut self.forged,
            Flavour::Replayed => &mut self.replayed,
        }
    }

    /// The record of what the fleet is there for.
    const fn main(&mut self) -> &mut Record {
        if self.terms.blend.only_forged { &mut self.forged } else { &mut self.plain }
    }

    /// What was due and has not been sent by now never will be; the rest of a run that is stopped is not due.
    fn skip_the_rest(&mut self, stopped: bool) {
        let rest = self.schedule.by_ref().count() as u64;
        self.main().unsent += if stopped { 0 } else { rest };
    }
}

impl Outcome {
    /// Adds what came of another lane of the fleet.
    pub fn merge(&mut self, other: Self) {
        for (kind, record) in other.records {
            match self.records.iter_mut().find(|(mine, _)| *mine == kind) {
                Some((_, mine)) => mine.merge(&record),
                None => self.records.push((kind, record)),
            }
        }
        self.tally.add(other.tally);
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
